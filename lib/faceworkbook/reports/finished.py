"""Whether a finished step may be skipped: same parameters, code, notebook and inputs, and whole outputs."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import xxhash

from faceworkbook import descriptors, files, project
from faceworkbook.backbones import several
from faceworkbook.reports import described, parameters
from faceworkbook.reports.experiments import Step

DONE, NOTEBOOK, ENVIRONMENT = "done.json", "notebook.ipynb", "environment.json"
# What a later step may write anew, and what holds times of its own.
_NOT_OUTPUTS = (DONE, "running.ipynb", "failed.ipynb", "failed.html", "model_card.md", "model_card.html")


def fingerprint(step: Step, code: str, before: str, *, hash_path: Callable[[Path], str] | None = None) -> str:
    """Return a hash of all that a step's outcome follows from; the name of its experiment is nothing of that.

    Parameters
    ----------
    step : Step
    code : str
        Hash of the library.
    before : str
        Fingerprint of the step before.
    hash_path : callable, optional
        `hash_input`, or one that remembers (`remember_inputs`).
    """
    inputs = {
        name: [(hash_path or hash_input)(path) for path in _paths(value)]
        for name, value in step.parameters.items()
        if name not in parameters.OF_PLACE
    }
    given = {name: value for name, value in step.parameters.items() if name not in parameters.OF_PLACE}
    networks = _networks(step.parameters)
    text = json.dumps([step.name, given, inputs, networks, code, before, hash_notebook(step.notebook)])
    return hashlib.sha256(text.encode()).hexdigest()


def _networks(given: Mapping) -> list:
    """Return what the networks that a step names are known by: weights, preprocessing and taps, not their names.

    'auto', or the name of a file with its side-car in the weights folder, means another network where that holds
    other files; a network that a cell registers is known by its name.
    """
    named = given.get("backbone") or []
    weights = given.get("weights") or ""
    known = []
    for name in [named] if isinstance(named, str) else named:
        try:
            own = weights if isinstance(weights, str) else ""
            net = several.open_network(name, weights="" if name == several.AUTO else own)
        except (ValueError, OSError, TypeError):
            continue
        known.append([net.name, net.fingerprint, net.preprocessing.to_dict(), net.taps])
    return known


def hash_code() -> str:
    """Return a hash of the library's own source files."""
    package = Path(__file__).resolve().parents[1]
    sources = sorted(package.rglob("*.py"))
    return files.hash_values(
        *(part for p in sources for part in (p.relative_to(package).as_posix(), p.read_bytes()))
    )


def hash_notebook(path: Path) -> str:
    """Return a hash of a notebook's cells; outputs and execution counts do not count."""
    return files.hash_values([[kind, source] for kind, source, _ in parameters.read_cells(path)])


def _paths(value) -> list[Path]:
    """Existing files and folders that a parameter names, also as 'NAME: FOLDER' in a list."""
    texts = [
        text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str) and text
    ]
    named = [text.replace("=", ":", 1).partition(":")[2].strip() for text in texts]
    paths = (project.resolve(text) for text in [*texts, *filter(None, named)])
    return [path for path in paths if path.exists()]


def hash_input(path: str | Path) -> str:
    """Return a hash of names, sizes and times of a file, or of all files in a folder; '' where nothing is.

    The time at which a file's content or name was last changed cannot be set back, so that a picture that was
    exchanged for another of the same size and date is noticed without being read.
    """
    place, digest = project.resolve(path), xxhash.xxh3_128()
    stack = [place]
    while stack:
        here = stack.pop()
        if here.is_dir():
            with os.scandir(here) as entries:
                names = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
            stack.extend(Path(entry.path) for entry in names)
        elif here.exists():
            stat = here.stat()
            name = os.fsencode(here.relative_to(place.parent))
            digest.update(name + f"\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def remember_inputs() -> Callable[[Path], str]:
    """Return a `hash_input` that looks once at each path, for planning many runs at one moment."""
    return functools.cache(hash_input)


def mark(place: Path, step_fingerprint: str, seconds: float) -> None:
    """Note that the step in the folder `place` is finished, and what it has made."""
    record = {
        "fingerprint": step_fingerprint,
        "seconds": round(seconds, 1),
        "outputs": {name: files.hash_file(place / name) for name in _outputs(place)},
        "stores": _stores(place),
    }
    files.write_json(place / DONE, record)


def _outputs(place: Path) -> list[str]:
    paths = (path for path in sorted(place.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return [p.relative_to(place).as_posix() for p in paths if p.name not in _NOT_OUTPUTS]


def _stores(place: Path) -> list[dict]:
    """The descriptor stores that the step filled, and their state; none where it filled none."""
    try:
        blocks = files.parse_json((place / "metrics.json").read_bytes()).get(described.BLOCKS, [])
        named = [block["store"] for block in blocks]
        return [
            {"path": name, "generation": descriptors.open_store(project.resolve(name)).generation}
            for name in named
        ]
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return []


def outputs_of(place: Path) -> list[str]:
    """Return the files that the finished step in `place` made; none where none is finished."""
    try:
        return list(files.parse_json((place / DONE).read_bytes())["outputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def was_run_again(place: Path) -> bool:
    """Whether the notebook of the finished step in `place` began again since, alone: later steps are of what it made before."""
    try:
        known = json.loads((place / DONE).read_bytes())["outputs"][ENVIRONMENT]
        return bool(files.hash_file(place / ENVIRONMENT) != known)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def made_with(place: Path) -> dict:
    """Return the parameters that the finished step in `place` was run with; empty where none is finished."""
    if not (place / DONE).is_file():
        return {}
    try:
        given = files.parse_json((place / NOTEBOOK).read_bytes())["metadata"]["papermill"]["parameters"]
        return {name: value for name, value in given.items() if name not in parameters.OF_PLACE}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_finished(place: Path, step_fingerprint: str, *, since: float = 0.0) -> bool:
    """Whether the step in `place` was finished with this fingerprint and all that it made is still there.

    Parameters
    ----------
    since : float
        One that was finished earlier does not count, in seconds since the epoch.
    """
    try:
        if (place / DONE).stat().st_mtime < since:
            return False
        record = files.read_json(place / DONE, ValueError, advice="")
        same = record["fingerprint"] == step_fingerprint and (place / "report.html").exists()
        whole = same and all(
            (place / name).is_file() and files.hash_file(place / name) == known
            for name, known in record["outputs"].items()
        )
        return whole and record["stores"] == _stores(place)
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return False

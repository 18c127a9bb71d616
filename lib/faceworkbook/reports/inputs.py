"""What a step has read of the steps before it, so that a later one notices when that was written anew since.

Each step keeps ``inputs.json``: the files of other steps that it has read, and what they held. Whoever reads from a
step refuses it where one of them holds something else by now: its figures belong to data that are gone.
"""

from __future__ import annotations

from pathlib import Path

from faceworkbook import data_record, files, project

NAME = "inputs.json"
DESCRIPTORS = "descriptors"
_METRICS = "metrics.json"


class StaleStep(ValueError):
    """A step that was run before one that it reads ran again; the text says which to run."""


def add(folder: Path, path: Path) -> None:
    """Note that the step in `folder` has read `path`, a file of another step of the same experiment."""
    content = _content(path)
    if not content or not folder.is_dir() or path.is_relative_to(folder):
        return
    read, name = _read(folder), _name(path, folder.parent)
    if read.get(name) != content:
        files.write_json(folder / NAME, {**read, name: content})


def forget(folder: Path) -> None:
    """Start anew: the step in `folder` runs again."""
    (folder / NAME).unlink(missing_ok=True)


def check(folder: Path) -> None:
    """Refuse the step in `folder` where a step that it has read holds something else by now.

    Raises
    ------
    StaleStep
    """
    _check(folder, set())


def is_current(folder: Path) -> bool:
    """Whether all that the step in `folder` has read still holds what it held."""
    try:
        check(folder)
    except StaleStep:
        return False
    return True


def _check(folder: Path, seen: set[Path]) -> None:
    if folder in seen:
        return
    seen.add(folder)
    for name, content in _read(folder).items():
        path = folder.parent / name
        if _content(path) != content:
            what = "other descriptors" if path.name == _METRICS else f"another {name}"
            raise StaleStep(
                f"{folder.name} was run on {what} than {path.parent.name} has now; run {folder.name} again, or "
                f"remove its folder {project.shorten(folder)}"
            )
        _check(path.parent, seen)


def _read(folder: Path) -> dict[str, str]:
    path = folder / NAME
    return files.read_json(path, StaleStep, advice=f"run {folder.name} again") if path.exists() else {}


def _name(path: Path, experiment: Path) -> str:
    return path.relative_to(experiment).as_posix()


def _content(path: Path) -> str:
    """Return what a file is known by: a table by its bytes, data and descriptors by their fingerprint; '' for others.

    Records with times in them differ from run to run though nothing else does.
    """
    if not path.exists():
        return ""
    if path.suffix == ".parquet":
        return files.hash_file(path)
    if path.name == data_record.NAME:
        return data_record.read(path).fingerprint
    if path.name == _METRICS:
        return str(
            files.read_json(path, StaleStep, advice=f"run {path.parent.name} again").get(DESCRIPTORS, "")
        )
    return ""

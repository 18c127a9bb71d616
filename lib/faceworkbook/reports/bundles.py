"""A run as one zip to hand on: pages, predictor, split, fingerprints, environment, predictions, notebooks; never a picture.

`make` writes it, `Bundle` reads it, `reports.verifying` runs it again. Figures stand in it as their alt texts: which
of them shows a face no program can be sure of.
"""

from __future__ import annotations

import hashlib
import html as html_text
import io
import json
import re
import tempfile
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import nbformat
import pandas as pd

from faceworkbook import data_record, files, project
from faceworkbook.evaluation import predictions
from faceworkbook.reports import face_browser, finished, html, parameters, private, run_records
from faceworkbook.reports.runs import CLASSIFIER, FACES

INDEX, VERSION = "bundle.json", 1
RECORDS = (
    "params.json",
    "metrics.json",
    "environment.json",
    "answer.json",
    "done.json",
    data_record.NAME,
    "split.json",
)
TABLES = (
    "predictions.parquet",
    "predictions_reference.parquet",
    "figures.parquet",
    "groups.parquet",
    "gaps.parquet",
)
PREDICTOR_SUFFIXES = (".json", ".npz", ".md", ".html", ".keras", ".onnx", ".yaml")
_PICTURE = re.compile(r'<img[^>]*\balt="([^"]*)"[^>]*>', re.DOTALL)
_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL | re.IGNORECASE)
_DATA = re.compile(r"data:image/[^\"')\s]*")


class BundleError(ValueError):
    """A run that cannot be bundled, or a file that is no bundle; the text says why."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds, read and checked; nothing is unpacked.

    Attributes
    ----------
    path : Path
    record : dict
        ``name``, ``version``, ``made_with``, ``steps`` (name, notebook, hash of its sources, parameters), ``files`` (SHA-256 by name).
    content : dict of str to bytes
    """

    path: Path
    record: dict
    content: dict = field(repr=False)

    def values(self, step: str, name: str) -> dict:
        """Return a JSON record of a step; empty where the bundle has none."""
        data = self.content.get(f"{step}/{name}.json")
        return files.parse_json(data) if data else {}

    def predictions(self, step: str, name: str = "predictions") -> pd.DataFrame | None:
        """Return a step's table of predictions; None where the bundle has none."""
        data = self.content.get(f"{step}/{name}.parquet")
        if data is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / f"{name}.parquet"
            place.write_bytes(data)
            return predictions.read(place)


def make(folder: Path, path: Path) -> list[str]:
    """Write the run in `folder` as the bundle `path`; returns the names of what is in it.

    Raises
    ------
    BundleError
        The run has no finished step.
    """
    steps = sorted(
        (place.parent for place in folder.glob(f"*/{finished.DONE}")),
        key=lambda step: str((run_records.read_record(step / "environment.json") or {}).get("started", "")),
    )
    if not steps:
        raise BundleError(f"{project.shorten(folder)} has no finished step; run it with `workbook run` first")
    content: dict[str, bytes] = {}
    for name in ("experiment.json", "plan.json"):
        if (folder / name).is_file():
            content[name] = (folder / name).read_bytes()
    described = [_add_step(step, content) for step in steps]
    report = f"{steps[-1].name}/report.html"
    if report in content:
        content["report.html"] = content[report]
    corrections = str((run_records.read_record(folder / FACES / "params.json") or {}).get("corrections", ""))
    if corrections and project.resolve(corrections).is_file():
        content["corrections.csv"] = project.resolve(corrections).read_bytes()
    record = {
        "name": folder.name,
        "version": VERSION,
        "made_with": {
            "faceworkbook": metadata.version("faceworkbook"),
            "commit": project.commit(),
            "code": finished.hash_code(),
        },
        "steps": described,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(INDEX, json.dumps(record, indent=1))
        for name, data in content.items():
            packed.writestr(name, data)
    files.write_beside(path, buffer.getvalue())
    return [INDEX, *content]


def _add_step(step: Path, content: dict[str, bytes]) -> dict:
    """Add a finished step's files to `content`; return its description."""
    for name in (*RECORDS, *TABLES, "model_card.md"):
        if (step / name).is_file():
            data = (step / name).read_bytes()
            is_text = name.endswith((".json", ".md"))
            content[f"{step.name}/{name}"] = private.scrub(data.decode()).encode() if is_text else data
    for path in sorted((step / "predictor").rglob("*")):
        if path.is_file() and path.suffix in PREDICTOR_SUFFIXES:
            content[f"{step.name}/{path.relative_to(step).as_posix()}"] = path.read_bytes()
    own = step / finished.NOTEBOOK
    notebook = nbformat.read(own, as_version=4)
    called = _notebook_of(step.name, notebook)
    sources = hash_sources(own)
    strip_pictures(notebook)
    with tempfile.TemporaryDirectory() as place:
        stripped = Path(place) / finished.NOTEBOOK
        stripped.write_text(nbformat.writes(private.scrub_notebook(notebook)), encoding="utf-8")
        content[f"{step.name}/{finished.NOTEBOOK}"] = stripped.read_bytes()
        content[f"{step.name}/report.html"] = html.export(stripped, Path(place) / "report.html").read_bytes()
    given = run_records.read_record(step / "params.json") or {}
    return {"name": step.name, "notebook": called, "sources": sources, "parameters": given}


def hash_sources(path: Path) -> str:
    """Return the hash of a notebook's cells without the one of the parameters that it was given."""
    cells = parameters.read_cells(path)
    return files.hash_values(
        [[kind, source] for kind, source, tags in cells if "injected-parameters" not in tags]
    )


def _notebook_of(name: str, notebook) -> str:
    if project.resolve(f"notebooks/{name}.ipynb").is_file():
        return name
    return Path(str(notebook.metadata.get("papermill", {}).get("input_path", name))).stem


def strip_pictures(notebook) -> None:
    """Put the alt text in the place of every picture in a notebook's outputs, in place."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.pop("attachments", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            kinds = [kind for kind in data if kind.startswith(("image/", "application/pdf", "video/"))]
            alts = [str(output.metadata.get(kind, {}).get("alt", "")) for kind in kinds]
            for kind in kinds:
                del data[kind]
            if kinds:
                alt = next(filter(None, alts), str(data.get("text/plain", "")))
                data["text/html"] = _placeholder(html_text.escape(alt))
            elif "text/html" in data:
                data["text/html"] = _strip_html("".join(data["text/html"]))


def _strip_html(body: str) -> str:
    if face_browser.MARK in body:
        return _placeholder("the faces one can look through")
    return _DATA.sub(
        "", _SVG.sub(_placeholder("a drawing"), _PICTURE.sub(lambda match: _placeholder(match[1]), body))
    )


def _placeholder(alt: str) -> str:
    return f"<p><em>No picture is in a bundle. Here stood: {alt or 'a figure'}</em></p>"


def read(path: str | Path) -> Bundle:
    """Read a bundle, whole as it was written.

    Raises
    ------
    BundleError
        No bundle, one of a later version, or a file in it is not what the bundle says.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as packed:
            record = files.parse_json(packed.read(INDEX))
            content = {name: packed.read(name) for name in record["files"]}
            named = record["version"], record["name"], record["steps"]
    except FileNotFoundError as error:
        raise BundleError(f"there is no file {path}; `workbook bundle RUN` writes one") from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is no bundle ({error}); `workbook bundle RUN` writes one") from error
    if named[0] != VERSION:
        raise BundleError(
            f"{path} is a bundle of version {named[0]}, this workbook reads {VERSION}; use the one that made it"
        )
    changed = [
        name for name, data in content.items() if hashlib.sha256(data).hexdigest() != record["files"][name]
    ]
    if changed:
        raise BundleError(
            f"{path}: {', '.join(changed[:3])} changed after the bundle was made; ask for it anew"
        )
    return Bundle(path, record, content)


def classifier_steps(bundle: Bundle) -> list[str]:
    """Return the steps that have predictions, that of the classifier first."""
    names = [step["name"] for step in bundle.record["steps"]]
    own = [name for name in names if f"{name}/predictions.parquet" in bundle.content]
    return sorted(own, key=lambda name: name != CLASSIFIER)

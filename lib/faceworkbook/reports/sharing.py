"""Steps that several runs agree in: run once, and copied by the others.

Two steps are the same where their fingerprints are (`finished.fingerprint`: parameters, code, notebook, inputs, and
all steps before). Whoever runs one holds its lock, so that another process waits for it and then copies it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from faceworkbook import files, landmarks
from faceworkbook.reports import finished, parameters
from faceworkbook.reports.experiments import Step

LOCKS = ".locks"  # folder in results/
FACES = "01_faces"
_OWN_NAME = re.compile(r"\bexperiment\b")
_READS_ALL = ("05_report",)  # title, question and the ledger of looks, which are the experiment's own


def is_shared(step: Step) -> bool:
    """Whether runs may share this step: one that says its experiment's name is each run's own."""
    if step.notebook.stem in _READS_ALL:
        return False
    cells = parameters.read_cells(step.notebook)
    return not any(
        kind == "code" and "parameters" not in tags and _OWN_NAME.search(source)
        for kind, source, tags in cells
    )


class TwinGone(ValueError):
    """Another process has begun the finished step anew while it was copied."""


@contextlib.contextmanager
def lock(results: Path, step: Step, fingerprint: str) -> Iterator[None]:
    """Hold the lock of whoever runs the step of this fingerprint; wait for another process, and say so."""
    folder = results / LOCKS
    # Some thousand files at most: two steps that share one wait for each other, and lose nothing else.
    what = f"{step.name}: another run is computing it, or one like it"
    with files.hold(folder / f"{fingerprint[:3]}.lock", what):
        yield


def find(results: Path, step: Step, fingerprint: str, *, since: float = 0.0) -> Path | None:
    """Return the folder of another run's finished step with this fingerprint; None where there is none."""
    for done in sorted(results.glob(f"*/{step.name}/{finished.DONE}")):
        try:
            same = files.read_json(done, ValueError, advice="").get("fingerprint") == fingerprint
        except ValueError:
            continue
        if same and finished.is_finished(done.parent, fingerprint, since=since):
            return done.parent
    return None


def copy(source: Path, target: Path) -> None:
    """Copy what a finished step made; that it is finished is written last, so that half a copy is none."""
    record = files.read_json(source / finished.DONE, TwinGone, advice="run the step again")
    target.mkdir(parents=True, exist_ok=True)
    old = finished.outputs_of(target)
    for name in (finished.DONE, "failed.ipynb", "failed.html", *(set(old) - set(record["outputs"]))):
        (target / name).unlink(missing_ok=True)
    for name in record["outputs"]:
        with files.open_beside(target / name) as beside:
            try:
                shutil.copyfile(source / name, beside)
            except FileNotFoundError as error:
                raise TwinGone(f"{source / name} is gone; run the step again") from error
    _copy_landmarks(source.parent, target.parent)
    files.write_json(target / finished.DONE, record | {"copied_from": source.parent.name})


def _copy_landmarks(source: Path, target: Path) -> None:
    """Copy the landmarks that a later step keeps beside the face table: they are no output, and slow to make."""
    stem, suffix = landmarks.NAME.split(".")
    for known in (source / FACES).glob(f"{stem}*.{suffix}"):  # of each kind of points
        own = target / FACES / known.name
        if own.parent.is_dir() and not own.exists():
            with files.open_beside(own) as beside:
                shutil.copyfile(known, beside)

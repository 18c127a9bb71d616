"""Runs an experiment's notebooks through papermill and leaves a page of each, failed ones too."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from faceworkbook import files, project
from faceworkbook.reports import finished, plans
from faceworkbook.reports.experiments import Experiment, Step

FINISHED, FAILED, RUNNING = "notebook.ipynb", "failed.ipynb", "running.ipynb"


class RunFailed(RuntimeError):
    """A cell failed; the text names the notebook, the error and the page that shows it."""


@dataclass(frozen=True)
class Result:
    """What became of one step."""

    step: Step
    folder: Path
    skipped: bool
    seconds: float


def run(
    experiment: Experiment, *, results: str | Path = "results", force: bool = False
) -> tuple[list[Result], Path]:
    """Run every step that is not finished already with the same parameters, code and inputs.

    Parameters
    ----------
    experiment : Experiment
        See ``experiments.read``.
    results : str or Path
    force : bool
        Run finished steps again.

    Returns
    -------
    results : list of Result
    report : Path
        The last step's page, as ``results/EXPERIMENT/report.html``.

    Raises
    ------
    RunFailed
        A cell failed, or another run of this experiment is going on.
    OSError
        Nothing can be written to `results`.
    """
    folder = project.resolve(results) / experiment.name
    _make(folder)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            return _run_steps(experiment, folder, force)
    except Timeout as error:
        raise RunFailed(
            f"{project.shorten(folder)}: another run of this experiment is going on; wait for it"
        ) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"results cannot be written to {project.shorten(folder)} ({error.strerror}); "
            "name a folder that can be written with --results"
        ) from error


def _run_steps(experiment: Experiment, folder: Path, force: bool) -> tuple[list[Result], Path]:
    code, before, done = finished.hash_code(), "", []
    plans.seal(experiment, folder, code=code)
    record = asdict(experiment)
    record.pop("steps")
    files.write_json(folder / "experiment.json", record)
    for number, step in enumerate(experiment.steps, 1):
        before = finished.fingerprint(step, code, before)
        place = folder / step.name
        label = f"[{number}/{len(experiment.steps)}] {step.name}"
        if not force and finished.is_finished(place, before):
            tqdm.write(f"{label}: finished before, nothing changed")
            done.append(Result(step, place, True, 0.0))
            continue
        done.append(run_step(step, place, before, label))
    report = folder / "report.html"
    _link_report(done[-1].folder / "report.html", report)
    return done, report


def _link_report(source: Path, target: Path) -> None:
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    files.write_beside(target, source.read_bytes())


def run_step(step: Step, place: Path, fingerprint: str, label: str) -> Result:
    """Run one notebook into `place`.

    A failed one leaves ``failed.ipynb`` and ``failed.html`` beside what an earlier, finished run left.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from faceworkbook.reports import html

    place.mkdir(parents=True, exist_ok=True)
    (place / finished.DONE).unlink(missing_ok=True)
    begun, output = time.monotonic(), place / RUNNING
    tqdm.write(label)
    bar = {"bar_format": "{l_bar}{bar}| {n_fmt}/{total_fmt} cells [{elapsed}<{remaining}]"}
    try:
        with _private_kernel() as config:
            papermill.execute_notebook(
                _literal(step.notebook),
                _literal(output),
                parameters=step.parameters,
                cwd=str(step.notebook.parent),
                kernel_name="python3",
                progress_bar=bar,
                config=config,
            )
    except PapermillExecutionError as error:
        html.scrub(output)
        page = html.export(output.replace(place / FAILED), place / "failed.html")
        raise RunFailed(
            f"{step.notebook.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"Everything up to there is in {project.shorten(page)}#error"
        ) from error
    html.scrub(output)
    html.export(output.replace(place / FINISHED), place / "report.html")
    for name in (FAILED, "failed.html"):
        (place / name).unlink(missing_ok=True)
    seconds = time.monotonic() - begun
    finished.mark(place, fingerprint, seconds)
    return Result(step, place, False, seconds)


def _literal(path: Path) -> str:
    # papermill formats its paths with the parameters: braces in a folder's name are no fields.
    return str(path).replace("{", "{{").replace("}", "}}")


@contextlib.contextmanager
def _private_kernel():
    """Settings of a kernel whose sockets are files in a folder that only this user can enter."""
    from traitlets.config import Config

    if os.name != "posix":
        yield Config()
        return
    with tempfile.TemporaryDirectory(prefix="workbook-") as folder:
        yield Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})

"""Runs an experiment's notebooks through papermill and leaves a page of each, failed ones too."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from faceworkbook import files, memory, project
from faceworkbook.reports import finished, inputs, kernels, plans, sharing
from faceworkbook.reports.experiments import Experiment, Step

FINISHED, FAILED, RUNNING = finished.NOTEBOOK, "failed.ipynb", "running.ipynb"
LOG = "run.log"
START = 300  # seconds until a kernel answers, on a machine with other work


class RunFailed(RuntimeError):
    """A cell failed; the text names the notebook, the error and the page that shows it."""


@dataclass(frozen=True)
class Result:
    """What became of one step; `shared` is the folder of another run that it was copied from."""

    step: Step
    folder: Path
    skipped: bool
    seconds: float
    shared: Path | None = None


def run(
    experiment: Experiment,
    *,
    results: str | Path = "results",
    since: float = 0.0,
    wait: bool = False,
    cold: bool = False,
    notice: Callable[[Result], None] = lambda result: None,
) -> tuple[list[Result], Path]:
    """Run every step that is not finished already with the same parameters, code and inputs.

    A step that another run has finished so is copied from there, see `faceworkbook.reports.sharing`.

    Parameters
    ----------
    experiment : Experiment
        See ``experiments.read``.
    results : str or Path
    since : float
        Steps that were finished earlier are run again, in seconds since the epoch.
    wait : bool
        Wait for another process that runs this experiment, and go on from there.
    cold : bool
        Start each kernel from nothing instead of forking it, see `faceworkbook.reports.kernels`.
    notice : callable
        Called with each result as soon as there is one.

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
    make_folder(folder)
    lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
    try:
        with lock:
            return _run_steps(experiment, folder, since, cold, notice)
    except Timeout as error:
        raise RunFailed(
            f"{project.shorten(folder)}: another run of this experiment is going on; wait for it, or run this one "
            "beside it with --name"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder of results; `OSError` with advice where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"results cannot be written to {project.shorten(folder)} ({error.strerror}); "
            "name a folder that can be written with --results"
        ) from error


def _run_steps(
    experiment: Experiment, folder: Path, since: float, cold: bool, notice: Callable[[Result], None]
) -> tuple[list[Result], Path]:
    code, before, done = finished.hash_code(), "", []
    plans.seal(experiment, folder, code=code)
    record = asdict(experiment)
    record.pop("steps")
    files.write_json(folder / "experiment.json", record)
    for number, step in enumerate(experiment.steps, 1):
        before = finished.fingerprint(step, code, before)
        label = f"[{number}/{len(experiment.steps)}] {step.name}"
        # A final experiment has a plan of its own, under which each of its steps runs.
        may_share = not experiment.final and sharing.is_shared(step)
        start = functools.partial(
            run_step, label=label, cold=cold, following=[s.notebook for s in experiment.steps[number:]]
        )
        place = folder / step.name
        done.append(_settle_step(step, place, before, since=since, label=label, share=may_share, start=start))
        notice(done[-1])
    report = folder / "report.html"
    _link_report(done[-1].folder / "report.html", report)
    return done, report


def _settle_step(
    step: Step,
    place: Path,
    fingerprint: str,
    *,
    since: float,
    label: str,
    share: bool,
    start: Callable[..., Result],
) -> Result:
    """Return the result of a step that is finished, or that another run has; else run it."""
    if finished.is_finished(place, fingerprint, since=since):
        tqdm.write(f"{label}: finished before, nothing changed")
        return Result(step, place, True, 0.0)
    if not share:
        return start(step, place, fingerprint)
    with sharing.lock(place.parents[1], step, fingerprint):
        twin = sharing.find(place.parents[1], step, fingerprint, since=since)
        if twin is None:
            return start(step, place, fingerprint)
        with contextlib.suppress(sharing.TwinGone):
            sharing.copy(twin, place)
        # Another process has begun it anew meanwhile, or it has read what this run's earlier steps do not hold.
        if not (finished.is_finished(place, fingerprint) and inputs.is_current(place)):
            return start(step, place, fingerprint)
    tqdm.write(f"{label}: the same as in {project.shorten(twin)}, copied from there")
    log(place, f"copied from {project.shorten(twin)}")
    return Result(step, place, True, 0.0, twin)


def log(place: Path, text: str) -> None:
    """Append a line about the step in `place` to the log of its experiment, ``results/EXPERIMENT/run.log``."""
    when = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    with (place.parent / LOG).open("a") as file:
        file.write(f"{when} {place.name}: {text}\n")


def _link_report(source: Path, target: Path) -> None:
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    files.write_beside(target, source.read_bytes())


def run_step(
    step: Step,
    place: Path,
    fingerprint: str,
    label: str,
    *,
    cold: bool = False,
    following: Sequence[Path] = (),
) -> Result:
    """Run one notebook into `place`; `following` are those that will run after it.

    A failed one leaves ``failed.ipynb`` and ``failed.html`` beside what an earlier, finished run left.
    """
    # The kernel's imports are made while those of this process are.
    template = None if cold else kernels.open_template(step.notebook)
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from faceworkbook.reports import engine, html

    place.mkdir(parents=True, exist_ok=True)
    (place / finished.DONE).unlink(missing_ok=True)
    begun, output = time.monotonic(), place / RUNNING
    tqdm.write(label)
    log(place, f"begun, process {os.getpid()}")
    bar = {"bar_format": "{l_bar}{bar}| {n_fmt}/{total_fmt} cells [{elapsed}<{remaining}]"}
    try:
        with _private_kernel() as config:
            papermill.execute_notebook(
                _literal(step.notebook),
                _literal(output),
                parameters=step.parameters,
                cwd=str(step.notebook.parent),
                kernel_name="python3",
                start_timeout=START,
                progress_bar=bar if sys.stderr.isatty() else False,
                config=config,
                **engine.options_of(template, following),
            )
    except PapermillExecutionError as error:
        what = f"{step.notebook.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
        if memory.is_exhausted(f"{error.ename}: {error.evalue}"):
            what = memory.describe(what)
        raise _failed(place, what, anchor="#error") from error
    except RuntimeError as error:  # of jupyter: its kernel is gone, or did not start
        often = f"often {memory.USED_UP}: {memory.ADVICE}"
        raise _failed(place, f"{step.notebook.name}: {error}; {often}") from error
    html.scrub(output)
    html.export(output.replace(place / FINISHED), place / "report.html")
    for name in (FAILED, "failed.html"):
        (place / name).unlink(missing_ok=True)
    seconds = time.monotonic() - begun
    finished.mark(place, fingerprint, seconds)
    log(place, f"finished in {seconds:.0f} s")
    return Result(step, place, False, seconds)


def _failed(place: Path, what: str, *, anchor: str = "") -> RunFailed:
    """Leave the page of a notebook that failed; return the error that names it."""
    from faceworkbook.reports import html

    log(place, what)
    if not (place / RUNNING).is_file():
        return RunFailed(what)
    html.scrub(place / RUNNING)
    page = html.export((place / RUNNING).replace(place / FAILED), place / "failed.html")
    return RunFailed(f"{what}\nEverything up to there is in {project.shorten(page)}{anchor}")


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
    prefix = "workbook"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}-*"):
        if files.is_abandoned(left.name):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}-{files.name_owner()}-") as folder:
        yield Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})

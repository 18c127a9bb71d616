"""What writes to the disk, from one call to its result: laid anew for each point, run, and run again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from faceworkbook.files import FileError

# Times, and whether this run or an earlier one finished a point.
CHANGING = re.compile(
    rb'"(started|ended|seconds|finished|created)": [^\n,}]*|\b(unchanged|copied|finished)\b'
)
STAMPED = ("run.log", ".lock", ".ipynb", "done.json", "environment.json", ".html")


class Refused(Exception):
    """What a command printed before it ended with a status other than 0."""


@dataclass(frozen=True)
class Door:
    """One call that writes.

    Attributes
    ----------
    lay : callable
        Writes what the call reads, into an empty folder.
    run : callable
        Does the call and returns its result, nested dicts and lists of arrays, tables, bytes and plain values.
    errors : tuple of exception types
        What it may raise on a disk that refuses.
    patched : callable
        A context in which all calls are made.
    """

    lay: Callable[[Path], object]
    run: Callable[[Path], object]
    errors: tuple[type[BaseException], ...] = (FileError,)
    patched: Callable[[], AbstractContextManager] = nullcontext


def difference(one, other, name: str = "result") -> str:
    """Return where two results differ, bit by bit; empty where they are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        if [*one] != [*other]:
            return f"{name}: {sorted(set(one) ^ set(other)) or 'order'}"
        return next((d for key in one if (d := difference(one[key], other[key], f"{name}[{key}]"))), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{name}: {len(one)} and {len(other)}"
        pairs = enumerate(zip(one, other, strict=True))
        return next((d for i, (a, b) in pairs if (d := difference(a, b, f"{name}[{i}]"))), "")
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        equal = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    elif isinstance(one, pd.DataFrame):
        equal = isinstance(other, pd.DataFrame) and one.equals(other)
    else:
        equal = type(one) is type(other) and one == other
    return "" if equal else f"{name}: {str(one)[:200]!r} and {str(other)[:200]!r}"


def contents(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Return the files of a folder by their path, without times; what a kill left half-written bears a dot."""
    paths = sorted(p for p in folder.rglob("[!.]*") if p.is_file() and not p.name.endswith(but))
    return {p.relative_to(folder).as_posix(): CHANGING.sub(b"", p.read_bytes()) for p in paths}


def command(*arguments) -> None:
    """Run ``workbook``; raise `Refused` with what it printed where it ends badly."""
    from faceworkbook import cli

    printed = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
        status = cli.main([*map(str, arguments)])
    if status:
        lines = [line for line in printed.getvalue().splitlines() if line.strip()]
        raise Refused(lines[-1] if lines else "")


# --------------------------------------------------------------------------- descriptors


def lay_pictures(place: Path) -> None:
    from tests.descriptors.test_store import make_pictures

    (place / "pictures").mkdir()
    make_pictures(place / "pictures", 9)
    (place / "pictures" / "00004.png").write_text("not a picture")


def extract(place: Path):
    from tests.descriptors.test_store import run

    store = run(place / "pictures", place)
    return {
        "matrix": np.array(store.matrix),
        "face_id": list(store.face_id),
        "names": sorted(contents(place / "store")),
    }


def lay_grown(place: Path) -> None:
    from tests.descriptors.test_store import make_pictures

    lay_pictures(place)
    extract(place)
    make_pictures(place / "pictures", 3, first=100)
    (place / "pictures" / "00002.png").write_text("damaged since")


@contextlib.contextmanager
def one_reader() -> Iterator[None]:
    with mock.patch("faceworkbook.descriptors.batches.READERS", 1):
        yield


def store_errors() -> tuple[type[BaseException], ...]:
    from faceworkbook.descriptors import StoreError

    return (StoreError, FileError)


# --------------------------------------------------------------------------- training


def train_dense(place: Path):
    """Five networks as one program, with a checkpoint every second epoch."""
    from training_toys import blobs, cut

    from faceworkbook.training import batched

    x, target = blobs(n=120, noise=3.0)
    settings = batched.Settings(
        widths=(8,), dropout=0.3, epochs=6, batch_size=32, learning_rate=0.03, patience=3
    )
    splits = [cut(120, train=0.3 + 0.1 * i, seed=i) for i in range(3)]
    with mock.patch("faceworkbook.training.batched.epochs.SAVE_EVERY", 2):
        stack = batched.fit(x, target, splits, settings, seeds=range(3), folder=place / "fit")
    return {"kernels": list(stack.kernels), "history": stack.history}


def train_multitask(place: Path):
    from tests.training.test_multitask_training import prepare, train

    fitted = train(prepare(n=80), epochs=3, folder=place / "fit")
    return {
        "weights": fitted.net.model.get_weights(),
        "history": fitted.history,
        "csv": history(place / "fit"),
    }


def history(folder: Path) -> bytes:
    return (folder / "history.csv").read_bytes()


def fine_tune(place: Path):
    from faceworkbook.models.multitask import make_head
    from faceworkbook.training import cutting
    from faceworkbook.training import fine_tune as tuning
    from tests.training import toy_network as toy

    tuning.make_reproducible(3)
    labels, split = toy.labels(24), toy.Split(np.arange(18), np.arange(18, 24))
    head = make_head(labels["light"], rows=split.train)
    network = cutting.assemble(toy.backbone(), [head], hidden=(4,), dropout=0.5)
    settings = tuning.Settings(epochs=2, batch_size=6, learning_rate=1e-3, seed=3, progress=False)
    fitted = tuning.fit(network, toy.source(24), labels, split=split, settings=settings, folder=place / "fit")
    return {
        "weights": network.net.model.get_weights(),
        "history": fitted.history,
        "csv": history(place / "fit"),
    }


def train_folds(place: Path):
    from sklearn.naive_bayes import GaussianNB
    from training_toys import blobs, cut

    from faceworkbook.training import folds

    x, target = blobs(n=60)
    splits = [cut(60, seed=i) for i in range(4)]
    fits = folds.fit_folds(x, target, splits, classifier=GaussianNB(), folder=place / "folds")
    return {"outputs": fits.outputs, "history": fits.history}


def save_model(place: Path):
    """A fitted network, saved and read again."""
    from training_toys import blobs, cut

    from faceworkbook import training

    x, target = blobs(n=60)
    if not _FITTED:
        _FITTED.append(training.fit("mlp", x, target, cut(60), seed=0, epochs=1, widths=(4,)))
    _FITTED[0].save(place / "model")
    return training.load(place / "model").predict(x)


_FITTED: list = []


def search(place: Path):
    from training_toys import blobs, cut

    from faceworkbook.training.halving import Halving
    from faceworkbook.training.search import Plan
    from faceworkbook.training.search import search as search_settings
    from faceworkbook.training.spaces import Choice, Range

    x, labels = blobs(n=80, noise=3.0)
    space = {"learning_rate": Range(1e-3, 1e-1, log=True), "widths": Choice(((4,),))}
    plan = Plan(n_trials=4, at_once=2, epochs=4, patience=4, startup=2, halving=Halving(2, 2))
    with mock.patch("faceworkbook.training.batched.epochs.SAVE_EVERY", 2):
        made = search_settings("mlp", x, labels, cut(80), space=space, plan=plan, folder=place / "study")
    return {"table": made.table, "options": repr(made.options)}


def training_errors() -> tuple[type[BaseException], ...]:
    return (FileError,)


# --------------------------------------------------------------------------- runs


def lay_project(place: Path) -> None:
    from tests.reports import sweep_toys

    sweep_toys.make(place)


def run_toy(place: Path, *arguments):
    """``workbook run`` of three notebooks; cells run in this process."""
    os.environ["FACEWORKBOOK_HOME"] = str(place)
    try:
        command("run", "toy", *arguments)
    finally:
        os.environ["FACEWORKBOOK_HOME"] = str(Path(__file__).resolve().parents[2])
    results = place / "results"
    steps = {p.parent.relative_to(results).as_posix() for p in results.glob("*/*/done.json")}
    made = {k: v for k, v in contents(results, but=STAMPED).items() if ".lock" not in k and "/locks" not in k}
    pages = sorted(p.relative_to(results).as_posix() for p in results.rglob("[!.]*.html"))
    return {"steps": sorted(steps), "files": made, "pages": pages}


def make_engine():
    """Return an engine of papermill that runs cells in this process."""
    from papermill.engines import Engine

    class CellsHere(Engine):
        @classmethod
        def execute_managed_notebook(cls, manager, kernel_name, **options):
            names: dict = {}
            for index, cell in enumerate(manager.nb.cells):
                if cell.cell_type == "code":
                    manager.cell_start(cell, index)
                    cell.execution_count = index + 1
                    exec(compile(cell.source, f"cell {index}", "exec"), names)
                    manager.cell_complete(cell, cell_index=index)

    return CellsHere


def run_point(_, spec, notice):
    """Run a point of a sweep as `point_worker` does, in this process."""
    from dataclasses import replace

    from faceworkbook.reports import experiments, jobs, runner

    outcome = jobs.Outcome(spec["name"])

    def settle(result) -> None:
        state = "copied" if result.shared else "unchanged" if result.skipped else "finished"
        outcome.steps.append({"step": result.step.name, "state": state, "seconds": 0.0})

    try:
        options = {name: spec[name] for name in ("given", "results", "name", "swept")}
        experiment = replace(experiments.read(spec["file"], **options), sweep=spec["sweep"])
        runner.run(experiment, results=spec["results"], since=spec["since"], wait=True, notice=settle)
    except (RuntimeError, ValueError, OSError) as error:
        outcome.error = str(error)
    unchanged = all(step["state"] == "unchanged" for step in outcome.steps)
    outcome.state = jobs.FAILED if outcome.error else jobs.UNCHANGED if unchanged else jobs.FINISHED
    return outcome


@contextlib.contextmanager
def notebooks_here() -> Iterator[None]:
    from papermill.engines import papermill_engines

    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(papermill_engines._engines, {None: make_engine()}))
        stack.enter_context(mock.patch("faceworkbook.reports.kernels.open_template", lambda *_, **__: None))
        stack.enter_context(mock.patch("faceworkbook.reports.engine.options_of", lambda *_: {}))
        stack.enter_context(mock.patch("faceworkbook.reports.jobs.Local.run", run_point))
        stack.enter_context(mock.patch("faceworkbook.reports.finished.hash_code", lambda: "this code"))
        yield


def lay_results(place: Path) -> None:
    for step in ("01_faces", "03_classifier"):
        folder = place / "results" / "toy" / step
        folder.mkdir(parents=True)
        for name, record in (
            ("metrics", {"figures": []}),
            ("environment", {}),
            ("answer", {"answer": "Yes."}),
        ):
            (folder / f"{name}.json").write_text(json.dumps(record))
    (place / "results" / "index.html").write_text("before")


def write_index(place: Path):
    from faceworkbook.reports import index

    return index.write(place / "results").read_bytes()


# --------------------------------------------------------------------------- predictors


def lay_album(place: Path) -> None:
    from PIL import Image

    from tests.serving.toys import plain_picture, write_toy

    write_toy(place / "predictor")
    (place / "album").mkdir()
    for number in range(6):
        Image.fromarray(plain_picture((40 * number, 0, 200))).save(place / "album" / f"{number}.png")


def predict(place: Path):
    given = ("--model", place / "predictor", "--csv", place / "out" / "a.csv", "--faces", "whole")
    command("predict", place / "album", *given, "--draw", place / "drawn")
    return {"csv": (place / "out" / "a.csv").read_bytes(), "drawn": contents(place / "drawn")}


@contextlib.contextmanager
def colour_engine() -> Iterator[None]:
    from faceworkbook.serving import predictor
    from tests.serving.toys import ColourEngine

    def fake(self):
        return self._engines or self._engines.append(ColourEngine())

    with (
        mock.patch.object(predictor.Describer, "open", fake),
        mock.patch("faceworkbook.serving.predictor.BATCH", 2, create=True),
    ):
        yield


def write_predictor(place: Path):
    from tests.serving.toys import load_toy, plain_picture, write_toy

    write_toy(place / "predictor")
    table = load_toy(place / "predictor").predict([plain_picture((200, 0, 0))], faces="whole")
    return {"answers": table.astype(str), "files": contents(place / "predictor")}


def nothing(place: Path) -> None:
    """Lay nothing."""


DOORS = {
    "extraction": Door(lay_pictures, extract, store_errors(), one_reader),
    "extraction of a store that grows": Door(lay_grown, extract, store_errors(), one_reader),
    "dense training": Door(nothing, train_dense),
    "multi-task training": Door(nothing, train_multitask),
    "fine-tuning": Door(nothing, fine_tune),
    "folds": Door(nothing, train_folds),
    "a fitted model": Door(nothing, save_model),
    "search": Door(nothing, search),
    "workbook run": Door(lay_project, run_toy, (Refused,), notebooks_here),
    "sweep": Door(lay_project, lambda p: run_toy(p, "--set", "seed=0,1"), (Refused,), notebooks_here),
    "index": Door(lay_results, write_index),
    "predict": Door(lay_album, predict, (Refused,), colour_engine),
    "predictor": Door(nothing, write_predictor),
}

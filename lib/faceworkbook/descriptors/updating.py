"""A store is brought up to date: what is there and still true is kept, the rest is filled in, one hand-over ends it."""

from __future__ import annotations

import importlib.metadata
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import files, images
from faceworkbook.descriptors import handover, manifest
from faceworkbook.descriptors import store as stores
from faceworkbook.descriptors.journal import Journal
from faceworkbook.descriptors.layout import INDEX, StoreError, disk_errors
from faceworkbook.descriptors.store import BOX, PLAN_COLUMNS, TEXT, Descriptors, Store
from faceworkbook.descriptors.unchanged import STALE, match, still_true

CHECK = "check"  # of a network's first descriptors, in the manifest


@dataclass(frozen=True)
class Job:
    """What a store is to hold: which faces, from where to where; a kind of its own says how they are described."""

    asked: pd.DataFrame
    root: Path
    folder: Path

    @property
    @abstractmethod
    def recipe(self) -> dict:
        """What makes a descriptor what it is; another recipe means other descriptors."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of a descriptor."""

    @abstractmethod
    def fill(self, journal: Journal, todo: np.ndarray) -> dict | None:
        """Write the rows `todo` of the journal's plan; return what goes into the manifest as engine."""

    @cached_property
    def root_name(self) -> str:
        """The root as the manifest names it."""
        return stores.shorten_root(self.root)


def ask(faces: pd.DataFrame) -> pd.DataFrame:
    """Return what a store knows of `faces`, in the types of a face table, so that nothing of it is copied."""
    asked = faces[PLAN_COLUMNS].reset_index(drop=True)
    return asked.astype({"face_id": TEXT, "image": TEXT, **dict.fromkeys(BOX, "Float64")})


def bring_up_to_date(job: Job) -> Descriptors:
    """Fill in what the store lacks, and open it at the faces that were asked for."""
    with _locked(job.folder):
        handover.complete(job.folder)
        return _opened(job, *_update(job))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"store {folder} cannot be a folder ({error.strerror}); name another one") from error
    with ExitStack() as stack:
        with disk_errors(folder):
            stack.enter_context(files.hold(folder / ".lock", f"{folder}: another process fills this store"))
        yield


def _update(job: Job) -> tuple[Store, np.ndarray]:
    """Compute what is missing; return the store and, for each face asked for, its row or a negative number."""
    begun = _begin(job)
    if begun.journal is None:
        return begun.store or stores.open_files(job.folder), begun.rows
    try:
        settings = job.fill(begun.journal, begun.todo)
        record = _record(job, begun.before, settings) | _contest(job, begun)
        rows = handover.finish(begun.journal, record)
    finally:
        begun.journal.close()
    return stores.open_files(job.folder), rows[: len(job.asked)]


@dataclass(frozen=True, eq=False)
class Begun:
    """What a store holds of the faces that were asked for, and what it lacks.

    Attributes
    ----------
    before : dict
        The manifest, empty where there is none.
    store : Store or None
        Where one of the same recipe is there.
    rows : ndarray of shape (n,), int64
        For each face asked for its row in the store, or a negative number, see `unchanged.match`.
    journal : Journal or None
        Where a face must be computed; the first n rows of its plan are the faces asked for.
    todo : ndarray, int64
        Rows of the plan to compute.
    """

    before: dict
    store: Store | None
    rows: np.ndarray
    journal: Journal | None
    todo: np.ndarray


def _begin(job: Job) -> Begun:
    before, nothing = manifest.read_previous(job.folder), np.zeros(0, np.int64)
    _check_precision(job, before.get("recipe", {}))
    rows, others, store = np.full(len(job.asked), STALE), nothing, None
    if before.get("recipe") == job.recipe:
        store = stores.open_files(job.folder)
        rows, others = match(store, job.asked, job.root, trust_times=before["root"] == job.root_name)
    if store is not None and (rows != STALE).all():
        return Begun(before, store, rows, None, nothing)
    return Begun(before, store, rows, *_prepare(job, store, rows, others))


def _check_precision(job: Job, before: dict) -> None:
    """Refuse a store that differs in precision alone; what differs in more is another network's and is replaced."""
    there, asked = before.get("precision"), job.recipe.get("precision")
    if there != asked and {**before, "precision": asked} == job.recipe:
        raise StoreError(
            f"{job.folder} holds {there} descriptors and precision={asked!r} was asked for: a store has one precision; name "
            "another folder as store, or remove this one"
        )


@contextmanager
def begin_all(jobs: Sequence[Job]) -> Iterator[list[Begun]]:
    """Lock the stores of several jobs and say what each lacks; what is written into their journals is kept for later."""
    with ExitStack() as stack:
        # In one order everywhere, so that two processes never wait for each other.
        for folder in sorted(job.folder for job in jobs):
            stack.enter_context(_locked(folder))
            handover.complete(folder)
        begun = [_begin(job) for job in jobs]
        for one in begun:
            if one.journal is not None:
                stack.callback(one.journal.close)
        yield begun


def _contest(job: Job, begun: Begun) -> dict:
    """Return the folders whose different pictures bear the same names, for the manifest; `store.select` asks which."""
    before, store = begun.before, begun.store
    folders = before.get("contested", []) if store is not None else []
    if store is not None and before["root"] != job.root_name:
        stale = job.asked["face_id"].array[begun.rows == STALE]
        if (stores.find(stale, among=store.texts(INDEX)) >= 0).any():
            folders = sorted({*folders, before["root"], job.root_name})
    return {"contested": folders}


def _record(job: Job, before: dict, settings: dict | None) -> dict:
    before = before if before.get("recipe") == job.recipe else {}
    settings = dict(settings or {})
    check = settings.pop(CHECK, before.get(CHECK))
    engines = before.get("engines", [])
    engines = [*engines, settings] if settings and settings not in engines else engines
    packages = ("faceworkbook", "numpy", "opencv-python-headless", "tensorflow", "keras")
    versions = {name: importlib.metadata.version(name) for name in packages}
    record = {"recipe": job.recipe, "engines": engines, "decoder": images.DECODER, "versions": versions}
    return {**record, CHECK: check} if check else record


def _opened(job: Job, store: Store, rows: np.ndarray) -> Descriptors:
    opened = store.take(rows, job.asked["face_id"].array)
    if not len(opened):
        first = opened.left_out["detail"].iloc[0]
        raise StoreError(
            f"none of the {len(job.asked):,} pictures can be read; the first: {first}. Check the folder {job.root}"
        )
    return opened


def _prepare(
    job: Job, store: Store | None, known: np.ndarray, others: np.ndarray
) -> tuple[Journal, np.ndarray]:
    """Return the journal, with everything in it that need not be computed again, and the rows left to do."""
    plan = job.asked if store is None else _plan(job.asked, store, others)
    journal = Journal(job.folder, plan, job.recipe, job.dim, job.root_name)
    done = still_true(journal, job.root, len(job.asked))
    fresh = np.flatnonzero(known >= 0)
    source = np.concatenate([known[fresh], others])
    rows = np.concatenate([fresh, np.arange(len(job.asked), len(plan))])
    wanted = ~done[rows]
    if store is not None and wanted.any():
        places = np.full(source.max() + 1, -1)
        places[source[wanted]] = rows[wanted]
        journal.copy_rows(store, places, times=store.manifest["root"] == job.root_name)
        done[rows] = True
    return journal, journal.left_to_do(done)


def _plan(asked: pd.DataFrame, store: Store, others: np.ndarray) -> pd.DataFrame:
    """Return the faces asked for, then those that only the store holds."""
    if not len(others):
        return asked
    kept = np.zeros(store.manifest["n"], bool)
    kept[others] = True
    pieces = [asked]
    for first, block in store.blocks(INDEX):
        pieces.append(block.loc[kept[first : first + len(block)], PLAN_COLUMNS].astype(asked.dtypes))
    return pd.concat(pieces, ignore_index=True)

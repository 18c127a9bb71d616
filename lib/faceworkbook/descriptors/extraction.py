"""Extraction: faces in, descriptors in a store out; batched, streamed, resumable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm.auto import tqdm

from faceworkbook import images
from faceworkbook.descriptors import handover, manifest
from faceworkbook.descriptors import store as stores
from faceworkbook.descriptors.batches import draw_pixels, read_batches, write_batch
from faceworkbook.descriptors.int8 import Int8Warning, describe_int8_cost
from faceworkbook.descriptors.journal import Journal
from faceworkbook.descriptors.layout import INDEX, StoreError, disk_errors
from faceworkbook.descriptors.store import BOX, PLAN_COLUMNS, TEXT, Descriptors, Store
from faceworkbook.descriptors.unchanged import STALE, match, still_true
from faceworkbook.files import write_beside

if TYPE_CHECKING:
    from faceworkbook.backbones import Backbone
    from faceworkbook.descriptors.engines.base import Engine

CHECKED, CALIBRATION = 32, 64  # faces, drawn at random
CLUSTERS = (None, "ray")


@dataclass(frozen=True)
class ExtractionOptions:
    """How descriptors are computed.

    Attributes
    ----------
    engine : str or Engine
        'auto' (the fastest that computes the same descriptors), the name of an engine, or one made
        by ``descriptors.engines.choose``.
    precision : {'float32', 'int8'}
        'int8' takes less memory and changes descriptors; it is calibrated on 64 of the faces.
    batch_size : int, optional
        Faces a batch; the engine's best by default.
    cluster : {None, 'ray'}
        'ray' spreads the work over the machines of a Ray cluster (extra ``[ray]``).
    progress : bool
        Show a bar with rate and remaining time.
    """

    engine: str | Engine = "auto"
    precision: str = "float32"
    batch_size: int | None = None
    cluster: str | None = None
    progress: bool = True

    def __post_init__(self):
        if self.cluster not in CLUSTERS:
            raise StoreError(f"cluster={self.cluster!r}; allowed are None and 'ray'")
        if self.batch_size is not None and self.batch_size < 1:
            raise StoreError(f"batch_size={self.batch_size!r}; allowed are None and 1 or more faces")

    @property
    def ready_engine(self) -> Engine | None:
        """The engine, where one was given and not a name."""
        return None if isinstance(self.engine, str) else self.engine


@dataclass(frozen=True)
class Job:
    """One extraction: which faces, by which network, from where to where."""

    asked: pd.DataFrame
    backbone: Backbone
    root: Path
    folder: Path
    options: ExtractionOptions

    @cached_property
    def recipe(self) -> dict:
        """What makes a descriptor what it is; another recipe means other descriptors."""
        return make_recipe(self.backbone, self.options.precision)

    @cached_property
    def root_name(self) -> str:
        """The root as the manifest names it."""
        return stores.shorten_root(self.root)


def extract(faces: pd.DataFrame, backbone, *, root: str | Path, store: str | Path, **options) -> Descriptors:
    """Compute the descriptors of `faces`, or take them from the store where they are there already.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table; ``image`` is relative to `root`, a box is cropped with the backbone's margin.
    backbone : faceworkbook.backbones.Backbone
        Network, tap and preprocessing.
    root : str or Path
        Folder of the pictures.
    store : str or Path
        Folder of the store; made when missing. Faces in it that are not asked for are kept.
    **options
        ``engine``, ``precision``, ``batch_size``, ``cluster``, ``progress``; see `ExtractionOptions`.

    Returns
    -------
    Descriptors
        ``matrix`` (n, d) float32 memory-mapped, ``face_id``, ``left_out`` (unreadable pictures).

    Raises
    ------
    StoreError
        No face at all, none that can be read, a full disk, a folder that cannot be written, or a damaged store.

    Warns
    -----
    Int8Warning
        With int8: what it cost a classifier, as far as that was measured.

    Notes
    -----
    Beside the face table, memory grows by some 60 bytes a face while computing, and by some 100 for a
    moment at the end. A run that was killed goes on where it stopped.
    A face is computed anew when its file's content, its box, the weights, the tap, the
    preprocessing or the precision changed. A file of unchanged size and times counts as unchanged, unless the
    store was computed from another root.
    """
    settings = ExtractionOptions(**options)
    if not len(faces):
        raise StoreError("there is no face to extract: the face table is empty")
    if settings.precision == "int8":
        warnings.warn(describe_int8_cost(backbone), Int8Warning, stacklevel=2)
    # The types of a face table, so that nothing of it is copied.
    asked = faces[PLAN_COLUMNS].reset_index(drop=True)
    asked = asked.astype({"face_id": TEXT, "image": TEXT, **dict.fromkeys(BOX, "Float64")})
    job = Job(asked, backbone, Path(root), Path(store), settings)
    with _locked(job.folder):
        handover.complete(job.folder)
        return _opened(job, *_bring_up_to_date(job))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"store {folder} cannot be a folder ({error.strerror}); name another one") from error
    lock = FileLock(folder / ".lock")
    with disk_errors(folder):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def make_recipe(backbone, precision: str) -> dict:
    """Return what makes a descriptor what it is; another recipe means other descriptors."""
    recipe = {
        "backbone": backbone.name,
        "tap": backbone.tap,
        "weights_sha256": backbone.fingerprint,
        "preprocessing": backbone.preprocessing.to_dict(),
        "precision": precision,
    }
    # Without a mirror the recipe is the one that stores were written with before there was this choice.
    return {**recipe, "mirror": backbone.mirror} if backbone.mirror else recipe


def _bring_up_to_date(job: Job) -> tuple[Store, np.ndarray]:
    """Compute what is missing; return the store and, for each face asked for, its row or a negative number."""
    before = manifest.read_previous(job.folder)
    rows, others, store = np.full(len(job.asked), STALE), np.zeros(0, np.int64), None
    if before.get("recipe") == job.recipe:
        store = stores.open_files(job.folder)
        rows, others = match(store, job.asked, job.root, trust_times=before["root"] == job.root_name)
    if store is not None and (rows != STALE).all():
        return store, rows
    journal, todo = _prepare(job, store, rows, others)
    try:
        settings = _compute(job, journal, todo)
        rows = handover.finish(journal, _record(job, before, settings) | _contest(job, before, store, rows))
    finally:
        journal.close()
    return stores.open_files(job.folder), rows[: len(job.asked)]


def _contest(job: Job, before: dict, store: Store | None, rows: np.ndarray) -> dict:
    """Return the folders whose different pictures bear the same names, for the manifest; `store.select` asks which."""
    folders = before.get("contested", []) if store is not None else []
    if store is not None and before["root"] != job.root_name:
        stale = job.asked["face_id"].array[rows == STALE]
        if (stores.find(stale, among=store.texts(INDEX)) >= 0).any():
            folders = sorted({*folders, before["root"], job.root_name})
    return {"contested": folders}


def _record(job: Job, before: dict, settings: dict | None) -> dict:
    engines = before.get("engines", []) if before.get("recipe") == job.recipe else []
    engines = [*engines, settings] if settings and settings not in engines else engines
    packages = ("faceworkbook", "numpy", "opencv-python-headless", "tensorflow", "keras")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"recipe": job.recipe, "engines": engines, "decoder": images.DECODER, "versions": versions}


def _opened(job: Job, store: Store, rows: np.ndarray) -> Descriptors:
    opened = store.take(rows, job.asked["face_id"].array)
    if not len(opened):
        first = opened.left_out["detail"].iloc[0]
        raise StoreError(f"none of the {len(job.asked):,} pictures can be read; the first: {first}")
    return opened


def _prepare(
    job: Job, store: Store | None, known: np.ndarray, others: np.ndarray
) -> tuple[Journal, np.ndarray]:
    """Return the journal, with everything in it that need not be computed again, and the rows left to do."""
    plan = job.asked if store is None else _plan(job.asked, store, others)
    journal = Journal(job.folder, plan, job.recipe, job.backbone.dim, job.root_name)
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


def _compute(job: Job, journal: Journal, todo: np.ndarray) -> dict | None:
    if not len(todo):
        return None
    options = job.options
    if options.cluster == "ray":
        from faceworkbook.descriptors import cluster

        return cluster.compute(
            job, journal, todo, None if options.ready_engine else _check_faces(job, journal)
        )
    runner = options.ready_engine or _choose(job, journal)
    batches = read_batches(
        journal.plan,
        job.root,
        job.backbone.preprocessing,
        batch_size=options.batch_size or runner.batch_size,
        rows=todo,
    )
    n = len(journal.plan)
    bar = tqdm(
        total=n, initial=n - len(todo), unit=" faces", desc="descriptors", disable=not options.progress
    )
    with bar:
        for batch in batches:
            write_batch(journal.writer, batch, runner, job.backbone.dim)
            bar.update(len(batch.rows))
    return runner.settings


def _choose(job: Job, journal: Journal):
    from faceworkbook.descriptors import engines

    check = _check_faces(job, journal)
    return engines.choose(
        job.backbone, engine=str(job.options.engine), precision=job.options.precision, check_pixels=check
    )


def _check_faces(job: Job, journal: Journal) -> np.ndarray | None:
    """Return faces that an engine is tried on, or that int8 is calibrated on; None where no picture can be read."""
    preprocessing = job.backbone.preprocessing
    if job.options.precision != "int8":
        drawn = draw_pixels(journal.plan, job.root, preprocessing, n=CHECKED)
        return drawn if len(drawn) else None
    # Kept with the store: what is computed later, or on another machine, must be calibrated on the same faces.
    digest = hashlib.sha256(json.dumps(job.recipe, sort_keys=True).encode()).hexdigest()[:8]
    path = job.folder / f"calibration-{digest}.npz"
    if not path.exists():
        content = io.BytesIO()
        np.savez(content, pixels=draw_pixels(journal.plan, job.root, preprocessing, n=CALIBRATION))
        with disk_errors(job.folder):
            write_beside(path, content.getvalue())
    return _read_calibration(path)


def _read_calibration(path: Path) -> np.ndarray:
    # A zip file checks its content; what a garbled one raises depends on where it is hit.
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["pixels"]
    except Exception as error:
        raise StoreError(
            f"{path} is damaged ({error}); int8 descriptors of one store need the same faces: remove the folder and "
            "extract again"
        ) from error

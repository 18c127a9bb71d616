"""Extraction: faces in, descriptors in a store out; batched, streamed, resumable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm.auto import tqdm

from faceworkbook import images
from faceworkbook.descriptors import store as stores
from faceworkbook.descriptors.batches import READERS, draw_pixels, read_batches, write_batch
from faceworkbook.descriptors.int8 import Int8Warning, say_int8_cost
from faceworkbook.descriptors.store import BOX, PLAN_COLUMNS, TEXT, Descriptors, StoreError, Work

UNREADABLE, STALE = -1, -2  # in place of a row in the finished store
CHECKED, CALIBRATION = 32, 64  # faces, drawn at random


def extract(
    faces: pd.DataFrame,
    backbone,
    *,
    root: str | Path,
    store: str | Path,
    engine: str = "auto",
    precision: str = "float32",
    batch_size: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> Descriptors:
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

    Returns
    -------
    Descriptors
        ``matrix`` (n, d) float32 memory-mapped, ``face_id``, ``left_out`` (unreadable pictures).

    Raises
    ------
    StoreError
        No face at all, none that can be read, a full disk, or a folder that cannot be written.

    Warns
    -----
    Int8Warning
        With int8: what it cost a classifier, as far as that was measured.

    Notes
    -----
    Beside the face table, memory grows by some 50 bytes a face while computing, and by some 100 for a
    moment at the end. A run that was killed goes on where it stopped.
    A face is computed anew when its file's content, its box, the weights, the tap, the
    preprocessing or the precision changed.
    """
    if not len(faces):
        raise StoreError("there is no face to extract: the face table is empty")
    if cluster not in (None, "ray"):
        raise StoreError(f"cluster={cluster!r}; allowed are None and 'ray'")
    if precision == "int8":
        warnings.warn(say_int8_cost(backbone), Int8Warning, stacklevel=2)
    root, folder = Path(root), Path(store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"store {folder} cannot be a folder ({error.strerror}); name another one") from error
    recipe = make_recipe(backbone, precision)
    # The types of a face table, so that nothing of it is copied.
    asked = faces[PLAN_COLUMNS].reset_index(drop=True)
    asked = asked.astype({"face_id": TEXT, "image": TEXT, **dict.fromkeys(BOX, "Float64")})
    with FileLock(folder / ".lock"):
        stores.finish_pending(folder)
        rows, others = _known(folder, asked, root, recipe)
        if (rows == STALE).any():
            work, todo = _prepare(folder, asked, rows, others, root, recipe, backbone.dim)
            options = {
                "engine": engine,
                "precision": precision,
                "batch_size": batch_size,
                "progress": progress,
            }
            settings = _compute(work, todo, backbone, root, cluster=cluster, **options)
            rows = work.finish(_manifest(folder, recipe, settings))[: len(asked)]
        return _opened(folder, asked, rows)


def make_recipe(backbone, precision: str) -> dict:
    """What makes a descriptor what it is; another recipe means other descriptors."""
    return {
        "backbone": backbone.name,
        "tap": backbone.tap,
        "weights_sha256": backbone.fingerprint,
        "preprocessing": backbone.preprocessing.to_dict(),
        "precision": precision,
    }


def _manifest(folder: Path, recipe: dict, settings: dict | None) -> dict:
    before = _read_manifest(folder)
    engines = before.get("engines", []) if before.get("recipe") == recipe else []
    engines = [*engines, settings] if settings and settings not in engines else engines
    packages = ("faceworkbook", "numpy", "opencv-python-headless", "tensorflow", "keras")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"recipe": recipe, "engines": engines, "decoder": images.DECODER, "versions": versions}


def _read_manifest(folder: Path) -> dict:
    path = folder / stores.MANIFEST
    return json.loads(path.read_text()) if path.exists() else {}


def _opened(folder: Path, asked: pd.DataFrame, rows: np.ndarray) -> Descriptors:
    found = stores.open_rows(folder, rows, asked["face_id"].array)
    if not len(found):
        first = found.left_out["detail"].iloc[0]
        raise StoreError(f"none of the {len(asked):,} pictures can be read; the first: {first}")
    return found


def _known(folder: Path, asked: pd.DataFrame, root: Path, recipe: dict) -> tuple[np.ndarray, np.ndarray]:
    """What the finished store holds.

    Returns
    -------
    rows : ndarray of shape (n,), int64
        For each face asked for its row there; UNREADABLE where it could not be read and is what it was; STALE
        where it must be computed.
    others : ndarray, int64
        Rows of faces that are not asked for.
    """
    rows, others = np.full(len(asked), STALE), np.zeros(0, np.int64)
    if _read_manifest(folder).get("recipe") != recipe:
        return rows, others
    for name in (stores.INDEX, stores.UNREADABLE):
        places = stores.find(stores.read_ids(folder / name), among=asked["face_id"].array)
        if name == stores.INDEX:
            others = np.flatnonzero(places < 0)
        for first, block in stores.read_blocks(folder / name):
            place = places[first : first + len(block)]
            there = np.flatnonzero(place >= 0)
            there = there[_same(block.iloc[there], stores.take(asked, place[there]), root)]
            rows[place[there]] = first + there if name == stores.INDEX else UNREADABLE
    return rows, others


def _same(known: pd.DataFrame, asked: pd.DataFrame, root: Path) -> np.ndarray:
    """Which faces are still those that the store holds, row by row."""
    same = known["image"].to_numpy(object) == asked["image"].to_numpy(object)
    same &= _same_boxes(known, asked)
    stamps = known.loc[same, stores.STAMP].to_numpy(object)
    same[same] = _files_unchanged(root, known.loc[same, "image"], stamps)
    return same


def _same_boxes(a: pd.DataFrame, b: pd.DataFrame) -> np.ndarray:
    left, right = a[BOX].to_numpy(float), b[BOX].to_numpy(float)
    return ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)


def _files_unchanged(root: Path, names: pd.Series, stamps: np.ndarray) -> np.ndarray:
    """Size and time equal, or else the content's hash equal."""
    files = list(zip(names.tolist(), *stamps.T.tolist(), strict=True))
    with ThreadPoolExecutor(READERS) as pool:
        shares = pool.map(
            lambda start: [_unchanged(root, *file) for file in files[start::READERS]], range(READERS)
        )
        same = np.empty(len(files), bool)
        for start, share in enumerate(shares):
            same[start::READERS] = share
    return same


def _unchanged(root: Path, name: str, hash_: str, size: int, mtime_ns: int) -> bool:
    path = os.path.join(root, name)  # noqa: PTH118  (text: a Path takes longer than the look)
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return hash_ == ""
    if (stat.st_size, stat.st_mtime_ns) == (size, mtime_ns):
        return True
    return stat.st_size == size and images.content_hash(images.read_bytes(path)) == hash_


def _prepare(
    folder: Path,
    asked: pd.DataFrame,
    known: np.ndarray,
    others: np.ndarray,
    root: Path,
    recipe: dict,
    dim: int,
) -> tuple[Work, np.ndarray]:
    """The work folder, with everything in it that need not be computed again, and the rows that are left to do."""
    work = Work(folder, _plan(folder, asked, others), recipe, dim)
    done = _still_true(work, root, len(asked))
    fresh = np.flatnonzero(known >= 0)
    source = np.concatenate([known[fresh], others])
    rows = np.concatenate([fresh, np.arange(len(asked), len(work.plan))])
    wanted = ~done[rows]
    if wanted.any():
        places = np.full(source.max() + 1, -1)
        places[source[wanted]] = rows[wanted]
        work.copy_rows(places)
        done[rows] = True
    return work, work.left_to_do(done)


def _plan(folder: Path, asked: pd.DataFrame, others: np.ndarray) -> pd.DataFrame:
    """The faces asked for, then those that only the store holds."""
    if not len(others):
        return asked
    kept = np.zeros(others.max() + 1, bool)
    kept[others] = True
    parts = [asked]
    for first, block in stores.read_blocks(folder / stores.INDEX):
        ours = kept[first : first + len(block)]
        parts.append(block.loc[: len(ours) - 1, PLAN_COLUMNS][ours].astype(asked.dtypes))
    return pd.concat(parts, ignore_index=True)


def _still_true(work: Work, root: Path, n: int) -> np.ndarray:
    """Which rows of the plan stand in a journal and, among the first `n`, have not changed on disk since."""
    # A picture may change between the run that was cut off and this one.
    notes = work.read_notes()
    for block in stores.blocks(n):
        rows = block.start + np.flatnonzero(notes.done[block])
        stamps = notes.stamps[rows]
        stamps = np.stack(
            [stamps["hash"].astype(str).astype(object), stamps["size"], stamps["mtime_ns"]], axis=1
        )
        notes.done[rows] = _files_unchanged(root, work.plan["image"].iloc[rows], stamps)
    return notes.done


def _compute(work, todo, backbone, root, *, cluster, engine, precision, batch_size, progress) -> dict | None:
    if not len(todo):
        return None
    ready = hasattr(engine, "run")
    if cluster == "ray":
        from faceworkbook.descriptors import cluster as clusters

        return clusters.compute(
            work,
            todo,
            backbone,
            root,
            engine=engine,
            precision=precision,
            check_pixels=None if ready else _check_faces(work, backbone, root, precision),
            batch_size=batch_size,
            progress=progress,
        )
    runner = engine if ready else _choose(work, backbone, root, engine, precision)
    batches = read_batches(
        work.plan, root, backbone.preprocessing, batch_size=batch_size or runner.batch_size, rows=todo
    )
    bar = tqdm(
        total=len(work.plan),
        initial=len(work.plan) - len(todo),
        unit=" faces",
        desc="descriptors",
        disable=not progress,
    )
    with bar:
        for batch in batches:
            write_batch(work.writer, batch, runner, backbone.dim)
            bar.update(len(batch.rows))
    return runner.settings


def _choose(work, backbone, root, engine: str, precision: str):
    from faceworkbook.descriptors import engines

    check = _check_faces(work, backbone, root, precision)
    return engines.choose(backbone, engine=engine, precision=precision, check_pixels=check)


def _check_faces(work, backbone, root, precision: str) -> np.ndarray | None:
    """Faces that an engine is tried on, or that int8 is calibrated on; None where no picture can be read."""
    if precision != "int8":
        found = draw_pixels(work.plan, root, backbone.preprocessing, n=CHECKED)
        return found if len(found) else None
    # Kept with the store: what is computed later, or on another machine, must be calibrated on the same faces.
    digest = hashlib.sha256(json.dumps(work.recipe, sort_keys=True).encode()).hexdigest()[:8]
    path = work.folder / f"calibration-{digest}.npy"
    if not path.exists():
        content = io.BytesIO()
        np.save(content, draw_pixels(work.plan, root, backbone.preprocessing, n=CALIBRATION))
        stores.write_beside(path, content.getvalue())
    return np.load(path, allow_pickle=False)

"""Extraction: faces in, descriptors in a store out; batched, streamed, resumable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import itertools
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm.auto import tqdm

from faceworkbook import images
from faceworkbook.descriptors import store as stores
from faceworkbook.descriptors.batches import READERS, draw_pixels, read_batches, write_batch
from faceworkbook.descriptors.int8 import Int8Warning, say_int8_cost
from faceworkbook.descriptors.store import BOX, STAMP, TEXT, Descriptors, StoreError, Work

LOOKED_AT = 4096  # files whose state is asked for at once
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
    Memory does not grow with the number of faces. A run that was killed goes on where it stopped.
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
    folder.mkdir(parents=True, exist_ok=True)
    recipe = make_recipe(backbone, precision)
    asked = faces[["face_id", "image", *BOX]].reset_index(drop=True)
    asked = asked.astype({"face_id": TEXT, "image": TEXT, **dict.fromkeys(BOX, "float64")})
    with FileLock(folder / ".lock"):
        stores.finish_pending(folder)
        known = _known(folder, asked, root, recipe)
        if known["fresh"].all():
            return _opened(folder, asked)
        work = _prepare(folder, asked, known, root, recipe, backbone.dim)
        todo = work.left_to_do()
        options = {"engine": engine, "precision": precision, "batch_size": batch_size, "progress": progress}
        settings = _compute(work, todo, backbone, root, cluster=cluster, **options)
        work.finish(_manifest(folder, recipe, settings))
        return _opened(folder, asked)


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


def _opened(folder: Path, asked: pd.DataFrame) -> Descriptors:
    found = stores.select(folder, asked["face_id"].to_numpy(object))
    if not len(found):
        first = found.left_out["detail"].iloc[0]
        raise StoreError(f"none of the {len(asked):,} pictures can be read; the first: {first}")
    return found


def _known(folder: Path, asked: pd.DataFrame, root: Path, recipe: dict) -> pd.DataFrame:
    """For each face asked for: is it in the finished store (`fresh`), at which `row` (-1: unreadable)?"""
    known = pd.DataFrame({"fresh": False, "row": -1}, index=asked.index)
    if _read_manifest(folder).get("recipe") != recipe:
        return known
    index, unreadable = stores.read_index(folder), stores.read_unreadable(folder)
    have = pd.concat([index.assign(row=np.arange(len(index))), unreadable.assign(row=-1)]).set_index(
        "face_id"
    )
    match = have.reindex(asked["face_id"].to_numpy()).reset_index(drop=True)
    same = match["image"].eq(asked["image"]).fillna(False).to_numpy(bool) & _same_boxes(match, asked)
    rows = np.flatnonzero(same)
    unchanged = _files_unchanged(root, asked["image"].to_numpy()[rows], match.iloc[rows])
    known.loc[rows[unchanged], "fresh"] = True
    known.loc[rows[unchanged], "row"] = match["row"].to_numpy()[rows[unchanged]].astype(int)
    return known


def _same_boxes(a: pd.DataFrame, b: pd.DataFrame) -> np.ndarray:
    left, right = a[BOX].to_numpy(float), b[BOX].to_numpy(float)
    return ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)


def _files_unchanged(root: Path, names: np.ndarray, stamps: pd.DataFrame) -> np.ndarray:
    """Size and time equal, or else the content's hash equal."""
    columns = names, *(stamps[column].to_numpy() for column in STAMP)
    blocks = ([c[i : i + LOOKED_AT] for c in columns] for i in range(0, len(names), LOOKED_AT))
    with ThreadPoolExecutor(READERS) as pool:
        # A block at a time: the pool would queue every face of a large set at once.
        same = [list(pool.map(partial(_unchanged, root), *block)) for block in blocks]
    return np.array(list(itertools.chain.from_iterable(same)), dtype=bool)


def _unchanged(root: Path, name: str, hash_: str, size: int, mtime_ns: int) -> bool:
    try:
        stat = (root / name).stat()
    except OSError:
        return hash_ == ""
    if (stat.st_size, stat.st_mtime_ns) == (size, mtime_ns):
        return True
    return stat.st_size == size and images.content_hash(images.read_bytes(root / name)) == hash_


def _prepare(
    folder: Path, asked: pd.DataFrame, known: pd.DataFrame, root: Path, recipe: dict, dim: int
) -> Work:
    """The work folder for this plan, with everything in it that need not be computed again."""
    index = (
        stores.read_index(folder)
        if _read_manifest(folder).get("recipe") == recipe
        else stores.read_index(Path("-"))
    )
    kept = np.flatnonzero(~index["face_id"].isin(asked["face_id"]).to_numpy(bool))
    plan = pd.concat([asked, index.iloc[kept][asked.columns]], ignore_index=True) if len(kept) else asked
    work = Work(folder, plan, recipe, dim)
    source = np.concatenate([known["row"].to_numpy(), kept])
    fresh = np.concatenate([known["fresh"].to_numpy(), np.ones(len(kept), bool)]) & (source >= 0)
    rows = np.setdiff1d(np.flatnonzero(fresh), work.stamps.index.to_numpy())
    if len(rows):
        work.copy_rows(rows, folder / stores.MATRIX, source[rows], index.iloc[source[rows]][STAMP])
        work = Work(folder, plan, recipe, dim)
    _forget_changed(work, root)
    return work


def _forget_changed(work: Work, root: Path) -> None:
    # A picture may change between the run that was cut off and this one.
    names = work.plan["image"].to_numpy()[work.stamps.index]
    work.stamps = work.stamps[_files_unchanged(root, names, work.stamps)]


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
        work.plan.iloc[todo], root, backbone.preprocessing, batch_size=batch_size or runner.batch_size
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

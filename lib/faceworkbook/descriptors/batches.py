"""Batches of faces: read in parallel ahead of the engine, computed, written."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import images
from faceworkbook.descriptors.store import BOX, STAMP, StoreError

READERS = max(2, os.cpu_count() or 2)


@dataclass
class Batch:
    """Faces that were read: their rows, pixels (n, h, w, 3) uint8 RGB, and the files' stamps."""

    rows: np.ndarray
    pixels: np.ndarray
    stamps: pd.DataFrame


def write_batch(writer, batch: Batch, runner, dim: int) -> None:
    """Compute one batch and write it; faces that could not be read are noted, not computed."""
    good = batch.stamps["detail"].eq("").to_numpy()
    vectors = np.full((len(batch.rows), dim), np.nan, np.float32)
    if good.any():
        writer.begin(batch.rows[good])
        vectors[good] = runner.run(batch.pixels)
        wrong = ~np.isfinite(vectors[good]).all(axis=1)
        if wrong.any():
            raise StoreError(
                f"the network gave values that are not finite for {int(wrong.sum())} faces, the first at row "
                f"{batch.rows[good][wrong][0]}; check the weights file and the precision"
            )
    writer.write(batch.rows, vectors, batch.stamps)


def read_batches(plan: pd.DataFrame, root: Path, preprocessing, *, batch_size: int) -> Iterator[Batch]:
    """Read faces in parallel, in order, a few batches ahead of the one that is handed on.

    Parameters
    ----------
    plan : pandas.DataFrame
        face_id, image and box; the index is the row number.
    """
    chunks = (plan.iloc[i : i + batch_size] for i in range(0, len(plan), batch_size))
    with ThreadPoolExecutor(READERS) as pool:
        yield from _ahead(
            pool, lambda chunk: read_batch(chunk, root, preprocessing), chunks, depth=READERS + 2
        )


def draw_pixels(plan: pd.DataFrame, root: Path, preprocessing, *, n: int, seed: int = 0) -> np.ndarray:
    """Pixels of `n` faces of the whole plan that can be read, drawn at random; fewer where there are no more."""
    mixed = plan.iloc[np.random.default_rng(seed).permutation(len(plan))]
    found = np.empty((0, *preprocessing.size, 3), np.uint8)
    for batch in read_batches(mixed, root, preprocessing, batch_size=n):
        found = np.concatenate([found, batch.pixels])
        if len(found) >= n:
            break
    return found[:n]


def _ahead(pool, function, items: Iterable, *, depth: int) -> Iterator:
    waiting = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def read_batch(chunk: pd.DataFrame, root: Path, preprocessing) -> Batch:
    """Read the faces of `chunk` from disk; see `Batch`."""
    pixels = np.empty((len(chunk), *preprocessing.size, 3), np.uint8)
    stamps, good = [], 0
    for image, *box in chunk[["image", *BOX]].itertuples(index=False, name=None):
        stamp, face = _read_face(root, image, None if np.isnan(box[0]) else tuple(box), preprocessing)
        stamps.append(stamp)
        if face is not None:
            pixels[good] = face
            good += 1
    return Batch(chunk.index.to_numpy(), pixels[:good], pd.DataFrame(stamps, columns=[*STAMP, "detail"]))


def _read_face(root: Path, image: str, box, preprocessing):
    path = root / image
    try:
        data = images.read_bytes(path)
        stat = path.stat()
    except (images.UnreadableImage, OSError):
        return ("", 0, 0, f"{image}: the file is missing or cannot be opened"), None
    stamp = (images.content_hash(data), stat.st_size, stat.st_mtime_ns)
    try:
        return (*stamp, ""), images.face_pixels(data, preprocessing, box=box, name=image)
    except images.UnreadableImage as error:
        return (*stamp, str(error)), None

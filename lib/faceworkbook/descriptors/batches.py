"""Batches of faces: read in parallel ahead of the engine, computed, written."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from faceworkbook import images
from faceworkbook.descriptors.journal import Stamp, take
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.store import BLOCK_ROWS, BOX

READERS = max(2, os.cpu_count() or 2)


class Chunk(NamedTuple):
    """Faces to be read: rows of the plan, names of the pictures, boxes (n, 4) with NaN for the whole picture.

    And points (n, 5, 2), with NaN where a face is cut out unaligned; None where all are.
    """

    rows: np.ndarray
    images: list[str]
    boxes: np.ndarray
    points: np.ndarray | None = None


@dataclass
class Batch:
    """Faces that were read: their rows, pixels (n, h, w, 3) uint8 RGB, and the files' stamps."""

    rows: np.ndarray
    pixels: np.ndarray
    stamps: list[Stamp]


def write_batch(writers: Sequence, batch: Batch, runner, dims: Sequence[int]) -> None:
    """Compute one batch and write it; faces that could not be read are written down, not computed.

    Parameters
    ----------
    writers : sequence of JournalWriter
        One for each tap that the runner reads.
    batch : Batch
    runner : Engine
    dims : sequence of int
        Width of each tap's descriptors, which the runner gives side by side.
    """
    good = np.array([not stamp.detail for stamp in batch.stamps])
    vectors = np.full((len(batch.rows), sum(dims)), np.nan, np.float32)
    if good.any():
        for writer in writers:
            writer.begin(batch.rows[good])
        vectors[good] = runner.run(batch.pixels)
        wrong = ~np.isfinite(vectors[good]).all(axis=1)
        if wrong.any():
            raise StoreError(
                f"the network gave values that are not finite for {int(wrong.sum())} faces, the first at row "
                f"{batch.rows[good][wrong][0]}; check the weights file and the precision"
            )
    blocks = np.split(vectors, np.cumsum(dims)[:-1], axis=1)
    for writer, block in zip(writers, blocks, strict=True):
        writer.write(batch.rows, block, batch.stamps)


def read_batches(
    plan: pd.DataFrame,
    root: Path,
    preprocessing,
    *,
    batch_size: int,
    rows: np.ndarray | None = None,
    points: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Read faces in parallel, in order, a few batches ahead of the one that is handed on.

    Parameters
    ----------
    plan : pandas.DataFrame
        face_id, image and box; the index is the row number.
    rows : ndarray of int, optional
        Only these rows, in this order.
    points : ndarray of shape (len(plan), 5, 2), optional
        Where each face is aligned at, NaN where it is not.
    """
    rows = np.arange(len(plan)) if rows is None else rows
    chunks = _chunks(plan, rows, batch_size, points)
    with ThreadPoolExecutor(READERS) as executor:
        yield from _ahead(
            executor, lambda chunk: read_batch(chunk, root, preprocessing), chunks, depth=READERS + 2
        )


def _chunks(plan: pd.DataFrame, rows: np.ndarray, size: int, points: np.ndarray | None) -> Iterator[Chunk]:
    many = max(1, BLOCK_ROWS // size) * size
    for first in range(0, len(rows), many):
        block = take(plan, rows[first : first + many])
        columns = block.index.to_numpy(), block["image"].tolist(), block[BOX].to_numpy()
        for i in range(0, len(block), size):
            chunk = Chunk(*(column[i : i + size] for column in columns))
            yield chunk if points is None else chunk._replace(points=points[chunk.rows])


def draw_pixels(
    plan: pd.DataFrame, root: Path, preprocessing, *, n: int, points: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Return pixels of `n` faces of the whole plan that can be read, drawn at random; fewer where there are no more."""
    mixed = np.random.default_rng(seed).permutation(len(plan))
    drawn = np.empty((0, *preprocessing.size, 3), np.uint8)
    for batch in read_batches(plan, root, preprocessing, batch_size=n, rows=mixed, points=points):
        drawn = np.concatenate([drawn, batch.pixels])
        if len(drawn) >= n:
            break
    return drawn[:n]


def _ahead(executor, function, items: Iterable, *, depth: int) -> Iterator:
    waiting: deque = deque()
    for item in items:
        waiting.append(executor.submit(function, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def read_batch(chunk: Chunk, root: Path, preprocessing) -> Batch:
    """Read the faces of `chunk` from disk; see `Batch`."""
    pixels = np.empty((len(chunk.rows), *preprocessing.size, 3), np.uint8)
    stamps, good = [], 0
    points = chunk.points if chunk.points is not None else [None] * len(chunk.rows)
    for image, box, five in zip(chunk.images, chunk.boxes.tolist(), points, strict=True):
        edges = None if math.isnan(box[0]) else tuple(box)
        stamp, face = _read_face(root, image, preprocessing, box=edges, points=five)
        stamps.append(stamp)
        if face is not None:
            pixels[good] = face
            good += 1
    return Batch(chunk.rows, pixels[:good], stamps)


def _read_face(root: Path, image: str, preprocessing, *, box, points) -> tuple[Stamp, np.ndarray | None]:
    try:
        # Paths are text here: for a small picture a Path takes longer than the file.
        data, stat = images.read_file(os.path.join(root, image))  # noqa: PTH118
    except FileNotFoundError:
        return Stamp("", 0, 0, 0, f"{image}: the file is missing"), None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", "") or error
        return Stamp("", 0, 0, 0, f"{image}: cannot be opened ({reason})"), None
    stamp = Stamp(images.content_hash(data), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    try:
        return stamp, images.face_pixels(data, preprocessing, box=box, points=points, name=image)
    except images.UnreadableImage as error:
        return stamp._replace(detail=str(error)), None

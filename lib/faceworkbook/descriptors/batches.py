"""Batches of faces: read in parallel ahead of the engine, computed, written."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.chunks import Batch, Chunk, read_batch
from faceworkbook.descriptors import readers
from faceworkbook.descriptors.engines.base import AT_ONCE, Engine, is_on_gpu
from faceworkbook.descriptors.journal import take
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.store import BLOCK_ROWS, BOX

READERS = max(2, os.cpu_count() or 2)


def compute_batches(
    batches: Iterable[Batch], runner: Engine, writers: Sequence, *, dim: int
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Yield each batch with its descriptors (n, dim) float32, in order; NaN for faces that could not be read.

    A GPU computes the next batches while one is written.

    Parameters
    ----------
    batches : iterable of Batch
    runner : Engine
    writers : sequence of JournalWriter
        One for each tap that the runner reads; they write down which faces are being computed.
    dim : int
        Width of all taps' descriptors, which the runner gives side by side.

    Raises
    ------
    StoreError
        The network gives values that are not finite, or an engine other numbers of faces or values than it should.
    """

    def begun() -> Iterator[Batch]:
        for batch in batches:
            rows = batch.rows[_good(batch)]
            for writer in writers if len(rows) else ():
                writer.begin(rows)
            yield batch

    def compute(batch: Batch) -> tuple[Batch, np.ndarray]:
        return batch, _compute(batch, runner, dim)

    if not is_on_gpu(runner):
        yield from map(compute, begun())
        return
    with ThreadPoolExecutor(AT_ONCE) as executor:
        yield from _ahead(executor, compute, begun(), depth=AT_ONCE)


def _good(batch: Batch) -> np.ndarray:
    return np.array([not stamp.detail for stamp in batch.stamps])


def _compute(batch: Batch, runner: Engine, dim: int) -> np.ndarray:
    good = _good(batch)
    try:
        computed = runner.run(batch.pixels) if good.any() else np.empty((0, dim), np.float32)
    finally:
        batch.release()
    if computed.shape != (good.sum(), dim):
        raise StoreError(
            f"engine {runner.name!r} gave an array of shape {computed.shape} for {good.sum()} faces; expected {dim} numbers "
            "for each: was it made for another network or tap?"
        )
    wrong = ~np.isfinite(computed).all(axis=1)
    if wrong.any():
        raise StoreError(
            f"the network gave values that are not finite for {int(wrong.sum())} faces, the first at row "
            f"{batch.rows[good][wrong][0]}; check the weights file and the precision"
        )
    if good.all():
        return computed
    vectors = np.full((len(batch.rows), dim), np.nan, np.float32)
    vectors[good] = computed
    return vectors


def write_batch(writers: Sequence, batch: Batch, vectors: np.ndarray, dims: Sequence[int]) -> None:
    """Write a batch and its descriptors; faces that could not be read are written down.

    Parameters
    ----------
    writers : sequence of JournalWriter
        One for each tap.
    batch : Batch
    vectors : ndarray of shape (n, sum(dims)), float32
    dims : sequence of int
        Width of each tap's descriptors, which stand side by side.
    """
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
    processes: int = 0,
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
    processes : int
        That read, see `readers.count`; threads of this one where 0. Pixels that they read are there until the batch is
        released.
    """
    rows = np.arange(len(plan)) if rows is None else rows
    chunks = _chunks(plan, rows, batch_size, points)
    if processes:
        yield from _read_apart(chunks, root, preprocessing, batch_size=batch_size, processes=processes)
        return
    with ThreadPoolExecutor(READERS) as executor:
        yield from _ahead(
            executor, lambda chunk: read_batch(chunk, root, preprocessing), chunks, depth=READERS + 2
        )


def _read_apart(
    chunks: Iterable[Chunk], root: Path, preprocessing, *, batch_size: int, processes: int
) -> Iterator[Batch]:
    with (
        readers.start(processes, root, preprocessing, batch_size=batch_size) as started,
        ThreadPoolExecutor(processes) as executor,
    ):
        for batch, block in _ahead(executor, started.read, chunks, depth=processes + 1):
            batch.release = partial(started.free, block)
            yield batch


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
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
    except Exception:
        # What is on its way already is handed on all the same, so that none of it is computed twice.
        yield from (future.result() for future in waiting if not future.exception())
        raise
    while waiting:
        yield waiting.popleft().result()

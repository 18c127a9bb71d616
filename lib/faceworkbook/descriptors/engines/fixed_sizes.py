"""Batches of a few fixed sizes: a device compiles, or chooses its kernels, anew for each size that it meets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """Faces `start` to `stop`, computed in a batch of `size`, whose last ones may be padding."""

    start: int
    stop: int
    size: int


def divide(n: int, sizes: Sequence[int]) -> list[Piece]:
    """Return the pieces that `n` faces are computed in.

    Parameters
    ----------
    n : int
    sizes : sequence of int, rising
        Whole batches have the largest; what is left takes the smallest that holds it. None: one piece, unpadded.
    """
    if not sizes:
        return [Piece(0, n, n)]
    pieces = [Piece(start, min(start + sizes[-1], n), sizes[-1]) for start in range(0, n, sizes[-1])]
    last = pieces[-1] if pieces else Piece(0, 0, 0)
    if last.stop - last.start < last.size:
        pieces[-1] = last._replace(size=next(size for size in sizes if size >= last.stop - last.start))
    return pieces


def run_padded(
    function: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    sizes: Sequence[int],
    *,
    map_: Callable = map,
) -> np.ndarray:
    """Return what `function` gives for the faces (n, height, width, 3), called with batches of `sizes` only.

    Parameters
    ----------
    map_ : callable, optional
        In whose way the batches are gone through: that of an executor computes several at once.
    """

    def compute(piece: Piece) -> np.ndarray:
        start, stop, size = piece
        batch = pixels[start:stop]
        if len(batch) < size:
            batch = np.concatenate([batch, np.zeros((size - len(batch), *pixels.shape[1:]), pixels.dtype)])
        return function(batch)[: stop - start]

    return np.concatenate(list(map_(compute, divide(len(pixels), sizes))))

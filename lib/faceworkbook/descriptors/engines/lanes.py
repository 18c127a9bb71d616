"""Batches on their way to a device and back, several at once: one is copied while another is computed.

Each lies in page-locked memory of its own, which a device reads without a detour. Batches have a few fixed sizes: a
device compiles, or chooses its kernels, anew for each size that it meets.
"""

from __future__ import annotations

import ctypes
import mmap
import queue
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")


class Piece(NamedTuple):
    """Faces `start` to `stop`, computed in a batch of `size`, whose last ones may be padding."""

    start: int
    stop: int
    size: int


class Lane:
    """Memory of one batch: `pixels` (n, height, width, 3) uint8 and `descriptors` (n, dim) float32.

    Parameters
    ----------
    n : int
        Faces of the largest batch.
    shape : tuple of int
        Of a face: height, width, 3.
    dim : int
    locked : bool
        Lock its pages, where CUDA can; `is_locked` says whether it did.
    """

    def __init__(self, n: int, shape: tuple[int, ...], dim: int, *, locked: bool):
        self.pixels, self.descriptors = (
            _whole_pages((n, *shape), np.uint8),
            _whole_pages((n, dim), np.float32),
        )
        self.is_locked = locked and all([lock_pages(self, one) for one in (self.pixels, self.descriptors)])

    def fill(self, pixels: np.ndarray, piece: Piece) -> None:
        """Copy the faces of a piece to the front, and zeros behind them up to its size."""
        n = piece.stop - piece.start
        self.pixels[:n] = pixels[piece.start : piece.stop]
        self.pixels[n : piece.size] = 0


class Lanes:
    """As many batches at once as there are lanes. Several threads may run faces through them.

    Parameters
    ----------
    n : int
        Lanes.
    sizes : tuple of int, rising
        Of batches; what is left over is padded to the smallest that holds it.
    shape, dim, locked
        See `Lane`.
    """

    def __init__(self, n: int, sizes: tuple[int, ...], shape: tuple[int, ...], dim: int, *, locked: bool):
        self._sizes, self._dim = sizes, dim
        lanes = [Lane(sizes[-1], shape, dim, locked=locked) for _ in range(n)]
        self.are_locked = all(lane.is_locked for lane in lanes)
        self._idle: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)
        self._threads = ThreadPoolExecutor(n, thread_name_prefix="lanes")

    def run(self, pixels: np.ndarray, compute: Callable[[Lane, int], np.ndarray]) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32.

        Parameters
        ----------
        pixels : ndarray
        compute : callable
            Gives the descriptors of the first so many faces of a lane.
        """
        descriptors = np.empty((len(pixels), self._dim), np.float32)

        def take(piece: Piece) -> None:
            lane = self._idle.get()
            try:
                lane.fill(pixels, piece)
                computed = compute(lane, piece.size)
                descriptors[piece.start : piece.stop] = computed[: piece.stop - piece.start]
            finally:
                self._idle.put(lane)

        # As a list, so that what one raises is raised here.
        list(self._threads.map(take, divide(len(pixels), self._sizes)))
        return descriptors


def divide(n: int, sizes: Sequence[int]) -> list[Piece]:
    """Return the pieces that `n` faces are computed in.

    Parameters
    ----------
    n : int
    sizes : sequence of int, rising
        Whole batches have the largest; what is left takes the smallest that holds it.
    """
    pieces = [Piece(start, min(start + sizes[-1], n), sizes[-1]) for start in range(0, n, sizes[-1])]
    last = pieces[-1] if pieces else Piece(0, 0, 0)
    if last.stop - last.start < last.size:
        pieces[-1] = last._replace(size=next(size for size in sizes if size >= last.stop - last.start))
    return pieces


def _whole_pages(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Return zeros that share no page with anything else: a page is locked as a whole."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(n, 1)), dtype, int(np.prod(shape))).reshape(shape)


def lock_pages(owner: object, array: np.ndarray) -> bool:
    """Lock an array's pages, which CUDA then copies without a detour, while `owner` lives; False where CUDA does not."""
    runtime = _load_runtime()
    place = ctypes.c_void_p(array.ctypes.data)
    if runtime is None or runtime.cudaHostRegister(place, ctypes.c_size_t(array.nbytes), ctypes.c_uint(0)):
        if runtime is not None:
            runtime.cudaGetLastError()  # which ONNX Runtime takes for one of its own otherwise
        return False
    # Memory that is freed while it is locked cannot be locked again, and every later error is reported as that one.
    weakref.finalize(owner, runtime.cudaHostUnregister, place)
    return True


def _load_runtime() -> ctypes.CDLL | None:
    for name in RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None

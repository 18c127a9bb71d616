"""An engine whose leading convolutions run in own kernels, a thread a group of faces, and the rest in ONNX Runtime."""

from __future__ import annotations

import importlib.metadata
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from faceworkbook.descriptors.engines.onnx_graph import INPUT


class Workspace(Protocol):
    """One thread's memory for all leading convolutions."""

    def convolve(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, channels, height, width) float32, for a group of faces."""
        ...


class CompiledEngine:
    """Runs a network that was split in two. See `Engine`.

    Parameters
    ----------
    name : str
    workspaces : sequence of Workspace
        One a thread.
    rest : onnxruntime.InferenceSession
        See `graphs.open_rest`.
    group : int
        Faces that a thread takes at a time, at most.
    batch_size : int
    """

    def __init__(self, name: str, workspaces: Sequence[Workspace], rest, *, group: int, batch_size: int):
        self.name, self.batch_size = name, batch_size
        versions = ", ".join(
            f"{package} {importlib.metadata.version(package)}" for package in ("numba", "numpy")
        )
        self._n_threads = len(workspaces)
        self.settings = {
            "name": name, "version": versions, "precision": "float32", "threads": self._n_threads,
        }  # fmt: skip
        self._group, self._rest = group, rest
        self._idle: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
        for workspace in workspaces:
            self._idle.put(workspace)
        self._threads = ThreadPoolExecutor(self._n_threads, thread_name_prefix=name)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        size = min(self._group, -(-len(pixels) // self._n_threads))
        groups = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        maps = np.concatenate(list(self._threads.map(self._convolve, groups)))
        return self._rest.run(None, {INPUT: maps})[0]

    def _convolve(self, pixels: np.ndarray) -> np.ndarray:
        workspace = self._idle.get()
        try:
            return workspace.convolve(pixels)
        finally:
            self._idle.put(workspace)

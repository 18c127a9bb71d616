"""The output of a frozen layer for some pictures, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from faceworkbook.training.pictures import EVALUATION_BATCH, Prepared


class Activations:
    """What a model makes of some rows of pictures, float32, in memory or in a file; computed when first taken.

    Parameters
    ----------
    model : keras.Model
    sources : sequence of picture sources
        The pictures, and their mirror images where they are needed.
    rows : ndarray of int
    file : path, optional
        Where the values lie; in memory by default.
    progress : bool
    """

    def __init__(
        self, model: keras.Model, sources: Sequence, rows: np.ndarray, *, file: Path | None, progress: bool
    ):
        self._model, self._sources, self._rows = model, sources, np.unique(rows)
        self._file, self._progress, self._values = file, progress, None
        self._place = np.full(len(sources[0]), -1)
        self._place[self._rows] = np.arange(len(self._rows))

    def take(self, rows: np.ndarray, mirrored: np.ndarray | None) -> np.ndarray:
        """Return the activations of `rows`, of the mirror image where `mirrored` (bool, by row)."""
        if self._values is None:
            self._compute()
        side = 0 if mirrored is None or len(self._sources) == 1 else np.asarray(mirrored, int)
        return np.asarray(self._values[side, self._place[rows]])

    def remove(self) -> None:
        """Free the memory, and delete the file where there is one."""
        self._values = None
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _compute(self) -> None:
        rows, shape = self._rows, (len(self._sources), len(self._rows), *self._model.output.shape[1:])
        values = _room(shape, self._file)
        forward = tf.function(self._model, reduce_retracing=True, autograph=False)
        total = len(rows) * len(self._sources)
        with tqdm(total=total, unit="face", desc="frozen layers", disable=not self._progress) as bar:
            for own, pictures in zip(values, map(Prepared, self._sources), strict=True):
                for chosen in np.array_split(rows, -(-len(rows) // EVALUATION_BATCH)):
                    own[self._place[chosen]] = forward(pictures[chosen], training=False).numpy()
                    bar.update(len(chosen))
        self._values = values


def _room(shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if file is None:
        return np.empty(shape, np.float32)
    file.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)

"""Assign the arrays of a weights file to the variables of a Keras model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from faceworkbook.backbones.base import WeightsError, import_keras

INITIALIZERS = tuple(
    f"{variable}_initializer"
    for variable in ("kernel", "depthwise", "bias", "gamma", "beta", "moving_mean", "moving_variance")
)


class Assignment:
    """Initialises variables from arrays, and knows which arrays are not used yet.

    A variable is created from its array directly: no random values are drawn and no zeros are written
    first, which halves the time and the memory of loading a large network.

    Parameters
    ----------
    arrays : mapping of (layer, variable) to ndarray
        The name map, such as ``{("conv1_1", "kernel"): ...}``. An entry is dropped when it is used, so that
        its memory is released.
    file : str
        Named in errors.
    """

    def __init__(self, arrays: Mapping[tuple[str, str], np.ndarray], *, file: str):
        self._waiting = dict(arrays)
        self._file = file

    def initializers(self, layer: str, variables: Iterable[str]) -> dict:
        """Return the Keras arguments ``{variable}_initializer`` that set each of a layer's `variables`."""
        return {f"{v}_initializer": self._initializer(layer, v) for v in variables}

    def _initializer(self, layer: str, variable: str):
        def initial_value(shape, dtype=None):
            return self._take(layer, variable, tuple(shape), dtype or "float32")

        return initial_value

    def _take(self, layer: str, variable: str, shape: tuple[int, ...], dtype: str):
        if (layer, variable) not in self._waiting:
            raise WeightsError(
                f"{self._file}: layer {layer} has no {variable}; expected one of shape {shape}"
            )
        array = self._waiting.pop((layer, variable))
        if array.shape != shape:
            raise WeightsError(
                f"{self._file}: {variable} of layer {layer} has shape {array.shape}; expected {shape}"
            )
        if not np.isfinite(array.sum(dtype=np.float64)):
            raise WeightsError(
                f"{self._file}: {variable} of layer {layer} holds values that are no numbers; copy the file again"
            )
        return _tensor(array, dtype)

    def finish(self, model) -> None:
        """Check that every array was used, and release the arrays from the layers' initialisers."""
        if self._waiting:
            names = ", ".join(f"{layer}/{variable}" for layer, variable in self._waiting)
            raise WeightsError(
                f"{self._file}: no place in the network for {names}; give the file of this network"
            )
        zeros = import_keras().initializers.Zeros()
        for layer in model.layers:
            for name in INITIALIZERS:
                if hasattr(layer, name):
                    setattr(layer, name, zeros)


def _tensor(array: np.ndarray, dtype: str):
    """Return a tensor that owns a C-ordered copy of `array`; no second copy is made."""
    import tensorflow as tf

    return tf.experimental.dlpack.from_dlpack(_in_c_order(array, dtype).__dlpack__())


def _in_c_order(array: np.ndarray, dtype: str) -> np.ndarray:
    # Both file formats hold the output channels first in memory. Copying 64 of them at a time stays in the
    # processor's cache and is six times as fast as one transposed copy of a large kernel.
    copy = _aligned(array.shape, dtype)
    for start in range(0, array.shape[-1], 64):
        copy[..., start : start + 64] = array[..., start : start + 64]
    return copy


def _aligned(shape: tuple[int, ...], dtype: str, *, alignment: int = 64) -> np.ndarray:
    """Return an empty array aligned as TensorFlow's kernels demand."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + alignment, np.uint8)
    start = -memory.ctypes.data % alignment
    return memory[start : start + size].view(dtype).reshape(shape)

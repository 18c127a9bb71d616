"""A GPU's rounding on a CPU: what Keras gives when the inputs of convolutions and products keep a few bits.

TF32 keeps 10 of float32's 23 bits of the mantissa, float16 10 (and fewer exponents), bfloat16 7; products are added up
in float32. A GPU rounds the same numbers, and adds in another order.
"""

from __future__ import annotations

import numpy as np

BITS = {"tf32": 10, "float16": 10, "bfloat16": 7}


def round_mantissa(values, bits: int):
    """Round float32 numbers, of NumPy or TensorFlow, to so many bits of the mantissa (Veltkamp's splitting)."""
    scaled = values * np.float32(2 ** (23 - bits) + 1)
    return scaled - (scaled - values)


class EmulatedEngine:
    """Runs a backbone as a device would in a precision of `BITS`; see `faceworkbook.descriptors.engines.Engine`."""

    name = "emulated"
    batch_size = 32

    def __init__(self, backbone, precision: str):
        from faceworkbook.descriptors.engines import keras_engine

        self.settings = {"name": self.name, "precision": precision}
        model = rounding_model(backbone.model, BITS[precision])
        self._function = keras_engine._compiled(model, backbone.preprocessing, xla=False)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        return self._function(pixels).numpy()


def rounding_model(model, bits: int):
    """Return a copy of a Keras model whose layers with a kernel round it and what they are given."""
    import keras

    @keras.saving.register_keras_serializable("faceworkbook")
    class Rounding(keras.layers.Layer):
        def call(self, x):
            return round_mantissa(x, bits)

    def call(layer, x, *args, **options):
        return layer(Rounding()(x) if _kernels(layer) else x, *args, **options)

    copy = keras.models.clone_model(model, call_function=call)
    sources = {layer.name: layer for layer in model.layers}
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(sources[layer.name].get_weights())
        for kernel in _kernels(layer):
            kernel.assign(round_mantissa(kernel.numpy(), bits))
    return copy


def _kernels(layer) -> list:
    return [variable for variable in layer.weights if "kernel" in variable.name]

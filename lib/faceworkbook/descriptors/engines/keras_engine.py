"""The reference engine: Keras on TensorFlow, on the CPU or a GPU."""

from __future__ import annotations

import numpy as np

from faceworkbook.backbones import Backbone, import_keras
from faceworkbook.preprocessing import GREY_WEIGHTS

CPU_BATCH, GPU_BATCH = 32, 128


class KerasEngine:
    """Runs the Keras model as one TensorFlow function that starts from uint8 pixels. See `Engine`."""

    name = "keras"

    def __init__(self, backbone: Backbone, *, threads: int | None = None):
        keras = import_keras()
        import tensorflow as tf

        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        self.batch_size = GPU_BATCH if on_gpu else CPU_BATCH
        self.settings = {
            "name": self.name,
            "version": f"keras {keras.__version__}, tensorflow {tf.__version__}",
            "precision": "float32",
            "device": "gpu" if on_gpu else "cpu",
            "threads": threads or 0,
        }
        self._function = _compiled(backbone, xla=on_gpu)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        return self._function(pixels).numpy()


def _compiled(backbone: Backbone, *, xla: bool):
    import tensorflow as tf

    preprocessing, model = backbone.preprocessing, backbone.model
    mean, scale = tf.constant(preprocessing.mean), tf.constant(preprocessing.scale, tf.float32)

    @tf.function(
        input_signature=[tf.TensorSpec((None, *preprocessing.size, 3), tf.uint8)],
        jit_compile=xla,
        reduce_retracing=True,
    )
    def descriptors(pixels):
        x = tf.cast(pixels, tf.float32)
        if preprocessing.channels == "GRAY":
            x = tf.tensordot(x, tf.constant(GREY_WEIGHTS), 1)[..., None]
        elif preprocessing.channels == "BGR":
            x = x[..., ::-1]
        x = _prewhitened(x) if preprocessing.prewhiten else (x - mean) * scale
        return model(x, training=False)

    return descriptors


def _prewhitened(x):
    import tensorflow as tf

    mean, variance = tf.nn.moments(x, axes=[1, 2, 3], keepdims=True)
    n = tf.cast(tf.reduce_prod(tf.shape(x)[1:]), tf.float32)
    return (x - mean) / tf.maximum(tf.sqrt(variance), tf.math.rsqrt(n))

"""The reference engine: Keras on TensorFlow, on the CPU or, compiled by XLA, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

import numpy as np

from faceworkbook.backbones import Backbone, import_keras
from faceworkbook.backbones.casting import cast
from faceworkbook.descriptors.engines.base import FLOAT32
from faceworkbook.descriptors.engines.lanes import Lane, Lanes
from faceworkbook.preprocessing import GREY_WEIGHTS

CPU_BATCH, GPU_BATCH = 32, 128
LANES = 6  # batches that are on their way to the GPU and back at once
POLICIES = {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}


class KerasEngine:
    """Runs the Keras model as one TensorFlow function that starts from uint8 pixels. See `Engine`.

    Parameters
    ----------
    backbone : Backbone
    precision : {'float32', 'tf32', 'float16', 'bfloat16'}
        TF32 is switched off but for 'tf32', which needs a GPU.
    threads : int, optional
        Written into `settings`.
    device : {'', 'cpu'}
        'cpu' leaves a GPU alone: what descriptors of any device are compared with.
    """

    name = "keras"

    def __init__(
        self,
        backbone: Backbone,
        *,
        precision: str = FLOAT32,
        threads: int | None = None,
        device: str = "",
    ):
        keras = import_keras()
        import tensorflow as tf

        cards = tf.config.list_physical_devices("GPU")
        on_gpu = bool(cards) and device != "cpu"
        self.batch_size = GPU_BATCH if on_gpu else CPU_BATCH
        self.settings = {
            "name": self.name,
            "version": f"keras {keras.__version__}, tensorflow {tf.__version__}",
            "precision": precision,
            "device": "gpu" if on_gpu else "cpu",
            "threads": threads or 0,
        }
        if on_gpu:
            self.settings["card"] = tf.config.experimental.get_device_details(cards[0]).get("device_name", "")
        model = cast(backbone.model, POLICIES[precision]) if precision in POLICIES else backbone.model
        self._function = _compiled(model, backbone.preprocessing, xla=on_gpu)
        self._tf32 = precision == "tf32"
        self._device = "/GPU:0" if on_gpu else "/CPU:0"
        self._lanes = make_lanes(backbone, locked=True) if on_gpu else None

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        with self.allowing_tf32():
            return self._lanes.run(pixels, self._compute_lane) if self._lanes else self._compute(pixels)

    def _compute_lane(self, lane: Lane, size: int) -> np.ndarray:
        import tensorflow as tf

        # As an array, TensorFlow would copy it to pages that are not locked first.
        there = tf.experimental.dlpack.from_dlpack(lane.pixels[:size].__dlpack__())
        with tf.device(self._device):  # of this thread
            return self._function(tf.identity(there)).numpy()

    def _compute(self, pixels: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        with tf.device(self._device):
            return self._function(pixels).numpy()

    def allowing_tf32(self):
        """Allow TF32 or not for the length of a ``with``: what XLA compiles in it stays so."""
        return _TF32.set(self._tf32)


def make_lanes(backbone: Backbone, *, locked: bool) -> Lanes:
    """Return the lanes of a network to a GPU."""
    shape = (*backbone.preprocessing.size, 3)
    return Lanes(LANES, (CPU_BATCH, GPU_BATCH), shape, backbone.dim, locked=locked)


class _Switch:
    """TensorFlow's switch of TF32, of which a process has one; it is off but for an engine that computes in TF32.

    Threads that want it the same way compute at once, others one after the other.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._threads, self._allowed, self._before = 0, False, False

    @contextmanager
    def set(self, allowed: bool) -> Iterator[None]:
        """Allow TF32 or not for the length of a ``with``."""
        import tensorflow as tf

        switch = tf.config.experimental
        with self._changed:
            self._changed.wait_for(lambda: not self._threads or self._allowed == allowed)
            if not self._threads:
                self._before, self._allowed = switch.tensor_float_32_execution_enabled(), allowed
                switch.enable_tensor_float_32_execution(allowed)
            self._threads += 1
        try:
            yield
        finally:
            with self._changed:
                self._threads -= 1
                if not self._threads:
                    switch.enable_tensor_float_32_execution(self._before)
                    self._changed.notify_all()


_TF32 = _Switch()


def _compiled(model, preprocessing, *, xla: bool):
    import tensorflow as tf

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
        return tf.cast(model(x, training=False), tf.float32)

    return descriptors


def _prewhitened(x):
    import tensorflow as tf

    mean, variance = tf.nn.moments(x, axes=[1, 2, 3], keepdims=True)
    n = tf.cast(tf.reduce_prod(tf.shape(x)[1:]), tf.float32)
    return (x - mean) / tf.maximum(tf.sqrt(variance), tf.math.rsqrt(n))

"""A tiny backbone and pictures that tests of fine-tuning share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceworkbook import tasks
from faceworkbook.backbones import Backbone, Tap
from faceworkbook.images import Preprocessing

SIZE = 12
PREPROCESSING = Preprocessing((SIZE, SIZE), "BGR", (100.0, 110.0, 120.0), 1 / 64)


@dataclass(frozen=True)
class Split:
    """Index arrays of a split."""

    train: np.ndarray
    validation: np.ndarray


def build():
    """Three convolutions with biases, two batch norms; fixed weights."""
    import keras
    from keras import layers

    def start(seed):
        return {
            "kernel_initializer": keras.initializers.GlorotUniform(seed=seed),
            "bias_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=seed),
        }

    x = inputs = keras.Input((SIZE, SIZE, 3), name="picture")
    x = layers.Conv2D(4, 3, name="conv_1", **start(1))(x)
    x = layers.BatchNormalization(name="conv_1_bn")(x)
    x = layers.ReLU(name="conv_1_relu")(x)
    x = layers.Conv2D(6, 3, strides=2, name="conv_2", **start(2))(x)
    x = layers.BatchNormalization(name="conv_2_bn")(x)
    x = layers.ReLU(name="conv_2_relu")(x)
    x = layers.Conv2D(5, 3, name="conv_3", **start(3))(x)
    x = layers.ReLU(name="conv_3_relu")(x)
    return keras.Model(inputs, x, name="toy")


def backbone() -> Backbone:
    """The toy, with its last layer as tap."""
    return Backbone(
        "toy",
        "conv_3_relu",
        {"conv_3_relu": Tap("conv_3_relu", 5, pool=True)},
        PREPROCESSING,
        "0",
        build,
    )


def source(n: int):
    """Those pictures as the toy wants them."""
    from faceworkbook.training.pictures import PixelArray

    return PixelArray(pictures(n)[0], PREPROCESSING)


def labels(n: int) -> dict:
    """'light' of those pictures."""
    codes = pictures(n)[1]
    return {"light": tasks.labels_of_classes(np.where(codes, "above", "below"), name="light")}


def pictures(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n noisy pictures and a class each: 1 where the top half is the brighter one."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n)
    pixels = rng.integers(60, 140, (n, SIZE, SIZE, 3))
    half = SIZE // 2
    for image, code in zip(pixels, codes, strict=True):
        image[:half] += 60 if code else 0
        image[half:] += 0 if code else 60
    return pixels.astype(np.uint8), codes

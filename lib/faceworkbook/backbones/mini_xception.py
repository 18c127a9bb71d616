"""Mini-Xception: 58 thousand parameters, 64 x 64 grey (Arriaga, Valdenegro-Toro and Plöger 2017).

Two plain convolutions, then four residual modules of depth-wise separable convolutions; no dense
layer. The paper's head is a 3 x 3 convolution with one map a class, averaged over the picture.
"""

from __future__ import annotations

from faceworkbook.images import Preprocessing

PREPROCESSING = Preprocessing((64, 64), "GRAY", (127.5,), 1 / 127.5)
WIDTHS = (16, 32, 64, 128)
TAPS = ("conv_2_relu", *(f"module_{i}" for i in range(1, 5)))


def build(*, l2: float = 0.0, input_size: tuple[int, int] = (64, 64)):
    """Build the trunk with fresh weights.

    Parameters
    ----------
    l2 : float
        Weight of the kernels' squared norm in the loss (the paper's code has 0.01, for 28,709 pictures).
    input_size : (height, width) in pixels

    Returns
    -------
    keras.Model
        Input (n, 64, 64, 1) float32, grey, -1..1; output the last module, (n, 4, 4, 128).
    """
    import keras
    from keras import layers

    regular = keras.regularizers.L2(l2) if l2 else None
    conv = {"use_bias": False, "kernel_regularizer": regular}
    picture = keras.Input((*input_size, 1), name="picture")
    x = picture
    for i in (1, 2):
        x = layers.Conv2D(8, 3, name=f"conv_{i}", **conv)(x)
        x = layers.BatchNormalization(name=f"conv_{i}_bn")(x)
        x = layers.ReLU(name=f"conv_{i}_relu")(x)
    for i, width in enumerate(WIDTHS, start=1):
        x = _module(x, width, f"module_{i}", regular)
    return keras.Model(picture, x, name="mini_xception")


def _module(x, width: int, name: str, regular):
    from keras import layers

    separable = {
        "padding": "same",
        "use_bias": False,
        "depthwise_regularizer": regular,
        "pointwise_regularizer": regular,
    }
    # Every other pixel, then a 1 x 1 convolution. This equals a convolution with stride 2, whose gradient
    # writes beyond its memory in TensorFlow 2.21 on processors (oneDNN).
    short = layers.AveragePooling2D(1, strides=2, padding="same", name=f"{name}_every_other")(x)
    short = layers.Conv2D(width, 1, use_bias=False, kernel_regularizer=regular, name=f"{name}_short")(short)
    short = layers.BatchNormalization(name=f"{name}_short_bn")(short)
    x = layers.SeparableConv2D(width, 3, name=f"{name}_conv_1", **separable)(x)
    x = layers.BatchNormalization(name=f"{name}_conv_1_bn")(x)
    x = layers.ReLU(name=f"{name}_conv_1_relu")(x)
    x = layers.SeparableConv2D(width, 3, name=f"{name}_conv_2", **separable)(x)
    x = layers.BatchNormalization(name=f"{name}_conv_2_bn")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    return layers.Add(name=name)([x, short])

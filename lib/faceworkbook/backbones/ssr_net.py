"""SSR-Net: age as soft stagewise regression, 64 x 64 (Yang, Huang, Lin, Hsiu and Chuang, IJCAI 2018).

Two streams of plain convolutions are joined at three depths. Each stage divides the age range into
three bins and refines the stage before: stage k gives a share p of each bin, a shift eta of each bin's
index and a change delta of the bins' width, and the age is (equations 3 to 6 of the paper)

    V * sum over k of  sum over i of p_ki * (i + eta_ki) / product over j <= k of s_j (1 + delta_j)
"""

from __future__ import annotations

from faceworkbook.images import Preprocessing

PREPROCESSING = Preprocessing((64, 64), "BGR", (0.0, 0.0, 0.0))
STAGES = (3, 3, 3)
YEARS = 101.0


def build(*, stages: tuple[int, int, int] = STAGES, years: float = YEARS):
    """Build the network with fresh weights.

    Parameters
    ----------
    stages : (int, int, int)
        Number of bins of each stage.
    years : float
        The range V.

    Returns
    -------
    keras.Model
        Input (n, 64, 64, 3) float32, BGR, 0..255; output ``age``, (n, 1), years.
    """
    import keras

    picture = keras.Input((*PREPROCESSING.size, 3), name="picture")
    relu = _stream(picture, "relu", 32, keras.layers.AveragePooling2D)
    tanh = _stream(picture, "tanh", 16, keras.layers.MaxPooling2D)
    # The first stage reads the deepest maps, the last the shallowest, shrunk to the same size.
    stage = [
        _stage(relu[depth], tanh[depth], f"stage_{k}", bins, pool)
        for k, (depth, pool, bins) in enumerate(zip((3, 1, 0), (1, 4, 8), stages, strict=True), start=1)
    ]
    return keras.Model(picture, _age(stage, stages, years), name="ssr_net")


def _stream(x, activation: str, width: int, pooling) -> list:
    from keras import layers

    outputs = []
    for depth in range(1, 5):
        name = f"{activation}_{depth}"
        x = layers.Conv2D(width, 3, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        x = layers.Activation(activation, name=name)(x)
        if depth < 4:
            x = pooling(2, name=f"{name}_pool")(x)
        outputs.append(x)
    return outputs


def _stage(relu, tanh, name: str, bins: int, pool: int) -> tuple:
    """Return shares p (n, bins), shifts eta (n, bins) and the change of width delta (n, 1) of one stage."""
    from keras import layers

    relu = _squeeze(relu, f"{name}_relu", layers.AveragePooling2D, pool)
    tanh = _squeeze(tanh, f"{name}_tanh", layers.MaxPooling2D, pool)
    both = layers.Multiply(name=f"{name}_joined")([tanh, relu])
    delta = layers.Dense(1, "tanh", name=f"{name}_delta")(both)
    mixed = layers.Multiply(name=f"{name}_mixed")(
        [_mix(tanh, f"{name}_tanh", bins), _mix(relu, f"{name}_relu", bins)]
    )
    features = layers.Dense(2 * bins, "relu", name=f"{name}_features")(mixed)
    shares = layers.Dense(bins, "relu", name=f"{name}_shares")(features)
    shifts = layers.Dense(bins, "tanh", name=f"{name}_shifts")(features)
    return shares, shifts, delta


def _squeeze(x, name: str, pooling, pool: int):
    from keras import layers

    x = layers.Conv2D(10, 1, activation="relu", name=f"{name}_squeeze")(x)
    if pool > 1:
        x = pooling(pool, name=f"{name}_squeeze_pool")(x)
    return layers.Flatten(name=f"{name}_flat")(x)


def _mix(x, name: str, bins: int):
    from keras import layers

    x = layers.Dropout(0.2, name=f"{name}_dropout")(x)
    return layers.Dense(bins, "relu", name=f"{name}_mix")(x)


def _age(stage: list[tuple], stages: tuple[int, ...], years: float):
    from keras import layers, ops

    total, width = 0.0, 1.0
    for (shares, shifts, delta), bins in zip(stage, stages, strict=True):
        width = width * bins * (1.0 + delta)
        index = ops.reshape(ops.arange(bins, dtype="float32"), (1, bins))
        total = total + ops.sum(shares * (shifts + index), axis=-1, keepdims=True) / width
    return layers.Rescaling(years, name="age")(total)

"""Networks to train on pictures: MobileNetV2, InceptionV3, mini-Xception, SSR-Net.

They start from fresh weights, or from the user's Keras weights file (ImageNet's for the two of ``keras.applications``; it must be the file without top, ``..._no_top.h5``).

Inception-ResNet-v1, FaceNet's trunk, is not among them: Keras ships no definition of it, and the files in
circulation differ in their layers' names. ``backbones.register`` adds a network of your own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceworkbook import hdf5
from faceworkbook.backbones import mini_xception, ssr_net
from faceworkbook.backbones.base import (
    UNTRAINED,
    Backbone,
    Tap,
    WeightsError,
    existing_file,
    import_keras,
    sha256,
)
from faceworkbook.images import Preprocessing

_EXPECTED = "a Keras weights file (.weights.h5, .keras or .h5) of this network, without its classifier"


@dataclass(frozen=True)
class Architecture:
    """A network that can be built without a weights file.

    Attributes
    ----------
    build : callable
        Makes the Keras model with fresh weights.
    preprocessing : Preprocessing
    taps : dict of str to Tap
    tap : str
        The default one.
    source : str
    """

    build: Callable
    preprocessing: Preprocessing
    taps: dict[str, Tap]
    tap: str
    source: str


def _mobilenet_v2():
    keras = import_keras()
    return keras.applications.MobileNetV2((224, 224, 3), include_top=False, weights=None)


def _inception_v3():
    keras = import_keras()
    return keras.applications.InceptionV3(input_shape=(299, 299, 3), include_top=False, weights=None)


def _minus_one_to_one(size: int) -> Preprocessing:
    return Preprocessing((size, size), "RGB", (127.5,) * 3, 1 / 127.5)


ARCHITECTURES = {
    "mobilenet_v2": Architecture(
        _mobilenet_v2,
        _minus_one_to_one(224),
        {
            "block_6_expand_relu": Tap("block_6_expand_relu", 192, pool=True),
            "block_13_expand_relu": Tap("block_13_expand_relu", 576, pool=True),
            "out_relu": Tap("out_relu", 1280, pool=True),
        },
        "out_relu",
        "MobileNetV2 (Sandler et al. 2018), keras.applications",
    ),
    "inception_v3": Architecture(
        _inception_v3,
        _minus_one_to_one(299),
        {
            name: Tap(name, dim, pool=True)
            for name, dim in (("mixed2", 288), ("mixed7", 768), ("mixed10", 2048))
        },
        "mixed10",
        "InceptionV3 (Szegedy et al. 2016), keras.applications",
    ),
    "mini_xception": Architecture(
        mini_xception.build,
        mini_xception.PREPROCESSING,
        {
            f"module_{i}": Tap(f"module_{i}", width, pool=True)
            for i, width in enumerate(mini_xception.WIDTHS, 1)
        },
        "module_4",
        "mini-Xception (Arriaga, Valdenegro-Toro and Plöger 2017)",
    ),
    "ssr_net": Architecture(
        ssr_net.build,
        ssr_net.PREPROCESSING,
        {"age": Tap("age", 1)},
        "age",
        "SSR-Net (Yang et al. 2018)",
    ),
}


def load(name: str, weights: str | Path | None = None, tap: str | None = None) -> Backbone:
    """Open a trainable network, with fresh weights or those of a file.

    Parameters
    ----------
    name : str
        One of `ARCHITECTURES`.
    weights : path, optional
        A Keras weights file; fresh weights where None.
    tap : str, optional

    Raises
    ------
    WeightsError
        The file is missing. A file of another network is refused when the model is built.
    """
    network = ARCHITECTURES[name]
    path = None if weights is None else existing_file(weights, expected=_EXPECTED)
    return Backbone(
        name=name,
        tap=tap or network.tap,
        tap_table=network.taps,
        preprocessing=network.preprocessing,
        fingerprint=UNTRAINED if path is None else sha256(path),
        builder=functools.partial(build, name, path),
        weights=path or Path(),
        source=network.source + (", fresh weights" if path is None else f", weights of {path.name}"),
    )


def build(name: str, weights: Path | None):
    """Build the Keras model of `name`, with the weights of a file where one is given.

    Raises
    ------
    WeightsError
        The file's arrays do not fit this network.
    """
    model = ARCHITECTURES[name].build()
    if weights is None:
        return model
    hdf5.check(weights, error=WeightsError)
    for variable in model.weights:
        variable.assign(np.full(variable.shape, np.nan))
    try:
        _read(model, weights)
    except Exception as error:  # Keras raises half a dozen types on a foreign or damaged file
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{weights}: does not fit {name} ({reason}); expected {_EXPECTED}") from error
    unset = [v.path for v in model.weights if np.isnan(np.asarray(v)).any()]
    if unset:
        raise WeightsError(
            f"{weights}: sets {len(model.weights) - len(unset)} of {len(model.weights)} variables of {name}; "
            f"missing are {', '.join(unset[:4])}, ...; expected {_EXPECTED}"
        )
    return model


def _read(model, weights: Path) -> None:
    if weights.suffix != ".keras":
        model.load_weights(weights)
        return
    other = import_keras().saving.load_model(weights, compile=False, safe_mode=True)
    model.set_weights(other.get_weights())

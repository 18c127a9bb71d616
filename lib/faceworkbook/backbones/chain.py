"""A plain chain of layers, as the VGG-Face files describe it, and the Keras model built from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from faceworkbook.backbones.assign import Assignment
from faceworkbook.backbones.base import WeightsError, import_keras
from faceworkbook.images import Preprocessing

Shape = tuple[int, int, int]
KINDS = ("convolution", "relu", "pool", "dropout", "softmax")
# A few damaged bytes would else ask for any memory; VGG-Face has 38 layers and maps of 3.2 million values.
MAX_LAYERS, MAX_VALUES = 500, 2**26


@dataclass(frozen=True)
class Layer:
    """One layer of a chain.

    Attributes
    ----------
    name : str
        As in the file.
    kind : str
        One of `KINDS`.
    size : (height, width)
        Of the kernel or the pooling window.
    stride : (down, right)
    pad : (top, bottom, left, right)
    channels : (in, out)
        Of a convolution.
    rate : float
        Share that a dropout drops in training.
    """

    name: str
    kind: str
    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    channels: tuple[int, int] = (0, 0)
    rate: float = 0.5


@dataclass(frozen=True)
class Chain:
    """A network as its file describes it.

    Attributes
    ----------
    layers : tuple of Layer
        From input to output.
    arrays : dict of (layer, 'kernel' or 'bias') to ndarray
        Kernels as (height, width, in, out), biases as (out,).
    preprocessing : Preprocessing
    classes : tuple of str
    """

    layers: tuple[Layer, ...]
    arrays: dict[tuple[str, str], np.ndarray]
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()


def shapes(chain: Chain, *, file: str) -> dict[str, Shape]:
    """Return the output (height, width, channels) of every layer; raise `WeightsError` where two do not fit."""
    if len(chain.layers) > MAX_LAYERS:
        raise WeightsError(f"{file} has {len(chain.layers)} layers; VGG-Face has 38, give its file")
    current: Shape = (*chain.preprocessing.size, 3)
    result: dict[str, Shape] = {}
    for layer in chain.layers:
        if layer.name in result or not re.fullmatch(r"[\w.-]{1,64}", layer.name):
            raise WeightsError(f"{file}: layer name {layer.name!r} is used twice or holds odd characters")
        current = result[layer.name] = _output(layer, current, file)
        if math.prod(current) > MAX_VALUES:
            raise WeightsError(
                f"{file}: layer {layer.name} gives {' x '.join(map(str, current))} values for one face, more than "
                f"any VGG-Face; the file is damaged"
            )
    return result


def _output(layer: Layer, shape: Shape, file: str) -> Shape:
    if layer.kind not in ("convolution", "pool"):
        return shape
    top, bottom, left, right = layer.pad
    height = (shape[0] + top + bottom - layer.size[0]) // layer.stride[0] + 1
    width = (shape[1] + left + right - layer.size[1]) // layer.stride[1] + 1
    if height < 1 or width < 1:
        raise WeightsError(
            f"{file}: layer {layer.name} has a window of {layer.size[0]} x {layer.size[1]}, larger than its "
            f"input of {shape[0]} x {shape[1]}"
        )
    if layer.kind == "pool":
        return height, width, shape[2]
    if layer.channels[0] != shape[2]:
        raise WeightsError(
            f"{file}: the kernel of layer {layer.name} has {layer.channels[0]} input channels; "
            f"the layer before gives {shape[2]}"
        )
    return height, width, layer.channels[1]


def build(read: Callable[[], Chain], *, name: str, file: str):
    """Build the functional Keras model of the chain that `read` returns, every variable set from its arrays."""
    chain = read()
    assignment = Assignment(chain.arrays, file=file)
    layers, size = chain.layers, chain.preprocessing.size
    del chain  # only `assignment` holds the arrays now, and drops each when it is used
    keras = import_keras()
    x = inputs = keras.Input((*size, 3), name="input")
    for layer in layers:
        x = _apply(keras, layer, x, assignment)
    model = keras.Model(inputs, x, name=name)
    assignment.finish(model)
    return model


def _apply(keras, layer: Layer, x, assignment: Assignment):
    make = keras.layers
    if layer.kind == "relu":
        return make.ReLU(name=layer.name)(x)
    if layer.kind == "softmax":
        return make.Softmax(name=layer.name)(x)
    if layer.kind == "dropout":
        return make.Dropout(layer.rate, name=layer.name)(x)
    same = layer.kind == "convolution" and _keeps_size(layer)
    if any(layer.pad) and not same:
        top, bottom, left, right = layer.pad
        x = make.ZeroPadding2D(((top, bottom), (left, right)), name=f"{layer.name}_pad")(x)
    if layer.kind == "pool":
        return make.MaxPooling2D(layer.size, layer.stride, name=layer.name)(x)
    weights = assignment.initializers(layer.name, ("kernel", "bias"))
    padding = "same" if same else "valid"
    return make.Conv2D(layer.channels[1], layer.size, layer.stride, padding, name=layer.name, **weights)(x)


def _keeps_size(layer: Layer) -> bool:
    height, width = layer.size
    around = (height // 2, height // 2, width // 2, width // 2)
    return layer.pad == around and height % 2 == 1 == width % 2 and layer.stride == (1, 1)

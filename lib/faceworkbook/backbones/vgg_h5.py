"""Read VGG-Face from Keras weights into a `Chain`: DeepFace's ``vgg_face_weights.h5``, keras-vggface's VGG16."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from faceworkbook.backbones import h5_weights
from faceworkbook.backbones.base import WeightsError
from faceworkbook.backbones.chain import Chain, Layer
from faceworkbook.images import Preprocessing

DEPTHS = (2, 2, 3, 3, 3)
CONVOLUTIONS = tuple(f"conv{block}_{n}" for block, depth in enumerate(DEPTHS, 1) for n in range(1, depth + 1))
NAMES = (*CONVOLUTIONS, "fc6", "fc7", "fc8")
MEAN_RGB = (129.1863, 104.7624, 93.5940)  # not in the files; from vgg_face.mat, of which both are conversions
SIDE = 224  # where the file has no fc6 to read it from


def read(path: Path) -> Chain:
    """Read the network in a file of weights.

    DeepFace's layers are numbered by Keras; they get VGG's names by their order, and take RGB as ``vgg_face.mat``
    does. keras-vggface's bear VGG's names, and take BGR; its file without top ends at pool5.

    Raises
    ------
    WeightsError
        Damaged, or the layers of another network.
    """
    arrays = h5_weights.read(path)
    has_names = all(re.fullmatch(r"conv\d_\d|fc\d", layer) for layer in arrays)
    named = arrays if has_names else dict(zip(NAMES, arrays.values(), strict=False))
    if len(named) != len(arrays) or tuple(named) not in (NAMES, CONVOLUTIONS):
        raise WeightsError(
            f"{path} is another network; VGG-Face has {len(NAMES)} layers with weights, {NAMES[0]} to {NAMES[-1]}; "
            f"{h5_weights.describe(arrays)}"
        )
    kernels = {name: _kernel(path, name, layer, named) for name, layer in named.items()}
    values = {}
    for name, kernel in kernels.items():
        values[name, "kernel"], values[name, "bias"] = kernel, named[name]["bias"]
    side = kernels["fc6"].shape[0] * 2 ** len(DEPTHS) if "fc6" in kernels else SIDE
    channels, mean = ("BGR", MEAN_RGB[::-1]) if has_names else ("RGB", MEAN_RGB)
    interpolation = "bilinear" if has_names else "bicubic"
    preprocessing = Preprocessing((side, side), channels, mean, interpolation=interpolation)
    return Chain(tuple(_layers(kernels)), values, preprocessing)


def _kernel(path: Path, name: str, layer: dict[str, np.ndarray], named: h5_weights.Arrays) -> np.ndarray:
    """Return a layer's kernel as (height, width, in, out); a dense one is a convolution over the whole map."""
    if set(layer) != {"kernel", "bias"}:
        raise WeightsError(f"{path}: layer {name} has {', '.join(layer)}; expected kernel and bias")
    kernel = layer["kernel"]
    if kernel.ndim == 2:
        given = named[CONVOLUTIONS[-1]]["bias"].size if name == "fc6" else kernel.shape[0]
        side = round((kernel.shape[0] / given) ** 0.5)
        if side * side * given != kernel.shape[0]:
            raise WeightsError(
                f"{path}: {name} reads {kernel.shape[0]} numbers; expected a square of {given} channels"
            )
        kernel = kernel.reshape(side, side, given, kernel.shape[1])
    is_convolution = name in CONVOLUTIONS
    if (
        kernel.ndim != 4
        or layer["bias"].shape != kernel.shape[3:]
        or (kernel.shape[:2] == (3, 3)) != is_convolution
    ):
        raise WeightsError(
            f"{path}: layer {name} has kernel {layer['kernel'].shape} and bias {layer['bias'].shape}, which is not "
            "VGG-Face's; its convolutions are 3 x 3"
        )
    return kernel


def _layers(kernels: dict[str, np.ndarray]) -> list[Layer]:
    layers = []
    for name, kernel in kernels.items():
        label = re.sub("[a-z]", "", name)
        pad = 1 if name in CONVOLUTIONS else 0
        layers.append(
            Layer(name, "convolution", size=kernel.shape[:2], pad=(pad,) * 4, channels=kernel.shape[2:])
        )
        if name != "fc8":
            layers.append(Layer(f"relu{label}", "relu"))
        if name in ("fc6", "fc7"):
            layers.append(Layer(f"dropout{label}", "dropout"))
        if name in CONVOLUTIONS and int(label[2:]) == DEPTHS[int(label[0]) - 1]:
            layers.append(Layer(f"pool{label[0]}", "pool", size=(2, 2), stride=(2, 2)))
    return [*layers, Layer("prob", "softmax")] if "fc8" in kernels else layers

"""Read ``VGG_FACE.t7`` into a `Chain`. Its layers have no names; VGG's names are assigned by position."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faceworkbook.backbones import torch7
from faceworkbook.backbones.base import WeightsError
from faceworkbook.backbones.chain import Chain, Layer
from faceworkbook.images import Preprocessing

MEAN_BGR = (93.5940, 104.7624, 129.1863)  # not in the file; from the README of its archive
IGNORED = ("nn.View", "nn.Reshape", "nn.Identity", "nn.Copy")
SOFTMAX = ("nn.SoftMax", "cudnn.SoftMax")


def read(path: Path) -> Chain:
    """Read the network in a binary Torch7 file: nn.Sequential of convolutions, pooling, Linear and SoftMax.

    Raises
    ------
    WeightsError
        Damaged, or another kind of network.
    """
    root = torch7.read(path)
    if not isinstance(root, torch7.TorchObject) or root.type_name != "nn.Sequential":
        kind = root.type_name if isinstance(root, torch7.TorchObject) else type(root).__name__
        raise WeightsError(f"{path} holds a {kind}; expected VGG-Face as an nn.Sequential")
    naming = _Naming(path)
    for module in _modules(root, path):
        naming.add(module)
    side = naming.side * int(np.prod([layer.stride[0] for layer in naming.layers]))
    return Chain(tuple(naming.layers), naming.arrays, Preprocessing((side, side), "BGR", MEAN_BGR))


def _modules(sequential: torch7.TorchObject, path: Path) -> list[torch7.TorchObject]:
    table = sequential.get("modules")
    modules = [table[key] for key in sorted(table)] if _is_list(table) else []
    if not modules or not all(isinstance(module, torch7.TorchObject) for module in modules):
        raise WeightsError(f"{path}: the nn.Sequential holds no list of modules; give VGG_FACE.t7")
    return modules


def _is_list(table) -> bool:
    return isinstance(table, dict) and all(isinstance(key, float) for key in table)


@dataclass
class _Naming:
    """Names modules by position: conv1_1, relu1_1, pool1, ..., fc6, relu6, ..., prob."""

    path: Path
    layers: list[Layer] = field(default_factory=list)
    arrays: dict = field(default_factory=dict)
    block: int = 1
    inside: int = 0
    linear: bool = False
    channels: int = 3
    side: int = 1

    def add(self, module: torch7.TorchObject) -> None:
        kind = module.type_name.split(".")[-1]
        if kind in ("SpatialConvolutionMM", "SpatialConvolution"):
            self._add_convolution(module)
        elif kind == "Linear":
            self._add_linear(module)
        elif kind == "SpatialMaxPooling":
            self._add_pool(module)
        elif kind in ("ReLU", "Threshold"):
            self.layers.append(Layer(f"relu{self._label()}", "relu"))
        elif kind == "Dropout":
            self.layers.append(Layer(f"dropout{self._label()}", "dropout", rate=self._rate(module)))
        elif module.type_name in SOFTMAX:
            self.layers.append(Layer("prob", "softmax"))
        elif module.type_name not in IGNORED:
            raise WeightsError(
                f"{self.path}: module {module.type_name} does not occur in VGG-Face; give VGG_FACE.t7"
            )

    def _label(self) -> str:
        return str(self.block) if self.linear else f"{self.block}_{self.inside}"

    def _rate(self, module) -> float:
        rate = module.get("p", 0.5)
        return rate if isinstance(rate, float) and 0 <= rate < 1 else 0.5

    def _whole(self, module, name: str, default: int | None = None, *, low: int = 1) -> int:
        value = module.get(name, default)
        if not isinstance(value, int | float) or value != value or not low <= value <= 1e6:
            raise WeightsError(
                f"{self.path}: {name} of {module.type_name} is {value!r}; expected a whole number"
            )
        return int(value)

    def _add_convolution(self, module) -> None:
        self.inside += 1
        out, given = self._whole(module, "nOutputPlane"), self._whole(module, "nInputPlane")
        size = self._whole(module, "kH"), self._whole(module, "kW")
        down = self._whole(module, "padH", module.get("padding", 0), low=0)
        right = self._whole(module, "padW", module.get("padding", 0), low=0)
        layer = Layer(
            f"conv{self._label()}",
            "convolution",
            size=size,
            stride=(self._whole(module, "dH", 1), self._whole(module, "dW", 1)),
            pad=(down, down, right, right),
            channels=(given, out),
        )
        self._store(layer, module)

    def _add_pool(self, module) -> None:
        if module.get("padW", 0) or module.get("padH", 0) or module.get("ceil_mode", False):
            raise WeightsError(
                f"{self.path}: a pooling is padded or rounds up; VGG-Face's do not, give VGG_FACE.t7"
            )
        size = self._whole(module, "kH"), self._whole(module, "kW")
        stride = self._whole(module, "dH", size[0]), self._whole(module, "dW", size[1])
        self.layers.append(Layer(f"pool{self.block}", "pool", size=size, stride=stride))
        self.block, self.inside = self.block + 1, 0

    def _add_linear(self, module) -> None:
        weight = module.get("weight")
        if not isinstance(weight, np.ndarray) or weight.ndim != 2:
            raise WeightsError(f"{self.path}: a Linear module has no weight matrix; give VGG_FACE.t7")
        self.block += self.linear
        out, given = weight.shape
        side = 1 if self.linear else self._first_side(given)
        self.linear = True
        layer = Layer(f"fc{self.block}", "convolution", size=(side, side), channels=(given // side**2, out))
        self._store(layer, module)

    def _first_side(self, given: int) -> int:
        self.side = round((given / self.channels) ** 0.5)
        if self.side < 1 or self.side**2 * self.channels != given:
            raise WeightsError(
                f"{self.path}: the first Linear reads {given} values; expected a square of {self.channels} channels"
            )
        return self.side

    def _store(self, layer: Layer, module) -> None:
        """Store kernel and bias; Torch's (out, in, height, width) becomes (height, width, in, out)."""
        weight, bias = module.get("weight"), module.get("bias")
        given, out = layer.channels
        if not all(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in (weight, bias)):
            raise WeightsError(f"{self.path}: layer {layer.name} has no weight and bias")
        if weight.size != given * out * layer.size[0] * layer.size[1] or bias.shape != (out,):
            raise WeightsError(
                f"{self.path}: layer {layer.name} has weight {weight.shape} and bias {bias.shape}; expected "
                f"{(out, given, *layer.size)} and {(out,)}"
            )
        kernel = weight.reshape(out, given, *layer.size).transpose(2, 3, 1, 0)
        self.arrays[layer.name, "kernel"], self.arrays[layer.name, "bias"] = kernel, bias
        self.layers.append(layer)
        self.channels = out

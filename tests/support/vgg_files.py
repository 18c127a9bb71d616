"""Write networks with random weights in the formats of VGG-Face's files, for tests and benchmarks."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MEAN_RGB = (129.1863, 104.7624, 93.5940)


@dataclass(frozen=True)
class Parameters:
    """Weights of a VGG-like network, channels first as Torch has them.

    Attributes
    ----------
    kernels : dict of str to ndarray of shape (out, in, height, width), float32
        'conv1_1' ... 'fc8', from input to output.
    biases : dict of str to ndarray of shape (out,), float32
    side : int
        Height and width of the input, pixels.
    """

    kernels: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    side: int


def random_parameters(
    rng: np.random.Generator,
    *,
    widths: tuple[int, ...] = (64, 128, 256, 512, 512),
    depths: tuple[int, ...] = (2, 2, 3, 3, 3),
    side: int = 7,
    hidden: int = 4096,
    classes: int = 2622,
) -> Parameters:
    """He-initialised weights; the defaults are the full-size network of 145,002,878 parameters.

    Parameters
    ----------
    rng : numpy.random.Generator
    widths, depths : tuple of int
        Channels and number of convolutions of each block.
    side : int
        Height and width of the map after the last pooling.
    hidden, classes : int
        Outputs of fc6 and fc7, and of fc8.
    """
    shapes, given = {}, 3
    for block, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        for layer in range(1, depth + 1):
            shapes[f"conv{block}_{layer}"] = (width, given, 3, 3)
            given = width
    first = len(widths) + 1
    shapes[f"fc{first}"] = (hidden, given, side, side)
    shapes[f"fc{first + 1}"] = (hidden, hidden, 1, 1)
    shapes[f"fc{first + 2}"] = (classes, hidden, 1, 1)
    kernels = {name: _he(rng, shape) for name, shape in shapes.items()}
    biases = {name: rng.normal(0, 0.1, k.shape[0]).astype(np.float32) for name, k in kernels.items()}
    return Parameters(kernels, biases, side * 2 ** len(widths))


def _he(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    # Of a uniform distribution: 145 million normal numbers take seconds.
    kernel = rng.random(shape, np.float32)
    kernel -= np.float32(0.5)
    kernel *= np.float32(np.sqrt(12 * 2 / np.prod(shape[1:])))
    return kernel


def write_mat(path: Path, parameters: Parameters, *, wrapped: bool = True, older: bool = False) -> None:
    """Write a MatConvNet file.

    Parameters
    ----------
    wrapped : bool
        One variable ``net`` (Oxford's archive); otherwise ``layers`` and ``meta`` (MatConvNet's zoo).
    older : bool
        ``filters`` and ``biases`` instead of ``weights``.
    """
    import scipy.io

    layers = [_mat_layer(name, kind, parameters, older) for name, kind in _sequence(parameters)]
    normalization = {
        "imageSize": np.array([[parameters.side, parameters.side, 3]], float),
        "averageImage": np.array(MEAN_RGB, np.float32).reshape(1, 1, 3),
        "border": np.zeros((1, 2)),
        "interpolation": "bicubic",
        "keepAspect": 1.0,
    }
    names = _cell([f"Person_{n}" for n in range(len(parameters.biases[_last(parameters)]))])
    if wrapped:
        net = {"layers": _cell(layers), "normalization": normalization, "classes": {"description": names}}
        content = {"net": net}
    else:
        meta = {"normalization": normalization, "classes": {"description": names}}
        content = {"layers": _cell(layers), "meta": meta}
    scipy.io.savemat(path, content)


def _last(parameters: Parameters) -> str:
    return list(parameters.kernels)[-1]


def _sequence(parameters: Parameters):
    """(name, kind) of every layer in order."""
    names = list(parameters.kernels)
    for name, following in zip(names, [*names[1:], None], strict=True):
        yield name, "conv"
        label = name.lstrip("convf")
        if following is not None:
            yield f"relu{label}", "relu"
        if name.startswith("conv") and label[0] != following.lstrip("convf")[0]:
            yield f"pool{label[0]}", "pool"
    yield "prob", "softmax"


def _cell(values: list) -> np.ndarray:
    cell = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        cell[0, i] = value
    return cell


def _mat_layer(name: str, kind: str, parameters: Parameters, older: bool) -> dict:
    layer: dict = {"name": name, "type": kind}
    if kind == "pool":
        layer |= {"method": "max", "pool": [2.0, 2.0], "stride": 2.0, "pad": 0.0}
    if kind == "conv":
        kernel = parameters.kernels[name].transpose(2, 3, 1, 0)
        bias = parameters.biases[name][None]
        layer |= {"filters": kernel, "biases": bias} if older else {"weights": _cell([kernel, bias])}
        layer |= {"stride": 1.0, "pad": 0.0 if name.startswith("fc") else 1.0}
    return layer


def write_t7(path: Path, parameters: Parameters) -> None:
    """Write a binary Torch7 file: nn.Sequential with SpatialConvolutionMM, Linear and SoftMax."""
    modules = []
    for name, kind in _sequence(parameters):
        if name == f"fc{_first_linear(parameters)}":
            modules.append(("nn.View", {"numElements": float(parameters.kernels[name][0].size)}))
        modules.append(_t7_module(name, kind, parameters))
        if kind == "relu" and "_" not in name:
            modules.append(("nn.Dropout", {"p": 0.5, "v2": True}))
    with path.open("wb") as file:
        writer = _TorchWriter(file)
        writer.write_object("nn.Sequential", {"modules": {float(i): m for i, m in enumerate(modules, 1)}})


def _first_linear(parameters: Parameters) -> int:
    return min(int(name[2:]) for name in parameters.kernels if name.startswith("fc"))


def _t7_module(name: str, kind: str, parameters: Parameters) -> tuple[str, dict]:
    if kind == "relu":
        return "nn.ReLU", {"threshold": 0.0, "val": 0.0, "inplace": True}
    if kind == "softmax":
        return "nn.SoftMax", {}
    if kind == "pool":
        window = {"kW": 2.0, "kH": 2.0, "dW": 2.0, "dH": 2.0, "padW": 0.0, "padH": 0.0}
        return "nn.SpatialMaxPooling", {**window, "ceil_mode": False}
    kernel, bias = parameters.kernels[name], parameters.biases[name]
    weights = {"weight": kernel.reshape(len(kernel), -1), "bias": bias}
    if name.startswith("fc"):
        return "nn.Linear", weights
    planes = {"nOutputPlane": float(kernel.shape[0]), "nInputPlane": float(kernel.shape[1])}
    window = {"kW": 3.0, "kH": 3.0, "dW": 1.0, "dH": 1.0, "padW": 1.0, "padH": 1.0}
    return "nn.SpatialConvolutionMM", {**planes, **window, **weights}


class _TorchWriter:
    def __init__(self, file):
        self._file, self._count = file, 0

    def _pack(self, code: str, *values) -> None:
        self._file.write(struct.pack(f"<{code}", *values))

    def _index(self) -> int:
        self._count += 1
        return self._count

    def _string(self, text: str) -> None:
        self._pack("i", len(text))
        self._file.write(text.encode())

    def write_object(self, type_name: str, fields: dict) -> None:
        self._pack("ii", 4, self._index())
        self._string("V 1")
        self._string(type_name)
        self.write(fields)

    def write(self, value) -> None:
        if isinstance(value, bool):
            self._pack("ii", 5, value)
        elif isinstance(value, float):
            self._pack("id", 1, value)
        elif isinstance(value, str):
            self._pack("i", 2)
            self._string(value)
        elif isinstance(value, dict):
            self._write_table(value)
        elif isinstance(value, tuple):
            self.write_object(*value)
        else:
            self._write_tensor(value)

    def _write_table(self, table: dict) -> None:
        self._pack("iii", 3, self._index(), len(table))
        for key, value in table.items():
            self.write(key)
            self.write(value)

    def _write_tensor(self, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array, "<f4")
        strides = [step // array.itemsize for step in array.strides]
        self._pack("ii", 4, self._index())
        self._string("V 1")
        self._string("torch.FloatTensor")
        self._pack(f"i{2 * array.ndim + 1}q", array.ndim, *array.shape, *strides, 1)
        self._pack("ii", 4, self._index())
        self._string("V 1")
        self._string("torch.FloatStorage")
        self._pack("q", array.size)
        self._file.write(array.data)


def write_keras_weights(path: Path, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """Write weights as Keras 1 and 2 did.

    Parameters
    ----------
    layers : dict of str to dict of str to ndarray
        Layer to the name of an array, such as 'conv1_1/kernel:0', to the array; layers without arrays too.
    """
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, arrays in layers.items():
            group = file.require_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array

"""Read MatConvNet networks (``vgg_face.mat``, ``vgg-face.mat``) into a `Chain`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faceworkbook import matlab
from faceworkbook.backbones.base import WeightsError
from faceworkbook.backbones.chain import Chain, Layer
from faceworkbook.images import INTERPOLATIONS, Preprocessing

LARGEST = 4096  # pixels of an input, a window, a step
KINDS = {"conv": "convolution", "softmaxloss": "softmax"} | {
    kind: kind for kind in ("relu", "pool", "dropout", "softmax")
}


def read(path: Path) -> Chain:
    """Read the network in a MATLAB v5 file, in either layout.

    Raises
    ------
    WeightsError
        Damaged, or not a simple MatConvNet network.
    """
    net = _load(path)
    structs = [_one(cell) for cell in _field(net, "layers").ravel()]
    read_layers = [_read_layer(struct, path) for struct in structs]
    arrays = {}
    for layer, kernel, bias in read_layers:
        if kernel is not None:
            arrays[layer.name, "kernel"], arrays[layer.name, "bias"] = kernel, bias
    meta = _one(_field(net, "meta", None)) or net
    layers = tuple(layer for layer, *_ in read_layers)
    return Chain(layers, arrays, _preprocessing(meta, path), _class_names(meta))


def _load(path: Path) -> dict:
    try:
        content = matlab.read(path)
    except matlab.MatlabError as error:
        raise WeightsError(str(error)) from error
    net = _one(content["net"]) if "net" in content else content
    layers = _field(net, "layers", None)
    if not isinstance(layers, np.ndarray) or layers.dtype != object:
        names = ", ".join(name for name in content if name)[:200] or "nothing"
        raise WeightsError(f"{path} holds {names}; expected a MatConvNet network: net, or layers and meta")
    return net


def _one(value):
    """Return the only element of a 1 x 1 array, as MATLAB wraps every struct; None where it is empty."""
    while isinstance(value, np.ndarray) and value.dtype == object:
        if value.size == 0:
            return None
        value = value.flat[0]
    return value


_REQUIRED = object()


def _field(struct, name: str, default=_REQUIRED):
    """Return a field; the default where it is missing or of a kind that is not read (see `matlab.read`)."""
    value = struct.get(name) if isinstance(struct, dict) else None
    value = default if value is None else value
    if value is _REQUIRED:
        raise WeightsError(f"a struct of the file has no {name}")
    return value


def _text(value) -> str:
    value = _one(value)
    return value if isinstance(value, str) else ""


def _numbers(struct, name: str, default: tuple[int, ...], path: Path, *, low: int = 0) -> tuple[int, ...]:
    """Return a field of whole numbers from `low` to 4096; a single one is repeated to the length of `default`."""
    values = np.ravel(np.asarray(_field(struct, name, default)))
    if values.dtype.kind not in "iuf" or len(values) not in (1, len(default)):
        raise WeightsError(
            f"{path}: {name} of a layer holds {len(values)} values; expected 1 or {len(default)} numbers"
        )
    if not ((values >= low) & (values <= LARGEST) & (values == np.round(values))).all():
        raise WeightsError(
            f"{path}: {name} of a layer is {values.tolist()}; expected whole numbers, {low} to {LARGEST}"
        )
    return tuple(int(v) for v in np.resize(values, len(default)))


def _rate(struct) -> float:
    rate = np.ravel(np.asarray(_field(struct, "rate", 0.5)))
    return float(rate[0]) if rate.dtype.kind in "iuf" and rate.size and 0 <= rate[0] < 1 else 0.5


def _read_layer(struct, path: Path):
    name, kind = _text(_field(struct, "name", "")), _text(_field(struct, "type", ""))
    if kind not in KINDS:
        raise WeightsError(
            f"{path}: layer {name!r} is of type {kind!r}; a VGG-Face network has {', '.join(KINDS)}"
        )
    if kind == "conv":
        return _read_convolution(struct, name, path)
    if kind == "pool":
        return _read_pool(struct, name, path), None, None
    return Layer(name, KINDS[kind], rate=_rate(struct)), None, None


def _read_convolution(struct, name: str, path: Path):
    kernel, bias = _kernel_and_bias(struct, name, path)
    if kernel.ndim > 4 or kernel.dtype.kind != "f":
        raise WeightsError(
            f"{path}: kernel of layer {name} is {kernel.dtype} {kernel.shape}; expected 4-d floats"
        )
    kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim), order="F")  # MATLAB drops last ones
    out = kernel.shape[3]
    bias = bias.ravel() if bias.size else np.zeros(out, np.float32)
    if bias.shape != (out,):
        raise WeightsError(f"{path}: bias of layer {name} has shape {bias.shape}; expected {(out,)}")
    if _numbers(struct, "dilate", (1, 1), path) != (1, 1):
        raise WeightsError(f"{path}: layer {name} is dilated; VGG-Face has no such layer")
    layer = Layer(
        name,
        "convolution",
        size=kernel.shape[:2],
        stride=_numbers(struct, "stride", (1, 1), path, low=1),
        pad=_numbers(struct, "pad", (0, 0, 0, 0), path),
        channels=kernel.shape[2:],
    )
    return layer, kernel, bias


def _kernel_and_bias(struct, name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    weights = _field(struct, "weights", None)
    if weights is None:
        pair = [_field(struct, "filters", None), _field(struct, "biases", None)]
    else:
        pair = list(np.ravel(weights)) if weights.dtype == object else []
    if len(pair) != 2 or not all(isinstance(p, np.ndarray) and p.dtype != object for p in pair):
        raise WeightsError(
            f"{path}: layer {name} has no kernel and bias; expected weights {{kernel, bias}} or filters and biases"
        )
    return pair[0], pair[1]


def _read_pool(struct, name: str, path: Path) -> Layer:
    method = _text(_field(struct, "method", "max"))
    pad = _numbers(struct, "pad", (0, 0, 0, 0), path)
    if method != "max" or any(pad):
        raise WeightsError(
            f"{path}: pooling {name} is {method!r} with pad {pad}; VGG-Face has 'max' without pad"
        )
    size, stride = (_numbers(struct, field, (n, n), path, low=1) for field, n in (("pool", 2), ("stride", 1)))
    return Layer(name, "pool", size=size, stride=stride)


def _preprocessing(meta, path: Path) -> Preprocessing:
    normalization = _one(_field(meta, "normalization", None))
    if normalization is None:
        raise WeightsError(
            f"{path}: no normalization (imageSize, averageImage), so the input is unknown; give the file as MatConvNet distributes it"
        )
    size = _numbers(normalization, "imageSize", (224, 224, 3), path, low=1)
    interpolation = _text(_field(normalization, "interpolation", "bicubic"))
    if interpolation not in INTERPOLATIONS:
        raise WeightsError(f"{path}: interpolation {interpolation!r}; expected {', '.join(INTERPOLATIONS)}")
    return Preprocessing(size[:2], "RGB", _mean(normalization, path), interpolation=interpolation)


def _mean(normalization, path: Path) -> tuple[float, ...]:
    average = np.asarray(_field(normalization, "averageImage", np.empty(0)))
    pixels = (
        average.reshape(-1, 3) if average.size % 3 == 0 and average.dtype.kind in "fiu" else np.empty((0, 3))
    )
    if len(pixels) > 1:  # a whole picture, in MATLAB's order: channels last
        pixels = average.reshape(-1, average.shape[-1])
    if not len(pixels) or pixels.shape[1] != 3 or not np.ptp(pixels, axis=0).max() <= 1e-3:
        raise WeightsError(
            f"{path}: averageImage has shape {average.shape}; expected one mean for each of R, G, B"
        )
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise WeightsError(f"{path}: averageImage is {pixels[0].tolist()}; expected means from 0 to 255")
    return tuple(float(m) for m in pixels[0])


def _class_names(meta) -> tuple[str, ...]:
    classes = _field(meta, "classes", None)
    struct = _one(classes)
    if isinstance(struct, dict):
        classes = struct.get("description", struct.get("name"))
    if not isinstance(classes, np.ndarray) or classes.dtype != object:
        return ()
    return tuple(_text(entry) for entry in classes.ravel())

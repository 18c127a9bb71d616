"""Weights alone in HDF5, as Keras 1 and 2 saved them: layers by name, in order, each with its arrays."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from faceworkbook.backbones.base import WeightsError

Arrays = dict[str, dict[str, np.ndarray]]

# By the last word of an array's name; Keras 1 had short ones.
VARIABLES = {
    **{v: v for v in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")},
    **{"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"},
}
# What an array may unpack to: so much, or so many times the size of its file.
FREE_BYTES, MAX_RATIO = 2**26, 100
KERNEL, NORMALISATION = ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance")


def _open(path: Path):
    import h5py

    try:
        return h5py.File(path)
    except OSError as error:
        raise WeightsError(f"{path} is no HDF5 file, or damaged ({str(error)[:200]})") from error


def read_attribute(path: Path, name: str) -> str:
    """Return a text attribute of a file's root; KeyError where it is not there."""
    with _open(path) as file:
        value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def is_whole_model(path: Path) -> bool:
    """Return whether a file describes layers too, not their weights alone."""
    with _open(path) as file:
        return "model_config" in file.attrs


def read(path: Path) -> Arrays:
    """Read the arrays of every layer that has some, in the file's order.

    Returns
    -------
    dict of str to dict of str to ndarray
        Layer to variable ('kernel', 'bias', 'gamma', 'beta', 'moving_mean', 'moving_variance') to array.

    Raises
    ------
    WeightsError
        Damaged, another layout, or arrays that lie outside of the file.
    """
    with _open(path) as file:
        root = file.get("model_weights", file)
        if not _has_names(root):
            names = ", ".join(list(file)[:6]) or "nothing"
            raise WeightsError(
                f"{path} is an HDF5 file that holds {names}, without the list of layers that Keras 1 and 2 write; a "
                "network of Keras 3 is read whole: save it with model.save('NAME.keras')"
            )
        try:
            return {
                layer: _layer(root, layer) for layer in _texts(root, "layer_names") if _names(root, layer)
            }
        except (KeyError, ValueError, OSError, AttributeError, RuntimeError) as error:
            if isinstance(error, WeightsError):
                raise
            raise WeightsError(f"{path} is damaged: {error}") from error


def describe(arrays: Arrays) -> str:
    """Return layers and shapes in words, the first and the last of them."""
    words = [
        f"{layer} {' '.join(str(tuple(a.shape)) for a in variables.values())}"
        for layer, variables in arrays.items()
    ]
    shown = words if len(words) <= 6 else [*words[:3], "...", *words[-3:]]
    return f"the file has {len(words)} layers with weights: {', '.join(shown)}"


def flatten(arrays: Arrays) -> dict[tuple[str, str], np.ndarray]:
    """Return arrays by (layer, variable), layers named as Keras 3 allows: without slashes."""
    return {(plain(layer), v): a for layer, variables in arrays.items() for v, a in variables.items()}


def plain(layer: str) -> str:
    """Return a layer's name without slashes."""
    return layer.replace("/", "_")


def _has_names(group) -> bool:
    return any(name in group.attrs for name in ("layer_names", "layer_names0"))


def _texts(group, name: str) -> list[str]:
    """Return a list of names; long lists are cut into several attributes."""
    pieces = [name] if name in group.attrs else [f"{name}{i}" for i in range(len(group.attrs))]
    values = [v for piece in pieces if piece in group.attrs for v in np.ravel(group.attrs[piece])]
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _names(root, layer: str) -> list[str]:
    return _texts(root[layer], "weight_names")


def _layer(root, layer: str) -> dict[str, np.ndarray]:
    names = _names(root, layer)
    by_place = NORMALISATION if len(names) == len(NORMALISATION) else KERNEL
    arrays = {}
    for place, name in enumerate(names):
        variable = _variable(name) or (by_place[place] if place < len(by_place) else name)
        arrays[variable] = _array(root[layer], name)
    if len(arrays) != len(names):
        raise WeightsError(
            f"{root.file.filename}: layer {layer} has {', '.join(names)}, of which two are the same"
        )
    return arrays


def _variable(name: str) -> str:
    stem = re.sub(r"(_\d+)?(:\d+)?$", "", name.split("/")[-1])
    known = [short for short in VARIABLES if stem == short or stem.endswith(f"_{short}")]
    return VARIABLES[max(known, key=len)] if known else ""


def _array(group, name: str) -> np.ndarray:
    import h5py

    data = group[name]
    link = group.get(name, getlink=True)
    if (
        not isinstance(data, h5py.Dataset)
        or isinstance(link, h5py.ExternalLink)
        or data.external
        or data.is_virtual
    ):
        raise WeightsError(
            f"{group.file.filename}: {name} does not lie in the file itself; such files are refused"
        )
    if data.dtype.kind != "f":
        raise WeightsError(
            f"{group.file.filename}: {name} holds {data.dtype}, expected numbers with a fraction"
        )
    if data.size * data.dtype.itemsize > max(
        FREE_BYTES, MAX_RATIO * Path(group.file.filename).stat().st_size
    ):
        raise WeightsError(
            f"{group.file.filename}: {name} announces {data.shape}, far more than the file holds"
        )
    return data[()]

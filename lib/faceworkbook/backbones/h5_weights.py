"""Weights alone in HDF5, as Keras 1 and 2 saved them: layers by name, in order, each with its arrays."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faceworkbook import hdf5
from faceworkbook.backbones.base import WeightsError

Arrays = dict[str, dict[str, np.ndarray]]

# By the last word of an array's name; Keras 1 had short ones.
VARIABLES = {
    **{v: v for v in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")},
    **{"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"},
}
KERNEL, NORMALISATION = ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance")


@contextlib.contextmanager
def _open(path: Path) -> Iterator:
    """Open a file; whatever h5py raises of a damaged one is a `WeightsError`."""
    try:
        with hdf5.open_file(path, error=WeightsError) as file:
            yield file
    except WeightsError:
        raise
    except (KeyError, ValueError, OSError, AttributeError, RuntimeError, TypeError) as error:
        raise WeightsError(f"{path} is damaged: {str(error)[:200]}; {hdf5.AGAIN}") from error


def read_attribute(path: Path, name: str) -> str:
    """Return a text attribute of a file's root; `WeightsError` where it is not there."""
    with _open(path) as file:
        if name not in file.attrs:
            raise WeightsError(f"{path} is no Keras model, or damaged: it has no {name}")
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
        return {layer: _layer(root, layer) for layer in _texts(root, "layer_names") if _names(root, layer)}


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
            f"{root.file.filename}: layer {layer} has {', '.join(names)}, of which two are the same; save the weights again"
        )
    return arrays


def _variable(name: str) -> str:
    stem = re.sub(r"(_\d+)?(:\d+)?$", "", name.split("/")[-1])
    known = [short for short in VARIABLES if stem == short or stem.endswith(f"_{short}")]
    return VARIABLES[max(known, key=len)] if known else ""


def _array(group, name: str) -> np.ndarray:
    import h5py

    data = group[name]
    if not isinstance(data, h5py.Dataset):
        raise WeightsError(f"{group.file.filename}: {name} is no array; {hdf5.AGAIN}")
    if data.dtype.kind != "f":
        raise WeightsError(
            f"{group.file.filename}: {name} holds {data.dtype}, expected numbers with a fraction"
        )
    return data[()]

"""Begin with the layers of another run's network: names and shapes are compared first, weights copied second."""

from __future__ import annotations

from collections.abc import Collection

import keras
import numpy as np
import pandas as pd

from faceworkbook.training.batched import TrainingError

TAKEN, EXCHANGED = "taken over", "begins at random"


def copy_layers(model: keras.Model, source: keras.Model, *, exchanged: Collection[str] = ()) -> pd.DataFrame:
    """Copy the weights of `source` into the layers of `model` that bear the same names.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    source : keras.Model
    exchanged : collection of str
        Layers of heads whose task is another one: they keep their random weights, and may be of another shape.

    Returns
    -------
    pandas.DataFrame
        layer, weights (count), what ('taken over' or 'begins at random').

    Raises
    ------
    TrainingError
        A layer is missing on one side, or has other shapes; nothing is copied then.
    """
    own, theirs = ({layer.name: layer for layer in net.layers if layer.weights} for net in (model, source))
    wanted = [name for name in own if name not in exchanged]
    lacking = [name for name in wanted if name not in theirs]
    if lacking:
        raise TrainingError(
            f"the model to start from has no layers {_few(lacking)}; build the same network, with the same hidden layers"
        )
    differing = [name for name in wanted if _shapes(own[name]) != _shapes(theirs[name])]
    if differing:
        name = differing[0]
        raise TrainingError(
            f"layer {name!r} has weights of shape {_shapes(own[name])}, in the model to start from "
            f"{_shapes(theirs[name])}; build the same network, with the same hidden layers"
        )
    for name in wanted:
        for variable, value in zip(own[name].weights, theirs[name].weights, strict=True):
            if "seed_generator" not in variable.path:
                variable.assign(value)
    rows = [(name, own[name].count_params(), TAKEN if name in wanted else EXCHANGED) for name in own]
    return pd.DataFrame(rows, columns=["layer", "weights", "what"])


def read_moments(model: keras.Model) -> tuple[np.ndarray, np.ndarray] | None:
    """Return mean and variance that a network standardises its input by, ndarrays of shape (d,); None where it does not."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            return tuple(np.asarray(value, np.float32).reshape(-1) for value in (layer.mean, layer.variance))
    return None


def _shapes(layer) -> list[tuple]:
    return [tuple(weight.shape) for weight in layer.weights]


def _few(names: list[str]) -> str:
    return f"{names[:5]}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")

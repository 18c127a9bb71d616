"""A `Backbone` of any Keras model, known by the content of its weights."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from faceworkbook.backbones.base import Backbone, BackboneError, Tap
from faceworkbook.images import Preprocessing

if TYPE_CHECKING:
    import keras


def from_keras(
    model: keras.Model,
    *,
    name: str,
    preprocessing: Preprocessing,
    tap: str | None = None,
    source: str = "a Keras model",
) -> Backbone:
    """Make a backbone of a Keras model that is in memory.

    Parameters
    ----------
    model : keras.Model
        Functional or built Sequential model: one input (n, height, width, channels), channels last.
    name : str
        Name in manifests and reports, such as 'mine'.
    preprocessing : Preprocessing
        What the model was trained on; its size and channels must fit the model's input.
    tap : str, optional
        Layer whose output is the descriptor; the last one where None. Any layer with an output of known shape
        (n, dim) or (n, height, width, channels) is a tap; a map is averaged over height and width.
    source : str
        Where the weights come from, in one line for reports.

    Returns
    -------
    Backbone
        Its fingerprint is the SHA-256 of layers and weights, so that a descriptor store knows the model by content.

    Raises
    ------
    BackboneError
        The model has no single picture as input, or `preprocessing` or `tap` does not fit it.
    """
    check_input(model, preprocessing)
    taps = find_taps(model)
    last = last_layer(model)
    if last not in taps:
        raise BackboneError(
            f"model {model.name} ends in {tuple(model.outputs[0].shape)}; expected (n, dim) or a map of known size"
        )
    return Backbone(
        name=name,
        tap=tap or last,
        tap_table=taps,
        preprocessing=preprocessing,
        fingerprint=_fingerprint(model),
        builder=functools.partial(_return, model),
        source=source,
        is_own=True,
    )


def _return(model: keras.Model) -> keras.Model:
    # A module's function, unlike a lambda, can be pickled for other processes; Keras pickles the model.
    return model


def check_input(model: keras.Model, preprocessing: Preprocessing) -> None:
    """Raise BackboneError where a model does not take one picture of the preprocessing's size and channels."""
    inputs = getattr(model, "inputs", None) or []
    channels = 1 if preprocessing.channels == "GRAY" else 3
    expected = (*preprocessing.size, channels)
    shape = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
    if len(shape) != 3 or any(n is not None and n != m for n, m in zip(shape, expected, strict=True)):
        shapes = [tuple(x.shape) for x in inputs] or "none that is known: build it, or use the functional API"
        raise BackboneError(
            f"model {model.name} has the inputs {shapes}; with this preprocessing expected one of shape (n, "
            f"{', '.join(map(str, expected))}): change preprocessing's size or channels, or the model"
        )


def last_layer(model: keras.Model) -> str:
    """Return the name of the layer that gives a model's first output."""
    return model.outputs[0]._keras_history.operation.name


def find_taps(model: keras.Model, *, pool: bool = True, scales_to_one: bool = False) -> dict[str, Tap]:
    """Return every layer with one output of known width; a map is averaged, or flattened where `pool` is false."""
    taps = {}
    for layer in model.layers:
        try:
            output = layer.output
            shape = tuple(output.shape)
        except AttributeError:  # several outputs, or a layer that is used twice
            continue
        sizes = shape[1:] if len(shape) == 4 and not pool else shape[-1:]
        if output is not model.inputs[0] and len(shape) in (2, 4) and None not in sizes:
            is_averaged = pool and len(shape) == 4
            taps[layer.name] = Tap(
                layer.name, int(np.prod(sizes)), pool=is_averaged, scales_to_one=scales_to_one
            )
    return taps


def _fingerprint(model: keras.Model) -> str:
    """Return the SHA-256 of a model's layers and weights.

    Names are left out: Keras numbers layers anew in each process, and the same model would be another one.
    """
    digest = hashlib.sha256()
    for layer in model.layers:
        settings = json.dumps(_without_names(layer.get_config()), sort_keys=True, default=str)
        digest.update(f"{type(layer).__name__} {settings}".encode())
    for variable in model.weights:
        values = np.ascontiguousarray(variable.numpy())
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(values)
    return digest.hexdigest()


def _without_names(value):
    if isinstance(value, dict):
        return {key: _without_names(item) for key, item in value.items() if key != "name"}
    if isinstance(value, list | tuple):
        return [_without_names(item) for item in value]
    return value

"""The MLP: standardisation, hidden layers with dropout, probabilities or a number.

``widths=(16, 16), dropout=0.4`` is d, 16, dropout, 16, sigmoid. Hidden layers are relu; dropout follows
every hidden layer but the last (the only one, where there is one).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from faceworkbook.tasks import Task


def build(
    task: Task,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    widths: Sequence[int] = (16, 16),
    dropout: float = 0.4,
    unit: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> keras.Model:
    """Build the net.

    Parameters
    ----------
    task : Task
        Two classes get one sigmoid unit (the second class), more a soft-max, a number a linear unit.
    mean, variance : ndarray of shape (d,)
        Of the training rows, per direction; kept inside the model.
    widths : sequence of int
        Hidden layers; none makes it a linear classifier.
    dropout : float, 0..1
    unit : (offset, scale)
        A number is ``offset + scale * output``, in its own unit.
    seed : int
        Of the initial weights (Glorot uniform).

    Returns
    -------
    keras.Model
        (batch, d) raw descriptors -> (batch, n_outputs), float32.
    """
    check(widths=widths, dropout=dropout)
    layers, start = keras.layers, keras.initializers.GlorotUniform
    inputs = keras.Input((len(mean),), name="descriptor")
    x = layers.Normalization(mean=np.asarray(mean), variance=np.asarray(variance), name="standardise")(inputs)
    for i, width in enumerate(widths):
        x = layers.Dense(width, "relu", kernel_initializer=start(seed + i), name=f"dense{i + 1}")(x)
        if has_dropout(i, len(widths)):
            x = layers.Dropout(dropout, seed=seed + i, name=f"dropout{i + 1}")(x)
    last = start(seed + len(widths))
    x = layers.Dense(task.n_outputs, task.activation, kernel_initializer=last, name="output")(x)
    if task.is_number:
        x = layers.Rescaling(unit[1], unit[0], name="unit")(x)
    return keras.Model(inputs, x, name="mlp")


def average(members: Sequence[keras.Model]) -> keras.Model:
    """Return the network that answers with the mean of its members' outputs (probabilities, or numbers).

    Parameters
    ----------
    members : sequence of keras.Model
        As `build` makes them, for the same descriptors and task; their weights are copied.
    """
    if len(members) == 1:
        return members[0]
    inputs, outputs = keras.Input(members[0].input_shape[1:], name="descriptor"), []
    for number, member in enumerate(members, 1):
        x = inputs
        for layer in member.layers[1:]:
            copy = type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_{number}"})
            x = copy(x)
            copy.set_weights(layer.get_weights())
        outputs.append(x)
    total = keras.layers.Add(name="sum")(outputs)
    mean = keras.layers.Rescaling(1 / len(members), name="mean")(total)
    return keras.Model(inputs, mean, name="mlps")


def check(*, widths: Sequence[int], dropout: float) -> None:
    """Raise ValueError where `widths` or `dropout` are out of range."""
    if any(not isinstance(w, int | np.integer) or w < 1 for w in widths):
        raise ValueError(f"widths={tuple(widths)}; allowed are whole numbers of 1 or more, such as (16, 16)")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}; allowed is 0 <= dropout < 1 (share of units)")


def has_dropout(layer: int, n_hidden: int) -> bool:
    """Whether dropout follows hidden layer number `layer` (from 0)."""
    return layer < n_hidden - 1 or n_hidden == 1


def set_weights(model: keras.Model, kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> None:
    """Assign kernels (inputs x outputs) and biases layer by layer; ValueError where shapes differ."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if not len(layers) == len(kernels) == len(biases):
        raise ValueError(
            f"{len(kernels)} kernels and {len(biases)} biases for {len(layers)} dense layers; give one of each a layer"
        )
    for layer, kernel, bias in zip(layers, kernels, biases, strict=True):
        layer.set_weights([kernel, bias])

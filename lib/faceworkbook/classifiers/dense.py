"""The dense classifier: standardisation, hidden layers with dropout, probabilities or a number.

System E's net is ``widths=(16, 16), dropout=0.4``: d, 16, dropout, 16, sigmoid. Hidden layers are
relu; dropout follows every hidden layer but the last (the only one, where there is one).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from faceworkbook.classifiers import targets


def build(
    *,
    kind: str,
    n_classes: int,
    mean: np.ndarray,
    variance: np.ndarray,
    widths: Sequence[int] = (16, 16),
    dropout: float = 0.4,
    offset: float = 0.0,
    scale: float = 1.0,
    seed: int = 0,
) -> keras.Model:
    """Build the net.

    Parameters
    ----------
    kind : {'classes', 'number', 'ages'}
    n_classes : int
        Two classes get one sigmoid unit (the second class), more a soft-max. Not used for numbers.
    mean, variance : ndarray of shape (d,)
        Of the training rows, per direction; kept inside the model.
    widths : sequence of int
        Hidden layers; none makes it a linear classifier.
    dropout : float, 0..1
    offset, scale : float
        A number is ``offset + scale * output``, in its own unit.
    seed : int
        Of the initial weights (Glorot uniform).

    Returns
    -------
    keras.Model
        (batch, d) raw descriptors -> (batch, 1) or (batch, n_classes), float32.
    """
    check(widths=widths, dropout=dropout)
    inputs = keras.Input((len(mean),), name="descriptor")
    x = keras.layers.Normalization(mean=np.asarray(mean), variance=np.asarray(variance), name="standardise")(
        inputs
    )
    for i, width in enumerate(widths):
        x = keras.layers.Dense(
            width, "relu", kernel_initializer=keras.initializers.GlorotUniform(seed + i), name=f"dense{i + 1}"
        )(x)
        if has_dropout(i, len(widths)):
            x = keras.layers.Dropout(dropout, seed=seed + i, name=f"dropout{i + 1}")(x)
    last = keras.initializers.GlorotUniform(seed + len(widths))
    x = keras.layers.Dense(
        n_outputs(kind, n_classes), activation(kind, n_classes), kernel_initializer=last, name="output"
    )(x)
    if kind == targets.NUMBER:
        x = keras.layers.Rescaling(scale, offset, name="unit")(x)
    return keras.Model(inputs, x, name="dense_classifier")


def check(*, widths: Sequence[int], dropout: float) -> None:
    """Raise ValueError where `widths` or `dropout` are out of range."""
    if any(not isinstance(w, int | np.integer) or w < 1 for w in widths):
        raise ValueError(f"widths={tuple(widths)}; allowed are whole numbers of 1 or more, such as (16, 16)")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}; allowed is 0 <= dropout < 1 (share of units)")


def has_dropout(layer: int, n_hidden: int) -> bool:
    """Whether dropout follows hidden layer number `layer` (from 0)."""
    return layer < n_hidden - 1 or n_hidden == 1


def n_outputs(kind: str, n_classes: int) -> int:
    """Units of the last layer."""
    return 1 if kind == targets.NUMBER or n_classes == 2 else n_classes


def activation(kind: str, n_classes: int) -> str:
    """Activation of the last layer."""
    if kind == targets.NUMBER:
        return "linear"
    return "sigmoid" if n_classes == 2 else "softmax"


def loss(kind: str, n_classes: int) -> keras.losses.Loss:
    """The loss that fits the model's output: probabilities, so ``from_logits`` is False throughout.

    System E fed a sigmoid's output to a loss that took it for a logit.
    """
    if kind == targets.NUMBER:
        return keras.losses.MeanSquaredError()
    if n_classes == 2:
        return keras.losses.BinaryCrossentropy(from_logits=False)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=False)


def set_weights(model: keras.Model, kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> None:
    """Assign kernels (inputs x outputs) and biases layer by layer; ValueError where shapes differ."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if not len(layers) == len(kernels) == len(biases):
        raise ValueError(f"{len(kernels)} kernels and {len(biases)} biases for {len(layers)} dense layers")
    for layer, kernel, bias in zip(layers, kernels, biases, strict=True):
        layer.set_weights([kernel, bias])


def probabilities(output: np.ndarray, n_classes: int) -> np.ndarray:
    """Model output as one column a class: (n, 1) of a sigmoid becomes (n, 2)."""
    output = np.asarray(output, dtype=np.float64)
    if n_classes == 2:
        return np.hstack([1 - output, output])
    return output / output.sum(axis=1, keepdims=True)

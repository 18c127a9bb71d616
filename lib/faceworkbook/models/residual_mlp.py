"""Residual multi-layer perceptron on descriptors (arXiv 2108.08186).

A residual block is: batch norm, dropout, Dense, relu, batch norm, dropout, Dense, plus the block's input,
relu; the very first batch norm and dropout are skipped.  After each group of residual blocks a Dense layer
halves the width.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np


@dataclass(frozen=True)
class Recipe:
    """Shape and training of a residual perceptron.

    Attributes
    ----------
    residuals : int, 0..5
        Residual blocks in a group.
    groups : int, 0..5
        Groups, each followed by a layer that halves the width.
    batch_size : int
    learning_rate, weight_decay : float
        Of AdamW.
    gamma : float, 0..1
        The learning rate is multiplied by it after each epoch.
    dropout : float, 0..1
    """

    residuals: int
    groups: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    gamma: float
    dropout: float = 0.05


# The best of the paper's 100 trials, on Adience.
BEST = {
    "gender": Recipe(1, 4, 512, 0.0244, 0.0047, 0.066),
    "age_group": Recipe(1, 2, 128, 0.001167, 1.23e-4, 0.395),
}

# What the search went through: choices, or (low, high) of a log-uniform distribution.
SEARCH_CHOICES = {
    "residuals": (0, 1, 2, 3, 4, 5),
    "groups": (0, 1, 2, 3, 4, 5),
    "batch_size": (128, 256, 512),
}
SEARCH_RANGES = {"learning_rate": (1e-6, 1e-1), "weight_decay": (1e-6, 1e-1), "gamma": (1e-6, 1.0)}


def draw(rng: np.random.Generator) -> Recipe:
    """Draw a recipe at random out of the paper's search space."""
    chosen = {name: int(rng.choice(values)) for name, values in SEARCH_CHOICES.items()}
    for name, (low, high) in SEARCH_RANGES.items():
        chosen[name] = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return Recipe(**chosen)


def trunk(width: int, *, residuals: int, groups: int, dropout: float = 0.05, seed: int = 0) -> keras.Model:
    """The perceptron without its last layer, for any heads.

    Parameters
    ----------
    width : int
        Of the descriptors.
    residuals, groups : int, 0 or more
        See `Recipe`.
    dropout : float, 0..1
    seed : int

    Returns
    -------
    keras.Model
        (batch, width) -> (batch, width // 2 ** groups), float32.

    Raises
    ------
    ValueError
        The width cannot be halved so often.
    """
    if residuals < 0 or groups < 0:
        raise ValueError(f"residuals={residuals}, groups={groups}; both must be 0 or more")
    if width >> groups < 1:
        raise ValueError(f"groups={groups} would halve a width of {width} below 1; use fewer groups")
    seeds = _seeds(seed)
    inputs = keras.Input((width,), name="descriptor")
    x, first = inputs, True
    for group in range(groups):
        for block in range(residuals):
            x = _residual(x, f"group{group + 1}_block{block + 1}", dropout, seeds, skip_first=first)
            first = False
        x = _dense(x.shape[-1] // 2, f"group{group + 1}_halve", seeds)(x)
    return keras.Model(inputs, x, name="residual_mlp")


def build(
    width: int, n_outputs: int, *, residuals: int, groups: int, dropout: float = 0.05, seed: int = 0
) -> keras.Model:
    """The whole classifier: `trunk` and a linear layer.

    Returns
    -------
    keras.Model
        (batch, width) -> logits of shape (batch, n_outputs); train it with ``from_logits=True``.
    """
    body = trunk(width, residuals=residuals, groups=groups, dropout=dropout, seed=seed)
    logits = _dense(n_outputs, "logits", _seeds(seed + 1))(body.output)
    return keras.Model(body.input, logits, name="residual_mlp_classifier")


def _seeds(seed: int):
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(2**31))


def _residual(x, name: str, dropout: float, seeds, *, skip_first: bool):
    width = x.shape[-1]
    y = x if skip_first else _regularised(x, f"{name}_in", dropout, seeds)
    y = _dense(width, f"{name}_dense1", seeds)(y)
    y = keras.layers.Activation("relu", name=f"{name}_relu1")(y)
    y = _regularised(y, f"{name}_mid", dropout, seeds)
    y = _dense(width, f"{name}_dense2", seeds)(y)
    return keras.layers.Activation("relu", name=f"{name}_relu2")(keras.layers.Add(name=f"{name}_add")([y, x]))


def _regularised(x, name: str, dropout: float, seeds):
    x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return keras.layers.Dropout(dropout, seed=next(seeds), name=f"{name}_dropout")(x)


def _dense(width: int, name: str, seeds) -> keras.layers.Dense:
    return keras.layers.Dense(
        width, kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)), name=name
    )

"""Residual multi-layer perceptron on descriptors (arXiv 2108.08186).

A residual block is: batch norm, dropout, Dense, relu, batch norm, dropout, Dense, plus the block's input,
relu; the very first batch norm and dropout are skipped.  After each group of residual blocks a Dense layer
halves the width.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from faceworkbook.tasks import Task


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
    shortcuts : bool
        False leaves the sums out (ablation): what remains is a plain perceptron of the same layers.
    ic_layers : bool
        False leaves batch norm and dropout out (ablation); "independent component" layers in the paper's words.
    """

    residuals: int
    groups: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    gamma: float
    dropout: float = 0.05
    shortcuts: bool = True
    ic_layers: bool = True

    def __post_init__(self):
        if not (0 <= self.residuals <= 5 and 0 <= self.groups <= 5):
            raise ValueError(
                f"residuals={self.residuals}, groups={self.groups}; allowed are whole numbers 0..5"
            )
        if self.batch_size < 1 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"batch_size={self.batch_size}, learning_rate={self.learning_rate}, weight_decay="
                f"{self.weight_decay}; allowed are 1 or more, above 0, and 0 or more"
            )
        if not 0 < self.gamma <= 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"gamma={self.gamma}, dropout={self.dropout}; allowed are 0 < gamma <= 1 and 0 <= dropout < 1"
            )


# The best of the paper's 100 trials, on Adience.
BEST = {
    "gender": Recipe(1, 4, 512, 0.0244, 0.0047, 0.066),
    "age_group": Recipe(1, 2, 128, 0.001167, 1.23e-4, 0.395),
}


def recipe(label: str) -> Recipe:
    """Return the best recipe of the paper for a label, that of gender for what it did not try."""
    return BEST.get(label, BEST["gender"])


def trunk(width: int, *, residuals: int, groups: int, dropout: float = 0.05, seed: int = 0) -> keras.Model:
    """Build the perceptron without its last layer, for any heads.

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
    inputs = keras.Input((width,), name="descriptor")
    x = _halving_groups(inputs, _Blocks(residuals, groups, dropout), _seeds(seed))
    return keras.Model(inputs, x, name="residual_mlp")


def build(
    task: Task,
    recipe: Recipe,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    unit: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> keras.Model:
    """Build the whole classifier: standardisation, `trunk`, and the task's outputs.

    Parameters
    ----------
    task : Task
    recipe : Recipe
        Groups that would halve the width below 1 are left out.
    mean, variance : ndarray of shape (d,)
        Of the training rows, per direction; kept inside the model.
    unit : (offset, scale)
        A number is ``offset + scale * output``, in its own unit.
    seed : int

    Returns
    -------
    keras.Model
        (batch, d) raw descriptors -> (batch, n_outputs), float32, as of `models.mlp`.
    """
    groups = min(recipe.groups, len(mean).bit_length() - 1)
    inputs = keras.Input((len(mean),), name="descriptor")
    x = keras.layers.Normalization(mean=mean, variance=variance, name="standardise")(inputs)
    blocks = _Blocks(recipe.residuals, groups, recipe.dropout, recipe.shortcuts, recipe.ic_layers)
    x = _halving_groups(x, blocks, _seeds(seed))
    last = keras.initializers.GlorotUniform(seed=next(_seeds(seed + 1)))
    x = keras.layers.Dense(task.n_outputs, task.activation, kernel_initializer=last, name="output")(x)
    if task.is_number:
        x = keras.layers.Rescaling(unit[1], unit[0], name="unit")(x)
    return keras.Model(inputs, x, name="residual_mlp")


@dataclass(frozen=True)
class _Blocks:
    residuals: int
    groups: int
    dropout: float
    shortcuts: bool = True
    ic_layers: bool = True


def _halving_groups(x, blocks: _Blocks, seeds):
    for group in range(blocks.groups):
        for block in range(blocks.residuals):
            name = f"group{group + 1}_block{block + 1}"
            x = _residual(x, name, blocks, seeds, skip_first=group == block == 0)
        x = _dense(x.shape[-1] // 2, f"group{group + 1}_halve", seeds)(x)
    return x


def _seeds(seed: int):
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(2**31))


def _residual(x, name: str, blocks: _Blocks, seeds, *, skip_first: bool):
    width = x.shape[-1]
    y = x if skip_first else _regularised(x, f"{name}_in", blocks, seeds)
    y = _dense(width, f"{name}_dense1", seeds)(y)
    y = keras.layers.Activation("relu", name=f"{name}_relu1")(y)
    y = _regularised(y, f"{name}_mid", blocks, seeds)
    y = _dense(width, f"{name}_dense2", seeds)(y)
    y = keras.layers.Add(name=f"{name}_add")([y, x]) if blocks.shortcuts else y
    return keras.layers.Activation("relu", name=f"{name}_relu2")(y)


def _regularised(x, name: str, blocks: _Blocks, seeds):
    if not blocks.ic_layers:
        return x
    x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return keras.layers.Dropout(blocks.dropout, seed=next(seeds), name=f"{name}_dropout")(x)


def _dense(width: int, name: str, seeds) -> keras.layers.Dense:
    return keras.layers.Dense(
        width, kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)), name=name
    )

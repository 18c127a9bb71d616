"""Layers that share a learning rate, each group with an optimiser of its own so that the rate takes effect.

Scaling a group's gradients would do nothing: Adam divides the scale out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import keras

# Biases, batch norm's terms, stitches and uncertainties are no weights that a decay should pull to 0.
NOT_DECAYED = ["bias", "gamma", "beta", "alpha", "log_variance"]


@dataclass(frozen=True, eq=False)
class ParamGroup:
    """Layers that are frozen and thawed together and share a learning rate.

    Attributes
    ----------
    name : str
    layers : tuple of keras.layers.Layer
    lr_multiplier : float
        Of the learning rate; 0 never moves the weights.
    frozen : bool
        Whether the layers never change; their batch norm then uses its stored statistics.
    frozen_epochs : frozenset of int
        Epochs (from 0) in which they stay as they are.
    extra : tuple of variable
        Trainable variables beside those of the layers.
    """

    name: str
    layers: tuple
    lr_multiplier: float = 1.0
    frozen: bool = False
    frozen_epochs: frozenset[int] = frozenset()
    extra: tuple = ()

    def is_frozen(self, epoch: int) -> bool:
        """Return whether the group stays as it is in `epoch`."""
        return self.frozen or epoch in self.frozen_epochs


def check_names(names: Iterable[str], *, allowed: Sequence[str], parameter: str) -> None:
    """Raise ValueError where `parameter` names a group that the network does not have."""
    unknown = sorted(set(names) - set(allowed))
    if unknown:
        raise ValueError(f"{parameter} names {unknown}; the parameter groups of this net are {list(allowed)}")


class ParamGroupOptimizers:
    """AdamW for each parameter group, with a learning rate and a state of its own.

    Parameters
    ----------
    groups : sequence of ParamGroup
        Frozen ones, and those without trainable variables, are left out.
    weight_decay : float
        Decoupled: each step takes learning rate * weight_decay * kernel off each kernel.
    """

    def __init__(self, groups: Sequence[ParamGroup], *, weight_decay: float):
        variables = {g.name: _trainable(g) for g in groups if not g.frozen}
        self._variables = {name: owned for name, owned in variables.items() if owned}
        self._multipliers = {g.name: g.lr_multiplier for g in groups}
        self._optimizers = {name: _adamw(owned, weight_decay) for name, owned in self._variables.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The groups that can move."""
        return tuple(self._variables)

    def set_rate(self, learning_rate: float) -> dict[str, float]:
        """Set the learning rate of every group, `learning_rate` times its multiplier; return them by name."""
        rates = {name: learning_rate * self._multipliers[name] for name in self._variables}
        for name, rate in rates.items():
            self._optimizers[name].learning_rate = rate
        return rates

    def apply(self, gradients: Iterable, names: Iterable[str]) -> None:
        """Move the named groups by one step, with gradients in the order of `variables`."""
        gradients = list(gradients)
        for name in names:
            owned = self._variables[name]
            mine, gradients = gradients[: len(owned)], gradients[len(owned) :]
            self._optimizers[name].apply(mine, owned)

    def variables(self, names: Iterable[str]) -> list:
        """Return the trainable variables of the named groups, in order."""
        return [variable for name in names for variable in self._variables[name]]

    @property
    def state(self) -> list:
        """Every variable of every optimiser, in an order that depends on the net alone."""
        return [variable for optimizer in self._optimizers.values() for variable in optimizer.variables]


def _trainable(group: ParamGroup) -> list:
    return [variable for layer in group.layers for variable in layer.trainable_weights] + list(group.extra)


def _adamw(variables: list, weight_decay: float) -> keras.optimizers.Optimizer:
    # The rate is set anew at the start of each epoch.
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    optimizer.build(variables)
    return optimizer

"""One optimiser a part of a net, so that each part has a learning rate that takes effect.

Scaling a part's gradients would do nothing: Adam divides the scale out again.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras

# Biases, batch norm's terms, stitches and uncertainties are no weights that a decay should pull to 0.
NOT_DECAYED = ["bias", "gamma", "beta", "alpha", "log_variance"]


class ParamGroupOptimizers:
    """AdamW for each part of a net, with a learning rate and a state of its own.

    Parameters
    ----------
    variables : dict of str to list of variable
        Trainable variables by part; parts without variables are left out.
    learning_rate : float
        Of a part whose multiplier is 1.
    multipliers : dict of str to float
        Of `learning_rate`, by part; 1 where a part is not named.  0 never moves it.
    weight_decay : float
        Decoupled: each step takes learning rate * weight_decay * kernel off each kernel.
    """

    def __init__(
        self,
        variables: dict[str, list],
        *,
        learning_rate: float,
        multipliers: dict[str, float],
        weight_decay: float,
    ):
        unknown = sorted(set(multipliers) - set(variables))
        if unknown:
            raise ValueError(
                f"learning-rate multipliers name {unknown}; the parts of this net are {list(variables)}"
            )
        self.variables_of = {part: owned for part, owned in variables.items() if owned}
        self._rates = {part: learning_rate * multipliers.get(part, 1.0) for part in self.variables_of}
        self._optimisers = {
            part: _adamw(owned, self._rates[part], weight_decay) for part, owned in self.variables_of.items()
        }

    def start_epoch(self, schedule, epoch: int) -> dict[str, float]:
        """Set every part's learning rate for `epoch` by `schedule`; returns them."""
        rates = {part: schedule.rate(rate, epoch) for part, rate in self._rates.items()}
        for part, rate in rates.items():
            self._optimisers[part].learning_rate = rate
        return rates

    def apply(self, gradients: Iterable, parts: Iterable[str]) -> None:
        """One step of the named parts, with gradients in the order of `trainable`."""
        gradients = list(gradients)
        for part in parts:
            owned = self.variables_of[part]
            mine, gradients = gradients[: len(owned)], gradients[len(owned) :]
            self._optimisers[part].apply(mine, owned)

    def trainable(self, parts: Iterable[str]) -> list:
        """The variables of the named parts, in order."""
        return [variable for part in parts for variable in self.variables_of[part]]

    @property
    def state(self) -> list:
        """Every variable of every optimiser, in an order that depends on the net alone."""
        return [variable for optimiser in self._optimisers.values() for variable in optimiser.variables]


def _adamw(variables: list, learning_rate: float, weight_decay: float) -> keras.optimizers.Optimizer:
    optimiser = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimiser.exclude_from_weight_decay(var_names=NOT_DECAYED)
    optimiser.build(variables)
    return optimiser

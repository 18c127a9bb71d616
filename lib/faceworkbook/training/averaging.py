"""An exponential moving average of the weights: judged, kept and put to use instead of the last step's.

Source: Polyak and Juditsky 1992; the start-up of the decay is that of TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
from keras import ops

from faceworkbook.training import checkpoint


class WeightAverage:
    """Follow variables: average = decay * average + (1 - decay) * value after every step.

    Parameters
    ----------
    variables : sequence of keras.Variable
        Weights and batch statistics that training changes.
    decay : float, above 0 and below 1
        In step t (from 0) it is at most (1 + t) / (10 + t), so that the first weights are soon forgotten.
    """

    def __init__(self, variables: Sequence, decay: float):
        self._variables, self._decay = list(variables), decay
        self._averages = [keras.Variable(v.numpy(), trainable=False, dtype=v.dtype) for v in self._variables]
        self._steps = keras.Variable(0.0, trainable=False)

    @property
    def state(self) -> list:
        """Averages and the number of steps."""
        return [*self._averages, self._steps]

    def update(self) -> None:
        """Take in the variables after a step."""
        decay = ops.minimum(self._decay, (1 + self._steps) / (10 + self._steps))
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(average + (1 - ops.cast(decay, average.dtype)) * (variable - average))
        self._steps.assign(self._steps + 1)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the variables, and the variables' own values back afterwards."""
        own = checkpoint.values_of(self._variables)
        checkpoint.assign(self._variables, checkpoint.values_of(self._averages))
        try:
            yield
        finally:
            checkpoint.assign(self._variables, own)

"""Successive halving: at growing numbers of epochs the worse trials stop (Jamieson and Talwalkar 2016).

A trial is judged beside all that have reached the same epoch so far, as in ASHA (Li et al. 2020). Several brackets
begin later and later, as in Hyperband (Li et al. 2018). The judgement follows from the trials' own figures alone:
a search that was killed judges the same when it goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Halving:
    """When trials are judged, and how many go on.

    Attributes
    ----------
    first : int
        Epochs before the first judgement of the first bracket.
    factor : int, 2 or more
        One of so many goes on; the next judgement comes after so many times the epochs.
    brackets : int
        Trials take turns in so many brackets; each begins `factor` times as late as the one before. 1 is ASHA.
    """

    first: int = 4
    factor: int = 2
    brackets: int = 1

    def __post_init__(self):
        if self.first < 1 or self.factor < 2 or self.brackets < 1:
            raise ValueError(
                f"first={self.first}, factor={self.factor}, brackets={self.brackets}; allowed are whole numbers of "
                "1, 2 and 1 or more"
            )

    def rungs(self, place: int, epochs: int) -> list[int]:
        """Return after which epochs trial number `place` of its round is judged, of `epochs` at most."""
        begin = self.first * self.factor ** (place % self.brackets)
        n = max(math.ceil(math.log(max(epochs / begin, 1), self.factor)) + 1, 0)
        return [rung for rung in (begin * self.factor**i for i in range(n)) if rung < epochs]

    def goes_on(self, value: float, others: Sequence[float]) -> bool:
        """Whether a trial goes on, whose value (higher is better, NaN never) stands beside those of others."""
        if not math.isfinite(value):
            return False
        values = sorted([*(v for v in others if math.isfinite(v)), value], reverse=True)
        return value >= values[max(len(values) // self.factor, 1) - 1]


class Umpire:
    """Knows the values of all trials of a round by the epoch at which they were judged.

    It stands apart from what trains: an actor of a cluster that only judges need not import TensorFlow.

    Parameters
    ----------
    known : mapping of int to list of float
        Of trials of earlier rounds.
    sign : int
        1 where a higher value is better, else -1.
    halving : Halving or None
    """

    def __init__(self, known: Mapping[int, Sequence[float]], *, sign: int, halving):
        self._known, self._sign, self._halving = known, sign, halving
        self._here: dict[int, dict[int, float]] = {}

    def judge(self, number: int, epoch: int, value: float) -> bool:
        """Whether trial `number` goes on after `epoch`, beside all that have been there."""
        here = self._here.setdefault(epoch, {})
        here[number] = self._sign * value
        others = [self._sign * v for v in self._known.get(epoch, ())]
        others += [v for other, v in here.items() if other != number]
        return self._halving.goes_on(here[number], others)

    def note(self, number: int, rungs: Mapping[int, float]) -> None:
        """Take in the values of a trial that has ended, also those of epochs that it did not need."""
        for epoch, value in rungs.items():
            self._here.setdefault(epoch, {})[number] = self._sign * value


def join(*known: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
    """Return the values of all trials by epoch."""
    epochs = sorted({epoch for one in known for epoch in one})
    return {epoch: [value for one in known for value in one.get(epoch, ())] for epoch in epochs}

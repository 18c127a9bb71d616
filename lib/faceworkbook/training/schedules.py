"""How the learning rate falls from epoch to epoch, and how long a part of a net stays frozen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Staircase:
    """The learning rate is multiplied by `factor` once every `every` epochs.

    `factor` = 1 keeps it; `every` = 1 is an exponential fall per epoch (system D's gamma).
    """

    factor: float = 1.0
    every: int = 1

    def __post_init__(self):
        if not 0 < self.factor <= 1:
            raise ValueError(f"decay factor={self.factor}; allowed is above 0, up to 1 (1: no decay)")
        if self.every < 1:
            raise ValueError(f"decay every={self.every} epochs; allowed is 1 or more")

    def rate(self, start: float, epoch: int) -> float:
        """Learning rate of `epoch` (from 0), where `start` is that of epoch 0."""
        return start * self.factor ** (epoch // self.every)

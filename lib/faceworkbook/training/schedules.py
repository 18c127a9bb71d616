"""Learning rates over epochs: Keras' own schedules, asked once an epoch instead of once a step, and a plateau's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keras.optimizers.schedules import CosineDecay, ExponentialDecay, LearningRateSchedule


def staircase(learning_rate: float, *, factor: float, every: int = 1) -> LearningRateSchedule:
    """Return a schedule that multiplies the learning rate by `factor` once every `every` epochs.

    `every` = 1 is an exponential fall per epoch (the gamma of arXiv 2108.08186).
    """
    if not 0 < factor <= 1:
        raise ValueError(f"decay factor={factor}; allowed is above 0, up to 1 (1: no decay)")
    if every < 1:
        raise ValueError(f"decay every={every} epochs; allowed is 1 or more")
    return ExponentialDecay(learning_rate, every, factor, staircase=True)


def cosine(
    learning_rate: float, *, epochs: int, warmup: int = 0, floor: float = 0.01
) -> LearningRateSchedule:
    """Return a schedule that rises over `warmup` epochs, then falls as half a cosine to `floor` at `epochs`.

    `floor` is a share of `learning_rate`, the highest rate.
    """
    falling = {"decay_steps": max(1, epochs - warmup), "alpha": floor}
    if not warmup:
        return CosineDecay(learning_rate, **falling)
    first = learning_rate / (warmup + 1)
    return CosineDecay(first, **falling, warmup_target=learning_rate, warmup_steps=warmup)


@dataclass(frozen=True)
class Plateau:
    """A learning rate that falls where the validation loss does not.

    It follows from the losses of the epochs before alone, so a run that is gone on with takes the same rates.

    Attributes
    ----------
    learning_rate : float
        Of the first epochs.
    factor : float, above 0 and below 1
        What it is multiplied by after `wait` epochs without a loss that is lower by `least`, and again after the next.
    wait : int, 1 or more
    least : float, 0 or more
        Share of the lowest loss that a new one must be below it to count.
    floor : float, 0 or more
        Share of `learning_rate` that it never falls below.
    """

    learning_rate: float
    factor: float = 0.5
    wait: int = 3
    least: float = 1e-4
    floor: float = 0.01

    def __post_init__(self):
        if not 0 < self.factor < 1:
            raise ValueError(f"plateau factor={self.factor}; allowed is above 0 and below 1")
        if self.wait < 1:
            raise ValueError(f"plateau wait={self.wait} epochs; allowed is 1 or more")

    def after(self, losses: Sequence[float]) -> float:
        """Return the learning rate of the epoch that follows these validation losses."""
        lowest, waited, share = float("inf"), 0, 1.0
        for loss in losses:
            waited = 0 if loss < lowest * (1 - self.least) else waited + 1
            lowest = min(lowest, loss)
            if waited == self.wait:
                waited, share = 0, max(share * self.factor, self.floor)
        return self.learning_rate * share


@dataclass(frozen=True)
class Slower:
    """A schedule that takes `times` epochs where another one takes one.

    Attributes
    ----------
    schedule : LearningRateSchedule
    times : int
    """

    schedule: LearningRateSchedule
    times: int

    def __call__(self, epoch: int) -> float:
        """Return the learning rate of `epoch` (from 0)."""
        return float(self.schedule(epoch // self.times))

    def get_config(self) -> dict:
        """Return what the schedule is known by."""
        return {"of": type(self.schedule).__name__, **self.schedule.get_config(), "times": self.times}


def slower(learning_rate, times: int):
    """Stretch a schedule, or a plateau's wait, for data sets that take turns, epoch by epoch; a number stays as it is."""
    if times > 1 and isinstance(learning_rate, Plateau):
        return replace(learning_rate, wait=learning_rate.wait * times)
    return Slower(learning_rate, times) if times > 1 and callable(learning_rate) else learning_rate


SCHEDULES = ("cosine", "plateau", "constant")


def named(name: str, learning_rate: float, *, epochs: int) -> float | LearningRateSchedule | Plateau:
    """Return the schedule of a notebook's parameter: 'cosine' (one epoch of warm-up), 'plateau' or 'constant'."""
    if name not in SCHEDULES:
        raise ValueError(f"schedule={name!r}; allowed are {list(SCHEDULES)}")
    if name == "cosine":
        return cosine(learning_rate, epochs=epochs, warmup=min(1, epochs - 1))
    return Plateau(learning_rate) if name == "plateau" else learning_rate


def rate(
    learning_rate: float | LearningRateSchedule | Plateau, epoch: int, losses: Sequence[float] = ()
) -> float:
    """Return the learning rate of `epoch` (from 0), after epochs with these validation losses."""
    if isinstance(learning_rate, Plateau):
        return learning_rate.after(losses)
    return float(learning_rate(epoch)) if callable(learning_rate) else float(learning_rate)

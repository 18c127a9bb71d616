"""Learning rates over epochs: Keras' own schedules, asked once an epoch instead of once a step."""

from __future__ import annotations

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


def rate(learning_rate: float | LearningRateSchedule, epoch: int) -> float:
    """Return the learning rate of `epoch` (from 0)."""
    return float(learning_rate(epoch)) if callable(learning_rate) else float(learning_rate)

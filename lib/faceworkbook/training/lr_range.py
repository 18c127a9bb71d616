"""Learning-rate range test: the loss while the rate rises step by step, to see which rates train a network at all.

Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3. The smoothing and the
suggestion are those that Gugger describes ("How do you find a good learning rate", 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.training import checkpoint
from faceworkbook.training.loop import Examples, Learner

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 60
SKIPPED = 10  # batches at the start, whose mean is of too few to be smooth
SMOOTHING = 0.9  # of the mean over the losses before
WORSE = 4.0  # times the lowest loss: the test ends there


@dataclass(frozen=True)
class LrRange:
    """What a range test saw.

    Attributes
    ----------
    curve : pandas.DataFrame
        learning_rate, loss (of one batch), smoothed.
    suggested : float
        Where the smoothed loss falls fastest.
    """

    curve: pd.DataFrame
    suggested: float


def run_range_test(
    learner: Learner, examples: Examples, *, low: float = LOWEST, high: float = HIGHEST, steps: int = STEPS
) -> LrRange:
    """Train `steps` batches at rates that rise from `low` to `high`, and put all weights and states back.

    Parameters
    ----------
    learner : Learner
        Not trained yet; parameter groups keep their multipliers.
    examples : Examples
        Training batches of the epochs from 0 on.
    """
    before = checkpoint.values_of(learner.state)
    rates = np.geomspace(low, high, steps)
    losses: list[float] = []
    try:
        for rate, batch in zip(rates, _batches(examples), strict=False):
            losses.append(learner.step(batch, float(rate)))
            lowest = min(losses)
            # The loss of learned task weights may fall below 0.
            if not np.isfinite(losses[-1]) or losses[-1] - lowest > (WORSE - 1) * abs(lowest):
                break
    finally:
        checkpoint.assign(learner.state, before)
    return read_curve(rates[: len(losses)], np.array(losses))


def _batches(examples: Examples):
    epoch = 0
    while True:
        yield from (batch for batch in examples.train(epoch) if batch.targets)
        epoch += 1


def read_curve(rates: np.ndarray, losses: np.ndarray) -> LrRange:
    """Smooth the losses of rising rates, and name the rate at which they fall fastest (in the logarithm of the rate)."""
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING**step))
    curve = pd.DataFrame({"learning_rate": rates, "loss": losses, "smoothed": smoothed})
    finite = curve[np.isfinite(curve["smoothed"])]
    settled = finite.iloc[SKIPPED:] if len(finite) >= SKIPPED + 2 else finite
    lowest = settled["smoothed"].to_numpy().argmin()
    falling = settled.iloc[: max(lowest + 1, 2)]
    slopes = np.gradient(falling["smoothed"], np.log(falling["learning_rate"]))
    return LrRange(curve, float(falling["learning_rate"].iloc[int(np.argmin(slopes))]))

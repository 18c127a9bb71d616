"""Expected calibration error: its null distribution, and an interval of what it is in the population.

The error of a sample is above that of the population, the more so the fewer faces; a bootstrap would add the same
bias once more. Here models of known calibration error are simulated on the faces at hand instead: each is right as
often as its confidence and its bin allow, and the faces of one person agree as much as the observed errors do.

Measured with people of 1 to 300 faces each: the test alarms in .02 to .05 of samples of a calibrated model, and the 95 %
interval covers in .92 to .98 with 400 faces or 140 people; with 50 such people (worth 15 of equal size) in .83.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import special

from faceworkbook.evaluation import intervals

SIMULATIONS = 300
# Simulated values that are held at once, 64 MB.
_VALUES = 2**24
_AGREEMENT = np.array([0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
_SCALES = np.concatenate([np.arange(0, 2.01, 0.125), [2.5, 3, 4, 6, 9, 14, 20]])


@dataclass(frozen=True)
class CalibrationError:
    """The calibration error of a sample, and what it says of the population.

    Attributes
    ----------
    value : float
        Of the sample: sum over bins of share x |accuracy - confidence|.
    null_mean : float
        What a perfectly calibrated model with these probabilities would show on average.
    p : float
        Share of such models with an error as large.
    corrected, low, high : float
        Of the population: the errors of models that would show less than the sample's in half, in 97.5 and in
        2.5 % of samples (median-unbiased estimate, 95 % interval).
    """

    value: float
    null_mean: float
    p: float
    corrected: float
    low: float
    high: float


def bin_rows(sure: np.ndarray, bins: int) -> np.ndarray:
    """Number bins with equally many rows; equal confidences share a bin."""
    edges = np.unique(np.quantile(sure, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, sure, side="left"), return_inverse=True)[1]


def measure(
    sure: np.ndarray, right: np.ndarray, units: np.ndarray, *, bins: int, seed: int = 0
) -> CalibrationError:
    """Measure the calibration error of predictions.

    Parameters
    ----------
    sure : ndarray of shape (n,), range 0..1
        Probability of the predicted class.
    right : ndarray of shape (n,), bool
    units : ndarray of shape (n,), int
        Person of each face; a face of an unknown person is one of its own.
    bins : int
        With equally many rows.
    """
    bin_of = bin_rows(sure, bins)
    member = np.eye(bin_of.max() + 1, dtype=np.float32)[bin_of]
    shift = ((right - sure) @ member / member.sum(axis=0))[bin_of]
    error = float(np.abs((right - sure) @ member).sum() / len(sure))
    units = np.unique(units, return_inverse=True)[1]
    n = min(SIMULATIONS, max(100, _VALUES // len(sure)))
    simulated = _Simulated.draw(units, n, seed=seed)
    agreement = simulated.estimate_agreement(right, sure + shift)

    chances, expected = simulated.levels(agreement), sure @ member

    def errors(scale: float, direction: np.ndarray) -> np.ndarray:
        hits = chances < (sure + scale * direction).astype(np.float32)
        return np.abs(hits.astype(np.float32) @ member - expected).sum(axis=1) / len(sure)

    null = errors(0.0, shift)
    p = float((np.sum(null >= error - 1e-12) + 1) / (n + 1))
    if error < 1e-9:
        high = float(intervals.wilson(0, units.max() + 1)[1])
        return CalibrationError(error, float(null.mean()), p, 0.0, 0.0, high)
    if error > 1 - 1e-9:
        low = float(intervals.wilson(units.max() + 1, units.max() + 1)[0])
        return CalibrationError(error, float(null.mean()), p, 1.0, low, 1.0)
    below = [_below(partial(errors, direction=d), error) for d in (shift, _tilt(sure, shift, error))]
    (corrected, low, high), (_, _, other) = (
        [min(_solve(each, share) * error, 1.0) for share in (0.5, 0.975, 0.025)] for each in below
    )
    return CalibrationError(error, float(null.mean()), p, corrected, low, max(high, other))


def _tilt(sure: np.ndarray, shift: np.ndarray, error: float) -> np.ndarray:
    """Return the deviation of a model that is too sure, or not sure enough, everywhere, of the same error.

    The observed deviations hold noise of both signs, so that along them alone large errors would look too rare.
    """
    doubt = np.maximum(sure * (1 - sure), 1e-6)
    return np.sign(shift.sum() or -1.0) * doubt * error / doubt.mean()


def _below(errors: Callable[[float], np.ndarray], error: float) -> np.ndarray:
    """Return, scale by scale, the share of simulated errors that are not above the sample's."""
    below = []
    for scale in _SCALES:
        below.append(np.mean(errors(scale) <= error))
        if below[-1] < 0.005:
            break
    return np.minimum.accumulate(below)


def _solve(below: np.ndarray, share: float) -> float:
    """Return the scale at which a share of simulated errors lies below the sample's; `below` falls with the scale."""
    scales = _SCALES[: len(below)]
    if below[0] <= share:
        return 0.0
    if below[-1] > share:
        return float(scales[-1])
    after = int(np.argmax(below <= share))
    x, y = scales[after - 1 : after + 1], below[after - 1 : after + 1]
    return float(x[0] + (x[1] - x[0]) * (y[0] - share) / (y[0] - y[1]))


@dataclass(frozen=True)
class _Simulated:
    """Normal scores of faces and of their people (a Gaussian copula), drawn once and used for all models."""

    units: np.ndarray
    people: np.ndarray
    faces: np.ndarray

    @classmethod
    def draw(cls, units: np.ndarray, n: int, *, seed: int) -> _Simulated:
        rng = np.random.default_rng(seed)
        n_units = units.max() + 1
        faces = rng.standard_normal((n, len(units)), dtype=np.float32)
        if n_units == len(units):
            return cls(units, faces, faces)
        return cls(units, rng.standard_normal((n, n_units), dtype=np.float32), faces)

    def levels(self, agreement: float, *, n: int | None = None) -> np.ndarray:
        """Return levels in 0..1, (n, n_faces): a face is right where its chance is above its level."""
        if not agreement:
            return special.ndtr(self.faces[:n])
        people, faces = np.float32(np.sqrt(agreement)), np.float32(np.sqrt(1 - agreement))
        return special.ndtr(people * self.people[:n][:, self.units] + faces * self.faces[:n])

    def estimate_agreement(self, right: np.ndarray, chance: np.ndarray) -> float:
        """Return the correlation of scores at which errors of one person go together as often as observed."""
        if self.people is self.faces:
            return 0.0
        observed = self._together((right - chance)[None])[0]
        expected = np.maximum.accumulate(
            [self._together((self.levels(each, n=40) < chance) - chance).mean() for each in _AGREEMENT]
        )
        return float(np.interp(observed, expected, _AGREEMENT))

    def _together(self, residual: np.ndarray) -> np.ndarray:
        """Sum over people of the products of two of their residuals, each person weighed by its faces."""
        order = np.argsort(self.units, kind="stable")
        starts = np.flatnonzero(np.diff(self.units[order], prepend=-1))
        sizes = np.diff(np.append(starts, len(order)))
        total = np.add.reduceat(residual[:, order], starts, axis=1)
        squares = np.add.reduceat(residual[:, order] ** 2, starts, axis=1)
        return ((total**2 - squares) / np.maximum(sizes - 1, 1)).sum(axis=1)

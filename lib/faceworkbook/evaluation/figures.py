"""A figure that knows how sure it is: intervals at any confidence, of itself and of differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from faceworkbook.evaluation.intervals import CONFIDENCE, score_interval
from faceworkbook.evaluation.standard_errors import SumError, error_of_sum, t_quantile

# Where the simulations of benchmarks/coverage_and_size.py still cover: fewer effective units are marked.
ENOUGH_UNITS = 25
# And fewer degrees of freedom, of figures that a few large errors or a few low ranks decide.
ENOUGH_FREEDOM = 40
ROUNDING = 1e-9
# Of a table of figures: the figure, its interval, and of how many faces, pictures and people it is.
COLUMNS = ["value", "low", "high", "n", "n_pictures", "n_identities"]


@dataclass(frozen=True, eq=False)
class Figure:
    """A value with what its interval is made from.

    Attributes
    ----------
    value : float
    error : float
        Standard error; NaN where none is known (nothing varies, or too few units).
    freedom : float
        Degrees of freedom of its t quantile.
    effective : float
        Effective number of units (people, or faces where people are unknown).
    bounds : (float, float)
        Least and largest value that there can be; intervals are made on the logit or logarithm of the distance.
    by_unit : ndarray of shape (n_units,)
        What each unit contributes, for the correlation with another figure.
    counts : float
        Number that Wilson's interval counts, where that one is used (rows, or the independent rows that would be as
        sure); else 0.
    """

    value: float
    error: float = np.nan
    freedom: float = np.nan
    effective: float = np.nan
    bounds: tuple[float, float] = (-np.inf, np.inf)
    by_unit: np.ndarray | None = None
    counts: float = 0.0

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return low and high; NaN where no error is known."""
        if self.counts > 0:
            least, most = self.bounds
            share = (self.value - least) / (most - least)
            freedom = self.freedom if np.isfinite(self.freedom) else np.inf
            low, high = score_interval(share, self.counts, t_quantile(confidence, freedom))
            return float(least + low * (most - least)), float(least + high * (most - least))
        # Where nothing varies only the rounding of the computation is left.
        if not self.error > ROUNDING * max(abs(self.value), 1.0):
            return np.nan, np.nan
        return self._back(t_quantile(confidence, self.freedom) * self.error)

    def _back(self, reach: float) -> tuple[float, float]:
        """Ends of the interval that reaches so far on the scale where the value has no bounds."""
        v, (least, most) = self.value, self.bounds
        below, above = v - least, most - v
        if np.isfinite([least, most]).all():
            factor = _exp(reach * (most - least) / (below * above))
            low, high = below / above / factor, below / above * factor
            return most - (most - least) / (1 + low), most - (most - least) / (1 + high)
        if np.isfinite(least):
            return least + below / _exp(reach / below), least + below * _exp(reach / below)
        if np.isfinite(most):
            return most - above * _exp(reach / above), most - above / _exp(reach / above)
        return v - reach, v + reach


def figure_of_share(value: float, made: SumError) -> Figure:
    """Return a share as a figure: Wilson's interval of as many independent rows as would be as sure.

    Where all are right or all are wrong nothing varies, and units are counted as if each were one row.
    """
    bounds, inside = (0.0, 1.0), 1e-12 < value < 1 - 1e-12
    if not (inside and made.error > ROUNDING):
        counts, freedom = (0.0 if inside else made.effective), np.nan
    else:
        counts, freedom = value * (1 - value) / made.error**2, made.freedom
    return Figure(value, made.error, freedom, made.effective, bounds, made.by_unit, counts)


def figure_of_mean(
    values: np.ndarray, units: np.ndarray, faces: np.ndarray, *, bounds: tuple[float, float]
) -> Figure:
    """Return the mean of a value a row as a figure; see `standard_errors.error_of_sum`."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    made = error_of_sum((values - mean) / len(values), units, faces)
    if not made.error > 0 or np.isclose(mean, bounds, rtol=0, atol=1e-12).any():
        return Figure(mean, effective=made.effective, bounds=bounds, by_unit=made.by_unit)
    return Figure(mean, made.error, made.freedom, made.effective, bounds, made.by_unit)


def _exp(power: float) -> float:
    # Beyond this an interval is all there can be, and its square would overflow.
    return float(np.exp(min(power, 300.0)))


def correlation(first: Figure, second: Figure) -> float:
    """Correlation of two figures whose units are numbered alike: above 0 where the same people are in both."""
    if first.by_unit is None or second.by_unit is None or len(first.by_unit) != len(second.by_unit):
        return 0.0
    size = np.linalg.norm(first.by_unit) * np.linalg.norm(second.by_unit)
    return float(first.by_unit @ second.by_unit / size) if size > 0 else 0.0


def difference_interval(
    first: Figure, second: Figure, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of first - second from the interval of each (Newcombe 1998; Zou and Donner 2008)."""
    low_a, high_a = first.interval(confidence)
    low_b, high_b = second.interval(confidence)
    return _combine((first.value, low_a, high_a), (second.value, low_b, high_b), correlation(first, second))


def ratio_interval(first: Figure, second: Figure, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of first / second, on the logarithm; NaN where a bound is not above 0."""
    values = np.array(
        [(f.value, *f.interval(confidence)) for f in (first, second)],
        dtype=float,
    )
    if not (values > 0).all():
        return np.nan, np.nan
    one, other = np.log(values)
    low, high = _combine(one, other, correlation(first, second))
    return float(np.exp(low)), float(np.exp(high))


def _combine(first, second, r: float) -> tuple[float, float]:
    (a, a_low, a_high), (b, b_low, b_high) = first, second

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(max(one**2 + other**2 - 2 * r * one * other, 0.0)))

    return a - b - reach(a - a_low, b_high - b), a - b + reach(a_high - a, b - b_low)


def p_of_difference(first: Figure, second: Figure) -> float:
    """Two-sided p of equal figures: 1 less the largest confidence whose interval leaves 0 out; NaN if unknown."""
    if not np.isfinite(difference_interval(first, second)).all():
        return np.nan
    sign = np.sign(first.value - second.value)
    if sign == 0:
        return 1.0

    def nearer_end(log_p: float) -> float:
        low, high = difference_interval(first, second, confidence=1 - np.exp(log_p))
        return low if sign > 0 else -high

    smallest, largest = np.log(1e-12), np.log(1 - 1e-9)
    if nearer_end(smallest) >= 0:
        return 1e-12
    return float(np.exp(optimize.brentq(nearer_end, smallest, largest, xtol=1e-4)))

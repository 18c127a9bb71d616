"""Tests of a difference between two or more models, one function a test.

Each returns a `Result`: the difference with its interval, an effect size, the statistic and its p
value, what was counted, and what the test takes for granted. `faceworkbook.evaluation.comparison`
chooses among them. Those for shares of faces are in `paired_proportions`, DeLong's in `roc_area`;
`pseudo_replication` shows what goes wrong where the wrong one is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
import xxhash
from scipy import stats

from faceworkbook.evaluation.standard_errors import SumError

ALPHA = 0.05
UNBOUNDED = (-np.inf, np.inf)
PAIRED, NADEAU_BENGIO = "paired t", "Nadeau-Bengio corrected t"
# With fewer people (or faces, where people are unknown) no interval of a difference is to be relied on.
FEWEST_UNITS = 10


@dataclass(frozen=True)
class Result:
    """Outcome of one test.

    Attributes
    ----------
    test : str
    difference, low, high : float
        First minus second, and its 95 % interval; NaN where more than two are compared, or where nothing
        varies and no bound is known.
    statistic, p : float
        p is two-sided.
    effect, effect_name : float, str
        Effect size and what it is.
    n : int
        Number of what the test counts, named in `counted` (faces, identities, folds, runs).
    assumes : str
        What must hold for p to mean what it says.
    valid : bool
        False for a test that is there to be compared with only.
    low_90, high_90 : float
        The 90 % interval: two one-sided tests at 5 % see a difference within a margin where it lies inside.
    error, freedom : float
        Standard error of the difference and degrees of freedom of its t quantile; NaN where the interval is made
        otherwise.
    """

    test: str
    difference: float
    low: float
    high: float
    statistic: float
    p: float
    effect: float
    effect_name: str
    n: int
    counted: str
    assumes: str
    valid: bool = True
    low_90: float = np.nan
    high_90: float = np.nan
    error: float = np.nan
    freedom: float = np.nan

    def within(self, bounds: tuple[float, float]) -> Result:
        """Return the result with its intervals inside what the difference can be."""
        low, low_90 = np.maximum([self.low, self.low_90], bounds[0]).tolist()
        high, high_90 = np.minimum([self.high, self.high_90], bounds[1]).tolist()
        return replace(self, low=low, high=high, low_90=low_90, high_90=high_90)


def need_finite(what: str, *values) -> None:
    """Refuse NaN and infinite values."""
    for each in values:
        bad = int((~np.isfinite(np.asarray(each, dtype=float))).sum())
        if bad:
            raise ValueError(
                f"{bad} of {np.size(each)} {what} are NaN or infinite; leave such rows out and count them"
            )


def need_units(n: int, counted: str) -> None:
    """Refuse a test over fewer than two units."""
    if n < 2:
        raise ValueError(
            f"{n} of {counted}: nothing can be tested on fewer than two; give test rows of more {counted}"
        )


def refused(test: str, difference: float, n: int, counted: str) -> Result:
    """Return the result of a test that is not made, because `FEWEST_UNITS` are the least that it is made on."""
    return Result(
        test=test,
        difference=difference,
        low=np.nan,
        high=np.nan,
        statistic=np.nan,
        p=np.nan,
        effect=np.nan,
        effect_name="",
        n=n,
        counted=counted,
        assumes=f"there are {FEWEST_UNITS} {counted} or more",
    )


def t_figures(difference: float, error: float, freedom: float) -> dict[str, Any]:
    """Return statistic, p and intervals of a t test, as keywords of `Result`."""
    t = difference / error
    reach, reach_90 = (float(stats.t.ppf(1 - tail, freedom) * error) for tail in (ALPHA / 2, ALPHA))
    return {
        "statistic": float(t),
        "p": float(2 * stats.t.sf(abs(t), freedom)),
        "low": difference - reach,
        "high": difference + reach,
        "low_90": difference - reach_90,
        "high_90": difference + reach_90,
        "error": float(error),
        "freedom": float(freedom),
    }


def alike_figures(difference: float, n: int, *, bounds: tuple[float, float] = UNBOUNDED) -> dict[str, Any]:
    """Return what `t_figures` does where each of n units shows the same difference; see `without_spread`."""
    low, high, p = without_spread(difference, n, bounds=bounds)
    low_90, high_90, _ = without_spread(difference, n, bounds=bounds, tail=ALPHA)
    statistic = float(np.sign(difference) * np.inf) if difference else 0.0
    return {"statistic": statistic, "p": p, "low": low, "high": high, "low_90": low_90, "high_90": high_90}


def without_spread(
    difference: float, n: int, *, bounds: tuple[float, float] = UNBOUNDED, tail: float = ALPHA / 2
) -> tuple[float, float, float]:
    """Return low, high and p where each of n units shows the same difference.

    p is that of the exact sign-flip test: of 2^n flips of the units, two are as extreme. The bounds allow for the
    share of units that may do otherwise although none of n did, each with 1 - `tail` exactly; they are NaN where
    the metric has no bounds.
    """
    p = 1.0 if difference == 0 else float(2.0 ** (1 - n))
    alike = tail ** (1 / n)
    low, high = (alike * difference + (1 - alike) * bound for bound in bounds)
    return (float(low), float(high), p) if np.isfinite([low, high]).all() else (np.nan, np.nan, p)


def paired_t(
    difference: float,
    made: SumError,
    n_units: int,
    *,
    counted: str = "identities",
    bounds: tuple[float, float] = UNBOUNDED,
) -> Result:
    """Paired t test of a difference of any metric, over the units that repeat.

    Parameters
    ----------
    difference : float
    made : SumError
        Standard error of the difference, from what each row contributes to it under either model; see
        `standard_errors`. Where nothing varies, see `without_spread`.

    Returns
    -------
    Result
        Effect: the difference in standard deviations of a unit.

    Raises
    ------
    ValueError
        A single unit, or a difference that is not defined on these rows.
    """
    need_units(n_units, counted)
    if not np.isfinite(difference) or np.isnan(made.error):
        raise ValueError(
            "the metric is not defined on these rows (a class without rows?); choose another metric"
        )
    if made.error <= 1e-9:
        figures = alike_figures(difference, n_units, bounds=bounds)
    else:
        figures = t_figures(difference, made.error, made.freedom)
    return result_of_units(PAIRED, difference, figures, n=n_units, counted=counted).within(bounds)


def result_of_units(test: str, difference: float, figures: dict[str, Any], *, n: int, counted: str) -> Result:
    """Return the result of a paired test over n units; the effect is the difference in standard deviations of one."""
    return Result(
        test=test,
        difference=difference,
        **figures,
        effect=figures["statistic"] / np.sqrt(n),
        effect_name="standard deviations",
        n=n,
        counted=counted,
        assumes=f"{counted} are independent",
    )


def result_of_all(
    test: str, statistic: float, p: float, *, effect: float, effect_name: str, n: int, counted: str
) -> Result:
    """Return the result of a test of three or more models together, which has no difference."""
    return Result(
        test=test,
        difference=np.nan,
        low=np.nan,
        high=np.nan,
        statistic=statistic,
        p=p,
        effect=effect,
        effect_name=effect_name,
        n=n,
        counted=counted,
        assumes=f"{counted} are independent",
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979), ndarray of shape (m,)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def nadeau_bengio(
    differences: np.ndarray, *, n_train: float, n_test: float, weights: np.ndarray | None = None
) -> Result:
    """Corrected t test over repeated folds, whose training sets overlap (Nadeau and Bengio 2003).

    Parameters
    ----------
    differences : ndarray of shape (n_folds,)
        Metric of the first model minus that of the second, one a fit.
    n_train, n_test : float
        Mean number of rows that a fit trains on (validation rows are none of them), and is tested on.
    weights : ndarray of shape (n_folds,), optional
        Test rows of each fold: a larger fold says more. All alike where None.

    Returns
    -------
    Result
        t = mean / sqrt((1/n + n_test/n_train) s^2), n - 1 degrees of freedom; mean and s^2 are weighted.
        Effect: mean / standard deviation over folds.
    """
    overlap = n_test / n_train
    return t_over_folds(NADEAU_BENGIO, differences, overlap, "folds come from one random scheme", weights)


def t_over_folds(
    test: str, differences: np.ndarray, overlap: float, assumes: str, weights: np.ndarray | None = None
) -> Result:
    """t test of the mean over folds; `overlap` is what is added to 1 / n for training sets that overlap."""
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        raise ValueError(
            f"{len(d)} fold: a t test over folds needs the differences of two folds or more; run 06_cross_validation with more folds"
        )
    need_finite("differences between folds", d)
    w = np.ones(len(d)) if weights is None else np.asarray(weights, dtype=float) / np.mean(weights)
    mean = float(np.average(d, weights=w))
    # The variance of a fold's figure falls with its rows: s^2 is that of a fold of average size.
    spread = float(np.sqrt((w * (d - mean) ** 2).sum() / (len(d) - 1)))
    is_alike = spread <= 1e-12
    figures = (
        alike_figures(mean, len(d))
        if is_alike
        else t_figures(mean, spread * np.sqrt(1 / len(d) + overlap), len(d) - 1)
    )
    return Result(
        test=test,
        difference=mean,
        **figures,
        effect=0.0 if is_alike else mean / spread,
        effect_name="mean / standard deviation",
        n=len(d),
        counted="folds",
        assumes=assumes,
    )


def five_by_two_f(differences: np.ndarray) -> Result:
    """Combined 5x2cv F test (Alpaydin 1999).

    Parameters
    ----------
    differences : ndarray of shape (5, 2)
        Differences of the two halves of five random splits.

    Returns
    -------
    Result
        F = sum of squares / (2 sum of within-split variances), F(10, 5). The interval holds the differences that
        the test would not reject, so that it leaves out 0 exactly where p < .05; NaN where it rejects them all.
    """
    d = np.asarray(differences, dtype=float)
    if d.shape != (5, 2):
        raise ValueError(f"differences have shape {d.shape}, expected (5, 2): five repeats of two folds")
    need_finite("differences between folds", d)
    mean, variance = float(d.mean()), float(((d - d.mean(axis=1, keepdims=True)) ** 2).sum())
    if variance <= 1e-24:
        figures = alike_figures(mean, len(d))
    else:
        f = float((d**2).sum() / (2 * variance))
        (low, high), (low_90, high_90) = (_not_rejected(d, variance, alpha) for alpha in (ALPHA, 2 * ALPHA))
        figures = {"statistic": f, "p": float(stats.f.sf(f, 10, 5)), "low": low, "high": high}
        figures |= {"low_90": low_90, "high_90": high_90}
    spread = float(d.std(ddof=1))
    return Result(
        test="5x2cv F",
        difference=mean,
        **figures,
        effect=mean / spread if spread else 0.0,
        effect_name="mean / standard deviation over folds",
        n=10,
        counted="folds",
        assumes="the two halves are random",
    )


def _not_rejected(d: np.ndarray, variance: float, alpha: float) -> tuple[float, float]:
    """Invert the F test: sum (d - delta)^2 = sum (d - mean)^2 + 10 (mean - delta)^2 <= 2 F variance."""
    mean, room = float(d.mean()), 2 * stats.f.isf(alpha, 10, 5) * variance - ((d - d.mean()) ** 2).sum()
    if room < 0:
        return np.nan, np.nan
    reach = float(np.sqrt(room / d.size))
    return mean - reach, mean + reach


def welch(values_a: np.ndarray, values_b: np.ndarray) -> Result:
    """Welch's t test of independent runs (own data, own seed each).

    Parameters
    ----------
    values_a, values_b : ndarray of shape (n_runs,)
        One value of the metric a run.

    Returns
    -------
    Result
        Effect: Hedges' g. Where no run differs from its like, p is that of the permutation test.
    """
    a, b = np.asarray(values_a, dtype=float), np.asarray(values_b, dtype=float)
    if min(len(a), len(b)) < 2:
        raise ValueError(
            f"{len(a)} and {len(b)} runs: Welch's test needs two independent runs or more of each"
        )
    need_finite("values of runs", a, b)
    difference, freedom = float(a.mean() - b.mean()), len(a) + len(b) - 2
    spread = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    if spread <= 1e-12:
        extreme = 2 if len(a) == len(b) else 1
        p = extreme / comb(len(a) + len(b), len(a)) if difference else 1.0
        g, figures = 0.0, {"statistic": 0.0, "p": p, "low": np.nan, "high": np.nan}
    else:
        tested = stats.ttest_ind(a, b, equal_var=False)
        error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        figures = t_figures(difference, error, float(tested.df))
        g = float(difference / spread * (1 - 3 / (4 * freedom - 1)))
    return Result(
        test="Welch's t",
        difference=difference,
        **figures,
        effect=g,
        effect_name="Hedges' g",
        n=len(a) + len(b),
        counted="runs",
        assumes="runs are independent",
    )


def rows_id(rows) -> str:
    """Name a set of test rows (numbers or face ids) by its content, whatever their order."""
    return xxhash.xxh3_64_hexdigest("|".join(sorted(map(str, rows))))

"""Tests of a difference between two or more models, one function a test.

Each returns a `Result`: the difference with its interval, an effect size, the statistic and its p
value, what was counted, and what the test takes for granted. `faceworkbook.evaluation.comparison`
chooses among them; `false_alarms` shows what goes wrong where the wrong one is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from scipy import stats
from statsmodels.stats import contingency_tables

from faceworkbook.evaluation import intervals

ALPHA = 0.05


@dataclass(frozen=True)
class Result:
    """Outcome of one test.

    Attributes
    ----------
    test : str
    difference, low, high : float
        First minus second, and its 95 % interval; NaN where more than two are compared.
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


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> Result:
    """Exact McNemar test of two models on the same independent faces (McNemar 1947).

    Parameters
    ----------
    right_a, right_b : boolean ndarray of shape (n,)
        Whether each model was right on each face.

    Returns
    -------
    Result
        Difference of accuracies with Newcombe's interval for paired proportions; p is exact. Effect: Cohen's
        g, the share of discordant faces won by the first minus one half.
    """
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    n, only_a, only_b = len(right_a), int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    discordant = only_a + only_b
    both, neither = int((right_a & right_b).sum()), int((~right_a & ~right_b).sum())
    p = float(contingency_tables.mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue)
    low, high = paired_proportions_interval(both, only_a, only_b, neither)
    g = only_a / discordant - 0.5 if discordant else 0.0
    return Result(
        "exact McNemar", (only_a - only_b) / n, low, high, min(only_a, only_b), p, g,
        "Cohen's g", n, "faces", "faces are independent",
    )  # fmt: skip


def paired_proportions_interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two paired proportions (Newcombe 1998, method 10).

    Wilson's intervals of both proportions are combined, with the correlation of the pairs (phi, corrected for
    continuity). Unlike an interval that is conditional on the discordant pairs it has a width without any.

    Parameters
    ----------
    both, only_a, only_b, neither : int
        Faces that both models, the first alone, the second alone and none got right.
    """
    n = both + only_a + only_b + neither
    first, second = both + only_a, both + only_b
    (low_a, high_a), (low_b, high_b) = (intervals.wilson(k, n) for k in (first, second))
    p_a, p_b = first / n, second / n
    cross = both * neither - only_a * only_b
    margins = float(first) * (n - first) * second * (n - second)
    phi = (max(cross - n / 2, 0) if cross > 0 else cross) / np.sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0)))

    difference = p_a - p_b
    return difference - reach(p_a - low_a, high_b - p_b), difference + reach(high_a - p_a, p_b - low_b)


def cochrans_q(right: np.ndarray) -> Result:
    """Cochran's Q: are three or more models equally often right on the same independent faces?

    Parameters
    ----------
    right : boolean ndarray of shape (n, n_models)

    Returns
    -------
    Result
        Effect: Q / (n (k - 1)), from 0 (no model differs) to 1.
    """
    right = np.asarray(right, dtype=int)
    n, k = right.shape
    if (right.sum(axis=1) % k == 0).all():
        q, p = 0.0, 1.0
    else:
        test = contingency_tables.cochrans_q(right)
        q, p = float(test.statistic), float(test.pvalue)
    return Result(
        "Cochran's Q", np.nan, np.nan, np.nan, q, p, q / (n * (k - 1)),
        "Q / (n (k - 1))", n, "faces", "faces are independent",
    )  # fmt: skip


def paired_bootstrap(
    difference: intervals.Statistic,
    n_units: int,
    *,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    counted: str = "identities",
) -> Result:
    """Bootstrap test of a difference of any metric, over the units that repeat.

    Parameters
    ----------
    difference : callable
        From weights of shape (b, n_units) to differences of shape (b,); both models share the weights.

    Returns
    -------
    Result
        Bootstrap standard error (corrected by n / (n - 1) for few units) and a t quantile with
        n_units - 1 degrees of freedom. Differences are near symmetric, and where few faces are
        discordant this keeps its 5 %, which BCa does not. Effect: the difference in standard
        deviations of a unit.
    """
    if n_units < 2:
        raise ValueError(
            f"{n_units} of {counted}: a paired comparison needs two or more; test more people or faces"
        )
    value = float(difference(np.ones((1, n_units)))[0])
    if not np.isfinite(value):
        raise ValueError(
            "the difference is not defined on these rows (a class is missing, or a score is NaN)"
        )
    drawn = intervals.resample(difference, n_units, n_boot=n_boot, seed=seed)
    error = float(np.nanstd(drawn, ddof=1) * np.sqrt(n_units / (n_units - 1)))
    if error == 0:
        return _unanimous(value, n_units, counted)
    t = value / error
    reach = float(stats.t.ppf(1 - ALPHA / 2, n_units - 1) * error)
    return Result(
        test="paired bootstrap",
        difference=value,
        low=value - reach,
        high=value + reach,
        statistic=t,
        p=float(2 * stats.t.sf(abs(t), n_units - 1)),
        effect=t / np.sqrt(n_units),
        effect_name="standard deviations",
        n=n_units,
        counted=counted,
        assumes=f"{counted} are independent",
    )


def _unanimous(value: float, n_units: int, counted: str) -> Result:
    """All units say the same, so that no resample differs: a sign test over units, and its exact interval."""
    share = (ALPHA / 2) ** (1 / n_units)  # Clopper-Pearson's lower bound of n out of n
    bounds = sorted((value * (2 * share - 1), value))
    return Result(
        test="paired bootstrap",
        difference=value,
        low=bounds[0],
        high=bounds[1],
        statistic=np.inf * np.sign(value) if value else 0.0,
        p=min(1.0, 2 * 0.5**n_units) if value else 1.0,
        effect=np.inf * np.sign(value) if value else 0.0,
        effect_name="standard deviations",
        n=n_units,
        counted=counted,
        assumes=f"{counted} are independent",
    )


def joint_bootstrap(
    values: intervals.Statistic,
    n_units: int,
    *,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    counted: str = "identities",
) -> Result:
    """Do three or more models differ at all, by any metric? Hotelling's T2 with a bootstrap covariance.

    Parameters
    ----------
    values : callable
        From weights of shape (b, n_units) to the metric of each model, shape (b, n_models).

    Returns
    -------
    Result
        Effect: T2 / number of units.
    """
    each = values(np.ones((1, n_units)))[0]
    drawn = intervals.resample(values, n_units, n_boot=n_boot, seed=seed)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    gap, cloud = each[1:] - each[0], drawn[:, 1:] - drawn[:, [0]]
    covariance = np.atleast_2d(np.cov(cloud, rowvar=False))
    rank = int(np.linalg.matrix_rank(covariance, hermitian=True))
    if rank == 0:
        return _joint_result(0.0, 1.0, n_units, counted)
    t2 = float(gap @ np.linalg.pinv(covariance, hermitian=True) @ gap)
    scaled = t2 * (n_units - rank) / (rank * (n_units - 1))
    return _joint_result(t2, float(stats.f.sf(scaled, rank, n_units - rank)), n_units, counted)


def _joint_result(t2: float, p: float, n_units: int, counted: str) -> Result:
    return Result(
        "Hotelling's T2 (bootstrap)", np.nan, np.nan, np.nan, t2, p, t2 / n_units,
        f"T2 / {counted}", n_units, counted, f"{counted} are independent",
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979), ndarray of shape (m,)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def nadeau_bengio(differences: np.ndarray, *, n_train: float, n_test: float) -> Result:
    """Corrected t test over repeated folds, whose training sets overlap (Nadeau and Bengio 2003).

    Parameters
    ----------
    differences : ndarray of shape (n_folds,)
        Metric of the first model minus that of the second, one a fit.
    n_train, n_test : int
        Mean number of rows that a fit trains on, and is tested on.

    Returns
    -------
    Result
        t = mean / sqrt((1/n + n_test/n_train) s^2), n - 1 degrees of freedom.
        Effect: mean / standard deviation over folds.
    """
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        raise ValueError(f"{len(d)} fold: the corrected t test needs the differences of two folds or more")
    return t_result(
        "Nadeau-Bengio corrected t", d, d.std(ddof=1) * np.sqrt(1 / len(d) + n_test / n_train),
        "folds", "folds come from one random scheme",
    )  # fmt: skip


def rows_id(rows) -> str:
    """A short name of a set of test rows (numbers or face ids), whatever their order."""
    return xxhash.xxh3_64_hexdigest("|".join(sorted(map(str, rows))))


def five_by_two_f(differences: np.ndarray) -> Result:
    """Combined 5x2cv F test (Alpaydin 1999).

    Parameters
    ----------
    differences : ndarray of shape (5, 2)
        Differences of the two halves of five random splits.

    Returns
    -------
    Result
        F = sum of squares / (2 sum of within-split variances), F(10, 5). The interval is that of the
        5x2cv t (mean over folds with 5 degrees of freedom).
    """
    d = np.asarray(differences, dtype=float)
    if d.shape != (5, 2):
        raise ValueError(f"differences have shape {d.shape}, expected (5, 2): five repeats of two folds")
    variance = ((d - d.mean(axis=1, keepdims=True)) ** 2).sum()
    with np.errstate(divide="ignore"):
        f = float((d**2).sum() / (2 * variance)) if d.any() else 0.0
    reach = stats.t.ppf(1 - ALPHA / 2, 5) * np.sqrt(variance / 5)
    spread = d.std(ddof=1)
    return Result(
        "5x2cv F", float(d.mean()), float(d.mean() - reach), float(d.mean() + reach), f,
        float(stats.f.sf(f, 10, 5)), float(d.mean() / spread) if spread else 0.0,
        "mean / standard deviation over folds", 10, "folds", "the two halves are random",
    )  # fmt: skip


def welch(values_a: np.ndarray, values_b: np.ndarray) -> Result:
    """Welch's t test of independent runs (own data, own seed each).

    Parameters
    ----------
    values_a, values_b : ndarray of shape (n_runs,)
        One value of the metric a run.

    Returns
    -------
    Result
        Effect: Hedges' g.
    """
    a, b = np.asarray(values_a, dtype=float), np.asarray(values_b, dtype=float)
    if min(len(a), len(b)) < 2:
        raise ValueError(
            f"{len(a)} and {len(b)} runs: Welch's test needs two independent runs or more of each"
        )
    test = stats.ttest_ind(a, b, equal_var=False)
    low, high = test.confidence_interval(1 - ALPHA)
    freedom = len(a) + len(b) - 2
    joint_sd = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    g = (a.mean() - b.mean()) / joint_sd * (1 - 3 / (4 * freedom - 1)) if joint_sd else 0.0
    return Result(
        "Welch's t", float(a.mean() - b.mean()), float(low), float(high), float(test.statistic),
        float(test.pvalue), float(g), "Hedges' g", len(a) + len(b), "runs", "runs are independent",
    )  # fmt: skip


def t_result(
    test: str, d: np.ndarray, error: float, counted: str, assumes: str, *, valid: bool = True
) -> Result:
    mean, freedom = float(d.mean()), len(d) - 1
    if error == 0:
        t, p = (0.0, 1.0) if mean == 0 else (np.inf * np.sign(mean), 0.0)
    else:
        t = mean / error
        p = float(2 * stats.t.sf(abs(t), freedom))
    reach = float(stats.t.ppf(1 - ALPHA / 2, freedom) * error)
    spread = d.std(ddof=1)
    return Result(
        test, mean, mean - reach, mean + reach, float(t), p, float(mean / spread) if spread else 0.0,
        "mean / standard deviation", len(d), counted, assumes, valid,
    )  # fmt: skip

"""Tests of how often models are right on the same independent faces: McNemar, Cochran."""

from __future__ import annotations

import numpy as np
from scipy import stats

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.significance import ALPHA, Result, need_units, result_of_all

MCNEMAR = "exact McNemar, Newcombe's interval"


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> Result:
    """Exact McNemar test of two models on the same independent faces (McNemar 1947).

    Parameters
    ----------
    right_a, right_b : boolean ndarray of shape (n,)
        Whether each model was right on each face.

    Returns
    -------
    Result
        Difference of accuracies with Newcombe's interval for paired proportions, which reaches to 0 where the exact
        test, the more careful of the two, sees no difference. Effect: Cohen's g, the share of discordant faces won by the first
        minus one half.
    """
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    n, only_a, only_b = len(right_a), int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    need_units(n, "faces")
    discordant = only_a + only_b
    both, neither = int((right_a & right_b).sum()), int((~right_a & ~right_b).sum())
    p = float(stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    low, high = paired_proportions_interval(both, only_a, only_b, neither)
    if p >= ALPHA:
        low, high = min(low, 0.0), max(high, 0.0)
    return Result(
        test=MCNEMAR,
        difference=(only_a - only_b) / n,
        low=low,
        high=high,
        statistic=min(only_a, only_b),
        p=p,
        effect=only_a / discordant - 0.5 if discordant else 0.0,
        effect_name="Cohen's g",
        n=n,
        counted="faces",
        assumes="faces are independent",
    )


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
    low, high = difference - reach(p_a - low_a, high_b - p_b), difference + reach(high_a - p_a, p_b - low_b)
    return max(low, -1.0), min(high, 1.0)


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
    from statsmodels.stats import contingency_tables

    right = np.asarray(right, dtype=int)
    n, k = right.shape
    q, p = 0.0, 1.0
    if (right.sum(axis=1) % k).any():
        tested = contingency_tables.cochrans_q(right)
        q, p = float(tested.statistic), float(tested.pvalue)
    return result_of_all(
        "Cochran's Q", q, p, effect=q / (n * (k - 1)), effect_name="Q / (n (k - 1))", n=n, counted="faces"
    )

"""Tests of how often models are right on the same independent faces: McNemar, Cochran."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.significance import ALPHA, Result, need_units, result_of_all

MCNEMAR = "exact McNemar, Tango's interval"


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> Result:
    """Exact McNemar test of two models on the same independent faces (McNemar 1947).

    Parameters
    ----------
    right_a, right_b : boolean ndarray of shape (n,)
        Whether each model was right on each face.

    Returns
    -------
    Result
        Difference of accuracies with Tango's interval for paired proportions, which reaches to 0 where the exact
        test, the more careful of the two, sees no difference. Effect: Cohen's g, the share of discordant faces won
        by the first minus one half.
    """
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    n, only_a, only_b = len(right_a), int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    need_units(n, "faces")
    discordant = only_a + only_b
    p = float(stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    low, high = paired_proportions_interval(only_a, only_b, n)
    low_90, high_90 = paired_proportions_interval(only_a, only_b, n, confidence=1 - 2 * ALPHA)
    error = (high - low) / (2 * float(stats.norm.ppf(1 - ALPHA / 2)))
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
        low_90=low_90,
        high_90=high_90,
        error=error,
    )


def paired_proportions_interval(
    only_a: int, only_b: int, n: int, *, confidence: float = intervals.CONFIDENCE
) -> tuple[float, float]:
    """Return Tango's score interval of the difference of two paired proportions (Tango 1998).

    It holds the differences delta with |only_a - only_b - n delta| <= z sqrt(n (2 q + delta (1 - delta))), q being
    the most likely share of `only_b` under delta. Unlike an interval that is conditional on the discordant faces it
    has a width without any.

    Parameters
    ----------
    only_a, only_b : int
        Faces that the first alone and the second alone got right.
    n : int
        All faces.
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))

    def score(delta: float) -> float:
        b, c = (2 * n - only_a + only_b) * delta - only_a - only_b, -only_b * delta * (1 - delta)
        share = (np.sqrt(max(b**2 - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        return (only_a - only_b - n * delta) / np.sqrt(variance) if variance > 0 else 0.0

    difference = (only_a - only_b) / n
    # The score falls in delta and is 0 at the difference.
    low = -1.0 if only_b == n else optimize.brentq(lambda at: score(at) - z, -1 + 1e-12, difference)
    high = 1.0 if only_a == n else optimize.brentq(lambda at: score(at) + z, difference, 1 - 1e-12)
    return float(low), float(high)


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

"""DeLong's test of two areas under the ROC curve."""

from __future__ import annotations

import numpy as np
from scipy import stats

from faceworkbook.evaluation.significance import ALPHA, Result


def delong(
    positive: np.ndarray, score_a: np.ndarray, score_b: np.ndarray, *, units: np.ndarray | None = None
) -> Result:
    """DeLong's test of two areas under the ROC curve on the same rows.

    Parameters
    ----------
    positive : boolean ndarray of shape (n,)
    score_a, score_b : ndarray of shape (n,)
        Probability (or any score) of the positive class under each model.
    units : ndarray of shape (n,), int, optional
        Person of each row: then the components are added up by person (Obuchowski 1997).

    Returns
    -------
    Result
        Components by mid-ranks in O(n log n) (DeLong et al. 1988; Sun and Xu 2014).
        Effect: difference of the areas.
    """
    positive = np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        raise ValueError("all rows are of one class: an area under the ROC curve needs both")
    area_a, share_a = auc_components(positive, score_a)
    area_b, share_b = auc_components(positive, score_b)
    difference, spread = area_a - area_b, share_a - share_b
    if units is None:
        error = np.sqrt(sum(_scaled_squares(spread[side]) for side in (positive, ~positive)))
        n, counted = len(positive), "faces"
    else:
        totals = np.bincount(units, weights=spread)
        error = np.sqrt(_scaled_squares(totals[np.unique(units)]))
        n, counted = len(np.unique(units)), "identities"
    z = difference / error if error > 0 else 0.0
    reach = stats.norm.ppf(1 - ALPHA / 2) * error
    return Result(
        "DeLong", difference, difference - reach, difference + reach, z, float(2 * stats.norm.sf(abs(z))),
        difference, "difference of AUC", n, counted, f"{counted} are independent",
    )  # fmt: skip


def auc_components(positive: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """AUC, and what each row contributes to its deviation.

    Returns
    -------
    area : float, range 0..1
    shares : ndarray of shape (n,)
        (placement - area) / number of rows of that class; they add up to 0.
    """
    score = np.asarray(score, dtype=float)
    m, n = int(positive.sum()), int((~positive).sum())
    overall = stats.rankdata(score)
    above = (overall[positive] - stats.rankdata(score[positive])) / n
    below = 1 - (overall[~positive] - stats.rankdata(score[~positive])) / m
    area = float(above.mean())
    shares = np.empty(len(score))
    shares[positive], shares[~positive] = (above - area) / m, (below - area) / n
    return area, shares


def _scaled_squares(shares: np.ndarray) -> float:
    n = len(shares)
    return float((shares**2).sum() * n / (n - 1)) if n > 1 else np.nan

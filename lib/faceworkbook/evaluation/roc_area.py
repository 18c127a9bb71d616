"""DeLong's test of two areas under the ROC curve."""

from __future__ import annotations

import numpy as np
from scipy import stats

from faceworkbook.evaluation.ranks import auc_components
from faceworkbook.evaluation.significance import ALPHA, Result, need_finite, need_units, without_spread


def delong(
    positive: np.ndarray, score_a: np.ndarray, score_b: np.ndarray, *, units: np.ndarray | None = None
) -> Result:
    """Test two areas under the ROC curve on the same rows (DeLong et al. 1988).

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
        Components by mid-ranks in O(n log n) (Sun and Xu 2014). Effect: difference of the areas.

    Raises
    ------
    ValueError
        Rows of one class alone, NaN scores, a single unit.
    """
    positive = np.asarray(positive, dtype=bool)
    if positive.all() or not positive.any():
        raise ValueError("all rows are of one class: an area under the ROC curve needs both")
    need_finite("scores", score_a, score_b)
    counted = "faces" if units is None else "identities"
    area_a, share_a = auc_components(positive, score_a)
    area_b, share_b = auc_components(positive, score_b)
    difference, spread = area_a - area_b, share_a - share_b
    if units is None:
        n, fewest = len(positive), min(positive.sum(), (~positive).sum())
        error = np.sqrt(sum(_scaled_squares(spread[side]) for side in (positive, ~positive)))
    else:
        n = fewest = len(np.unique(units))
        error = np.sqrt(_scaled_squares(np.bincount(units, weights=spread)[np.unique(units)]))
    need_units(int(fewest), counted)
    if error < 1e-12:
        z, (low, high, p) = 0.0, without_spread(difference, int(fewest), bounds=(-1, 1))
    else:
        z = difference / error
        reach = stats.norm.ppf(1 - ALPHA / 2) * error
        low, high, p = difference - reach, difference + reach, float(2 * stats.norm.sf(abs(z)))
    return Result(
        test="DeLong",
        difference=difference,
        low=max(low, -1.0),
        high=min(high, 1.0),
        statistic=z,
        p=p,
        effect=difference,
        effect_name="difference of AUC",
        n=n,
        counted=counted,
        assumes=f"{counted} are independent",
    )


def _scaled_squares(values: np.ndarray) -> float:
    n = len(values)
    return float((values**2).sum() * n / (n - 1)) if n > 1 else np.nan

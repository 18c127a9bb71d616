"""Accuracy on the faces that a model decides when the least sure ones are left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation.metrics import Rows
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.probabilities import confidence_of, rows_with_classes


def risk_coverage(
    predictions: pd.DataFrame,
    *,
    subset: str = "test",
    left_to_a_person=(0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    uncertainty: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute the accuracy on the rest when the least sure share of faces is left to a person.

    Parameters
    ----------
    uncertainty : ndarray of shape (n,), optional
        Of the rows of `subset`, higher is less sure; by default 1 - probability of the prediction.

    Returns
    -------
    pandas.DataFrame
        left_to_a_person (share; rows that are equally sure are decided together, so it is that which was asked for,
        or less), threshold (largest uncertainty that is still decided), accuracy, low, high, n (faces decided).
    """
    rows = rows_with_classes(predictions, subset)
    doubt = 1 - confidence_of(rows) if uncertainty is None else np.asarray(uncertainty, dtype=float)
    if doubt.shape != rows.truth.shape:
        raise PredictionsError(f"uncertainty has shape {doubt.shape}, expected {rows.truth.shape}")
    ordered, n = np.sort(doubt), len(doubt)
    records = []
    for share in left_to_a_person:
        asked = max(1, round((1 - share) * n))
        kept = doubt <= ordered[asked - 1]
        value, low, high, _ = metrics.estimate(metrics.ACCURACY, rows.take(kept), seed=seed)
        records.append(
            {
                "left_to_a_person": share if kept.sum() == asked else 1 - kept.mean(),
                "threshold": ordered[asked - 1],
                "accuracy": value,
                "low": low,
                "high": high,
                "n": int(kept.sum()),
            }
        )
    return pd.DataFrame(records)


def area_under_risk_coverage(rows: Rows, doubt: np.ndarray) -> intervals.Statistic:
    """Return the mean error over all coverages (lower is better) as a function of weights.

    Rows that are equally sure count as in the mean over all orders among them. Where D rows with R errors are surer
    than W rows with E errors, the mean risk after the j-th of these is (R + j E / W) / (D + j); its sum over j is
    E + (R - D E / W) (psi(D + W + 1) - psi(D + 1)).
    """
    order = np.argsort(doubt, kind="stable")
    wrong, units = (~rows.right)[order].astype(float), rows.units[order]
    starts = np.flatnonzero(np.diff(doubt[order], prepend=-np.inf))

    def value(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, units].astype(float)
        size = np.add.reduceat(drawn, starts, axis=1)
        errors = np.add.reduceat(drawn * wrong, starts, axis=1)
        surer, errors_surer = (np.cumsum(each, axis=1) - each for each in (size, errors))
        rate = np.divide(errors, size, out=np.zeros_like(size), where=size > 0)
        steps = special.digamma(surer + size + 1) - special.digamma(surer + 1)
        return (errors + (errors_surer - surer * rate) * steps).sum(axis=1) / size.sum(axis=1)

    return value

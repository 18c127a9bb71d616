"""Accuracy on the faces that a model decides when the least sure ones are left out."""

from __future__ import annotations

import numpy as np
import pandas as pd

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
    """Accuracy on the rest when the least sure share of faces is left to a person.

    Parameters
    ----------
    uncertainty : ndarray of shape (n,), optional
        Of the rows of `subset`, higher is less sure; by default 1 - probability of the prediction.

    Returns
    -------
    pandas.DataFrame
        left_to_a_person (share), threshold (largest uncertainty that is still decided), accuracy, low,
        high, n (faces decided).
    """
    rows = rows_with_classes(predictions, subset)
    doubt = 1 - confidence_of(rows) if uncertainty is None else np.asarray(uncertainty, dtype=float)
    if doubt.shape != rows.truth.shape:
        raise PredictionsError(f"uncertainty has shape {doubt.shape}, expected {rows.truth.shape}")
    order = np.argsort(doubt, kind="stable")
    records = []
    for share in left_to_a_person:
        kept = order[: max(1, round((1 - share) * len(order)))]
        value, low, high, _ = metrics.estimate(metrics.ACCURACY, rows.take(kept), seed=seed)
        records.append(
            {"left_to_a_person": share, "threshold": doubt[kept[-1]], "accuracy": value, "low": low,
             "high": high, "n": len(kept)}
        )  # fmt: skip
    return pd.DataFrame(records)


def area_under_risk_coverage(rows: Rows, doubt: np.ndarray) -> intervals.Statistic:
    """Mean error over all coverages (lower is better), as a function of weights."""
    order = np.argsort(doubt, kind="stable")
    wrong, units = (rows.truth != rows.predicted)[order].astype(float), rows.units[order]

    def value(weights: np.ndarray) -> np.ndarray:
        areas = []
        for one in weights:
            w = one[units].astype(float)
            decided = np.cumsum(w)
            risk = np.divide(np.cumsum(w * wrong), decided, out=np.zeros_like(w), where=decided > 0)
            areas.append((risk * w).sum() / w.sum())
        return np.array(areas)

    return value

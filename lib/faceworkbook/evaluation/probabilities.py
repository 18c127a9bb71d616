"""Probabilities of a table: how sure a model is, and tables with other probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.rows import Rows, need_exclusive, rows_of

SMALLEST = 1e-12  # below it a probability counts as this, so that its logarithm is finite


def confidence_of(rows: Rows) -> np.ndarray:
    """Probability of the predicted class, ndarray of shape (n,), range 0..1."""
    return rows.probabilities[np.arange(len(rows.predicted)), rows.predicted]


def entropy_of(shares: np.ndarray) -> np.ndarray:
    """Entropy over the last axis, in nats."""
    return -(shares * np.log(np.clip(shares, SMALLEST, 1))).sum(axis=-1)


def rows_with_classes(predictions: pd.DataFrame, subset: str | None) -> Rows:
    """Return the rows of a subset, whose task must have exclusive classes with probabilities."""
    rows = need_exclusive(rows_of(predictions, subset=subset), "calibration")
    if not rows.task.has_probabilities:
        raise PredictionsError(
            f"the model names a class of '{rows.task.name}' without a probability; calibration needs columns 'p:NAME'"
        )
    return rows


def mean_statistic(values: np.ndarray, rows: Rows) -> intervals.Statistic:
    """Return the mean of one value a row as a function of weights."""
    totals = np.column_stack([np.bincount(rows.units, weights=values), np.bincount(rows.units).astype(float)])

    def mean(weights: np.ndarray) -> np.ndarray:
        total, count = (weights @ totals).T
        return total / count

    return mean


def estimate_share(
    rows: Rows, chosen: np.ndarray, *, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> tuple[float, float, float]:
    """Return the share of rows that are chosen (bool (n,)), with the 95 % interval that an accuracy has."""
    as_hits = replace(rows, truth=np.ones(len(chosen)), predicted=np.asarray(chosen, dtype=float))
    return metrics.estimate(metrics.ACCURACY, as_hits, seed=seed, n_boot=n_boot)[:3]


def with_probabilities(predictions: pd.DataFrame, shares: np.ndarray) -> pd.DataFrame:
    """Return the table with other probabilities; what is predicted stays as it is."""
    names = [tables.PROBABILITY + name for name in tables.class_names(predictions)]
    return predictions.assign(**dict(zip(names, shares.T, strict=True)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits (n, n_classes) into probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)

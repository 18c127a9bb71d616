"""Figures with intervals, computed from a table of predictions; the metrics are in `metric_definitions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.metric_definitions import (
    ACCURACY,
    BRIER,
    ERROR,
    LOG_LOSS,
    FunctionMetric,
    Metric,
    bounds,
    built_in_metrics,
    class_counts,
    find,
    metrics_for,
    pick,
    precision_recall_f1,
    register,
)
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.rows import Rows, need_exclusive, rows_of
from faceworkbook.tasks import NUMBER, Task

__all__ = [
    "ACCURACY",
    "BRIER",
    "ERROR",
    "LOG_LOSS",
    "FunctionMetric",
    "Metric",
    "Rows",
    "bounds",
    "confusion",
    "default_names",
    "estimate",
    "expectation",
    "find",
    "metrics_for",
    "per_class",
    "pick",
    "register",
    "rows_of",
    "summaries",
    "summary",
]


def summary(
    predictions: pd.DataFrame,
    *,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Every metric with its 95 % interval.

    Parameters
    ----------
    predictions : pandas.DataFrame
        See `faceworkbook.evaluation.predictions`.
    names : sequence of str, optional
        Metrics to compute; by default those of `default_names`.

    Returns
    -------
    pandas.DataFrame
        metric, value, low, high, n (faces), n_pictures (different ones: copies count once), n_identities (NA
        where none is known), method, meaning. Shares of independent faces get Wilson's interval, all else a
        bootstrap over people (over different pictures where people are unknown).
    """
    rows = rows_of(predictions, subset=subset)
    chosen = [pick(name, rows.task) for name in names or default_names(rows.task)]
    statistics = [metric.statistic(rows) for metric in chosen]
    estimate = intervals.bootstrap(
        lambda weights: np.column_stack([s(weights) for s in statistics]),
        rows.n_units,
        n_boot=n_boot,
        seed=seed,
    )
    records = [
        _record(metric, rows, *figures)
        for metric, *figures in zip(chosen, estimate.value, estimate.low, estimate.high, strict=True)
    ]
    return pd.DataFrame(records).astype({"n_identities": "Int64"})


def summaries(models: Mapping[str, pd.DataFrame], **options) -> pd.DataFrame:
    """`summary` of several models' predictions below each other; the first column ``model`` names them."""
    each = [summary(table, **options).assign(model=name) for name, table in models.items()]
    joined = pd.concat(each, ignore_index=True)
    return joined[["model", *joined.columns.drop("model")]]


def per_class(
    predictions: pd.DataFrame, *, subset: str = "test", seed: int = 0, n_boot: int = intervals.N_BOOT
) -> pd.DataFrame:
    """Compute precision, recall and F1 of every class (of every yes, for several labels) with 95 % intervals.

    Returns
    -------
    pandas.DataFrame
        class, support (rows of that truth), predicted (rows predicted so), and for each of precision,
        recall, f1 the value, ``_low`` and ``_high``; NaN where a class has no rows.
    """
    rows = rows_of(predictions, subset=subset)
    if rows.task.is_number:
        need_exclusive(rows, "a table of classes")
    k = len(rows.classes)
    metric = Metric("per_class", "", "higher", class_counts, precision_recall_f1)
    estimate = intervals.bootstrap(metric.statistic(rows), rows.n_units, n_boot=n_boot, seed=seed)
    _, true, predicted = (counts.astype(int) for counts in np.split(class_counts(rows).sum(axis=0), 3))
    table = pd.DataFrame({"class": rows.classes, "support": true, "predicted": predicted})
    for i, (name, of) in enumerate({"precision": predicted, "recall": true, "f1": None}.items()):
        own = slice(i * k, (i + 1) * k)
        low, high = estimate.low[own], estimate.high[own]
        if of is not None:
            low, high = _widen_shares(rows, estimate.value[own], of, low, high)
        table[name], table[f"{name}_low"], table[f"{name}_high"] = estimate.value[own], low, high
    return table


def confusion(predictions: pd.DataFrame, *, subset: str = "test") -> pd.DataFrame:
    """Counts of rows by truth (index) and prediction (columns), both in class order."""
    rows = need_exclusive(rows_of(predictions, subset=subset), "a confusion matrix")
    k = len(rows.classes)
    counts = np.bincount(rows.truth * k + rows.predicted, minlength=k * k).reshape(k, k)
    return pd.DataFrame(
        counts, index=pd.Index(rows.classes, name="truth"), columns=pd.Index(rows.classes, name="predicted")
    )


def expectation(predictions: pd.DataFrame) -> pd.DataFrame:
    """Read classes that stand for numbers (single years) as a number: their mean under the probabilities.

    Returns
    -------
    pandas.DataFrame
        A predictions table of numbers, for `summary` and the plots of errors.
    """
    task = tables.task_of(predictions)
    if not task.class_values:
        raise PredictionsError(f"the classes {list(task.classes)[:6]} of '{task.name}' stand for no numbers")
    values = dict(zip(task.classes, task.class_values, strict=True))
    kept = predictions[[c for c in predictions if not c.startswith(tables.PROBABILITY)]].assign(
        truth=predictions["truth"].map(values).astype(float),
        predicted=tables.probabilities(predictions) @ np.array(task.class_values),
    )
    number = Task(task.name, NUMBER, unit=task.unit)
    kept.attrs = {**predictions.attrs, tables.TASK: number.to_record()}
    return kept


def default_names(task: Task) -> list[str]:
    """Return the names of the metrics that a report shows; registered ones are asked for by name."""
    return [metric.name for metric in built_in_metrics(task) if metric.name != ERROR.name]


def estimate(
    metric: Metric,
    rows: Rows,
    *,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    confidence: float = intervals.CONFIDENCE,
) -> tuple[float, float, float, str]:
    """One metric on these rows: value, low, high and how the interval was made; NaN without rows."""
    if not len(rows.units):
        return np.nan, np.nan, np.nan, "no rows"
    rows = replace(rows, units=np.unique(rows.units, return_inverse=True)[1])
    if metric.is_wilsons(rows):
        value = metric.value(rows)
        return _finish(metric, rows, value, np.nan, np.nan, confidence=confidence)
    estimated = intervals.bootstrap(
        metric.statistic(rows), rows.n_units, n_boot=n_boot, seed=seed, confidence=confidence
    )
    return _finish(
        metric, rows, estimated.value[0], estimated.low[0], estimated.high[0], confidence=confidence
    )


def _finish(metric: Metric, rows: Rows, value: float, low: float, high: float, *, confidence: float):
    """Replace a bootstrap interval by Wilson's where that one is right, and name the method."""
    unit = {"identities": "identity", "pictures": "picture"}.get(rows.counted, "face")
    wilsons = metric.is_wilsons(rows)
    if not metric.proportion or not (wilsons or np.isnan(low)):
        return value, low, high, f"bootstrap by {unit} (BCa)"
    # All right or all wrong: no resample differs, so people are counted as if each were one face.
    low, high = intervals.wilson(value * rows.n_units, rows.n_units, confidence=confidence)
    method = "Wilson" if wilsons else f"Wilson over {rows.n_units} {rows.counted}"
    return value, float(low), float(high), method


def _record(metric: Metric, rows: Rows, value: float, low: float, high: float) -> dict:
    value, low, high, method = _finish(metric, rows, value, low, high, confidence=intervals.CONFIDENCE)
    return {
        "metric": metric.name,
        "value": value,
        "low": low,
        "high": high,
        "n": rows.n_faces,
        "n_pictures": rows.n_pictures,
        "n_identities": rows.n_units if rows.by_identity else pd.NA,
        "method": method,
        "meaning": metric.meaning,
    }


def _widen_shares(rows: Rows, share: np.ndarray, of: np.ndarray, low: np.ndarray, high: np.ndarray):
    """Wilson for independent faces; also where every resample agrees, over the units there are."""
    faces_a_unit = len(rows.units) / rows.n_units
    n = of if rows.independent else np.ceil(of / faces_a_unit)
    w_low, w_high = intervals.wilson(np.nan_to_num(share) * n, n)
    use = np.full(len(share), rows.independent) | ~np.isfinite(low)
    return np.where(use, w_low, low), np.where(use, w_high, high)

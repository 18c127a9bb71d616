"""Figures with intervals, computed from a table of predictions; the metrics are in `metric_definitions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.figures import ENOUGH_FREEDOM, ENOUGH_UNITS, Figure, figure_of_share
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
    linearise,
    metrics_for,
    pick,
    precision_recall_f1,
    register,
)
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.rows import Rows, need_exclusive, rows_of
from faceworkbook.evaluation.standard_errors import (
    MOMENT_FACTOR,
    MOMENT_FACTOR_OF_RANKS,
    effective_units,
    error_of_sum,
)
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
    "figure",
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
        where none is known), method, meaning. Shares of independent faces get Wilson's interval, all else a t
        interval over people (over different pictures where people are unknown) inside what the metric allows;
        see `faceworkbook.evaluation.standard_errors`. `seed` and `n_boot` are for metrics of one's own, whose
        error is that of a bootstrap.
    """
    rows = rows_of(predictions, subset=subset)
    chosen = [pick(name, rows.task) for name in names or default_names(rows.task)]
    records = [_record(metric, rows, seed=seed, n_boot=n_boot) for metric in chosen]
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
        class, support (rows of that truth), n_pictures (different ones of that truth), n_identities (its people; NA
        where none is known), predicted (rows predicted so), and for each of precision,
        recall, f1 the value, ``_low`` and ``_high``; NaN where a class has no rows.
    """
    rows = rows_of(predictions, subset=subset)
    if rows.task.is_number:
        need_exclusive(rows, "a table of classes")
    metric = Metric("per_class", "", "higher", class_counts, precision_recall_f1)
    narrow = replace(rows, probabilities=rows.probabilities[:, :0])
    by_picture = rows.independent or rows.counted == "pictures"
    records = []
    for code, name in enumerate(rows.classes):
        # Other rows add nothing to a class: with thousands of classes these are few.
        true, predicted = (_of_class(values, code) for values in (rows.truth, rows.predicted))
        own = narrow.take(true | predicted)
        terms = np.column_stack([true & predicted, true, predicted])[true | predicted].astype(float)
        values, contributions = linearise(terms, precision_recall_f1)
        record = {
            "class": name,
            "support": int(true.sum()),
            "n_pictures": len(np.unique(rows.pictures[true])),
            "n_identities": len(np.unique(rows.units[true])) if rows.by_identity else pd.NA,
            "predicted": int(predicted.sum()),
        }
        about = {"precision": terms[:, 2] > 0, "recall": terms[:, 1] > 0, "f1": np.ones(len(terms), bool)}
        for i, (figure_name, counted) in enumerate(about.items()):
            made = _figure_of_rows(own, metric, values[i], contributions[:, i], counted)
            if by_picture and figure_name != "f1":
                made = replace(made, counts=_effective(own, counted), freedom=np.nan)
            record[figure_name] = made.value
            record[f"{figure_name}_low"], record[f"{figure_name}_high"] = made.interval()
        records.append(record)
    return pd.DataFrame(records).astype({"n_identities": "Int64"})


def _of_class(values: np.ndarray, code: int) -> np.ndarray:
    """Whether each row is of the class, bool (n,)."""
    return values[:, code] == 1 if values.ndim == 2 else values == code


def _effective(rows: Rows, own: np.ndarray) -> float:
    return effective_units(rows.units[own], np.flatnonzero(own)) if own.any() else 0.0


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


def figure(
    metric: Metric, rows: Rows, *, n_units: int | None = None, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> Figure:
    """One metric on these rows as a `Figure`; NaN without rows, or where it is undefined.

    Parameters
    ----------
    n_units : int, optional
        Number of units that are numbered, where `rows` are some of a larger set (a group of faces).
    seed, n_boot : int
        Of the bootstrap that gives a `FunctionMetric` its error.
    """
    if not len(rows.units):
        return Figure(np.nan, bounds=metric.bounds)
    own = replace(rows, units=np.unique(rows.units, return_inverse=True)[1])
    value = metric.value(own)
    if counts := metric.wilson_count(own):
        made = error_of_sum(metric.contributions(own)[:, 0], rows.units, rows.pictures, n_units=n_units)
        return Figure(
            value, bounds=metric.bounds, counts=counts, effective=min(counts, made.effective),
            by_unit=made.by_unit,
        )  # fmt: skip
    if isinstance(metric, FunctionMetric):
        return _bootstrapped(metric, own, value, seed=seed, n_boot=n_boot)
    contributions = metric.contributions(own)[:, 0]
    return _figure_of_rows(
        rows, metric, value, contributions, np.ones(len(rows.units), bool), n_units=n_units
    )


def estimate(
    metric: Metric,
    rows: Rows,
    *,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    confidence: float = intervals.CONFIDENCE,
) -> tuple[float, float, float, str]:
    """One metric on these rows: value, low, high and how the interval was made; NaN without rows."""
    made = figure(metric, rows, seed=seed, n_boot=n_boot)
    return made.value, *made.interval(confidence), describe_method(made, metric, rows)


def describe_method(made: Figure, metric: Metric, rows: Rows) -> str:
    """Say how an interval was made and over how many units; and where they are too few to rely on it."""
    if not len(rows.units):
        return "no rows"
    present, unit = len(np.unique(rows.units)), rows.counted
    counted = f"{present:,} {unit}"
    if made.effective < 0.8 * present:
        counted = f"{made.effective:,.0f} effective of {counted}"
    if made.counts and made.counts == len(rows.units):
        return "Wilson"
    if not np.isfinite(made.interval()).all():
        return f"no interval: {counted}, or nothing varies"
    if made.counts and np.isnan(made.freedom):
        return f"Wilson over {counted}"
    kind = "t of the bootstrap" if isinstance(metric, FunctionMetric) else "Wilson, t" if made.counts else "t"
    return f"{kind} over {counted}{doubt(made, metric)}"


def doubt(made: Figure, metric: Metric) -> str:
    """Say why an interval may cover less than 95 %; empty where it covered in all simulations.

    See docs/how_intervals_were_checked.md. Shares hold with few degrees of freedom, but those of few faces can only take
    a few values, and it depends on the true share how many of them are covered. What weighs errors by their size
    (log loss, Brier score, errors of numbers) or by ranks (the area under the curve) does not.
    """
    if made.effective < ENOUGH_UNITS:
        return f"; below {ENOUGH_UNITS} it may cover less than 95 %"
    if metric.proportion and not np.isfinite(made.freedom) and 0 < made.counts < ENOUGH_FREEDOM:
        return f"; a share of {made.counts:.0f} goes in steps: it may cover less than 95 %"
    if few_decide(made, metric):
        return f"; a few decide it ({made.freedom:.0f} degrees of freedom): it may cover less than 95 %"
    return ""


def few_decide(made: Figure, metric: Metric) -> bool:
    """Whether a few large errors or low ranks make a figure: fewer than 40 degrees of freedom."""
    weighs = not metric.proportion and (metric.better == "lower" or metric.combine is None)
    return bool(weighs and made.freedom < ENOUGH_FREEDOM)


def _figure_of_rows(
    rows: Rows,
    metric: Metric,
    value: float,
    contributions: np.ndarray,
    counted: np.ndarray,
    *,
    n_units: int | None = None,
) -> Figure:
    """Return the figure of linearised contributions; `counted` marks the rows that it is about."""
    if not np.isfinite(value) or not counted.any() or not np.isfinite(contributions).all():
        return Figure(value, bounds=metric.bounds)
    strata = rows.truth[counted] if rows.task.is_exclusive else None
    units, pictures = rows.units[counted], rows.pictures[counted]
    made = error_of_sum(
        contributions[counted],
        units,
        pictures,
        strata=strata,
        n_units=n_units,
        moment_factor=MOMENT_FACTOR_OF_RANKS if metric.combine is None else MOMENT_FACTOR,
    )
    if metric.proportion:
        return figure_of_share(value, replace(made, effective=effective_units(units, pictures)))
    bounds = metric.bounds
    if np.isfinite(bounds).all() and np.isclose(value, bounds, rtol=0, atol=1e-12).any():
        # All right: nothing varies, so units are counted as if each were one face.
        rarest = effective_units(units, pictures, strata=strata)
        return Figure(value, bounds=bounds, counts=rarest, effective=rarest, by_unit=made.by_unit)
    return Figure(value, made.error, made.freedom, made.effective, bounds, made.by_unit)


def _bootstrapped(metric: Metric, rows: Rows, value: float, *, seed: int, n_boot: int) -> Figure:
    n, effective = rows.n_units, effective_units(rows.units, rows.pictures)
    if n < 2:
        return Figure(value, bounds=metric.bounds, effective=effective)
    drawn = intervals.resample(metric.statistic(rows), n, n_boot=n_boot, seed=seed)
    drawn = drawn[np.isfinite(drawn)]
    error = float(drawn.std(ddof=1) * np.sqrt(n / (n - 1))) if len(drawn) > 1 else np.nan
    freedom = max(effective - 1, 1.0)
    if np.isclose(value, metric.bounds, rtol=0, atol=1e-12).any():
        return Figure(value, bounds=metric.bounds, counts=effective, effective=effective)
    return Figure(value, error, freedom, effective, metric.bounds)


def _record(metric: Metric, rows: Rows, *, seed: int, n_boot: int) -> dict:
    value, low, high, method = estimate(metric, rows, seed=seed, n_boot=n_boot)
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

"""Repeated folds in tables: predictions, every metric of every fit, and what their spread says.

Folds differ in the faces they train on and test; repeats differ in how faces fall into folds and in
the random start. The spread of the two is kept apart, and the interval of the mean allows for
training sets that overlap (Nadeau and Bengio 2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics, significance
from faceworkbook.evaluation import predictions as tables

SUBSETS = ("train", "validation", "test")


def predictions(
    fits, faces: pd.DataFrame, *, subsets: Sequence[str] = ("validation", "test", tables.CONTRADICTING)
) -> pd.DataFrame:
    """The table of predictions of all fits, one row a face, repeat and fold.

    Parameters
    ----------
    fits : faceworkbook.training.folds.FoldFits
    faces : pandas.DataFrame
        The face table that its splits and its target were made from.
    subsets : sequence of str
        Some of 'train', 'validation', 'test', 'contradicting'.
    """
    made = [
        _predictions_of(fits, i, faces, getattr(split, subset), subset)
        for i, split in enumerate(fits.splits)
        for subset in subsets
        if len(getattr(split, subset, ()))
    ]
    return pd.concat(made, ignore_index=True)


def _predictions_of(fits, i: int, faces: pd.DataFrame, rows: np.ndarray, subset: str) -> pd.DataFrame:
    keys = {"repeat": getattr(fits.splits[i], "repeat", 0), "fold": getattr(fits.splits[i], "fold", 0)}
    labels = fits.labels
    return tables.build(
        faces.iloc[rows],
        labels.task,
        truth=labels.truth[rows],
        output=fits.outputs[i][rows],
        split=subset,
        **keys,
    )


def scores(fits, faces: pd.DataFrame, *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Every metric of every fit.

    Returns
    -------
    pandas.DataFrame
        One row a fit: repeat, fold, n_train, n_validation, n_test, rows_id (the same for the same test
        rows), and ``SUBSET_METRIC`` for the three subsets (NaN for a subset without rows, or where a metric is
        undefined).
    """
    records = []
    for i, split in enumerate(fits.splits):
        record = {"repeat": getattr(split, "repeat", 0), "fold": getattr(split, "fold", 0)}
        record |= {f"n_{subset}": len(getattr(split, subset)) for subset in SUBSETS}
        record["rows_id"] = significance.rows_id(split.test)
        for subset in SUBSETS:
            record |= _values(fits, i, faces, getattr(split, subset), subset, names)
        records.append(record)
    return pd.DataFrame(records)


def with_contradicting(fits):
    """Return the fits with the faces of contradicting copies back among their test rows; see `scores`."""
    splits = [
        replace(split, test=np.sort(np.concatenate([split.test, split.contradicting])))
        for split in fits.splits
    ]
    return replace(fits, splits=tuple(splits))


def describe_contradicting(fits, without: pd.Series, joined: pd.Series, *, unit: str = "") -> str:
    """Return in one sentence how many faces left the test rows, and a metric's mean without and with them.

    Parameters
    ----------
    without, joined : pandas.Series
        Rows of `summary` of the fits, and of `with_contradicting`.
    """
    rows = {row for split in fits.splits for row in split.contradicting.tolist()}
    if not rows:
        return "No face left the test rows: no copies of a picture contradict each other in the label."
    means = [
        f"{row['mean']:.3f} {unit}".strip() + f" [{row['low']:.3f}, {row['high']:.3f}]"
        for row in (without, joined)
    ]
    return (
        f"{len(rows):,} faces left the test rows, because copies of their picture bear another label: mean "
        f"{without['metric'].replace('_', ' ')} is {means[0]} without them, {means[1]} with them."
    )


def _values(fits, i: int, faces, rows: np.ndarray, subset: str, names) -> dict[str, float]:
    chosen = names or metrics.default_names(fits.labels.task)
    if not len(rows):
        return {f"{subset}_{name}": np.nan for name in chosen}
    arrays = metrics.rows_of(_predictions_of(fits, i, faces, rows, subset), subset=None)
    return {f"{subset}_{name}": metrics.pick(name, arrays.task).value(arrays) for name in chosen}


def summary(scored: pd.DataFrame, *, subset: str = "test") -> pd.DataFrame:
    """Mean, spread and interval of each metric over fits.

    Parameters
    ----------
    scored : pandas.DataFrame
        What `scores` returned.

    Returns
    -------
    pandas.DataFrame
        metric, mean (a fold weighs by its test rows), low, high (95 %, corrected for overlapping training sets; fits
        of the same test rows, as repeats of official folds are, count once), sd_folds (between the
        folds of a repeat, averaged over repeats), sd_seeds (between the means of repeats; NaN for one
        repeat), n_fits, n_repeats, n_test (rows of a test fold, mean). NaN bounds for a single fit.
    """
    prefix = f"{subset}_"
    names = [column.removeprefix(prefix) for column in scored if column.startswith(prefix)]
    table = pd.DataFrame([{"metric": name} | _spread(scored, prefix + name) for name in names])
    # The t interval knows nothing of a metric's range: no accuracy is above 1.
    least, most = np.array([metrics.bounds(name) for name in names]).T
    return table.assign(low=np.clip(table["low"], least, most), high=np.clip(table["high"], least, most))


def _spread(scored: pd.DataFrame, column: str) -> dict:
    values = scored[column].to_numpy(float)
    by_repeat = scored.groupby("repeat")[column]
    same_rows = scored.get("rows_id", scored.index)
    apart = scored.groupby(same_rows).agg(value=(column, "mean"), n_test=("n_test", "first"))
    low, high = corrected_interval(
        apart["value"].to_numpy(),
        n_train=scored["n_train"].mean(),
        n_test=scored["n_test"].mean(),
        weights=apart["n_test"].to_numpy(),
    )
    return {
        "mean": np.average(values, weights=scored["n_test"]),
        "low": low,
        "high": high,
        "sd_folds": float(np.sqrt(by_repeat.var(ddof=1).mean())),
        "sd_seeds": float(by_repeat.mean().std(ddof=1)),
        "n_fits": len(values),
        "n_repeats": by_repeat.ngroups,
        "n_test": round(scored["n_test"].mean()),
    }


def corrected_interval(
    values: np.ndarray, *, n_train: float, n_test: float, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """95 % interval of the mean over repeated folds: mean -+ t sqrt((1/n + n_test/n_train) s^2).

    `weights` are the test rows of each fold, see `significance.nadeau_bengio`.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or not np.isfinite(values).all():
        return np.nan, np.nan
    result = significance.nadeau_bengio(values, n_train=n_train, n_test=n_test, weights=weights)
    return result.low, result.high

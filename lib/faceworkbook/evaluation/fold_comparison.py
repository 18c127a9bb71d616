"""Comparisons over repeated folds: the value of every fit, the rows it trained on, and the tests of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics, significance
from faceworkbook.evaluation import pseudo_replication as pseudo
from faceworkbook.evaluation.aligned_runs import ComparisonError
from faceworkbook.evaluation.metrics import Metric
from faceworkbook.evaluation.significance import Result


def fold_values(predictions: pd.DataFrame, *, metric: str, subset: str | None = "test") -> pd.DataFrame:
    """Compute the metric of every fit: a table of repeat, fold, n, value, rows_id (the same for the same test rows)."""
    chosen = predictions if subset is None else predictions[predictions["split"] == subset]
    records = []
    for (repeat, fold), table in chosen.groupby(["repeat", "fold"], sort=True):
        rows = metrics.rows_of(table, subset=None)
        value = metrics.pick(metric, rows.task).value(rows)
        name = significance.rows_id(table["face_id"])
        records.append({"repeat": repeat, "fold": fold, "n": len(table), "value": value, "rows_id": name})
    return pd.DataFrame(records)


def training_sizes(predictions: pd.DataFrame) -> pd.Series:
    """Count the rows that every fit trained on, by (repeat, fold).

    A fit trains on the faces of its repeat that it neither tests, nor chooses on (validation), nor leaves out. The
    table of predictions holds them all, for a face that trains in one fold is tested in another.

    Raises
    ------
    ComparisonError
        A fit without training rows: every repeat has one fold only, so that nobody is known to have trained.
    """
    keys = ["repeat", "fold"]
    own = predictions[predictions["split"] != "train"].groupby(keys, sort=True)["face_id"].nunique()
    everybody = predictions.groupby("repeat")["face_id"].nunique()
    sizes = everybody.reindex(own.index.get_level_values("repeat")).to_numpy() - own
    if (sizes <= 0).any():
        raise ComparisonError(
            "every repeat has one fold only, so the training rows are unknown; "
            "compare repeated k-fold runs with two folds or more"
        )
    return sizes


def pairs_of_folds(
    runs: Mapping[str, pd.DataFrame], metric: Metric, *, sizes: Mapping[str, pd.Series]
) -> list[tuple[str, str, Result]]:
    """Test each pair of models over repeated folds.

    Parameters
    ----------
    runs : mapping of str to pandas.DataFrame
        Test rows by the name of the run, the same in all.
    sizes : mapping of str to pandas.Series
        `training_sizes` of each run.

    Returns
    -------
    list of (first, second, Result)
        The corrected t test first; then the 5x2cv F test where there are five repeats of two folds, and the plain t
        test over folds, which is not to be relied on.
    """
    values = {name: fold_values(table, metric=metric.name, subset=None) for name, table in runs.items()}
    table = next(iter(values.values()))
    # Repeats of official folds test the same rows again: they count once.
    once = table.groupby("rows_id", sort=True)["n"].first().to_numpy(dtype=float)
    results = []
    for a, b in combinations(runs, 2):
        d = (values[a]["value"] - values[b]["value"]).to_numpy()
        apart = pd.Series(d).groupby(table["rows_id"].to_numpy(), sort=True).mean().to_numpy()
        n_train = float(np.mean([sizes[a].mean(), sizes[b].mean()]))
        corrected = significance.nadeau_bengio(apart, n_train=n_train, n_test=once.mean(), weights=once)
        results.append((a, b, corrected))
        if table.groupby("repeat").size().tolist() == [2] * 5:
            results.append((a, b, significance.five_by_two_f(d.reshape(5, 2))))
        results.append((a, b, pseudo.naive_paired_t(d)))
    return [(a, b, result.within(metric.difference_bounds)) for a, b, result in results]

"""The figures of a model on training, validation and test rows side by side: how much it has learned by heart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics, predictions
from faceworkbook.tasks import Labels

SUBSETS = ("train", "validation", "test")
MOST_ROWS = 2000  # training rows that are predicted


def draw_rows(split, *, seed: int, most: int = MOST_ROWS) -> np.ndarray:
    """Return training rows, at most `most` of them, drawn by seed; ascending."""
    return np.sort(np.random.default_rng(seed).permutation(split.train)[:most])


def compare_subsets(
    read: Callable,
    faces: pd.DataFrame,
    labels: dict[str, Labels],
    predicted: dict[str, pd.DataFrame],
    *,
    rows,
) -> pd.DataFrame:
    """Return the metrics of each task on the three subsets.

    Parameters
    ----------
    read : callable
        Rows to a dict of task to outputs with a row for every face, such as `fine_tune.read_rows`.
    predicted : dict of task to pandas.DataFrame
        Predictions of validation and test rows.
    rows : ndarray of int
        Training rows, see `draw_rows`.

    Returns
    -------
    pandas.DataFrame
        task, metric, train, validation, test, n_train, n_validation, n_test.
    """
    outputs, made = read(rows), []
    for name, own in labels.items():
        known = rows[own.known[rows]]
        given = {"truth": own.truth[known], "output": outputs[name][known], "split": "train"}
        tables = {"train": predictions.build(faces.iloc[known], own.task, **given)}
        tables |= {subset: predicted[name][predicted[name]["split"] == subset] for subset in SUBSETS[1:]}
        for table in tables.values():
            table.attrs = dict(predicted[name].attrs)
        arrays = {
            subset: metrics.rows_of(table, subset=None) for subset, table in tables.items() if len(table)
        }
        counts = {f"n_{subset}": len(table) for subset, table in tables.items()}
        for metric in metrics.default_names(own.task):
            values = {subset: metrics.pick(metric, own.task).value(each) for subset, each in arrays.items()}
            made.append({"task": name, "metric": metric, **values, **counts})
    return pd.DataFrame(made)

"""Annotators as the ceiling: how often one more annotator agrees with the others, beside a model's accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import figures, intervals, metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.faces import VOTES_PREFIX

COLUMNS = ["who", "value", "low", "high", "n", "n_pictures"]
MODEL, ANNOTATOR = "model", "one more annotator"


def agreement(votes: np.ndarray) -> np.ndarray:
    """Return how often an annotator of a face agrees with the majority of its others.

    Parameters
    ----------
    votes : ndarray of shape (n, n_classes)
        Counts of the annotators' votes.

    Returns
    -------
    ndarray of shape (n,), range 0..1
        Each vote in turn is held against the majority of the remaining ones; a tie of k classes counts 1 / k. NaN
        where a face has fewer than two votes.
    """
    votes = np.asarray(votes, dtype=float)
    total = votes.sum(axis=1)
    agreed = np.zeros(len(votes))
    for k in range(votes.shape[1]):
        rest = votes.copy()
        rest[:, k] -= 1
        best = rest.max(axis=1)
        ties = (rest == best[:, None]).sum(axis=1)
        agreed += votes[:, k] * (rest[:, k] == best) / ties
    return np.divide(agreed, total, out=np.full(len(votes), np.nan), where=total > 1)


def compare(
    predictions: pd.DataFrame, faces: pd.DataFrame, *, n_boot: int = intervals.N_BOOT, seed: int = 0
) -> pd.DataFrame:
    """Set a model's accuracy beside the agreement of one more annotator, on the same test faces.

    The label is the majority of all votes, the annotator is held against the majority of the others: a model
    that knew the label of every face would be above the annotator, whose figure is no bound but a measure of how
    clear the faces are.

    Parameters
    ----------
    predictions : pandas.DataFrame
    faces : pandas.DataFrame
        The face table, with ``votes_*`` columns where the set has votes.

    Returns
    -------
    pandas.DataFrame
        who ('model', 'one more annotator'), value, low, high (95 %, over people or different pictures), n,
        n_pictures; empty where there are no votes of this label.
    """
    task = tables.task_of(predictions)
    columns = [column for column in faces if column.startswith(VOTES_PREFIX)]
    if not task.is_exclusive or not {VOTES_PREFIX + name for name in task.classes} <= set(columns):
        return pd.DataFrame(columns=COLUMNS)
    votes = faces.set_index("face_id")[columns].astype(float)
    tested = predictions[predictions["split"] == "test"]
    agreed = agreement(votes.reindex(tested["face_id"]).to_numpy())
    counted = tested[np.isfinite(agreed)]
    if counted.empty:
        return pd.DataFrame(columns=COLUMNS)
    counted.attrs = dict(predictions.attrs)
    figure = metrics.summary(counted, names=["accuracy"], n_boot=n_boot, seed=seed).iloc[0]
    rows = metrics.rows_of(counted)
    made = figures.figure_of_mean(agreed[np.isfinite(agreed)], rows.units, rows.pictures, bounds=(0.0, 1.0))
    low, high = made.interval()
    annotator = {"value": made.value, "low": low, "high": high}
    n = {"n": rows.n_faces, "n_pictures": rows.n_pictures}
    records = [{"who": MODEL, **figure[["value", "low", "high"]], **n}, {"who": ANNOTATOR, **annotator, **n}]
    return pd.DataFrame(records, columns=COLUMNS)

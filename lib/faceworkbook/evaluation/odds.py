"""Equalised odds, equal opportunity and demographic parity between groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from faceworkbook.evaluation import equality, intervals
from faceworkbook.evaluation.figures import Figure, figure_of_share
from faceworkbook.evaluation.group_attributes import (
    AGE_EDGES,
    SMALL,
    Attribute,
    Cut,
    attach,
    cut,
    describe_attribute,
    keep_groups,
)
from faceworkbook.evaluation.predictions import of_label, task_of
from faceworkbook.evaluation.rows import Rows, need_exclusive
from faceworkbook.evaluation.standard_errors import error_of_sum

_MEASURES = ("equalised odds", "equal opportunity", "demographic parity")


def odds(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Equalised-odds, equal-opportunity and demographic-parity differences between groups.

    Returns
    -------
    pandas.DataFrame
        measure, value, low, high, null_mean, p, groups, left_out. With more than two classes each
        class is taken against the rest, and the largest difference counts. Differences are
        largest minus smallest, so they are above 0 without any difference: read them beside `null_mean`, the
        mean of groups that are served equally with the errors of these. The interval holds for all pairs of
        groups and all classes together, and so does p; see `equality.compare_all`.
    """
    pieces = cut(table, attribute, subset=subset)
    need_exclusive(pieces.rows, "odds by group")
    sizes = pieces.n_pictures()
    used = np.flatnonzero(sizes >= small)
    tested = [equality.Equality(*[np.nan] * 5)] * len(_MEASURES)
    if len(used) > 1:
        families = _families(keep_groups(pieces, used))
        tested = [equality.compare_all(own, n_draws=n_boot, seed=seed) for own in families]
    left_out = ", ".join(describe_attribute(pieces.names[g]) for g in np.flatnonzero(sizes < small))
    table = pd.DataFrame([asdict(one) for one in tested])[["value", "low", "high", "null_mean", "p"]]
    return (
        table.assign(groups=len(used), left_out=left_out)
        .set_axis(_MEASURES)
        .rename_axis("measure")
        .reset_index()
    )


def odds_by_label(
    predictions: pd.DataFrame,
    faces: pd.DataFrame,
    attributes: Sequence[str],
    *,
    age_edges=AGE_EDGES,
    **settings,
) -> pd.DataFrame:
    """Return `odds` for each attribute, and for each of several yes/no labels apart.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Of classes, or of several yes/no labels.
    faces : pandas.DataFrame
        Face table.
    attributes : sequence of str
        Columns of the face table; the one that is the label itself is left out.
    age_edges : sequence of number
        See `attach`.
    **settings
        See `odds`.

    Returns
    -------
    pandas.DataFrame
        label, attribute, and the columns of `odds`; empty where no attribute is left.
    """
    task = task_of(predictions)
    each = (
        {name: of_label(predictions, name) for name in task.classes}
        if task.is_multilabel
        else {task.name: predictions}
    )
    rows = []
    for label, own in each.items():
        others = [name for name in attributes if name != label]
        table = attach(own, faces, others, age_edges=age_edges)
        rows += [odds(table, name, **settings).assign(label=label, attribute=name) for name in others]
    if not rows:
        return pd.DataFrame()
    judged = pd.concat(rows, ignore_index=True)
    return judged[["label", "attribute", *judged.columns.drop(["label", "attribute"])]]


def _families(kept: Cut) -> list[list[list[Figure]]]:
    """Rates by group that are to be equal: one list a measure, in it one list a class (and kind of rate)."""
    truth, classes = kept.rows.truth, range(len(kept.rows.classes))
    hits = [_rates(kept, k, truth == k) for k in classes]
    wrong = [_rates(kept, k, truth != k) for k in classes]
    chosen = [_rates(kept, k, np.ones(len(truth), bool)) for k in classes]
    # Of two classes, equal opportunity looks at the second alone, as fairlearn's functions do.
    return [hits + wrong, hits[1:] if len(classes) == 2 else hits, chosen]


def _rates(kept: Cut, k: int, counted: np.ndarray) -> list[Figure]:
    """Share of the counted rows of each group that are predicted as class `k`."""
    return [_rate(kept.rows, k, counted & (kept.codes == g)) for g in range(len(kept.names))]


def _rate(rows: Rows, k: int, own: np.ndarray) -> Figure:
    n = int(own.sum())
    if not n:
        return Figure(np.nan)
    chosen = rows.predicted[own] == k
    value, units = float(chosen.mean()), rows.units[own]
    made = error_of_sum((chosen - value) / n, units, rows.pictures[own], n_units=rows.n_units)
    if len(np.unique(units)) == n:
        return Figure(value, effective=n, bounds=(0.0, 1.0), by_unit=made.by_unit, counts=n)
    return figure_of_share(value, made)

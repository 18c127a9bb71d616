"""What it is worth that copies with contradicting labels leave the test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation import predictions as tables

COLUMNS = ["model", "rows", "metric", "value", "low", "high", "n", "n_pictures"]
WITHOUT, WITH, ALONE = "test rows", "with the contradicting copies", "the contradicting copies alone"


def count(predictions: pd.DataFrame) -> int:
    """Count the faces that left the test rows because copies of their picture bear another label."""
    return predictions.loc[predictions["split"] == tables.CONTRADICTING, "face_id"].nunique()


def figures(
    models: Mapping[str, pd.DataFrame],
    *,
    names: Sequence[str] | None = None,
    n_boot: int = intervals.N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """Figures without the contradicting copies, with them, and of them alone.

    At least one label of each group of such copies is wrong, so the figures of these faces say as much of the
    labels as of the model. Without them the figures are too good for labels as they are.

    Parameters
    ----------
    models : mapping of name to predictions table
        With rows of the split 'contradicting'.
    names : sequence of str, optional
        Metrics; the task's headline by default.

    Returns
    -------
    pandas.DataFrame
        model, rows (which), metric, value, low, high (95 %), n (faces), n_pictures; empty where no face was
        excluded.
    """
    made = []
    for model, table in models.items():
        if not count(table):
            continue
        chosen = names or [tables.task_of(table).headline]
        summarise = partial(metrics.summary, names=chosen, n_boot=n_boot, seed=seed)
        each = {
            WITHOUT: summarise(table),
            WITH: summarise(tables.with_contradicting(table)),
            ALONE: summarise(table, subset=tables.CONTRADICTING),
        }
        made += [summary.assign(model=model, rows=rows) for rows, summary in each.items()]
    return pd.concat(made, ignore_index=True)[COLUMNS] if made else pd.DataFrame(columns=COLUMNS)


def describe(excluded: pd.DataFrame, *, unit: str = "") -> str:
    """Return in one sentence how many faces left the test rows, and the first model's figure with and without."""
    if excluded.empty:
        return "No face left the test rows: no copies of a picture contradict each other in the label."
    first = excluded[
        (excluded["model"] == excluded["model"].iloc[0]) & (excluded["metric"] == excluded["metric"].iloc[0])
    ].set_index("rows")
    metric = first["metric"].iloc[0].replace("_", " ")
    without, joined, alone = (_format(first.loc[rows], unit) for rows in (WITHOUT, WITH, ALONE))
    return (
        f"{int(first.loc[ALONE, 'n']):,} faces left the test rows, because copies of their picture bear another "
        f"label: {metric} is {without} without them, {joined} with them, and {alone} on them alone."
    )


def _format(row: pd.Series, unit: str) -> str:
    return f"{row['value']:.3f} {unit}".strip()

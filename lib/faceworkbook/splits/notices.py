"""What a reader of a split has to know: rare classes, people with very many rows, people joined by copies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from faceworkbook.splits.strata import Plan

GIANT = 0.05  # of a subset's rows; a group with more makes its figures
LEAST_ROWS = 20  # of such a group: in a small subset a few rows are a large share


def list_notices(plan: Plan, subset: np.ndarray, report: pd.DataFrame) -> Iterator[str]:
    """Yield what a reader has to know of the rows of `subset`, ndarray of shape (n,) of str."""
    yield from _rare_classes(report)
    yield from _giants(plan, subset)
    yield from _joined_people(plan)


def _rare_classes(report: pd.DataFrame) -> Iterator[str]:
    for column in report.columns[2:]:
        empty = [
            subset for subset in report.index if report.loc[subset, "rows"] and not report.loc[subset, column]
        ]
        if empty:
            yield f"{column} ({int(report[column].sum())} rows) does not occur in: {', '.join(empty)}"


def _giants(plan: Plan, subset: np.ndarray) -> Iterator[str]:
    for name in np.unique(subset[subset != ""]):
        rows = np.flatnonzero(subset == name)
        groups, counts = np.unique(plan.groups[rows], return_counts=True)
        largest = counts.argmax()
        if counts[largest] >= max(LEAST_ROWS, GIANT * len(rows)):
            who = _name_of(plan, rows[plan.groups[rows] == groups[largest]])
            yield (
                f"{name}: {who} holds {counts[largest]:,} of {len(rows):,} rows ({counts[largest] / len(rows):.0%}); "
                "figures there are to that extent about one person"
            )


def _name_of(plan: Plan, rows: np.ndarray) -> str:
    people = plan.faces["identity"].iloc[rows].dropna().unique()
    if not len(people):
        return f"one group of copies (of {plan.faces['face_id'].iloc[rows[0]]})"
    joined = f" and {len(people) - 1:,} more identities that share copies with it" if len(people) > 1 else ""
    return f"identity {people[0]}{joined}"


def _joined_people(plan: Plan) -> Iterator[str]:
    table = pd.DataFrame({"group": plan.groups, "person": plan.faces["identity"].to_numpy()})
    people = table.dropna().groupby("group")["person"].nunique()
    several = people[people > 1]
    if len(several):
        yield (
            f"{int(several.sum()):,} identities share copies of pictures and count as {len(several):,} people "
            f"(the largest joins {int(several.max()):,}): they are kept together"
        )

"""How noisy the labels are, estimated from copies: one picture that was labelled several times over.

Copies are no random sample: pictures that were collected twice are often of well-known people, and copies whose
labels went along with the file agree by that alone. The estimate says how wrong labels can be, not how wrong
those of a set are on average.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import row_groups
from faceworkbook.row_groups import ALONE

COLUMNS = [
    "label", "groups", "contradicting", "share", "low", "high", "error", "difference", "limit", "tolerance",
]  # fmt: skip
CAUTION = (
    "Copies are no random sample: well-known people are collected twice more often, and labels that were copied along "
    "with the file agree by that alone."
)


def label_noise(faces: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
    """How often, and by how much, the labels of copies of one picture differ.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table, n rows.
    groups : ndarray of shape (n,), int
        Groups of copies (exact and near), -1 where a face is alone.

    Returns
    -------
    pandas.DataFrame
        One row a label: groups (with two known labels or more), contradicting (numbers: by more than
        ``tolerance``), share, low, high (95 %, Wilson over groups, 0..1). For classes ``error``: the share of
        single labels that are wrong where two labels of a group err independently, ``1 - sqrt(1 - share)``. For
        numbers, in the label's unit: ``difference`` (mean size of the difference of two copies), ``limit`` (95 % of
        differences are smaller) and ``tolerance`` (see `row_groups.tolerance`).
    """
    rows = [_noise_of(faces[column], np.asarray(groups)) for column in face_table.label_columns(faces)]
    made = pd.DataFrame([row for row in rows if row["groups"]], columns=COLUMNS)
    return made.astype({"groups": int, "contradicting": int})


def _noise_of(values: pd.Series, groups: np.ndarray) -> dict:
    from statsmodels.stats.proportion import proportion_confint

    known = groups[(groups != ALONE) & values.notna().to_numpy()]
    _, counts = np.unique(known, return_counts=True)
    n = int((counts > 1).sum())
    contradicting = len(np.unique(groups[row_groups.contradictions(values, groups)]))
    row = {"label": values.name, "groups": n, "contradicting": contradicting}
    if not n:
        return row
    low, high = proportion_confint(contradicting, n, method="wilson")
    share = contradicting / n
    row |= {"share": share, "low": low, "high": high}
    if pd.api.types.is_numeric_dtype(values):
        sizes = np.abs(row_groups.copy_differences(values, groups))
        return row | {
            "difference": sizes.mean(),
            "limit": float(np.quantile(sizes, 0.95)),
            "tolerance": row_groups.tolerance(values, groups),
        }
    return row | {"error": 1 - np.sqrt(1 - share)}

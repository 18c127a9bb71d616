"""What a split has to keep: strata of labels, and groups of people and copies that stay together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import row_groups
from faceworkbook.row_groups import ALONE
from faceworkbook.splits.split import SUBSETS, SplitError

NUMBER_BINS = 10


@dataclass(frozen=True)
class Plan:
    faces: pd.DataFrame
    label: tuple[str, ...]
    strata: np.ndarray  # (n,) int, -1 where no label
    groups: np.ndarray  # (n,) int
    copies: np.ndarray  # (n,) int, ALONE where a row is no copy
    contradicting: np.ndarray  # (n,) bool
    labelled: np.ndarray = field(init=False)
    rows: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "labelled", self.strata >= 0)
        object.__setattr__(self, "rows", np.flatnonzero(self.strata >= 0))


def make_plan(faces: pd.DataFrame, label, keep_together) -> Plan:
    label = (label,) if isinstance(label, str) else tuple(label)
    check_labels(faces, label)
    copies = _copies(keep_together, len(faces))
    contradicting = np.zeros(len(faces), bool)
    for column in label:
        contradicting |= row_groups.contradictions(faces[column], copies)
    groups = row_groups.whole(row_groups.join(row_groups.people(faces["identity"]), copies))
    return Plan(faces, label, _strata(faces, label), groups, copies, contradicting)


def ungroup(plan: Plan) -> Plan:
    n = len(plan.faces)
    return replace(plan, groups=np.arange(n), contradicting=np.zeros(n, bool))


def check_labels(faces: pd.DataFrame, label: tuple[str, ...]) -> None:
    known = face_table.label_columns(faces)
    wrong = [column for column in label if column not in known]
    if wrong or not label:
        raise SplitError(
            f"label={list(label)}: no values in {wrong or 'it'}; the table has labels in {known}"
        )
    first = faces[label[0]]
    if len(label) == 1 and face_table.is_class_label(first) and first.nunique() < 2:
        only = first.dropna().iloc[0]
        raise SplitError(
            f"label={list(label)}: every known face is {only!r}; a label needs two classes at least"
        )


def _copies(keep_together, n: int) -> np.ndarray:
    if keep_together is None:
        return np.full(n, ALONE)
    ids = pd.Series(keep_together).to_numpy()
    if len(ids) != n:
        raise SplitError(f"keep_together has {len(ids)} entries, the face table {n} rows; give one a row")
    return row_groups.renumber(np.where(pd.isna(ids) | (ids == ALONE), ALONE, pd.factorize(ids)[0]))


def _strata(faces: pd.DataFrame, label: tuple[str, ...]) -> np.ndarray:
    names = [stratum_names(faces[column]) for column in label]
    missing = np.logical_and.reduce([name.isna().to_numpy() for name in names])
    joint = names[0].astype(object).where(names[0].notna(), "(none)")
    for name in names[1:]:
        finer = joint + " | " + name.astype(object).where(name.notna(), "(none)")
        joint = finer.where(finer.map(finer.value_counts()) >= 2 * len(SUBSETS), joint)
    return np.where(missing, -1, pd.factorize(joint, sort=True)[0])


def stratum_names(values: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(values):
        return values.astype(object).reset_index(drop=True)
    numbers = values.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, NUMBER_BINS + 1)))
    edges = np.append(edges, edges[0] + 1) if len(edges) == 1 else edges
    names = [f"{low:g}..{high:g}" for low, high in pairwise(edges)]
    return pd.Series(pd.cut(numbers, edges, labels=names, include_lowest=True)).astype(object)

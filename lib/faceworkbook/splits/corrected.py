"""A split that stays what it was where labels are corrected."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from faceworkbook.splits.making import make, split_as
from faceworkbook.splits.split import Split, SplitError
from faceworkbook.splits.strata import make_plan

KEPT = "drawn by the labels of before the corrections: what trains and tests stays what it was"
REDRAWN = "drawn anew by the corrected labels: {}"
BY_PERSON = "identity"


def make_corrected(faces: pd.DataFrame, before: pd.DataFrame, *, keep_together, **options) -> Split:
    """Split `faces` as `make` splits `before`, the same faces with the labels of before they were corrected.

    A corrected label moves its face to another stratum, and the draw with it: most faces would change their subset, and
    what the correction did to a figure could not be seen.

    Parameters
    ----------
    faces : pandas.DataFrame
        Faces of `before`, without those that corrections left out.
    before : pandas.DataFrame
    keep_together : array-like of shape (n,)
        Group of each row of `before`, see `make`.
    **options
        Those of `make`.

    Returns
    -------
    Split
        Of `faces`; its notices say whether the split could be kept. A face whose label was not known before goes
        where its group stands, else it trains. Corrected identities that would stand on two sides, and labels of
        which no split could be made before, are drawn anew.

    Raises
    ------
    SplitError
        See `make`.
    """
    at = pd.Index(before["face_id"]).get_indexer(faces["face_id"])
    if (at < 0).any():
        raise SplitError(
            f"{(at < 0).sum():,} faces are not in the table of before; give one that holds all faces"
        )
    label = [options["label"]] if isinstance(options["label"], str) else [*options["label"]]
    groups = pd.Series(keep_together).to_numpy()[at]
    if options.get("scheme") == "official":  # the set says where a face stands, also one that had no label
        before = before.assign(**{name: _filled(before[name], faces[name], at) for name in label})
    try:
        former = make(before, keep_together=keep_together, **options)
    except SplitError as error:
        return _noticed(make(faces, keep_together=groups, **options), REDRAWN.format(error))
    if len(at) == len(before) and before[["identity", *label]].equals(faces[["identity", *label]]):
        return former
    plan, subset = make_plan(faces, label, groups), _subsets(former, before, at)
    subset = np.where(plan.labelled, subset, "")
    known_before = before[label].notna().any(axis=1).to_numpy()[at]
    for row in np.flatnonzero(plan.labelled & ~known_before):
        placed = subset[(plan.groups == plan.groups[row]) & (subset != "")]
        subset[row] = placed[0] if len(placed) else "train"
    if former.name == BY_PERSON and _crosses(plan.groups, subset):
        why = "corrected people would stand on two sides of the former split"
        return _noticed(make(faces, keep_together=groups, **options), REDRAWN.format(why))
    return _noticed(split_as(plan, subset, former), KEPT)


def _subsets(former: Split, before: pd.DataFrame, at: np.ndarray) -> np.ndarray:
    subset = former.subset_of(len(before))
    subset[former.contradicting] = "test"  # the corrections may have settled the contradiction
    return subset[at]


def _crosses(groups: np.ndarray, subset: np.ndarray) -> bool:
    placed = subset != ""
    return bool((pd.Series(subset[placed]).groupby(groups[placed]).nunique() > 1).any())


def _filled(values: pd.Series, corrected: pd.Series, at: np.ndarray) -> pd.Series:
    out = values.copy()
    unknown = values.isna().to_numpy()[at]
    out.iloc[at[unknown]] = corrected[unknown].to_numpy()
    return out


def _noticed(split: Split, notice: str) -> Split:
    return dataclasses.replace(split, notices=(*split.notices, notice))

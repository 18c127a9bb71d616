"""Counts by label and by pairs of labels: which groups are too small to be judged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table

FEW = 100  # below this a rate's 95 % interval is wider than 10 points
FIFTHS = 5


def class_counts(faces: pd.DataFrame) -> pd.DataFrame:
    """Counts of every class of every label.

    Returns
    -------
    pandas.DataFrame
        ``label, value, faces, people, share`` (of the faces with that label, 0..1); ages and poses in
        groups; the last row of a label counts the faces without it (value '(missing)', share of all).
    """
    rows = []
    for column in face_table.label_columns(faces):
        groups = as_groups(faces[column])
        known = int(groups.notna().sum())
        for value in groups.cat.categories:
            inside = (groups == value).to_numpy()
            people = faces["identity"].to_numpy()[inside]
            rows.append((column, value, int(inside.sum()), pd.Series(people).nunique(), inside.sum() / known))
        missing = len(faces) - known
        rows.append((column, "(missing)", missing, 0, missing / max(len(faces), 1)))
    return pd.DataFrame(rows, columns=["label", "value", "faces", "people", "share"])


def pair_counts(faces: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Faces by two labels: classes (or groups) of `one` as rows, of `other` as columns, counts."""
    table = pd.crosstab(as_groups(faces[one]).to_numpy(), as_groups(faces[other]).to_numpy(), dropna=True)
    rows = [c for c in as_groups(faces[one]).cat.categories if c in table.index]
    columns = [c for c in as_groups(faces[other]).cat.categories if c in table.columns]
    return table.reindex(index=rows, columns=columns).rename_axis(index=one, columns=other)


def association(counts: pd.DataFrame) -> float:
    """Cramer's V of a table of counts, 0 (no relation) to 1: how far one label gives the other away."""
    observed = counts.to_numpy(float)
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / max(observed.sum(), 1)
    known = expected > 0
    chi2 = ((observed - expected)[known] ** 2 / expected[known]).sum()
    least = min(observed.shape) - 1
    return float(np.sqrt(chi2 / (observed.sum() * least))) if least > 0 and observed.sum() else 0.0


def pairs(faces: pd.DataFrame) -> pd.DataFrame:
    """Every pair of labels that a set has.

    Returns
    -------
    pandas.DataFrame
        ``one, other, faces`` (with both), ``association`` (Cramer's V), ``smallest`` (the smallest
        combination and its count), ``few`` (combinations with fewer than 100 faces), ``combinations``.
    """
    columns = face_table.label_columns(faces)
    rows = []
    for i, one in enumerate(columns):
        for other in columns[i + 1 :]:
            counts = pair_counts(faces, one, other)
            if counts.size == 0:
                continue
            values = counts.to_numpy()
            least = name_cell(counts, values.argmin())
            few = int((values < FEW).sum())
            rows.append((one, other, int(values.sum()), association(counts), least, few, values.size))
    names = ["one", "other", "faces", "association", "smallest", "few", "combinations"]
    return pd.DataFrame(rows, columns=names)


def name_cell(counts: pd.DataFrame, position: int) -> str:
    """Names and count of one cell, such as ``female & Indian: 12``; `position` counts row by row."""
    row, column = np.unravel_index(position, counts.shape)
    return f"{counts.index[row]} & {counts.columns[column]}: {counts.to_numpy()[row, column]:,}"


def as_groups(values: pd.Series) -> pd.Series:
    """Classes that occur, as a categorical; ages in eight groups, poses in bins of 30 degrees, other numbers in fifths."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype("category").cat.remove_unused_categories()
    if values.name == "age":
        return face_table.age_to_group(values).cat.remove_unused_categories()
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    if values.name in face_table.POSE:
        edges = np.arange(-195, 196, 30)
        names = [f"{low} to {low + 30}" for low in edges[:-1]]
        binned = pd.cut(numbers, edges, right=False, labels=names)
    elif values.nunique() <= FIFTHS:
        binned = pd.Categorical(numbers).rename_categories(lambda number: f"{number:g}")
    else:
        edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, FIFTHS + 1)))
        names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
        binned = pd.cut(numbers, edges, labels=names, include_lowest=True, ordered=False)
    return pd.Series(binned, index=values.index).cat.remove_unused_categories()

"""What a classifier learns: one label column of the face table as codes or numbers, with its names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook import faces as facetable

CLASSES = "classes"
NUMBER = "number"
AGES = "ages"
KINDS = (CLASSES, NUMBER, AGES)
NAMES = (*facetable.CLASS_LABELS, *facetable.NUMBER_LABELS, "age_years")
MISSING = -1

_UNITS = {"age": "years", "age_years": "years", **dict.fromkeys(facetable.POSE, "degrees")}


class TargetError(ValueError):
    """A label that cannot be learned from this table; the text says what is there instead."""


@dataclass(frozen=True)
class Target:
    """One label of n faces.

    Attributes
    ----------
    name : str
        One of `NAMES`.
    kind : {'classes', 'number', 'ages'}
        'ages' are single years: learned and predicted as classes '0', '1', ..., read as their
        expectation.
    classes : tuple of str
        Names in vocabulary order, only those that occur; empty for numbers.
    codes : ndarray of shape (n,), int64
        Index into `classes`, -1 where unknown; all -1 for numbers.
    values : ndarray of shape (n,), float64
        Years or degrees, NaN where unknown; all NaN for named classes.

    Notes
    -----
    Labels are what annotators saw, or what a file says: not what people are.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    codes: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def known(self) -> np.ndarray:
        """Which faces bear the label, bool (n,)."""
        return ~np.isnan(self.values) if self.kind == NUMBER else self.codes != MISSING

    @property
    def unit(self) -> str:
        """'years', 'degrees' or ''."""
        return _UNITS.get(self.name, "")

    @property
    def truth(self) -> np.ndarray:
        """Labels as a table of predictions wants them, shape (n,).

        Numbers, or class names ('31' for single years) with None where unknown.
        """
        if self.kind == NUMBER:
            return self.values
        names = np.array([*self.classes, None], dtype=object)
        return names[self.codes]

    def take(self, rows) -> Target:
        """The same target for some faces; classes stay as they are."""
        return Target(self.name, self.kind, self.classes, self.codes[rows], self.values[rows])

    def counts(self) -> pd.Series:
        """Faces by class; for numbers the count of known ones."""
        if self.kind == NUMBER:
            return pd.Series({self.name: int(self.known.sum())}, name="faces")
        counted = np.bincount(self.codes[self.known], minlength=len(self.classes))
        return pd.Series(counted, index=list(self.classes), name="faces")


def make(faces: pd.DataFrame, name: str) -> Target:
    """Make the target `name` out of a face table.

    Parameters
    ----------
    faces : pandas.DataFrame
        Face table of n rows.
    name : str
        'gender', 'race', 'emotion', 'age_group' (where it is missing, from `age` by the bins of
        ``faces.AGE_EDGES_ADIENCE``), 'age' (a number), 'age_years' (single years as classes, read
        as their expectation), 'yaw', 'pitch' or 'roll'.

    Raises
    ------
    TargetError
        An unknown name, or a label that fewer than two different faces bear.
    """
    if name not in NAMES:
        raise TargetError(f"target {name!r} is unknown; allowed are {list(NAMES)}")
    if name == "age_years":
        return _ages(faces)
    if name in facetable.NUMBER_LABELS:
        return _number(faces, name)
    labels = _age_groups(faces) if name == "age_group" else faces[name]
    return _named(labels, name, faces)


def from_labels(labels, *, name: str, classes: tuple[str, ...] | None = None) -> Target:
    """A target out of any sequence of class names; None, NaN and NA are unknown.

    `classes` gives the order (alphabetical where None); those that do not occur are dropped.
    """
    labels = pd.Series(labels, dtype=object).reset_index(drop=True)
    order = sorted(set(labels.dropna())) if classes is None else list(classes)
    wrong = sorted(set(labels.dropna()) - set(order))
    if wrong:
        raise TargetError(f"labels of '{name}' hold {wrong[:5]}, which are not among classes={order}")
    return _coded(pd.Series(pd.Categorical(labels, categories=order)), name)


def from_values(values, *, name: str) -> Target:
    """A target out of any sequence of numbers; NaN is unknown."""
    values = np.asarray(values, dtype=float)
    if len(np.unique(values[~np.isnan(values)])) < 2:
        raise TargetError(f"'{name}' holds fewer than two different numbers; there is nothing to learn")
    return Target(name, NUMBER, (), np.full(len(values), MISSING, np.int64), values)


def _age_groups(faces: pd.DataFrame) -> pd.Series:
    groups = faces["age_group"]
    if set(groups.cat.categories) != set(facetable.AGE_GROUPS_ADIENCE):
        return groups
    derived = facetable.age_to_group(faces["age"])
    return groups.where(groups.notna(), derived)


def _named(labels: pd.Series, name: str, faces: pd.DataFrame) -> Target:
    if labels.nunique() < 2:
        raise TargetError(_too_few(labels.dropna().unique(), name, faces))
    return _coded(labels, name)


def _coded(labels: pd.Series, name: str) -> Target:
    labels = labels.cat.remove_unused_categories()
    if len(labels.cat.categories) < 2:
        raise TargetError(f"'{name}' holds fewer than two classes; there is nothing to tell apart")
    codes = labels.cat.codes.to_numpy(dtype=np.int64)
    classes = tuple(str(c) for c in labels.cat.categories)
    return Target(name, CLASSES, classes, codes, np.full(len(codes), np.nan))


def _number(faces: pd.DataFrame, name: str) -> Target:
    values = faces[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    if len(np.unique(values[~np.isnan(values)])) < 2:
        raise TargetError(_too_few(np.unique(values[~np.isnan(values)]), name, faces))
    return Target(name, NUMBER, (), np.full(len(values), MISSING, np.int64), values)


def _ages(faces: pd.DataFrame) -> Target:
    number = _number(faces, "age")
    known = number.known
    years = np.round(number.values[known]).astype(int)
    occurring, codes = np.unique(years, return_inverse=True)
    all_codes = number.codes.copy()
    all_codes[known] = codes
    return Target("age_years", AGES, tuple(str(y) for y in occurring), all_codes, number.values)


def _too_few(found, name: str, faces: pd.DataFrame) -> str:
    held = f"only {found[0]!r}" if len(found) else "no known value"
    other = [column for column in facetable.label_columns(faces) if column != name]
    return f"column '{name}' holds {held}; a target needs two different ones. Labels of this table: {other}"

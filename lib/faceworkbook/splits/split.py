"""A split: which rows of a face table train, choose and test, what was left out, what leaks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from faceworkbook import row_groups

SUBSETS = ("train", "validation", "test")
CONTRADICTING = "copies of one picture bear contradicting labels"


class SplitError(ValueError):
    """A split that cannot be made or no longer fits; the text says why and what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a face table by subset.

    Attributes
    ----------
    name : str
        The scheme: 'identity', 'official', 'random', or 'without NAME' for a data set left out.
    label : tuple of str
        Columns that were stratified by.
    seed, repeat, fold : int
    train, validation, test : ndarray of int64
        Positions in the face table, ascending.
    fingerprint : str
        Of the table's face_id and label columns; see `fingerprint`.
    report : pandas.DataFrame
        One row a subset: rows, identities, and one column a class (or bin) with its count.
    left_out : pandas.DataFrame
        Columns face_id, subset ('' for all subsets), reason.
    leakage : dict
        ``test_rows``; how many of them show a person (``same_person``), a copy of a picture
        (``same_picture``) or either (``leaked``) of the training and validation rows;
        ``unknown_person``: test rows without identity, where persons cannot be compared.
    copies : ndarray of shape (n,), int
        Group of each row of the face table among copies of pictures, -1 where a row is no copy.
    contradicting : ndarray of int64
        Positions of the faces that left the test rows because copies of their picture bear another label.
    notices : tuple of str
        What a reader has to know, such as classes too rare for every subset.
    """

    name: str
    label: tuple[str, ...]
    seed: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    fingerprint: str
    report: pd.DataFrame
    left_out: pd.DataFrame
    leakage: dict
    copies: np.ndarray
    notices: tuple[str, ...] = ()
    repeat: int = 0
    fold: int = 0
    contradicting: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def subset_of(self, n: int) -> np.ndarray:
        """Subset names by row, ndarray of shape (n,) of str; '' for rows in no subset."""
        names = np.full(n, "", dtype="<U10")
        for subset in SUBSETS:
            names[getattr(self, subset)] = subset
        return names

    def summary(self) -> pd.DataFrame:
        """What was left out (by reason) and what leaks: columns ``what``, ``count``."""
        counts = self.left_out.groupby(["reason", "subset"]).size()
        rows = [(f"left out of {subset or 'all subsets'}: {why}", n) for (why, subset), n in counts.items()]
        rows += [(_LEAKAGE_TEXTS[key], count) for key, count in self.leakage.items()]
        return pd.DataFrame(rows, columns=["what", "count"])


_LEAKAGE_TEXTS = {
    "test_rows": "test rows",
    "same_person": "test rows that show a person of the training or validation rows",
    "same_picture": "test rows that are copies of a training or validation picture",
    "leaked": "test rows that leak either way",
    "unknown_person": "test rows whose person is unknown",
}


def restrict(split: Split, keep: np.ndarray) -> Split:
    """The same split for the table ``faces[keep]``, where other rows had no descriptor.

    Parameters
    ----------
    split : Split
    keep : ndarray of shape (n,), bool
        Rows of the face table that stay.

    Returns
    -------
    Split
        Positions count in the smaller table; the report and the leakage are those of the whole one.

    Raises
    ------
    SplitError
        A subset is left without rows.
    """
    new = np.cumsum(keep) - 1
    subsets = {subset: new[getattr(split, subset)[keep[getattr(split, subset)]]] for subset in SUBSETS}
    empty = [subset for subset in SUBSETS if len(getattr(split, subset)) and not len(subsets[subset])]
    if empty:
        raise SplitError(f"no row of {empty} could be read; look at the list of unreadable pictures")
    contradicting = new[split.contradicting[keep[split.contradicting]]]
    return replace(
        split, **subsets, contradicting=contradicting, copies=row_groups.renumber(split.copies[keep])
    )

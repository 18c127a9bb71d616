"""Likely label errors, by confident learning on predictions out of fold (Northcutt et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import files, row_groups, spreadsheet
from faceworkbook.audit import linear
from faceworkbook.row_groups import ALONE

COLUMNS = ("face_id", "image", "column", "given", "suggested", "p_given", "p_suggested")
MIN_CLASS = 10


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Rows whose label a classifier that never saw them disputes.

    Attributes
    ----------
    column : str
    table : pandas.DataFrame
        Most doubtful first: face_id, image, column, given, suggested, p_given, p_suggested (0..1).
        `given` is what an annotator saw, `suggested` what the classifier says; neither is who the person is.
    n : int
        Labelled rows that were looked at.
    accuracy : float
        Of the out-of-fold predictions, against the given labels.
    passed_over : dict of str to int
        Classes with too few rows to be judged, and their counts.
    """

    column: str
    table: pd.DataFrame
    n: int
    accuracy: float
    passed_over: dict[str, int]


def judgeable(faces: pd.DataFrame) -> list[str]:
    """Columns of classes with two classes or more of enough rows to look for errors."""
    columns = [c for c in face_table.label_columns(faces) if face_table.is_class_label(faces[c])]
    return [c for c in columns if (faces[c].value_counts() >= MIN_CLASS).sum() >= 2]


def find_label_errors(
    faces: pd.DataFrame,
    descriptors: np.ndarray,
    *,
    label: str,
    copies: np.ndarray | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> LabelErrors:
    """List the rows of `label` that confident learning calls wrong.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    descriptors : ndarray of shape (n, d), float
        In the order of `faces`; rows of NaN are passed over.
    label : str
        A column of classes.
    copies : ndarray of shape (n,), int, optional
        Groups of copies; they and the rows of one person are never on both sides of a fold, so that
        a wrong label cannot vouch for itself.
    n_folds : int
    seed : int

    Returns
    -------
    LabelErrors

    Raises
    ------
    ValueError
        `label` is no column of classes, or fewer than two classes have enough rows.
    """
    from cleanlab.filter import find_label_issues

    rows, passed_over = _usable_rows(faces, descriptors, label, max(MIN_CLASS, n_folds))
    names = np.array(face_table.known_classes(faces.iloc[rows], label))
    codes = pd.Index(names).get_indexer(faces[label].iloc[rows].astype(object))
    tied = np.full(len(faces), ALONE) if copies is None else copies
    groups = row_groups.whole(row_groups.join(row_groups.people(faces["identity"]), tied))[rows]
    probabilities = linear.out_of_fold(descriptors[rows], codes, groups, n_folds=n_folds, seed=seed)
    ranked = find_label_issues(
        codes, probabilities, return_indices_ranked_by="self_confidence", filter_by="both", n_jobs=1
    )
    best = probabilities.argmax(axis=1)
    table = faces[["face_id", "image"]].iloc[rows[ranked]].reset_index(drop=True)
    table = table.assign(
        column=label,
        given=names[codes[ranked]],
        suggested=names[best[ranked]],
        p_given=probabilities[ranked, codes[ranked]],
        p_suggested=probabilities[ranked, best[ranked]],
    )
    return LabelErrors(label, table, len(rows), float((best == codes).mean()), passed_over)


def _usable_rows(faces, descriptors, label: str, least: int) -> tuple[np.ndarray, dict[str, int]]:
    if not face_table.is_class_label(faces[label]):
        raise ValueError(
            f"label={label!r} holds numbers; allowed are the columns of classes {judgeable(faces)}"
        )
    if len(descriptors) != len(faces):
        raise ValueError(f"{len(descriptors)} descriptors for {len(faces)} faces; give one a row, in order")
    counts = faces[label].value_counts()
    scarce = {str(name): int(n) for name, n in counts.items() if 0 < n < least}
    if (counts >= least).sum() < 2:
        raise ValueError(
            f"label '{label}': two classes of {least} rows or more are needed to look for label errors; "
            f"there are {counts[counts > 0].to_dict()}; name another label, or give more faces"
        )
    usable = faces[label].notna().to_numpy() & ~faces[label].isin(list(scarce)).to_numpy()
    return np.flatnonzero(usable & np.isfinite(descriptors).all(axis=1)), scarce


def write_corrections(
    errors: Iterable[LabelErrors],
    path: str | Path,
    *,
    copies: Iterable = (),
    accept: bool = False,
) -> Path:
    """Write a corrections file: face_id, column, value, was, decision, then what helps to decide.

    Parameters
    ----------
    errors : iterable of LabelErrors
    path : str or Path
    copies : iterable of Duplicates, optional
        Copies of one picture whose labels contradict each other are listed too, in the columns of `errors`: at
        least one label of each group is wrong.
    accept : bool
        False leaves `value` empty, for a person to fill in; True fills in the suggested label, which
        nobody has looked at.

    Returns
    -------
    Path
        Where it was written: `path`, or corrections-2.csv and so on beside it, for a file in which somebody has
        decided is never overwritten. Read back by ``datasets.load(..., corrections=path)``; rows with neither `value` nor `decision` (see
        `faceworkbook.datasets.corrections.DECISIONS`) are undecided.
    """
    errors = list(errors)
    disputed = [each.table.assign(why="a classifier disputes the label") for each in errors]
    contradicting = [_contradicting(each, error.column) for each in copies for error in errors]
    empty = pd.DataFrame(columns=[*COLUMNS, "why"])
    table = pd.concat([empty, *disputed, *contradicting], ignore_index=True)
    table = table.drop_duplicates(["face_id", "column"])
    for name in ("p_given", "p_suggested"):
        table[name] = pd.to_numeric(table[name])
    value = table["suggested"].fillna("") if accept else ""
    table = table.rename(columns={"given": "was"}).assign(value=value, decision="")
    order = [
        "face_id",
        "column",
        "value",
        "was",
        "decision",
        "suggested",
        "p_given",
        "p_suggested",
        "why",
        "image",
    ]
    return files.write_beside(_free(Path(path)), spreadsheet.to_csv(table[order], float_format="%.4f"))


def _free(path: Path) -> Path:
    """Return `path`, or the first of its names with a number that holds no decision of a person."""
    number, free = 1, path
    while _holds_decisions(free):
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def _holds_decisions(path: Path) -> bool:
    """Whether a file is there that is not as `write_corrections` leaves it: something is decided, or it is another's."""
    if not path.exists():
        return False
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return bool((table[["value", "decision"]] != "").any(axis=None))
    except (OSError, ValueError, KeyError):
        return True


def _contradicting(copies, column: str) -> pd.DataFrame:
    members = copies.conflicts(column)
    by_group = members.groupby("group")[column].agg(
        lambda values: ", ".join(sorted(values.dropna().astype(str)))
    )
    why = "copies of the picture have: " + members["group"].map(by_group).astype(str)
    known = members[column].notna()
    made = members[["face_id", "image"]].assign(column=column, given=members[column].astype(object), why=why)
    return made[known]

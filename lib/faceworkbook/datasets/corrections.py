"""Labels corrected by a person: a CSV that is read over the labels of a data set.

Columns ``face_id``, ``column``, ``value``, and ``was`` if you like; others are passed over. ``column``
is a label of the face table, or ``leave_out`` with any text as ``value`` (the reason). An empty value
means that nobody has decided; ``NA`` means that the label is not known.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets.base import Dataset, DatasetError, Reasons
from faceworkbook.datasets.text_tables import read_rows
from faceworkbook.datasets.words import numbers

COLUMNS = ("face_id", "column", "value")
LEAVE_OUT = "leave_out"
_TEXT_LIMIT = 5


def apply(dataset: Dataset, path: str | Path) -> Dataset:
    """`dataset` with the corrections of the file at `path`.

    Parameters
    ----------
    dataset : Dataset
    path : str or Path

    Returns
    -------
    Dataset
        Every corrected label is in ``notices`` (reason "label corrected", with what it was), every
        face left out in ``left_out`` (reason "left out by correction").

    Raises
    ------
    DatasetError
        A face, column or class that the data set does not have, two different values for one label,
        or a ``was`` that is not what the data set holds. The text names line and value; nothing is applied.
    """
    path = Path(path)
    malformed = Reasons()
    rows = read_rows(path, malformed, malformed, header=COLUMNS)
    if malformed.rows:
        raise DatasetError(f"corrections {path}: {'; '.join(detail for _, _, detail in malformed.rows)}")
    rows = rows[rows["value"] != ""].drop_duplicates()
    _refuse(path, [*_problems(rows, dataset.faces)])
    notices, left_out = Reasons(), Reasons()
    table = dataset.faces.copy()
    position = pd.Series(table.index, index=table["face_id"])
    for column, group in rows[rows["column"] != LEAVE_OUT].groupby("column", sort=False):
        _write(table, column, group, position[group["face_id"]].to_numpy(), notices)
    gone = rows[rows["column"] == LEAVE_OUT]
    at = position[gone["face_id"]].to_numpy()
    left_out.add_all(table.loc[at, "image"], "left out by correction", gone["value"])
    return replace(
        dataset,
        faces=faces.validate(table.drop(index=at).reset_index(drop=True)),
        notices=pd.concat([dataset.notices, notices.table()], ignore_index=True),
        left_out=pd.concat([dataset.left_out, left_out.table()], ignore_index=True),
    )


def _write(table: pd.DataFrame, column: str, group: pd.DataFrame, at: np.ndarray, notices: Reasons) -> None:
    was = ["NA" if pd.isna(old) else old for old in table.loc[at, column]]
    number = pd.api.types.is_numeric_dtype(table[column].dtype)
    table.loc[at, column] = _values(group["value"], number=number).to_numpy()
    changes = zip(group["face_id"], was, group["value"], strict=True)
    details = [f"{face}: {column} {old} -> {new}" for face, old, new in changes]
    notices.add_all(table.loc[at, "image"], "label corrected", details)


def _values(values: pd.Series, *, number: bool) -> pd.Series:
    if number:
        return numbers(values).astype("Float64")
    return values.astype(object).where(values != "NA", None)


def _problems(rows: pd.DataFrame, table: pd.DataFrame):
    known = table.set_index("face_id")
    allowed = [*faces.known_labels(table), "identity", LEAVE_OUT]
    twice = rows.duplicated(["face_id", "column"], keep=False)
    for row, again in zip(rows.itertuples(), twice, strict=True):
        if row.face_id not in known.index:
            yield f"line {row.Index}: no face {row.face_id!r}"
        elif row.column not in allowed:
            yield f"line {row.Index}: column {row.column!r}; allowed are {allowed}"
        elif again:
            yield f"line {row.Index}: {row.face_id!r} has two values for {row.column!r}"
        else:
            yield from _value_problems(row, known)


def _value_problems(row, known: pd.DataFrame):
    dtype = None if row.column == LEAVE_OUT else known[row.column].dtype
    if isinstance(dtype, pd.CategoricalDtype):
        allowed = list(dtype.categories)
        if row.value not in (*allowed, "NA"):
            yield f"line {row.Index}: {row.column} {row.value!r}; allowed are {allowed} or NA"
    elif dtype is not None and pd.api.types.is_numeric_dtype(dtype) and row.value != "NA":
        low, high = faces.RANGES.get(row.column, (-np.inf, np.inf))
        if not low <= numbers(pd.Series([row.value]))[0] <= high:
            yield f"line {row.Index}: {row.column} {row.value!r}; allowed is a number in {low}..{high} or NA"
    was = getattr(row, "was", "")
    if was and row.column != LEAVE_OUT and not _same(known.loc[row.face_id, row.column], was):
        yield f"line {row.Index}: {row.column} was {known.loc[row.face_id, row.column]!s}, not {was!r}"


def _same(value, text: str) -> bool:
    if pd.isna(value):
        return text == "NA"
    return str(value) == text or bool((numbers(pd.Series([text])) == value).iloc[0])


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - _TEXT_LIMIT} more)" if len(problems) > _TEXT_LIMIT else ""
        shown = "\n  ".join(problems[:_TEXT_LIMIT])
        raise DatasetError(f"corrections {path}: nothing was applied{more}:\n  {shown}")

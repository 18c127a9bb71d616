"""Labels corrected by a person: a CSV that is read over the labels of a data set.

Columns ``face_id``, ``column``, ``value`` (``label``, ``new`` in other files), and if you like ``was`` (``old``),
``suggested`` and ``decision``; others are passed over. ``column`` is a label of the face table, or ``leave_out``
with any text as ``value`` (the reason). ``NA`` means that the label is not known. `DECISIONS` says what else a
row can mean; without a decision the value counts, and an empty one means that nobody has decided.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces, spreadsheet
from faceworkbook.datasets import words
from faceworkbook.datasets.base import Dataset, DatasetError, Reasons
from faceworkbook.datasets.text_tables import Format, read_rows
from faceworkbook.datasets.words import numbers

LEAVE_OUT, UNKNOWN = "leave_out", "NA"
DECISIONS = {
    "change": "the value counts",
    "accept": "the suggested value counts",
    "keep": "the label is right",
    "unusable": "the face is left out",
    "undecided": "nothing changes",
}
CORRECTED, GONE, CONFIRMED = "corrected", "left out", "confirmed"
UNDECIDED, NOT_APPLIED = "undecided", "not applied"
COLUMNS = ("line", "face_id", "image", "column", "was", "value", "status", "detail")
_ALIASES = {"label": "column", "new": "value", "old": "was"}
_OPTIONAL = ("was", "suggested", "decision")
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
        ``corrections`` has a row for every row of the file, with its ``status``: corrected, left out, confirmed,
        undecided, or not applied (the set has no such face, or another label by now than ``was``) and why. What
        was corrected, and what was not applied, is in ``notices`` too; faces left out are in ``left_out``.

    Raises
    ------
    DatasetError
        A column, class, number or decision that cannot be, two values for one label, or decisions of which none
        fits this set. The text names line and value; nothing is applied.
    """
    path = Path(path)
    rows = _read(path)
    _refuse(path, [*_problems(rows, dataset.faces)])
    judged = _judge(rows, dataset.faces)
    decided = judged[judged["status"] != UNDECIDED]
    if len(decided) and (decided["status"] == NOT_APPLIED).all():
        _refuse(path, [f"line {row.line}: {row.detail}" for row in decided.itertuples()])
    table = dataset.faces.copy()
    position = pd.Series(table.index, index=table["face_id"])
    changed = judged[judged["status"] == CORRECTED]
    for column, group in changed.groupby("column", sort=False):
        at = position[group["face_id"]].to_numpy()
        number = pd.api.types.is_numeric_dtype(table[column].dtype)
        table.loc[at, column] = _values(group["value"], number=number).to_numpy()
    lost = position[judged.loc[judged["status"] == GONE, "face_id"].unique()].to_numpy()
    notices, left_out = _list(judged)
    return replace(
        dataset,
        faces=faces.validate(table.drop(index=lost).reset_index(drop=True)),
        notices=pd.concat([dataset.notices, notices], ignore_index=True),
        left_out=pd.concat([dataset.left_out, left_out], ignore_index=True),
        corrections=judged,
    )


def listed(dataset: Dataset) -> pd.DataFrame:
    """Return what became of every row of the corrections of a data set; no row where it has none."""
    return pd.DataFrame(columns=list(COLUMNS)) if dataset.corrections is None else dataset.corrections


def gone(dataset: Dataset) -> list[str]:
    """Return the face_id of the faces that the corrections of a data set left out."""
    rows = listed(dataset)
    return rows.loc[rows["status"] == GONE, "face_id"].unique().tolist()


def counts(dataset: Dataset) -> dict[str, int]:
    """Return the rows of a data set's corrections by what became of them; empty where it has none."""
    return {str(status): int(n) for status, n in listed(dataset)["status"].value_counts().items()}


def _read(path: Path) -> pd.DataFrame:
    malformed = Reasons()
    rows = read_rows(path, malformed, malformed, header=(), form=Format(delimiter=_delimiter(path)))
    rows = rows.rename(columns={name: words.fold(name).replace(" ", "_") for name in rows})
    rows = rows.rename(columns={old: new for old, new in _ALIASES.items() if new not in rows})
    twice = sorted({"face_id", "column", "value", *_OPTIONAL} & set(rows.columns[rows.columns.duplicated()]))
    if twice:
        raise DatasetError(f"corrections {path}: the header has {twice} twice; keep one of each")
    rows = rows.loc[:, ~rows.columns.duplicated()].map(spreadsheet.unescape)
    lacking = [name for name in ("face_id", "column", "value") if name not in rows]
    if lacking:
        raise DatasetError(
            f"corrections {path}: the header lacks the columns {lacking}; it reads {[*rows]}, add them"
        )
    if malformed.rows:
        raise DatasetError(f"corrections {path}: {'; '.join(detail for _, _, detail in malformed.rows)}")
    rows = rows.assign(**{name: "" for name in _OPTIONAL if name not in rows}).drop_duplicates()
    decision = rows["decision"].map(words.fold).astype(object)
    accepted = (decision == "accept") & (rows["suggested"] != "")
    value = rows["value"].mask(accepted, rows["suggested"])
    unusable = decision == "unusable"
    return rows.assign(
        decision=decision,
        column=rows["column"].mask(unusable, LEAVE_OUT),
        value=value.mask(unusable & (value == ""), "unusable").mask(decision == "undecided", ""),
    )


def _delimiter(path: Path) -> str:
    # A spreadsheet of a country with decimal commas writes semicolons; what is no text is refused by the reader.
    try:
        header = path.read_bytes()[:4096].split(b"\n")[0]
    except OSError:
        return ","
    return next((sign for sign in (",", ";", "\t") if sign.encode() in header), ",")


def _judge(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Say of every row what becomes of it."""
    known = table.set_index("face_id")
    judged = [(row.Index, row.face_id, *_judge_row(row, known)) for row in rows.itertuples()]
    return pd.DataFrame(judged, columns=list(COLUMNS))


def _judge_row(row, known: pd.DataFrame) -> tuple:
    """Return image, column, what the set has, the new value, status and detail."""
    if row.face_id not in known.index:
        return "", row.column, row.was, row.value, NOT_APPLIED, f"the set has no face {row.face_id!r}"
    image = known.loc[row.face_id, "image"]
    if row.column == LEAVE_OUT:
        status = GONE if row.value else UNDECIDED
        return image, row.column, "", row.value, status, row.value
    now = known.loc[row.face_id, row.column]
    text = UNKNOWN if pd.isna(now) else str(now)
    if row.decision == "keep":
        return image, row.column, text, text, CONFIRMED, "the label is right"
    if not row.value:
        return image, row.column, text, "", UNDECIDED, ""
    value = _spell(row.column, row.value, known)
    if _same(now, value):
        return image, row.column, text, value, CONFIRMED, "the set has this label"
    if row.was and not _same(now, _spell(row.column, row.was, known)):
        detail = f"{row.face_id}: {row.column} was {row.was!r} in the file, {text!r} in the set"
        return image, row.column, text, value, NOT_APPLIED, detail
    return image, row.column, text, value, CORRECTED, f"{row.face_id}: {row.column} {text} -> {value}"


def _spell(column: str, value: str, known: pd.DataFrame) -> str:
    """Write a value as the face table does; as it is where nothing is meant that the column can hold."""
    dtype = known[column].dtype
    if column == "identity":
        return faces.name_person(value) or UNKNOWN
    classes = list(dtype.categories) if isinstance(dtype, pd.CategoricalDtype) else []
    meant = words.classes_of(column, [value], classes)[value]
    if meant is None and set(classes) == set(faces.YES_NO):
        meant = words.yes_no(value)
    is_missing = words.is_missing(value, number=pd.api.types.is_numeric_dtype(dtype))
    return meant or (UNKNOWN if is_missing else value)


def _list(judged: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    notices, left_out = Reasons(), Reasons()
    for status, reason in ((CORRECTED, "label corrected"), (NOT_APPLIED, "correction not applied")):
        own = judged[judged["status"] == status]
        notices.add_all(own["image"].where(own["image"] != "", own["face_id"]), reason, own["detail"])
    lost = judged[judged["status"] == GONE].drop_duplicates("face_id")
    left_out.add_all(lost["image"], "left out by correction", lost["detail"])
    return notices.table(), left_out.table()


def _values(values: pd.Series, *, number: bool) -> pd.Series:
    if number:
        return numbers(values).astype("Float64")
    return values.astype(object).where(values != UNKNOWN, None)


def _problems(rows: pd.DataFrame, table: pd.DataFrame):
    known = table.set_index("face_id")
    allowed = [*faces.known_labels(table), "identity", LEAVE_OUT]
    decided = rows[((rows["value"] != "") | (rows["decision"] == "keep")) & (rows["column"] != LEAVE_OUT)]
    twice = set(decided.index[decided.duplicated(["face_id", "column"], keep=False)])
    for row in rows.itertuples():
        if row.decision not in ("", *DECISIONS):
            yield f"line {row.Index}: decision {row.decision!r}; allowed are {list(DECISIONS)}, or nothing"
        elif row.column not in allowed:
            yield f"line {row.Index}: column {row.column!r}; allowed are {allowed}"
        elif row.decision in ("change", "accept") and not row.value:
            yield f"line {row.Index}: decision {row.decision!r}, and no value; write one, or decide otherwise"
        elif row.Index in twice:
            yield f"line {row.Index}: {row.face_id!r} has two values for {row.column!r}"
        elif row.value and row.column != LEAVE_OUT and row.decision != "keep":
            yield from _value_problems(row, known)


def _value_problems(row, known: pd.DataFrame):
    dtype = known[row.column].dtype
    if isinstance(dtype, pd.CategoricalDtype):
        allowed = list(dtype.categories)
        if _spell(row.column, row.value, known) not in (*allowed, UNKNOWN):
            yield f"line {row.Index}: {row.column} {row.value!r}; allowed are {allowed} or NA"
    elif pd.api.types.is_numeric_dtype(dtype) and _spell(row.column, row.value, known) != UNKNOWN:
        low, high = faces.RANGES.get(row.column, (-np.inf, np.inf))
        if not low <= numbers(pd.Series([row.value]))[0] <= high:
            yield f"line {row.Index}: {row.column} {row.value!r}; allowed is a number in {low}..{high} or NA"


def _same(value, text: str) -> bool:
    if pd.isna(value):
        return text == UNKNOWN
    return str(value) == text or bool((numbers(pd.Series([text])) == value).iloc[0])


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - _TEXT_LIMIT} more)" if len(problems) > _TEXT_LIMIT else ""
        shown = "\n  ".join(problems[:_TEXT_LIMIT])
        raise DatasetError(f"corrections {path}: nothing was applied{more}:\n  {shown}")

"""The cells of a table as labels: classes, codes and numbers; a bad value costs its label and not the face."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from faceworkbook.datasets import words
from faceworkbook.datasets.base import DatasetError, Reasons, where

_LEAST = 5  # rows; a column with as many and no value that is understood has another spelling
_SHOWN = 8


def read_codes(
    rows: pd.DataFrame, column: str, names: Mapping[str, str | None], notices: Reasons
) -> pd.DataFrame:
    """Turn a file's codes into `names`; any other code becomes None and is in `notices`.

    Raises
    ------
    DatasetError
        No code of the column is known: the file has another spelling.
    """
    by_code = {words.fold_code(code): name for code, name in names.items()}
    known = {
        text: by_code[words.fold_code(text)]
        for text in _texts(rows[column])
        if words.fold_code(text) in by_code
    }
    return _write(rows, column, known, sorted(names), notices)


def read_classes(
    rows: pd.DataFrame, column: str, classes: Sequence[str], notices: Reasons, *, label: str = ""
) -> pd.DataFrame:
    """Read words as `classes` of a label, which the column is named after; any other word becomes None, see `read_codes`."""
    meant = words.classes_of(label or column, _texts(rows[column]), classes)
    known = {text: name for text, name in meant.items() if name is not None}
    return _write(rows, column, known, classes, notices)


def read_numbers(
    rows: pd.DataFrame,
    columns: Iterable[str],
    notices: Reasons,
    *,
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Read columns as floats; other texts, and numbers out of range, become NaN and are in `notices`, see `read_codes`."""
    for column in columns:
        low, high = ranges.get(column, (-np.inf, np.inf))
        parsed = words.numbers(rows[column])
        parsed = parsed.where(parsed.between(low, high))
        bad = parsed.isna() & ~_missing(rows[column], number=True)
        bounds = f" in {low:g}..{high:g}" if np.isfinite(low) else ""
        _notice(rows, column, bad, f"a number{bounds}", notices)
        rows = rows.assign(**{column: parsed})
    return rows


def _texts(cells: pd.Series) -> list[str]:
    return [text for text in cells.unique() if isinstance(text, str)]


def _missing(cells: pd.Series, *, number: bool = False) -> pd.Series:
    is_missing = {text: words.is_missing(text, number=number) for text in _texts(cells)}
    return cells.map(is_missing).astype("boolean").fillna(True).astype(bool)


def _write(
    rows: pd.DataFrame, column: str, known: Mapping[str, str | None], allowed: Sequence[str], notices: Reasons
) -> pd.DataFrame:
    bad = ~rows[column].isin([*known]) & ~_missing(rows[column])
    _notice(rows, column, bad, f"one of {list(allowed)}", notices)
    values = rows[column].map(known).astype(object)
    return rows.assign(**{column: values.where(values.notna(), None)})


def _notice(rows: pd.DataFrame, column: str, bad: pd.Series, allowed: str, notices: Reasons) -> None:
    if bad.sum() >= _LEAST and (bad | _missing(rows[column])).all():
        held = [*rows.loc[bad, column].unique()[:_SHOWN]]
        raise DatasetError(
            f"{where(rows[bad].iloc[0])}: no value of the column {column!r} is understood; it holds {held}, allowed is "
            f"{allowed}. The file has another spelling: take it as distributed, or read it with dataset=csv"
        )
    details = [
        f"{where(row)}: {row[column]!r} is taken as unknown; allowed is {allowed}"
        for _, row in rows[bad].iterrows()
    ]
    notices.add_all(rows.loc[bad, "image"], f"bad value in {column}", details)

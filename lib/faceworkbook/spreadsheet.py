"""Texts in CSV files that a spreadsheet shows and does not run."""

from __future__ import annotations

import csv
import re

import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")
_LINE_ENDS = re.compile("[\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


def escape(value: object) -> str:
    """Return a text on one line that no spreadsheet takes for a formula: an apostrophe goes before such a start."""
    return _disarm(_LINE_ENDS.sub(" ", str(value)))


def _disarm(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def unescape(text: str) -> str:
    """Return the text to which `escape` or `to_csv` gave an apostrophe."""
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    return text.lstrip(" \n").startswith(_FORMULA) and not _NUMBER.fullmatch(text)


def to_csv(table: pd.DataFrame, **options) -> str:
    """Return a table as CSV without its index, every text and column name escaped; a line end stays, in quotes.

    Parameters
    ----------
    table : pandas.DataFrame
    **options
        Of `pandas.DataFrame.to_csv`.
    """
    safe = table.rename(columns=_disarm).map(
        lambda value: _disarm(value) if isinstance(value, str) else value
    )
    text = safe.to_csv(index=False, lineterminator="\n", **options)
    if "\r" in text:  # Python's writer does not quote it by itself, and readers take it for the end of a line
        text = safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC, **options)
    return text

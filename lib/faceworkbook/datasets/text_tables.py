"""Tables of text (CSV, TSV, columns split at blanks), as people and spreadsheets write them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from faceworkbook import files
from faceworkbook.datasets import words
from faceworkbook.datasets.base import PICTURES, DatasetError, Reasons

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DELIMITERS = ";\t|,"
_SHOWN = 20


@dataclass(frozen=True)
class Format:
    """How a table of text is written.

    Attributes
    ----------
    delimiter : str or None
        One character; None splits at blanks and tabs. A first line such as ``sep=;`` has the last word.
    named : bool
        Whether the first line has the columns' names.
    whole : bool
        The file is known to be as its authors wrote it, so its last value is not cut short.
    encoding : str
        UTF-8 and, by its first bytes, UTF-16 are read in any case where it is UTF-8.
    """

    delimiter: str | None = ","
    named: bool = True
    whole: bool = False
    encoding: str = "utf-8"


CSV = Format()
TSV = Format(delimiter="\t")
BLANKS = Format(delimiter=None, named=False)


def read_rows(
    path: Path, left_out: Reasons, notices: Reasons, *, header: tuple[str, ...], form: Format = CSV
) -> pd.DataFrame:
    """Read a text table as strings; list rows that are not whole in `left_out`.

    A last line without its line end may have been cut in the middle of a value, which still looks like a
    value. So its last field counts as empty, unless the column holds the same text elsewhere and none that
    begins with it; `notices` has a line about it.

    Parameters
    ----------
    path : Path
    left_out, notices : Reasons
    header : tuple of str
        Columns that must be there, in any case. Where the file has no header line, these are its columns in order.
    form : Format

    Returns
    -------
    pandas.DataFrame
        The file's columns as strings, stripped; the index is the line in the file, from 1. Rows of empty cells,
        and empty cells beyond the header's, are dropped.

    Raises
    ------
    DatasetError
        Unreadable, not text, a quote that is never closed or that swallows rows, or a header without the columns
        needed.
    """
    lines = read_lines(path, form.encoding)
    separator = _SEPARATOR_LINE.fullmatch(lines[0]) if lines and form.delimiter else None
    delimiter = separator[1] if separator else form.delimiter
    parsed = [(number, row) for number, row in _parse(lines, delimiter, path) if any(map(str.strip, row))]
    parsed = parsed[1:] if separator else parsed
    other = _other_delimiter(parsed[0][1], header) if parsed and form.named and delimiter else ""
    if other:
        notices.add(
            path.name, "delimiter repaired", f"its columns are parted by {other!r}, not by {delimiter!r}"
        )
        delimiter = other
        parsed = [(number, row) for number, row in _parse(lines, delimiter, path) if any(map(str.strip, row))]
    names = [*header]
    if form.named:
        names = _match_header([name.strip() for name in parsed.pop(0)[1]] if parsed else [], header)
        check_header(path, names, header)
    parsed = [(number, _trim(row, len(names))) for number, row in parsed]
    _check_quotes(path, parsed, delimiter, len(names))
    complete = [(number, row) for number, row in parsed if len(row) == len(names)]
    for number, row in parsed:
        if len(row) != len(names):
            detail = f"line {number} has {len(row)} fields, expected {len(names)}"
            left_out.add(path.name, "row malformed", detail)
    table = pd.DataFrame([row for _, row in complete], columns=names, dtype=object)
    table.index = pd.Index([number for number, _ in complete], dtype="int64", name="line")
    if header and form.named:  # further columns that stand twice are nobody's
        table = table.loc[:, ~table.columns.duplicated()]
    if table.empty:
        return table
    table = table.apply(lambda column: column.str.strip())
    if not form.whole and not lines[-1].endswith(("\n", "\r")) and parsed[-1][0] == table.index[-1]:
        _drop_cut_value(table, path, notices)
    return table


def read_header(path: Path, form: Format = CSV) -> list[str]:
    """Return the names in the first line of a text table; raises as `read_rows`."""
    lines = read_lines(path, form.encoding)
    separator = _SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    rows = _parse(lines[1:] if separator else lines, separator[1] if separator else form.delimiter, path)
    return [name.strip() for name in next((row for _, row in rows), [])]


def _other_delimiter(first: list[str], header: tuple[str, ...]) -> str:
    """Return the delimiter that parts a header of one field into all columns that are needed; empty for none."""
    if len(first) != 1 or len(header) < 2:
        return ""
    needed = {words.fold(name) for name in header}
    signs = (sign for sign in _DELIMITERS if needed <= {words.fold(name) for name in first[0].split(sign)})
    return next(signs, "")


def _trim(row: list[str], n: int) -> list[str]:
    """Drop empty fields beyond the header's, which a delimiter at the line's end makes."""
    return row[:n] if not any(map(str.strip, row[n:])) else row


def _match_header(names: list[str], needed: Iterable[str]) -> list[str]:
    by_word = {words.fold(name): name for name in needed if name not in names}
    return [by_word.get(words.fold(name), name) for name in names]


def _drop_cut_value(table: pd.DataFrame, path: Path, notices: Reasons) -> None:
    *others, last = table.iloc[:, -1]
    whole = last in others and not any(text != last and text.startswith(last) for text in others)
    if last.lower().endswith(PICTURES):  # a path that is cut leads to no picture
        return
    if not whole or words.NUMBER.fullmatch(last):
        detail = (
            f"line {table.index[-1]} has no line end, so {last!r} may be cut short and is taken as unknown"
        )
        notices.add(path.name, "last line cut short", f"{detail}; end the file with a line break")
        table.iloc[-1, -1] = ""


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Return the lines of a text file with their ends, without marks of its encoding; raises as `read_rows`."""
    try:
        content = path.read_bytes()
        kind = files.name_other_kind(content)
        if kind:
            raise DatasetError(f"{path}: no table, but {kind}")
        codecs.lookup(encoding)
        if encoding == "utf-8" and content.startswith(_UTF16):
            encoding = "utf-16"
        text = content.decode(encoding)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error
    except LookupError as error:
        raise DatasetError(
            f"encoding={encoding!r} is none that Python knows; try cp1252 or latin-1"
        ) from error
    except UnicodeError as error:
        line = content[: getattr(error, "start", 0)].count(b"\n") + 1
        raise DatasetError(
            f"{path} line {line}: not a text file in {encoding.upper()} ({getattr(error, 'reason', error)}); save it as "
            "UTF-8 (csv has the option 'encoding: cp1252' for a file of Windows)"
        ) from error
    # str.splitlines would break lines at U+2028 and other rare characters, too.
    return list(io.StringIO(text.lstrip("\ufeff").replace("\x00", ""), newline=""))


def _parse(lines: list[str], delimiter: str | None, path: Path) -> Iterator[tuple[int, list[str]]]:
    if delimiter is None:
        # str.split() would split at U+2028 and a no-break space, too.
        blank_split = ((number, re.split(r"[ \t]+", line.strip())) for number, line in enumerate(lines, 1))
        yield from ((number, row) for number, row in blank_split if row != [""])
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 0
    try:
        for row in reader:
            start = reader.line_num
            if row:
                yield start, row
    except csv.Error as error:
        raise DatasetError(
            f"{path} line {start + 1}: a quote is opened that is not closed, or another fault of the text ({error}); "
            "close it, or take it out"
        ) from error


def _check_quotes(path: Path, parsed: list[tuple[int, list[str]]], delimiter: str | None, n: int) -> None:
    """Raise where a cell that spans lines holds what look like rows: two stray quotes have swallowed them."""
    for number, row in parsed:
        for cell in (cell for cell in row if n > 1 and ("\n" in cell or "\r" in cell)):
            swallowed = re.split(r"\r\n|\r|\n", cell)
            fields = [line.split(delimiter) for line in swallowed[1:]]
            if any(len(line) >= n and _names_picture(line) for line in fields):
                raise DatasetError(
                    f"{path} line {number - len(swallowed) + 1}: a quote is opened that is closed in line {number} only, "
                    "and the lines between look like rows; take the stray quotes out"
                )


def _names_picture(fields: list[str]) -> bool:
    return any(field.strip().lower().endswith(PICTURES) for field in fields)


def check_header(path: Path, names: list[str], needed: Iterable[str]) -> None:
    """Raise `DatasetError` if a header lacks one of the columns needed, or has it twice."""
    missing = [name for name in needed if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1 and name in needed})
    if missing or twice:
        problem = f"lacks the columns {missing}" if missing else f"has the columns {twice} twice"
        other = next((sign for sign in _DELIMITERS if len(names) == 1 and sign in names[0]), "")
        hint = (
            f"; it looks delimited by {other!r}: csv has the option {words.format_option('delimiter', other)}"
            if other
            else ""
        )
        raise DatasetError(f"{path}: the header {problem}; it reads {names[:_SHOWN]}{hint}")

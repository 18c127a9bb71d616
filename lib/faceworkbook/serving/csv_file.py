"""Answers in a CSV file: safe to open in a spreadsheet, and gone on with where it stopped."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.serving.checks import PredictorError
from faceworkbook.spreadsheet import escape

PREDICTOR = "predictor"  # the column by which a file knows what it is of


class CsvWriter:
    """Appends tables of answers to a file, row by row complete.

    Parameters
    ----------
    path : path
    columns : sequence of str
        Of every table.
    key : str
        What the answers are of: the predictor's fingerprint and how faces were chosen.

    Raises
    ------
    PredictorError
        The file is of another predictor or other columns, or no such file at all.
    """

    def __init__(self, path: str | Path, columns: Sequence[str], *, key: str):
        self.path, self._key = Path(path), key
        self._columns = [PREDICTOR, *columns]
        self.done: set[str] = set()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8", newline="")
        try:
            _claim(self._file, self.path)
            keep = self._read()
        except PredictorError:
            self._file.close()
            raise
        self._file.truncate(keep)
        if not keep:
            self._write([list(map(escape, self._columns))])

    def _read(self) -> int:
        """Note which photos are answered; return how many bytes are kept. The last photo may lack faces and is redone."""
        position, start, last = 0, 0, None
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                fields = next(csv.reader([line.decode("utf-8", "replace")]), [])
                if number == 0:
                    self._check_header(fields)
                else:
                    name = self._check_row(fields)
                    if name != last:
                        self.done.update([last] if last is not None else [])
                        start, last = position, name
                position += len(line)
        if not position and not self._is_torn_header():
            raise PredictorError(f"{self.path} holds no whole line; remove it, or give another file")
        return start if last is not None else position

    def _is_torn_header(self) -> bool:
        """Whether the file is empty or holds the beginning of its first line: a run was stopped while it wrote it."""
        header = _lines([list(map(escape, self._columns))])
        return header.encode().startswith(self.path.read_bytes())

    def _check_header(self, fields: Sequence[str]) -> None:
        if list(fields) != list(map(escape, self._columns)):
            raise PredictorError(
                f"{self.path} holds other columns than this predictor answers; give another file, or remove it"
            )

    def _check_row(self, fields: Sequence[str]) -> str:
        if not fields or fields[0] != self._key or len(fields) != len(self._columns):
            was = fields[0] if fields else "nothing"
            raise PredictorError(
                f"{self.path} holds answers of another predictor or other faces ({was!r}; this one is {self._key!r}); "
                "give another file, or remove it"
            )
        return fields[1]

    def is_done(self, name: str) -> bool:
        """Whether the photo of that name was answered before."""
        return escape(name) in self.done

    def append(self, table: pd.DataFrame) -> None:
        """Write the rows of a table to the disk."""
        columns = [format_column(table[name]) for name in self._columns[1:]]
        self._write([[self._key, *row] for row in zip(*columns, strict=True)])

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        self._file.write(_lines(rows))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> CsvWriter:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _claim(file, path: Path) -> None:
    """Let no other process write to the file until it is closed here."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PredictorError(
            f"{path} is being written by another process; wait for it, or give another file"
        ) from None
    except OSError:  # a file system without locks
        return


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def format_column(values: pd.Series) -> list[str]:
    """Return a column as texts: empty for NA, numbers with six digits, anything else escaped."""
    return list(_format(values))


def _format(values: pd.Series) -> Iterator[str]:
    for value in values.array:
        if value is pd.NA or value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
            yield ""
        elif isinstance(value, bool | np.bool_):
            yield "yes" if value else "no"
        elif isinstance(value, float | np.floating):
            yield f"{value:.6g}"
        elif isinstance(value, int | np.integer):
            yield str(value)
        else:
            yield escape(value)

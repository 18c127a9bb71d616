"""Read a file of anybody's predictions as a table: CSV, JSON, JSON lines or parquet, one column a header."""

from __future__ import annotations

import codecs
import csv
import warnings
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from faceworkbook import files
from faceworkbook.evaluation import predictions as tables

TRUTH = (
    "truth of this workbook"  # of a predictions.parquet, to see that it is of the data set it is judged on
)


class ExternalError(ValueError):
    """A file of predictions that cannot be judged; the text names the file, what it holds and what to give."""


def read_table(path: str | Path) -> pd.DataFrame:
    """Read the rows of a file of predictions, one column a header (records within records: ``gender.Man``).

    A ``predictions.parquet`` of this workbook gives its test rows.

    Raises
    ------
    ExternalError
        No such file, another format, no row.
    """
    path = Path(path)
    if not path.is_file():
        raise ExternalError(f"no file of predictions at {path}; give a CSV, JSON, JSON-lines or parquet file")
    try:
        table = _READERS.get(path.suffix.lower(), _read_csv)(path)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, ExternalError | tables.PredictionsError):
            raise
        reason = " ".join(str(error).split())
        raise ExternalError(
            f"{path} cannot be read ({reason}); expected CSV with a header (UTF-8), a JSON list of records, JSON "
            "lines or parquet"
        ) from error
    if table.empty:
        raise ExternalError(f"{path} holds no row; give a row a face")
    return table.reset_index(drop=True)


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        start = file.read(2)
    # Excel's "Unicode text" is UTF-16, and its CSV may begin with a line that names the delimiter.
    encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    with path.open(encoding=encoding, newline="") as file:
        header = file.readline()
        skipped = int(header.lower().startswith("sep="))
        header = file.readline() if skipped else header
    delimiter = max(",;\t|", key=header.count)
    names = [name for name in next(csv.reader([header], delimiter=delimiter), []) if name.strip()]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ExternalError(f"{path} has several columns {twice[0]!r}; give each a name of its own")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                path, sep=delimiter, dtype=str, keep_default_na=False, encoding=encoding, skiprows=skipped, index_col=False
            )  # fmt: skip
        except pd.errors.ParserWarning as error:
            raise ExternalError(
                f"{path} has rows with more fields than its header ({names[:20]}); quote texts that hold {delimiter!r}"
            ) from error


def _read_json(path: Path) -> pd.DataFrame:
    text = path.read_text(encoding="utf-8-sig").strip()
    try:
        records = files.parse_json(text)
    except ValueError:
        records = [
            _read_line(line, number, path) for number, line in enumerate(text.splitlines(), 1) if line.strip()
        ]
    records = records if isinstance(records, list) else [records]
    # DeepFace gives a list of faces for each picture.
    flat = [face for entry in records for face in (entry if isinstance(entry, list) else [entry])]
    if not all(isinstance(face, dict) for face in flat):
        raise ExternalError(f"{path} holds no records of names and values; expected one object a face")
    return pd.json_normalize(flat, sep=".")


def _read_line(line: str, number: int, path: Path):
    try:
        return files.parse_json(line)
    except ValueError as error:
        raise ExternalError(
            f"{path}: line {number:,} is no JSON; the file may be cut off ({line[:60]!r})"
        ) from error


def _read_parquet(path: Path) -> pd.DataFrame:
    if tables.METADATA not in (pq.read_schema(path).metadata or {}):
        return files.read_parquet(path)
    table = tables.read(path)
    tested = table[table["split"] == "test"]
    if len(tested[["repeat", "fold"]].drop_duplicates()) > 1:
        raise ExternalError(
            f"{path} holds repeated folds, so several models; give the predictions of one, such as those of 03_classifier"
        )
    return tested.drop(columns="identity").rename(columns={"truth": TRUTH})


_READERS = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), _read_json),
    **dict.fromkeys((".parquet", ".pq"), _read_parquet),
}

"""What every data set reader hands on, and the helpers they share."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")


_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NO_PICTURE = "the table names it, no file is there"
_NO_ROW = "no row of the table names the picture"


class DatasetError(ValueError):
    """A data set that cannot be read; the text says what was received, what is expected, what to do."""


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set, for the table in the README and for error texts.

    ``put`` says in one line what must be put where; ``layout`` shows it as a tree.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    identities: str
    official_split: str
    size: str
    terms: str
    source: str
    layout: str
    put: str = ""

    def row(self) -> dict[str, str]:
        """The facts as one table row (all but the layout)."""
        return {
            "name": self.name,
            "title": self.title,
            "labels": ", ".join(self.labels),
            "identities": self.identities,
            "official split": self.official_split,
            "size": self.size,
            "terms": self.terms,
            "source": self.source,
            "put": self.put or " ".join(self.layout.split()),
        }


@dataclass(frozen=True)
class Dataset:
    """What a reader of a data set returns.

    Attributes
    ----------
    faces : pandas.DataFrame
        The face table (see ``faceworkbook.faces``).
    left_out : pandas.DataFrame
        Files or rows that are not in it: columns ``image``, ``reason``, ``detail``.
    notices : pandas.DataFrame
        Rows that are in it but were repaired or need a look: same columns.
    root : Path
        Folder that the table's ``image`` paths are relative to.
    info : DatasetInfo
    reader : dict
        Name and options of the reader, and a hash of its code; `faceworkbook.datasets.load` fills it in.
    """

    faces: pd.DataFrame
    left_out: pd.DataFrame
    notices: pd.DataFrame
    root: Path
    info: DatasetInfo
    reader: dict = field(default_factory=dict)

    def counts(self) -> pd.DataFrame:
        """Rows read and rows left out by reason: columns ``what``, ``count``."""
        rows = [("faces read", len(self.faces))]
        rows += [(f"left out: {reason}", n) for reason, n in self.left_out["reason"].value_counts().items()]
        rows += [(f"noticed: {reason}", n) for reason, n in self.notices["reason"].value_counts().items()]
        return pd.DataFrame(rows, columns=["what", "count"])


@dataclass
class Reasons:
    """Collects what is left out or repaired while a reader runs."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, image: str, reason: str, detail: str = "") -> None:
        """Note `image` (path relative to the root) with a short `reason` and its `detail`."""
        self.rows.append((str(image), reason, detail))

    def add_all(self, images: Iterable, reason: str, details: Iterable | str = "") -> None:
        """Note every one of `images` with the same `reason`; one detail each, or one for all."""
        details = repeat(details) if isinstance(details, str) else details
        self.rows.extend((str(image), reason, detail) for image, detail in zip(images, details, strict=False))

    def table(self) -> pd.DataFrame:
        """Columns ``image``, ``reason``, ``detail``, in the order noted."""
        return pd.DataFrame(self.rows, columns=["image", "reason", "detail"], dtype="string")


def list_pictures(root: Path) -> tuple[list[str], list[str]]:
    """Files under `root`, as sorted relative POSIX paths: pictures by extension, and the rest.

    Hidden files and folders are passed over. Links that lead outside `root`, and links to folders,
    count as the rest; links to folders are not followed.
    """
    inside, pictures, others = root.resolve(), [], []
    for relative, entry in _walk(root, ""):
        good = entry.name.lower().endswith(PICTURES) and not entry.is_dir()
        if good and entry.is_symlink():
            good = Path(entry.path).resolve().is_relative_to(inside)
        (pictures if good else others).append(relative)
    return sorted(pictures), sorted(others)


def _walk(folder: Path | str, prefix: str) -> Iterator[tuple[str, os.DirEntry]]:
    # os.scandir knows the kind of an entry without another call to the file system.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, entry


def read_rows(
    path: Path,
    left_out: Reasons,
    *,
    header: tuple[str, ...],
    delimiter: str | None = ",",
    named: bool = True,
) -> pd.DataFrame:
    """Read a text table as strings; list those that are not whole in `left_out`.

    Parameters
    ----------
    path : Path
    left_out : Reasons
        Takes rows with too few or too many fields, and a last line that lacks its line end: it may
        have been cut in the middle of a number, which would still look like a number.
    header : tuple of str
        Columns that must be there. Where `named` is false the file has no header line, and these
        are its columns in order.
    delimiter : str or None
        None splits at white space.

    Returns
    -------
    pandas.DataFrame
        The file's columns as strings, stripped; the index is the line in the file, from 1.

    Raises
    ------
    DatasetError
        Unreadable, not text, or a header without the columns needed.
    """
    lines = _read_lines(path, left_out)
    try:
        parsed = list(_parse(lines, delimiter))
    except csv.Error as error:
        raise DatasetError(f"{path}: not a table of text ({error})") from error
    names = [*header]
    if named:
        names = [name.strip() for name in parsed.pop(0)[1]] if parsed else []
        _check_header(path, names, header)
    whole = [(number, row) for number, row in parsed if len(row) == len(names)]
    for number, row in parsed:
        if len(row) != len(names):
            detail = f"line {number} has {len(row)} fields, expected {len(names)}"
            left_out.add(path.name, "row malformed", detail)
    table = pd.DataFrame([row for _, row in whole], columns=names, dtype=object)
    table.index = pd.Index([number for number, _ in whole], dtype="int64", name="line")
    return table.apply(lambda column: column.str.strip()) if len(table) else table


def _read_lines(path: Path, left_out: Reasons) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be opened ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not a text file in UTF-8 ({error.reason} at {error.start})") from error
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        detail = f"line {len(lines)} has no line end and may be cut short; end the file with a line break"
        left_out.add(path.name, "last line cut short", detail)
        lines.pop()
    return lines


def _parse(lines: list[str], delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    if delimiter is None:
        yield from ((number, line.split()) for number, line in enumerate(lines, 1) if line.strip())
        return
    reader = csv.reader(lines, delimiter=delimiter)
    for row in reader:
        if row:
            yield reader.line_num, row


def _check_header(path: Path, names: list[str], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1 and name in needed})
    if missing or twice:
        problem = f"lacks the columns {missing}" if missing else f"has the columns {twice} twice"
        raise DatasetError(f"{path}: the header {problem}; it reads {names[:20]}")


def exclude(rows: pd.DataFrame, bad: pd.Series, left_out: Reasons, reason: str, detail) -> pd.DataFrame:
    """Move the `bad` rows to `left_out` and return the others.

    `rows` has a column ``image``; `detail` is a text, a series of texts, or makes a text of a row.
    """
    bad = bad.fillna(True).astype(bool)
    if bad.any():
        gone = rows[bad]
        if isinstance(detail, pd.Series):
            detail = detail[bad]
        elif callable(detail):
            detail = [detail(row) for _, row in gone.iterrows()]
        left_out.add_all(gone["image"], reason, detail)
    return rows[~bad]


def where(row: pd.Series) -> str:
    """Where `row` stands: its column ``where`` if it has one, else its line."""
    return row.get("where", f"line {row.name}")


def keep_first(rows: pd.DataFrame, key: list[str], left_out: Reasons) -> pd.DataFrame:
    """One row for each `key`: repeated rows, and all rows that contradict, go to `left_out`."""
    again = rows.duplicated(subset=[name for name in rows if name != "where"])
    rows = exclude(rows, again, left_out, "row repeated", lambda row: f"{where(row)} repeats another row")
    clash = rows.duplicated(subset=key, keep=False)
    return exclude(
        rows, clash, left_out, "rows contradict", lambda row: f"{where(row)}: same face, other values"
    )


def keep_pictured(
    rows: pd.DataFrame, root: Path, left_out: Reasons, *, folders: Iterable[str] | None = None
) -> pd.DataFrame:
    """The rows whose ``image`` is a picture; rows and pictures without a partner go to `left_out`.

    Looks into `folders` of `root` if given, else everywhere under `root`.
    """
    there = _pictures_in(root, folders, left_out) if folders is not None else set(list_pictures(root)[0])
    rows = exclude(rows, ~rows["image"].isin(there), left_out, "no picture", _NO_PICTURE)
    listed = {image for image, _, _ in left_out.rows}
    left_out.add_all(sorted(there - set(rows["image"]) - listed), "no row", _NO_ROW)
    return rows


def _pictures_in(root: Path, folders: Iterable[str], left_out: Reasons) -> set[str]:
    there: set[str] = set()
    for folder in folders:
        pictures, others = list_pictures(root / folder) if (root / folder).is_dir() else ([], [])
        there.update(f"{folder}/{picture}" for picture in pictures)
        left_out.add_all([f"{folder}/{other}" for other in others], "not a picture")
    return there


def translate(
    rows: pd.DataFrame, column: str, names: dict[str, str | None], left_out: Reasons
) -> pd.DataFrame:
    """`column` with the file's codes turned into `names`; rows with any other code go to `left_out`."""
    detail = f"allowed are {sorted(names)}"
    rows = exclude(
        rows,
        ~rows[column].isin(list(names)),
        left_out,
        f"bad value in {column}",
        lambda row: f"{where(row)}: {row[column]!r}; {detail}",
    )
    return rows.assign(**{column: rows[column].map(names).astype(object)})


def keep_numbers(rows: pd.DataFrame, columns: Iterable[str], left_out: Reasons) -> pd.DataFrame:
    """`columns` as floats; rows where one is no number go to `left_out`."""
    for column in columns:
        parsed = numbers(rows[column])
        rows = exclude(
            rows,
            parsed.isna(),
            left_out,
            f"bad value in {column}",
            lambda row, column=column: f"{where(row)}: {row[column]!r}; allowed is a number",
        )
        rows = rows.assign(**{column: parsed[rows.index]})
    return rows


def numbers(values: pd.Series) -> pd.Series:
    """`values` as floats; NaN where a text is not a plain finite decimal number."""
    codes, texts = pd.factorize(values.astype(str))
    known = [float(text) if _NUMBER.fullmatch(text) else np.nan for text in texts]
    parsed = pd.Series(np.array([*known, np.nan])[codes], index=values.index)
    return parsed.where(np.isfinite(parsed))


def need_files(root: Path, names: tuple[str, ...], info: DatasetInfo) -> None:
    """Raise `DatasetError` with the expected layout beside what is there if a file is missing."""
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise DatasetError(layout_error(root, info, f"missing: {', '.join(missing)}"))


def layout_error(root: Path, info: DatasetInfo, problem: str) -> str:
    """Text of an error about files that are not where they should be."""
    there = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())[:12] or ["(nothing)"]
    return (
        f"data set '{info.name}' under {root}: {problem}.\nExpected layout:\n{info.layout}\n"
        f"There is: {', '.join(there)}"
    )

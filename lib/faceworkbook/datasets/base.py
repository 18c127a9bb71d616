"""What every data set reader hands on, and the helpers they share."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from faceworkbook.datasets import words

PICTURES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".jp2", ".png", ".bmp", ".webp", ".avif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".gif"),
)
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir")  # systems leave them behind
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MANY_LEFT_OUT = 0.1  # of all files or rows
_ONE_PERSON, _PLACEHOLDER = 1 / 3, 20  # share of the faces, and least number of them
NO_PICTURE = "the table names it, no file is there"
NO_ROW = "no row of the table names the picture"
_REMARKS = {
    "name not UTF-8": "rename the file or its folder",
    "link out of the root": "copy the files below the root; csv and image_folder have links='anywhere'",
}


class DatasetError(ValueError):
    """A data set that cannot be read; the text says what was received, what is expected, what to do."""


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set, for the table in the README and for error texts.

    ``put`` says in one line what must be put where; ``layout`` shows it as a tree. ``sign`` is a regular
    expression for paths that the set has and others lack (see ``faceworkbook.datasets.signs``).
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
    sign: str = ""

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

    def describe_own(self, *, title: str, source: str, terms: str) -> DatasetInfo:
        """Return the facts with what the user has given about a set of their own; empty texts change nothing."""
        texts = {"title": title, "source": source, "terms": terms}
        return replace(self, **{name: text for name, text in texts.items() if text})


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
    likely : str
        Which other data sets the folder looks like, where that is in doubt.
    """

    faces: pd.DataFrame
    left_out: pd.DataFrame
    notices: pd.DataFrame
    root: Path
    info: DatasetInfo
    reader: dict = field(default_factory=dict)
    likely: str = ""

    def counts(self) -> pd.DataFrame:
        """Rows read and rows left out by reason: columns ``what``, ``count``."""
        rows = [("faces read", len(self.faces))]
        rows += [(f"left out: {reason}", n) for reason, n in self.left_out["reason"].value_counts().items()]
        rows += [(f"noticed: {reason}", n) for reason, n in self.notices["reason"].value_counts().items()]
        return pd.DataFrame(rows, columns=["what", "count"])

    @property
    def warnings(self) -> list[str]:
        """Sentences about what must be known before anything is trained; empty where nothing stands out."""
        n, gone = len(self.faces), len(self.left_out)
        sentences = []
        if gone > _MANY_LEFT_OUT * (n + gone):
            reasons = self.left_out["reason"].value_counts()
            sentences.append(
                f"{gone:,} of {n + gone:,} files or rows were left out ({gone / (n + gone):.0%}), most of them "
                f"({reasons.iloc[0]:,}) for the reason {reasons.index[0]!r}"
            )
        if not n:
            title = self.info.title if self.info else "the data set that was named"
            sentences.append(f"0 faces: {self.likely or f'is this {title}, laid out as distributed?'}")
        elif self.likely:
            sentences.append(f"the files have the names of another data set: {self.likely}")
        people = self.faces["identity"].value_counts()
        if len(people) > 1 and people.iloc[0] > _ONE_PERSON * people.sum() and people.iloc[0] >= _PLACEHOLDER:
            sentences.append(
                f"the person {people.index[0]!r} has {people.iloc[0]:,} of {people.sum():,} faces; if this stands for "
                "an unknown person, leave it empty"
            )
        return sentences


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


def list_pictures(
    root: Path, left_out: Reasons, *, folder: str = "", links: Literal["inside", "anywhere"] = "inside"
) -> list[str]:
    """Return the pictures (by extension) below `root`, or below its `folder`, as sorted paths relative to `root`.

    Hidden files and folders, and what systems leave behind, are passed over. Other files are listed in
    `left_out`: those that are no pictures or no plain files, whose name is not UTF-8, and links that lead nowhere, in a
    circle, or out of `root` (unless `links` is 'anywhere').
    """
    pictures, others = [], []
    inside = None if links == "anywhere" else root.resolve()
    prefix = f"{folder}/" if folder else ""
    for relative, entry, problem in _walk(root / folder, prefix, inside, frozenset()):
        if not problem and not entry.name.lower().endswith(PICTURES):
            problem = "not a picture"
        elif not problem and not entry.is_file():
            problem = "not a plain file"
        if problem:
            others.append((_readable(relative), problem, _REMARKS.get(problem, "")))
        else:
            pictures.append(relative)
    left_out.rows.extend(sorted(others))
    return sorted(pictures)


def _walk(
    folder: Path | str, prefix: str, inside: Path | None, entered: frozenset
) -> Iterator[tuple[str, os.DirEntry, str]]:
    # os.scandir knows the kind of an entry without another call to the file system.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in JUNK:
                continue
            relative = prefix + entry.name
            target = Path(entry.path).resolve() if entry.is_symlink() else None
            problem = "" if target is None else _link_problem(target, Path(folder), inside, entered)
            if not entry.name.isascii() and _readable(entry.name) != entry.name:
                problem = "name not UTF-8"
            if problem or not entry.is_dir():
                yield relative, entry, problem
            else:
                deeper = entered if target is None else entered | {target}
                yield from _walk(entry.path, f"{relative}/", inside, deeper)


def _link_problem(target: Path, folder: Path, inside: Path | None, entered: frozenset) -> str:
    if not target.exists():
        return "link leads nowhere"
    if inside is not None and not target.is_relative_to(inside):
        return "link out of the root"
    circle = target.is_dir() and (target in entered or folder.resolve().is_relative_to(target))
    return "link in a circle" if circle else ""


def _readable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_rows(
    path: Path,
    left_out: Reasons,
    notices: Reasons,
    *,
    header: tuple[str, ...],
    delimiter: str | None = ",",
    named: bool = True,
    whole: bool = False,
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
        Columns that must be there. Where `named` is false the file has no header line, and these
        are its columns in order.
    delimiter : str or None
        None splits at white space.
    whole : bool
        The file is known to be as its authors wrote it, so nothing is cut.

    Returns
    -------
    pandas.DataFrame
        The file's columns as strings, stripped; the index is the line in the file, from 1.

    Raises
    ------
    DatasetError
        Unreadable, not text, a quote that is never closed, or a header without the columns needed.
    """
    lines = _read_lines(path)
    parsed = list(_parse(lines, delimiter, path))
    names = [*header]
    if named:
        names = [name.strip() for name in parsed.pop(0)[1]] if parsed else []
        check_header(path, names, header)
    complete = [(number, row) for number, row in parsed if len(row) == len(names)]
    for number, row in parsed:
        if len(row) != len(names):
            detail = f"line {number} has {len(row)} fields, expected {len(names)}"
            left_out.add(path.name, "row malformed", detail)
    table = pd.DataFrame([row for _, row in complete], columns=names, dtype=object)
    table.index = pd.Index([number for number, _ in complete], dtype="int64", name="line")
    if table.empty:
        return table
    table = table.apply(lambda column: column.str.strip())
    if not whole and not lines[-1].endswith(("\n", "\r")) and parsed[-1][0] == table.index[-1]:
        _drop_cut_value(table, path, notices)
    return table


def read_header(path: Path, delimiter: str) -> list[str]:
    """Return the names in the first line of a text table; raises as `read_rows`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: no text table in UTF-8 ({error}); save it as UTF-8") from error


def _drop_cut_value(table: pd.DataFrame, path: Path, notices: Reasons) -> None:
    *others, last = table.iloc[:, -1]
    whole = last in others and not any(text != last and text.startswith(last) for text in others)
    if last.lower().endswith(PICTURES):  # a path that is cut leads to no picture
        return
    if not whole or _NUMBER.fullmatch(last):
        detail = (
            f"line {table.index[-1]} has no line end, so {last!r} may be cut short and is taken as unknown"
        )
        notices.add(path.name, "last line cut short", f"{detail}; end the file with a line break")
        table.iloc[-1, -1] = ""


def _read_lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be opened ({error.strerror})") from error
    except UnicodeDecodeError as error:
        kind = "UTF-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "no text, or another encoding"
        raise DatasetError(
            f"{path}: not a text file in UTF-8 ({error.reason} at {error.start}: {kind}); save it as UTF-8"
        ) from error
    # str.splitlines would break lines at U+2028 and other rare characters, too.
    return list(io.StringIO(text, newline=""))


def _parse(lines: list[str], delimiter: str | None, path: Path) -> Iterator[tuple[int, list[str]]]:
    if delimiter is None:
        yield from ((number, line.split()) for number, line in enumerate(lines, 1) if line.strip())
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


def check_header(path: Path, names: list[str], needed: Iterable[str]) -> None:
    """Raise `DatasetError` if a header lacks one of the columns needed, or has it twice."""
    missing = [name for name in needed if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1 and name in needed})
    if missing or twice:
        problem = f"lacks the columns {missing}" if missing else f"has the columns {twice} twice"
        other = next((sign for sign in ";\t|," if len(names) == 1 and sign in names[0]), "")
        hint = f"; it looks delimited by {other!r}" if other else ""
        raise DatasetError(f"{path}: the header {problem}; it reads {names[:20]}{hint}")


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
    rows: pd.DataFrame, root: Path, left_out: Reasons, *, folders: Iterable[str]
) -> pd.DataFrame:
    """The rows whose ``image`` is a picture in `folders`; rows and pictures without a partner go to `left_out`."""
    there = {
        picture
        for folder in folders
        if (root / folder).is_dir()
        for picture in list_pictures(root, left_out, folder=folder)
    }
    rows = exclude(rows, ~rows["image"].isin(there), left_out, "no picture", NO_PICTURE)
    listed = {image for image, _, _ in left_out.rows}
    left_out.add_all(sorted(there - set(rows["image"]) - listed), "no row", NO_ROW)
    return rows


def translate(
    rows: pd.DataFrame, column: str, names: dict[str, str | None], left_out: Reasons
) -> pd.DataFrame:
    """`column` with the file's codes turned into `names`; rows with any other code go to `left_out`."""
    rows = exclude(
        rows,
        ~rows[column].isin(list(names)),
        left_out,
        f"bad value in {column}",
        lambda row: f"{where(row)}: {row[column]!r}; allowed are {sorted(names)}",
    )
    return rows.assign(**{column: rows[column].map(names).astype(object)})


def read_classes(
    rows: pd.DataFrame, column: str, classes: Sequence[str], left_out: Reasons, *, label: str = ""
) -> pd.DataFrame:
    """`column` with its words read as `classes` of the label; rows with any other word go to `left_out`."""
    meant = words.classes_of(label or column, rows[column].unique(), classes)
    known = {text: name for text, name in meant.items() if name is not None}
    return translate(rows, column, {name: name for name in classes} | known, left_out)


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

"""The cells of a table of one's own: numbers, classes, people, and what a spreadsheet has made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import DatasetError, Reasons
from faceworkbook.datasets.words import format_option, numbers

CLASSES = tuple(faces.KNOWN_VOCABULARIES)
_SIDES = (*faces.BOX, *words.BOX_SIZES)
NUMBERS = (*_SIDES, "age", *faces.POSE, "fold")
_MOSTLY = 0.9  # a column with that share of numbers holds numbers; the others are bad values
_SHOWN = 8
_RANGE = re.compile(r"\d+\s*-\s*\d+")
_SHORTENED = re.compile(r"\d(?:[.,]\d+)?E\+?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """How a table of one's own is read.

    Attributes
    ----------
    table : str
        The CSV file, relative to the root, with a header.
    delimiter : str
        One character, or tab, semicolon, comma or pipe.
    encoding : str
        How the letters are written, such as cp1252 (Windows) or latin-1.
    columns : list of str
        ``"gender=Sex"``: the face table's column `gender` stands under the header `Sex`. Columns of
        the same name need no entry. Every further column becomes one of your own.
    values : list of str
        ``"gender:0=male"``: what the file writes as 0 in the column `gender` is the class `male`.
    free : list of str
        Columns among gender, race, emotion and age_group whose class names are yours; they are taken as
        they are, in alphabetical order. The others must hold names of one of the project's vocabularies.
    classes : list of str
        Columns of your own whose numbers are codes of classes.
    yes_no : list of str
        Columns of your own with 1 and 0, 1 and -1, y and n. Words (yes and no, true and false) need no entry.
    boxes : {'pixels', 'shares'}
        Whether the boxes are pixels, or shares of the picture's height and width (0..1). A box is top, left, bottom,
        right (or ymin, xmin, ymax, xmax and the like), or x, y, width, height with x, y the upper left corner, or
        box_center_x, box_center_y, box_width, box_height. A column with four numbers in each cell is named by
        ``"xyxy=bbox"`` (left, top, right, bottom) or ``"xywh=bbox"`` in `columns`.
    links : {'inside', 'anywhere'}
        Whether links to files and folders are followed below the root only.
    dataset : str
        Name of the data set in the face table.
    title, source, terms : str
        What the report and the model card print about the set.
    """

    table: str = "faces.csv"
    delimiter: str = ","
    encoding: str = "utf-8"
    columns: Sequence[str] = ()
    values: Sequence[str] = ()
    free: Sequence[str] = ()
    classes: Sequence[str] = ()
    yes_no: Sequence[str] = ()
    boxes: Literal["pixels", "shares"] = "pixels"
    links: Literal["inside", "anywhere"] = "inside"
    dataset: str = "csv"
    title: str = ""
    source: str = ""
    terms: str = ""


def read_values(rows: pd.DataFrame, options: Options, notices: Reasons) -> tuple[pd.DataFrame, dict]:
    """Return the rows with their cells as labels, numbers and people, and the class names by label.

    A value that is not allowed becomes unknown and is in `notices`; a side of a box becomes -inf, so that the box is bad.

    Raises
    ------
    DatasetError
        An option names an unknown column, or no value of a column is understood.
    """
    _check_options(rows, options)
    vocabularies = {}
    for name in rows.columns.difference(["image"], sort=False):
        cells = rows[name]
        if name in ("face_id", "identity"):
            values = _read_ids(cells, options, notices)
        elif name in NUMBERS or name.startswith((faces.VOTES_PREFIX, faces.TARGET_PREFIX)):
            values = _read_numbers(cells, options, notices, rows["image"])
        elif name == "split" or (name in CLASSES and name not in options.free):
            values, vocabularies[name] = _read_names(cells, options, notices, rows["image"])
        elif name in options.yes_no:
            values = without_missing(cells, number=True).map(words.yes_no, na_action="ignore")
            _notice_bad(cells, values, notices, rows["image"], "1 and 0, yes and no, true and false")
        else:
            values = _read_own(cells, options, notices, rows["image"])
            if name in CLASSES:
                vocabularies[name] = tuple(sorted(set(values.dropna())))
        rows = rows.assign(**{name: values})
    vocabularies.pop("split", None)
    return rows, vocabularies


def _check_options(rows: pd.DataFrame, options: Options) -> None:
    own = [name for name in rows if name not in faces.COLUMNS]
    for option, allowed in {"free": [*CLASSES], "classes": own, "yes_no": own}.items():
        unknown = sorted(set(getattr(options, option)) - set(allowed))
        if unknown:
            raise DatasetError(f"{option}: {unknown} are no columns that it can name; allowed are {allowed}")


def without_missing(cells: pd.Series, *, number: bool = False) -> pd.Series:
    """Return the cells as they are, and None where one stands for "unknown"."""
    is_missing = {text: words.is_missing(text, number=number) for text in cells.unique()}
    return cells.astype(object).mask(cells.map(is_missing), None)


def _read_ids(cells: pd.Series, options: Options, notices: Reasons) -> pd.Series:
    known = without_missing(cells)
    if cells.name == "face_id":
        return known
    people = faces.name_people(known)
    joined = known.groupby(people).unique().loc[lambda spellings: spellings.map(len) > 1]
    for person, spellings in joined.items():
        detail = f"column 'identity': {[*spellings[:_SHOWN]]} are read as the person {person!r}"
        notices.add(options.table, "spellings joined", detail)
    short = people.dropna().loc[lambda names: names.str.fullmatch(_SHORTENED)].unique()
    if len(short):
        detail = f"column 'identity': {[*short[:_SHOWN]]} are numbers that a spreadsheet has cut; each counts as one person"
        notices.add(options.table, "identity shortened", detail)
    return people


def _read_numbers(cells: pd.Series, options: Options, notices: Reasons, image: pd.Series) -> pd.Series:
    if options.delimiter in (";", "semicolon", "tab", "\\t", "\t"):
        cells = cells.str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
    known = without_missing(cells, number=True)
    parsed = numbers(known.fillna(""))
    if known.notna().any() and parsed.isna().all():
        raise DatasetError(_describe_no_number(known, options))
    low, high = faces.RANGES.get(cells.name, (-np.inf, np.inf))
    good = parsed.between(low, high)
    if cells.name == "fold":
        good &= (parsed % 1 == 0) & (parsed >= 0)
    parsed = parsed.where(good)
    if cells.name not in _SIDES:
        bounds = f" in {low}..{high}" if np.isfinite(low) else ""
        _notice_bad(
            known,
            parsed,
            notices,
            image,
            "whole numbers from 0" if cells.name == "fold" else f"numbers{bounds}",
        )
    return parsed.mask(known.notna() & parsed.isna(), -np.inf) if cells.name in _SIDES else parsed


def _read_names(
    cells: pd.Series, options: Options, notices: Reasons, image: pd.Series
) -> tuple[pd.Series, tuple[str, ...]]:
    known = without_missing(cells)
    written = known.dropna().unique()
    is_split = cells.name == "split"
    classes = faces.SPLITS if is_split else words.fitting_vocabulary(cells.name, written)
    meant = words.classes_of(cells.name, written, classes)
    if len(written) and not any(meant.values()):
        raise DatasetError(_describe_refusal(cells.name, written, classes, options))
    values = known.map(meant, na_action="ignore").astype(object)
    values = values.where(values.notna(), None)
    _notice_bad(known, values, notices, image, f"{list(classes)}")
    return values, classes


def _describe_refusal(name: str, written, classes: Sequence[str], options: Options) -> str:
    ready = format_option("values", [f"{name}:{text}=CLASS" for text in written[:_SHOWN]])
    free = "" if name == "split" else f", or take the names as they are: {format_option('free', [name])}"
    return (
        f"{options.table}: no value of column '{name}' is understood; it holds {list(written[:_SHOWN])}, allowed are "
        f"{list(classes)}. Give their meaning, a class for each CLASS: {ready}{free}"
    )


def _describe_no_number(known: pd.Series, options: Options) -> str:
    name, written = known.name, known.dropna().unique()
    ranges = name == "age" and any(
        words.classes_of("age_group", written, faces.KNOWN_VOCABULARIES["age_group"][0])
    )
    other = "age_group" if ranges else f"my_{name}"
    return (
        f"{options.table}: no value of column '{name}' is a number; it holds {list(written[:_SHOWN])}. "
        f"Read it as another column: {format_option('columns', [f'{other}={name}'])}"
    )


def _read_own(cells: pd.Series, options: Options, notices: Reasons, image: pd.Series) -> pd.Series:
    numeric = without_missing(cells, number=True).dropna()
    codes = cells.name in options.classes or cells.name in CLASSES
    if not codes and len(numeric) and numbers(numeric).notna().mean() >= _MOSTLY:
        return _read_numbers(cells, options, notices, image)
    known = without_missing(_undo_dates(cells, options, notices))
    _notice_none(cells, options, notices)
    if codes:
        known = known.map(faces.name_person, na_action="ignore")
    if known.nunique() > faces.MAX_CLASSES:
        return known
    flags = known.dropna().map(words.yes_no)
    if not codes and len(flags) and flags.notna().all():
        return known.map(words.yes_no, na_action="ignore")
    values, joined = words.join_spellings(known)
    for kept, spellings in joined.items():
        notices.add(
            options.table, "spellings joined", f"column {cells.name!r}: {spellings} are read as {kept!r}"
        )
    return values.astype(object)


def _undo_dates(cells: pd.Series, options: Options, notices: Reasons) -> pd.Series:
    """Read a spreadsheet's dates as ranges again in a column of ranges such as 3-9."""
    ranges = cells.str.fullmatch(_RANGE)
    dates = {text: words.undo_date(text) for text in cells[~ranges].unique()}
    dates = {text: word for text, word in dates.items() if word}
    if not dates or not ranges.any():
        return cells
    details = [f"column {cells.name!r}: {text!r} is read as {word}" for text, word in dates.items()]
    notices.add_all([options.table] * len(dates), "date read as range", details)
    return cells.replace(dates)


def _notice_none(cells: pd.Series, options: Options, notices: Reasons) -> None:
    n = int((cells.map(words.fold) == "none").sum())
    if n and cells.name not in CLASSES:
        ready = format_option("values", [f"{cells.name}:none=without"])
        detail = (
            f"column {cells.name!r}: 'none' is taken as unknown in {n:,} rows; if it is a class, give {ready}"
        )
        notices.add(options.table, "none is unknown", detail)


def _notice_bad(
    written: pd.Series, values: pd.Series, notices: Reasons, image: pd.Series, allowed: str
) -> None:
    missing = without_missing(written.fillna(""), number=True).isna()
    bad = ~missing & values.isna()
    details = [
        f"line {line}: {text!r} is taken as unknown; allowed are {allowed}"
        for line, text in written[bad].items()
    ]
    notices.add_all(image[bad], f"bad value in {written.name}", details)

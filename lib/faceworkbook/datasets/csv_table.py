"""A CSV file of one's own beside the pictures: the face table's columns and any others, under any header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    check_header,
    exclude,
    keep_first,
    need_files,
    numbers,
    read_header,
    read_rows,
)
from faceworkbook.datasets.boxes import check_boxes, picture_sizes
from faceworkbook.datasets.paths import locate

INFO = DatasetInfo(
    name="csv",
    title="A CSV file and pictures",
    labels=("any: age, age_group, gender, race, emotion, yaw, pitch, roll, and columns of your own",),
    identities="column identity, where there is one",
    official_split="columns split and fold, where there are any",
    size="yours",
    terms="yours",
    source="your own table",
    layout="""  ROOT/
    faces.csv      (header: image,gender,age,identity,smile,... ; paths relative to ROOT; option table=)
    any/folders/of/pictures.jpg""",
    put="faces.csv with a header, and the pictures that its column image names",
    sign=r"[^/]+\.(?:csv|tsv)",
)

_CLASSES = tuple(faces.KNOWN_VOCABULARIES)
_NUMBERS = (*faces.BOX, "age", *faces.POSE, "fold")
_TEXTS = ("image", "face_id", "identity", "split")
_MOSTLY = 0.9  # a column with that share of numbers holds numbers; the others are bad values
_SHOWN = 8


@dataclass(frozen=True)
class Options:
    """How a table of one's own is read.

    Attributes
    ----------
    table : str
        The CSV file, relative to the root. UTF-8, with a header.
    delimiter : str
        One character.
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
        Whether top, left, bottom and right are pixels, or shares of the picture's height and width (0..1).
    links : {'inside', 'anywhere'}
        Whether links to files and folders are followed below the root only.
    dataset : str
        Name of the data set in the face table.
    title, source, terms : str
        What the report and the model card print about the set.
    """

    table: str = "faces.csv"
    delimiter: str = ","
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


def read(root: Path, options: Options) -> Dataset:
    """Read a table and the pictures that it names.

    Empty cells, NA, null, unknown and the like (`words.MISSING`) mean unknown. A column of your own holds
    numbers where its cells are numbers, and else classes.

    Parameters
    ----------
    root : Path
    options : Options

    Returns
    -------
    Dataset
        A value that is not allowed costs its label and is in ``notices``. A row without its picture, with a
        bad box, or that contradicts another row of the same face is in ``left_out``; so is a picture under
        `root` that no row names.

    Raises
    ------
    DatasetError
        No such file, no text, a header without ``image``, an option that names an unknown column, or a column
        of which no value is understood.
    """
    need_files(root, (options.table,), INFO)
    if len(options.delimiter) != 1:
        raise DatasetError(f"delimiter={options.delimiter!r}; it must be one character, such as ',' or ';'")
    left_out, notices = Reasons(), Reasons()
    rows = read_rows(root / options.table, left_out, notices, header=(), delimiter=options.delimiter)
    rows = _name_columns(rows, root / options.table, options, notices)
    rows = _translate(rows, options.values)
    rows = rows.assign(image=_known(rows["image"], words.MISSING_NUMBERS))
    rows = locate(rows, root, left_out, notices, links=options.links)
    rows, vocabularies = _read_values(rows, options, notices)
    rows = _check_boxes(rows, root, options, left_out)
    rows = _name_faces(rows, options.dataset, left_out)
    built = faces.build(dict(rows), dataset=options.dataset, vocabularies=vocabularies)
    info = INFO.describe_own(title=options.title, source=options.source, terms=options.terms)
    return Dataset(built, left_out.table(), notices.table(), root, info)


def label_names(root: Path, options: Options) -> list[str]:
    """Return the names of the columns that may hold a label, read from the table's header alone; raises as `read`."""
    need_files(root, (options.table,), INFO)
    header = read_header(root / options.table, options.delimiter)
    columns = _name_columns(pd.DataFrame(columns=header), root / options.table, options, Reasons())
    nothing = pd.DataFrame(columns=list(columns), dtype=object)
    return faces.known_labels(nothing)


# --------------------------------------------------------------------------- columns


def _name_columns(rows: pd.DataFrame, path: Path, options: Options, notices: Reasons) -> pd.DataFrame:
    renamed = {}
    for entry in options.columns:
        name, sign, written = str(entry).partition("=")
        if not sign or not written or not name.isidentifier():
            raise DatasetError(
                f"columns: {entry!r} is not NAME=TEXT with a NAME such as {list(faces.COLUMNS)}"
            )
        renamed[written.strip()] = name
    check_header(path, list(rows.columns), renamed)
    names = [renamed.get(written) or _column_name(written, renamed) for written in rows.columns]
    for written, name in zip(rows.columns, names, strict=True):
        if not name and written != "dataset":
            notices.add(
                path.name, "column not read", f"column {written!r} has no name, or another has its place"
            )
        elif name not in (written, renamed.get(written)):
            notices.add(path.name, "column renamed", f"column {written!r} is the column {name!r}")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path}: the columns {twice} stand twice in the header")
    if "image" not in names:
        check_header(path, [*rows.columns], ["image"])
    return rows.loc[:, [bool(name) for name in names]].set_axis([name for name in names if name], axis=1)


def _column_name(written: str, renamed: dict[str, str]) -> str:
    word = words.fold(written).replace(" ", "_")
    name = word if word in faces.COLUMNS else re.sub(r"\W+", "_", written.removeprefix("extra_")).strip("_")
    if name in ("", "dataset", "Unnamed_0") or name in renamed.values():
        return ""
    return name if name.isidentifier() else f"_{name}"


def _translate(rows: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    meant: dict[str, dict[str, str]] = {}
    for entry in values:
        name, _, pair = str(entry).partition(":")
        written, sign, class_name = pair.partition("=")
        if name not in rows or name in (*_NUMBERS, *_TEXTS) or not sign:
            known = [column for column in rows if column not in (*_NUMBERS, *_TEXTS)]
            raise DatasetError(f"values: {entry!r} is not COLUMN:WRITTEN=CLASS with a COLUMN of {known}")
        meant.setdefault(name, {})[_code(written)] = class_name
    return rows.assign(
        **{name: [pairs.get(_code(text), text) for text in rows[name]] for name, pairs in meant.items()}
    )


def _code(text: str) -> str:
    return faces.name_person(words.fold(text)) or ""


# --------------------------------------------------------------------------- values


def _read_values(rows: pd.DataFrame, options: Options, notices: Reasons) -> tuple[pd.DataFrame, dict]:
    _check_options(rows, options)
    vocabularies = {}
    for name in rows.columns.difference(["image"], sort=False):
        cells = rows[name]
        if name in ("face_id", "identity"):
            values = _known(cells, words.MISSING)
        elif name in _NUMBERS or name.startswith((faces.VOTES_PREFIX, faces.TARGET_PREFIX)):
            values = _read_numbers(cells, options, notices, rows["image"])
        elif name == "split" or (name in _CLASSES and name not in options.free):
            values, vocabularies[name] = _read_names(cells, options, notices, rows["image"])
        elif name in options.yes_no:
            values = _known(cells, words.MISSING - {"-1", "-1.0"}).map(words.yes_no, na_action="ignore")
            _notice_bad(cells, values, notices, rows["image"], "1 and 0, yes and no, true and false")
        else:
            values = _read_own(cells, options, notices, rows["image"])
            if name in _CLASSES:
                vocabularies[name] = tuple(sorted(set(values.dropna())))
        rows = rows.assign(**{name: values})
    vocabularies.pop("split", None)
    return rows, vocabularies


def _check_options(rows: pd.DataFrame, options: Options) -> None:
    own = [name for name in rows if name not in faces.COLUMNS]
    for option, allowed in {"free": [*_CLASSES], "classes": own, "yes_no": own}.items():
        unknown = sorted(set(getattr(options, option)) - set(allowed))
        if unknown:
            raise DatasetError(f"{option}: {unknown} are no columns that it can name; allowed are {allowed}")


def _known(cells: pd.Series, missing: frozenset) -> pd.Series:
    return cells.astype(object).mask(cells.map(words.fold).isin(missing), None)


def _read_numbers(cells: pd.Series, options: Options, notices: Reasons, image: pd.Series) -> pd.Series:
    if options.delimiter == ";":
        cells = cells.str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
    known = _known(cells, words.MISSING_NUMBERS)
    parsed = numbers(known.fillna(""))
    low, high = faces.RANGES.get(cells.name, (-np.inf, np.inf))
    good = parsed.between(low, high)
    if cells.name == "fold":
        good &= parsed % 1 == 0
    parsed = parsed.where(good)
    if cells.name not in faces.BOX:
        _notice_bad(known, parsed, notices, image, f"a number in {low}..{high}")
    return parsed.mask(known.notna() & parsed.isna(), -np.inf) if cells.name in faces.BOX else parsed


def _read_names(
    cells: pd.Series, options: Options, notices: Reasons, image: pd.Series
) -> tuple[pd.Series, tuple[str, ...]]:
    known = _known(cells, words.MISSING)
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
    ready = [f"{name}:{text}=CLASS" for text in written[:_SHOWN]]
    free = "" if name == "split" else f", or take the names as they are: free=[{name!r}]"
    return (
        f"{options.table}: no value of column '{name}' is understood; it holds {list(written[:_SHOWN])}, allowed are "
        f"{list(classes)}. Give their meaning: values={ready}{free}"
    )


def _read_own(cells: pd.Series, options: Options, notices: Reasons, image: pd.Series) -> pd.Series:
    numeric = _known(cells, words.MISSING_NUMBERS).dropna()
    codes = cells.name in options.classes or cells.name in _CLASSES
    if not codes and len(numeric) and numbers(numeric).notna().mean() >= _MOSTLY:
        return _read_numbers(cells, options, notices, image)
    known = _known(cells, words.MISSING)
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


def _notice_bad(
    written: pd.Series, values: pd.Series, notices: Reasons, image: pd.Series, allowed: str
) -> None:
    missing = _known(written.fillna(""), words.MISSING_NUMBERS).isna()
    bad = ~missing & values.isna()
    details = [
        f"line {line}: {text!r} is taken as unknown; allowed are {allowed}"
        for line, text in written[bad].items()
    ]
    notices.add_all(image[bad], f"bad value in {written.name}", details)


# --------------------------------------------------------------------------- boxes and faces


def _check_boxes(rows: pd.DataFrame, root: Path, options: Options, left_out: Reasons) -> pd.DataFrame:
    sides = [name for name in faces.BOX if name in rows]
    if not sides:
        return rows
    if len(sides) < len(faces.BOX):
        raise DatasetError(f"the table has the box columns {sides} only; a box needs {list(faces.BOX)}")
    if options.boxes == "shares":
        boxed = rows[sides].notna().all(axis=1)
        rows = rows.assign(**_in_pixels(rows[boxed], root).reindex(rows.index))
    return check_boxes(rows, root, left_out, table=options.table, shares="set boxes='shares', or give pixels")


def _in_pixels(rows: pd.DataFrame, root: Path) -> pd.DataFrame:
    sizes = picture_sizes(root, rows["image"])
    height, width = (
        rows["image"].map({image: size[axis] for image, size in sizes.items()}) for axis in (0, 1)
    )
    scale = {"top": height, "left": width, "bottom": height, "right": width}
    return pd.DataFrame({side: rows[side] * by for side, by in scale.items()})


def _name_faces(rows: pd.DataFrame, dataset: str, left_out: Reasons) -> pd.DataFrame:
    if "face_id" not in rows:
        rows = rows.assign(face_id=dataset + ":" + rows["image"] + _box_text(rows))
    nameless = rows["face_id"].isna()
    rows = exclude(rows, nameless, left_out, "face_id missing", lambda row: f"line {row.name}")
    return keep_first(rows, ["face_id"], left_out)


def _box_text(rows: pd.DataFrame) -> pd.Series | str:
    if "top" not in rows or rows.empty:
        return ""
    box = rows[[*faces.BOX]].map("{:g}".format).agg("_".join, axis=1)
    return ("#" + box).where(rows["top"].notna(), "")

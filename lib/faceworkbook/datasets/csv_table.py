"""A CSV file of one's own beside the pictures: the face table's columns and any others, under any header."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import box_columns, words
from faceworkbook.datasets.base import (
    NOT_STATED,
    PICTURES,
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    exclude,
    keep_first,
    need_files,
)
from faceworkbook.datasets.boxes import check_boxes, picture_sizes
from faceworkbook.datasets.csv_values import NUMBERS, Options, read_values, without_missing
from faceworkbook.datasets.paths import locate, name_folder
from faceworkbook.datasets.text_tables import Format, check_header, read_header, read_rows
from faceworkbook.datasets.words import format_option

INFO = DatasetInfo(
    name="csv",
    title="A CSV file and pictures",
    labels=("any: age, age_group, gender, race, emotion, yaw, pitch, roll, and columns of your own",),
    identities="column identity, where there is one",
    official_split="columns split and fold, where there are any",
    size="yours",
    terms=NOT_STATED,
    source="your own table",
    layout="""  ROOT/
    faces.csv      (header: image,gender,age,identity,smile,... ; paths relative to ROOT; option table=)
    any/folders/of/pictures.jpg""",
    put="faces.csv with a header, and the pictures that its column image names",
    sign=r"[^/]+\.(?:csv|tsv)",
)

_CODED = (
    *NUMBERS,
    *box_columns.IN_ONE_CELL,
    "image",
    "face_id",
    "identity",
    "split",
)  # columns without classes of one's own
_MOSTLY = 0.5  # a column with that share of names of pictures holds paths
_DELIMITERS = {"tab": "\t", "\\t": "\t", "semicolon": ";", "comma": ",", "pipe": "|"}


def read(root: Path, options: Options) -> Dataset:
    """Read a table and the pictures that it names.

    Empty cells, NA, null, unknown, none and the like (`words.MISSING`) mean unknown in every column; an entry of
    `values` gives such a word a meaning. A column of your own holds numbers where its cells are numbers, and else
    classes. Identities that differ in case, in leading zeros or as 12 and 12.0 do are one person.

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
    left_out, notices = Reasons(), Reasons()
    rows = read_rows(root / options.table, left_out, notices, header=(), form=_form(options))
    rows = _name_columns(rows, root / options.table, options, notices)
    if rows.empty and not left_out.rows:
        raise DatasetError(
            f"{root / options.table}: a header and no rows; its columns are {[*rows.columns]}; give a table of faces"
        )
    rows = box_columns.split_cells(rows, options.table)
    rows = _translate(rows, options, notices)
    rows = rows.assign(image=without_missing(rows["image"], number=True))
    rows = locate(rows, root, left_out, notices, links=options.links)
    rows, vocabularies = read_values(rows, options, notices)
    rows = _check_boxes(rows, root, options, left_out)
    rows = _name_faces(rows, options.dataset, left_out)
    built = faces.build(dict(rows), dataset=options.dataset, vocabularies=vocabularies)
    title = options.title or name_folder(root) or INFO.title
    info = INFO.describe_own(title=title, source=options.source, terms=options.terms)
    return Dataset(built, left_out.table(), notices.table(), root, info)


def _form(options: Options) -> Format:
    delimiter = _DELIMITERS.get(options.delimiter, options.delimiter)
    if len(delimiter) != 1:
        raise DatasetError(
            f"delimiter={options.delimiter!r}; it must be one character, such as ',' or ';', or {[*_DELIMITERS]}"
        )
    return Format(delimiter=delimiter, encoding=options.encoding)


def label_names(root: Path, options: Options) -> list[str]:
    """Return the names of the columns that may hold a label, read from the table's header alone; raises as `read`."""
    need_files(root, (options.table,), INFO)
    header = read_header(root / options.table, _form(options))
    columns = _name_columns(pd.DataFrame(columns=header), root / options.table, options, Reasons())
    no_labels = (*box_columns.NAMES, *box_columns.IN_ONE_CELL)
    nothing = pd.DataFrame(columns=[name for name in columns if name not in no_labels], dtype=object)
    return faces.known_labels(nothing)


# --------------------------------------------------------------------------- columns


def _name_columns(rows: pd.DataFrame, path: Path, options: Options, notices: Reasons) -> pd.DataFrame:
    renamed = {}
    by_word = {words.fold(written): written for written in rows.columns}
    for entry in options.columns:
        name, sign, written = str(entry).partition("=")
        if not sign or not written or not name.isidentifier():
            raise DatasetError(
                f"columns: {entry!r} is not NAME=TEXT with a NAME such as {list(faces.COLUMNS)}"
            )
        written = written.strip()
        renamed[written if written in rows else by_word.get(words.fold(written), written)] = name
    check_header(path, list(rows.columns), renamed)
    of_box = _box_columns(rows, renamed, path, options, notices)
    names = [
        of_box.get(written) or renamed.get(written) or _column_name(written, renamed)
        for written in rows.columns
    ]
    for written, name in zip(rows.columns, names, strict=True):
        if not name and written != "dataset":
            notices.add(
                path.name, "column not read", f"column {written!r} has no name, or another has its place"
            )
        elif name and name not in (written, renamed.get(written), of_box.get(written)):
            notices.add(path.name, "column renamed", f"column {written!r} is the column {name!r}")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path}: the columns {twice} stand twice in the header; rename one of each")
    if "image" not in names:
        _refuse_nameless(rows, path)
    return rows.loc[:, [bool(name) for name in names]].set_axis([name for name in names if name], axis=1)


def _box_columns(
    rows: pd.DataFrame, renamed: dict[str, str], path: Path, options: Options, notices: Reasons
) -> dict[str, str]:
    """Return the names of a box by what the file writes for them, and note them where they are other names."""
    written = {renamed.get(header, header): header for header in rows}
    columns = box_columns.box_columns(written)
    if options.boxes == "shares":
        box_columns.check_corner(columns)
    if any(header != name for header, name in columns.items()):
        notices.add(path.name, "columns read as box", box_columns.describe_box(columns))
    return {written[header]: name for header, name in columns.items()}


def _refuse_nameless(rows: pd.DataFrame, path: Path) -> None:
    with_paths = [name for name in rows if rows[name].str.lower().str.endswith(PICTURES).mean() > _MOSTLY]
    try:
        check_header(path, [*rows.columns], ["image"])
    except DatasetError as error:
        hint = (
            f"; {with_paths[0]!r} holds them: {format_option('columns', [f'image={with_paths[0]}'])}"
            if with_paths
            else ""
        )
        raise DatasetError(f"{error}{hint}") from error


def _column_name(written: str, renamed: dict[str, str]) -> str:
    word = words.fold(written).replace(" ", "_")
    name = word if word in faces.COLUMNS else re.sub(r"\W+", "_", written.removeprefix("extra_")).strip("_")
    if name in ("", "dataset", "Unnamed_0") or name in renamed.values():
        return ""
    return name if name.isidentifier() else f"_{name}"


def _translate(rows: pd.DataFrame, options: Options, notices: Reasons) -> pd.DataFrame:
    meant: dict[str, dict[str, str]] = {}
    for entry in options.values:
        name, _, pair = str(entry).partition(":")
        written, sign, class_name = pair.partition("=")
        if name not in rows or name in _CODED or not sign:
            known = [column for column in rows if column not in _CODED]
            raise DatasetError(f"values: {entry!r} is not COLUMN:WRITTEN=CLASS with a COLUMN of {known}")
        if not rows[name].map(words.fold_code).isin([words.fold_code(written)]).any():
            notices.add(
                options.table, "value not there", f"values: {entry!r}; no cell of {name!r} holds {written!r}"
            )
        _check_class(name, class_name, entry, options)
        meant.setdefault(name, {})[words.fold_code(written)] = class_name
    return rows.assign(
        **{
            name: [pairs.get(words.fold_code(text), text) for text in rows[name]]
            for name, pairs in meant.items()
        }
    )


def _check_class(column: str, class_name: str, entry: str, options: Options) -> None:
    vocabularies = () if column in options.free else faces.KNOWN_VOCABULARIES.get(column, ())
    if not vocabularies or words.is_missing(class_name):
        return
    if not any(words.classes_of(column, [class_name], classes)[class_name] for classes in vocabularies):
        allowed = [*dict.fromkeys(name for classes in vocabularies for name in classes)]
        near = difflib.get_close_matches(words.fold(class_name), allowed, n=1)
        raise DatasetError(
            f"values: {entry!r} means a class that {column!r} does not have; allowed are {allowed}"
            f"{f'. Did you mean {near[0]!r}?' if near else ''} Names of your own need {format_option('free', [column])}"
        )


# --------------------------------------------------------------------------- boxes and faces


def _check_boxes(rows: pd.DataFrame, root: Path, options: Options, left_out: Reasons) -> pd.DataFrame:
    rows = box_columns.to_sides(rows)
    sides = [*faces.BOX]
    if not set(sides) <= set(rows):
        return rows
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
    labels = [
        name for name in rows if name not in ("image", "face_id", *faces.BOX) and _can_contradict(rows[name])
    ]
    places = [name for name in ("image", *faces.BOX) if name in rows]
    rows = keep_first(rows, places, labels, left_out)
    return keep_first(rows, ["face_id"], [*places, *labels], left_out)


def _can_contradict(values: pd.Series) -> bool:
    """Whether two values of a column are two labels: row numbers and remarks are none."""
    known = values.dropna()
    if values.name in faces.COLUMNS or known.empty:
        return values.name in faces.COLUMNS
    if pd.api.types.is_numeric_dtype(known):
        return len(known) < 3 or not (np.diff(np.sort(known.to_numpy(float))) == 1).all()
    return known.nunique() <= min(faces.MAX_CLASSES, max(2, len(known) - 1))


def _box_text(rows: pd.DataFrame) -> pd.Series | str:
    if "top" not in rows or rows.empty:
        return ""
    box = rows[[*faces.BOX]].map("{:g}".format).agg("_".join, axis=1)
    return ("#" + box).where(rows["top"].notna(), "")

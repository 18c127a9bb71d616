"""Which columns of a table of one's own make a face's box: four sides, a corner and a size, or a centre and a size."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import DatasetError
from faceworkbook.datasets.words import BOX_SIZES, format_option

CORNERS = ("left", "top", "right", "bottom")
CORNER_AND_SIZE = ("left", "top", "box_width", "box_height")
CENTRE_AND_SIZE = ("box_center_x", "box_center_y", "box_width", "box_height")
NAMES = (*faces.BOX, *BOX_SIZES)  # what the columns of a box may be called
IN_ONE_CELL = {"xyxy": CORNERS, "xywh": CORNER_AND_SIZE}  # columns with all four numbers in each cell
_FORMS = (CORNERS, CORNER_AND_SIZE, CENTRE_AND_SIZE)

# Headers, folded to letters and single blanks and without a leading "face" or "box", by the name that they mean.
_HEADERS = {
    "top": ("top", "y1", "y 1", "ymin", "y min", "min y"),
    "left": ("left", "x1", "x 1", "xmin", "x min", "min x"),
    "bottom": ("bottom", "y2", "y 2", "ymax", "y max", "max y"),
    "right": ("right", "x2", "x 2", "xmax", "x max", "max x"),
    "box_width": ("width", "w"),
    "box_height": ("height", "h"),
    "box_center_x": ("center x", "x center", "centre x", "x centre", "cx", "xc"),
    "box_center_y": ("center y", "y center", "centre y", "y centre", "cy", "yc"),
}
_MEANT = {header: name for name, headers in _HEADERS.items() for header in headers}
_CORNER = {"x": "left", "y": "top"}  # of boxes in pixels; in shares they may be the centre
_OF_BOX = re.compile(r"(?:(?:face|bounding|bbox|box|bb|rect) )+")
_BOX_CELLS = frozenset(
    (*("bbox", "box", "bounding box", "boundingbox", "bb", "rect", "face box"), "face bbox", "face rect")
)
_CELL = re.compile(r"[\[({\s]*([-+.\deE]+)[\s,;]+([-+.\deE]+)[\s,;]+([-+.\deE]+)[\s,;]+([-+.\deE]+)[\])}\s]*")
_MOSTLY = 0.5  # of the known cells hold four numbers


def box_columns(headers: Iterable[str]) -> dict[str, str]:
    """Return the headers that make a box, each with its name; empty where they make none.

    The first whole one counts of: four sides; the left upper corner and a size (``x,y,w,h``); a centre and a size.
    """
    by_name: dict[str, str] = {}
    headers = sorted(headers, key=lambda header: header not in NAMES)
    for name_of in (_name, lambda header: _CORNER.get(_plain(header), "")):
        for header in headers:
            by_name.setdefault(name_of(header), header)
    form = next((form for form in _FORMS if set(form) <= set(by_name)), ())
    return {by_name[name]: name for name in form}


def _plain(header: str) -> str:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(header).removeprefix("extra_"))
    plain = re.sub(r"[\W_]+", " ", words.fold(apart)).strip()
    return _OF_BOX.sub("", plain, count=1) if plain not in _BOX_CELLS else plain


def _name(header: str) -> str:
    return header if header in NAMES else _MEANT.get(_plain(header), "")


def describe_box(columns: dict[str, str]) -> str:
    """Return what the columns of `box_columns` are read as, and the option that keeps them as columns of one's own."""
    own = format_option("columns", [f"my_{_own(header)}={header}" for header in columns])
    return (
        f"the columns {[*columns]} are read as {', '.join(columns.values())} of the face's box (left and top are its "
        f"upper left corner); if they are no box: {own}"
    )


def _own(header: str) -> str:
    return re.sub(r"\W+", "_", header)


def check_corner(columns: dict[str, str]) -> None:
    """Raise `DatasetError` where x and y of boxes in shares of the picture may be a corner or the centre."""
    bare = [header for header in columns if _plain(header) in _CORNER]
    if bare:
        corner = format_option("columns", [f"{name}={header}" for header, name in columns.items()])
        centre = format_option(
            "columns", [f"{name}={header}" for name, header in zip(CENTRE_AND_SIZE, columns, strict=True)]
        )
        raise DatasetError(
            f"the columns {bare} of boxes in shares of the picture may be a corner or, as YOLO writes them, the centre. "
            f"If a corner: {corner}; if the centre: {centre}"
        )


def split_cells(rows: pd.DataFrame, table: str) -> pd.DataFrame:
    """Return the rows with the four numbers of a column xyxy or xywh in a column each.

    Raises
    ------
    DatasetError
        A column such as bbox holds four numbers, which may be two corners, or a corner and a size.
    """
    cells = next((name for name in rows if name in IN_ONE_CELL), None)
    if cells is None:
        _refuse_unnamed(rows, table)
        return rows
    names, written = [*IN_ONE_CELL[cells]], rows[cells].fillna("")
    # A cell of anything else stays as it is in each of the four columns, where it is no number.
    texts = [match.groups() if (match := _CELL.fullmatch(text)) else (text,) * 4 for text in written]
    sides = pd.DataFrame(texts, columns=names, index=rows.index, dtype=object)
    return pd.concat([rows.drop(columns=[cells, *(name for name in names if name in rows)]), sides], axis=1)


def _refuse_unnamed(rows: pd.DataFrame, table: str) -> None:
    if any(name in rows for name in NAMES):
        return
    for header in rows:
        known = rows[header][~rows[header].map(words.is_missing)] if _plain(header) in _BOX_CELLS else ()
        if len(known) and known.str.fullmatch(_CELL).mean() > _MOSTLY:
            options = {name: format_option("columns", [f"{name}={header}"]) for name in IN_ONE_CELL}
            raise DatasetError(
                f"{table}: the column {header!r} holds boxes such as {known.iloc[0]!r}, and does not say whether they are "
                f"left, top, right, bottom ({options['xyxy']}) or left, top, width, height ({options['xywh']}). If it is "
                f"no box: {format_option('columns', [f'my_{_own(header)}={header}'])}"
            )


def to_sides(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a box's four sides instead of its corner or centre and its size.

    Raises
    ------
    DatasetError
        Some columns of a box, and not all.
    """
    there = [name for name in NAMES if name in rows]
    if not there or set(faces.BOX) <= set(there):
        return rows
    if set(CORNER_AND_SIZE) <= set(there):
        left, top = rows["left"], rows["top"]
    elif set(CENTRE_AND_SIZE) <= set(there):
        left = rows["box_center_x"] - rows["box_width"] / 2
        top = rows["box_center_y"] - rows["box_height"] / 2
    else:
        raise DatasetError(
            f"the table has the box columns {there} only; a box needs {list(faces.BOX)}, or {list(CORNER_AND_SIZE)}"
        )
    sides = {"left": left, "top": top, "right": left + rows["box_width"], "bottom": top + rows["box_height"]}
    return rows.drop(columns=[name for name in BOX_SIZES if name in rows]).assign(**sides)

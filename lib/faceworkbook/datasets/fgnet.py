"""FG-NET: 82 people photographed over their lives, 68 points a face (Lanitis et al. 2002)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    list_pictures,
    need_files,
)
from faceworkbook.datasets.words import numbers

INFO = DatasetInfo(
    name="fgnet",
    title="FG-NET ageing database",
    labels=("age",),
    identities="in the file names",
    official_split="none; leave one person out is customary",
    size="1,002 photos of 82 people, 0 to 69 years",
    terms="research",
    source="Lanitis, Taylor and Cootes 2002; FG-NET consortium",
    layout="""  ROOT/
    images/001A02.JPG    (person A age; a and b where there are two of one age)
    points/001a02.pts    (68 points; may be missing)
    ...""",
    put="the folders images/ and points/",
    sign=r"images/\d{3}A\d{2}[a-z]?\.\w+",
)

POINTS = 68
_OLDEST = 69
_NAME = re.compile(r"(\d{3})A(\d{2})([a-z]?)\.(?:jpe?g|png|bmp)", re.ASCII | re.IGNORECASE)


def read(root: Path) -> Dataset:
    """Read identity and age out of the names of ``images/``.

    Parameters
    ----------
    root : Path

    Returns
    -------
    Dataset
        ``points`` is the path of the face's points file (`read_points` reads it) or NA.

    Raises
    ------
    DatasetError
        No folder ``images``.
    """
    need_files(root, ("images",), INFO)
    left_out, notices = Reasons(), Reasons()
    pictures = list_pictures(root, left_out, folder="images")
    rows = []
    for picture in pictures:
        parsed = parse_name(picture.rsplit("/", 1)[-1])
        if parsed is None:
            left_out.add(picture, "name malformed", "expected 001A02.JPG: person, A, age")
            continue
        if parsed[1] is None:
            notices.add(picture, "bad value in age", f"FG-NET has ages of 0..{_OLDEST}")
        rows.append((picture, *parsed))
    image, person, age, stem = zip(*rows, strict=True) if rows else ((),) * 4
    points = _points_files(root)
    paths = [points.get(name) for name in stem]
    notices.add_all([i for i, path in zip(image, paths, strict=True) if path is None], "no points file")
    table = faces.build(
        {
            "image": image,
            "identity": [f"fgnet:{name}" for name in person],
            "age": age,
            "points": paths,
        },
        dataset="fgnet",
    )
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def parse_name(name: str) -> tuple[str, int | None, str] | None:
    """Person, age in years and stem (lower case) of a file name such as 001A43b.JPG; None if it is another.

    An age that nobody in the set has, beyond 69, is None.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    age = int(match[2])
    return match[1], age if age <= _OLDEST else None, f"{match[1]}a{match[2]}{match[3]}".lower()


def _points_files(root: Path) -> dict[str, str]:
    folder = root / "points"
    if not folder.is_dir():
        return {}
    return {path.stem.lower(): f"points/{path.name}" for path in sorted(folder.glob("*.[pP][tT][sS]"))}


def read_points(path: Path) -> np.ndarray:
    """The points of a ``.pts`` file.

    Returns
    -------
    ndarray of shape (68, 2), float64
        x and y in pixels, from the picture's top left.

    Raises
    ------
    DatasetError
        Not a whole file of 68 points.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    text = [line.split() for line in lines if line.strip()]
    inside = [i for i, words in enumerate(text) if words in (["{"], ["}"])]
    rows = text[inside[0] + 1 : inside[1]] if len(inside) == 2 else []
    if len(rows) != POINTS or any(len(row) != 2 for row in rows):
        raise DatasetError(f"{path}: {len(rows)} points between braces, expected {POINTS} pairs of numbers")
    values = numbers(pd.Series([word for row in rows for word in row])).to_numpy().reshape(POINTS, 2)
    if np.isnan(values).any():
        raise DatasetError(f"{path}: a point is not a pair of numbers; copy the file again")
    return values

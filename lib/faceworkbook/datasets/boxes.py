"""Face boxes that a table gives: which ones can be a face of their picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces, images
from faceworkbook.datasets.base import DatasetError, Reasons, exclude, where

READERS = 8


def check_boxes(
    rows: pd.DataFrame, root: Path, left_out: Reasons, *, table: str, headers: bool = True, shares: str = ""
) -> pd.DataFrame:
    """Return the rows whose box can be a face of their picture; the others go to `left_out` with the likely cause.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns ``image``, top, left, bottom and right (pixels; all four NaN where a row has no box).
    table : str
        The file that the boxes are from, for errors.
    headers : bool
        Whether the pictures' headers are read, to leave out boxes that lie mostly outside.
    shares : str
        What to do if the boxes are shares of the picture.

    Raises
    ------
    DatasetError
        No box reaches beyond pixel 1: all look like shares of the picture.
    """
    boxes = rows[[*faces.BOX]].astype(float)
    boxed = boxes.notna().any(axis=1)
    usable = boxes[np.isfinite(boxes).all(axis=1)]
    if len(usable) and usable.le(1).all(axis=None):
        raise DatasetError(
            f"{table}: no box reaches beyond pixel 1, so they look like shares of the picture (0..1); "
            + (shares or "pixels are expected")
        )
    sizes = picture_sizes(root, rows["image"][boxed]) if headers else {}
    problems = [
        images.box_problem(box, *sizes.get(image, (np.inf, np.inf))) if has_box else ""
        for box, image, has_box in zip(boxes.to_numpy(), rows["image"], boxed, strict=True)
    ]
    rows = rows.assign(_problem=problems)
    bad = rows["_problem"] != ""
    rows = exclude(rows, bad, left_out, "bad box", lambda row: f"{where(row)}: the box {row['_problem']}")
    return rows.drop(columns="_problem")


def picture_sizes(root: Path, pictures: pd.Series) -> dict[str, tuple[int, int]]:
    """Return height and width in pixels of each picture, from its header; those that cannot be read are not in it."""
    names = pictures.dropna().unique()
    with ThreadPoolExecutor(READERS) as executor:
        sizes = executor.map(lambda name: _size(root / name), names)
        return {name: size for name, size in zip(names, sizes, strict=True) if size}


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return images.read_size(path)
    except images.UnreadableImage:
        return None

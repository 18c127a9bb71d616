"""Rows of anybody's file matched with faces, by face_id, by path or by a unique file name; never guessed."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

FACE, IMAGE = "face_id", "image"
IMAGE_NAMES = (
    *("image", "img_path", "image_path", "img", "path", "file", "filename", "file_name", "file_path"),
    *("filepath", "image_name", "photo", "picture", "name"),
)
NO_FACE = "no face of the data set bears that name"
SEVERAL = "the name fits several faces; give face_id, or paths below the root"


def match_rows(
    keys: pd.Series, faces: pd.DataFrame, root: str | Path, *, by: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the position in the face table of each row of a file, -1 where it has none, and why.

    Parameters
    ----------
    keys : pandas.Series
        Ids of faces; or paths, whole or below the data set's root, or names of files where they are unique. Upper
        and lower case count only where they are needed to distinguish two files.
    faces : pandas.DataFrame
        The face table.
    root : str or Path
        Folder of the pictures.
    by : {'face_id', 'image'}

    Returns
    -------
    rows : ndarray of shape (n,), int
    reasons : ndarray of shape (n,), str
        Empty where a face is there.
    """
    texts = keys.astype(str).str.strip()
    if by == FACE:
        rows = pd.Index(faces[FACE].astype(str)).get_indexer(texts)
        return rows, np.where(rows < 0, NO_FACE, "").astype(object)
    images = faces["image"].astype(str)
    place = Path(root).resolve().as_posix()
    rows = _find_rows(texts, images, place)
    left = rows == -1
    rows[left] = _find_rows(texts[left].str.casefold(), images.str.casefold(), place.casefold())
    reasons = np.select([rows == -1, rows == -2], [NO_FACE, SEVERAL], "").astype(object)
    return np.maximum(rows, -1), reasons


def _positions(names: pd.Series) -> dict[str, int]:
    """Return the row of each name; -2 where several rows bear it."""
    table = pd.Series(np.arange(len(names)), index=names.to_numpy(object))
    twice = names[names.duplicated(keep=False)].unique()
    return table[~table.index.duplicated()].to_dict() | dict.fromkeys(twice, -2)


def _find_rows(texts: pd.Series, images: pd.Series, root: str) -> np.ndarray:
    """Return the row of each path, whole or from any folder on; else that of a unique file name.

    -1 where there is none, -2 where there are several. A name in another folder of the data set is another file.
    """
    places = [PurePosixPath(image) for image in images]
    paths, names = _positions(images), _positions(pd.Series([place.name for place in places], dtype=object))
    folders = {place.parent.name for place in places} - {""}

    def find(text: str) -> int:
        path = PurePosixPath(text.replace("\\", "/"))
        below = [path.relative_to(root).as_posix()] if path.is_relative_to(root) else []
        ends = ("/".join(path.parts[start:]) for start in range(max(len(path.parts) - 1, 1)))
        row = next((paths[end] for end in (*below, *ends) if end in paths), -1)
        row = names.get(path.name, -1) if row == -1 else row
        folder = path.parent.name
        return -1 if row >= 0 and folder in folders - {places[row].parent.name} else row

    return np.array([find(text) for text in texts], dtype=np.int64)

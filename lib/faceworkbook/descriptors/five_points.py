"""Five facial points as a descriptor: where a face looks shows in where its eyes, nose and mouth stand.

An identity network is trained to forget the head's pose; the points keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import alignment, landmarks

NAMES = (
    *(f"{point.replace(' ', '_')}_{axis}" for point in alignment.POINTS for axis in ("x", "y")),
    "tilt",
    *("box_dx", "box_dy", "box_width", "box_height"),
)


MARGIN = 0.25  # share of the detected box that is added on each side


@dataclass(frozen=True, eq=False)
class FivePoints:
    """Descriptors of the faces whose points were detected.

    Attributes
    ----------
    matrix : ndarray of shape (n, 15), float32
        See `features`; the columns are `NAMES`.
    face_id : ndarray of shape (n,), object
    boxes : ndarray of shape (n, 4), float64
        top, left, bottom, right of a square around the detected face, wider by a quarter on each side, in
        pixels of the picture.
    left_out : pandas.DataFrame
        face_id, image, reason, detail of the others.
    """

    matrix: np.ndarray
    face_id: np.ndarray
    boxes: np.ndarray
    left_out: pd.DataFrame


def extract(
    faces: pd.DataFrame, *, root: str | Path, path: Path | None = None, progress: bool = True
) -> FivePoints:
    """Describe the five points of every face.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    root : path
        Folder of the pictures.
    path : Path, optional
        The table of landmarks that is kept; see ``landmarks.detect``.
    """
    marks = landmarks.detect(faces, root, path=path, progress=progress)
    points, boxes = marks.points(), marks.boxes()
    detected = np.isfinite(points[:, 0, 0])
    matrix = features(points[detected], boxes[detected])
    ids = marks.table["face_id"].to_numpy(object)[detected]
    return FivePoints(matrix, ids, _squares(boxes[detected]), marks.left_out(detected))


def _squares(boxes: np.ndarray) -> np.ndarray:
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2 * (1 + 2 * MARGIN)
    return np.concatenate([middle - half, middle + half], axis=1)


def features(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return points without place, size and tilt; the tilt and the box's proportions beside them.

    Parameters
    ----------
    points : ndarray of shape (n, 5, 2)
        x, y in pixels, in the order of `alignment.POINTS` (the eye at the image's left first).
    boxes : ndarray of shape (n, 4)
        top, left, bottom, right in pixels.

    Returns
    -------
    ndarray of shape (n, 15), float32
        The points, turned until the eyes are level, relative to their middle and in units of their spread;
        the tilt of the eye line in radians (> 0: the eye at the image's right is lower); middle of the
        points relative to the box's middle (x, y), the box's width and height, in the same units.
    """
    middle = points.mean(axis=1, keepdims=True)
    spread = np.sqrt(((points - middle) ** 2).sum(axis=(1, 2)))[:, None]
    eyes = points[:, 1] - points[:, 0]
    tilt = np.arctan2(eyes[:, 1], eyes[:, 0])
    cosine, sine = np.cos(tilt), np.sin(tilt)
    turn = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], axis=1)
    level = np.einsum("nij,nkj->nki", turn, points - middle).reshape(len(points), 10) / spread
    centre = np.stack([boxes[:, 1] + boxes[:, 3], boxes[:, 0] + boxes[:, 2]], axis=1) / 2
    sides = np.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1)
    columns = [level, tilt[:, None], (middle[:, 0] - centre) / spread, sides / spread]
    return np.concatenate(columns, axis=1).astype(np.float32)

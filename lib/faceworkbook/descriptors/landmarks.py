"""Five facial points as a descriptor: where a face looks shows in where its eyes, nose and mouth stand.

An identity network is trained to forget the head's pose; the points keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import alignment, images

NAMES = (
    *(f"{point.replace(' ', '_')}_{axis}" for point in alignment.POINTS for axis in ("x", "y")),
    "tilt",
    *("box_dx", "box_dy", "box_width", "box_height"),
)


# Shares of a box that are added on each side: of a given one before the search, of the detected one.
CUT, MARGIN = 0.5, 0.25


@dataclass(frozen=True, eq=False)
class Landmarks:
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
    faces: pd.DataFrame, *, root: str | Path, detector: alignment.Detector, progress: bool = True
) -> Landmarks:
    """Detect the main face of every picture and describe its points.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table; a box is cropped with a margin of half its size first.
    root : path
        Folder of the pictures.
    detector : alignment.Detector
    """
    rows, boxes, kept, left_out = [], [], [], []
    asked = faces[["face_id", "image", "top", "left", "bottom", "right"]]
    for face in tqdm(asked.itertuples(index=False), total=len(asked), unit="face", disable=not progress):
        try:
            detected, corner = _detect(face, Path(root), detector)
            rows.append(features(detected.points[None], np.array([detected.box]))[0])
            boxes.append(_square(detected.box) + np.tile(corner, 2))
            kept.append(face.face_id)
        except (images.UnreadableImage, _NoFace) as error:
            reason = "no face detected" if isinstance(error, _NoFace) else "unreadable"
            left_out.append((face.face_id, face.image, reason, str(error)))
    matrix = np.array(rows, dtype=np.float32).reshape(-1, len(NAMES))
    table = pd.DataFrame(left_out, columns=["face_id", "image", "reason", "detail"])
    squares = np.array(boxes, dtype=float).reshape(-1, 4)
    return Landmarks(matrix, np.array(kept, dtype=object), squares, table)


class _NoFace(ValueError):
    pass


def _detect(face, root: Path, detector: alignment.Detector) -> tuple[alignment.Face, np.ndarray]:
    """Return the main face, in pixels of what was cut out, and where the cut's corner (top, left) lies."""
    picture, corner = images.read(root / face.image), np.zeros(2)
    if pd.notna(face.top):
        box = (face.top, face.left, face.bottom, face.right)
        corner = np.array(images.widen(box, margin=CUT)[:2], dtype=float)
        picture = images.crop(picture, box, margin=CUT)
    detected = alignment.main_face(detector.detect(picture), picture.shape)
    if detected is None:
        raise _NoFace(f"{face.image}: no face was detected")
    return detected, corner


def _square(box: tuple[float, float, float, float]) -> np.ndarray:
    top, left, bottom, right = box
    half = max(bottom - top, right - left) / 2 * (1 + 2 * MARGIN)
    y, x = (top + bottom) / 2, (left + right) / 2
    return np.array([y - half, x - half, y + half, x + half])


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
    level = np.einsum("nij,nkj->nki", turn, points - middle).reshape(len(points), -1) / spread
    centre = np.stack([boxes[:, 1] + boxes[:, 3], boxes[:, 0] + boxes[:, 2]], axis=1) / 2
    sides = np.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1)
    columns = [level, tilt[:, None], (middle[:, 0] - centre) / spread, sides / spread]
    return np.concatenate(columns, axis=1).astype(np.float32)

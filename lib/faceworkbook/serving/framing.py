"""How the training pictures show a face, so that a photo's face is cut out the same.

A chip of UTKFace or FairFace holds a face with some margin; a network that learned from such chips must be
shown a photo's faces with the same margin. The framing is measured: where the detector's box lies in the
pictures that the network saw in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import images
from faceworkbook.alignment import Detector, Face, main_face, usable
from faceworkbook.images import Preprocessing
from faceworkbook.serving.checks import check_number

MEASURED = 400  # training pictures that the framing is measured on
LEVEL = 6.0  # degrees: half of the training faces tilt less than this, so that photos are turned level
TURN = 3.0  # degrees of tilt that are left as they are
_BOX = ("top", "left", "bottom", "right")
# |nose - middle of the eyes| / distance of the eyes, in the turned picture.
POSES = (("frontal", 0.2), ("half turned", 0.5), ("turned", np.inf))
SIZES = (("below 48 px", 48), ("48 to 96 px", 96), ("96 to 192 px", 192), ("192 px and more", np.inf))


@dataclass(frozen=True)
class Framing:
    """Where a detected face lies in a training picture.

    Attributes
    ----------
    share : float
        sqrt(area of the face's box / area of the picture), median; above 0.
    centre_y, centre_x : float
        Middle of the box, in heights and widths of the picture, median.
    aspect : float
        Width of the picture over its height, median.
    tilt : float
        Of the line through the eyes, degrees, median.
    level : bool
        Training faces have level eyes, so that a photo's face is turned until its eyes are level.
    share_low, share_high : float
        Quartiles of `share`.
    n, detected : int
        Training pictures that were looked at, and those with a detected face.
    """

    share: float
    centre_y: float = 0.5
    centre_x: float = 0.5
    aspect: float = 1.0
    tilt: float = 0.0
    level: bool = False
    share_low: float = 0.0
    share_high: float = 0.0
    n: int = 0
    detected: int = 0

    def to_record(self) -> dict:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping) -> Framing:
        """Read what `to_record` wrote; ValueError for values that frame no face."""
        made = cls(**record)
        for name, low, high in (
            *(("share", 0.02, 10), ("aspect", 0.1, 10), ("tilt", -90, 90)),
            *(("centre_y", -5, 5), ("centre_x", -5, 5)),
        ):
            check_number(getattr(made, name), f"framing.{name}", low=low, high=high)
        return made

    def region(self, face: Face) -> tuple[float, float, float, float]:
        """Return what is to be cut out around a detected face: top, left, bottom, right in pixels."""
        top, left, bottom, right = face.box
        side = np.sqrt(max(bottom - top, 1) * max(right - left, 1)) / self.share
        height, width = side / np.sqrt(self.aspect), side * np.sqrt(self.aspect)
        y = (top + bottom) / 2 - self.centre_y * height
        x = (left + right) / 2 - self.centre_x * width
        return y, x, y + height, x + width


def cut(
    image: np.ndarray,
    face: Face,
    framing: Framing,
    preprocessing: Preprocessing,
    *,
    points: np.ndarray | None,
) -> np.ndarray:
    """Return a photo's face as the training pictures show one: (height, width, 3) uint8 RGB of the network's size.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    face : Face
    framing : Framing
    preprocessing : Preprocessing
    points : ndarray of shape (5, 2), optional
        What a network that was trained on aligned faces aligns by; None: its face is cut out unaligned, as in training.
    """
    if preprocessing.align == "five_points" and usable(points):
        return images.cut_face(image, preprocessing, points=points)
    tilts = preprocessing.align == "none" and framing.level and abs(tilt_of(face)) > TURN
    align = "upright" if tilts or preprocessing.align == "upright" else "none"
    own = replace(preprocessing, crop_margin=0.0, align=align)
    return images.cut_face(image, own, box=framing.region(face), points=face.points if tilts else points)


def tilt_of(face: Face) -> float:
    """Return the tilt of the line through the eyes in degrees; above 0 where the eye at the picture's right is lower."""
    dx, dy = face.points[1] - face.points[0]
    return float(np.degrees(np.arctan2(dy, dx)))


def pose_band(points: np.ndarray) -> str:
    """Return how far a face of five points (5, 2) is turned to the side, one of `POSES`, by where its nose lies."""
    (dx, dy), middle = points[1] - points[0], points[:2].mean(axis=0)
    distance = max(np.hypot(dx, dy), 1e-6)
    off = (points[2] - middle) @ np.array([dx, dy]) / distance**2
    return next(name for name, limit in POSES if abs(off) < limit)


def size_band(face: Face) -> str:
    """Return how high a detected face is, one of `SIZES`."""
    return next(name for name, limit in SIZES if face.height < limit)


def measure(
    faces: pd.DataFrame,
    root: str | Path,
    preprocessing: Preprocessing,
    *,
    detector: Detector,
    marker: Detector | None = None,
) -> tuple[Framing, pd.DataFrame]:
    """Measure how pictures show a face.

    Parameters
    ----------
    faces : pandas.DataFrame
        Rows of a face table; a box is cropped with the network's margin, as in training.
    root : path
    preprocessing : Preprocessing
    detector : alignment.Detector
    marker : alignment.Detector, optional
        Refines the points from which poses are read; those of `detector` where None.

    Returns
    -------
    Framing, pandas.DataFrame
        And for each face face_id, pose, size (bands; NA where none was detected).
    """
    shown, records = [], []
    for row in faces[["face_id", "image", *_BOX]].itertuples(index=False):
        face, picture = _detect(row, Path(root), preprocessing, detector)
        if face is None:
            records.append((row.face_id, None, None))
            continue
        marked = face if marker is None else marker.refine(picture, face)
        records.append((row.face_id, pose_band(marked.points), size_band(face)))
        shown.append(_shares(face, picture.shape))
    table = pd.DataFrame(records, columns=["face_id", "pose", "size"])
    return _summarise(np.array(shown), len(faces)), table


def _detect(row, root: Path, preprocessing: Preprocessing, detector: Detector):
    try:
        picture = images.read(root / row.image)
        if pd.notna(row.top):
            box = (row.top, row.left, row.bottom, row.right)
            picture = images.crop(picture, box, margin=preprocessing.crop_margin)
    except images.UnreadableImage:
        return None, None
    return main_face(detector.detect(picture), picture.shape), picture


def _shares(face: Face, shape: tuple[int, ...]) -> tuple[float, ...]:
    top, left, bottom, right = face.box
    share = np.sqrt((bottom - top) * (right - left) / (shape[0] * shape[1]))
    return (
        share,
        (top + bottom) / 2 / shape[0],
        (left + right) / 2 / shape[1],
        shape[1] / shape[0],
        tilt_of(face),
    )


def _summarise(shown: np.ndarray, n: int) -> Framing:
    if not len(shown):  # nothing to go by: a face's box with a quarter of its size around it
        return Framing(1 / 1.5, n=n)
    share, y, x, aspect, tilt = (float(v) for v in np.median(shown, axis=0))
    low, high = np.quantile(shown[:, 0], [0.25, 0.75])
    level = bool(np.median(np.abs(shown[:, 4])) < LEVEL)
    ends = {"share_low": float(low), "share_high": float(high)}
    return Framing(share, y, x, aspect, tilt, level, **ends, n=n, detected=len(shown))

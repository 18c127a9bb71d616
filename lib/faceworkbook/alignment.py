"""Detect faces and their five points (YuNet), and cut them out aligned by a similarity transform."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from faceworkbook import project, yunet

WEIGHTS = "weights/yunet/face_detection_yunet_2023mar_int8bq.onnx"
POINTS = ("right eye", "left eye", "nose", "right mouth corner", "left mouth corner")

# The five points in an aligned chip of 112 x 112 pixels (x, y); the person's right eye is on the picture's left.
# Deng et al. 2019, ArcFace.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float64,
)
TEMPLATE_SIDE = 112
TEMPLATES = {"arcface": TEMPLATE}  # by the name that a network's side-car gives
MIN_EYES = 2.0  # pixels between the eyes; below, the direction of the eye line is that of rounding

# Pad (share of the longer side that is added around the picture) and side (pixels of the padded picture's longer
# side) of each look. The second sees tight chips, the third small faces in photos; both are rarely needed.
LOOKS = ((0.0, 288), (0.25, 320), (0.1, 640))
SURE = 0.6  # score of a face after which there is no further look
CLOSE, AROUND = (
    1 / 3,
    0.4,
)  # shares: of the picture, that a face seen well fills; of its box, looked at around it
MIN_SCORE = 0.3
NMS = 0.3
MAX_FACES = 200


class AlignmentError(ValueError):
    """There is no detector, or the points give no alignment; the text says what to do."""


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face.

    Attributes
    ----------
    box : (top, left, bottom, right) in pixels of the picture; may reach beyond its border
    points : ndarray of shape (5, 2), float64
        x, y in pixels, in the order of `POINTS`.
    score : float, range 0..1
    """

    box: tuple[float, float, float, float]
    points: np.ndarray
    score: float

    @property
    def height(self) -> float:
        """Height of the box, pixels."""
        return self.box[2] - self.box[0]


class Detector:
    """YuNet (Wu et al. 2023). May be used by several threads at once.

    Parameters
    ----------
    weights : str or Path, optional
        The ONNX file; the one in the project's ``weights`` folder by default.
    min_score : float in 0..1
        Faces below it are not reported.
    looks : sequence of (pad, side)
        Tried in turn until a face scores `SURE`: the share of the picture's longer side that is added around it, and
        the pixels that the padded picture's longer side is brought to. To see every face in photos of groups, give one
        large look, such as ``((0.1, 640),)``.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        min_score: float = MIN_SCORE,
        looks: Sequence[tuple[float, int]] = LOOKS,
    ):
        self.weights = project.resolve(WEIGHTS) if weights is None else Path(weights)
        if not self.weights.is_file():
            raise AlignmentError(
                f"no detector at {self.weights}; put YuNet's ONNX file there or give its path"
            )
        if not 0 <= min_score <= 1:
            raise AlignmentError(f"min_score={min_score}; allowed is 0..1")
        if not looks or any(pad < 0 or side < 32 for pad, side in looks):
            raise AlignmentError(
                f"looks={looks}; expected pairs of a pad (0 or more) and a side (32 or more pixels)"
            )
        self.min_score, self.looks = min_score, tuple((float(pad), int(side)) for pad, side in looks)

    @functools.cached_property
    def settings(self) -> dict:
        """What the detections depend on, with the SHA-256 of the weights, in plain types."""
        return {
            "detector": self.weights.name,
            "sha256": _sha256(self.weights),
            "least_score": self.min_score,
            "looks": [list(look) for look in self.looks],
        }

    @functools.cached_property
    def network(self) -> yunet.YuNet:
        """The network, read at first use."""
        try:
            return yunet.YuNet(self.weights, min_score=self.min_score, nms=NMS, max_faces=MAX_FACES)
        except ValueError as error:
            raise AlignmentError(str(error)) from error

    def detect(self, image: np.ndarray) -> list[Face]:
        """Detect faces.

        Parameters
        ----------
        image : ndarray of shape (height, width, 3), uint8, RGB

        Returns
        -------
        list of Face
            Most certain first; empty where there is none.
        """
        best: list[Face] = []
        for pad, side in self.looks:
            faces = self._look(image, pad, side)
            if faces and (not best or faces[0].score > best[0].score):
                best = faces
            if best and best[0].score >= SURE:
                break
        return best

    def refine(self, image: np.ndarray, face: Face) -> Face:
        """Return the same face with the points of a look at it alone, which are better where it is small.

        Parameters
        ----------
        image : ndarray of shape (height, width, 3), uint8, RGB
        face : Face
            One of `detect`. One that fills a third of the picture, or that the second look misses, is returned as it
            is.
        """
        if face.height >= CLOSE * max(image.shape[:2]):
            return face
        top, left, bottom, right = face.box
        dy, dx = AROUND * (bottom - top), AROUND * (right - left)
        y, x = max(int(top - dy), 0), max(int(left - dx), 0)
        piece = image[y : int(bottom + dy) + 1, x : int(right + dx) + 1]
        if not piece.size:
            return face
        near = face_in_box(self.detect(piece), (top - y, left - x, bottom - y, right - x))
        return face if near is None else replace(face, points=near.points + np.array([x, y]))

    def _look(self, image: np.ndarray, pad: float, side: int) -> list[Face]:
        border = round(max(image.shape[:2]) * pad)
        factor = side / (max(image.shape[:2]) + 2 * border)
        padded = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_CONSTANT) if border else image
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        scaled = cv2.resize(padded, None, fx=factor, fy=factor, interpolation=method)
        faces = [
            _face(row, factor, border) for row in self.network.detect(cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR))
        ]
        return sorted(faces, key=lambda face: -face.score)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _face(row: np.ndarray, factor: float, border: int) -> Face:
    left, top, width, height = (float(v) / factor for v in row[:4])
    points = row[4:14].reshape(5, 2).astype(float) / factor - border
    box = (top - border, left - border, top + height - border, left + width - border)
    return Face(box, points, float(row[14]))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the rotation, scale and shift that bring `source` nearest to `target` (Umeyama 1991).

    Parameters
    ----------
    source, target : ndarray of shape (n, 2), x and y in pixels

    Returns
    -------
    ndarray of shape (2, 3), float64
        ``target ~ source @ m[:, :2].T + m[:, 2]``; never a mirror image.

    Raises
    ------
    AlignmentError
        The points coincide or are not finite.
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    spread = (a**2).sum()
    if not np.isfinite([*source.ravel(), *target.ravel()]).all() or spread < 1e-9:
        raise AlignmentError(f"points {source.tolist()} give no alignment: they must be finite and differ")
    # In the plane the best rotation and scale are one complex number: sum(b conj(a)) / sum(|a|^2).
    real = (a * b).sum() / spread
    imaginary = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    turn = np.array([[real, -imaginary], [imaginary, real]])
    return np.column_stack([turn, target.mean(axis=0) - turn @ source.mean(axis=0)])


def usable(points) -> bool:
    """Return whether five points (x, y in pixels, in the order of `POINTS`) give an alignment."""
    if points is None:
        return False
    points = np.asarray(points, float)
    if points.shape != (len(POINTS), 2) or not np.isfinite(points).all():
        return False
    return bool(np.hypot(*(points[1] - points[0])) >= MIN_EYES)


def align(
    image: np.ndarray,
    points: np.ndarray,
    *,
    size: tuple[int, int] = (112, 112),
    margin: float = 0.0,
    template: np.ndarray = TEMPLATE,
) -> np.ndarray:
    """Cut out a face with its eyes level and its five points at fixed places.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    points : ndarray of shape (5, 2)
        x, y in pixels, in the order of `POINTS`.
    size : (height, width) in pixels
    margin : float
        Share of the chip that is added on each side: 0 is ArcFace's tight chip.
    template : ndarray of shape (5, 2)
        Where the points lie in a chip of 112 x 112 pixels.

    Returns
    -------
    ndarray of shape (*size, 3), uint8, RGB
        What lies outside the picture repeats its border.
    """
    height, width = size
    scale = min(height, width) / (TEMPLATE_SIDE * (1 + 2 * margin))
    centred = (template - TEMPLATE_SIDE / 2) * scale + np.array([width, height]) / 2
    return warp(image, similarity(points, centred), size)


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return what a similarity transform brings into a chip.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    matrix : ndarray of shape (2, 3)
        From the picture to the chip, pixels.
    size : (height, width) in pixels

    Returns
    -------
    ndarray of shape (*size, 3), uint8, RGB
        What lies outside the picture repeats its border.
    """
    height, width = size
    shrink = np.hypot(*matrix[:, 0])
    source, corner = _surroundings(image, matrix, size)
    shift = matrix[:, 2] + matrix[:, :2] @ corner
    return cv2.warpAffine(
        _blurred(source, shrink),
        np.column_stack([matrix[:, :2], shift]),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def chip_side(points: np.ndarray, margin: float = 0.0) -> float:
    """Return the side in the picture, in pixels, of the chip that `align` cuts out."""
    shrink = np.hypot(*similarity(points, TEMPLATE)[:, 0])
    return TEMPLATE_SIDE * (1 + 2 * margin) / shrink


def turn_upright(image: np.ndarray, points: np.ndarray, frame: tuple[int, int, int, int]) -> np.ndarray:
    """Turn a picture about the middle of the points until the eye line is level, and cut out `frame`.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    points : ndarray of shape (5, 2)
        x, y in pixels, in the order of `POINTS`.
    frame : (top, left, bottom, right) in whole pixels; may reach beyond the picture

    Returns
    -------
    ndarray of shape (bottom - top, right - left, 3), uint8, RGB
        What lies outside the picture repeats its border.
    """
    points = np.asarray(points, float)
    along = points[1] - points[0]
    cosine, sine = along / np.hypot(*along)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    pivot = points.mean(axis=0)
    top, left, bottom, right = frame
    matrix = np.column_stack([turn, pivot - turn @ pivot - [left, top]])
    return cv2.warpAffine(
        image, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _surroundings(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the piece of a large picture that a chip is warped from, and its corner (x, y)."""
    height, width = size
    chip = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    there = np.linalg.solve(matrix[:, :2], (chip - matrix[:, 2]).T).T
    around = 2 / np.hypot(*matrix[:, 0]) + 2  # five times the deviation of `_blurred`
    limit = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(there.min(axis=0) - around), 0, limit - 1).astype(int)
    last = np.clip(np.ceil(there.max(axis=0) + around), first + 1, limit).astype(int)
    return image[first[1] : last[1], first[0] : last[0]], first


def _blurred(image: np.ndarray, shrink: float) -> np.ndarray:
    # A warp reads single pixels: without this, shrinking by 2 or more aliases.
    return cv2.GaussianBlur(image, (0, 0), 0.4 / shrink) if shrink < 0.5 else image


def main_face(faces: list[Face], shape: tuple[int, ...]) -> Face | None:
    """Return the face that a picture is about: large, central and certain; None where there is none.

    Parameters
    ----------
    faces : list of Face
    shape : (height, width, ...) of the picture
    """
    centre = np.array([shape[1], shape[0]]) / 2

    def weight(face: Face) -> float:
        off = np.linalg.norm(face.points.mean(axis=0) - centre) / max(shape[:2])
        return face.score * face.height * (1 - min(off, 0.9))

    return max(faces, key=weight, default=None)


def face_in_box(faces: list[Face], box: tuple[float, float, float, float]) -> Face | None:
    """Return the face that a given box is about, whose middle lies in it; None where there is none.

    Parameters
    ----------
    faces : list of Face
    box : (top, left, bottom, right) in pixels
    """

    def is_inside(face: Face) -> bool:
        top, left, bottom, right = face.box
        return box[0] <= (top + bottom) / 2 <= box[2] and box[1] <= (left + right) / 2 <= box[3]

    inside = filter(is_inside, faces)
    return max(inside, key=lambda face: face.score * _overlap(face.box, box), default=None)


def _overlap(a, b) -> float:
    """Return the intersection of two boxes over their union."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    both = max(height, 0.0) * max(width, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

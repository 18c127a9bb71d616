"""Detect faces and their five points (YuNet), and cut them out aligned by a similarity transform."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faceworkbook import project

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

# The network needs some room around a face, so that a tight chip is padded and all pictures are resized to one
# size. With both, none of 580 faces of seven data sets was missed.
PAD = 0.25
SIDE = 320
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
    """YuNet by OpenCV (Wu et al. 2023). May be used by several threads at once.

    Parameters
    ----------
    weights : str or Path, optional
        The ONNX file; the one in the project's ``weights`` folder by default.
    min_score : float in 0..1
        Faces below it are not reported.
    pad : float
        Share of the picture's longer side that is added around it.
    side : int
        Length in pixels that the longer side of the padded picture is brought to. Small faces in
        photos of groups need more.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        min_score: float = MIN_SCORE,
        pad: float = PAD,
        side: int = SIDE,
    ):
        self.weights = project.resolve(WEIGHTS) if weights is None else Path(weights)
        if not self.weights.is_file():
            raise AlignmentError(
                f"no detector at {self.weights}; put YuNet's ONNX file there or give its path"
            )
        if not 0 <= min_score <= 1 or pad < 0 or side < 32:
            raise AlignmentError(
                f"min_score={min_score}, pad={pad}, side={side}; allowed are 0..1, 0 or more, 32 or more pixels"
            )
        self.min_score, self.pad, self.side = min_score, pad, side
        self._own = threading.local()

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
        border = round(max(image.shape[:2]) * self.pad)
        factor = self.side / (max(image.shape[:2]) + 2 * border)
        padded = cv2.copyMakeBorder(image[..., ::-1], *[border] * 4, cv2.BORDER_CONSTANT)
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        scaled = cv2.resize(padded, None, fx=factor, fy=factor, interpolation=method)
        rows = self._run(scaled)
        faces = [_face(row, factor, border) for row in rows]
        return sorted(faces, key=lambda face: -face.score)

    def _run(self, bgr: np.ndarray) -> np.ndarray:
        network = self._network()
        network.setInputSize((bgr.shape[1], bgr.shape[0]))
        rows = network.detect(bgr)[1]
        return np.empty((0, 15)) if rows is None else rows

    def _network(self):
        # OpenCV's detector holds state: one a thread.
        if not hasattr(self._own, "network"):
            try:
                self._own.network = cv2.FaceDetectorYN.create(
                    str(self.weights), "", (self.side, self.side), self.min_score, NMS, MAX_FACES
                )
            except cv2.error as error:
                raise AlignmentError(f"{self.weights} is no YuNet model that OpenCV reads") from error
        return self._own.network


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
    matrix = similarity(points, centred)
    shrink = np.hypot(*matrix[:, 0])
    source, corner = _surroundings(image, matrix, size)
    matrix[:, 2] += matrix[:, :2] @ corner
    return cv2.warpAffine(
        _blurred(source, shrink),
        matrix,
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

"""A detector whose points come from the face mesh: YuNet sees where a face is, the mesh where its points are.

The mesh is read twice: in a square around the face's box, then in one that is centred on what the first look saw and
turned until the eyes are level, as it is and mirrored.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceworkbook import alignment, facemesh, project
from faceworkbook.alignment import Detector, Face

FOLDER = "weights/facemesh"
AROUND = 0.25  # share of the longer side of the face that the crop holds more on each side
IS_FACE = 0.5  # of what the network says, 0..1; below, YuNet's points stay
PASSES = 2
YUNET, MESH = "yunet", "mesh"
SOURCES = (MESH, YUNET)  # where the points of an alignment come from
_MOST = 65_535


@dataclass(frozen=True, eq=False)
class MeshFace(Face):
    """A detected face with its mesh.

    Attributes
    ----------
    mesh : ndarray of shape (468, 3), float64
        x, y in pixels of the picture, and depth in the same unit.
    """

    mesh: np.ndarray


class MeshDetector(Detector):
    """YuNet's faces with the points of the face mesh. May be used by several threads at once.

    Takes what `faceworkbook.alignment.Detector` does.
    """

    @functools.cached_property
    def settings(self) -> dict:
        """What faces and points depend on, with the SHA-256 of the weights, in plain types."""
        mesh = {"points": MESH, "sha256": _network().sha256, "around": AROUND, "passes": PASSES}
        return {**super().settings, "mesh": mesh}

    def refine(self, image: np.ndarray, face: Face) -> Face:
        """Return the same face with the points of its mesh.

        Parameters
        ----------
        image : ndarray of shape (height, width, 3), uint8, RGB
        face : Face
            One of `detect`. One in which the network sees no face keeps YuNet's points, and has no mesh.
        """
        mesh = read_mesh(image, face)
        if mesh is None:
            return super().refine(image, face)
        return MeshFace(face.box, _network().five_points(mesh), face.score, mesh)


def make_detector(points: str, **options) -> Detector:
    """Return a detector by where its points come from, one of `SOURCES`.

    Parameters
    ----------
    points : {'mesh', 'yunet'}
    **options
        Of `faceworkbook.alignment.Detector`.
    """
    if points not in SOURCES:
        raise ValueError(f"landmarks={points!r}; allowed are {list(SOURCES)}")
    return (MeshDetector if points == MESH else Detector)(**options)


def read_mesh(image: np.ndarray, face: Face) -> np.ndarray | None:
    """Return the mesh of a detected face, ndarray of shape (468, 3); None where the network sees no face.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    face : Face
    """
    network = _network()
    top, left, bottom, right = face.box
    middle = np.array([left + right, top + bottom]) / 2
    crop, matrix = _crop(image, middle, max(bottom - top, right - left), turn=0.0)
    meshes, is_face = network.read(crop[None])
    if is_face[0] < IS_FACE:
        return None
    first = _in_picture(meshes[0], matrix)
    eyes = network.five_points(first)
    turn = float(np.arctan2(*(eyes[1] - eyes[0])[::-1]))
    rotation = _rotation(turn)
    level = first[:, :2] @ rotation.T
    low, high = level.min(axis=0), level.max(axis=0)
    crop, matrix = _crop(image, (low + high) / 2 @ rotation, float((high - low).max()), turn=turn)
    mesh, is_face = network.read_both_sides(crop)
    return _in_picture(mesh, matrix) if is_face >= IS_FACE else None


def pack(mesh: np.ndarray) -> bytes:
    """Return a mesh (468, 3) in 2,840 bytes: its corner and a unit, and whole numbers of that unit, 1/65,535 of its extent."""
    low = mesh.min(axis=0)
    unit = max(float((mesh - low).max()) / _MOST, 1e-9)
    steps = np.round((mesh - low) / unit).astype("<u2")
    return np.array([*low, unit], "<f8").tobytes() + steps.tobytes()


def unpack(packed: Sequence[bytes]) -> np.ndarray:
    """Return what `pack` made of n meshes, ndarray of shape (n, 468, 3), float64; NaN where there are no bytes."""
    meshes = np.full((len(packed), facemesh.N_POINTS, 3), np.nan)
    for row, one in enumerate(packed):
        if one:
            *low, unit = np.frombuffer(one, "<f8", 4)
            meshes[row] = np.frombuffer(one, "<u2", offset=32).reshape(-1, 3) * unit + low
    return meshes


@functools.cache
def _network() -> facemesh.FaceMesh:
    try:
        return facemesh.FaceMesh(project.resolve(FOLDER))
    except ValueError as error:
        raise alignment.AlignmentError(str(error)) from error


def _rotation(turn: float) -> np.ndarray:
    cosine, sine = np.cos(turn), np.sin(turn)
    return np.array([[cosine, sine], [-sine, cosine]])


def _crop(
    image: np.ndarray, middle: np.ndarray, side: float, *, turn: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the network's input around a face of a given side, and the transform (2, 3) from picture to crop."""
    scale = facemesh.SIDE / (max(side, 1.0) * (1 + 2 * AROUND))
    linear = scale * _rotation(turn)
    matrix = np.column_stack([linear, facemesh.SIDE / 2 - linear @ middle])
    return alignment.warp(image, matrix, (facemesh.SIDE, facemesh.SIDE)), matrix


def _in_picture(mesh: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    scale = np.hypot(*matrix[:, 0])
    places = np.linalg.solve(matrix[:, :2], (mesh[:, :2] - matrix[:, 2]).T).T
    return np.column_stack([places, mesh[:, 2] / scale])

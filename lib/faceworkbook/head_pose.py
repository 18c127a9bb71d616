"""Head pose from the face mesh: angles of a rigid fit, what is left of the shape, and a reader of yaw, pitch and roll.

The mean shape, the axes and the reader were fitted on training rows of the embedded synthetic faces
(``tools/fit_head_pose.py``). No row of another data set has a share in them, so that descriptors may be made before
rows are split.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import alignment, facemesh, landmarks, mesh_detector, project
from faceworkbook import faces as face_table

FILE = "pose.npz"
ANGLES = tuple(f"fitted_{name}" for name in face_table.POSE)


@dataclass(frozen=True, eq=False)
class HeadPose:
    """What a mesh is described by.

    Attributes
    ----------
    shape : ndarray of shape (468, 3)
        The mean shape, upright and facing the camera; root mean square radius 1.
    means : ndarray of shape (2, 1404)
        Of the shape without its rotation, relative to `shape`, and of the shape without its roll alone.
    axes : ndarray of shape (2, k, 1404)
        Principal axes of both.
    coefficients, intercept : ndarray of shape (3, 3 + 2k) and (3,)
        Yaw, pitch and roll in degrees out of the features.
    """

    shape: np.ndarray
    means: np.ndarray
    axes: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        each = range(1, self.axes.shape[1] + 1)
        return (*ANGLES, *(f"still_{i}" for i in each), *(f"level_{i}" for i in each))

    def features(self, meshes: np.ndarray) -> np.ndarray:
        """Describe meshes without place and size.

        Parameters
        ----------
        meshes : ndarray of shape (n, 468, 3)
            See `mesh_detector.read_mesh`.

        Returns
        -------
        ndarray of shape (n, 3 + 2k), float32
            Yaw, pitch and roll of the rigid fit to the mean shape, degrees; components of the shape without its
            rotation; components of the shape turned until its eyes are level.
        """
        angles, still, level = fit_rigidly(meshes, self.shape)
        flat = np.stack([still - self.shape, level]).reshape(2, len(meshes), self.shape.size)
        components = np.einsum("snd,skd->nsk", flat - self.means[:, None], self.axes)
        return np.concatenate([angles, components[:, 0], components[:, 1]], axis=1).astype(np.float32)

    def read(self, meshes: np.ndarray) -> np.ndarray:
        """Return yaw, pitch and roll of meshes (n, 468, 3) in degrees, (n, 3)."""
        return self.features(meshes) @ self.coefficients.T + self.intercept


@functools.cache
def load() -> HeadPose:
    """Return the reader that comes with the weights."""
    path = project.resolve(mesh_detector.FOLDER) / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            made = HeadPose(**{name: file[name].astype(float) for name in HeadPose.__dataclass_fields__})
        made.read(np.zeros((0, facemesh.N_POINTS, 3)))  # whether the arrays fit each other
    except Exception as error:  # what a damaged archive raises depends on where it is hit
        raise alignment.AlignmentError(
            f"no head-pose reader in {path} ({type(error).__name__}: {error}); get the file again"
        ) from error
    return made


def fit_rigidly(meshes: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn, scale and shift meshes until they lie nearest to a shape (Kabsch 1976, Umeyama 1991).

    Parameters
    ----------
    meshes : ndarray of shape (n, k, 3)
        x to the right, y down, z away from the camera.
    shape : ndarray of shape (k, 3)
        Facing the camera.

    Returns
    -------
    ndarray of shape (n, 3)
        Yaw, pitch and roll of each mesh in degrees, in the convention of `faceworkbook.faces`.
    ndarray of shape (n, k, 3)
        The meshes, brought to the shape.
    ndarray of shape (n, k, 3)
        The same without turning them, but for their roll.
    """
    centred, target = meshes - meshes.mean(axis=1, keepdims=True), shape - shape.mean(axis=0)
    u, s, vt = np.linalg.svd(np.einsum("nki,kj->nij", centred, target))
    signs = np.ones_like(s)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))  # never a mirror image
    turn = np.einsum("nij,nj,njk->nik", u, signs, vt)  # of the head, from facing the camera: columns
    scale = (s * signs).sum(axis=1) / (centred**2).sum(axis=(1, 2))
    scaled = scale[:, None, None] * centred
    roll = np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    yaw = np.arcsin(np.clip(turn[:, 2, 0], -1, 1))
    pitch = np.arctan2(-turn[:, 2, 1], turn[:, 2, 2])
    cosine, sine, level = np.cos(roll)[:, None], np.sin(roll)[:, None], scaled.copy()
    level[..., 0] = cosine * scaled[..., 0] + sine * scaled[..., 1]
    level[..., 1] = cosine * scaled[..., 1] - sine * scaled[..., 0]
    return np.degrees(np.stack([yaw, pitch, roll], axis=1)), scaled @ turn + shape.mean(axis=0), level


def read_meshes(
    faces: pd.DataFrame, root: str | Path, *, path: Path | None, progress: bool
) -> tuple[landmarks.Landmarks, np.ndarray, np.ndarray]:
    """Return what is seen of n faces, the k meshes that were read, (k, 468, 3), and of which faces, bool (n,).

    See `faceworkbook.landmarks.detect` for the parameters.
    """
    detector = mesh_detector.MeshDetector()
    marks = landmarks.detect(faces, root, path=path, detector=detector, progress=progress)
    meshes = marks.meshes()
    read = np.isfinite(meshes[:, 0, 0])
    return marks, meshes[read], read


def predict(
    faces: pd.DataFrame, root: str | Path, *, path: Path | None = None, progress: bool = True
) -> pd.DataFrame:
    """Predict yaw, pitch and roll of every face of a table.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    root : path
        Folder of the pictures.
    path : Path, optional
        The table of landmarks that is kept; see `faceworkbook.landmarks.detect`.

    Returns
    -------
    pandas.DataFrame
        `faceworkbook.faces.PREDICTED_POSE` in degrees, in the order and with the index of `faces`; NaN where no face
        is detected.
    """
    _, meshes, read = read_meshes(faces, root, path=path, progress=progress)
    angles = np.full((len(faces), 3), np.nan)
    angles[read] = load().read(meshes)
    return pd.DataFrame(angles, columns=list(face_table.PREDICTED_POSE), index=faces.index)


def add_columns(faces: pd.DataFrame, root: str | Path, **options) -> pd.DataFrame:
    """Return the face table with predicted angles as columns, rounded to a tenth of a degree; see `predict`."""
    angles = predict(faces, root, **options).round(1)
    return faces.assign(**{name: angles[name].astype("Float64") for name in angles})


def describe(faces: pd.DataFrame) -> pd.DataFrame:
    """Return how predicted angles are spread: angle, faces, not_read, low and high (5 and 95 %), median.

    ``label_mae`` is the mean absolute difference to the set's own label in degrees, NaN where it has none.
    """
    rows = []
    for name, label in zip(face_table.PREDICTED_POSE, face_table.POSE, strict=True):
        angles = faces[name].astype("Float64").to_numpy(float, na_value=np.nan)
        truth = faces[label].astype("Float64").to_numpy(float, na_value=np.nan)
        read, both = np.isfinite(angles), np.isfinite(angles) & np.isfinite(truth)
        low, median, high = np.quantile(angles[read], [0.05, 0.5, 0.95]) if read.any() else [np.nan] * 3
        off = float(np.abs(angles - truth)[both].mean()) if both.any() else np.nan
        counts = {"angle": name, "faces": int(read.sum()), "not_read": int((~read).sum())}
        rows.append(counts | {"low": low, "median": median, "high": high, "label_mae": off})
    return pd.DataFrame(rows)

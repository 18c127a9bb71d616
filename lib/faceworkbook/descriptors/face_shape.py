"""The face mesh as a descriptor: head pose and shape of a face out of 468 points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import head_pose


@dataclass(frozen=True, eq=False)
class FaceShapes:
    """Descriptors of the faces whose mesh was read.

    Attributes
    ----------
    matrix : ndarray of shape (n, 83), float32
        See `faceworkbook.head_pose.HeadPose.features`. Nothing in it is fitted on these faces.
    face_id : ndarray of shape (n,), object
    left_out : pandas.DataFrame
        face_id, image, reason, detail of the others.
    """

    matrix: np.ndarray
    face_id: np.ndarray
    left_out: pd.DataFrame


def extract(
    faces: pd.DataFrame, *, root: str | Path, path: Path | None = None, progress: bool = True
) -> FaceShapes:
    """Describe the mesh of every face.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    root : path
        Folder of the pictures.
    path : Path, optional
        The table of landmarks that is kept; see ``landmarks.detect``.
    """
    marks, meshes, read = head_pose.read_meshes(faces, root, path=path, progress=progress)
    ids = marks.table["face_id"].to_numpy(object)[read]
    return FaceShapes(head_pose.load().features(meshes), ids, marks.left_out(read))

"""The face mesh as a descriptor: head pose and shape of a face out of 468 points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import head_pose, landmarks, mesh_detector


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
    detector = mesh_detector.MeshDetector()
    marks = landmarks.detect(faces, root, path=path, detector=detector, progress=progress)
    meshes = marks.meshes()
    read = np.isfinite(meshes[:, 0, 0])
    table = marks.table
    left_out = table.loc[~read, ["face_id", "image"]].assign(
        reason=np.where(table.loc[~read, "problem"] != "", "unreadable", "no face detected"),
        detail=table.loc[~read, "problem"],
    )
    ids = table["face_id"].to_numpy(object)[read]
    return FaceShapes(head_pose.load().features(meshes[read]), ids, left_out.reset_index(drop=True))

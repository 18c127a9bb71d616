"""Helpers of the readers' tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def lay(tmp_path):
    """``lay({"a/b.csv": "text", "c.jpg": b"..."})``: those files under a fresh folder, which is returned."""
    made = []

    def write(files) -> Path:
        root = tmp_path / f"set{len(made)}"
        made.append(root)
        root.mkdir()
        for name in files:
            content = files[name] if isinstance(files, dict) else b""
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return write


@pytest.fixture
def see_pose():
    """``see_pose(root, faces)``: (nose's offset along the eye axis, tilt of the eye line) a face, as a detector sees it.

    Positive are a nose right of the eyes' middle and a lower eye at the image's right; NaN where no face is detected.
    """
    weights = Path(__file__).parents[2] / "weights/yunet/face_detection_yunet_2023mar_int8bq.onnx"
    detector = cv2.FaceDetectorYN.create(str(weights), "", (192, 192), 0.6)

    def see_one(path: Path) -> tuple[float, float]:
        _, detections = detector.detect(cv2.resize(cv2.imread(str(path)), (192, 192)))
        if detections is None:
            return np.nan, np.nan
        points = detections[0][4:10].reshape(3, 2)
        left, right = sorted(points[:2], key=lambda point: point[0])
        axis = right - left
        return (points[2] - (left + right) / 2) @ axis / (axis @ axis), np.arctan2(axis[1], axis[0])

    return lambda root, faces: np.array([see_one(root / image) for image in faces["image"]]).T

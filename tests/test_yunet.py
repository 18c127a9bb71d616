"""YuNet in ONNX Runtime sees what OpenCV's own detector sees."""

import cv2
import numpy as np
import pytest

from faceworkbook import alignment, images, project, yunet

OPTIONS = {"min_score": 0.3, "nms": 0.3, "max_faces": 200}


@pytest.fixture(scope="module")
def both():
    path = project.resolve(alignment.WEIGHTS)
    theirs = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.3, 0.3, 5000)

    def detect(bgr):
        theirs.setInputSize(bgr.shape[1::-1])
        rows = theirs.detect(bgr)[1]
        return yunet.YuNet(path, **OPTIONS).detect(bgr), np.empty((0, 15)) if rows is None else rows

    return detect


@pytest.mark.parametrize("size", [(320, 320), (231, 307), (480, 200)])
def test_boxes_points_and_scores_are_those_of_opencv(both, size):
    faces = [images.read(p) for p in sorted(project.resolve("data/synthetic/images").rglob("*.jpg"))[:12:4]]
    row = np.concatenate([cv2.resize(face, (128, 128)) for face in faces], axis=1)
    counts = []
    for picture in (*faces, row):
        own, theirs = both(cv2.resize(picture, size)[..., ::-1].copy())
        np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-3)
        counts.append(len(own))
    assert max(counts) > 0


def test_noise_has_no_face(both):
    own, theirs = both(np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8))
    assert own.shape == (0, 15) and not len(theirs)


def test_another_network_is_refused(tmp_path):
    (tmp_path / "odd.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"odd\.onnx is no YuNet"):
        yunet.YuNet(tmp_path / "odd.onnx", **OPTIONS)

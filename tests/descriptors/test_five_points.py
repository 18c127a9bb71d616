"""Five points as a descriptor: place and size do not matter, tilt stands alone, pose shows."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook import datasets
from faceworkbook.descriptors import five_points

POINTS = np.array([[30.0, 40], [70, 40], [52, 62], [36, 80], [66, 81]])
BOX = np.array([10.0, 15, 105, 85])


def described(points, box=BOX):
    return dict(zip(five_points.NAMES, five_points.features(points[None], box[None])[0], strict=True))


def test_place_and_size_do_not_matter():
    moved = five_points.features(POINTS[None] * 3 + [50, -20], (BOX * 3 + [-20, 50, -20, 50])[None])
    np.testing.assert_allclose(moved, five_points.features(POINTS[None], BOX[None]), rtol=1e-5)


def test_turning_the_picture_changes_the_tilt_alone():
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    before, after = described(POINTS), described(POINTS @ turn.T)
    assert before["tilt"] == 0 and after["tilt"] == pytest.approx(angle, rel=1e-5)
    for name in five_points.NAMES[:10]:
        assert after[name] == pytest.approx(before[name], abs=1e-5)


def test_the_eyes_are_level_and_the_points_have_unit_spread():
    level = five_points.features(
        (POINTS + np.random.default_rng(0).normal(0, 5, (7, 5, 2))), np.tile(BOX, (7, 1))
    )
    xy = level[:, :10].reshape(7, 5, 2)
    np.testing.assert_allclose(xy[:, 0, 1], xy[:, 1, 1], atol=1e-5)
    np.testing.assert_allclose((xy**2).sum(axis=(1, 2)), 1.0, rtol=1e-5)


def test_a_nose_to_the_right_reads_as_a_nose_to_the_right():
    turned = POINTS.copy()
    turned[2, 0] += 10
    assert described(turned)["nose_x"] > described(POINTS)["nose_x"]


@pytest.mark.realdata
def test_points_show_yaw_where_a_face_is_detected_and_list_the_others(shared_data, tmp_path):
    dataset = datasets.load("genki4k", shared_data("genki4k"))
    chosen = dataset.faces.iloc[::20].reset_index(drop=True)
    blank = chosen.iloc[:1].assign(face_id="gone", image="files/none.jpg")
    asked = pd.concat([chosen, blank], ignore_index=True)
    points = five_points.extract(asked, root=dataset.root, progress=False)
    assert points.left_out[["face_id", "reason"]].to_numpy().tolist() == [["gone", "unreadable"]]
    yaw = chosen.set_index("face_id").loc[points.face_id, "yaw"].to_numpy(float)
    nose = points.matrix[:, five_points.NAMES.index("nose_x")]
    assert np.corrcoef(nose, yaw)[0, 1] > 0.7

"""What faces of several data sets are described with."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("keras")

from faceworkbook import faces, images, project  # noqa: E402
from faceworkbook.descriptors import five_points  # noqa: E402
from faceworkbook.experiments import describing  # noqa: E402
from faceworkbook.landmarks import AlignOptions  # noqa: E402
from tests.training import toy_network  # noqa: E402


def test_faces_described_by_both_hold_points_and_both_sides_of_the_detected_face(tmp_path):
    """The mirror image of a picture has the same even columns, and odd ones of the other sign."""
    root = project.resolve("data/synthetic")
    names = pd.read_csv(root / "labels.csv")["image"].iloc[:3].tolist()
    for name in names:
        pixels = images.read(root / name)
        for kind, picture in {"as": pixels, "turned": pixels[:, ::-1]}.items():
            cv2.imwrite(str(tmp_path / f"{kind}_{Path(name).stem}.png"), picture[..., ::-1])
    files = sorted(path.name for path in tmp_path.glob("*.png"))
    table = faces.build({"image": files, "yaw": [0.0] * 6}, dataset="mine")
    made = describing.describe_with_both(toy_network.backbone(), tmp_path / "store")(table, "mine", tmp_path)
    n, points = 5, len(five_points.NAMES)
    assert made.matrix.shape == (6, points + 2 * n) and list(made.face_id) == list(table["face_id"])
    even, odd = made.matrix[:, points : points + n], made.matrix[:, points + n :]
    scale = np.abs(even).max()
    # The detector's points differ by a pixel between a picture and its mirror image, so the squares do too.
    np.testing.assert_allclose(even[:3], even[3:], atol=0.1 * scale)
    np.testing.assert_allclose(odd[:3], -odd[3:], atol=0.1 * scale)


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match="source='eyes'; allowed are"):
        describing.describe_with("eyes", backbone="auto", tap="", store=None)


def test_a_tap_that_was_tuned_on_a_data_set_is_barred_there(tmp_path):
    describe, _ = describing.describe_with("network", backbone="auto", tap="gender_pred", store=tmp_path)
    table = faces.build({"image": ["a.png"]}, dataset="adience")
    with pytest.raises(ValueError, match="'gender_pred' of faceres_deep is barred on 'adience'"):
        describe(table, "adience", tmp_path)


def test_faces_are_cut_out_for_the_network_as_asked_and_counted(tmp_path, monkeypatch):
    root = project.resolve("data/synthetic")
    names = pd.read_csv(root / "labels.csv")["image"].iloc[:3].tolist()
    for name in names:
        cv2.imwrite(str(tmp_path / Path(name).name), images.read(root / name)[..., ::-1])
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((64, 64, 3), 120, np.uint8))
    table = faces.build({"image": [*(Path(name).name for name in names), "blank.png"]}, dataset="mine")
    monkeypatch.setattr(describing, "open_network", lambda *_, **__: toy_network.backbone())
    made, names_of = {}, {}
    for align in ("none", "five_points", "upright"):
        options = {"backbone": "toy", "tap": "", "store": tmp_path / "store", "cut": {"align": align}}
        describe, names_of[align] = describing.describe_with("network", **options)
        made[align] = describe(table, "mine", tmp_path)
    assert "five_points" in names_of["five_points"] and "five_points" not in names_of["none"]
    assert "1 of 4 faces have no detected face" in made["five_points"].aligned.describe()
    assert not np.allclose(made["none"].matrix[:3], made["five_points"].matrix[:3])
    np.testing.assert_allclose(made["none"].matrix[3], made["five_points"].matrix[3], rtol=1e-5)
    again, _ = describing.describe_with("network", **{**options, "cut": {"align": "none"}})
    np.testing.assert_array_equal(again(table, "mine", tmp_path).matrix, made["none"].matrix)
    left, _ = describing.describe_with("network", **options, align=AlignOptions(no_face="leave_out"))
    assert len(left(table, "mine", tmp_path).face_id) == 3


def test_faces_described_by_their_mesh_need_no_network_and_list_those_without(tmp_path):
    root = project.resolve("data/synthetic")
    for name in pd.read_csv(root / "labels.csv")["image"].iloc[:2]:
        cv2.imwrite(str(tmp_path / Path(name).name), images.read(root / name)[..., ::-1])
    cv2.imwrite(str(tmp_path / "z_blank.png"), np.full((64, 64, 3), 120, np.uint8))
    files = sorted(path.name for path in tmp_path.iterdir())
    table = faces.build({"image": files, "yaw": [0.0] * 3}, dataset="mine")
    describe, name = describing.describe_with("mesh", backbone="gone", tap="gone", store=tmp_path / "store")
    made = describe(table, "mine", tmp_path)
    assert "468 points" in name and made.matrix.shape == (2, 83)
    assert made.left_out[["face_id", "reason"]].to_numpy().tolist() == [
        [table["face_id"].iloc[2], "no face detected"]
    ]
    assert (tmp_path / "store" / "mine-landmarks-mesh.parquet").exists()

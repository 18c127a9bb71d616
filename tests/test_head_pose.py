"""Head pose from the face mesh: the convention's signs, drawn and real faces, predicted columns that are no labels."""

import io

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from faceworkbook import (
    alignment,
    data_record,
    datasets,
    faces,
    head_pose,
    images,
    mesh_detector,
    project,
    splits,
    tasks,
)
from faceworkbook.descriptors import face_shape, five_points
from faceworkbook.evaluation import groups


@pytest.fixture(scope="module")
def shape():
    return head_pose.load().shape


@pytest.fixture(scope="module")
def drawn():
    """Faces of the embedded set that the reader was not fitted on."""
    dataset = datasets.load("synthetic", "data/synthetic")
    table = dataset.faces[dataset.faces["split"] == "test"].iloc[::12].reset_index(drop=True)
    return head_pose.add_columns(table, dataset.root, progress=False), dataset.root


def turned(shape, yaw=0.0, pitch=0.0, roll=0.0):
    """Turn a head about its ears, then about the vertical, then in the picture; x right, y down, z away."""
    turn = Rotation.from_euler("xyz", [-pitch, -yaw, roll], degrees=True)
    return turn.apply(shape)


def test_the_mean_shape_faces_the_camera(shape):
    nose, forehead, chin, right_eye, left_eye = shape[[4, 10, 152, 33, 263]]
    assert nose[2] == shape[:, 2].min()  # nearest to the camera
    assert forehead[1] < right_eye[1] < nose[1] < chin[1] and right_eye[0] < nose[0] < left_eye[0]
    np.testing.assert_allclose(right_eye * [-1, 1, 1], left_eye, atol=0.01)
    np.testing.assert_allclose([nose[0], forehead[2] - chin[2]], 0, atol=0.02)


@pytest.mark.parametrize("angles", [(20, 0, 0), (0, 15, 0), (0, 0, 30), (-35, 10, -20), (50, -25, 5)])
def test_a_turned_shape_reads_as_it_was_turned(shape, angles):
    mesh = turned(shape, *angles) * 73 + [400, 300, 12]
    read, still, level = head_pose.fit_rigidly(mesh[None], shape)
    np.testing.assert_allclose(read[0], angles, atol=1e-6)
    np.testing.assert_allclose(still[0], shape, atol=1e-9)
    np.testing.assert_allclose(level[0], turned(shape - shape.mean(axis=0), *angles[:2]), atol=1e-9)


def test_signs_are_those_of_the_face_table(shape):
    assert turned(shape, yaw=20)[4, 0] > 0.2  # the nose to the image's right
    assert turned(shape, pitch=20)[4, 1] < shape[4, 1]  # the nose rises
    right_eye, left_eye = turned(shape, roll=20)[[33, 263]]
    assert left_eye[1] > right_eye[1]  # the eye at the image's right is the lower one


def test_place_and_size_do_not_matter_and_a_mirror_image_turns_back(shape):
    reader = head_pose.load()
    mesh = turned(shape, 20, -10, 15)[None]
    moved = reader.features(mesh * 40 + [7, -5, 3])
    np.testing.assert_allclose(moved, reader.features(mesh), atol=1e-3)
    assert len(reader.names) == moved.shape[1] == 83


@pytest.mark.parametrize("broken", ["cut", "empty", "flipped", "other shape"])
def test_a_damaged_reader_is_refused_by_name(broken, tmp_path, monkeypatch):
    whole = (project.resolve(mesh_detector.FOLDER) / head_pose.FILE).read_bytes()
    arrays, content = dict(np.load(io.BytesIO(whole))), io.BytesIO()
    np.savez(content, **arrays | {"shape": arrays["shape"][:10]})
    flipped = whole[:100_000] + bytes([whole[100_000] ^ 255]) + whole[100_001:]
    damaged = {"cut": whole[:10_000], "empty": b"", "flipped": flipped, "other shape": content.getvalue()}
    (tmp_path / head_pose.FILE).write_bytes(damaged[broken])
    monkeypatch.setattr(mesh_detector, "FOLDER", tmp_path)
    with pytest.raises(alignment.AlignmentError, match=r"no head-pose reader in .*pose\.npz"):
        head_pose.load.__wrapped__()


def test_angles_of_drawn_faces_are_those_of_the_geometry(drawn):
    table, _ = drawn
    for name, limit, correlation in (("yaw", 4.5, 0.97), ("pitch", 6.0, 0.5), ("roll", 2.5, 0.9)):
        known = table[f"predicted_{name}"].notna()
        read, truth = (table.loc[known, c].to_numpy(float) for c in (f"predicted_{name}", name))
        assert known.mean() > 0.9
        assert np.abs(read - truth).mean() < limit and np.corrcoef(read, truth)[0, 1] > correlation


def test_a_mirrored_picture_negates_yaw_and_roll_and_keeps_pitch(drawn, tmp_path):
    table, root = drawn
    table = table[table["predicted_yaw"].abs() > 10].head(6).reset_index(drop=True)
    names = [f"{row}.png" for row in table.index]
    for name, image in zip(names, table["image"], strict=True):
        cv2.imwrite(str(tmp_path / name), images.read(root / image)[:, ::-1, ::-1])
    boxless = table.assign(image=names, **dict.fromkeys(faces.BOX, pd.NA)).astype(
        dict.fromkeys(faces.BOX, "Float64")
    )
    turned = head_pose.predict(boxless, tmp_path, progress=False)
    signs = dict(zip(faces.PREDICTED_POSE, (-1, 1, -1), strict=True))
    for name, sign in signs.items():
        difference = (turned[name] - sign * table[name].to_numpy(float)).abs()
        assert difference.median() < 3


def test_nothing_of_the_described_faces_is_in_their_descriptors(drawn):
    table, root = drawn
    whole = face_shape.extract(table, root=root, progress=False)
    few = face_shape.extract(table.iloc[:5], root=root, progress=False)
    np.testing.assert_array_equal(whole.matrix[: len(few.matrix)], few.matrix)


def test_pictures_without_a_mesh_are_listed(drawn, tmp_path):
    table, root = drawn
    asked = pd.concat(
        [table.iloc[:2], table.iloc[:1].assign(face_id="gone", image="none.jpg")], ignore_index=True
    )
    shapes = face_shape.extract(asked, root=root, progress=False)
    assert shapes.left_out[["face_id", "reason"]].to_numpy().tolist() == [["gone", "unreadable"]]
    assert shapes.matrix.dtype == np.float32 and len(shapes.matrix) == len(shapes.face_id) == 2
    assert head_pose.predict(asked, root, progress=False).iloc[2].isna().all()


@pytest.mark.parametrize(("kind", "width"), [(face_shape, 83), (five_points, 15)])
def test_where_no_picture_has_a_face_every_one_is_listed(kind, width, drawn, tmp_path):
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((90, 90, 3), 128, np.uint8))
    table = drawn[0].iloc[:1].assign(image="wall.png", **dict.fromkeys(faces.BOX, np.nan))
    made = kind.extract(table, root=tmp_path, progress=False)
    assert made.matrix.shape == (0, width) and made.left_out["reason"].tolist() == ["no face detected"]


# --------------------------------------------------------------------------- predicted columns


def test_predicted_angles_are_no_labels(drawn):
    table, _ = drawn
    assert not set(faces.PREDICTED_POSE) & set(faces.label_columns(table))
    assert {"yaw", "pitch", "roll"} <= set(faces.label_columns(table))
    assert (table["yaw"] != table["predicted_yaw"]).any()
    with pytest.raises(ValueError, match="predicted_yaw"):
        tasks.read_labels(table, "predicted_yaw")


def test_groups_by_predicted_angles_are_bands_of_degrees(drawn):
    table, _ = drawn
    table = table.assign(
        predicted_yaw=pd.array([-30.1, -30, -10, 9.9, 10, 31, None] * 99, "Float64")[: len(table)]
    )
    made = groups.attach(table[["face_id"]].assign(split="test"), table, ["predicted_yaw"])["predicted_yaw"]
    assert made.iloc[:6].tolist() == [
        "below -30", "-30 to -10", "-10 to 10", "-10 to 10", "10 to 30", "30 and more",
    ]  # fmt: skip
    assert made.isna().iloc[6]
    by_label = groups.attach(table[["face_id"]].assign(split="test"), table, ["yaw"])["yaw"]
    assert by_label.cat.categories.tolist() == made.cat.categories.tolist()
    assert groups.choose_attributes(table.drop(columns="predicted_yaw"), ["predicted_yaw", "gender"]) == [
        "gender"
    ]


def test_the_record_of_the_data_knows_predicted_angles_by_content(drawn, tmp_path):
    table, root = drawn
    table = table.assign(content_hash=data_record.hash_pictures(table, root))
    split = splits.make(table, label="gender", seed=0)
    made = data_record.make(table, split, reader={}, root=root)
    data_record.check_faces(made, table, "faces.parquet")
    other = table.assign(predicted_yaw=table["predicted_yaw"] + 1)
    with pytest.raises(data_record.DataError, match=r"faces\.parquet"):
        data_record.check_faces(made, other, "faces.parquet")


def test_the_spread_of_predicted_angles_stands_beside_the_labels(drawn):
    table, _ = drawn
    made = head_pose.describe(table).set_index("angle")
    assert (made["faces"] + made["not_read"] == len(table)).all()
    known = table["predicted_roll"].notna()
    difference = (table["predicted_roll"] - table["roll"])[known].abs().mean()
    assert made.loc["predicted_roll", "label_mae"] == pytest.approx(difference)
    unlabelled = head_pose.describe(table.assign(yaw=pd.NA))
    assert unlabelled["label_mae"].isna().tolist() == [True, False, False]


@pytest.mark.realdata
def test_angles_of_photos_are_near_the_labels_that_the_reader_never_saw(shared_data):
    dataset = datasets.load("genki4k", shared_data("genki4k"))
    table = dataset.faces.iloc[::16].reset_index(drop=True)
    read = head_pose.predict(table, dataset.root, progress=False)
    for name, limit, correlation in (("yaw", 4.0, 0.9), ("pitch", 5.3, 0.5), ("roll", 1.6, 0.95)):
        known = read[f"predicted_{name}"].notna().to_numpy()
        made, truth = (
            read.loc[known, f"predicted_{name}"].to_numpy(float),
            table.loc[known, name].to_numpy(float),
        )
        assert np.abs(made - truth).mean() < limit and np.corrcoef(made, truth)[0, 1] > correlation

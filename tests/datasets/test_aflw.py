import math
import sqlite3

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets
from faceworkbook.datasets import aflw

TABLES = """
CREATE TABLE Faces (face_id INTEGER PRIMARY KEY, file_id TEXT, db_id TEXT);
CREATE TABLE FaceImages (image_id INTEGER PRIMARY KEY, db_id TEXT, file_id TEXT, filepath TEXT, bw INTEGER, width INTEGER, height INTEGER);
CREATE TABLE FaceRect (face_id INTEGER, x INTEGER, y INTEGER, w INTEGER, h INTEGER, annot_type_id INTEGER);
CREATE TABLE FacePose (face_id INTEGER, roll REAL, pitch REAL, yaw REAL, annot_type_id INTEGER);
CREATE TABLE FaceMetadata (face_id INTEGER, sex TEXT, occluded INTEGER, glasses INTEGER, bw INTEGER, annot_type_id INTEGER);
"""


def write_database(root, poses, *, sex="f"):
    with sqlite3.connect(root / "aflw.sqlite") as db:
        db.executescript(TABLES)
        for face, (yaw, pitch, roll) in enumerate(poses, 1):
            file, path = f"image{face:05}.jpg", f"0/image{face:05}.jpg"
            db.execute("INSERT INTO Faces VALUES (?, ?, 'flickr')", (face, file))
            db.execute("INSERT INTO FaceImages VALUES (?, 'flickr', ?, ?, 0, 500, 400)", (face, file, path))
            db.execute("INSERT INTO FaceRect VALUES (?, 10, 20, 30, 40, 1)", (face,))
            db.execute("INSERT INTO FacePose VALUES (?, ?, ?, ?, 1)", (face, roll, pitch, yaw))
            db.execute("INSERT INTO FaceMetadata VALUES (?, ?, 0, 0, 0, 0)", (face, sex))
            (root / "flickr/0").mkdir(parents=True, exist_ok=True)
            (root / "flickr" / path).write_bytes(b"")
    db.close()
    return root


def test_box_pose_and_gender(lay):
    root = write_database(lay([]), [(0.5, 0.25, -0.1), (-1.2, 0, 0)])
    table = datasets.load("aflw", root, bins="five").faces
    face = table.iloc[0]
    assert (face["top"], face["left"], face["bottom"], face["right"]) == (20, 10, 60, 40)
    degrees = [-math.degrees(0.5), math.degrees(0.25), math.degrees(0.1)]
    assert [face["yaw"], face["pitch"], face["roll"]] == pytest.approx(degrees)
    assert table["yaw_bin"].tolist() == ["left", "far right"]
    assert table["gender"].tolist() == ["female", "female"]


@pytest.mark.parametrize("sign", [1, -1])
def test_marked_points_reveal_a_wrong_sign(lay, sign):
    """In the file yaw > 0 looks to the image's left, roll > 0 lowers the eye at the image's left."""
    angles = np.linspace(-0.5, 0.5, 11)
    root = write_database(lay([]), [(sign * a, 0, sign * a) for a in angles])
    with sqlite3.connect(root / "aflw.sqlite") as db:
        db.execute("CREATE TABLE FeatureCoords (face_id INTEGER, feature_id INTEGER, x REAL, y REAL)")
        for face, angle in enumerate(angles, 1):
            eye = (10 * math.cos(angle), -10 * math.sin(angle))
            points = {8: (-eye[0], -eye[1]), 11: eye, 15: (-8 * math.sin(angle), 10)}
            for feature, (x, y) in points.items():
                db.execute("INSERT INTO FeatureCoords VALUES (?, ?, ?, ?)", (face, feature, x, y))
    db.close()
    expected = datasets.load("aflw", root).notices["reason"].tolist()
    assert expected == ([] if sign == 1 else ["sign of yaw doubtful", "sign of roll doubtful"])


@given(st.floats(-180, 180))
def test_five_bins(yaw):
    expected = (
        "frontal"
        if abs(yaw) < 10
        else "right"
        if 10 <= yaw < 60
        else "left"
        if -60 < yaw <= -10
        else "far left"
        if yaw <= -60
        else "far right"
    )
    assert aflw.yaw_bin(pd.Series([yaw])).tolist() == [expected]


def test_an_unknown_yaw_has_no_bin():
    assert aflw.yaw_bin(pd.Series([None, 5.0], dtype="Float64")).isna().tolist() == [True, False]


def test_odd_rows_are_listed(lay):
    root = write_database(lay([]), [(0, 0, 0)] * 5)
    with sqlite3.connect(root / "aflw.sqlite") as db:
        db.execute("UPDATE FacePose SET yaw = 'x' WHERE face_id = 1")
        db.execute("DELETE FROM FacePose WHERE face_id = 2")
        db.execute("UPDATE FaceRect SET w = 0 WHERE face_id = 3")
        db.execute("UPDATE FaceImages SET filepath = '../../x.jpg' WHERE image_id = 4")
        db.execute("INSERT INTO FaceRect VALUES (5, 0, 0, 5, 5, 2)")
    db.close()
    dataset = datasets.load("aflw", root)
    assert dataset.faces["face_id"].tolist() == ["aflw:1", "aflw:2", "aflw:5"]
    assert dataset.faces["right"].tolist() == [40, 40, 40] and dataset.faces["yaw"].isna().tolist() == [
        True,
        True,
        False,
    ]
    assert {"no box", "path malformed"} <= set(dataset.left_out["reason"])
    assert dataset.notices["reason"].tolist() == ["second box or pose", "bad pose", "no pose"]


@pytest.mark.parametrize("size", [0, 10, 100, 3000, 8192])
def test_a_cut_file_is_an_error(lay, size):
    root = write_database(lay([]), [(0, 0, 0)] * 200)
    whole = (root / "aflw.sqlite").read_bytes()
    assert len(whole) > 8192
    (root / "aflw.sqlite").write_bytes(whole[:size])
    with pytest.raises(datasets.DatasetError, match=r"aflw\.sqlite"):
        datasets.load("aflw", root)


def test_another_database_is_an_error(lay):
    root = lay(["flickr/0/a.jpg"])
    sqlite3.connect(root / "aflw.sqlite").execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(datasets.DatasetError, match="needs the tables Faces"):
        datasets.load("aflw", root)


@pytest.mark.realdata
def test_the_real_distribution_of_yaws_survives_a_database(lay, shared_data):
    yaws = np.load(shared_data("aflw/AFLW_GT_crop_yaws.npy"), allow_pickle=False)[::40].astype(float)
    root = write_database(lay([]), [(math.radians(yaw), 0.0, 0.0) for yaw in yaws])
    table = datasets.load("aflw", root, bins="five").faces.sort_values(
        "face_id", key=lambda s: s.str[5:].astype(int)
    )
    assert np.allclose(table["yaw"].to_numpy(float), -yaws, atol=1e-4)
    expected = [(-yaws <= -60).sum(), (np.abs(yaws) < 10).sum(), (-yaws >= 60).sum()]
    counts = table["yaw_bin"].value_counts()
    assert [counts["far left"], counts["frontal"], counts["far right"]] == expected

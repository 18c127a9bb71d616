"""Planted copies are found, and different faces are not called copies."""

import shutil

import cv2
import numpy as np
import pytest
from faceworkbook import audit, datasets
from faceworkbook import faces as face_table


def write_noise(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        write_noise(tmp_path / f"{i}.png", i)
    shutil.copy(tmp_path / "0.png", tmp_path / "10.png")
    shutil.copy(tmp_path / "0.png", tmp_path / "11.png")
    shutil.copy(tmp_path / "3.png", tmp_path / "4.png")
    return tmp_path


def table(names, **columns):
    return face_table.build({"image": names} | columns, dataset="made")


def test_every_exact_copy_is_found_and_nothing_else(folder):
    names = [f"{i}.png" for i in range(12)]
    found = audit.exact_duplicates(table(names), folder)
    assert found.n_groups == 2 and found.n_copies == 3
    groups = found.members.groupby("group")["image"].agg(set).tolist()
    assert sorted(map(sorted, groups)) == [["0.png", "10.png", "11.png"], ["3.png", "4.png"]]
    assert (found.groups[[1, 2, 5, 6, 7, 8, 9]] == -1).all()
    assert len({*found.groups[[0, 10, 11]]}) == 1 == len({*found.groups[[3, 4]]})


def test_two_boxes_in_one_photo_are_two_faces(folder):
    box = {"top": [0, 0, 0], "left": [0, 9, 0], "bottom": [9, 9, 9], "right": [9, 20, 9]}
    faces = table(["1.png"] * 3, face_id=["a", "b", "c"], **box)
    assert audit.exact_duplicates(faces, folder).groups.tolist() == [0, -1, 0]


def test_contradicting_labels_are_counted(folder):
    names = ["0.png", "10.png", "11.png", "3.png", "4.png", "5.png"]
    gender = ["male", "female", None, "male", None, "female"]
    found = audit.exact_duplicates(table(names, gender=gender, age=[3, 3, 3, 7, 8, 9]), folder)
    assert set(found.conflicts("gender")["image"]) == {"0.png", "10.png", "11.png"}
    summary = found.summary().set_index("label")
    assert summary.loc["gender", "contradicting groups"] == 1
    assert summary.loc["age", "contradicting faces"] == 2


def test_a_missing_file_is_listed_and_stands_alone(folder):
    found = audit.exact_duplicates(table(["gone.png", "0.png", "10.png", "gone2.png"]), folder)
    assert found.unreadable["image"].tolist() == ["gone.png", "gone2.png"]
    assert found.groups.tolist() == [-1, 0, 0, -1]


def test_no_copies_give_an_empty_table(folder):
    found = audit.exact_duplicates(table(["1.png", "2.png"]), folder)
    assert found.n_groups == 0 and len(found.members) == 0 and len(found.summary()) >= 1


def test_joined_groups_are_connected_through_either_way():
    one = np.array([0, 0, -1, -1, 1, 1])
    two = np.array([-1, 0, 0, -1, -1, -1])
    assert audit.join(one, two).tolist() == [0, 0, 0, -1, 1, 1]
    assert audit.join(np.full(3, -1)).tolist() == [-1, -1, -1]


@pytest.mark.realdata
def test_utkface_copies_agree_with_a_plain_comparison_of_bytes(shared_data):
    root = shared_data("utkface/UTKFace")
    faces = datasets.load("utkface", root).faces
    found = audit.exact_duplicates(faces, root)
    by_bytes = {}
    for row, image in enumerate(faces["image"]):
        by_bytes.setdefault((root / image).read_bytes(), []).append(row)
    expected = {tuple(rows) for rows in by_bytes.values() if len(rows) > 1}
    assert {tuple(np.flatnonzero(found.groups == g)) for g in range(found.n_groups)} == expected
    assert len(found.conflicts("gender")) > 0

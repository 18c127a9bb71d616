"""Planted copies are detected, and different faces are not called copies."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import audit, datasets, row_groups, splits
from faceworkbook import faces as face_table
from tests.support import planting


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


def test_every_exact_copy_is_listed_and_nothing_else(folder):
    names = [f"{i}.png" for i in range(12)]
    result = audit.exact_duplicates(table(names), folder)
    assert result.n_groups == 2 and result.n_copies == 3
    groups = result.members.groupby("group")["image"].agg(set).tolist()
    assert sorted(map(sorted, groups)) == [["0.png", "10.png", "11.png"], ["3.png", "4.png"]]
    assert (result.groups[[1, 2, 5, 6, 7, 8, 9]] == -1).all()
    assert len({*result.groups[[0, 10, 11]]}) == 1 == len({*result.groups[[3, 4]]})


def test_two_boxes_in_one_photo_are_two_faces(folder):
    box = {"top": [0, 0, 0], "left": [0, 9, 0], "bottom": [9, 9, 9], "right": [9, 20, 9]}
    faces = table(["1.png"] * 3, face_id=["a", "b", "c"], **box)
    assert audit.exact_duplicates(faces, folder).groups.tolist() == [0, -1, 0]


def test_contradicting_labels_are_counted(folder):
    names = ["0.png", "10.png", "11.png", "3.png", "4.png", "5.png"]
    gender = ["male", "female", None, "male", None, "female"]
    result = audit.exact_duplicates(table(names, gender=gender, age=[3, 3, 4, 7, 17, 9]), folder)
    assert set(result.conflicts("gender")["image"]) == {"0.png", "10.png", "11.png"}
    summary = result.summary().set_index("label")
    assert summary.loc["gender", "contradicting groups"] == 1
    assert summary.loc["age", "contradicting faces"] == 2


def test_a_group_that_only_a_chain_holds_together_is_listed():
    def duplicates(ends, n=6):
        pairs = pd.DataFrame(ends, columns=["first", "second", "likeness"])
        groups = row_groups.renumber(row_groups.components(pairs["first"], pairs["second"], n))
        return audit.Duplicates("planted", groups, pd.DataFrame(), pairs, pd.DataFrame())

    chain = [(0, 1, 0.98), (1, 2, 0.98), (2, 3, 0.98)]
    assert duplicates(chain).chains().to_dict("records") == [{"group": 0, "faces": 4, "pairs": 3, "of": 6}]
    triangle = [(0, 1, 0.98), (1, 2, 0.98), (0, 2, 0.98), (4, 5, 0.99)]
    assert duplicates(triangle).chains().empty
    # Files that look exactly the same are tied to one of them each, and count once.
    assert duplicates([(0, 1, 1.0), (0, 2, 1.0), (0, 3, 0.98)]).chains().empty
    assert duplicates([]).chains().empty


def test_a_missing_file_is_listed_and_stands_alone(folder):
    result = audit.exact_duplicates(table(["gone.png", "0.png", "10.png", "gone2.png"]), folder)
    assert result.unreadable["image"].tolist() == ["gone.png", "gone2.png"]
    assert result.groups.tolist() == [-1, 0, 0, -1]


def test_no_copies_give_an_empty_table(folder):
    result = audit.exact_duplicates(table(["1.png", "2.png"]), folder)
    assert result.n_groups == 0 and len(result.members) == 0 and len(result.summary()) >= 1


def test_joined_groups_are_connected_through_either_way():
    one = np.array([0, 0, -1, -1, 1, 1])
    two = np.array([-1, 0, 0, -1, -1, -1])
    assert audit.join(one, two).tolist() == [0, 0, 0, -1, 1, 1]
    assert audit.join(np.full(3, -1)).tolist() == [-1, -1, -1]


@pytest.mark.realdata
def test_utkface_copies_agree_with_a_plain_comparison_of_bytes(shared_data):
    root = shared_data("utkface/UTKFace")
    faces = datasets.load("utkface", root).faces
    result = audit.exact_duplicates(faces, root)
    by_bytes = {}
    for row, image in enumerate(faces["image"]):
        by_bytes.setdefault((root / image).read_bytes(), []).append(row)
    expected = {tuple(rows) for rows in by_bytes.values() if len(rows) > 1}
    assert {tuple(np.flatnonzero(result.groups == g)) for g in range(result.n_groups)} == expected
    assert len(result.conflicts("gender")) > 0


# ----------------------------------------------------------------- near copies


def write_scene(path, seed):
    """A picture with structure: smooth blobs, as photographs have."""
    noise = np.random.default_rng(seed).normal(size=(96, 96, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9)
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 255
    cv2.imwrite(str(path), smooth.astype(np.uint8))


@pytest.fixture
def scenes(tmp_path):
    root = tmp_path / "scenes"
    root.mkdir()
    for i in range(60):
        write_scene(root / f"{i}.png", i)
    return root


def pairs_of(result, faces):
    ids = faces["face_id"].to_numpy()
    pairs = zip(ids[result.pairs["first"]], ids[result.pairs["second"]], strict=True)
    return {frozenset(pair) for pair in pairs}


@pytest.mark.parametrize(("scale", "quality"), [(0.8, 70), (0.5, 50), (1.5, 40)])
def test_resized_and_encoded_copies_are_listed_and_no_other_pair(scenes, tmp_path, scale, quality):
    faces = table([f"{i}.png" for i in range(60)])
    out = tmp_path / "planted"
    planted = planting.plant_near_duplicates(
        faces,
        root=scenes,
        out=out,
        rate=0.5,
        seed=0,
        copies=planting.CopyOptions(scale=scale, quality=quality),
    )
    result = audit.near_duplicates(planted.faces, out)
    truth = {frozenset(pair) for pair in planted.planted[["face_id", "copy_of"]].to_numpy().tolist()}
    assert len(truth) == 30 and pairs_of(result, planted.faces) == truth
    assert audit.exact_duplicates(planted.faces, out).n_groups == 0


def test_no_copy_of_any_kind_crosses_a_split(scenes, tmp_path):
    faces = table([f"{i}.png" for i in range(60)], gender=["male", "female"] * 30)
    options = {"root": scenes, "out": tmp_path / "p", "rate": 0.5, "seed": 0}
    planted = planting.plant_near_duplicates(faces, **options)
    shutil.copy(tmp_path / "p" / "2.png", tmp_path / "p" / "same.png")
    exact = table(["same.png"], gender=[planted.faces.set_index("image").loc["2.png", "gender"]])
    everyone = pd.concat([planted.faces, exact], ignore_index=True)
    result = audit.copies(everyone, tmp_path / "p")
    ties = [*planted.planted[["face_id", "copy_of"]].to_numpy().tolist(), ["made:same.png", "made:2.png"]]
    for seed in range(5):
        split = splits.make(everyone, label="gender", seed=seed, keep_together=result.groups)
        subset = pd.Series(split.subset_of(len(everyone)), index=everyone["face_id"])
        assert all(subset[one] == subset[other] for one, other in ties)
    loose = splits.make(everyone, label="gender", seed=0)
    subset = pd.Series(loose.subset_of(len(everyone)), index=everyone["face_id"])
    assert any(subset[one] != subset[other] for one, other in ties)


def test_faces_in_one_photo_are_compared_within_their_boxes(scenes):
    photo = np.full((180, 600, 3), 127, np.uint8)
    for k, i in enumerate((1, 2, 1)):
        photo[42:138, 52 + 200 * k : 148 + 200 * k] = cv2.imread(str(scenes / f"{i}.png"))
    cv2.imwrite(str(scenes / "photo.png"), photo)
    left = [52, 252, 452]
    box = {"top": [42] * 3, "left": left, "bottom": [138] * 3, "right": [x + 96 for x in left]}
    faces = table(["photo.png"] * 3, face_id=list("abc"), **box)
    assert audit.near_duplicates(faces, scenes).groups.tolist() == [0, -1, 0]


@pytest.mark.parametrize("scale", [0.8, 0.5])
def test_copies_of_boxed_faces_are_listed_though_their_boxes_are_rounded(scenes, tmp_path, scale):
    n = 60
    box = {"top": [21] * n, "left": [23] * n, "bottom": [70] * n, "right": [72] * n}
    faces = table([f"{i}.png" for i in range(n)], **box)
    planted = planting.plant_near_duplicates(
        faces, root=scenes, out=tmp_path / "p", rate=0.5, seed=0, copies=planting.CopyOptions(scale=scale)
    )
    result = audit.near_duplicates(planted.faces, tmp_path / "p")
    truth = {frozenset(pair) for pair in planted.planted[["face_id", "copy_of"]].to_numpy().tolist()}
    assert len(pairs_of(result, planted.faces) & truth) >= 0.95 * len(truth)
    assert pairs_of(result, planted.faces) <= truth


def test_flat_and_broken_pictures_are_listed_not_paired(scenes):
    for name in ("black1.png", "black2.png"):
        cv2.imwrite(str(scenes / name), np.zeros((40, 40, 3), np.uint8))
    (scenes / "text.jpg").write_text("not a picture")
    faces = table(["black1.png", "text.jpg", "black2.png", "3.png"])
    result = audit.near_duplicates(faces, scenes)
    assert result.unreadable["image"].tolist() == ["black1.png", "text.jpg", "black2.png"]
    assert result.n_groups == 0


def test_many_copies_of_one_picture_make_one_group_and_few_pairs(scenes):
    result = audit.near_duplicates(table(["7.png"] * 300, face_id=[f"f{i}" for i in range(300)]), scenes)
    assert result.n_groups == 1 and len(result.members) == 300 and len(result.pairs) == 299


def test_one_face_or_none_is_no_error(scenes):
    assert audit.near_duplicates(table(["1.png"]), scenes).n_groups == 0
    assert audit.near_duplicates(table(["gone.png"]), scenes).n_groups == 0


def test_descriptor_pairs_are_those_of_a_plain_comparison():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(300, 16)).astype(np.float32)
    matrix[40:50] = matrix[:10] + 0.05 * rng.normal(size=(10, 16))
    matrix[200] = np.nan
    faces = table([f"{i}.png" for i in range(300)])
    result = audit.similar_descriptors(faces, matrix, min_cosine=0.9)
    units = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    expected = {(i, j) for i in range(300) for j in range(i + 1, 300) if units[i] @ units[j] >= 0.9}
    assert set(map(tuple, result.pairs[["first", "second"]].to_numpy().tolist())) == expected
    assert len(expected) >= 10
    assert result.unreadable["detail"].tolist() == ["no descriptor"]


def test_descriptors_of_another_table_are_refused():
    with pytest.raises(ValueError, match="3 descriptors for 2 faces"):
        audit.similar_descriptors(table(["1.png", "2.png"]), np.ones((3, 4)))


@pytest.mark.realdata
def test_planted_copies_of_real_faces_are_listed_and_strangers_are_not(shared_data, tmp_path):
    root = shared_data("utkface/UTKFace")
    faces = datasets.load("utkface", root).faces.iloc[::20].reset_index(drop=True)
    planted = planting.plant_near_duplicates(faces, root=root, out=tmp_path, rate=0.5, seed=1)
    before = pairs_of(audit.near_duplicates(faces, root), faces)
    result = pairs_of(audit.near_duplicates(planted.faces, tmp_path), planted.faces)
    truth = {frozenset(pair) for pair in planted.planted[["face_id", "copy_of"]].to_numpy().tolist()}
    copy_of = planted.planted.set_index("face_id")["copy_of"].to_dict()
    folded = {frozenset(copy_of.get(face, face) for face in pair) for pair in result - truth}
    strangers = {pair for pair in folded if len(pair) == 2} - before
    assert len(truth & result) >= 0.95 * len(truth)
    assert len(strangers) <= 0.01 * len(result)


def test_copies_among_some_faces_are_those_of_all_without_the_others(folder):
    faces = table([f"{i}.png" for i in range(12)])
    whole = audit.copies(faces, folder)
    rest = faces[faces["image"] != "11.png"].reset_index(drop=True)
    own, anew = whole.among(rest, faces), audit.copies(rest, folder)
    sides = [{frozenset(ids) for _, ids in each.members.groupby("group")["face_id"]} for each in (own, anew)]
    assert whole.n_groups == 2 and sides[0] == sides[1] and len(own.groups) == len(rest)
    pd.testing.assert_frame_equal(own.pairs, anew.pairs)
    assert own.unreadable.empty

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets, faces
from faceworkbook.datasets import adience

HEADER = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"


def row(user="u@N0", photo="1_o.jpg", face=1, age="(25, 32)", gender="f", tilt=-85, yaw=30):
    return f"{user}\t{photo}\t{face}\t{age}\t{gender}\t0\t0\t9\t9\t{tilt}\t{yaw}\t17\n"


def picture(user="u@N0", photo="1_o.jpg", face=1):
    return f"aligned/{user}/landmark_aligned_face.{face}.{photo}"


def adience_set(rows, pictures):
    files = {f"fold_{fold}_data.txt": HEADER for fold in range(5)}
    files["fold_2_data.txt"] += "".join(rows)
    return files | dict.fromkeys(pictures, b"")


def test_a_row_becomes_a_face(lay):
    dataset = datasets.load("adience", lay(adience_set([row()], [picture()])))
    face = dataset.faces.iloc[0]
    assert (face["identity"], face["age_group"], face["gender"], face["fold"]) == (
        "adience:u@N0",
        "25-32",
        "female",
        2,
    )
    # The file's positive yaw looks to the image's left; the tilt was removed from the picture.
    assert face["yaw"] == -30 and face["tilt"] == -85 and face["roll"] is not None
    assert dataset.faces["roll"].isna().all()


def test_frontal_folds_and_pictures_turned_upright(lay):
    files = {f"fold_frontal_{fold}_data.txt": HEADER for fold in range(5)}
    files["fold_frontal_4_data.txt"] += row()
    files["faces/u@N0/coarse_tilt_aligned_face.1.1_o.jpg"] = b""
    dataset = datasets.load("adience", lay(files), folds="frontal", images="faces")
    assert dataset.faces["fold"].tolist() == [4]


def test_several_faces_of_one_photo_stay_apart(lay):
    rows = [row(face=1, gender="m"), row(face=2, gender="f")]
    dataset = datasets.load("adience", lay(adience_set(rows, [picture(face=1), picture(face=2)])))
    assert dataset.faces["gender"].tolist() == ["male", "female"]
    assert dataset.faces["photo"].nunique() == 1


def test_rows_that_repeat_contradict_or_lack_a_picture_are_listed(lay):
    rows = [row(), row(), row(face=2), row(face=2, gender="m"), row(face=3), row(face=4, age="(25, 3")]
    root = lay(adience_set(rows, [picture(face=n) for n in (1, 2, 4, 5)]))
    dataset = datasets.load("adience", root)
    assert dataset.faces["person"].tolist() == ["1", "4"] and dataset.faces["age_group"].isna().tolist() == [
        False,
        True,
    ]
    assert (
        dataset.notices["reason"].tolist() == ["bad value in age"]
        and "(25, 3" in dataset.notices["detail"][0]
    )
    assert Counter(dataset.left_out["reason"]) == {
        "row repeated": 1,
        "rows contradict": 2,
        "no picture": 1,
        "no row": 1,
    }


@pytest.mark.parametrize(
    ("text", "strict", "levi_hassner", "mivolo", "nearest"),
    [
        ("(8, 12)", "8-12", "8-12", "8-12", "8-12"),
        ("(25, 23)", None, "25-32", "25-32", "25-32"),
        ("(8, 23)", None, None, "8-12", "15-20"),
        ("(38, 48)", None, None, "38-43", "38-43"),
        ("35", None, None, "25-32", "38-43"),
        ("57", None, None, "60-100", "48-53"),
        ("3", None, None, "0-2", "0-2"),
        ("None", None, None, None, None),
    ],
)
def test_the_four_age_maps(text, strict, levi_hassner, mivolo, nearest):
    assert adience.AGE_MAPS["strict"].get(text) == strict
    assert adience.AGE_MAPS["levi_hassner"].get(text) == levi_hassner
    assert adience.AGE_MAPS["mivolo"].get(text) == mivolo
    assert adience.AGE_MAPS["nearest"].get(text) == nearest


@given(st.text(max_size=12), st.sampled_from(sorted(adience.AGE_MAPS)))
def test_an_age_text_is_a_class_or_nothing(text, name):
    assert adience.AGE_MAPS[name].get(text) in (None, *faces.AGE_GROUPS_ADIENCE)


def test_missing_files_and_folders_show_the_layout(lay):
    with pytest.raises(datasets.DatasetError, match=r"(?s)missing: fold_0_data.*Expected.*There is: a\.txt"):
        datasets.load("adience", lay(["a.txt"]))
    with pytest.raises(datasets.DatasetError, match=r"no folder faces/"):
        datasets.load("adience", lay(adience_set([row()], [picture()])), images="faces")
    with pytest.raises(datasets.DatasetError, match="fold_frontal_0_data"):
        datasets.load("adience", lay(adience_set([row()], [picture()])), folds="frontal")


def test_a_user_in_two_folds_is_noticed(lay):
    files = adience_set([row()], [picture(), picture(face=2)])
    files["fold_3_data.txt"] += row(face=2)
    assert datasets.load("adience", lay(files)).notices["reason"].tolist() == ["user in several folds"]


@pytest.mark.realdata
def test_the_real_files_add_up(shared_data):
    root = shared_data("adience")
    lines = [(root / f"fold_{fold}_data.txt").read_text().splitlines()[1:] for fold in range(5)]
    assert [len(fold) for fold in lines] == [4496, 3745, 3953, 3459, 3834]
    dataset = datasets.load("adience", root)
    assert len(dataset.faces) == len(list(root.glob("aligned/*/*.jpg"))) == 2220
    reasons = Counter(dataset.left_out["reason"])
    assert len(dataset.faces) + sum(reasons.values()) == sum(map(len, lines)) == 19487
    # The literature's 19,370 faces are the files' rows less those that stand twice.
    assert [len(set(fold)) for fold in lines] == [4484, 3730, 3894, 3446, 3816]
    assert reasons == {"row repeated": 117, "no picture": 19370 - 2220}

    table = {}
    for fold, text in enumerate(lines):
        for line in text:
            user, photo, face, age, gender, *_ = line.split("\t")
            table[picture(user, photo, face)] = (fold, user, age, gender)
    names = {"m": "male", "f": "female"}
    for face in dataset.faces.itertuples():
        fold, user, age, gender = table[face.image]
        assert (face.fold, face.identity, face.age_text) == (fold, f"adience:{user}", age)
        assert (face.gender if isinstance(face.gender, str) else None) == names.get(gender)
        if isinstance(face.age_group, str):
            assert face.age_group == age.strip("()").replace(", ", "-").replace("25-23", "25-32")


@pytest.mark.realdata
def test_yaw_has_the_sign_of_the_convention_and_tilt_was_removed(shared_data, see_pose):
    dataset = datasets.load("adience", shared_data("adience"))
    turned = dataset.faces[dataset.faces["yaw"].abs() >= 30].iloc[::5]
    offset, tilt = see_pose(dataset.root, turned)
    seen = np.isfinite(offset)
    assert np.corrcoef(turned["yaw"].to_numpy(float)[seen], offset[seen])[0, 1] > 0.6
    tilted = turned["tilt"].abs().to_numpy() > 60
    assert np.abs(np.degrees(tilt[seen & tilted])).max() < 45

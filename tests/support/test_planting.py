"""Planted faults are exactly what the record says, and nothing else changes."""

import cv2
import numpy as np
import pandas as pd
import pytest

from tests.support.planting import (
    CopyOptions,
    plant_group_noise,
    plant_identity_leakage,
    plant_label_noise,
    plant_near_duplicates,
    plant_underrepresentation,
)

GENDERS = pd.CategoricalDtype(["female", "male"])
SPLITS = pd.CategoricalDtype(["train", "test"])


@pytest.fixture
def faces():
    n = 200
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"face_id": [f"f{i}" for i in range(n)]})
    table["image"] = [f"pictures/f{i}.png" for i in range(n)]
    table["identity"] = pd.array([f"p{i // 4}" for i in range(n)], dtype="string")
    table["gender"] = pd.Series(rng.choice(["female", "male"], n)).astype(GENDERS)
    table.loc[:9, "gender"] = pd.NA
    table["race"] = pd.Categorical(["White" if i % 8 < 4 else "Black" for i in range(n)])
    table["split"] = pd.Series(["train" if i < 120 else "test" for i in range(n)]).astype(SPLITS)
    table["top"], table["left"], table["bottom"], table["right"] = [
        pd.array([value] * n, dtype="Int64") for value in (10, 20, 40, 50)
    ]
    table.loc[0, "top"] = pd.NA
    return table


def test_label_noise_changes_the_recorded_rows_and_no_other(faces):
    before = faces.copy(deep=True)
    noisy, planted = (
        (result := plant_label_noise(faces, column="gender", rate=0.1, seed=1)).faces,
        result.planted,
    )
    assert len(planted) == 19
    changed = faces.loc[faces["gender"].notna() & (faces["gender"] != noisy["gender"]), "face_id"]
    assert set(changed) == set(planted["face_id"])
    assert (planted["truth"] != planted["label"]).all()
    assert noisy["gender"].dtype == GENDERS and noisy["gender"].isna().sum() == 10
    pd.testing.assert_frame_equal(faces, before)
    pd.testing.assert_frame_equal(noisy.drop(columns="gender"), faces.drop(columns="gender"))


def test_same_seed_same_fault_other_seed_another(faces):
    runs = [
        plant_label_noise(faces, column="race", rate=0.2, seed=s).planted["face_id"].tolist()
        for s in (3, 3, 4)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_label_noise_keeps_to_the_selected_rows(faces):
    result = plant_label_noise(faces, column="race", rate=1.0, seed=0, where=faces["split"].eq("test"))
    assert set(result.planted["face_id"]) == set(faces.loc[faces["split"].eq("test"), "face_id"])


def test_group_noise_has_the_two_rates(faces):
    result = plant_group_noise(
        faces, column="gender", group_column="race", group="Black", rate=0.5, rate_elsewhere=0.1, seed=0
    )
    labelled = faces[faces["gender"].notna()]
    wrong = labelled["gender"].astype(object) != result.faces.loc[labelled.index, "gender"].astype(object)
    rates = wrong.groupby(labelled["race"], observed=True).mean()
    assert rates["Black"] == pytest.approx(0.5, abs=0.01)
    assert rates["White"] == pytest.approx(0.1, abs=0.01)
    assert result.planted["in_group"].sum() == wrong[labelled["race"] == "Black"].sum()


def test_underrepresentation_drops_whole_people_of_the_group(faces):
    result = plant_underrepresentation(faces, column="race", group="Black", keep=0.2, seed=0)
    left = result.faces[result.faces["race"] == "Black"]
    assert left["identity"].nunique() == 5
    assert left.groupby("identity").size().eq(4).all()
    assert (result.faces["race"] == "White").sum() == (faces["race"] == "White").sum()
    assert set(result.planted["face_id"]) == set(faces["face_id"]) - set(result.faces["face_id"])


def test_leaked_people_stand_in_both_splits(faces):
    assert _people_in_both(faces) == set()
    result = plant_identity_leakage(faces, rate=0.3, seed=0)
    assert _people_in_both(result.faces) == set(result.planted["identity"])
    assert len(result.planted) == 9
    assert result.faces["split"].dtype == SPLITS


def _people_in_both(faces):
    train, test = [set(faces.loc[faces["split"] == split, "identity"]) for split in ("train", "test")]
    return train & test


def test_near_duplicates_look_alike_but_differ_in_bytes(faces, tmp_path):
    faces = faces.head(20)
    _write_pictures(faces, tmp_path / "root")
    result = plant_near_duplicates(
        faces,
        root=tmp_path / "root",
        out=tmp_path / "out",
        rate=0.25,
        seed=0,
        copies=CopyOptions(split="test", keep_identity=False),
    )
    assert len(result.faces) == 25 and len(result.planted) == 5
    assert all((tmp_path / "out" / image).is_file() for image in result.faces["image"])
    assert result.faces.dtypes.equals(faces.dtypes)
    by_id = result.faces.set_index("face_id")
    for row in result.planted.itertuples():
        copy = cv2.imread(str(tmp_path / "out" / row.image))
        source = cv2.imread(str(tmp_path / "root" / by_id.loc[row.copy_of, "image"]))
        assert copy.shape == (48, 48, 3)
        small = cv2.resize(source, (48, 48), interpolation=cv2.INTER_AREA)
        assert np.abs(copy.astype(float) - small).mean() < 8
        assert pd.isna(by_id.loc[row.face_id, "identity"])
        assert by_id.loc[row.face_id, "bottom"] == 32


def _write_pictures(faces, root):
    rng = np.random.default_rng(0)
    (root / "pictures").mkdir(parents=True)
    for image in faces["image"]:
        small = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(root / image), cv2.resize(small, (60, 60), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: plant_label_noise(t, column="beard", rate=0.1, seed=0), "'beard'.*missing"),
        (lambda t: plant_label_noise(t, column="gender", rate=1.1, seed=0), "rate.*1.1"),
        (lambda t: plant_label_noise(t, column="top", rate=0.1, seed=0), "top.*labels"),
        (
            lambda t: plant_underrepresentation(t, column="race", group="Green", keep=0, seed=0),
            "Green.*White",
        ),
        (lambda t: plant_identity_leakage(t, rate=0.1, seed=0, source="dev"), "dev.*nobody"),
        (lambda t: plant_near_duplicates(t, root="nowhere", out="x", rate=0, seed=0), "check the root"),
        (
            lambda t: plant_near_duplicates(t.assign(image="../x.jpg"), root=".", out="x", rate=0, seed=0),
            "leads out",
        ),
    ],
)
def test_refusals_name_what_was_wrong(faces, call, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call(faces)

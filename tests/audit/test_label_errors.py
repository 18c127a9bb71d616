"""Planted wrong labels come out on top, and the file of corrections brings them back."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook import audit, datasets
from faceworkbook import faces as face_table
from faceworkbook import linear as plain
from faceworkbook.audit import linear
from tests.support import planting


def separable(n=800, seed=0, gap=3.0, **columns):
    """A table and descriptors from which gender follows almost always."""
    rng = np.random.default_rng(seed)
    male = rng.random(n) < 0.5
    matrix = rng.normal(size=(n, 12)).astype(np.float32)
    matrix[:, 0] += np.where(male, gap, -gap)
    gender = np.where(male, "male", "female")
    made = {"image": [f"{i}.jpg" for i in range(n)], "gender": gender} | columns
    return face_table.build(made, dataset="made"), matrix


def test_planted_noise_is_on_top():
    faces, matrix = separable()
    planted = planting.plant_label_noise(faces, column="gender", rate=0.1, seed=3)
    result = audit.find_label_errors(planted.faces, matrix, label="gender")
    wrong = result.table["face_id"].isin(planted.planted["face_id"])
    assert wrong.mean() >= 0.95 and wrong.sum() >= 0.9 * len(planted.planted)
    truth = planted.planted.set_index("face_id")["truth"]
    hits = result.table[wrong]
    assert (hits["suggested"].to_numpy() == truth[hits["face_id"]].to_numpy()).all()
    assert (hits["given"] != hits["suggested"]).all()


def test_clean_labels_give_a_short_list():
    faces, matrix = separable()
    assert len(audit.find_label_errors(faces, matrix, label="gender").table) <= 0.01 * len(faces)


def test_a_person_never_vouches_for_a_wrong_label():
    # Eight pictures a person, for two people all labelled wrong, in descriptors that give the person away.
    rng = np.random.default_rng(0)
    person = np.arange(800) // 8
    truth = np.where(person < 50, "male", "female")
    wrong = np.isin(person, [3, 60])
    gender = np.where(wrong, np.where(truth == "male", "female", "male"), truth)
    weak = np.where(truth == "male", 1.0, -1.0)[:, None] + rng.normal(size=(800, 12))
    matrix = np.hstack([weak, rng.normal(size=(100, 60))[person] * 3]).astype(np.float32)
    named, _ = separable(n=800, gender=gender, identity=[f"p{p}" for p in person])
    nameless = named.assign(identity=named["identity"].where(person < 0))
    hits = [
        audit.find_label_errors(faces, matrix, label="gender")
        .table["face_id"]
        .isin(named["face_id"][wrong])
        .sum()
        for faces in (named, nameless)
    ]
    assert hits[0] >= 10 and hits[1] <= hits[0] / 2


def test_out_of_fold_rows_never_see_their_group(monkeypatch):
    faces, matrix = separable(n=200)
    groups, seen = np.arange(200) // 4, []
    matrix[:, 5] = groups
    fit = plain.fit
    monkeypatch.setattr(plain, "fit", lambda x, y: seen.append(set(x[:, 5])) or fit(x, y))
    codes = (faces["gender"] == "male").to_numpy(dtype=int)
    probabilities = linear.out_of_fold(matrix, codes, groups, n_folds=5, seed=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    left_out = [set(range(50)) - fold for fold in seen]
    assert sum(len(fold) for fold in left_out) == 50 == len(set().union(*left_out))


def test_rare_classes_and_faces_without_descriptor_are_passed_over():
    race = np.array(["White", "Black"] * 100, dtype=object)
    race[:4] = "Indian"
    faces, matrix = separable(n=200, race=race)
    matrix[10] = np.nan
    result = audit.find_label_errors(faces, matrix, label="race")
    assert result.passed_over == {"Indian": 4} and result.n == 195


def test_corrections_are_read_back(tmp_path):
    faces, matrix = separable()
    planted = planting.plant_label_noise(faces, column="gender", rate=0.1, seed=3)
    result = audit.find_label_errors(planted.faces, matrix, label="gender")
    path = audit.write_corrections([result], tmp_path / "deep" / "corrections.csv", accept=True)
    data = datasets.Dataset(planted.faces, *[datasets.base.Reasons().table()] * 2, tmp_path, None)
    corrected = datasets.corrections.apply(data, path)
    before = (planted.faces["gender"].astype(str) != faces["gender"].astype(str)).sum()
    after = (corrected.faces["gender"].astype(str) != faces["gender"].astype(str)).sum()
    assert after < 0.15 * before
    assert len(corrected.notices) == len(result.table)
    undecided = datasets.corrections.apply(data, audit.write_corrections([result], tmp_path / "open.csv"))
    assert len(undecided.notices) == 0


def test_corrections_of_hostile_names_are_no_formulas_and_are_read_back(tmp_path):
    """Class names that a spreadsheet would run, a picture whose name begins like a formula or breaks the line."""
    faces, matrix = separable(n=100, gap=0.5)
    names = {"male": "=HYPERLINK(1)", "female": "-x"}
    faces["mood"] = faces["gender"].astype(str).map(names).astype("category")
    faces["image"] = [f"={i}\nb.jpg" for i in range(len(faces))]
    faces["face_id"] = ["=csv:" + image for image in faces["image"]]
    result = audit.find_label_errors(faces, matrix, label="mood")
    path = audit.write_corrections([result], tmp_path / "corrections.csv", accept=True)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert len(table) and not table.map(lambda text: text.startswith(("=", "-x"))).any(axis=None)
    data = datasets.Dataset(faces, *[datasets.base.Reasons().table()] * 2, tmp_path, None)
    corrected = datasets.corrections.apply(data, path)
    assert corrected.corrections["status"].tolist() == ["corrected"] * len(result.table)


def test_a_file_in_which_somebody_has_decided_is_never_overwritten(tmp_path):
    faces, matrix = separable(n=100, gap=0.5)
    result = audit.find_label_errors(faces, matrix, label="gender")
    path = audit.write_corrections([result], tmp_path / "corrections.csv")
    assert audit.write_corrections([result], path) == path
    decided = pd.read_csv(path, dtype=str, keep_default_na=False)
    decided.loc[0, "decision"] = "keep"
    decided.to_csv(path, index=False, sep=";")
    kept = path.read_bytes()
    second = audit.write_corrections([result], path)
    assert second.name == "corrections-2.csv" and path.read_bytes() == kept
    assert audit.write_corrections([result], path) == second


def test_contradicting_copies_are_listed_for_a_person_to_look_at(tmp_path):
    faces, matrix = separable(n=100)
    faces.loc[[0, 1], "gender"] = ["male", "female"]
    groups = np.where(np.arange(100) < 4, np.arange(100) // 2, -1)
    faces.loc[[2, 3], "gender"] = "male"
    members = faces[groups >= 0].assign(group=groups[groups >= 0])
    copies = audit.Duplicates("planted", groups, members, pd.DataFrame(), pd.DataFrame())
    result = audit.find_label_errors(faces, matrix, label="gender")
    path = audit.write_corrections([result], tmp_path / "c.csv", copies=[copies])
    table = pd.read_csv(path).set_index("face_id")
    ids = faces["face_id"]
    assert {ids[0], ids[1]} <= set(table.index) and not table.index.duplicated().any()
    assert table.loc[[ids[0], ids[1]], "was"].tolist() == ["male", "female"]
    assert len(table) == len({*result.table["face_id"], ids[0], ids[1]})
    data = datasets.Dataset(faces, *[datasets.base.Reasons().table()] * 2, tmp_path, None)
    listed = datasets.corrections.apply(data, path).corrections
    assert len(listed) == len(table) and set(listed["status"]) == {"undecided"}


def test_only_labels_with_two_full_classes_are_judged():
    faces, _ = separable(n=100, race=["White"] * 95 + ["Black"] * 5)
    assert audit.judgeable(faces) == ["gender"]


def test_descriptors_are_brought_into_the_order_of_the_table():
    faces, matrix = separable(n=6)
    order = [4, 0, 5, 2]
    aligned = audit.align_rows(faces, faces["face_id"].to_numpy()[order], matrix[order])
    np.testing.assert_array_equal(aligned[order], matrix[order])
    assert np.isnan(aligned[[1, 3]]).all()


@pytest.mark.parametrize(("label", "words"), [("age", "classes"), ("race", "two classes")])
def test_labels_that_cannot_be_judged_are_named(label, words):
    faces, matrix = separable(n=100, race=["White"] * 100)
    with pytest.raises(ValueError, match=words):
        audit.find_label_errors(faces, matrix, label=label)

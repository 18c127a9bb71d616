"""Wrong labels that were planted in training rows, listed by the audit and given back as a CSV, restore the figure."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook import audit, backbones, datasets, descriptors, splits, tasks
from faceworkbook import faces as face_table
from faceworkbook.evaluation import metrics, predictions
from faceworkbook.experiments import correction_effect
from faceworkbook.training import fit_linear
from tests.support import planting


def separable(n=1200, d=16, *, seed=0):
    rng = np.random.default_rng(seed)
    female = rng.integers(0, 2, n).astype(bool)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[:, 0] += 4.0 * female
    columns = {"image": [f"{i}.jpg" for i in range(n)], "gender": np.where(female, "female", "male")}
    return face_table.build(columns, dataset="x"), x


def as_dataset(faces, root):
    nothing = datasets.base.Reasons().table()
    return datasets.Dataset(faces, nothing, nothing, root, datasets.describe("csv"))


def plant(faces, split, *, n, seed=0):
    where = pd.Series(np.isin(np.arange(len(faces)), split.train), index=faces.index)
    rate = n / (where & faces["gender"].notna()).sum()
    return planting.plant_label_noise(faces, column="gender", rate=rate, seed=seed, where=where)


def score(faces, matrix, split):
    """Accuracy on the test rows with its interval: value, low, high."""
    labels = tasks.read_labels(faces, "gender")
    fitted = fit_linear(matrix, labels, split)
    table = predictions.predict(fitted, matrix, faces, labels, split)
    row = metrics.summary(table, names=["accuracy"], n_boot=200).iloc[0]
    return row["value"], row["low"], row["high"]


def give_back(faces, matrix, path):
    """Look for label errors, accept what is suggested, and read the set with the file."""
    errors = audit.find_label_errors(faces, matrix, label="gender")
    audit.write_corrections([errors], path, accept=True)
    return datasets.corrections.apply(as_dataset(faces, path.parent), path), errors


def check_restored(faces, matrix, tmp_path, *, n, caught):
    split = splits.make(faces, label="gender", seed=0)
    planted = plant(faces, split, n=n)
    assert len(planted.planted) == n
    corrected, errors = give_back(planted.faces, matrix, tmp_path / "corrections.csv")
    listed = corrected.corrections
    assert len(listed) == len(errors.table)
    assert set(listed["status"]) == {"corrected"}
    assert planted.planted["face_id"].isin(listed["face_id"]).mean() >= caught
    # Only training rows are judged on here: what the audit disputes elsewhere stays as it was.
    trained = faces["face_id"].isin(faces["face_id"].iloc[split.train])
    back = planted.faces.assign(gender=corrected.faces["gender"].where(trained, planted.faces["gender"]))
    clean, spoiled, restored = (score(f, matrix, split) for f in (faces, planted.faces, back))
    assert clean[1] <= restored[0] <= clean[2]
    effect = correction_effect.measure(
        correction_effect.relabel(planted.faces, back, "gender"), matrix, [split]
    )
    model = effect.change("model")
    assert model["before"] == pytest.approx(spoiled[0]) and model["after"] == pytest.approx(restored[0])
    assert model["low"] <= model["difference"] <= model["high"]
    assert effect.n_changed["test"] == 0 and effect.change("labels")["difference"] == 0
    assert (effect.rows["trains"] == 1).all() and len(effect.rows) == effect.n_changed["train"]
    return clean, spoiled, restored


def test_a_hundred_planted_errors_given_back_restore_the_figure(tmp_path):
    _, spoiled, restored = check_restored(*separable(), tmp_path, n=100, caught=0.8)
    assert restored[0] >= spoiled[0]


@pytest.mark.realdata
@pytest.mark.tensorflow
def test_planted_errors_in_real_faces_given_back_restore_the_figure(shared_data, tmp_path):
    root = shared_data("utkface/UTKFace")
    everyone = datasets.load("utkface", root).faces
    faces = face_table.draw(everyone[everyone["gender"].notna()], limit=900, seed=0)
    net = backbones.default()
    extracted = descriptors.extract(faces, net, root=root, store=tmp_path / "store", progress=False)
    matrix = audit.align_rows(faces, extracted.face_id, extracted.matrix)
    check_restored(faces, matrix, tmp_path, n=100, caught=0.6)


def folds(faces):
    sizes = splits.FoldSizes(n_folds=4, n_repeats=1, validation=0.15)
    return splits.folds(faces, label="gender", sizes=sizes, seed=1)


def test_the_change_of_the_model_and_of_the_labels_are_apart():
    faces, matrix = separable(n=600)
    rng = np.random.default_rng(3)
    wrong = rng.choice(600, 60, replace=False)
    other = {"male": "female", "female": "male"}
    spoiled = faces.assign(gender=faces["gender"].astype(object))
    spoiled.loc[wrong, "gender"] = [other[name] for name in spoiled.loc[wrong, "gender"]]
    spoiled["gender"] = spoiled["gender"].astype(faces["gender"].dtype)
    pair = correction_effect.relabel(spoiled, faces, "gender")
    np.testing.assert_array_equal(pair.changed, np.sort(wrong))
    effect = correction_effect.measure(pair, matrix, folds(faces))
    model, labels, both = (effect.change(name) for name in ("model", "labels", "both"))
    assert both["difference"] == pytest.approx(model["difference"] + labels["difference"])
    assert 0.06 < labels["difference"] < 0.11 and labels["low"] > 0  # a tenth of the truth was wrong
    assert abs(model["difference"]) < 0.03
    assert effect.n_changed["test"] == 60 and (effect.rows["tests"] == 1).all()
    assert effect.rows["p after"].mean() > 0.7
    assert (effect.rows["predicted before"] == effect.rows["value"]).mean() > 0.8
    assert len(effect.describe()) == 2


def test_faces_that_were_left_out_train_before_alone():
    faces, matrix = separable(n=400)
    after = faces.drop(index=range(20)).reset_index(drop=True)
    pair = correction_effect.relabel(faces, after, "gender", gone=faces["face_id"][:20])
    order = pd.Index(faces["face_id"]).get_indexer(pair.faces["face_id"])
    assert not pair.after.known[-20:].any() and pair.before.known.all()
    effect = correction_effect.measure(pair, matrix[order], folds(pair.faces))
    assert effect.change("model")["n"] == 380
    assert effect.rows["value"].isna().all() and len(effect.rows) == 20


def test_numbers_are_compared_by_their_error():
    faces, matrix = separable(n=400)
    age = (30 + 5 * matrix[:, 0]).round(1)
    before = faces.assign(age=pd.array(age, dtype="Float64"))
    after = before.copy()
    after.loc[:9, "age"] = after.loc[:9, "age"] + 20
    effect = correction_effect.measure(correction_effect.relabel(before, after, "age"), matrix, folds(faces))
    assert effect.metric == "mae" and effect.change("labels")["difference"] == pytest.approx(0.5, abs=0.1)
    assert len(effect.rows) == 10 and effect.rows["predicted after"].notna().all()

"""Copies of a picture are not new faces: units, counts, and what leaves the test rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from faceworkbook import row_groups, splits
from faceworkbook import tasks as tasks_of
from faceworkbook.evaluation import (
    comparison,
    cross_validation,
    excluded_copies,
    intervals,
    metrics,
    predictions,
)
from faceworkbook.tasks import Task
from faceworkbook.training import folds

GENDERS = ("male", "female")


def predictions_of(right, *, copies=1, identity=None):
    """A table of one gender: each of `right` stands in it `copies` times."""
    right = np.repeat(np.asarray(right, dtype=bool), copies)
    ids = pd.Series([f"f{i:03d}" for i in range(len(right))], dtype="string")
    groups = np.repeat(np.arange(len(right) // copies), copies) if copies > 1 else np.full(len(right), -1)
    faces = pd.DataFrame(
        {
            "face_id": ids,
            "identity": pd.array([pd.NA] * len(ids) if identity is None else identity, dtype="string"),
            "copy_group": row_groups.name_groups(ids, groups),
        }
    )
    share = np.where(right, 0.9, 0.1)
    return predictions.build(
        faces,
        Task("gender", "classes", GENDERS),
        truth=np.full(len(ids), "female", dtype=object),
        output=np.column_stack([1 - share, share]),
        split="test",
    )


def test_a_set_unpacked_three_times_is_as_sure_as_its_different_pictures():
    right = np.arange(30) != 7
    once = metrics.summary(predictions_of(right), names=["accuracy"]).iloc[0]
    thrice = metrics.summary(predictions_of(right, copies=3), names=["accuracy"]).iloc[0]
    assert (once["n"], once["n_pictures"]) == (30, 30)
    assert (thrice["n"], thrice["n_pictures"]) == (90, 30)
    assert thrice["value"] == pytest.approx(29 / 30) == once["value"]
    assert (once["low"], once["high"]) == pytest.approx((0.8333, 0.9941), abs=1e-3)
    # Wilson of 90 faces is [.907, .989]: no interval over copies may be that sure.
    assert (thrice["low"], thrice["high"]) == pytest.approx((once["low"], once["high"]))
    assert "picture" in thrice["method"]


def test_copies_of_some_pictures_make_no_interval_narrower():
    rng = np.random.default_rng(0)
    right, times = rng.random(120) < 0.9, rng.choice([1, 2, 6], 120)
    whole = predictions_of(right, copies=6)
    table = whole[np.concatenate([np.arange(6) < k for k in times])]
    table.attrs = whole.attrs
    once, several = (metrics.summary(t, names=["accuracy"]).iloc[0] for t in (predictions_of(right), table))
    assert several["n"] == times.sum() and several["n_pictures"] == 120
    assert several["high"] - several["low"] > 0.9 * (once["high"] - once["low"])


def test_one_copy_among_many_pictures_hardly_widens_an_interval():
    right = np.arange(36) < 2
    once = metrics.summary(predictions_of(right), names=["accuracy"]).iloc[0]
    twice = predictions_of(right, copies=2)
    table = twice[(np.arange(72) % 2 == 0) | (np.arange(72) < 4)]
    table.attrs = twice.attrs
    several = metrics.summary(table, names=["accuracy"]).iloc[0]
    assert (several["n"], several["n_pictures"]) == (38, 36)
    assert several["high"] - several["low"] < 1.5 * (once["high"] - once["low"])
    assert several["method"] == "Wilson over 36 pictures"


def test_copies_do_not_make_a_difference_significant():
    rng = np.random.default_rng(0)
    first, second = rng.random(40) < 0.9, rng.random(40) < 0.78

    def p_value(copies):
        models = {"a": predictions_of(first, copies=copies), "b": predictions_of(second, copies=copies)}
        compared = comparison.compare(models, metric="accuracy", seed=0)
        return float(compared.pairs.loc[compared.pairs["role"] == "chosen", "p"].iloc[0])

    assert p_value(5) > 0.3 * p_value(1)


def test_people_and_copies_are_joined_to_units():
    rows = pd.DataFrame(
        {
            "face_id": ["a", "b", "c", "d", "e", "a"],
            "identity": pd.array(["x", "y", pd.NA, pd.NA, "y", "x"], dtype="string"),
            "copy_group": pd.array(["a", "a", "c", "c", pd.NA, "a"], dtype="string"),
        }
    )
    assert intervals.resampling_units(rows).tolist() == [0, 0, 1, 1, 0, 0]
    assert intervals.number_pictures(rows).tolist() == [0, 0, 1, 1, 2, 0]
    older = rows.drop(columns="copy_group")
    assert intervals.resampling_units(older).tolist() == [0, 1, 2, 3, 1, 0]


def test_a_table_keeps_its_copies_in_a_file_and_an_older_file_has_none(tmp_path):
    table = predictions_of(np.arange(20) % 7 > 0, copies=2)
    back = predictions.read(predictions.write(table, tmp_path / "new.parquet"))
    assert metrics.rows_of(back).n_units == metrics.rows_of(back).n_pictures == 20
    older = table.drop(columns="copy_group")
    older.attrs = table.attrs
    old = predictions.read(predictions.write(older, tmp_path / "old.parquet"))
    rows = metrics.rows_of(old)
    assert (rows.n_units, rows.n_pictures, rows.counted) == (40, 40, "faces")


def test_ages_as_classes_keep_their_copies_when_they_are_read_as_a_number():
    table = predictions_of(np.arange(20) % 7 > 0, copies=2)
    table = table.rename(columns={"p:male": "p:20", "p:female": "p:30"}).assign(truth="30")
    table["predicted"] = np.where(table["p:30"] > 0.5, "30", "20")
    table.attrs["task"] = Task("age_years", "ordered", ("20", "30"), class_values=(20.0, 30.0)).to_record()
    assert metrics.rows_of(metrics.expectation(table)).n_pictures == 20


# --------------------------------------------------------------------------- labels that contradict


def faces_with_contradictions(n=240, n_copies=20, seed=0):
    """n faces, and a copy of the first n_copies of them that bears the other gender."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n)
    codes = np.append(codes, 1 - codes[:n_copies])
    rows = len(codes)
    faces = pd.DataFrame(
        {
            "face_id": pd.array([f"f{i:04d}" for i in range(rows)], dtype="string"),
            "dataset": pd.array(["toy"] * rows, dtype="string"),
            "identity": pd.array([pd.NA] * rows, dtype="string"),
            "gender": pd.Categorical(np.array(GENDERS, dtype=object)[codes], categories=GENDERS),
            "split": pd.array([pd.NA] * rows, dtype="string"),
            "fold": pd.array([pd.NA] * rows, dtype="Int64"),
        }
    )
    groups = np.full(rows, -1)
    groups[:n_copies] = groups[n:] = np.arange(n_copies)
    matrix = np.column_stack([np.where(codes == 1, 1.0, -1.0), rng.normal(size=rows)]).astype(np.float32)
    matrix[n:] = matrix[:n_copies]
    faces["copy_group"] = row_groups.name_groups(faces["face_id"], groups)
    return faces, groups, matrix


class ByFirstColumn:
    """Answers 'female' where the first number is above 0, which its copies' other labels make wrong."""

    classes_ = np.array(["male", "female"])

    def predict_proba(self, matrix):
        share = np.where(np.asarray(matrix)[:, 0] > 0, 0.9, 0.1)
        return np.column_stack([1 - share, share])


def test_what_leaves_the_test_rows_is_predicted_and_its_price_named(tmp_path):
    faces, groups, matrix = faces_with_contradictions()
    split = splits.make(faces, label="gender", seed=1, test=0.4, validation=0.1, keep_together=groups)
    excluded = split.left_out[split.left_out["reason"] == splits.CONTRADICTING]
    assert len(excluded) and set(faces["face_id"].iloc[split.contradicting]) == set(excluded["face_id"])
    assert not set(split.contradicting) & set(split.test)

    labels = tasks_of.read_labels(faces, "gender")
    table = predictions.predict(ByFirstColumn(), matrix, faces, labels, split)
    assert metrics.summary(table, names=["accuracy"]).iloc[0]["value"] == 1.0
    assert len(metrics.rows_of(table).face_id) == len(split.test)
    figures = excluded_copies.figures({"model": table}).set_index("rows")
    n, lost = len(split.test), len(split.contradicting)
    assert figures.loc[excluded_copies.WITH, "n"] == n + lost
    assert figures.loc[excluded_copies.ALONE, "value"] == pytest.approx(0.5)
    assert figures.loc[excluded_copies.WITH, "value"] == pytest.approx((n + lost / 2) / (n + lost))
    text = excluded_copies.describe(figures.reset_index())
    assert text.startswith(f"{lost} faces left the test rows") and "0.500 on them alone" in text

    back = predictions.read(predictions.write(table, tmp_path / "p.parquet"))
    assert excluded_copies.count(back) == lost
    loaded = splits.load(splits.save(split, tmp_path / "split.json", faces), faces)
    assert loaded.contradicting.tolist() == split.contradicting.tolist()
    keep = np.ones(len(faces), dtype=bool)
    keep[split.contradicting[0]] = False
    assert len(splits.restrict(split, keep).contradicting) == lost - 1


def test_nothing_left_the_test_where_no_copies_contradict():
    table = predictions_of(np.arange(20) % 7 > 0)
    figures = excluded_copies.figures({"model": table})
    assert figures.empty and excluded_copies.describe(figures).startswith("No face left the test rows")


def test_folds_name_what_left_their_test_rows():
    faces, groups, matrix = faces_with_contradictions()
    labels = tasks_of.read_labels(faces, "gender")
    sizes = splits.FoldSizes(n_folds=4, n_repeats=1, validation=0.2)
    made = splits.folds(faces, label="gender", sizes=sizes, keep_together=groups)
    fits = folds.fit_folds(matrix, labels, made, classifier=DummyClassifier())
    table = cross_validation.predictions(fits, faces)
    assert excluded_copies.count(table) == 40
    assert len(metrics.rows_of(table).face_id) == len(faces) - 40
    joined = cross_validation.with_contradicting(fits)
    assert cross_validation.scores(joined, faces)["n_test"].sum() == len(faces)
    means = [
        cross_validation.summary(cross_validation.scores(f, faces, names=["accuracy"]))
        for f in (fits, joined)
    ]
    text = cross_validation.describe_contradicting(fits, *(m.iloc[0] for m in means))
    assert text.startswith("40 faces left the test rows")


# --------------------------------------------------------------------------- numbers


def test_ages_of_copies_contradict_only_beyond_the_copies_own_noise():
    rng = np.random.default_rng(0)
    n = 200
    ages = rng.uniform(1, 80, n).round()
    noise = rng.normal(0, 2, n).round()
    noise[:4] = [1, 30, -25, 40]
    values = pd.Series(np.append(ages, ages + noise), dtype="Float64")
    groups = np.tile(np.arange(n), 2)
    limit = row_groups.tolerance(values, groups)
    assert 2 < limit < 6  # 1.96 standard deviations of a difference of whole years, here 2
    wrong = row_groups.contradictions(values, groups)
    assert wrong[[1, 2, 3]].all() and wrong[[n + 1, n + 2, n + 3]].all() and not wrong[0]
    assert wrong.sum() < 0.25 * len(wrong)


@pytest.mark.parametrize(("other", "contradicts"), [(26, False), (60, True)])
def test_few_copies_tolerate_a_year(other, contradicts):
    values = pd.Series([25, other, 40, 41, pd.NA], dtype="Float64")
    groups = np.array([0, 0, -1, 1, 1])
    assert row_groups.contradictions(values, groups).tolist() == [
        contradicts,
        contradicts,
        False,
        False,
        False,
    ]


def test_classes_tolerate_nothing():
    values = pd.Series(pd.Categorical(["male", "female", "male", None]))
    assert row_groups.tolerance(values, np.array([0, 0, 1, 1])) == 0
    assert row_groups.contradictions(values, np.array([0, 0, 1, 1])).tolist() == [True, True, False, False]


def test_a_group_is_named_by_its_first_face_whatever_its_number():
    ids = pd.Series(["b", "a", "c", "d"], dtype="string")
    assert row_groups.name_groups(ids, np.array([5, 5, -1, 2])).fillna("-").tolist() == ["a", "a", "-", "d"]

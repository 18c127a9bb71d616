"""Repeated folds in tables: every metric of every fit, spread kept apart, corrected interval."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from faceworkbook import faces, tasks
from faceworkbook.evaluation import comparison, cross_validation


@pytest.fixture
def fits():
    rng = np.random.default_rng(0)
    n = 120
    codes = rng.integers(0, 2, n)
    labels = tasks.labels_of_classes(
        np.array(["female", "male"])[codes], name="gender", classes=("male", "female")
    )
    splits = [
        SimpleNamespace(
            train=np.flatnonzero(drawn > 1), validation=np.flatnonzero(drawn == 1), test=np.flatnonzero(drawn == 0),
            repeat=repeat, fold=fold,
        )
        for repeat in range(2)
        for fold in range(3)
        for drawn in [(rng.permutation(n)) % 4]
    ]  # fmt: skip
    p = rng.random((6, n)).astype(np.float32)
    return SimpleNamespace(labels=labels, splits=tuple(splits), outputs=np.stack([1 - p, p], axis=-1))


@pytest.fixture
def table():
    people = [f"person{i % 40}" for i in range(120)]
    return faces.build({"image": [f"{i}.jpg" for i in range(120)], "identity": people}, dataset="toy")


def test_scores_agree_with_scikit_learn(fits, table):
    scored = cross_validation.scores(fits, table)
    assert scored[["repeat", "fold"]].values.tolist() == [[r, f] for r in range(2) for f in range(3)]
    rows = fits.splits[4].validation
    truth, p = fits.labels.codes[rows], fits.outputs[4][rows, 1]
    assert scored["validation_accuracy"][4] == pytest.approx(accuracy_score(truth, p > 0.5))
    assert scored["validation_auc"][4] == pytest.approx(roc_auc_score(truth, p))
    assert scored["validation_log_loss"][4] == pytest.approx(log_loss(truth, p), rel=1e-5)
    assert scored["n_test"][4] == 30


def test_predictions_bear_part_repeat_and_fold(fits, table):
    made = cross_validation.predictions(fits, table, subsets=("test",))
    assert len(made) == 6 * 30 and set(made["split"]) == {"test"}
    third = made[(made["repeat"] == 1) & (made["fold"] == 0)]
    np.testing.assert_array_equal(third["face_id"], table["face_id"].iloc[fits.splits[3].test])
    np.testing.assert_allclose(third["p:female"], fits.outputs[3][fits.splits[3].test, 1], rtol=1e-6)


def test_spread_of_folds_and_of_seeds_is_kept_apart():
    scored = pd.DataFrame(
        {
            "repeat": [0, 0, 1, 1],
            "fold": [0, 1, 0, 1],
            "n_train": 80,
            "n_test": 20,
            "test_accuracy": [0.84, 0.86, 0.85, 0.87],
        }
    )
    result = cross_validation.summary(scored).iloc[0]
    assert result["mean"] == pytest.approx(0.855)
    assert result["sd_folds"] == pytest.approx(np.std([0.84, 0.86], ddof=1))
    assert result["sd_seeds"] == pytest.approx(np.std([0.85, 0.86], ddof=1))
    half = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 20 / 80) * np.var([0.84, 0.86, 0.85, 0.87], ddof=1))
    assert result["low"] == pytest.approx(0.855 - half)
    assert result["high"] == pytest.approx(0.855 + half)


def test_repeats_of_the_same_test_rows_count_once(fits, table):
    fixed = [SimpleNamespace(**vars(s)) for s in fits.splits]
    for again, first in zip(fixed[3:], fixed[:3], strict=True):
        again.test = first.test[::-1]
    fits = SimpleNamespace(labels=fits.labels, splits=tuple(fixed), outputs=fits.outputs)
    scored = cross_validation.scores(fits, table)
    result = cross_validation.summary(scored).set_index("metric").loc["accuracy"]
    values = scored["test_accuracy"].to_numpy().reshape(2, 3).mean(axis=0)
    low, high = cross_validation.corrected_interval(
        values, n_train=scored["n_train"].mean(), n_test=scored["n_test"].mean()
    )
    assert (result["low"], result["high"]) == pytest.approx((low, high)) and result["n_fits"] == 6


def test_no_interval_leaves_the_range_of_its_metric():
    scored = pd.DataFrame({"repeat": 0, "fold": [0, 1], "n_train": 80, "n_test": 20, "test_auc": [0.9, 1.0]})
    scored = scored.assign(test_mae=[1.0, 3.0], test_bias=[-1.0, 3.0])
    result = cross_validation.summary(scored).set_index("metric")
    assert result.loc["auc", "high"] == 1 and 0 <= result.loc["auc", "low"] < 0.5
    assert result.loc["mae", "low"] == 0 and result.loc["mae", "high"] > 3 and result.loc["bias", "low"] < -1


def test_one_fit_has_no_interval():
    assert np.isnan(cross_validation.corrected_interval([0.9], n_train=80, n_test=20)).all()


def predicted(table, right):
    n = len(table)
    made = table[["face_id", "identity"]].assign(split="test", repeat=0, fold=0, truth="a")
    p = np.where(right, 0.9, 0.1)
    return made.assign(predicted=np.where(right, "a", "b"), **{"p:a": p, "p:b": 1 - p}).iloc[:n]


def test_difference_is_paired_on_the_common_faces(table):
    rng = np.random.default_rng(1)
    right = rng.random(120) < 0.8
    better = right | (rng.random(120) < 0.5)
    result = comparison.paired_difference(predicted(table, better), predicted(table, right).iloc[:100])
    assert result["n"] == 100 and result["n_units"] == 40
    assert result["difference"] == pytest.approx(better[:100].mean() - right[:100].mean())
    assert result["low"] < result["difference"] < result["high"]


def test_no_difference_of_a_table_to_itself(table):
    right = np.arange(120) % 3 > 0
    result = comparison.paired_difference(predicted(table, right), predicted(table, right))
    assert result["difference"] == 0
    # That 40 people show none leaves room for some who would.
    assert result["p"] == 1 and -0.1 < result["low"] == -result["high"] < 0


def test_the_mean_over_unequal_folds_is_weighted_by_their_rows():
    scored = pd.DataFrame({"repeat": 0, "fold": range(3), "n_train": 70, "n_test": [10, 20, 60]})
    scored["test_accuracy"] = [0.5, 0.8, 0.9]
    result = cross_validation.summary(scored).iloc[0]
    assert result["mean"] == pytest.approx((5 + 16 + 54) / 90)

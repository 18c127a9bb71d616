"""Predictions that name a class and give no probabilities: nothing is made up for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import calibration, comparison, groups, metrics, predictions
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.plots.montage import caption, rank_errors
from faceworkbook.tasks import CLASSES, Task

GENDER = Task("gender", CLASSES, ("male", "female"))
ALONE = replace(GENDER, has_probabilities=False)
NEEDING = ("auc", "log_loss", "brier")


def faces_of(n: int) -> pd.DataFrame:
    return pd.DataFrame({"face_id": [f"f{i}" for i in range(n)], "identity": pd.NA})


@pytest.fixture
def truth():
    return np.random.default_rng(0).choice(GENDER.classes, 200)


@pytest.fixture
def shares(truth):
    noise = np.random.default_rng(1).normal(0, 1, len(truth))
    score = 1 / (1 + np.exp(-(np.where(truth == "female", 1.5, -1.5) + noise)))
    return np.column_stack([1 - score, score])


@pytest.fixture
def scored(truth, shares):
    return predictions.build(faces_of(len(truth)), GENDER, truth=truth, output=shares, split="test")


@pytest.fixture
def alone(truth, scored):
    names = scored["predicted"].to_numpy()
    return predictions.build(faces_of(len(truth)), ALONE, truth=truth, output=names, split="test")


def test_the_table_has_no_columns_of_probabilities_and_comes_back_from_its_file(alone, tmp_path):
    assert not [column for column in alone if column.startswith("p:")]
    read = predictions.read(predictions.write(alone, tmp_path / "p.parquet"))
    assert predictions.class_names(read) == ["male", "female"]
    assert predictions.probabilities(read).shape == (200, 0)
    columns = ["face_id", "truth", "predicted"]
    assert read[columns].astype(str).equals(alone[columns].astype(str))


def test_figures_that_need_no_probabilities_are_the_same_and_the_others_are_left_out(alone, scored):
    with_shares = metrics.summary(scored, n_boot=50).set_index("metric")
    without = metrics.summary(alone, n_boot=50).set_index("metric")
    assert set(with_shares.index) - set(without.index) == set(NEEDING)
    columns = ["value", "low", "high", "n"]
    pd.testing.assert_frame_equal(without[columns], with_shares.loc[without.index, columns])


@pytest.mark.parametrize("metric", NEEDING)
def test_a_metric_that_needs_probabilities_is_refused_in_words(alone, metric):
    with pytest.raises(ValueError, match="without probabilities"):
        metrics.summary(alone, names=[metric])


def test_a_metric_of_ones_own_that_takes_probabilities_is_not_offered():
    metrics.register("sure", lambda truth, predicted, probabilities: float(probabilities.max()))
    try:
        assert "sure" in metrics.metrics_for(GENDER) and "sure" not in metrics.metrics_for(ALONE)
    finally:
        metrics_module = __import__("faceworkbook.evaluation.metric_definitions", fromlist=["_REGISTERED"])
        metrics_module._REGISTERED.pop("sure")


@pytest.mark.parametrize("measure", [calibration.summary, calibration.reliability, calibration.risk_coverage])
def test_calibration_is_refused_in_words(alone, measure):
    with pytest.raises(PredictionsError, match="without a probability"):
        measure(alone)


def test_a_model_with_and_one_without_probabilities_are_compared_by_accuracy(alone, scored, truth):
    other = alone.assign(predicted=np.where(np.arange(200) < 30, "male", alone["predicted"]))
    other.attrs = alone.attrs
    compared = comparison.compare({"ours": scored, "theirs": other})
    assert "McNemar" in compared.chosen["test"].iloc[0]
    expected = np.mean(scored["predicted"] == truth) - np.mean(other["predicted"] == truth)
    assert compared.chosen["difference"].iloc[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="without probabilities"):
        comparison.compare({"ours": scored, "theirs": other}, metric="auc")


def test_groups_are_judged(alone, truth):
    table = alone.assign(race=np.where(np.arange(200) % 2, "Black", "White"))
    table.attrs = alone.attrs
    by_group = groups.by_group(table, "race", n_boot=50)
    assert not set(by_group["metric"]) & set(NEEDING) and len(by_group)


def test_a_class_that_the_task_does_not_have_is_refused():
    with pytest.raises(PredictionsError, match="'woman'"):
        predictions.build(
            faces_of(2), ALONE, truth=["male", "female"], output=["male", "woman"], split="test"
        )


def test_probabilities_in_a_table_that_claims_none_are_refused(alone, tmp_path):
    other = alone.assign(**{"p:male": 0.5, "p:female": 0.5})
    other.attrs = alone.attrs
    with pytest.raises(PredictionsError, match="p"):
        predictions.write(other, tmp_path / "p.parquet")


def test_errors_are_shown_without_a_probability(alone):
    wrong = rank_errors(alone)
    assert (wrong["truth"] != wrong["predicted"]).all() and wrong["confidence"].isna().all()
    assert caption(wrong.iloc[0].to_dict(), "a/b.jpg").splitlines()[1:] == ["b.jpg"]

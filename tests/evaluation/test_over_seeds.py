"""Settings of several seeds on the same test rows, and over several random splits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import comparison, over_seeds, predictions
from faceworkbook.evaluation.comparison import ComparisonError
from faceworkbook.tasks import Task
from tests.evaluation.made_predictions import class_predictions, faces_table

TASK = Task("gender", "classes", ("female", "male"))


def fit(ease, *, seed, people=None, shift=0.0, noise=0.8):
    """Predictions of one fit: each face has its ease, each fit its shift and its own noise."""
    rng, n = np.random.default_rng(seed), len(ease)
    truth = np.arange(n) % 2
    share = 1 / (1 + np.exp(-(ease + shift + rng.normal(0, noise, n))))
    output = np.where(truth[:, None] == [0, 1], share[:, None], 1 - share[:, None])
    names = np.array(TASK.classes, dtype=object)
    return predictions.build(
        faces_table(n, people=people), TASK, truth=names[truth], output=output, split="test"
    )


def fits(rng, *, n=300, seeds=3, between=0.3, gain=0.0, people=None):
    common = rng.normal(1.5, 1.0, n)
    return {
        name: [
            fit(own, seed=rng.integers(2**31), people=people, shift=rng.normal(0, between))
            for _ in range(seeds)
        ]
        for name, own in (("a", common + rng.normal(0, 1, n)), ("b", common + rng.normal(0, 1, n) + gain))
    }


@pytest.mark.parametrize("people", [None, 60])
def test_equally_good_settings_are_called_different_about_one_time_in_twenty(people):
    rng = np.random.default_rng(0)
    p = [
        over_seeds.compare(fits(rng, people=people), metric="accuracy").chosen["p"].iloc[0] for _ in range(80)
    ]
    assert sum(value < 0.05 for value in p) <= 10  # binomial(80, .05): one time in 2,000 more


def test_a_difference_between_settings_is_seen():
    compared = over_seeds.compare(
        fits(np.random.default_rng(1), n=800, gain=1.5, between=0.1), metric="accuracy"
    )
    row = compared.chosen.iloc[0]
    assert row["test"] == over_seeds.TEST and row["verdict"] == "differ" and row["high"] < 0
    assert row["counted"] == "faces and 3 + 3 seeds" and "a is worse than b" in row["sentence"]
    values = [
        (t["truth"] == t["predicted"]).mean()
        for t in fits(np.random.default_rng(1), n=800, gain=1.5, between=0.1)["a"]
    ]
    assert compared.runs["value"].iloc[0] == pytest.approx(np.mean(values))
    assert compared.runs["sd_seeds"].iloc[0] == pytest.approx(np.std(values, ddof=1))


def test_seeds_that_differ_much_widen_the_interval():
    """With the rows alone the interval would be about the fits at hand."""
    narrow, wide = (
        over_seeds.compare(fits(np.random.default_rng(2), between=between), metric="accuracy").chosen.iloc[0]
        for between in (0.0, 1.5)
    )
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_single_fits_are_compared_as_ever():
    own = {"a": class_predictions(seed=1), "b": class_predictions(seed=2, signal=1.0)}
    own["b"]["truth"] = own["a"]["truth"]
    alone = comparison.compare(own, metric="accuracy")
    compared = over_seeds.compare({name: [table] for name, table in own.items()}, metric="accuracy")
    pd.testing.assert_frame_equal(compared.pairs, alone.pairs)
    assert compared.runs["seeds"].tolist() == [1, 1]


def test_a_setting_whose_other_fits_failed_is_compared_all_the_same():
    own = fits(np.random.default_rng(3), n=800, gain=1.5, between=0.1)
    own["b"] = own["b"][:1]
    row = over_seeds.compare(own, metric="accuracy").chosen.iloc[0]
    assert row["counted"] == "faces and 3 + 1 seeds" and np.isfinite([row["low"], row["high"]]).all()


def test_numbers_and_areas_under_the_curve_have_intervals_over_seeds_too():
    own = fits(np.random.default_rng(4), gain=0.5)
    for metric in ("auc", "log_loss", "macro_f1"):
        runs = over_seeds.compare(own, metric=metric).runs
        assert (runs["low"] < runs["value"]).all() and (runs["value"] < runs["high"]).all()


def test_other_test_rows_are_refused():
    own = fits(np.random.default_rng(5))
    own["b"] = [table.iloc[10:] for table in own["b"]]
    with pytest.raises(ComparisonError, match="10 of 300 test rows only in a, fit 1"):
        over_seeds.compare(own, metric="accuracy")


def test_a_single_setting_has_its_mean_and_no_pair():
    own = {"a": fits(np.random.default_rng(6))["a"]}
    assert over_seeds.compare(own, metric="accuracy").pairs.empty
    assert over_seeds.summarise(own, metric="accuracy")["seeds"].tolist() == [3]


def test_splits_are_compared_by_the_corrected_test():
    values = {"a": {"1": 0.90, "2": 0.92, "3": 0.91}, "b": {"1": 0.80, "2": 0.81, "3": 0.82, "4": 0.1}}
    (row,) = over_seeds.compare_splits(values, metric="accuracy", n_train=500, n_test=100).to_dict("records")
    d = np.array([0.10, 0.11, 0.09])
    assert row["difference"] == pytest.approx(0.1) and "Nadeau-Bengio" in row["test"] and row["n"] == 3
    reach = 4.302653 * d.std(ddof=1) * np.sqrt(1 / 3 + 100 / 500)
    assert row["high"] == pytest.approx(0.1 + reach, rel=1e-5)
    values["b"] = {"9": 0.8}
    assert over_seeds.compare_splits(values, metric="accuracy", n_train=500, n_test=100).empty

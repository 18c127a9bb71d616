"""Intervals agree with other libraries on independent rows and respect units and strata."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from faceworkbook.evaluation import intervals


def test_wilson_agrees_with_scipy_and_is_nan_without_rows():
    low, high = intervals.wilson([8, 0, 0], [10, 5, 0])
    expected = stats.binomtest(8, 10).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))
    assert low[1] == pytest.approx(0) and 0 < high[1] < 1
    assert np.isnan(low[2]) and np.isnan(high[2])


def test_bca_of_a_mean_agrees_with_scipy():
    sample = np.random.default_rng(0).exponential(size=120)
    got = intervals.bootstrap(lambda w: (w @ sample) / w.sum(axis=1), 120, n_boot=20_000)
    expected = stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="BCa", rng=1
    ).confidence_interval
    # The house widens by n / (n - 1) and a t quantile: 1 % at n = 120.
    assert got.low[0] == pytest.approx(expected.low, abs=0.02)
    assert got.high[0] == pytest.approx(expected.high, abs=0.02)


def test_units_are_people_or_faces():
    rows = pd.DataFrame(
        {
            "face_id": ["a", "b", "c", "d", "d"],
            "identity": pd.array(["p", "p", None, None, None], dtype="string"),
        }
    )
    assert intervals.resampling_units(rows).tolist() == [0, 0, 1, 2, 2]
    # A person who bears the name of a face is not that face.
    rows["identity"] = ["c", None, None, None, None]
    assert len(set(intervals.resampling_units(rows)[:3])) == 3


def test_strata_keep_their_sizes():
    strata = np.array([0] * 30 + [1] * 5)
    weights = intervals.draw_weights(35, n_boot=50, seed=0, strata=strata)
    assert (weights[:, :30].sum(axis=1) == 30).all() and (weights[:, 30:].sum(axis=1) == 5).all()
    free = intervals.draw_weights(35, n_boot=50, seed=0)
    assert len(set(free[:, 30:].sum(axis=1))) > 1


def test_chunks_of_resamples_are_the_same_resamples(monkeypatch):
    sample = np.random.default_rng(0).normal(size=70)
    whole = intervals.draw_weights(70, n_boot=40, seed=3)
    monkeypatch.setattr(intervals, "_CHUNK_VALUES", 500)
    np.testing.assert_array_equal(intervals.draw_weights(70, n_boot=40, seed=3), whole)
    np.testing.assert_allclose(
        intervals.resample(lambda w: w @ sample, 70, n_boot=40, seed=3), whole @ sample
    )


def test_one_unit_has_no_interval():
    got = intervals.bootstrap(lambda w: w.sum(axis=1), 1)
    assert np.isnan(got.low[0]) and np.isnan(got.high[0]) and got.value[0] == 1


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"'studentised'.*'bca' and 'percentile'"):
        intervals.bootstrap(lambda w: w.mean(axis=1), 9, method="studentised")

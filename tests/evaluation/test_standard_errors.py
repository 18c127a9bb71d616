"""Standard errors over people, and figures made from them, against formulas and other libraries."""

import made_predictions as made
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from faceworkbook.evaluation import figures, intervals, metrics, predictions, standard_errors
from faceworkbook.evaluation.figures import Figure
from faceworkbook.tasks import Task

# People by number of pictures in the development subset of Adience, as it is: 137 people, 38 effective ones.
SIZES = [149, 118, 97, 88, 84, 84, 80, 78, 74, 73, *[40] * 20, *[12] * 27, *[4] * 40, *[1] * 40]


def one_way(rng, sizes, *, signal=1.7, correlation=0.35):
    """Faces of people, right where a latent normal score is above 0."""
    who = np.repeat(np.arange(len(sizes)), sizes)
    own = rng.normal(size=len(sizes))[who] * np.sqrt(correlation)
    return who, signal + own + rng.normal(size=len(who)) * np.sqrt(1 - correlation) > 0


def test_independent_rows_have_the_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=400)
    rows = np.arange(400)
    got = standard_errors.error_of_sum((values - values.mean()) / 400, rows, rows)
    assert got.error == pytest.approx(stats.sem(values), rel=2e-3)
    assert got.effective == pytest.approx(400) and got.freedom == pytest.approx(399, rel=0.2)


def test_equal_people_have_the_cluster_robust_error_of_statsmodels():
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(200), 5)
    values = rng.normal(size=200)[who] + rng.normal(size=1000)
    fit = sm.OLS(values, np.ones(1000)).fit(cov_type="cluster", cov_kwds={"groups": who})
    got = standard_errors.error_of_sum((values - values.mean()) / 1000, who, np.arange(1000))
    assert got.error == pytest.approx(fit.bse[0], rel=0.02)


def test_the_correlation_of_a_persons_faces_is_estimated():
    rng = np.random.default_rng(2)
    who = np.repeat(np.arange(600), rng.integers(1, 40, 600))
    values = rng.normal(size=600)[who] * np.sqrt(0.4) + rng.normal(size=len(who)) * np.sqrt(0.6)
    z = values - values.mean()
    sums, squares, sizes = np.bincount(who, z), np.bincount(who, z**2), np.bincount(who).astype(float)
    rho = standard_errors.shrunken_correlation(sums, squares, sizes, float((z**2).mean()))
    assert rho == pytest.approx(0.4, abs=0.05)
    assert standard_errors.shrunken_correlation(z[:5], z[:5] ** 2, np.ones(5), 1.0) == 0


def test_a_face_of_several_rows_counts_once():
    rng = np.random.default_rng(3)
    z = rng.normal(size=90)
    z -= z.mean()
    once = standard_errors.error_of_sum(z / 90, np.arange(90), np.arange(90))
    rows = np.repeat(np.arange(90), 5)
    five_times = standard_errors.error_of_sum(z[rows] / 450, rows, rows)
    assert (five_times.error, five_times.freedom) == pytest.approx((once.error, once.freedom))


def test_few_people_of_a_class_are_few_degrees_of_freedom():
    people = np.repeat(np.arange(30), 10)
    rare = (people < 6).astype(int)
    z = np.where(rare, 8.0, 1.0) * np.random.default_rng(4).choice([-1, 1], 300)
    got = standard_errors.error_of_sum(z / 300, people, np.arange(300), strata=rare)
    assert got.effective < 8 and got.freedom < 8
    assert standard_errors.effective_units(people, np.arange(300)) == pytest.approx(30)
    assert standard_errors.effective_units(people, np.arange(300), strata=rare) == pytest.approx(6)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "auc", "log_loss", "brier"])
def test_contributions_are_those_of_a_row_that_is_left_out(metric):
    table = made.class_predictions(120, classes=("a", "b", "c"))
    rows = metrics.rows_of(table)
    of = metrics.pick(metric, rows.task)
    left_out = of.value(rows) - of.statistic(rows)(1 - np.eye(120))
    assert of.contributions(rows)[:, 0] == pytest.approx(left_out, rel=0.05, abs=2e-4)
    assert of.contributions(rows).sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias", "r2", "within_5"])
def test_contributions_of_numbers_are_those_of_a_row_that_is_left_out(metric):
    rows = metrics.rows_of(made.number_predictions(150))
    of = metrics.pick(metric, rows.task)
    left_out = of.value(rows) - of.statistic(rows)(1 - np.eye(150))
    assert of.contributions(rows)[:, 0] == pytest.approx(left_out, rel=0.1, abs=2e-3)


def test_intervals_stay_inside_what_a_metric_allows():
    share = Figure(0.9, error=0.05, freedom=9, bounds=(0, 1))
    reach = stats.t.ppf(0.975, 9) * 0.05 / (0.9 * 0.1)
    expected = [1 / (1 + np.exp(-(np.log(9) + sign * reach))) for sign in (-1, 1)]
    assert share.interval() == pytest.approx(expected)
    years = Figure(4.0, error=3.0, freedom=5, bounds=(0, np.inf)).interval()
    assert years == pytest.approx([4 * np.exp(sign * stats.t.ppf(0.975, 5) * 0.75) for sign in (-1, 1)])
    explained = Figure(0.8, error=0.3, freedom=5, bounds=(-np.inf, 1)).interval()
    assert explained[0] < 0.8 < explained[1] < 1
    assert Figure(1.5, error=0.5, freedom=8).interval()[0] == pytest.approx(1.5 - stats.t.ppf(0.975, 8) * 0.5)
    assert np.isnan(Figure(0.5).interval()).all()
    wild = Figure(0.999, error=5.0, freedom=1, bounds=(0, 1)).interval(1 - 1e-12)
    assert wild == pytest.approx((0, 1))


def test_two_people_give_no_difference_of_450_percent():
    table = made.class_predictions(40, people=2)
    row = metrics.summary(table, names=["accuracy"]).iloc[0]
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert "below 25 it may cover less than 95 %" in row["method"]


def test_what_a_few_large_errors_decide_is_marked():
    """A few errors of 20 years among many of 1: their squares are the variance, so that 95 % are not covered."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(10, 80, 1000)
    error = rng.normal(size=1000)
    task, faces = Task("age", "number", unit="years"), made.faces_table(1000)
    calm, wild = (
        predictions.build(faces, task, truth=truth, output=truth + e, split="test")
        for e in (error, np.where(truth > 79.7, 20, error))
    )
    marks = [
        metrics.summary(table, names=["mae", "rmse", "within_5"])
        .set_index("metric")["method"]
        .str.contains("a few decide")
        for table in (calm, wild)
    ]
    assert not marks[0].any()
    assert marks[1].to_dict() == {"mae": True, "rmse": True, "within_5": False}
    assert metrics.doubt(Figure(0.9, 0.02, freedom=12, effective=30), metrics.find("accuracy")) == ""
    few, many = (
        metrics.doubt(Figure(0.9, effective=n, counts=n), metrics.find("accuracy")) for n in (30, 300)
    )
    assert "in steps" in few and many == ""


def test_p_belongs_to_the_interval():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first, second = (Figure(rng.uniform(0.6, 0.95), 0.05, 12, bounds=(0, 1)) for _ in range(2))
        low, high = figures.difference_interval(first, second)
        p = figures.p_of_difference(first, second)
        assert (p < 0.05) == (low > 0 or high < 0)
        at = figures.difference_interval(first, second, confidence=1 - p)
        assert min(np.abs(at)) < 1e-4
    assert figures.p_of_difference(first, first) == 1
    assert np.isnan(figures.p_of_difference(first, Figure(0.5)))


def test_the_same_people_on_both_sides_make_a_difference_surer():
    shared = np.random.default_rng(5).normal(size=50)
    first = Figure(0.9, 0.03, 40, bounds=(0, 1), by_unit=shared)
    alike = Figure(0.8, 0.03, 40, bounds=(0, 1), by_unit=shared * 0.5)
    other = Figure(0.8, 0.03, 40, bounds=(0, 1), by_unit=np.zeros(50))
    assert figures.correlation(first, alike) == pytest.approx(1)
    assert np.ptp(figures.difference_interval(first, alike)) < np.ptp(
        figures.difference_interval(first, other)
    )


def test_intervals_of_people_with_unequal_numbers_of_pictures_cover():
    """The percentile of people that a bootstrap draws covered .905 of .95; see docs/how_intervals_were_checked.md."""
    truth, hits, runs = stats.norm.cdf(1.7), {"here": 0, "bootstrap": 0}, 300
    for seed in range(runs):
        who, right = one_way(np.random.default_rng(seed), SIZES)
        z = (right - right.mean()) / len(right)
        made_error = standard_errors.error_of_sum(z, who, np.arange(len(who)))
        low, high = Figure(right.mean(), made_error.error, made_error.freedom, bounds=(0, 1)).interval()
        hits["here"] += low <= truth <= high
        sums, sizes = np.bincount(who, right), np.bincount(who)
        got = intervals.bootstrap(lambda w: (w @ sums) / (w @ sizes), len(sizes), n_boot=200, seed=seed)  # noqa: B023
        hits["bootstrap"] += got.low[0] <= truth <= got.high[0]
    # 300 runs of a 95 % interval: fewer than 272 hits have a chance of 1 in 1,000.
    assert hits["here"] >= 272
    assert hits["bootstrap"] < hits["here"]


def test_class_figures_of_people_agree_with_metrics_of_that_class():
    table = made.class_predictions(300, people=60)
    rows = metrics.rows_of(table)
    each = metrics.per_class(table).set_index("class")
    hit = rows.truth[rows.truth == 1] == rows.predicted[rows.truth == 1]
    assert each.loc["female", "recall"] == pytest.approx(hit.mean())
    assert (each["recall_low"] < each["recall"]).all() and (each["recall"] < each["recall_high"]).all()
    share = pd.DataFrame({"who": rows.units[rows.truth == 1], "hit": hit})
    fit = sm.OLS(share["hit"].astype(float), np.ones(len(share))).fit(
        cov_type="cluster", cov_kwds={"groups": share["who"]}
    )
    width = each.loc["female", "recall_high"] - each.loc["female", "recall_low"]
    assert width == pytest.approx(2 * 1.99 * fit.bse.iloc[0], rel=0.15)


def test_all_right_of_unequal_people_counts_effective_people():
    faces = made.faces_table(100).assign(identity=["a"] * 60 + [f"p{i}" for i in range(40)])
    table = predictions.build(
        faces, Task("gender", classes=("m", "f")), truth=["m", "f"] * 50, output=np.tile([0.1, 0.9], 50), split="test",
    )  # fmt: skip
    row = metrics.summary(table, names=["accuracy"]).iloc[0]
    effective = 100**2 / (60**2 + 40)
    assert row["value"] == 1 and row["low"] == pytest.approx(effective / (effective + 1.96**2), abs=1e-3)
    assert row["method"] == "Wilson over 3 effective of 41 identities"

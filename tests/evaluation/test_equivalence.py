"""A difference against a margin: two one-sided tests, the posterior over folds, what would decide."""

import made_predictions as made
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats
from statsmodels.stats.weightstats import ttost_paired

from faceworkbook.evaluation import comparison, equivalence, metrics, paired_proportions, significance
from faceworkbook.evaluation.comparison_tables import PairOptions, make_pairs_table
from faceworkbook.evaluation.equivalence import BEYOND, EQUIVALENT, UNDECIDED


def paired_t(d):
    """Paired t test of the values d, as a `Result`."""
    d = np.asarray(d, dtype=float)
    return significance.t_over_folds("paired t", d, 0.0, "")


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.3, 0.5, -0.3, 1.0])
@pytest.mark.parametrize("margin", [0.2, 0.4, 0.7])
def test_two_one_sided_tests_agree_with_statsmodels(shift, margin):
    rng = np.random.default_rng(3)
    a = rng.normal(size=40)
    b = a - rng.normal(shift, 1, 40)
    result = paired_t(a - b)
    p, _, _ = ttost_paired(a, b, -margin, margin)
    assert (equivalence.judge(result, margin) == EQUIVALENT) == (p < 0.05)
    assert (equivalence.judge(result, margin) == BEYOND) == (
        (result.low >= margin) or (result.high <= -margin)
    )


def test_nothing_is_judged_without_a_margin():
    assert equivalence.judge(paired_t([0.1, 0.2, 0.3]), 0.0) == ""
    with pytest.raises(ValueError, match=r"margin=-0.1; allowed are 0 .none. and more"):
        equivalence.margin_of(metrics.ACCURACY, -0.1)


@pytest.mark.parametrize(
    ("name", "margin"), [("accuracy", 0.01), ("within_5", 0.01), ("log_loss", 0), ("mae", 0), ("bias", 0)]
)
def test_the_margin_is_one_in_a_hundred_for_figures_in_0_to_1_and_none_for_others(name, margin):
    assert equivalence.margin_of(metrics.find(name)) == margin
    assert equivalence.margin_of(metrics.find(name), 0.5) == 0.5


def test_the_posterior_of_folds_by_hand():
    """Density of the t posterior as Corani and Benavoli (2015, equation 9) give it, integrated numerically."""
    d = np.array([0.02, -0.01, 0.03, 0.00, 0.01, 0.04, -0.02, 0.01, 0.02, 0.00])
    n, rho, margin = len(d), 0.1, 0.01
    result = significance.nadeau_bengio(d, n_train=270, n_test=30)
    scale = np.sqrt((1 / n + rho / (1 - rho)) * d.var(ddof=1))

    def density(x):
        z, v = (x - d.mean()) / scale, n - 1
        constant = special.gamma((v + 1) / 2) / (special.gamma(v / 2) * np.sqrt(v * np.pi) * scale)
        return constant * (1 + z**2 / v) ** (-(v + 1) / 2)

    got = equivalence.correlated_t(result, margin)
    assert got.within == pytest.approx(integrate.quad(density, -margin, margin)[0])
    assert got.higher == pytest.approx(integrate.quad(density, margin, 1)[0], abs=1e-6)
    assert got.lower + got.within + got.higher == pytest.approx(1)
    # Hand: scale sqrt(.2111 x .000333) = .00839, t = (-+.01 - .01) / .00839 = -2.384 and 0 with 9 degrees of freedom.
    assert (got.lower, got.higher) == pytest.approx((0.0205, 0.5), abs=5e-4)


def test_folds_that_do_not_differ_have_no_posterior():
    result = significance.nadeau_bengio(np.full(5, 0.02), n_train=80, n_test=20)
    assert np.isnan(equivalence.correlated_t(result, 0.01).within)
    assert equivalence.judge(result, 0.01) == UNDECIDED


def test_equivalence_is_claimed_wrongly_in_5_percent_at_the_margin():
    """Two models that differ by the margin exactly; Tango's 90 % interval on few discordant faces."""
    rng, wrong, n = np.random.default_rng(0), 0, 2000
    for _ in range(1000):
        a, b, _ = rng.multinomial(n, [0.03, 0.02, 0.95])
        low, high = paired_proportions.paired_proportions_interval(int(a), int(b), n, confidence=0.9)
        wrong += low > -0.01 and high < 0.01
    assert 0.03 <= wrong / 1000 <= 0.07


@pytest.mark.parametrize("gap", [0.0, 0.01])
def test_the_faces_that_would_decide_do_decide_in_80_percent(gap):
    """Equal models are judged equivalent, models that differ by the margin are judged to differ."""
    rng, decided = np.random.default_rng(1), 0
    sd = np.sqrt(0.05 - gap**2)
    n = int(equivalence.faces_needed(0.01, sd / np.sqrt(500), n=500))
    for _ in range(1000):
        a, b, _ = rng.multinomial(n, [(0.05 + gap) / 2, (0.05 - gap) / 2, 0.95])
        right = np.arange(n) < a
        result = paired_proportions.mcnemar(right, (np.arange(n) >= a) & (np.arange(n) < a + b))
        decided += result.p < 0.05 if gap else equivalence.judge(result, 0.01) == EQUIVALENT
    assert decided / 1000 == pytest.approx(0.8, abs=0.04)


def test_a_difference_that_is_detectable_is_detected_in_80_percent():
    # A z test of one mean: power by the normal distribution.
    from statsmodels.stats.power import NormalIndPower

    effect = equivalence.detectable(1 / np.sqrt(200))
    assert NormalIndPower(ddof=0).power(effect, 200, 0.05, ratio=0) == pytest.approx(0.8, abs=1e-3)


def predicted(n, *, won, lost, people=None):
    """Two models on n faces; the first alone is right on `won`, the second alone on `lost`, both on 90 % of the rest."""
    truth = np.zeros(n, dtype=int)
    right = np.arange(n) % 10 > 0
    first, second = right.copy(), right.copy()
    first[:won], second[:won] = True, False
    first[won : won + lost], second[won : won + lost] = False, True
    base = made.class_predictions(n, people=people, truth=truth)
    tables = {}
    for name, ok in (("first", first), ("second", second)):
        share = np.where(ok, 0.9, 0.1)
        tables[name] = base.assign(
            predicted=np.where(ok, "male", "female"), **{"p:male": share, "p:female": 1 - share}
        )
    return tables


@pytest.mark.parametrize(
    ("won", "lost", "relevance", "sentence"),
    [
        (200, 20, BEYOND, "first is better than second by at least the margin of 0.01: accuracy +0.0360"),
        (20, 200, BEYOND, "first is worse than second by at least the margin of 0.01: accuracy -0.0360"),
        (
            24,
            4,
            EQUIVALENT,
            "first is better than second, yet equivalent within the margin of 0.01 (90 % interval +0.00",
        ),
        (10, 9, EQUIVALENT, "first and second are equivalent within the margin of 0.01 (90 % interval -0.00"),
        (100, 40, UNDECIDED, "Whether by the margin of 0.01 is undecided: about "),
        (60, 55, UNDECIDED, "first and second: no significant difference (95 % interval -0.0"),
    ],
)
def test_a_difference_is_put_in_words_against_its_margin(won, lost, relevance, sentence):
    n = 1000 if relevance == UNDECIDED and won == 60 else 5000
    result = comparison.compare(predicted(n, won=won, lost=lost), n_boot=100)
    row = result.chosen.iloc[0]
    assert row["relevance"] == relevance and sentence in row["sentence"] and result.margin == 0.01
    if relevance == UNDECIDED:
        assert f"about {row['faces_needed']:,.0f} test faces would decide (80% power)" in row["sentence"]


def test_people_that_would_decide_are_counted_too():
    row = comparison.compare(predicted(2000, won=60, lost=55, people=200), n_boot=200).chosen.iloc[0]
    # The people are alike: as many faces a person.
    assert row["faces_needed"] / row["units_needed"] == pytest.approx(10, rel=0.01)
    assert f"test faces ({row['units_needed']:,.0f} people) would decide" in row["sentence"]


def test_a_difference_that_holms_adjustment_takes_away_is_not_beyond_the_margin():
    z = np.array([-1.2, -0.2, 0.3, 1.1])
    result = paired_t(0.03 + (z - z.mean()) / z.std(ddof=1) * 0.03 * 2 / 3.4)
    assert result.p < 0.05 and equivalence.judge(result, 0.0005) == BEYOND
    table = make_pairs_table([("a", other, result) for other in "bc"], metrics.ACCURACY, PairOptions(0.0005))
    assert table["verdict"].tolist() == ["no significant difference"] * 2
    assert table["relevance"].tolist() == [UNDECIDED] * 2


def folded(signal, *, seed, n=1000):
    truth = np.random.default_rng(1).integers(0, 2, n)
    tables = []
    for repeat in range(3):
        table = made.class_predictions(n, signal=signal, seed=seed * 10 + repeat, truth=truth)
        tables.append(table.assign(repeat=repeat, fold=np.random.default_rng(repeat).permutation(n) % 5))
    return pd.concat(tables, ignore_index=True)


def test_folds_are_judged_by_the_posterior_and_loss_turns_it_round():
    runs = {"strong": folded(3.0, seed=1), "weak": folded(0.5, seed=2)}
    row = comparison.compare(runs).chosen.iloc[0]
    assert row["relevance"] == BEYOND and row["probability_better"] > 0.99
    assert "strong is better than weak by at least the margin" in row["sentence"]
    loss = comparison.compare(runs, metric="log_loss", margin=0.01).chosen.iloc[0]
    assert loss["difference"] < 0 and loss["probability_better"] > 0.99
    shares = row[["probability_better", "probability_equivalent", "probability_worse"]]
    assert shares.sum() == pytest.approx(1) and np.isnan(row["units_needed"])
    alike = {"a": runs["strong"], "b": folded(3.0, seed=3)}
    assert comparison.compare(alike, margin=0.2).chosen["relevance"][0] == EQUIVALENT


def test_a_paired_difference_is_judged_by_its_margin():
    tables = predicted(5000, won=10, lost=9, people=500)
    moved = comparison.paired_difference(tables["first"], tables["second"], margin=0.01, n_boot=200)
    assert (moved["relevance"], moved["margin"]) == (EQUIVALENT, 0.01)
    assert comparison.paired_difference(tables["first"], tables["second"], n_boot=50)["relevance"] == ""


def test_stats_of_a_t_result_are_those_of_scipy():
    d = np.random.default_rng(0).normal(0.1, 1, 30)
    result = paired_t(d)
    expected = stats.ttest_1samp(d, 0)
    assert (result.low_90, result.high_90) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))

"""Every test agrees with another library or a worked example, and keeps its 5 %."""

import numpy as np
import pytest
from mlxtend import evaluate as mlxtend
from scipy import stats
from sklearn import metrics as reference
from statsmodels.stats.multitest import multipletests

from faceworkbook.evaluation import (
    bootstrap_tests,
    paired_proportions,
    pseudo_replication,
    roc_area,
    significance,
    standard_errors,
)


def right_of(n=500, models=2, seed=0):
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n)
    return np.column_stack([rng.normal(size=n) + hard < 1 + 0.15 * m for m in range(models)])


def test_mcnemar_agrees_with_mlxtend():
    a, b = right_of().T
    got = paired_proportions.mcnemar(a, b)
    table = mlxtend.mcnemar_table(y_target=np.ones(500), y_model1=a.astype(int), y_model2=b.astype(int))
    assert got.p == pytest.approx(mlxtend.mcnemar(table, exact=True)[1])
    assert got.difference == pytest.approx(a.mean() - b.mean())


def test_mcnemar_by_hand():
    # 10 discordant faces, 9 won by the first: p = 2 (1 + 10) / 2^10.
    a = np.array([True] * 9 + [False] + [True] * 90)
    b = np.array([False] * 9 + [True] + [True] * 90)
    got = paired_proportions.mcnemar(a, b)
    assert got.p == pytest.approx(22 / 1024)
    assert got.effect == pytest.approx(0.4)
    assert 0 < got.low < got.difference < got.high


@pytest.mark.parametrize("won", range(11))
def test_mcnemars_interval_leaves_out_zero_exactly_when_significant(won):
    a = np.array([True] * won + [False] * (10 - won))
    got = paired_proportions.mcnemar(a, ~a)
    assert (got.p < 0.05) == (not got.low <= 0 <= got.high)


def test_models_without_a_discordant_face_do_not_differ():
    a = np.array([True, False, True])
    got = paired_proportions.mcnemar(a, a)
    assert (got.p, got.difference) == (1, 0)
    # No discordant face among three says little: an interval that is a point would claim certainty.
    assert -1 <= got.low < -0.3 and 0.3 < got.high <= 1
    assert paired_proportions.cochrans_q(np.column_stack([a, a, a])).p == 1


def test_cochrans_q_agrees_with_mlxtend():
    right = right_of(models=4)
    q, p = mlxtend.cochrans_q(np.ones(500), *right.astype(int).T)
    got = paired_proportions.cochrans_q(right)
    assert (got.statistic, got.p) == pytest.approx((q, p))


def test_holm_agrees_with_statsmodels():
    p = [0.01, 0.04, 0.03, 0.2, 0.5]
    np.testing.assert_allclose(significance.holm(p), multipletests(p, method="holm")[1])


def test_nadeau_bengio_turns_the_published_t_of_seven_into_two_point_six():
    # 5 x 5 folds: sqrt(1/25 / (1/25 + 1/4)) of the naive t.
    d = np.random.default_rng(0).normal(size=25)
    d = (d - d.mean()) / d.std(ddof=1) + 7.0 / 5
    assert pseudo_replication.naive_paired_t(d).statistic == pytest.approx(stats.ttest_1samp(d, 0).statistic)
    assert pseudo_replication.naive_paired_t(d).statistic == pytest.approx(7.0)
    got = significance.nadeau_bengio(d, n_train=400, n_test=100)
    assert got.statistic == pytest.approx(2.6, abs=0.01)


def test_nadeau_bengio_as_in_scikit_learns_example():
    d = np.array([0.02, -0.01, 0.03, 0.00, 0.01, 0.04, -0.02, 0.01, 0.02, 0.00])
    n_train, n_test = 270, 30
    # plot_grid_search_stats.py: corrected_std and compute_corrected_ttest.
    corrected_std = np.sqrt(np.var(d, ddof=1) * (1 / len(d) + n_test / n_train))
    t = np.mean(d) / corrected_std
    got = significance.nadeau_bengio(d, n_train=n_train, n_test=n_test)
    assert got.statistic == pytest.approx(t)
    assert got.p == pytest.approx(2 * stats.t.sf(np.abs(t), len(d) - 1))
    assert got.low == pytest.approx(np.mean(d) - stats.t.ppf(0.975, 9) * corrected_std)


class _Scripted:
    """An estimator whose scores are written down beforehand, for mlxtend's functions."""

    _estimator_type = "classifier"

    def __init__(self, scores):
        self.scores = list(scores)

    def fit(self, x, y):
        return self

    def score(self, x, y):
        return self.scores.pop(0)


def test_five_by_two_f_agrees_with_mlxtend():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.9, 0.02, (5, 2)), rng.normal(0.88, 0.02, (5, 2))
    f, p = mlxtend.combined_ftest_5x2cv(
        _Scripted(a.ravel()), _Scripted(b.ravel()), np.zeros((40, 1)), np.arange(40) % 2,
        scoring=lambda model, x, y: model.score(x, y), random_seed=0,
    )  # fmt: skip
    got = significance.five_by_two_f(a - b)
    assert (got.statistic, got.p) == pytest.approx((f, p))


def test_the_interval_of_the_f_test_leaves_out_0_exactly_where_p_is_below_5_percent():
    rng, significant = np.random.default_rng(5), 0
    for _ in range(300):
        d = rng.normal(rng.uniform(0, 0.03), 0.015, (5, 2)) + rng.normal(0, 0.005, (5, 1))
        got = significance.five_by_two_f(d)
        assert (got.p < 0.05) != (got.low <= 0 <= got.high)
        significant += got.p < 0.05
        if np.isfinite(got.low):
            at_the_end = significance.five_by_two_f(d - got.low)
            assert at_the_end.p == pytest.approx(0.05)
    assert 50 < significant < 250


def test_unequal_folds_are_weighted_by_their_test_rows():
    d, rows = np.array([0.01, 0.03, 0.02, 0.06]), np.array([10, 20, 30, 40])
    got = significance.nadeau_bengio(d, n_train=75, n_test=25, weights=rows)
    mean = (d * rows).sum() / 100
    square = (rows / 25 * (d - mean) ** 2).sum() / 3
    assert got.difference == pytest.approx(mean)
    assert got.error == pytest.approx(np.sqrt((1 / 4 + 1 / 3) * square))
    alike = significance.nadeau_bengio(d, n_train=75, n_test=25, weights=np.full(4, 25))
    assert alike == significance.nadeau_bengio(d, n_train=75, n_test=25)


def test_welch_agrees_with_scipy():
    a, b = np.array([0.91, 0.92, 0.90, 0.93]), np.array([0.88, 0.90, 0.91, 0.87, 0.86])
    got, expected = significance.welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert (got.statistic, got.p) == pytest.approx((expected.statistic, expected.pvalue))
    # Hedges' g by hand.
    spread = np.sqrt((3 * a.var(ddof=1) + 4 * b.var(ddof=1)) / 7)
    assert got.effect == pytest.approx((a.mean() - b.mean()) / spread * (1 - 3 / 27))


def slow_delong(positive, a, b):
    """DeLong et al. 1988 by the definition: all pairs."""
    areas, tens, ones = [], [], []
    for score in (a, b):
        gap = score[positive][:, None] - score[~positive][None, :]
        wins = (gap > 0) + 0.5 * (gap == 0)
        areas.append(wins.mean())
        tens.append(wins.mean(axis=1))
        ones.append(wins.mean(axis=0))
    covariance = np.cov(tens) / positive.sum() + np.cov(ones) / (~positive).sum()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return areas, variance


def slow_parts(positive, a, b):
    """Differences of the placements of the two scores: all rows, positives, negatives."""
    wins = [(s[positive][:, None] - s[~positive][None, :] > 0).astype(float) for s in (a, b)]
    gap = wins[0] - wins[1]
    return gap, gap.mean(axis=1), gap.mean(axis=0)


def test_fast_delong_agrees_with_the_definition_and_scikit_learn():
    rng = np.random.default_rng(0)
    positive = rng.random(200) < 0.4
    a = (positive + rng.normal(size=200)).round(1)
    b = (positive * 0.5 + rng.normal(size=200) + 0.3 * a).round(1)
    areas, variance = slow_delong(positive, a, b)
    got = roc_area.delong(positive, a, b)
    assert areas[0] == pytest.approx(reference.roc_auc_score(positive, a))
    assert got.difference == pytest.approx(areas[0] - areas[1])
    assert got.statistic == pytest.approx((areas[0] - areas[1]) / np.sqrt(variance))


def test_delong_knows_that_people_repeat():
    rng = np.random.default_rng(1)
    positive = rng.random(60) < 0.5
    a, b = positive + rng.normal(size=60), positive + rng.normal(size=60)
    alone = roc_area.delong(positive, a, b)
    # Each person five times over: nothing new has been learnt.
    repeated = [np.tile(values, 5) for values in (positive, a, b)]
    people = np.tile(np.arange(60), 5)
    assert abs(roc_area.delong(*repeated).statistic) > 1.9 * abs(alone.statistic)
    assert roc_area.delong(*repeated, units=people).statistic == pytest.approx(alone.statistic, rel=0.05)


def test_delong_uses_t_where_people_are_few():
    rng = np.random.default_rng(1)
    positive = np.arange(12) % 2 == 0
    a, b = positive + rng.normal(size=12), positive + rng.normal(size=12)
    got = roc_area.delong(positive, a, b)
    _, tens, ones = slow_parts(positive, a, b)
    first, second = np.var(tens, ddof=1) / 6, np.var(ones, ddof=1) / 6
    freedom = (first + second) ** 2 / (first**2 / 5 + second**2 / 5)
    assert got.freedom == pytest.approx(freedom)
    assert got.p == pytest.approx(2 * stats.t.sf(abs(got.statistic), freedom))
    assert got.p > 2 * stats.norm.sf(abs(got.statistic))


def test_delong_keeps_its_level_with_few_people_who_have_unequal_numbers_of_faces():
    """With a normal quantile and people's sums alone, .14 of 5 % were alarms here."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(400):
        sizes = np.clip(np.exp(rng.normal(np.log(5), 1.25, 20)).round(), 1, 300).astype(int)
        who = np.repeat(np.arange(20), sizes)
        positive = (rng.permutation(20) % 2 == 0)[who]
        hard = 0.7 * (2 * positive - 1) + rng.normal(0, 0.6, 20)[who]
        a, b = (hard + rng.normal(0, 0.4, 20)[who] + rng.normal(0, 0.9, len(who)) for _ in range(2))
        alarms += roc_area.delong(positive, a, b, units=who).p < 0.05
    # 5 % of 400 are 20; more than 32 have a chance of 1 in 300.
    assert alarms <= 32


def test_paired_bootstrap_agrees_with_a_paired_t_test():
    d = np.random.default_rng(2).normal(0.1, 1, 300)
    got = bootstrap_tests.paired_bootstrap(lambda w: w @ d / w.sum(axis=1), 300, n_boot=10_000)
    expected = stats.ttest_1samp(d, 0)
    assert got.statistic == pytest.approx(expected.statistic, rel=0.03)
    low, high = expected.confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.01)


def test_joint_bootstrap_agrees_with_hotellings_t2():
    x = np.random.default_rng(3).normal([0, 0.1, 0.2], size=(200, 3))
    d = x[:, 1:] - x[:, [0]]
    t2 = 200 * d.mean(axis=0) @ np.linalg.inv(np.cov(d.T)) @ d.mean(axis=0)
    p = stats.f.sf(t2 * 198 / (2 * 199), 2, 198)
    got = bootstrap_tests.joint_bootstrap(lambda w: w @ x / w.sum(axis=1, keepdims=True), 200, n_boot=20_000)
    assert got.statistic == pytest.approx(t2, rel=0.05)
    assert got.p == pytest.approx(p, rel=0.15)


def test_joint_bootstrap_of_equal_models_detects_nothing():
    x = np.repeat(np.random.default_rng(3).normal(size=(50, 1)), 3, axis=1)
    assert bootstrap_tests.joint_bootstrap(lambda w: w @ x / w.sum(axis=1, keepdims=True), 50).p == 1


def test_pseudo_replication_raises_false_alarms_and_the_right_tests_do_not():
    table = pseudo_replication.false_alarms(simulations=300, n=1000, seed=0).set_index("test")
    assert table.loc[paired_proportions.MCNEMAR, "alarms"] < 0.08
    assert table.loc["paired t", "alarms"] < 0.08
    wrong = table[~table["valid"]].iloc[0]
    assert wrong["low"] > 0.4
    more = pseudo_replication.t_over_evaluations(*right_of(seed=1).T, evaluations=500)
    few = pseudo_replication.t_over_evaluations(*right_of(seed=1).T, evaluations=50)
    assert more.p < few.p and not more.valid


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: significance.five_by_two_f(np.zeros((5, 5))), r"\(5, 5\), expected \(5, 2\)"),
        (lambda: significance.nadeau_bengio([0.1], n_train=8, n_test=2), "1 fold.*two folds"),
        (lambda: significance.welch([1.0], [1.0, 2.0]), "1 and 2 runs.*two independent"),
        (lambda: roc_area.delong(np.ones(5, bool), np.ones(5), np.ones(5)), "one class"),
        (lambda: roc_area.delong(np.arange(4) > 1, np.full(4, np.nan), np.ones(4)), "4 of 4 scores are NaN"),
        (lambda: significance.nadeau_bengio([0.1, np.nan], n_train=8, n_test=2), "1 of 2 .* NaN"),
        (
            lambda: bootstrap_tests.paired_bootstrap(lambda w: w[:, 0] * np.nan, 9),
            "not defined on these rows",
        ),
        (lambda: bootstrap_tests.joint_bootstrap(lambda w: w[:, :3], 3), "3 identities for 3 models"),
    ],
)
def test_what_cannot_be_tested_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("n", "difference", "discordant"), [(300, 0.02, 0.06), (1000, 0.02, 0.05), (200, 0.03, 0.05)]
)
def test_mcnemars_interval_covers_in_the_designs_with_few_discordant_faces(n, difference, discordant):
    """Every number of faces that each model alone gets right, times its probability: no simulation.

    An interval that is conditional on the discordant faces covered .858 in the third design.
    """
    shares = ((discordant + difference) / 2, (discordant - difference) / 2)
    reach = round(n * discordant + 9 * np.sqrt(n * discordant))
    a, b = np.mgrid[: reach + 1, : reach + 1].reshape(2, -1)
    p = stats.multinomial.pmf(np.column_stack([a, b, n - a - b]), n, [*shares, 1 - sum(shares)])
    covered = 0.0
    for only_a, only_b, probability in zip(a[p > 1e-9], b[p > 1e-9], p[p > 1e-9], strict=True):
        low, high = paired_proportions.paired_proportions_interval(int(only_a), int(only_b), n)
        covered += probability * (low <= difference <= high)
    assert 0.935 <= covered <= 0.965


def test_the_paired_interval_inverts_the_score_test():
    """At each end the score test of Tango, its nuisance share maximised by search, gives p = .05."""
    from scipy.optimize import minimize_scalar

    only_a, only_b, n = 17, 6, 150
    for end in paired_proportions.paired_proportions_interval(only_a, only_b, n):

        def loss(q, end=end):
            return -(
                only_a * np.log(q + end)
                + only_b * np.log(q)
                + (n - only_a - only_b) * np.log(1 - 2 * q - end)
            )

        bounds = (max(0, -end) + 1e-9, (1 - end) / 2 - 1e-9)
        q = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        z = (only_a - only_b - n * end) / np.sqrt(n * (2 * q + end - end**2))
        assert abs(z) == pytest.approx(stats.norm.ppf(0.975), rel=1e-4)


def test_always_right_against_always_wrong_is_a_difference():
    gap = np.ones(50)
    result = bootstrap_tests.paired_bootstrap(
        lambda w: (w @ gap) / w.sum(axis=1), 50, n_boot=50, bounds=(-1, 1)
    )
    assert result.difference == 1 and result.p < 1e-10 and 0.8 < result.low < 1 == result.high
    unbounded = bootstrap_tests.paired_bootstrap(lambda w: (w @ gap) / w.sum(axis=1), 50, n_boot=50)
    assert unbounded.p == result.p and np.isnan(unbounded.low)


def test_one_unit_is_refused_in_words():
    with pytest.raises(ValueError, match="1 of identities: nothing can be tested on fewer than two"):
        bootstrap_tests.paired_bootstrap(lambda w: w[:, 0], 1)
    positive = np.array([True, True, False, False])
    with pytest.raises(ValueError, match="1 of identities of one class: nothing can be tested"):
        roc_area.delong(positive, np.arange(4.0), np.arange(4.0), units=np.array([0, 0, 1, 2]))


def test_the_paired_interval_alarms_as_often_as_it_says_on_few_discordant_faces():
    rng, alarms = np.random.default_rng(3), 0
    for seed in range(300):
        gap = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.02, 0.96, 0.02])
        result = bootstrap_tests.paired_bootstrap(
            lambda w, gap=gap: (w @ gap) / w.sum(axis=1), 300, n_boot=200, seed=seed
        )
        alarms += not result.low <= 0 <= result.high
    assert 0.03 <= alarms / 300 <= 0.07


def test_the_paired_interval_agrees_with_a_published_example():
    # Fagerland, Lydersen and Laake 2014, airway data, Tango's interval.
    got = paired_proportions.paired_proportions_interval(1, 7, 21)
    assert got == pytest.approx((-0.517, -0.026), abs=6e-4)


def test_mcnemars_interval_never_contradicts_its_p():
    # Five against none: p = .0625, while the interval alone would leave out 0.
    right = np.arange(100) < 95
    got = paired_proportions.mcnemar(right | (np.arange(100) >= 95), right)
    assert got.p == pytest.approx(0.0625) and got.low == 0 < got.high


@pytest.mark.parametrize("n", [2, 5, 6, 40])
def test_where_all_units_agree_the_interval_and_p_agree_too(n):
    low, high, p = significance.without_spread(1.0, n, bounds=(-1, 1))
    assert p == pytest.approx(stats.binomtest(n, n).pvalue)
    assert (p < 0.05) == (low > 0) and high == 1
    low, high, p = significance.without_spread(0.0, n, bounds=(-1, 1))
    assert p == 1 and low == -high < 0


def test_delong_of_always_right_against_always_wrong():
    positive = np.arange(40) % 2 == 1
    got = roc_area.delong(positive, positive.astype(float), 1.0 - positive)
    assert got.difference == 1 and got.p < 1e-3 and 0 < got.low < got.high == 1
    same = roc_area.delong(positive, positive.astype(float), positive.astype(float))
    assert same.p == 1 and same.low < 0 < same.high


def test_no_interval_of_a_difference_of_areas_leaves_its_range():
    positive = np.array([True, True, False, False])
    got = roc_area.delong(positive, np.array([0.9, 0.8, 0.1, 0.2]), np.array([0.1, 0.9, 0.2, 0.8]))
    assert -1 <= got.low < got.difference <= got.high <= 1


def test_joint_bootstrap_sees_a_model_that_is_always_worse():
    right = np.column_stack([np.ones(60), np.zeros(60), np.random.default_rng(0).random(60) < 0.5])
    got = bootstrap_tests.joint_bootstrap(lambda w: w @ right / w.sum(axis=1, keepdims=True), 60, n_boot=200)
    assert got.p < 1e-3


def test_folds_and_runs_without_spread_are_not_certain():
    folds = significance.nadeau_bengio(np.full(4, 0.1), n_train=75, n_test=25)
    assert folds.p == 0.125 and np.isnan(folds.low)
    assert significance.five_by_two_f(np.full((5, 2), 0.1)).p == 0.0625
    runs = significance.welch([0.9, 0.9, 0.9], [0.8, 0.8, 0.8])
    assert runs.p == pytest.approx(0.1)


def test_hotellings_t2_of_unequal_people_counts_effective_ones():
    """The covariance of resampled people alone raised 9 % of false alarms where few people own most faces."""
    rng = np.random.default_rng(6)
    who = np.repeat(np.arange(40), [*[60] * 4, *[3] * 36])
    x = rng.normal(size=(40, 3))[who] + rng.normal(size=(len(who), 3))
    sums = np.stack([np.bincount(who, column) for column in x.T], axis=1)
    sizes = np.bincount(who)

    def statistic(weights):
        return (weights @ sums) / (weights @ sizes)[:, None]

    gap = x[:, 1:] - x[:, [0]]
    errors = [standard_errors.error_of_sum((d - d.mean()) / len(d), who, np.arange(len(d))) for d in gap.T]
    plain = bootstrap_tests.joint_bootstrap(statistic, 40, n_boot=2000)
    got = bootstrap_tests.joint_bootstrap(statistic, 40, n_boot=2000, errors=errors)
    assert got.p > plain.p and got.statistic < plain.statistic

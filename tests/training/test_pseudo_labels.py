"""Targets for missing labels: each selector against a slow, plain version and against a known answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.mixture import GaussianMixture

from faceworkbook.training import pseudo_labels
from faceworkbook.training.pseudo_labels import Fill


def slow_softmax(row, temperature):
    powers = [np.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def slow_density(features, pseudo, quantile):
    out = [0.0] * len(features)
    for code in set(pseudo):
        rows = [i for i in range(len(features)) if pseudo[i] == code]
        pairs = [np.linalg.norm(features[i] - features[j]) for n, i in enumerate(rows) for j in rows[n + 1 :]]
        if len(rows) < 3:
            counts = [0] * len(rows)
        else:
            cutoff = np.quantile(pairs, quantile)
            counts = [
                sum(np.linalg.norm(features[i] - features[j]) <= cutoff * (1 + 1e-6) for j in rows if j != i)
                for i in rows
            ]
        low, high = min(counts), max(counts)
        for i, count in zip(rows, counts, strict=True):
            out[i] = (count - low) / (high - low) if high > low else 1.0
    return np.array(out)


def slow_mixture_distance(mean, spread, mixture):
    """Earth mover's distance of one Gaussian to a mixture, by linear programming."""
    costs = [
        np.sqrt(((mean - m) ** 2).sum() + ((spread - np.sqrt(v)) ** 2).sum())
        for m, v in zip(mixture.means_, mixture.covariances_, strict=True)
    ]
    n = len(costs)
    rows = np.vstack([np.ones((1, n)), np.eye(n)])
    return linprog(costs, A_eq=rows, b_eq=[1.0, *mixture.weights_], bounds=(0, None)).fun


def test_distilled_targets_soften_each_row_by_itself():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 9.0, 0.0], [1.0, 1.0, 1.0]])
    expected = [slow_softmax(row, 2.0) for row in logits]
    np.testing.assert_allclose(pseudo_labels.distilled(logits, 2.0), expected, rtol=1e-12)


def test_a_row_s_distilled_target_does_not_depend_on_other_rows():
    """The fault of a soft-max over the whole matrix."""
    logits = np.random.default_rng(0).normal(size=(50, 4))
    together = pseudo_labels.distilled(logits, 3.0)
    np.testing.assert_allclose(together.sum(axis=1), 1.0)
    np.testing.assert_allclose(together[7], pseudo_labels.distilled(logits[7:8], 3.0)[0])


def test_a_higher_temperature_is_softer():
    logits = np.array([[3.0, 0.0]])
    sharp, soft = (pseudo_labels.distilled(logits, t)[0, 0] for t in (0.5, 8.0))
    assert sharp > pseudo_labels.distilled(logits, 1.0)[0, 0] > soft > 0.5


def test_large_logits_stay_finite():
    np.testing.assert_allclose(pseudo_labels.distilled(np.array([[5000.0, -5000.0]]), 1.0), [[1.0, 0.0]])


def test_confidence_is_the_largest_probability():
    logits = np.log([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(pseudo_labels.confidence(logits), [0.7, 0.5])


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 40),
    classes=st.integers(1, 4),
    quantile=st.sampled_from([0.1, 0.37, 0.6, 0.93]),
    seed=st.integers(0, 10**6),
)
def test_density_agrees_with_a_plain_loop(n, classes, quantile, seed):
    rng = np.random.default_rng(seed)
    features, pseudo = rng.normal(size=(n, 5)), rng.integers(classes, size=n)
    np.testing.assert_allclose(
        pseudo_labels.density(features, pseudo, quantile=quantile), slow_density(features, pseudo, quantile)
    )


def test_density_is_lowest_for_a_row_far_from_its_pseudo_class():
    rng = np.random.default_rng(1)
    features = np.concatenate(
        [rng.normal(0, 0.1, (30, 8)), rng.normal(5, 0.1, (30, 8)), np.full((1, 8), 5.0)]
    )
    pseudo = np.array([0] * 30 + [1] * 30 + [0])
    density = pseudo_labels.density(features, pseudo)
    assert density[-1] == 0.0
    assert density[:30].min() > 0.0
    assert density.max() == 1.0


def test_density_in_blocks_is_the_same(monkeypatch):
    features = np.random.default_rng(2).normal(size=(90, 6))
    whole = pseudo_labels.sum_within(features, 3.0)
    monkeypatch.setattr(pseudo_labels, "BLOCK", 7)
    np.testing.assert_array_equal(pseudo_labels.sum_within(features, 3.0), whole)


def test_distance_of_a_cluster_to_a_mixture_is_the_earth_mover_s():
    rng = np.random.default_rng(3)
    ours = GaussianMixture(4, covariance_type="diag", random_state=0).fit(rng.normal(size=(300, 6)))
    theirs = GaussianMixture(3, covariance_type="diag", random_state=0).fit(rng.normal(1, 2, size=(300, 6)))
    expected = [
        slow_mixture_distance(mean, np.sqrt(variance), ours)
        for mean, variance in zip(theirs.means_, theirs.covariances_, strict=True)
    ]
    np.testing.assert_allclose(pseudo_labels.mixture_distances(theirs, ours), expected, rtol=1e-6)


def test_distribution_weighs_the_cluster_nearer_to_the_labelled_rows_by_the_inverse_distance():
    """Labelled rows around 0; pseudo-labelled ones at distance 3 and 12 with equal spread: weights 1 and 1/4."""
    rng = np.random.default_rng(4)
    labelled = rng.normal(0, 0.05, (400, 2))
    near, far = rng.normal([3, 0], 0.05, (200, 2)), rng.normal([0, 12], 0.05, (200, 2))
    weights = pseudo_labels.distribution(labelled, np.concatenate([near, far]), components=2, seed=0)
    # The labelled mixture has two components in one heap, so both lie as far from a cluster.
    np.testing.assert_allclose(weights[:200], 1.0)
    np.testing.assert_allclose(weights[200:], 0.25, rtol=0.02)


def test_distribution_of_rows_like_the_labelled_ones_is_even():
    rng = np.random.default_rng(5)
    weights = pseudo_labels.distribution(rng.normal(size=(500, 3)), rng.normal(size=(500, 3)), components=1)
    np.testing.assert_array_equal(weights, 1.0)


def test_distribution_needs_labelled_rows():
    with pytest.raises(ValueError, match="needs rows that have the label"):
        pseudo_labels.distribution(np.empty((0, 4)), np.ones((3, 4)))


def test_selectors_are_multiplied_and_divided_by_the_maximum():
    combined = pseudo_labels.combine([np.array([0.5, 1.0, 0.2]), np.array([0.4, 0.1, 1.0])])
    np.testing.assert_allclose(combined, [1.0, 0.5, 1.0])
    np.testing.assert_array_equal(pseudo_labels.combine([np.zeros(3)]), 0.0)


def test_hard_selection_keeps_the_top_and_distils_the_rest():
    weights = np.array([0.1, 0.9, 0.5, 1.0])
    hard, soft = np.eye(2)[[0, 1, 0, 1]], np.full((4, 2), 0.5)
    made = pseudo_labels.select(weights, hard, soft, threshold=0.5)
    # The median of the weights is .7: rows 1 and 3 stand above it.
    np.testing.assert_allclose(made, [[0.5, 0.5], [0, 0.9], [0.5, 0.5], [0, 1.0]])


def test_interpolation_goes_from_distilled_to_one_hot():
    hard, soft = np.eye(2)[[0, 0, 0]], np.full((3, 2), 0.5)
    made = pseudo_labels.interpolate(np.array([0.0, 0.5, 1.0]), hard, soft)
    np.testing.assert_allclose(made, [[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])


def test_without_selector_a_target_is_half_one_hot_half_distilled():
    logits = np.log([[0.8, 0.2]])
    made = pseudo_labels.targets(
        Fill("pseudo", temperature=1.0), logits, np.zeros((1, 2)), np.zeros((1, 2)), seed=0
    )
    np.testing.assert_allclose(made, [[0.9, 0.1]], rtol=1e-6)


@pytest.mark.parametrize("selection", ["hard", "interpolate"])
def test_all_selectors_together_agree_with_the_plain_way(selection):
    rng = np.random.default_rng(6)
    logits, features = rng.normal(size=(60, 3)), rng.normal(size=(60, 4))
    labelled = rng.normal(0.5, 1, (80, 4))
    fill = Fill(
        "pseudo",
        selectors=pseudo_labels.SELECTORS,
        selection=selection,
        threshold=0.4,
        cluster_k=2,
        temperature=2.0,
    )
    made = pseudo_labels.targets(fill, logits, features, labelled, seed=9)

    soft = np.array([slow_softmax(row, fill.temperature) for row in logits])
    sure = np.array([max(slow_softmax(row, 1.0)) for row in logits])
    dense = slow_density(features, logits.argmax(axis=1), fill.density_t)
    near = pseudo_labels.distribution(labelled, features, components=2, seed=9)
    weights = sure * dense * near / (sure * dense * near).max()
    for row in range(60):
        one_hot = np.eye(3)[logits[row].argmax()]
        if selection == "interpolate":
            expected = weights[row] * one_hot + (1 - weights[row]) * soft[row]
        elif weights[row] >= np.quantile(weights, 0.4):
            expected = weights[row] * one_hot
        else:
            expected = soft[row]
        np.testing.assert_allclose(made[row], expected, atol=1e-6)


@pytest.mark.parametrize("selectors", [(), ("confidence", "density")])
def test_one_weight_may_be_given_or_learned_for_all_rows(selectors):
    logits, nothing = np.log([[0.8, 0.2], [0.3, 0.7]]), np.zeros((2, 2))
    given = {"selectors": selectors, "method": "pseudo"}
    fixed = pseudo_labels.targets(
        Fill(selection="fixed", weight=0.25, **given), logits, nothing, nothing, seed=0
    )
    np.testing.assert_allclose(fixed, [[0.85, 0.15], [0.225, 0.775]], rtol=1e-6)
    learned = pseudo_labels.targets(
        Fill(selection="learned", **given), logits, nothing, nothing, seed=0, learned=0.5
    )
    np.testing.assert_allclose(learned, [[0.9, 0.1], [0.15, 0.85]], rtol=1e-6)


def test_the_learned_weight_is_the_likeliest_on_labels_that_are_known():
    """An answer that is right more often than it says weighs more; one that is as often right as it says, nothing."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (4000, 3))
    honest = (rng.random((4000, 1)) > np.cumsum(pseudo_labels.distilled(logits, 1.0), axis=1)).sum(axis=1)
    assert pseudo_labels.learn_weight(logits, honest) < 0.05
    modest = pseudo_labels.learn_weight(logits / 4, honest)
    weights = np.linspace(0, 0.999, 1000)
    p = pseudo_labels.distilled(logits / 4, 1.0)[np.arange(4000), honest]
    right = logits.argmax(axis=1) == honest
    costs = [-np.log(w * right + (1 - w) * p).sum() for w in weights]
    assert modest == pytest.approx(weights[np.argmin(costs)], abs=0.002) and modest > 0.2
    assert pseudo_labels.learn_weight(logits, logits.argmax(axis=1)) > 0.999
    cooler = pseudo_labels.learn_weight(logits, honest, temperature=4.0)
    assert cooler == pytest.approx(modest, abs=1e-3)


def test_no_missing_label_makes_no_target():
    fill = Fill("pseudo", selectors=("confidence", "density"))
    empty = np.empty((0, 3))
    assert pseudo_labels.targets(fill, empty, empty, np.ones((4, 3)), seed=0).shape == (0, 3)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"method": "guess"}, "method='guess'; allowed are"),
        ({"selectors": ("sure",)}, r"selectors \['sure'\] are unknown"),
        ({"selection": "soft"}, "selection='soft'; allowed are"),
        ({"temperature": 0.0}, "temperature=0.0; allowed is above 0"),
        ({"threshold": 1.5}, "threshold=1.5; allowed is 0..1"),
        ({"weight": -0.1}, "weight=-0.1; allowed is 0..1"),
        ({"cluster_k": 0}, "cluster_k=0; allowed is 1 or more"),
    ],
)
def test_wrong_settings_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        Fill(**wrong)

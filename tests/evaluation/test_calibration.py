"""Calibration separates sure from right, is fitted on validation rows, and conformal sets keep their coverage."""

import made_predictions as made
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from faceworkbook.evaluation import calibration, calibration_error, conformal, groups, metrics, predictions
from faceworkbook.plots.roc import RocDisplay
from faceworkbook.tasks import Task

FIVE = ("White", "Black", "Asian", "Indian", "Others")


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def drawn(n=3000, *, classes=("male", "female"), sharpen=1.0, people=None, seed=0):
    """Truth drawn from the model's own probabilities, which are then sharpened: 1 is calibrated."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, len(classes)))
    cumulative = softmax(logits).cumsum(axis=1)
    codes = np.minimum((rng.random((n, 1)) > cumulative).sum(axis=1), len(classes) - 1)
    faces = made.faces_table(n, people=people)
    split = np.where(np.arange(n) % 3 == 0, "validation", "test")
    return predictions.build(
        faces, Task("label", classes=classes), truth=np.array(classes, dtype=object)[codes],
        output=softmax(logits * sharpen), split=split,
    )  # fmt: skip


def test_reliability_agrees_with_scikit_learn():
    table = drawn()
    got = calibration.reliability(table)
    rows = metrics.rows_of(table)
    accuracy, confidence = calibration_curve(
        rows.truth == rows.predicted, calibration.confidence_of(rows), n_bins=10, strategy="quantile"
    )
    np.testing.assert_allclose(got["accuracy"], accuracy)
    np.testing.assert_allclose(got["confidence"], confidence)
    assert got["n"].sum() == 2000


def test_calibration_error_by_hand():
    # Two bins of two rows: |.5 - .6| and |1 - .9|, each half of the rows.
    faces = made.faces_table(4)
    second = [0.6, 0.6, 0.9, 0.9]
    table = predictions.build(
        faces, Task("label", classes=("a", "b")), truth=["b", "a", "b", "b"], output=np.array(second), split="test",
    )  # fmt: skip
    assert calibration.summary(table, bins=2, n_boot=50)["ece"][0] == pytest.approx(0.1)


def test_a_calibrated_model_shows_only_the_bias_of_small_samples():
    small, large = drawn(150), drawn(20_000)
    few, many = (calibration.summary(t, n_boot=200).iloc[0] for t in (small, large))
    assert few["ece"] > 0.02 and few["ece_if_calibrated"] > 4 * many["ece_if_calibrated"]
    assert few["p_calibrated"] > 0.05 and many["p_calibrated"] > 0.05
    assert many["overconfidence_low"] < 0 < many["overconfidence_high"]


def test_an_overconfident_model_is_seen():
    result = calibration.summary(drawn(sharpen=3), n_boot=200).iloc[0]
    assert result["p_calibrated"] < 0.01 and result["overconfidence_low"] > 0.02
    assert 0 < result["ece_corrected"] < result["ece"]


@pytest.mark.parametrize("classes", [("male", "female"), FIVE])
def test_temperature_undoes_the_sharpening(classes):
    table = drawn(6000, classes=classes, sharpen=2.5)
    assert calibration.Temperature.fit(table).temperature == pytest.approx(2.5, rel=0.12)


@pytest.mark.parametrize("classes", [("male", "female"), FIVE])
def test_recalibration_lowers_the_loss_on_test_rows_and_keeps_the_predictions(classes):
    result = calibration.recalibrate(drawn(6000, classes=classes, sharpen=3))
    losses = {n: metrics.LOG_LOSS.value(metrics.rows_of(t)) for n, t in result.items()}
    errors = {n: calibration.summary(t, n_boot=50)["ece"][0] for n, t in result.items()}
    for name in calibration.METHODS:
        assert losses[name] < losses["before"] - 0.05
        assert errors[name] < errors["before"] / 2
        np.testing.assert_allclose(predictions.probabilities(result[name]).sum(axis=1), 1)
        assert (result[name]["predicted"] == result["before"]["predicted"]).all()


def test_temperature_minimises_the_validation_loss():
    table = drawn(sharpen=2)
    held = table[table["split"] == "validation"]
    best = calibration.Temperature.fit(table).temperature
    codes = (held["truth"] == "female").astype(int)
    loss = [
        log_loss(codes, predictions.probabilities(calibration.Temperature(t).apply(held)))
        for t in (best * 0.97, best, best * 1.03)
    ]
    assert loss[1] <= min(loss)


@pytest.mark.parametrize(
    "fit", [calibration.Temperature.fit, calibration.Isotonic.fit, calibration.Conformal.fit]
)
def test_test_rows_are_not_looked_at(fit):
    table = drawn(sharpen=2)
    lied = table.assign(truth=table["truth"].where(table["split"] == "validation", "male"))
    if fit == calibration.Isotonic.fit:
        first, second = fit(table).apply(table), fit(lied).apply(table)
        pd.testing.assert_frame_equal(first, second)
    else:
        assert fit(table) == fit(lied)


def test_accuracy_rises_as_the_unsure_are_left_to_a_person():
    got = calibration.risk_coverage(drawn())
    assert got["n"].tolist()[0] == 2000 and got["n"].is_monotonic_decreasing
    assert got["accuracy"].iloc[-1] > got["accuracy"].iloc[0] + 0.1
    assert (got["low"] < got["accuracy"]).all()
    worst_first = calibration.risk_coverage(drawn(), uncertainty=np.arange(3000))
    assert abs(worst_first["accuracy"].iloc[-1] - worst_first["accuracy"].iloc[0]) < 0.05


def test_limits_of_doubt_are_chosen_on_validation_rows_and_judged_on_test_rows():
    table = drawn(900)
    first = calibration.risk_coverage(table, left_to_a_person=(0, 0.2))
    held = table[table["split"] == "validation"]
    doubt = np.sort(1 - predictions.probabilities(held).max(axis=1))
    assert first["threshold"].iloc[1] == pytest.approx(doubt[240 - 1])
    # What the test rows are changes what is left of them, and not the limit.
    blurred = table.assign(
        **{c: table[c].where(table["split"] == "validation", 0.5) for c in ("p:male", "p:female")}
    )
    second = calibration.risk_coverage(blurred, left_to_a_person=(0, 0.2))
    assert second["threshold"].iloc[1] == first["threshold"].iloc[1]
    assert second["left_to_a_person"].iloc[1] == 1 and second["n"].tolist() == [600, 0]
    share = first.iloc[1]
    assert share["left_to_a_person_low"] < share["left_to_a_person"] < share["left_to_a_person_high"]
    assert share["n"] == round((1 - share["left_to_a_person"]) * 600)


def test_the_area_has_an_interval_and_what_the_order_is_worth():
    table = drawn(900, people=150)
    got = calibration.summarise_risk_coverage(table, n_boot=400).set_index("metric")
    assert ((got["low"] < got["value"]) & (got["value"] < got["high"])).all()
    assert got.loc["gain", "value"] == pytest.approx(got.loc["error", "value"] - got.loc["aurc", "value"])
    assert got.loc["gain", "low"] > 0
    pd.testing.assert_frame_equal(
        calibration.summarise_risk_coverage(table.sample(frac=1, random_state=0), n_boot=50)[
            ["metric", "value"]
        ],
        got.reset_index()[["metric", "value"]],
    )
    noise = np.random.default_rng(0).random(900)
    blind = calibration.summarise_risk_coverage(table, uncertainty=noise, n_boot=400).set_index("metric")
    assert abs(blind.loc["gain", "value"]) < 0.05
    right = table.assign(predicted=table["truth"])
    none = calibration.summarise_risk_coverage(right, n_boot=50).set_index("metric")
    assert none.loc["aurc", "value"] == none.loc["aurc", "low"] == 0 and none.loc["aurc", "high"] > 0.01


def test_area_under_risk_coverage_by_hand():
    table = made.class_predictions(3, truth=[0, 0, 0], signal=5)
    table["predicted"] = ["male", "female", "male"]
    rows = metrics.rows_of(table)
    area = calibration.area_under_risk_coverage(rows, np.array([0.1, 0.2, 0.3]))
    assert area(np.ones((1, 3)))[0] == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


def test_conformal_sets_keep_their_coverage_on_average():
    coverage = []
    for seed in range(60):
        table = drawn(600, classes=FIVE, seed=seed, sharpen=2)
        result = calibration.Conformal.fit(table, coverage=0.9).check(table).iloc[0]
        coverage.append(result["coverage"])
    # On average over data sets: at least .9, at most .9 + 1 / (n_validation + 1); standard error .003.
    assert 0.893 < np.mean(coverage) < 0.915


def test_a_kept_coverage_is_seldom_called_broken():
    broken = []
    for seed in range(200):
        table = drawn(300, classes=FIVE, seed=seed)
        result = calibration.Conformal.fit(table, coverage=0.9).check(table).iloc[0]
        broken.append((result["kept"] == "no", result["high"] < 0.9))
    by_p, by_interval_of_test_rows = np.mean(broken, axis=0)
    # That interval forgets that the limit was drawn, too: it calls twice as many coverages missed.
    assert by_p <= 0.085 and by_interval_of_test_rows > by_p + 0.02


def test_coverage_by_group_is_kept_in_the_group_that_a_common_limit_fails():
    table = drawn(6000, classes=FIVE)
    hard = np.arange(6000) % 5 < 2
    rng = np.random.default_rng(1)
    table["race"] = np.where(hard, "Black", "White")
    swapped = hard & (rng.random(6000) < 0.35)
    table.loc[swapped, "truth"] = rng.choice(FIVE, swapped.sum())
    common = calibration.Conformal.fit(table, coverage=0.9).check(table, attribute="race").set_index("group")
    apart = calibration.Conformal.fit(table, coverage=0.9, attribute="race").check(table).set_index("group")
    assert common.loc["Black", "kept"] == "no"
    assert (apart["kept"] == "yes").all()
    assert apart.loc["Black", "mean_size"] > apart.loc["White", "mean_size"]


def test_a_group_too_small_for_its_coverage_gets_every_class():
    table = drawn(300)
    table["race"] = np.where(np.arange(300) < 9, "Black", "White")
    result = calibration.Conformal.fit(table, coverage=0.9, attribute="race")
    assert result.small == ("Black",)
    assert result.sets(table[table["race"] == "Black"]).all()


@pytest.mark.parametrize("seen", [0, 8])
def test_a_group_that_validation_rows_do_not_show_is_unknown_not_kept(seen):
    table = drawn(900)
    rows = np.arange(900)
    is_black = (table["split"] == "test") & (rows % 4 == 0)
    is_black |= (table["split"] == "validation") & ((table["split"] == "validation").cumsum() <= seen)
    table["race"] = np.where(is_black, "Black", "White")
    result = calibration.Conformal.fit(table, coverage=0.9, attribute="race").check(table).set_index("group")
    assert result.loc["Black", "kept"] == "unknown" and np.isnan(result.loc["Black", "p"])
    assert result.loc["White", "kept"] == "yes" and result.loc["all", "kept"] == "yes"


def test_calibration_by_group_detects_the_overconfident_group():
    calm, sharp = drawn(3000, seed=1), drawn(3000, seed=2, sharpen=3)
    table = pd.concat([calm.assign(race="White"), sharp.assign(race="Black")], ignore_index=True)
    table["face_id"] = [f"f{i}" for i in range(6000)]
    got = calibration.by_group(table, "race", n_boot=100).set_index("group")
    assert got.loc["Black", "p_calibrated"] < 0.01 < got.loc["White", "p_calibrated"]
    assert not got["small"].any()


def clustered(n_people, *, sharpen=1.0, seed=0, validation=0, faces_each=None):
    """Predictions of gender, calibrated at 1; people have 1 to 300 faces, whose scores agree beyond their gender."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(np.log(5), 1.25, n_people)).round().clip(1, 300).astype(int)
    sizes = sizes if faces_each is None else np.full(n_people, faces_each)
    person = np.repeat(np.arange(n_people), sizes)
    female = np.repeat(rng.random(n_people) < 0.5, sizes)
    score = 1.7 * (2 * female - 1) + np.sqrt(0.35) * rng.normal(size=n_people)[person]
    score += np.sqrt(0.65) * rng.normal(size=len(person))
    faces = made.faces_table(len(person)).assign(identity=[f"p{i}" for i in person])
    return predictions.build(
        faces,
        Task("gender", classes=("male", "female")),
        truth=np.where(female, "female", "male"),
        output=1 / (1 + np.exp(-sharpen * 2 * 1.7 * score)),
        split=np.where(person < validation, "validation", "test"),
    )


@pytest.mark.parametrize("people", [40])
def test_a_calibrated_model_of_clustered_faces_is_seldom_called_wrong(people, monkeypatch):
    """And not in .3 % of samples alone, as where all faces of a person were drawn together."""
    monkeypatch.setattr(calibration_error, "SIMULATIONS", 100)
    p, covered = [], []
    for seed in range(80):
        got = calibration.summary(clustered(people, seed=seed), n_boot=2, seed=seed).iloc[0]
        p.append(got["p_calibrated"])
        covered.append(got["ece_corrected_low"] <= 1e-9)
    # Of 80 samples at .05 and .3; where people were drawn as one, none and .06 lay below these.
    assert np.mean(np.array(p) <= 0.05) <= 0.11
    assert 0.14 < np.mean(np.array(p) <= 0.3) < 0.46
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize(("sharpen", "people"), [(1.6, None), (2.5, None), (1.6, 40)])
def test_the_interval_of_the_calibration_error_holds_the_error_of_the_population(
    sharpen, people, monkeypatch
):
    monkeypatch.setattr(calibration_error, "SIMULATIONS", 100)

    def sample(seed, n):
        if people:
            return clustered(n, sharpen=sharpen, seed=seed, faces_each=10)
        return drawn(n, sharpen=sharpen, seed=seed)

    rows = metrics.rows_of(sample(999, 6_000 if people else 60_000))
    sure = calibration.confidence_of(rows)
    covered, raw, corrected = [], [], []
    for seed in range(60):
        got = calibration.summary(sample(seed, people or 450), n_boot=2, seed=seed).iloc[0]
        # A model that is too sure everywhere: the error is the same in any bins.
        truth = (sure - (rows.truth == rows.predicted)).mean()
        covered.append(got["ece_corrected_low"] <= truth <= got["ece_corrected_high"])
        raw.append(got["ece"])
        corrected.append(got["ece_corrected"])
    assert np.mean(covered) >= 0.85
    assert abs(np.median(corrected) - truth) <= abs(np.median(raw) - truth) + 0.004


def test_calibration_by_group_is_adjusted_over_the_groups():
    table = drawn(3000).assign(race=np.array(["White", "Black", "Asian"])[np.arange(3000) // 3 % 3])
    got = calibration.by_group(table, "race", n_boot=50)
    expected = np.minimum.accumulate(got["p_calibrated"].sort_values().to_numpy()[::-1])[::-1]
    assert (got["p_holm"] >= got["p_calibrated"]).all()
    assert got["p_holm"].min() == pytest.approx(min(1, 3 * expected[0]))


def test_the_temperature_has_an_interval():
    table = drawn(1500, sharpen=2.5, people=300)
    low, high = calibration.Temperature.interval(table, n_boot=100)
    assert low < calibration.Temperature.fit(table).temperature < high and low < 2.5 < high
    assert 0.2 < high - low < 2


def test_the_expected_spread_of_coverage_is_that_of_draws():
    """40 people to choose the limit and 40 to judge: far from the target in many draws, and the table says how many."""
    reached, foretold, inside = [], [], []
    for seed in range(100):
        table = clustered(80, seed=seed, validation=40)
        got = calibration.Conformal.fit(table, coverage=0.9).check(table).iloc[0]
        reached.append(got["coverage"])
        foretold.append(got["below"])
        inside.append(got["expected_low"] <= got["coverage"] <= got["expected_high"])
    assert np.mean(foretold) == pytest.approx(np.mean(np.array(reached) < 0.85), abs=0.09)
    assert np.mean(inside) > 0.88
    many = drawn(3000)
    wide, narrow = (calibration.Conformal.fit(t).check(t).iloc[0] for t in (drawn(300), many))
    assert narrow["expected_high"] - narrow["expected_low"] < wide["expected_high"] - wide["expected_low"]


def test_faces_are_worth_as_many_independent_ones_as_they_agree():
    units, rng = np.repeat(np.arange(200), 10), np.random.default_rng(0)
    apart, alike = rng.random(2000) < 0.9, (rng.random(200) < 0.9)[units]
    assert conformal.effective_size(apart, units) > 1500
    assert conformal.effective_size(alike, units) == 200
    assert conformal.effective_size(apart, np.arange(2000)) == 2000
    assert conformal.effective_size(np.ones(2000), units) == 200


def test_monte_carlo_dropout_that_only_adds_noise_does_not_help():
    table = drawn(1500)
    plain = table[table["split"] == "test"]
    rng = np.random.default_rng(0)
    logits = np.log(predictions.probabilities(plain))
    sampled = np.stack([softmax(logits + 0.3 * rng.normal(size=logits.shape)) for _ in range(40)])
    result = calibration.monte_carlo(table, sampled)
    assert result.table["metric"].tolist() == ["accuracy", "log_loss", "brier", "risk_coverage"]
    assert (result.table["p_holm"] >= result.table["p"]).all()
    for name in ("plain", "dropout"):
        assert (result.table[f"{name}_low"] < result.table[name]).all()
        assert (result.table[name] < result.table[f"{name}_high"]).all()
    assert (result.table["verdict"] != "helps").all()
    assert (result.disagreement >= 0).all() and (result.entropy <= np.log(2) + 1e-9).all()


def test_monte_carlo_dropout_that_softens_an_overconfident_model_helps_its_loss():
    table = drawn(1500, sharpen=4)
    plain = table[table["split"] == "test"]
    rng = np.random.default_rng(0)
    logits = np.log(predictions.probabilities(plain).clip(1e-12))
    sampled = np.stack([softmax(logits + 4 * rng.normal(size=logits.shape)) for _ in range(60)])
    result = calibration.monte_carlo(table, sampled).table.set_index("metric")
    assert result.loc["log_loss", "verdict"] == "helps" and result.loc["log_loss", "high"] < 0


def test_entropy_by_hand():
    assert calibration.entropy_of(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([np.log(2), 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: calibration.monte_carlo(t, np.zeros((5, 3, 2))),
            r"\(5, 3, 2\), expected \(n_samples, 200",
        ),
        (lambda t: calibration.Conformal.fit(t, coverage=90), "coverage=90.*0.9"),
        (lambda t: calibration.risk_coverage(t, uncertainty=np.zeros(3)), r"\(3,\), expected \(300,\)"),
        (
            lambda t: calibration.risk_coverage(t, left_to_a_person=(0.2, 1)),
            r"\(0.2, 1\); allowed are shares",
        ),
        (lambda t: calibration.risk_coverage(t[t["split"] == "test"]), "no rows of subset 'validation'"),
        (lambda t: calibration.Temperature.fit(t, subset="dev"), "no rows of subset 'dev'"),
        (lambda t: calibration.summary(made.number_predictions()), "numbers"),
    ],
)
def test_unusable_input_is_refused(call, message):
    with pytest.raises(predictions.PredictionsError, match=message):
        call(drawn(300))


def test_rows_that_are_equally_sure_count_alike_in_any_order():
    rng = np.random.default_rng(0)
    table = drawn(900, people=100)
    rows = metrics.rows_of(table)
    doubt = (1 - calibration.confidence_of(rows)).round(1)
    shuffled = rng.permutation(len(doubt))
    weights = rng.integers(0, 3, (5, rows.n_units)).astype(float)
    areas = [
        calibration.area_under_risk_coverage(rows.take(order), doubt[order])(weights)
        for order in (np.arange(len(doubt)), shuffled)
    ]
    np.testing.assert_allclose(*areas)
    # As often as a unit is drawn, its rows stand there.
    whole = np.ones((1, rows.n_units))
    for one, area in zip(weights, areas[0], strict=True):
        again = np.repeat(np.arange(len(doubt)), one[rows.units].astype(int))
        repeated = calibration.area_under_risk_coverage(rows.take(again), doubt[again])(whole)[0]
        assert repeated == pytest.approx(area)
    coarse = table.assign(**{c: table[c].round(1) for c in table if c.startswith("p:")})
    first, second = (calibration.risk_coverage(t) for t in (coarse, coarse.sample(frac=1, random_state=1)))
    columns = ["asked", "threshold", "left_to_a_person", "accuracy", "n"]
    pd.testing.assert_frame_equal(first[columns], second[columns])
    assert (first["n"] == ((1 - first["left_to_a_person"]) * 600).round()).all()


def test_area_under_risk_coverage_with_ties_is_the_mean_over_all_orders():
    table = made.class_predictions(4, truth=[0, 0, 0, 0], signal=5)
    table["predicted"] = ["male", "female", "male", "female"]
    rows, doubt = metrics.rows_of(table), np.array([0.1, 0.2, 0.2, 0.3])
    area = calibration.area_under_risk_coverage(rows, doubt)(np.ones((1, 4)))[0]
    orders = [(0, 1 / 2, 1 / 3, 2 / 4), (0, 0, 1 / 3, 2 / 4)]
    assert area == pytest.approx(np.mean(orders))


@pytest.mark.parametrize(
    "use",
    [
        calibration.summary,
        calibration.reliability,
        calibration.risk_coverage,
        calibration.recalibrate,
        calibration.Conformal.fit,
        lambda t: calibration.monte_carlo(t, np.zeros((2, 30, 2))),
        metrics.confusion,
        RocDisplay.from_predictions,
        lambda t: groups.odds(t.assign(race="a"), "race"),
    ],
)
def test_several_labels_are_refused_by_the_name_of_what_takes_one(use):
    task = Task("glasses+hat", "multilabel", ("glasses", "hat"))
    split = np.repeat(["validation", "test"], 30)
    table = predictions.build(
        made.faces_table(60), task, truth=["hat", "none"] * 30, output=np.full((60, 2), 0.3), split=split
    )
    with pytest.raises(predictions.PredictionsError, match=r"several yes/no labels.*predictions\.of_label"):
        use(table)


@pytest.mark.parametrize(("right", "end"), [(False, "low"), (True, "high")])
def test_a_model_that_is_always_wrong_or_always_right_has_an_interval_with_a_width(right, end):
    from faceworkbook.evaluation import calibration_error

    made_error = calibration_error.measure(np.ones(30), np.full(30, right), np.arange(30), bins=10)
    expected = 30 / (30 + 1.96**2)
    assert made_error.value == (0 if right else 1)
    assert getattr(made_error, end) == pytest.approx(1 - expected if right else expected, abs=1e-3)

"""Comparisons choose the right test, refuse unlike runs by name, and give one verdict a pair."""

import made_predictions as made
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from faceworkbook.evaluation import (
    comparison,
    equivalence,
    fold_comparison,
    paired_proportions,
    predictions,
    significance,
)
from faceworkbook.tasks import Task

MCNEMAR = paired_proportions.MCNEMAR
FIVE = ("White", "Black", "Asian", "Indian", "Others")


def runs(*signals, n=600, people=None, classes=("male", "female")):
    truth = np.random.default_rng(9).integers(0, len(classes), n)
    return {
        f"m{s}": made.class_predictions(n, classes=classes, people=people, signal=s, seed=i, truth=truth)
        for i, s in enumerate(signals)
    }


def test_two_models_of_different_strength_differ():
    result = comparison.compare(runs(2.5, 0.8), n_boot=500)
    assert result.pairs["test"].tolist() == [MCNEMAR, "paired t"]
    assert result.pairs["role"].tolist() == ["chosen", "other"]
    assert result.pairs["verdict"].tolist() == ["differ", ""] and result.pairs["sentence"].iloc[1] == ""
    assert result.chosen["test"].tolist() == [MCNEMAR] and str(result) == result.chosen["sentence"][0]
    assert (
        result.pairs["sentence"]
        .iloc[0]
        .startswith("m2.5 is better than m0.8 by at least the margin of 0.01: accuracy +0.")
    )
    assert result.overall.empty


def test_two_equal_models_are_not_significantly_different_and_what_would_decide_is_stated():
    result = comparison.compare(runs(1.5, 1.50001), n_boot=500)
    assert (result.chosen["verdict"] == "no significant difference").all()
    sentence = result.chosen["sentence"][0]
    assert "m1.5 and m1.50001: no significant difference (95 % interval -0." in sentence
    needed = f"{result.chosen['faces_needed'][0]:,.0f}"
    assert f"undecided at the margin of 0.01: about {needed} test faces would decide (80% power)." in sentence
    without = comparison.compare(runs(1.5, 1.50001), margin=0, n_boot=500).chosen
    assert "would show on such test rows in 80% of trials" in without["sentence"][0]
    assert np.isnan(without["faces_needed"][0]) and without["relevance"][0] == ""


def test_what_would_decide_does_not_depend_on_the_observed_difference():
    """Observed power is no plan (Hoenig and Heisey 2001): as many discordant faces ask for as many faces."""
    right = np.arange(1000) < 900
    results = []
    for won in (20, 40):
        other = right.copy()
        other[:won], other[900 : 900 + 60 - won] = False, True
        results.append(paired_proportions.mcnemar(right, other))
    assert results[0].difference == -results[1].difference
    needed = [equivalence.faces_needed(0.01, equivalence.standard_error(r), n=1000) for r in results]
    assert needed[0] == needed[1]
    # By hand: (1.6449 + 1.2816)^2 (.06 - .02^2) / .01^2.
    assert needed[0] == pytest.approx(5104, rel=0.06)


def test_three_models_begin_with_cochrans_q_and_end_with_holm():
    result = comparison.compare(runs(2.5, 1.5, 0.8), n_boot=500)
    assert result.overall["test"].tolist() == ["Cochran's Q"]
    mcnemar = result.pairs[result.pairs["test"] == MCNEMAR]
    assert len(mcnemar) == 3
    np.testing.assert_allclose(mcnemar["p_holm"], significance.holm(mcnemar["p"]))


def test_people_who_repeat_rule_mcnemar_out():
    result = comparison.compare(runs(2.0, 1.0, 0.9, people=60), n_boot=500)
    by_test = result.pairs.groupby("test")["verdict"].unique()
    assert by_test[MCNEMAR].tolist() == ["not to be relied on"]
    assert result.pairs.loc[result.pairs["test"] == MCNEMAR, "p_holm"].isna().all()
    assert set(result.pairs.loc[result.pairs["test"] == "paired t", "counted"]) == {"identities"}
    assert set(result.chosen["test"]) == {"paired t"} and len(result.chosen) == 3
    assert result.overall["test"].tolist() == ["Hotelling's T2 (bootstrap)"]


def test_auc_is_compared_by_delong_and_other_metrics_by_bootstrap():
    result = comparison.compare(runs(2.0, 1.0), metric="auc", n_boot=500)
    assert result.pairs["test"].tolist() == ["DeLong", "paired t"]
    delong, bootstrap = result.pairs.itertuples()
    assert bootstrap.low == pytest.approx(delong.low, abs=0.01)
    five = comparison.compare(runs(2.0, 1.0, classes=FIVE), metric="macro_f1", n_boot=500)
    assert five.pairs["test"].tolist() == ["paired t"]


def test_a_lower_loss_is_better():
    result = comparison.compare(runs(2.0, 0.5), metric="log_loss", n_boot=500)
    assert result.pairs["difference"].iloc[0] < 0
    assert "m2.0 is better than m0.5" in result.pairs["sentence"].iloc[0]


def folded(signal, *, repeats=5, folds=5, n=100, seed=0):
    tables = []
    truth = np.random.default_rng(1).integers(0, 2, n)
    for repeat in range(repeats):
        table = made.class_predictions(n, signal=signal, seed=seed * 100 + repeat, truth=truth)
        order = np.random.default_rng(repeat).permutation(n)
        tables.append(table.assign(repeat=repeat, fold=order % folds))
    return pd.concat(tables, ignore_index=True)


def test_repeated_folds_get_the_corrected_t_and_the_naive_one_is_marked():
    a, b = folded(2.0, seed=1), folded(1.0, seed=2)
    result = comparison.compare({"a": a, "b": b}).pairs.set_index("test")
    values = [comparison.fold_values(t, metric="accuracy")["value"] for t in (a, b)]
    expected = significance.nadeau_bengio((values[0] - values[1]).to_numpy(), n_train=80, n_test=20)
    assert result.loc["Nadeau-Bengio corrected t", "p"] == pytest.approx(expected.p)
    assert result.loc["paired t over folds (naive)", "verdict"] == "not to be relied on"
    assert result.loc["paired t over folds (naive)", "p"] < expected.p


def test_repeats_of_official_folds_count_once():
    rng, n = np.random.default_rng(0), 100
    table = pd.concat([made.class_predictions(n, signal=1, seed=s).assign(repeat=s) for s in range(5)])
    table["fold"] = np.tile(rng.permutation(n) % 5, 5)
    truth = made.class_predictions(n, signal=1, seed=0)["truth"].to_numpy()
    table["truth"] = np.tile(truth, 5)
    other = table.assign(predicted=np.where(rng.random(len(table)) < 0.9, table["truth"], "male"))
    result = comparison.compare({"a": table, "b": other}).pairs.set_index("test")
    assert result.loc["Nadeau-Bengio corrected t", "n"] == 5
    assert result.loc["paired t over folds (naive)", "n"] == 25


def test_five_times_two_folds_add_the_f_test():
    result = comparison.compare({"a": folded(2, folds=2, seed=1), "b": folded(1, folds=2, seed=2)})
    assert "5x2cv F" in result.pairs["test"].tolist()


def with_validation(table, *, share=0.25):
    """Add the rows that each fold chose on: some of those that it does not test."""
    added = []
    for (_, fold), own in table.groupby(["repeat", "fold"]):
        others = table[(table["repeat"] == own["repeat"].iloc[0]) & (table["fold"] != fold)]
        kept = others.iloc[: round(share * len(others))]
        added.append(kept.assign(fold=fold, split="validation"))
    both = pd.concat([table, *added], ignore_index=True)
    both.attrs = table.attrs
    return both


def test_folds_are_corrected_by_the_rows_that_really_trained():
    """Validation rows do not train: 100 rows, 20 tested, 20 chosen on, 60 trained on."""
    a, b = (with_validation(folded(s, seed=i)) for i, s in enumerate((2.0, 1.0), start=1))
    assert fold_comparison.training_sizes(a).tolist() == [60] * 25
    result = comparison.compare({"a": a, "b": b}).chosen.iloc[0]
    values = [comparison.fold_values(t, metric="accuracy")["value"].to_numpy() for t in (a, b)]
    expected = significance.nadeau_bengio(values[0] - values[1], n_train=60, n_test=20)
    assert (result["low"], result["p"]) == pytest.approx((expected.low, expected.p))


def test_a_larger_fold_weighs_more():
    table = folded(2.0, repeats=1, seed=1)
    other = folded(1.0, repeats=1, seed=2)
    fold = np.minimum(np.arange(100) // 10, 4)  # 10, 10, 10, 10 and 60 faces
    a, b = table.assign(fold=fold), other.assign(fold=fold)
    right = [(t["truth"] == t["predicted"]).mean() for t in (a, b)]
    result = comparison.compare({"a": a, "b": b}).chosen.iloc[0]
    assert result["difference"] == pytest.approx(right[0] - right[1])


def test_repeats_without_folds_have_no_training_rows_to_correct_by():
    with pytest.raises(comparison.ComparisonError, match="one fold only"):
        comparison.compare({"a": folded(2, folds=1), "b": folded(1, folds=1)})


def test_independent_runs_get_welch_and_holm():
    result = comparison.compare_independent(
        {"a": [0.9, 0.91, 0.92], "b": [0.8, 0.81, 0.8], "c": [0.9, 0.92, 0.9]}
    )
    assert result["verdict"].tolist() == ["differ", "no significant difference", "differ"]
    assert (result["p_holm"] >= result["p"]).all()


def test_independent_runs_are_read_by_model(tmp_path):
    runs = []
    for seed, signal in enumerate([2.0, 2.0, 0.5, 0.5]):
        (tmp_path / str(seed)).mkdir()
        table = made.class_predictions(200, signal=signal, seed=seed)
        predictions.write(table, tmp_path / str(seed) / "predictions.parquet")
        runs.append(f"signal {signal}: {tmp_path / str(seed)}")
    values = comparison.values_of_runs(runs)
    assert [len(v) for v in values.values()] == [2, 2]
    expected = np.mean(table["truth"] == table["predicted"])
    assert values["signal 0.5"][1] == pytest.approx(expected)
    assert comparison.compare_independent(values)["test"].tolist() == ["Welch's t"]
    lower = comparison.compare_independent({"a": [0.2, 0.21], "b": [0.9, 0.91]}, metric="brier")
    assert "a is better than b" in lower["sentence"].iloc[0]
    with pytest.raises(comparison.ComparisonError, match="MODEL: FOLDER"):
        comparison.values_of_runs(["results/x/03_classifier"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:-3], "3 of 600 test rows only in m2.0 .first: 'f00597'"),
        (lambda t: t.assign(truth=t["truth"].where(t.index > 1, "male")), "truth differs in .* rows"),
        (
            lambda t: t[[c for c in t if not c.startswith("p:")] + ["p:female", "p:male"]],
            r"classes of m2.0 are \['male', 'female'\], of m1.0 \['female', 'male'\]",
        ),
        (lambda t: t.assign(identity="somebody"), "identity differs in 600 rows"),
        (lambda t: t.assign(split="train"), "m1.0 has no rows of subset 'test'"),
        (lambda t: pd.concat([t, t]), "600 faces twice"),
    ],
)
def test_unlike_runs_are_refused_by_what_differs(change, message):
    given = runs(2.0, 1.0)
    given["m1.0"] = change(given["m1.0"])
    with pytest.raises(comparison.ComparisonError, match=message):
        comparison.compare(given)


def test_rows_in_another_order_are_the_same_rows():
    given = runs(2.0, 1.0)
    straight = comparison.compare(given, n_boot=200)
    given["m1.0"] = given["m1.0"].sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(comparison.compare(given, n_boot=200).pairs, straight.pairs)


def test_numbers_are_compared_too():
    a, b = made.number_predictions(seed=0), made.number_predictions(seed=0)
    b["predicted"] = b["truth"] + 2 * (b["predicted"] - b["truth"])
    result = comparison.compare({"a": a, "b": b}, metric="mae", n_boot=500)
    assert "a is better than b" in result.pairs["sentence"].iloc[0]


def test_run_folders_are_read_and_named(tmp_path):
    for name in ("one/03_classifier", "two/03_classifier"):
        (tmp_path / name).mkdir(parents=True)
        predictions.write(made.class_predictions(20), tmp_path / name / "predictions.parquet")
    result = comparison.read_runs([tmp_path / "one/03_classifier", tmp_path / "two/03_classifier"])
    assert list(result) == ["one/03_classifier", "two/03_classifier"]
    beside = predictions.write(
        made.class_predictions(20), tmp_path / "one/03_classifier/predictions_reference.parquet"
    )
    result = comparison.read_runs([tmp_path / "one/03_classifier", beside])
    assert list(result) == ["03_classifier", "predictions_reference"]
    with pytest.raises(FileNotFoundError, match="is missing; give the folder"):
        comparison.read_runs([tmp_path / "one"])
    with pytest.raises(comparison.ComparisonError, match="twice"):
        comparison.read_runs([tmp_path / "one/03_classifier"] * 2)


def test_one_run_cannot_be_compared():
    with pytest.raises(comparison.ComparisonError, match="two or more"):
        comparison.compare(runs(1.0))


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_model_is_chosen_on_validation_rows_and_judged_on_test_rows(kind):
    """The model that only looks good on the test rows is not chosen."""

    def shuffled(table, subset):
        rows = np.flatnonzero(table["split"] == subset)
        out = table.copy()
        columns = [c for c in table if c == "predicted" or c.startswith("p:")]
        out.loc[rows, columns] = table.loc[np.roll(rows, 1), columns].to_numpy()
        return out

    table = made.class_predictions(300) if kind == "classes" else made.number_predictions(300)
    table["split"] = np.where(np.arange(300) < 150, "validation", "test")
    models = {"good": shuffled(table, "test"), "lucky": shuffled(table, "validation")}
    metric = "accuracy" if kind == "classes" else "mae"
    result = comparison.choose(models, metric=metric, n_boot=100).set_index("model")
    assert result["chosen"].to_dict() == {"good": True, "lucky": False}
    test = models["good"][models["good"]["split"] == "test"]
    expected = (
        (test["truth"] == test["predicted"]).mean()
        if kind == "classes"
        else (test["truth"] - test["predicted"]).abs().mean()
    )
    assert result.loc["good", "value"] == pytest.approx(expected) and (result["n"] == 150).all()


# ---- several yes/no labels; paired differences


def label_predictions(*, seed, n=300, signal=0.5):
    rng, classes = np.random.default_rng(seed), ("glasses", "hat")
    truth = np.random.default_rng(99).random((n, 2)) < [0.5, 0.3]
    shares = np.clip(truth * signal + rng.random((n, 2)) * 0.7, 0, 1)
    names = ["+".join(c for c, t in zip(classes, row, strict=True) if t) or "none" for row in truth]
    task = Task("glasses+hat", "multilabel", classes)
    return predictions.build(made.faces_table(n, people=60), task, truth=names, output=shares, split="test")


@pytest.mark.parametrize("metric", ["accuracy", "exact_match", "auc", "macro_f1"])
def test_several_labels_are_compared_by_the_paired_bootstrap(metric):
    runs = {str(s): label_predictions(seed=s, signal=0.5 - 0.2 * s) for s in range(3)}
    result = comparison.compare(runs, metric=metric, n_boot=200)
    assert set(result.pairs["test"]) == {"paired t"}
    assert result.overall["test"].tolist() == ["Hotelling's T2 (bootstrap)"]
    assert result.chosen["verdict"][0] == "differ"


def test_always_right_against_always_wrong_differ_by_every_test():
    right = made.class_predictions(60, signal=50)
    wrong = predictions.with_outputs(right, predictions.probabilities(right)[:, ::-1])
    for metric in ("accuracy", "auc"):
        result = comparison.compare({"right": right, "wrong": wrong}, metric=metric, n_boot=50)
        assert (result.pairs["p"] < 0.001).all() and result.chosen["verdict"][0] == "differ"
        assert (result.pairs[["low", "high"]].abs() <= 1).all(axis=None)
    moved = comparison.paired_difference(right, wrong, n_boot=50)
    assert moved["difference"] == 1 and moved["p"] < 0.001 and 0.8 < moved["low"] < moved["high"] == 1


def test_paired_differences_of_other_truths_or_classes_are_refused():
    table = made.class_predictions(60)
    with pytest.raises(
        comparison.ComparisonError, match=r"faces have another truth in the second table .first: 'f000"
    ):
        comparison.paired_difference(table, table.assign(truth="male"))
    with pytest.raises(comparison.ComparisonError, match="classes of the first table"):
        comparison.paired_difference(table, made.number_predictions(60))


@pytest.mark.parametrize("people", [1, 9])
@pytest.mark.parametrize("metric", ["accuracy", "auc", "macro_f1"])
def test_too_few_people_are_refused_in_words(people, metric):
    """Two people once had the interval -4.5 to 4.2 of a difference of accuracies."""
    given = runs(2.0, 1.0, 0.5, people=people)
    result = comparison.compare(given, metric=metric, n_boot=100)
    assert (result.chosen["verdict"] == "too few to judge").all() and result.overall.empty
    assert result.pairs[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    sentence = result.chosen["sentence"][0]
    assert f"but {people} identities are too few to judge by; 10 are the least" in sentence
    moved = comparison.paired_difference(given["m2.0"], given["m1.0"], n_boot=100)
    assert np.isnan([moved["low"], moved["high"], moved["p"]]).all() and moved["difference"] > 0
    enough = comparison.compare(runs(2.0, 1.0, people=10), metric=metric, n_boot=100)
    assert np.isfinite(enough.chosen["low"][0])


def test_paired_differences_alarm_as_often_as_they_should_on_few_discordant_faces():
    rng, alarms = np.random.default_rng(3), 0
    faces = made.faces_table(300)
    for seed in range(300):
        right = rng.choice(4, 300, p=[0.86, 0.02, 0.02, 0.10])
        tables = [
            predictions.build(
                faces, Task("gender", classes=("a", "b")), truth=["b"] * 300,
                output=np.where(np.isin(right, (0, alone)), 0.9, 0.1), split="test",
            )
            for alone in (1, 2)
        ]  # fmt: skip
        alarms += comparison.paired_difference(*tables, n_boot=200, seed=seed)["p"] < 0.05
    assert 0.03 <= alarms / 300 <= 0.07


def test_one_difference_has_one_verdict():
    """McNemar's p is .065 where the bootstrap's is .048: the design chose McNemar, and that is the verdict."""
    n, rng = 2000, np.random.default_rng(0)
    share = np.where(rng.random(n) < 0.9, 0.9, 0.1)
    won, lost = np.flatnonzero(share < 0.5)[:32], np.flatnonzero(share > 0.5)[:18]
    other = share.copy()
    other[won], other[lost] = 0.9, 0.1
    faces, task = made.faces_table(n), Task("gender", classes=("a", "b"))
    tables = {
        name: predictions.build(
            faces, task, truth=["a"] * n, output=np.column_stack([p, 1 - p]), split="test"
        )
        for name, p in (("first", other), ("second", share))
    }  # fmt: skip
    result = comparison.compare(tables, margin=0.005, seed=0)
    mcnemar, bootstrap = result.pairs.itertuples()
    assert bootstrap.p < 0.05 < mcnemar.p and mcnemar.p == pytest.approx(stats.binomtest(18, 50).pvalue)
    assert mcnemar.verdict == "no significant difference" and mcnemar.relevance == "undecided"
    assert str(result) == mcnemar.sentence
    assert (mcnemar.role, bootstrap.role, bootstrap.verdict, bootstrap.sentence) == (
        "chosen",
        "other",
        "",
        "",
    )
    assert bootstrap.relevance == ""


def test_the_paired_t_over_equal_people_is_that_of_their_means():
    pair = runs(1.6, 1.2, people=60)
    chosen = comparison.compare(pair, metric="log_loss").chosen.iloc[0]
    first, second = (
        -np.log(np.where(t["truth"] == "male", t["p:male"], t["p:female"])) for t in pair.values()
    )
    means = pd.Series(first - second).groupby(pair["m1.6"]["identity"].to_numpy()).mean()
    expected = stats.ttest_1samp(means, 0)
    assert chosen["test"] == "paired t" and chosen["n"] == 60
    assert chosen["difference"] == pytest.approx(means.mean())
    reach = (chosen["high"] - chosen["low"]) / 2
    assert reach == pytest.approx(stats.t.ppf(0.975, 59) * stats.sem(means), rel=0.1)
    assert (chosen["p"] < 0.05) == (expected.pvalue < 0.05)

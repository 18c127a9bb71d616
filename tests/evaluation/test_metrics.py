"""Metrics agree with scikit-learn; intervals know people, empty classes and perfect scores."""

from dataclasses import replace

import made_predictions as tables
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from faceworkbook.evaluation import comparison, groups, intervals, metric_definitions, metrics, predictions
from faceworkbook.tasks import Task

FIVE = ("White", "Black", "Asian", "Indian", "Others")


def values(table):
    return table.set_index("metric")["value"]


@pytest.mark.parametrize("classes", [("male", "female"), FIVE])
def test_class_metrics_agree_with_scikit_learn(classes):
    table = tables.class_predictions(classes=classes, seed=3)
    truth, predicted, shares = table["truth"], table["predicted"], predictions.probabilities(table)
    got = values(metrics.summary(table, n_boot=20))
    codes = pd.Index(classes).get_indexer(truth)
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert got["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert got["macro_f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    assert got["log_loss"] == pytest.approx(reference.log_loss(codes, shares))
    if len(classes) == 2:
        assert got["auc"] == pytest.approx(reference.roc_auc_score(codes, shares[:, 1]))
        assert got["f1"] == pytest.approx(reference.f1_score(truth, predicted, pos_label="female"))
        assert got["brier"] == pytest.approx(reference.brier_score_loss(codes, shares[:, 1]))
    else:
        assert got["auc"] == pytest.approx(reference.roc_auc_score(codes, shares, multi_class="ovr"))
        assert got["brier"] == pytest.approx(np.mean(((shares - np.eye(5)[codes]) ** 2).sum(axis=1)))


def test_number_metrics_agree_with_scikit_learn():
    table = tables.number_predictions()
    truth, predicted = table["truth"], table["predicted"]
    got = values(metrics.summary(table, n_boot=20))
    assert got["mae"] == pytest.approx(reference.mean_absolute_error(truth, predicted))
    assert got["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, predicted))
    assert got["r2"] == pytest.approx(reference.r2_score(truth, predicted))
    assert got["bias"] == pytest.approx((predicted - truth).mean())
    assert got["within_5"] == pytest.approx(((predicted - truth).abs() <= 5).mean())


@pytest.mark.parametrize("classes", [("male", "female"), FIVE])
@pytest.mark.parametrize("name", ["auc", "macro_f1", "log_loss", "balanced_accuracy"])
def test_metric_on_weights_is_the_metric_on_repeated_rows(classes, name):
    table = tables.class_predictions(150, classes=classes, people=40)
    rows = metrics.rows_of(table)
    # Ties, and units that are drawn several times or never.
    rows = replace(rows, probabilities=rows.probabilities.round(1))
    metric = metrics.pick(name, rows.task)
    weights = np.random.default_rng(0).integers(0, 4, (3, rows.n_units))
    got = metric.statistic(rows)(weights.astype(np.float32))
    for drawn, value in zip(weights, got, strict=True):
        repeated = rows.take(np.repeat(np.arange(150), drawn[rows.units]))
        assert value == pytest.approx(metric.value(repeated), rel=1e-5)


def test_tied_scores_count_half_in_auc():
    table = tables.class_predictions(200, seed=1)
    shares = table["p:female"].round(1)
    table["p:female"], table["p:male"] = shares, 1 - shares
    expected = reference.roc_auc_score(table["truth"] == "female", shares)
    assert metrics.pick("auc", metrics.rows_of(table).task).value(metrics.rows_of(table)) == pytest.approx(
        expected
    )


def test_accuracy_has_wilson_without_people_and_a_wider_interval_with_few():
    single = metrics.summary(tables.class_predictions(500), names=["accuracy"]).iloc[0]
    assert single["method"] == "Wilson" and pd.isna(single["n_identities"])
    # Every person stands there twenty times with one and the same prediction.
    some = tables.class_predictions(25, seed=2)
    many = pd.concat([some] * 20, ignore_index=True)
    many["identity"] = many["face_id"]
    many["face_id"] = [f"g{i}" for i in range(len(many))]
    clustered = metrics.summary(many, names=["accuracy"]).iloc[0]
    alone = metrics.summary(some, names=["accuracy"]).iloc[0]
    assert (clustered["n"], clustered["n_identities"]) == (500, 25)
    width = clustered["high"] - clustered["low"]
    assert width == pytest.approx(alone["high"] - alone["low"], rel=0.25)


def test_all_right_is_not_certain():
    table = tables.class_predictions(60, people=20, signal=50)
    row = metrics.summary(table, names=["accuracy"]).iloc[0]
    assert row["value"] == 1 and row["high"] == pytest.approx(1)
    assert row["low"] == pytest.approx(20 / (20 + 1.96**2), abs=1e-3)
    assert row["method"] == "Wilson over 20 identities"


def test_repeats_of_one_face_are_one_unit():
    table = tables.class_predictions(100)
    twice = pd.concat([table, table.assign(repeat=1)], ignore_index=True)
    once, both = (metrics.summary(t, names=["log_loss"]).iloc[0] for t in (table, twice))
    assert both["n"] == 100
    assert (both["low"], both["high"]) == pytest.approx((once["low"], once["high"]))


def test_a_class_without_rows_is_nan_not_zero():
    table = tables.class_predictions(90, classes=FIVE[:3], truth=[0, 1] * 45)
    table = table[table["predicted"] != "Asian"]
    row = metrics.per_class(table, n_boot=50).set_index("class").loc["Asian"]
    assert row["support"] == 0
    assert np.isnan(row[["precision", "recall", "f1", "recall_low"]].astype(float)).all()


def test_per_class_agrees_with_scikit_learn():
    table = tables.class_predictions(classes=FIVE)
    got = metrics.per_class(table, n_boot=200)
    expected = reference.precision_recall_fscore_support(
        table["truth"], table["predicted"], labels=list(FIVE)
    )
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(got[name], column)
    for name in ("precision", "recall", "f1"):
        assert (got[f"{name}_low"] < got[name]).all() and (got[name] < got[f"{name}_high"]).all()


def test_confusion_counts_in_class_order():
    table = tables.class_predictions(classes=FIVE)
    got = metrics.confusion(table)
    assert tuple(got.index) == tuple(got.columns) == FIVE
    np.testing.assert_array_equal(
        got, reference.confusion_matrix(table["truth"], table["predicted"], labels=list(FIVE))
    )


def test_age_groups_have_one_off_and_years_have_relaxed_accuracy():
    groups = ("0-2", "4-6", "8-12", "15-20")
    table = tables.class_predictions(4, classes=groups, truth=[0, 1, 2, 3], signal=20)
    ordered = Task("age_group", "ordered", groups)
    table.attrs["task"] = ordered.to_record()
    table["predicted"] = ["4-6", "4-6", "0-2", "15-20"]
    assert values(metrics.summary(table, n_boot=20))["one_off"] == 0.75

    years = [str(y) for y in range(101)]
    table = tables.class_predictions(3, classes=years, truth=[2, 30, 46], signal=30, kind="ordered")
    table["predicted"] = ["3", "34", "45"]
    assert values(metrics.summary(table, n_boot=20))["relaxed_age"] == pytest.approx(1 / 3)


def test_expected_age_is_the_mean_under_the_probabilities():
    years = ["10", "20", "30"]
    table = predictions.build(
        tables.faces_table(2), Task("age_years", "ordered", years, class_values=(10, 20, 30)),
        truth=["10", "30"], output=np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]]), split="test",
    )  # fmt: skip
    numbers = metrics.expectation(table)
    assert numbers["predicted"].tolist() == pytest.approx([15, 28])
    assert values(metrics.summary(numbers, n_boot=20))["mae"] == pytest.approx(3.5)
    assert values(metrics.summary(table, n_boot=20))["expected_mae"] == pytest.approx(3.5)


def test_same_seed_same_numbers(registered):
    table = tables.class_predictions(people=50)
    metrics.register("own", lambda truth, predicted: float(np.mean(truth == predicted)))
    first, second, other = (
        metrics.summary(table, seed=s, n_boot=100, names=["accuracy", "own"]) for s in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, second)
    # Only a metric of one's own is computed on resamples.
    assert (first["low"] != other["low"]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(split="train"), "no rows of subset 'test'.*train"),
        (lambda t: t.assign(truth=t["truth"].mask(t.index < 3)), "3 of 400 rows.*f00000"),
        (lambda t: t.assign(truth="other"), "'truth' holds .'other'.*male"),
    ],
)
def test_unusable_tables_are_refused(change, message):
    with pytest.raises(predictions.PredictionsError, match=message):
        metrics.summary(change(tables.class_predictions()))


def test_unknown_metric_lists_the_allowed_ones():
    with pytest.raises(ValueError, match=r"'mae'.*accuracy"):
        metrics.summary(tables.class_predictions(), names=["mae"])


def test_the_mean_of_predictions_is_taken_row_by_row():
    truth = np.arange(200) % 3
    first, second = (
        tables.class_predictions(200, classes=("a", "b", "c"), truth=truth, seed=s) for s in (1, 2)
    )
    mean = predictions.average([first, second])
    shares = (predictions.probabilities(first) + predictions.probabilities(second)) / 2
    np.testing.assert_allclose(predictions.probabilities(mean), shares)
    assert mean["predicted"].tolist() == [["a", "b", "c"][i] for i in shares.argmax(axis=1)]
    years = tables.number_predictions(50)
    doubled = predictions.average([years, years.assign(predicted=years["predicted"] + 2)])
    np.testing.assert_allclose(doubled["predicted"], years["predicted"] + 1)


def test_predictions_of_other_rows_have_no_mean():
    table = tables.class_predictions(20)
    with pytest.raises(predictions.PredictionsError, match="same rows and classes"):
        predictions.average([table, table.iloc[::-1].reset_index(drop=True)])


# ---- several yes/no labels, metrics of one's own, what the table says it is


def multilabel_predictions(n=300, *, seed=0, people=None):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 3)) < [0.5, 0.2, 0.7]
    shares = np.clip(truth * 0.5 + rng.random((n, 3)) * 0.6, 0, 1)
    task = Task("glasses+hat+smile", "multilabel", ("glasses", "hat", "smile"))
    names = ["+".join(c for c, t in zip(task.classes, row, strict=True) if t) or "none" for row in truth]
    table = predictions.build(
        tables.faces_table(n, people=people), task, truth=names, output=shares, split="test"
    )
    return table, truth.astype(int), shares


def test_multilabel_metrics_agree_with_scikit_learn():
    table, truth, shares = multilabel_predictions()
    got = values(metrics.summary(table, n_boot=50))
    predicted = (shares >= 0.5).astype(int)
    assert got["accuracy"] == pytest.approx(1 - reference.hamming_loss(truth, predicted))
    assert got["exact_match"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert got["macro_f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    assert got["auc"] == pytest.approx(reference.roc_auc_score(truth, shares, average="macro"))
    losses = [reference.log_loss(truth[:, k], shares[:, k]) for k in range(3)]
    assert got["log_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert metrics.per_class(table, n_boot=50)["class"].tolist() == ["glasses", "hat", "smile"]


def test_one_label_of_several_is_a_table_of_its_own():
    table, truth, shares = multilabel_predictions()
    one = predictions.of_label(table, "hat")
    got = values(metrics.summary(one, n_boot=50))
    assert got["accuracy"] == pytest.approx(((shares[:, 1] >= 0.5) == truth[:, 1]).mean())
    with pytest.raises(predictions.PredictionsError, match=r"predictions\.of_label"):
        metrics.confusion(table)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(metric_definitions, "_REGISTERED", {})


def test_a_function_of_ones_own_is_a_metric_everywhere(registered):
    metrics.register("kappa", reference.cohen_kappa_score, bounds=(-1, 1))
    table = tables.class_predictions(200, people=60)
    row = metrics.summary(table, names=["kappa"], n_boot=100).iloc[0]
    assert row["value"] == pytest.approx(reference.cohen_kappa_score(table["truth"], table["predicted"]))
    assert row["low"] < row["value"] < row["high"] and metrics.bounds("kappa") == (-1, 1)
    assert "kappa" not in set(metrics.summary(table, n_boot=20)["metric"])
    halves = table.assign(half=np.where(np.arange(200) < 100, "a", "b"))
    assert len(groups.by_group(halves, "half", names=["kappa"], n_boot=20)) == 2
    other = tables.class_predictions(200, people=60, seed=1, truth=(table["truth"] == "female").astype(int))
    compared = comparison.compare({"a": table, "b": other}, metric="kappa", n_boot=50)
    assert compared.chosen["test"].tolist() == ["paired bootstrap"]


def test_a_function_of_ones_own_takes_probabilities_where_it_has_a_third_argument(registered):
    metrics.register("worst", lambda truth, predicted, shares: shares.max(axis=1).min())
    metrics.register("named", lambda truth, predicted, probabilities=None: probabilities.shape[1] / 2)
    table = tables.class_predictions(50)
    row = metrics.summary(table, names=["worst", "named"], n_boot=20).set_index("metric")["value"]
    assert row["worst"] == predictions.probabilities(table).max(axis=1).min() and row["named"] == 1
    several = multilabel_predictions()
    metrics.register("hamming", reference.hamming_loss, better="lower")
    got = metrics.summary(several[0], names=["hamming"], n_boot=20)["value"][0]
    assert got == pytest.approx(reference.hamming_loss(several[1], several[2] >= 0.5))


def test_metrics_of_ones_own_hold_for_the_tasks_they_say_and_replace_no_built_in(registered):
    metrics.register("spread", lambda truth, predicted: 0.0, applies=lambda task: task.is_number)
    assert "spread" in metrics.metrics_for(Task("age", "number")) and metrics.find("spread")
    with pytest.raises(ValueError, match="metric='spread' is not defined"):
        metrics.summary(tables.class_predictions(20), names=["spread"])
    with pytest.raises(ValueError, match="'accuracy' is built in"):
        metrics.register("accuracy", reference.accuracy_score)
    with pytest.raises(ValueError, match="better='up'"):
        metrics.register("mine", reference.accuracy_score, better="up")


def test_several_labels_that_are_all_right_have_an_interval():
    table, truth, _ = multilabel_predictions(40)
    right = predictions.with_outputs(table, truth.astype(float))
    row = metrics.summary(right, names=["accuracy"], n_boot=20).iloc[0]
    assert row["value"] == 1 and 0.9 < row["low"] < row["high"] == 1
    partly = metrics.summary(table, names=["accuracy"], n_boot=50).iloc[0]
    assert partly["method"] == "Wilson, t over 40 faces"


def test_relaxed_age_is_for_years_alone():
    for unit, has in (("years", True), ("degrees", False), ("", False)):
        assert ("relaxed_age" in metrics.metrics_for(Task("x", "number", unit=unit))) == has


def test_one_off_needs_an_order_of_three_classes():
    assert "one_off" in metrics.metrics_for(Task("x", "ordered", ("a", "b", "c")))
    assert "one_off" not in metrics.metrics_for(Task("x", "ordered", ("a", "b")))
    assert "one_off" not in metrics.metrics_for(Task("x", "classes", ("a", "b", "c")))


def test_labels_that_are_no_classes_of_several_are_refused():
    table, _, _ = multilabel_predictions(20)
    with pytest.raises(predictions.PredictionsError, match=r"'truth' holds .'beard'"):
        metrics.summary(table.assign(truth="beard"))


def test_classes_called_1_2_3_have_no_metric_of_ages():
    table = tables.class_predictions(60, classes=("1", "2", "3"))
    assert not [
        name for name in metrics.summary(table, n_boot=20)["metric"] if "age" in name or "mae" in name
    ]


def test_probabilities_of_nan_are_no_class():
    table = tables.class_predictions(20)
    table.loc[3, "p:male"] = np.nan
    with pytest.raises(predictions.PredictionsError, match="1 of 20 rows of subset 'test' hold NaN"):
        metrics.summary(table)
    numbers = tables.number_predictions(20)
    numbers.loc[[1, 2], "predicted"] = np.inf
    with pytest.raises(predictions.PredictionsError, match="2 of 20 rows of subset 'test' hold NaN"):
        metrics.summary(numbers)


def test_a_class_of_one_person_counts_as_one_person_however_many_faces_it_has():
    """Twenty faces of one person, all right: one of one, where the mean over people would say four."""
    table = tables.class_predictions(
        200, classes=FIVE[:2], truth=(np.arange(200) < 180).astype(int), signal=50
    )
    who = np.where(np.arange(200) < 180, np.arange(200) // 5, 99)
    got = metrics.per_class(table.assign(identity=[f"p{w}" for w in who]), n_boot=50).set_index("class")
    rare = got.loc[FIVE[0]]
    assert (rare["support"], rare["n_identities"], got.loc[FIVE[1], "n_identities"]) == (20, 1, 36)
    assert rare["n_pictures"] == 20
    unknown = metrics.per_class(table, n_boot=50).set_index("class").loc[rare.name]
    assert unknown["n_pictures"] == 20 and pd.isna(unknown["n_identities"])
    assert rare["recall"] == 1 and rare["recall_low"] == pytest.approx(float(intervals.wilson(1, 1)[0]))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.1])
def test_where_nothing_varies_there_is_no_interval_of_width_0(share):
    table = tables.class_predictions(48, people=12)
    output = np.tile([share, 1 - share], (48, 1))
    faces = table[["face_id", "identity"]]
    task = Task("gender", "classes", ("male", "female"))
    constant = predictions.build(faces, task, truth=["female"] * 48, output=output, split="test")
    summary = metrics.summary(constant, names=["log_loss", "brier"])
    assert summary[["low", "high"]].isna().all(axis=None)
    assert summary["method"].str.contains("nothing varies").all()

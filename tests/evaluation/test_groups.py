"""Group figures agree with fairlearn, and a planted fault is result where it was planted only."""

import fairlearn.metrics as reference
import made_predictions as made
import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from faceworkbook import faces as face_table
from faceworkbook.evaluation import groups, predictions
from faceworkbook.tasks import MULTILABEL, Task
from tests.support import planting

GENDER = Task("gender", classes=("male", "female"))

RACES = ("White", "Black", "Asian", "Indian")


def population(n=2400, *, seed=0, people=None, own_direction=1.0):
    """Faces with descriptors in which the direction of gender differs a little between races."""
    rng = np.random.default_rng(seed)
    faces = made.faces_table(n, people=people)
    faces["gender"] = pd.Categorical.from_codes(rng.integers(0, 2, n), ["male", "female"])
    race = rng.choice(len(RACES), n, p=[0.4, 0.25, 0.2, 0.15])
    faces["race"] = pd.Categorical.from_codes(race, RACES)
    faces["age"] = rng.uniform(0, 90, n)
    sign = np.where(faces["gender"] == "female", 1.0, -1.0)
    matrix = rng.normal(size=(n, 12))
    matrix[:, 0] += sign
    # Every race shows gender in one more direction, which a model learns from its own faces only.
    matrix[np.arange(n), 1 + race] += own_direction * sign
    matrix[np.arange(n), 6 + race] += 3
    return faces, matrix.astype(np.float32)


def with_race(table, faces):
    return groups.attach(table, faces, ["race", "gender", "age"])


def guesses(faces, *, error=0.1, seed=0):
    """Predictions that are wrong for a share of faces, alike in every group; truth as in `faces`."""
    rng = np.random.default_rng(seed)
    female = (faces["gender"] == "female").to_numpy() ^ (rng.random(len(faces)) < error)
    shares = np.where(female, 0.8, 0.2)
    return predictions.build(
        faces, GENDER, truth=faces["gender"].astype(str).to_numpy(dtype=object), output=shares, split="test"
    )


@pytest.fixture(scope="module")
def table():
    faces, _ = population()
    return with_race(guesses(faces), faces)


def test_values_by_group_agree_with_a_plain_group_by(table):
    got = groups.by_group(table, "race", names=["accuracy"]).set_index("group")
    right = table["truth"] == table["predicted"]
    expected = right.groupby(table["race"], observed=True).agg(["mean", "size"])
    np.testing.assert_allclose(got.loc[expected.index, "value"], expected["mean"])
    assert (got.loc[expected.index, "n"] == expected["size"]).all()
    assert (got["method"] == "Wilson").all()


def test_empty_groups_are_nan_and_small_ones_marked(table):
    few = table[(table["race"] != "Indian") | ((table["gender"] == "male") & (table.index < 200))]
    got = groups.by_group(few, ("gender", "race"), names=["accuracy", "f1"]).set_index(["group", "metric"])
    empty = got.loc[("female x Indian", "accuracy")]
    assert empty["n"] == 0 and np.isnan(empty[["value", "low", "high"]].astype(float)).all()
    assert got.loc[("male x Indian", "accuracy"), "small"]
    assert not got.loc[("male x White", "accuracy"), "small"]


def test_gaps_leave_small_groups_out_and_say_so(table):
    few = table[(table["race"] != "Indian") | (table.index < 100)]
    got = groups.gaps(few, "race", names=["accuracy"]).iloc[0]
    assert got["left_out"] == "Indian" and got["groups"] == 3


def test_groups_whose_figure_a_few_large_errors_make_are_named():
    rng = np.random.default_rng(3)
    faces = made.faces_table(1000)
    faces["race"] = pd.Categorical.from_codes(np.arange(1000) % 2, RACES[:2])
    error = rng.normal(size=1000)
    error[[0, 2, 4]] = 60  # three of the 500 of the first group
    truth = rng.uniform(0, 90, 1000)
    task = Task("age", "number", unit="years")
    table = predictions.build(faces, task, truth=truth, output=truth + error, split="test")
    table = groups.attach(table, faces, ["race"])
    rest = groups.against_rest(table, "race", metric="mae").set_index("group")
    assert rest["few_decide"].to_dict() == {"White": True, "Black": False}
    gaps = groups.gaps(table, "race", names=["mae", "within_5"])
    assert gaps["few_decide"].tolist() == ["White", ""]
    (text,) = groups.describe_few(gaps)
    assert text.startswith("race: a few large errors make the mae of White.")
    assert groups.describe_few(gaps.drop(columns="few_decide")) == []


def test_groups_that_are_all_small_have_no_gap(table):
    gap, odds = (function(table, "race", small=10_000) for function in (groups.gaps, groups.odds))
    assert gap["gap"].isna().all() and odds["value"].isna().all()
    assert set(odds["left_out"]) == {"White, Black, Asian, Indian"}


def test_odds_agree_with_fairlearn(table):
    truth, predicted = (table[c] == "female" for c in ("truth", "predicted"))
    got = groups.odds(table, "race", n_boot=200).set_index("measure")["value"]
    for measure, function in (
        ("equalised odds", reference.equalized_odds_difference),
        ("equal opportunity", reference.equal_opportunity_difference),
        ("demographic parity", reference.demographic_parity_difference),
    ):
        assert got[measure] == pytest.approx(function(truth, predicted, sensitive_features=table["race"]))


def test_difference_of_shares_has_newcombes_interval(table):
    got = groups.against_rest(table, "race").set_index("group").loc["Black"]
    right, inside = table["truth"] == table["predicted"], table["race"] == "Black"
    low, high = confint_proportions_2indep(
        right[inside].sum(),
        inside.sum(),
        right[~inside].sum(),
        (~inside).sum(),
        method="newcomb",
        compare="diff",
    )
    assert (got["low"], got["high"]) == pytest.approx((low, high))


def test_gap_of_two_groups_agrees_with_fairlearns_metric_frame(table):
    got = groups.gaps(table, "gender", names=["accuracy", "log_loss"], n_boot=200).set_index("metric")
    frame = reference.MetricFrame(
        metrics=lambda t, p: np.mean(t == p), y_true=table["truth"], y_pred=table["predicted"],
        sensitive_features=table["gender"],
    )  # fmt: skip
    assert got.loc["accuracy", "gap"] == pytest.approx(frame.difference())
    assert got.loc["accuracy", "ratio"] == pytest.approx(frame.ratio())
    assert got.loc["accuracy", "worst"] == frame.by_group.idxmin()
    assert got.loc["log_loss", "worst_value"] > got.loc["log_loss", "best_value"]


@pytest.mark.parametrize("group", ["Black", "Indian"])
def test_a_group_with_noisier_labels_is_detected_and_no_other(group):
    faces, _ = population(seed=1)
    noisy = planting.plant_group_noise(
        faces, column="gender", group_column="race", group=group, rate=0.15, seed=2
    ).faces
    honest = guesses(faces, error=0.05, seed=3)
    table = with_race(honest.assign(truth=noisy["gender"].astype(str).to_numpy(dtype=object)), noisy)
    result = groups.against_rest(table, "race").set_index("group")
    assert result.index[result["verdict"] == "worse"].tolist() == [group]
    gap = groups.gaps(table, "race", names=["accuracy"]).iloc[0]
    assert gap["worst"] == group and gap["p"] < 0.01 and gap["low"] > 0


def test_nothing_is_detected_where_nothing_was_planted():
    alarms = 0
    for seed in range(40):
        faces, _ = population(1000, seed=seed)
        table = with_race(guesses(faces, seed=seed + 100), faces)
        alarms += groups.against_rest(table, "race", n_boot=400)["verdict"].isin(["worse", "better"]).any()
    # Holm keeps the alarms of one table near 5 %; 7 of 40 has a chance of 1 %.
    assert alarms <= 6


def fitted(faces, matrix, *, test):
    """A logistic regression on the rows that are no test rows, and its predictions of the test rows."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(matrix[~test], faces.loc[~test, "gender"].astype(str))
    order = [list(model.classes_).index(name) for name in ("male", "female")]
    return predictions.build(
        faces[test], GENDER, truth=faces.loc[test, "gender"].astype(str).to_numpy(dtype=object),
        output=model.predict_proba(matrix[test])[:, order], split="test",
    )  # fmt: skip


@pytest.mark.parametrize("planted", [True, False])
def test_an_under_represented_group_is_detected_in_training_and_nowhere_else(planted):
    faces, matrix = population(6000, seed=4, own_direction=1.5)
    faces["row"], faces["split"] = np.arange(6000), np.where(np.arange(6000) < 3000, "train", "test")
    if planted:
        faces = planting.plant_underrepresentation(
            faces, column="race", group="Asian", keep=0.02, seed=0, where=faces["split"] == "train"
        ).faces
    table = fitted(faces, matrix[faces["row"]], test=(faces["split"] == "test").to_numpy())
    result = groups.against_rest(with_race(table, faces), "race").set_index("group")
    assert result.index[result["verdict"] == "worse"].tolist() == (["Asian"] if planted else [])


def test_people_who_repeat_widen_the_intervals_and_calm_the_test():
    faces, _ = population(60, seed=5)
    one = guesses(faces, error=0.3, seed=5)
    many = pd.concat([one] * 10, ignore_index=True)
    many["identity"], many["face_id"] = many["face_id"], [f"g{i}" for i in range(600)]
    copies = pd.concat([faces] * 10, ignore_index=True).assign(face_id=many["face_id"])
    table = groups.attach(many, copies, ["race"])
    as_people = groups.gaps(table, "race", names=["accuracy"], small=1).iloc[0]
    as_faces = groups.gaps(table.assign(identity=pd.NA), "race", names=["accuracy"], small=1).iloc[0]
    assert as_people["null_mean"] > 2 * as_faces["null_mean"]
    assert as_people["p"] > as_faces["p"]


def test_age_becomes_bands_and_unknown_labels_are_counted(table):
    assert table["age"].cat.categories.tolist() == [
        "0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+",
    ]  # fmt: skip
    partly = table.assign(race=table["race"].mask(table.index < 50))
    assert groups.cut(partly, "race").unknown == 50
    edges = groups.age_bands(pd.Series([0, 9.9, 10, 69, 70, np.nan]))
    assert edges.astype(object).tolist()[:5] == ["0-9", "0-9", "10-19", "60-69", "70+"] and edges.isna()[5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, f: groups.attach(t, f, ["beard"]), "'beard'.*has .*race"),
        (lambda t, f: groups.attach(t, f.iloc[5:], ["race"]), "5 predicted faces.*f00000"),
        (lambda t, f: groups.by_group(t, "beard"), "'beard'.*groups.attach"),
    ],
)
def test_refusals_say_what_is_there(table, call, message):
    faces, _ = population()
    with pytest.raises(groups.GroupsError, match=message):
        call(table, faces)


def test_a_group_of_a_few_pictures_in_many_copies_is_small():
    table = made.class_predictions(200, seed=3)
    table["copy_group"] = pd.array(["f00000"] * 60 + [pd.NA] * 140, dtype="string")
    table["gender"] = ["male"] * 60 + ["female"] * 140
    rows = groups.by_group(table, "gender", names=["accuracy"]).set_index("group")
    assert rows.loc["male", "n"] == 60 and rows.loc["male", "n_pictures"] == 1
    assert bool(rows.loc["male", "small"]) and not bool(rows.loc["female", "small"])
    assert groups.gaps(table, "gender", names=["accuracy"])["left_out"].tolist() == ["male"]


def test_a_bias_further_from_zero_is_worse_on_either_side():
    rng = np.random.default_rng(3)
    n = 400
    group = np.repeat(["low", "none", "high"], n)
    shift = np.repeat([-6.0, 0.0, 6.0], n)
    truth = rng.uniform(20, 60, 3 * n)
    table = predictions.build(
        made.faces_table(3 * n), Task("age", "number", unit="years"), truth=truth,
        output=truth + shift + rng.normal(size=3 * n), split="test",
    ).assign(group=group)  # fmt: skip
    table.attrs = {"task": Task("age", "number", unit="years").to_record()}
    verdicts = groups.against_rest(table, "group", metric="bias").set_index("group")["verdict"]
    assert verdicts["low"] == verdicts["high"] == "worse"


def test_odds_of_several_yes_no_labels_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    faces_ = face_table.build(
        {"image": [f"{i}.jpg" for i in range(160)], "gender": ["male", "female"] * 80}, dataset="x"
    )
    task = Task("hat+beard", MULTILABEL, ("hat", "beard"))
    truth = rng.integers(0, 2, (160, 2))
    words = [
        "+".join(n for n, there in zip(task.classes, row, strict=True) if there) or "none" for row in truth
    ]
    table = predictions.build(
        faces_,
        task,
        truth=np.array(words, dtype=object),
        output=rng.random((160, 2)),
        split=np.full(160, "test"),
    )
    settings = {"seed": 0, "n_boot": 50, "small": 5}
    both = groups.odds_by_label(table, faces_, ["gender"], **settings)
    assert list(both["label"].unique()) == ["hat", "beard"]
    alone = groups.odds(
        groups.attach(predictions.of_label(table, "hat"), faces_, ["gender"]), "gender", **settings
    )
    hat = both[both["label"] == "hat"][alone.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(hat, alone)
    assert groups.odds_by_label(predictions.of_label(table, "hat"), faces_, ["hat"]).empty

"""What helps a group that is served worse, on faces with a planted difference."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import groups
from faceworkbook.experiments import mitigation
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.tasks import labels_of_classes
from faceworkbook.training import balancing
from tests.evaluation import made_predictions as made

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


def test_reweighing_makes_label_and_group_independent():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 500)
    label = (rng.random(500) < 0.2 + 0.3 * group).astype(int)
    weight = balancing.reweigh(label, group)
    shares = pd.crosstab(label, group, values=weight, aggfunc="sum", normalize="columns").to_numpy()
    np.testing.assert_allclose(shares, shares[:, [0]].repeat(3, axis=1))


def test_balancing_repeats_rows_until_cells_are_even():
    label, group = np.array(list("aaaabbb")), np.array(list("xxxyxyy"))
    rows = balancing.balance(label, group)
    counts = pd.Series(list(zip(label[rows], group[rows], strict=True))).value_counts()
    assert counts[("a", "x")] == counts[("a", "y")] == 3
    assert counts[("b", "x")] == counts[("b", "y")] == 2
    assert set(rows) == set(range(7))


@pytest.fixture(scope="module")
def tried():
    # Gender and race go together in training, and a race shows gender in a direction of its own.
    faces, matrix = population(6000, seed=6, own_direction=1.5)
    rows = np.arange(6000)
    race, gender = faces["race"].to_numpy(), faces["gender"].to_numpy()
    rare = (race == "Indian") & (gender == "female") & (rows < 3000) & (rows % 12 > 0)
    train = np.flatnonzero((rows < 3000) & ~rare)
    split = SimpleNamespace(train=train, validation=np.arange(3000, 4500), test=np.arange(4500, 6000))
    labels = labels_of_classes(faces["gender"], name="gender", classes=("male", "female"))
    data = PreparedData(faces, labels, split, matrix, np.full(len(faces), -1))
    return mitigation.try_mitigations(data, "race", strength=1.0)


def test_mitigations_help_the_group_that_was_worst(tried):
    got = mitigation.compare_with_before(tried, "race", n_boot=500).set_index("mitigation")
    assert got.index.tolist() == ["before", *mitigation.MITIGATIONS]
    assert got.loc["before", "worst"] == "Indian"
    for name in ("reweighing", "balancing"):
        assert got.loc[name, "worst_before_change_low"] > 0
    for name in ("reweighing", "balancing", "thresholds"):
        assert got.loc[name, "gap"] < got.loc["before", "gap"]
        assert got.loc[name, "overall_low"] < got.loc[name, "overall"] < got.loc[name, "overall_high"]


def test_equalised_odds_are_nearer_to_equal_and_cost_accuracy(tried):
    before, after = (
        groups.odds(tried[name], "race", n_boot=200).set_index("measure")
        for name in ("before", "equalised odds")
    )
    assert after.loc["equalised odds", "value"] < 0.75 * before.loc["equalised odds", "value"]
    assert after.loc["equalised odds", "p"] > before.loc["equalised odds", "p"] < 0.01
    figures = mitigation.compare_with_before(tried, "race", n_boot=100).set_index("mitigation")
    assert figures.loc["equalised odds", "overall_change_high"] < 0


def test_thresholds_look_at_validation_rows_only(tried):
    table = tried["before"]
    swapped = table["truth"].map({"male": "female", "female": "male"})
    lied = table.assign(truth=table["truth"].where(table["split"] != "test", swapped))
    for mitigate in (mitigation.group_thresholds, mitigation.equalise_odds):
        straight, blind = (mitigate(t, "race") for t in (table, lied))
        assert (straight["predicted"] == blind["predicted"]).all()
        assert (straight["predicted"] != table["predicted"])[table["split"] == "test"].any()
        assert (straight["predicted"] == table["predicted"])[table["split"] == "validation"].all()


def test_thresholds_are_not_tried_where_a_group_lacks_validation_rows(tried):
    table = tried["before"]
    lacking = table[(table["split"] == "test") | (table["race"] != "Asian")]
    assert mitigation.why_no_thresholds(table, "race") == ""
    assert "['Asian'] lack validation rows of both classes" in mitigation.why_no_thresholds(lacking, "race")


def test_without_a_group_large_enough_changes_of_a_group_are_not_known(tried):
    before = {"before": tried["before"]}
    got = mitigation.compare_with_before(before, "race", n_boot=50, small=10_000)
    assert got["worst_before_change"].isna().all() and got["overall"].notna().all()


def test_thresholds_are_not_chosen_on_test_rows(tried):
    table = tried["before"]
    with pytest.raises(groups.GroupsError, match="no validation rows"):
        mitigation.group_thresholds(table[table["split"] == "test"], "race")


def test_changes_are_described_with_their_intervals(tried):
    changes = mitigation.compare_with_before(tried, "race", n_boot=100)
    sentences = mitigation.describe_changes(changes)
    assert len(sentences) == len(mitigation.MITIGATIONS)
    rises = changes["worst_before_change_p_holm"].iloc[1:] < 0.05
    assert rises.any()
    for sentence, rose, name in zip(sentences, rises, mitigation.MITIGATIONS, strict=True):
        verb = "rises (+" if rose else "shows no significant change"
        assert sentence.startswith(f"{name}: balanced accuracy of Indian {verb}")
    unchanged = changes.assign(
        overall_change=0.01, overall_change_low=-0.01, overall_change_high=0.03, overall_change_p_holm=0.4
    )
    assert (
        "of all faces shows no significant change (+0.010, 95 % interval -0.010 to +0.030)"
        in (mitigation.describe_changes(unchanged)[0])
    )


def test_a_group_that_only_had_bad_luck_on_the_test_rows_is_not_picked(tried):
    before = tried["before"]
    lucky = before["race"].eq("White") & before["split"].eq("test")
    unlucky = before.assign(
        predicted=before["predicted"].mask(
            lucky, before["predicted"].map({"male": "female", "female": "male"})
        )
    )
    unlucky.attrs = before.attrs
    got = mitigation.compare_with_before({"before": unlucky}, "race", n_boot=50).iloc[0]
    assert got["worst"] == "White" and got["worst_before"] == "Indian" and got["picked_on"] == "validation"
    without = unlucky[unlucky["split"] == "test"]
    got = mitigation.compare_with_before({"before": without}, "race", n_boot=50).iloc[0]
    assert got["worst_before"] == "White" and got["picked_on"] == "test"


def test_labels_and_attributes_that_are_unknown_are_left_out():
    faces, matrix = population(600)
    rows = np.arange(600)
    faces.loc[:49, "race"] = np.nan
    faces.loc[300:349, "gender"] = np.nan
    split = SimpleNamespace(train=rows[:300], validation=rows[300:450], test=rows[450:])
    data = PreparedData(
        faces,
        labels_of_classes(faces["gender"], name="gender", classes=("male", "female")),
        split,
        matrix,
        np.full(600, -1),
    )
    before = mitigation.try_mitigations(data, "race")["before"]
    assert (before["split"] == "validation").sum() == 100 and before["truth"].notna().all()

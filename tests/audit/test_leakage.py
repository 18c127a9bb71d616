"""Leakage is counted exactly, and its worth is nothing where there is nothing to know."""

import numpy as np
import pytest

from faceworkbook import audit, splits
from faceworkbook import faces as face_table
from tests.support import planting


def people_table(n_people=200, each=5, seed=0):
    """Gender is a coin toss: only who a person is gives it away."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_people), each)
    gender = np.array(["male", "female"])[rng.integers(0, 2, n_people)]
    subset = np.where(np.arange(n_people) < 150, "train", "test")
    faces = face_table.build(
        {
            "image": [f"{i}.jpg" for i in range(len(person))],
            "identity": [f"p{p}" for p in person],
            "gender": gender[person],
            "age": rng.integers(10, 80, n_people)[person],
            "split": subset[person],
        },
        dataset="made",
    )
    descriptors = rng.normal(size=(n_people, 400))[person] + 0.1 * rng.normal(size=(len(person), 400))
    return faces, descriptors.astype(np.float32)


def test_planted_leakage_is_counted_exactly():
    faces, _ = people_table()
    planted = planting.plant_identity_leakage(faces, rate=0.3, seed=1)
    split = splits.make(planted.faces, label="gender", scheme="official", validation=0.1)
    table = audit.leakage(planted.faces, split).set_index("leak")
    assert table.loc["same person", "leaked"] == len(planted.planted) == 45
    assert table.loc["copy of a picture", "leaked"] == 0
    row = table.loc["either"]
    assert row["test_rows"] == 250 + 45 and row["low"] < row["share"] < row["high"]


def test_knowing_the_person_is_worth_much_where_only_the_person_counts():
    faces, descriptors = people_table()
    planted = planting.plant_identity_leakage(faces, rate=0.5, seed=1)
    split = splits.make(planted.faces, label="gender", scheme="official", validation=0.0)
    table = audit.leakage_worth(planted.faces, descriptors, split, label="gender").set_index(
        ["rows", "trained"]
    )
    assert table.loc[("leaked", "with"), "value"] > 0.8
    assert table.loc[("leaked", "without"), "value"] < 0.65
    difference = table.loc[("leaked", "with less without")]
    assert difference["low"] > 0.1 and difference["n"] == 75
    assert table.loc[("clean", "with"), "value"] < 0.65
    assert (
        table.loc[("clean", "with less without"), "low"]
        < 0
        < table.loc[("clean", "with less without"), "high"]
    )


def test_numbers_are_scored_by_mean_absolute_error():
    faces, descriptors = people_table()
    planted = planting.plant_identity_leakage(faces, rate=0.5, seed=1)
    split = splits.make(planted.faces, label="age", scheme="official", validation=0.0)
    table = audit.leakage_worth(planted.faces, descriptors, split, label="age")
    assert set(table["measure"]) == {"mean absolute error"}
    assert table.set_index(["rows", "trained"]).loc[("leaked", "with less without"), "high"] < 0


def test_a_clean_split_has_nothing_to_compare():
    faces, descriptors = people_table()
    split = splits.make(faces, label="gender")
    with pytest.raises(ValueError, match="0 leaked"):
        audit.leakage_worth(faces, descriptors, split, label="gender")

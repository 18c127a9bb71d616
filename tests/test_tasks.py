"""Targets: names in vocabulary order, missing labels, ages three ways."""

import numpy as np
import pytest

from faceworkbook import faces, tasks


def table(**columns):
    n = len(next(iter(columns.values())))
    return faces.build({"image": [f"{i}.jpg" for i in range(n)], **columns}, dataset="toy")


def test_classes_that_occur_in_vocabulary_order():
    made = tasks.read_labels(table(race=["Indian", "White", None, "Indian", "Black"]), "race")
    assert made.classes == ("White", "Black", "Indian")
    assert made.codes.tolist() == [2, 0, tasks.MISSING, 2, 1]
    assert made.truth.tolist() == ["Indian", "White", None, "Indian", "Black"]
    assert made.counts().to_dict() == {"White": 1, "Black": 1, "Indian": 2}


def test_gender_order_is_that_of_the_vocabulary_whatever_comes_first():
    made = tasks.read_labels(table(gender=["female", "male"]), "gender")
    assert made.classes == ("male", "female")
    assert made.codes.tolist() == [1, 0]


def test_age_as_number_keeps_missing_as_nan():
    made = tasks.read_labels(table(age=[30.5, None, 4]), "age")
    assert made.task.is_number and made.task.unit == "years"
    np.testing.assert_array_equal(made.values, [30.5, np.nan, 4])
    assert made.known.tolist() == [True, False, True]


def test_single_years_hold_only_those_that_occur():
    made = tasks.read_labels(table(age=[30, None, 4, 30]), "age_years")
    assert made.task.class_values == (4, 30) and made.classes == ("4", "30")
    assert made.codes.tolist() == [1, -1, 0, 1]


def test_age_group_comes_from_age_where_it_is_missing():
    made = tasks.read_labels(
        table(age=[1, 30, None, 70], age_group=[None, "38-43", "4-6", None]), "age_group"
    )
    assert made.classes == ("0-2", "4-6", "38-43", "60-100")
    assert made.truth.tolist() == ["0-2", "38-43", "4-6", "60-100"]


def test_pose_is_a_number_in_degrees():
    assert tasks.read_labels(table(yaw=[-20, 30]), "yaw").task.unit == "degrees"


def test_taking_rows_keeps_the_classes():
    made = tasks.read_labels(table(gender=["female", "male", None]), "gender").take([0, 2])
    assert made.classes == ("male", "female") and made.codes.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("smile", "is unknown; labels of this table"),
        ("gender", "only 'male'"),
        ("race", "no known value"),
        ("age", r"only .*30"),
    ],
)
def test_what_cannot_be_learned_is_said(name, says):
    with pytest.raises(tasks.TaskError, match=says):
        tasks.read_labels(table(gender=["male", "male", None], age=[30, 30, 30]), name)


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(tasks.TaskError, match="'c'"):
        tasks.labels_of_classes(["a", "b", "c"], name="x", classes=("a", "b"))

"""Labels: names in vocabulary order, missing labels, ages as years, groups and bins."""

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
    ("name", "message"),
    [
        ("smile", "is unknown; labels of this table"),
        ("gender", "only 'male'"),
        ("race", "no known value"),
        ("age", r"only .*30"),
    ],
)
def test_what_cannot_be_learned_is_refused(name, message):
    with pytest.raises(tasks.TaskError, match=message):
        tasks.read_labels(table(gender=["male", "male", None], age=[30, 30, 30]), name)


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(tasks.TaskError, match="'c'"):
        tasks.labels_of_classes(["a", "b", "c"], name="x", classes=("a", "b"))


def own_table():
    return faces.build(
        {
            "image": [f"{i}.jpg" for i in range(6)],
            "smile": [True, False, True, None, False, True],
            "glasses": [False, False, True, True, False, None],
            "score": [1, 2, 3, 4, 5, 6],
        },
        dataset="t",
    )


def test_a_yes_no_column_of_ones_own_is_a_task():
    labels = tasks.read_labels(own_table(), "smile")
    assert labels.task == tasks.Task("smile", classes=("no", "yes"))
    assert labels.truth.tolist() == ["yes", "no", "yes", None, "no", "yes"]
    assert (labels.task.loss, labels.task.activation, labels.task.headline) == (
        "binary_crossentropy",
        "sigmoid",
        "accuracy",
    )


def test_a_number_of_ones_own_is_a_task_without_a_unit():
    labels = tasks.read_labels(own_table(), "score")
    assert labels.task.is_number and labels.task.unit == "" and labels.task.headline == "mae"


def test_several_yes_no_columns_are_one_task():
    labels = tasks.read_labels(own_table(), "glasses+smile")
    assert labels.task.kind == "multilabel" and labels.classes == ("glasses", "smile")
    assert labels.known.tolist() == [True, True, True, False, True, False]
    assert labels.truth[:3].tolist() == ["smile", "none", "glasses+smile"]
    assert labels.counts().to_dict() == {"glasses": 1, "smile": 2}
    assert tasks.source_columns(own_table(), "glasses+smile") == ["glasses", "smile"]


def test_columns_that_are_not_yes_no_are_not_joined():
    with pytest.raises(tasks.TaskError, match="these are none"):
        tasks.read_labels(own_table(), "smile+score")


def test_folders_called_1_2_3_are_classes_and_no_ages():
    labels = tasks.labels_of_classes(["1", "2", "3", "1"], name="emotion")
    assert labels.task.headline == "accuracy" and labels.task.class_values == ()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([[0.2, np.nan]], "1 of 1 outputs for 'smile' are NaN"),
        ([[7.0, -6.0]], "probabilities lie in 0..1"),
        ([[0.1, 0.2, 0.7]], "for each of 2 classes"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(output, message):
    with pytest.raises(tasks.TaskError, match=message):
        tasks.Task("smile", classes=("no", "yes")).decode(np.array(output))


def test_a_task_of_ones_own_is_registered():
    tasks.register(
        "is_old",
        lambda t: tasks.labels_of_classes(np.where(t["age"] > 50, "yes", "no"), name="is_old"),
        column="age",
    )
    table = faces.build({"image": ["a", "b"], "age": [20, 70]}, dataset="t")
    assert tasks.read_labels(table, "is_old").truth.tolist() == ["no", "yes"]
    assert tasks.source_columns(table, "is_old") == ["age"]


def test_a_task_comes_back_from_its_record():
    task = tasks.read_labels(own_table(), "glasses+smile").task
    assert tasks.Task.from_record(task.to_record()) == task
    with pytest.raises(tasks.TaskError, match="describes no task"):
        tasks.Task.from_record({"kind": 3})


def test_yaw_falls_into_five_bins():
    yaw = np.array([-90, -60, -59, -10, -9.9, 0, 9.9, 10, 59, 60, np.nan])
    names = [*["<= -60"] * 2, *["(-60, -10]"] * 2, *["(-10, 10)"] * 3, *["[10, 60)"] * 2, ">= 60", None]
    assert tasks.name_yaw_bins(yaw).tolist() == names
    mirrored = tasks.name_yaw_bins(-yaw[:-1])
    assert mirrored[0] == ">= 60" and mirrored[4] == "(-10, 10)"

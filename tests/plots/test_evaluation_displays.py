"""Displays draw their tables, and describe them in words."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from faceworkbook.evaluation import calibration, comparison, planning, predictions
from faceworkbook.plots import style
from faceworkbook.plots.comparison import ComparisonDisplay
from faceworkbook.plots.confusion import ConfusionDisplay
from faceworkbook.plots.error_matrix import ErrorMatrixDisplay
from faceworkbook.plots.errors import show_errors
from faceworkbook.plots.false_alarms import FalseAlarmsDisplay
from faceworkbook.plots.groups import GroupsDisplay
from faceworkbook.plots.mitigation import MitigationDisplay
from faceworkbook.plots.number_error import NumberErrorDisplay
from faceworkbook.plots.per_label import PerLabelDisplay
from faceworkbook.plots.plan import PlanDisplay
from faceworkbook.plots.reliability import ReliabilityDisplay
from faceworkbook.plots.risk_coverage import RiskCoverageDisplay
from faceworkbook.tasks import Task


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def table(seed=0, n=300):
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(9).integers(0, 2, n)
    share = 1 / (1 + np.exp(-(2 * truth - 1) - rng.normal(size=n) * (1 + seed)))
    faces = pd.DataFrame({"face_id": np.arange(n).astype(str), "identity": pd.NA})
    return predictions.build(
        faces, Task("gender", classes=("male", "female")), truth=np.array(["male", "female"], dtype=object)[truth],
        output=share, split="test",
    )  # fmt: skip


def title_of(display):
    return display.ax_.get_title(loc="left") + display.ax_.get_title()


def test_comparison_draws_each_pair_and_zero():
    compared = comparison.compare({"a": table(0), "b": table(3)}, n_boot=100)
    display = ComparisonDisplay.from_comparison(compared).plot()
    assert (
        display.ax_.get_yticklabels()[0]
        .get_text()
        .startswith("a - b\nexact McNemar, Tango's interval, n = 300")
    )
    assert "accuracy" in display.ax_.get_xlabel()
    assert len(display.ax_.get_yticklabels()) == 1  # one verdict a pair
    assert "a is better than b" in display.describe()


def test_long_names_leave_room_for_the_intervals():
    """The settings of a sweep are sentences, beside which the axes had shrunk to a stripe."""
    first, second = (
        f"tap [conv_pw_12_relu, global_pooling, feats], mirror true, members {n}" for n in (1, 5)
    )
    compared = comparison.compare({first: table(0), second: table(3)}, n_boot=100)
    display = ComparisonDisplay.from_comparison(compared).plot()
    display.figure_.canvas.draw()
    (label,) = display.ax_.get_yticklabels()
    assert display.ax_.get_position().width > 0.5 and first in label.get_text().replace("\n", " ")


def test_false_alarms_mark_the_five_percent():
    alarms = pd.DataFrame(
        {"test": ["right", "wrong (very)"], "alarms": [0.05, 0.6], "low": [0.03, 0.5], "high": [0.08, 0.7],
         "simulations": 100, "valid": [True, False]}
    )  # fmt: skip
    display = FalseAlarmsDisplay.from_table(alarms).plot()
    assert [patch.get_width() for patch in display.ax_.patches] == pytest.approx([5, 60])
    assert display.ax_.patches[0].get_facecolor() != display.ax_.patches[1].get_facecolor()
    assert "wrong (very) 60.0%" in display.describe()


def test_reliability_has_a_line_a_model_with_n():
    display = ReliabilityDisplay.from_predictions({"one": table(0), "two": table(3)}, bins=5).plot()
    labels = display.ax_.get_legend_handles_labels()[1]
    assert labels == ["as sure as right", "one (n = 300)", "two (n = 300)"]
    assert "more sure than right" in display.describe()


def test_risk_coverage_draws_the_table():
    expected = calibration.risk_coverage(table(), chosen_on="test")
    display = RiskCoverageDisplay.from_predictions({"model": table()}, chosen_on="test").plot()
    line = display.ax_.lines[0]
    np.testing.assert_allclose(line.get_xdata(), 100 * expected["left_to_a_person"])
    np.testing.assert_allclose(line.get_ydata(), expected["accuracy"])
    assert "(n = 300)" in title_of(display)


def test_mitigations_stand_beside_before_and_bear_a_missing_group():
    rows = {
        "mitigation": ["before", "balancing"], "overall": [0.9, 0.91], "overall_low": [0.88, 0.89],
        "overall_high": [0.92, 0.93], "worst": ["Asian", ""], "worst_value": [0.8, np.nan],
        "worst_value_low": [0.7, np.nan], "worst_value_high": [0.85, np.nan],
    }  # fmt: skip
    display = MitigationDisplay.from_table(pd.DataFrame(rows), metric="balanced_accuracy", n=500).plot()
    assert "n = 500" in title_of(display)
    assert "before: all faces 0.900, worst group Asian 0.800" in display.describe()


def test_displays_draw_into_given_axes():
    _, ax = plt.subplots()
    display = ReliabilityDisplay.from_predictions({"one": table()}, bins=3).plot(ax)
    assert display.ax_ is ax


def test_small_groups_are_hollow_and_empty_ones_have_no_point():
    rows = [
        ("race", "White", 0.1, 200, False),
        ("race", "Black", 0.2, 5, True),
        ("race", "Asian", np.nan, 0, True),
    ]
    table = pd.DataFrame(rows, columns=["attribute", "group", "value", "n", "small"]).assign(metric="error")
    table = table.assign(low=table["value"] - 0.05, high=table["value"] + 0.05)
    display = GroupsDisplay.from_table(table, overall=0.12).plot()
    points = [line for line in display.ax_.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in points] == [[0.1], [0.2]]
    assert [line.get_markerfacecolor() for line in points] == [style.COLORS[0], "white"]
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["race: White  (n = 200)", "race: Black  (n = 5)", "race: Asian  (n = 0)"]
    assert "Asian" not in display.describe()


def predict(task, truth, output):
    faces = pd.DataFrame({"face_id": np.arange(len(truth)).astype(str), "identity": pd.NA})
    return predictions.build(faces, task, truth=truth, output=output, split="test")


def test_errors_are_drawn_as_the_task_asks():
    """Nobody else tests what kind of task it is."""
    rng = np.random.default_rng(0)
    n = 60
    share = rng.random((n, 3))
    share /= share.sum(axis=1, keepdims=True)
    names = np.array(["a", "b", "c"], dtype=object)
    classes = show_errors(predict(Task("letter", classes=("a", "b", "c")), names[np.arange(n) % 3], share))
    assert isinstance(classes, ConfusionDisplay) and classes.counts.sum() == n
    age = rng.uniform(0, 80, n)
    numbers = show_errors(predict(Task("age", "number", unit="years"), age, age + 2))
    assert isinstance(numbers, NumberErrorDisplay) and "mean absolute error 2.00 years" in numbers.describe()
    years = Task("age_years", "ordered", ("20", "21", "22"), "years", (20.0, 21.0, 22.0))
    as_numbers = show_errors(
        predict(years, np.array(["20", "21", "22"], dtype=object)[np.arange(n) % 3], share)
    )
    assert isinstance(as_numbers, NumberErrorDisplay)
    np.testing.assert_allclose(as_numbers.predicted, share @ [20, 21, 22])
    several = Task("glasses+smile", "multilabel", ("glasses", "smile"))
    truth = np.array(["glasses", "smile", "glasses+smile", "none"], dtype=object)[np.arange(n) % 4]
    always = show_errors(predict(several, truth, np.tile([0.9, 0.1], (n, 1))))
    assert isinstance(always, PerLabelDisplay)
    assert always.table["value"].tolist() == [0.5, 0.5] and always.table["n_yes"].tolist() == [30, 30]
    assert [t.get_text() for t in always.ax_.get_yticklabels()] == [
        "glasses  (30 of 60 yes)",
        "smile  (30 of 60 yes)",
    ]


def test_the_errors_alone_leave_the_diagonal_out():
    truth = np.array(["a", "a", "a", "a", "b"], dtype=object)
    output = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 2)
    display = ErrorMatrixDisplay.from_predictions(
        predict(Task("letter", classes=("a", "b")), truth, output)
    ).plot()
    assert display.n_errors == 1
    assert [text.get_text() for text in display.ax_.texts] == ["25.0", "0.0"]
    assert "Most often a is taken for b: 25.0 % (1 of 4)." in display.describe()


def test_a_class_has_one_colour_whichever_others_occur():
    few, all_of_them = (
        style.class_colors(names) for names in (["Asian"], ["White", "Black", "Asian", "Indian"])
    )
    assert few["Asian"] == all_of_them["Asian"] != all_of_them["White"]
    own = style.class_colors(["round", "square", "(missing)"])
    assert own["(missing)"] == style.GREY and own["round"] != own["square"]


def test_the_margin_is_a_band_and_the_goal_of_a_plan_a_point():
    compared = comparison.compare({"a": table(0), "b": table(3)}, margin=0.05, n_boot=100)
    display = ComparisonDisplay.from_comparison(compared).plot()
    (band,) = display.ax_.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-0.05, 0.05))
    assert "the band is the margin of 0.05" in display.describe()
    without = ComparisonDisplay.from_comparison(comparison.compare({"a": table(0), "b": table(3)}, margin=0))
    assert not without.plot().ax_.patches

    faces = planning.FacesOfPeople(5, 1.0, 0.2)
    goal = planning.difference_of_models(0.02, discordant=0.08)
    plan = PlanDisplay.from_goal(goal, faces, a_person=(1, 20), points=6).plot()
    assert len(plan.ax_.get_legend_handles_labels()[1]) == 3
    point = next(line for line in plan.ax_.lines if line.get_marker() == "o")
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (0.02, planning.people_needed(goal, faces))
    assert "show a difference of 0.02" in plan.describe() and "people" in plan.ax_.get_ylabel()

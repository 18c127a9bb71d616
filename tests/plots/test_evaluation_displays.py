"""Displays draw what their tables say, and tell it in words."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from faceworkbook.evaluation import calibration, comparison, predictions
from faceworkbook.plots.comparison import ComparisonDisplay, FalseAlarmsDisplay
from faceworkbook.plots.mitigation import MitigationDisplay
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
    found = comparison.compare({"a": table(0), "b": table(3)}, n_boot=100)
    display = ComparisonDisplay.from_comparison(found).plot()
    assert display.ax_.get_yticklabels()[0].get_text().startswith("a - b\nexact McNemar, n = 300")
    assert "accuracy" in display.ax_.get_xlabel()
    assert "a is better than b" in display.describe()


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
    expected = calibration.risk_coverage(table())
    display = RiskCoverageDisplay.from_predictions({"model": table()}).plot()
    line = display.ax_.lines[0]
    np.testing.assert_allclose(line.get_xdata(), 100 * expected["left_to_a_person"])
    np.testing.assert_allclose(line.get_ydata(), expected["accuracy"])
    assert "(n = 300)" in title_of(display)


def test_remedies_stand_before_and_after_and_bear_a_missing_group():
    rows = {
        "way": ["before", "balancing"], "overall": [0.9, 0.91], "overall_low": [0.88, 0.89],
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

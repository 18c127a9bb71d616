"""Displays of training histories, folds, learning curves, corruptions and cross-data-set tables."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from faceworkbook.plots.architecture import ArchitectureDisplay
from faceworkbook.plots.corruptions import CorruptionsDisplay
from faceworkbook.plots.cross_dataset import CrossDatasetDisplay
from faceworkbook.plots.fold_histories import FoldHistoriesDisplay
from faceworkbook.plots.folds import FoldsDisplay
from faceworkbook.plots.learning_curve import LearningCurveDisplay
from faceworkbook.plots.training_history import TrainingHistoryDisplay


@pytest.fixture
def history():
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [0.6, 0.4, 0.3],
            "val_loss": [0.5, 0.35, 0.4],
            "accuracy": [0.7, 0.8, 0.9],
            "val_accuracy": [0.75, 0.85, 0.84],
        }
    )


def test_training_history_marks_the_epoch_kept(history):
    display = TrainingHistoryDisplay.from_history(history).plot()
    assert display.best_epoch == 2
    loss, accuracy = display.axes_
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), history["val_loss"])
    assert accuracy.get_ylabel().startswith("accuracy")
    assert "epoch 2" in display.describe() and "0.850" in display.describe()


def test_training_history_without_validation_and_with_a_unit(history):
    numbers = history.rename(columns={"accuracy": "mae", "val_accuracy": "val_mae"}).assign(val_loss=np.nan)
    display = TrainingHistoryDisplay.from_history(numbers, unit="years").plot()
    assert display.best_epoch is None
    assert "(years)" in display.axes_[1].get_ylabel()
    with pytest.raises(ValueError, match="val_loss"):
        TrainingHistoryDisplay.from_history(history.drop(columns="val_loss"))


def test_folds_show_every_fit_and_the_interval(history):
    scored = pd.DataFrame(
        {"repeat": [0, 0, 1, 1], "fold": [0, 1, 0, 1], "test_accuracy": [0.8, 0.9, 0.85, 0.95]}
    )
    summary = pd.DataFrame({"metric": ["accuracy"], "mean": [0.875], "low": [0.8], "high": [0.95]})
    display = FoldsDisplay.from_scores(scored, summary).plot()
    assert sum(len(line.get_xdata()) for line in display.ax_.lines if line.get_marker() == "o") == 4
    assert "0.875 [0.800, 0.950]" in display.describe()
    both = pd.concat([history.assign(repeat=0, fold=0), history.assign(repeat=0, fold=1)])
    assert "2 fits" in FoldHistoriesDisplay.from_history(both.reset_index(drop=True)).plot().describe()


def test_learning_curve_has_a_second_panel_where_people_are_known():
    rows = [
        {"by": by, "share": share, "n_train": 100 * share, "n_identities": 10 * share, "metric": "accuracy",
         "mean": 0.6 + share / 10, "low": 0.5, "high": 0.9, "draws": 2, "n_test": 50}
        for by in ("faces", "identities") for share in (0.5, 1)
    ]  # fmt: skip
    curve = pd.DataFrame(rows)
    display = LearningCurveDisplay.from_curve(curve).plot()
    assert len(display.axes_) == 2
    assert [label.get_text() for label in display.axes_[0].get_xticklabels()] == ["50", "100"]
    assert "0.650 with 50, 0.700 with 100" in display.describe()
    [alone] = LearningCurveDisplay.from_curve(curve[curve["by"] == "faces"], unit="years").plot().axes_
    assert "50 test faces; mean of 2 draws" in title_of(alone) and alone.get_ylabel().endswith("(years)")


def title_of(ax):
    return ax.get_title(loc="left") + ax.get_title()


def test_corruptions_have_a_panel_each():
    rows = [("none", 0, 0.9, 0), ("blur", 0.1, 0.8, -0.1), ("blur", 0.2, 0.6, -0.3), ("jpeg", 5, 0.85, -0.05)]
    table = pd.DataFrame(rows, columns=["corruption", "severity", "value", "change"])
    table = table.assign(
        low=table["value"] - 0.05, high=table["value"] + 0.05, metric="accuracy", n=100, unit="u"
    )
    display = CorruptionsDisplay.from_measured(table).plot()
    assert [title_of(ax) for ax in display.axes_] == ["blur", "jpeg"]
    assert display.axes_[0].get_xlabel() == "severity (u)" and display.axes_[0].get_ylabel() == "accuracy"
    assert "blur 0.2" in display.describe() and "n = 100 test faces" in display.figure_.get_suptitle()


def test_cross_table_writes_value_interval_and_n():
    rows = [(a, b, 0.9 if a == b else 0.7) for a in "XY" for b in "XY"]
    table = pd.DataFrame(rows, columns=["trained_on", "tested_on", "value"])
    table = table.assign(low=table["value"] - 0.02, high=table["value"] + 0.02, n_test=40, metric="accuracy")
    display = CrossDatasetDisplay.from_measured(table).plot()
    assert "0.700\n[0.680, 0.720]\nn = 40" in [t.get_text() for t in display.ax_.texts]
    assert "0.900" in display.describe() and "0.700" in display.describe()


def test_cross_table_with_nothing_left_to_train_on_is_drawn():
    rows = [("X", "X", 0.9), ("X", "Y", 0.7), ("Y", "X", np.nan), ("Y", "Y", 0.8)]
    table = pd.DataFrame(rows, columns=["trained_on", "tested_on", "value"])
    table = table.assign(low=table["value"], high=table["value"], n_test=40, metric="accuracy")
    display = CrossDatasetDisplay.from_measured(table).plot()
    assert "nothing left\nto train on" in [t.get_text() for t in display.ax_.texts]


def test_an_architecture_shows_blocks_heads_and_the_number_of_parameters():
    columns = ["part", "block", "output", "parameters", "height", "depth"]
    rows = [
        ("trunk", "conv_1 to conv_2", "8 x 8 x 16", 1200, 8, 16),
        ("shared", "shared__pool", "16", 0, 1, 16),
        ("gender", "gender__logits", "2", 34, 1, 2),
        ("age", "age__logits", "1", 17, 1, 1),
    ]
    display = ArchitectureDisplay.from_blocks(pd.DataFrame(rows, columns=columns)).plot(title="toy")
    titles = display.ax_.get_title() + display.ax_.get_title(loc="left")  # the style in use says where
    assert titles == "toy: 1,251 parameters"
    texts = [text.get_text() for text in display.ax_.texts]
    assert "8 x 8 x 16\n1,200" in texts and "gender\n2\n34" in texts
    assert len(display.ax_.patches) == 4 and "1,251 parameters in 4 blocks" in display.describe()

"""The range test and folds of networks on pictures; figures on training rows beside those of the other subsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("keras")

from faceworkbook import faces, splits  # noqa: E402
from faceworkbook.evaluation import cross_validation, predictions  # noqa: E402
from faceworkbook.experiments import subset_figures  # noqa: E402
from faceworkbook.models.multitask import make_head  # noqa: E402
from faceworkbook.plots.lr_range import LrRangeDisplay  # noqa: E402
from faceworkbook.training import architecture, cutting, fine_tune, loop, picture_folds  # noqa: E402
from faceworkbook.training.fine_tune import Settings  # noqa: E402
from faceworkbook.training.lr_range import read_curve, run_range_test  # noqa: E402
from tests.training import toy_network as toy  # noqa: E402

N = 60


@dataclass(frozen=True)
class Split:
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


SPLIT = Split(np.arange(36), np.arange(36, 48), np.arange(48, N))
SETTINGS = Settings(epochs=2, batch_size=6, learning_rate=1e-2, progress=False)


@pytest.fixture(scope="module")
def source():
    return toy.source(N)


@pytest.fixture(scope="module")
def labels():
    return toy.labels(N)


@pytest.fixture(scope="module")
def table(labels):
    columns = {"image": [f"{i}.png" for i in range(N)], "light": labels["light"].truth}
    return faces.build(columns, dataset="toy")


def make_network(labels):
    def make(train, seed):
        heads = [make_head(own, rows=train) for own in labels.values()]
        return cutting.assemble(toy.backbone(), heads, dropout=0.0, seed=seed)

    return make


def test_the_rate_is_suggested_where_the_loss_falls_fastest():
    rates = np.geomspace(1e-5, 1, 101)
    # Flat, then down around 1e-2, then up.
    losses = 2 - 1 / (1 + np.exp(-6 * (np.log10(rates) + 2))) + 50 * np.maximum(np.log10(rates) + 0.5, 0) ** 2
    result = read_curve(rates, losses)
    assert 5e-3 < result.suggested < 5e-2
    # Half of the losses so far, once the start is allowed for: the mean of the first two is 1 * .1 / .19 + 3 * .09 / .19.
    assert read_curve(rates[:2], np.array([3.0, 1.0])).curve["smoothed"].tolist() == pytest.approx(
        [3.0, (0.09 * 3 + 0.1 * 1) / 0.19]
    )
    assert read_curve(rates[:3], np.array([1.0, 2.0, np.nan])).suggested == rates[0]
    # A lucky second batch is no fall.
    losses[1] = 0.0
    assert 5e-3 < read_curve(rates, losses).suggested < 5e-2


def test_a_range_test_leaves_the_network_as_it_was(source, labels):
    network = make_network(labels)(SPLIT.train, 0)
    before = network.net.model.get_weights()
    result = fine_tune.find_rates(network, source, labels, split=SPLIT, settings=SETTINGS)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.net.model.get_weights(), strict=True))
    curve = result.curve
    assert (
        curve["learning_rate"].iloc[0] == pytest.approx(1e-6)
        and curve["learning_rate"].is_monotonic_increasing
    )
    assert curve["smoothed"].min() < 0.9 * curve["smoothed"].iloc[0]
    assert curve["learning_rate"].iloc[0] <= result.suggested <= curve["learning_rate"].iloc[-1]
    display = LrRangeDisplay.from_range(result, chosen=1e-2).plot()
    assert "1.0e-02 is trained with" in display.describe() and display.ax_.get_xscale() == "log"
    display.figure_.canvas.draw()
    labels_of_ticks = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert "0.001" in labels_of_ticks and not any("$" in text for text in labels_of_ticks)


def test_a_range_test_goes_on_below_a_loss_of_0():
    class Falling:
        state = ()
        losses = iter([1.0, 0.5, -0.1, -0.15, -0.05, -0.2, 5.0, 6.0])

        def step(self, batch, rate):
            return next(self.losses)

    class Batches:
        def train(self, epoch):
            return [loop.Batch(None, {"light": ()})]

    assert len(run_range_test(Falling(), Batches()).curve) == 7


def test_each_fold_has_a_network_of_its_own_and_a_killed_run_goes_on(source, labels, table, tmp_path):
    folds = splits.folds(table, label="light", sizes=splits.FoldSizes(n_folds=2, n_repeats=2), seed=0)
    data = picture_folds.PictureTask(source, labels, {})
    given = {"settings": SETTINGS, "folder": tmp_path}
    made, seeds = [], []

    def failing(train, seed):
        made.append(train)
        seeds.append(seed)
        if len(made) == 3:
            raise RuntimeError("killed")
        return make_network(labels)(train, seed)

    with pytest.raises(RuntimeError, match="killed"):
        picture_folds.fit_folds(failing, data, folds, **given)
    fits = picture_folds.fit_folds(make_network(labels), data, folds, **given)["light"]
    whole = picture_folds.fit_folds(
        make_network(labels), data, folds, settings=SETTINGS, folder=tmp_path / "whole"
    )["light"]
    assert seeds == [0, 0, 1]
    np.testing.assert_array_equal(fits.outputs, whole.outputs)
    scored = cross_validation.scores(fits, table)
    assert len(scored) == 4 and np.isfinite(scored[["train_accuracy", "test_accuracy"]].to_numpy()).all()
    assert cross_validation.summary(scored).set_index("metric").loc["accuracy", "n_repeats"] == 2
    picture_folds.remove_checkpoints(tmp_path)
    assert not list(tmp_path.glob("repeat*/checkpoint.npz"))


def test_training_rows_stand_beside_validation_and_test_rows(table, labels):
    own = labels["light"]
    outputs = np.where(own.codes[:, None] == np.arange(2), 0.9, 0.1)
    outputs[SPLIT.test] = outputs[SPLIT.test, ::-1]
    predicted = {"light": predictions.predict(outputs, None, table, own, SPLIT)}
    rows = subset_figures.draw_rows(SPLIT, seed=0, most=20)
    assert len(rows) == 20 and np.isin(rows, SPLIT.train).all()
    figures = subset_figures.compare_subsets(
        lambda rows: {"light": outputs}, table, labels, predicted, rows=rows
    )
    row = figures.set_index("metric").loc["accuracy"]
    assert (row["train"], row["validation"], row["test"]) == (1, 1, 0)
    assert (row["n_train"], row["n_validation"], row["n_test"]) == (20, 12, 12)


def test_an_architecture_is_counted_block_by_block(labels):
    network = make_network(labels)(SPLIT.train, 0)
    blocks = architecture.blocks(network.net.model)
    assert blocks["parameters"].sum() == network.net.model.count_params()
    assert blocks["output"].tolist()[:3] == ["12 x 12 x 3", "10 x 10 x 4", "4 x 4 x 6"]
    head = blocks[blocks["part"] == "light"].iloc[0]
    assert (head["output"], head["parameters"]) == ("2", 5 * 2 + 2)
    assert isinstance(blocks, pd.DataFrame)

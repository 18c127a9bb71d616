"""Directions of the descriptor that matter, on toys."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from faceworkbook.experiments import importance
from tests.experiments.toys import LINEAR, prepare

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


@pytest.fixture(scope="module")
def made():
    data = prepare()
    return LINEAR.fit(data.matrix, data.labels, data.split, seed=0), data


def test_the_planted_direction_comes_first(made):
    fitted, data = made
    assert importance.rank(fitted, data)["direction"][:2].tolist() == [0, 1]
    shuffled = importance.permutation(fitted, data, directions=range(8), repeats=3)
    assert shuffled["direction"][0] == 0
    assert shuffled["change"][0] > 5 * shuffled["change"][2:].abs().max()
    assert shuffled["low"][0] > 0
    inside = (shuffled["low"] <= shuffled["change"]) & (shuffled["change"] <= shuffled["high"])
    assert inside.all()


def test_one_direction_is_almost_enough_where_one_was_planted(made):
    kept = importance.keep_best(*made)
    assert kept["n_directions"].tolist() == [1, 2, 4, 8]
    assert kept["value"][0] > kept["value"].iloc[-1] - 0.1


def test_a_model_without_weights_is_ranked_by_its_training_rows(made):
    data = made[1]
    rows = data.split.train
    neighbours = KNeighborsClassifier(15).fit(data.matrix[rows], data.labels.truth[rows].astype(str))
    ranked = importance.rank(neighbours, data)
    assert ranked["direction"][:2].tolist() == [0, 1] and "signed" not in ranked
    assert importance.permutation(neighbours, data, metric="accuracy", repeats=2)["direction"][0] == 0
    assert np.isfinite(importance.keep_best(neighbours, data)["value"]).all()

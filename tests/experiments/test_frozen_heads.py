"""The reference of a fine-tuned network is the best of several classifiers on its frozen descriptors."""

from types import SimpleNamespace

import numpy as np
import pytest

from faceworkbook import tasks
from faceworkbook.evaluation import predictions
from faceworkbook.experiments import frozen_heads
from tests.experiments.toys import prepare

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


@pytest.fixture(scope="module")
def rings():
    """Faces whose class is how far their descriptor lies from 1, which no linear classifier reads; and a number."""
    data = prepare(n=300, d=2)
    matrix = np.random.default_rng(0).uniform(0, 2, (300, 2)).astype(np.float32)
    away = np.hypot(*(matrix - 1).T)
    labels = {
        "ring": tasks.labels_of_classes(np.where(away > 0.75, "outer", "inner"), name="ring"),
        "sum": tasks.labels_of_numbers(matrix.sum(axis=1), name="sum"),
    }
    return data, SimpleNamespace(matrix=matrix), labels


def test_validation_rows_choose_the_classifier_of_each_label(rings):
    data, described, labels = rings
    heads = frozen_heads.fit(described, data.faces, labels, data.split, classifiers=["linear", "kernel"])
    ring = heads["ring"]
    assert ring.chosen == "kernel" and ring.best is ring.predicted["kernel"]
    by_model = ring.judged.set_index("model")
    assert by_model.loc["kernel", "value"] > by_model.loc["linear", "value"] + 0.1
    number = heads["sum"].judged
    assert number["metric"].unique().tolist() == ["mae"]
    assert number.loc[number["chosen"], "validation"].item() == number["validation"].min()


def test_what_the_kernel_takes_of_several_layers_is_chosen_too(rings, monkeypatch):
    data, described, labels = rings
    noise = np.random.default_rng(1).uniform(0, 2, (300, 30)).astype(np.float32)
    blocks = tuple(SimpleNamespace(matrix=m, dim=m.shape[1]) for m in (described.matrix, noise))

    class Both(SimpleNamespace):
        pass

    monkeypatch.setattr(frozen_heads, "Joined", Both)
    both = Both(blocks=blocks, matrix=np.concatenate([described.matrix, noise], axis=1))
    given = {"classifiers": ["kernel"], "seed": 1}
    only = {"ring": labels["ring"]}
    alone = frozen_heads.fit(blocks[0], data.faces, only, data.split, **given)["ring"]
    chosen = frozen_heads.fit(both, data.faces, only, data.split, **given)["ring"]
    np.testing.assert_allclose(*map(predictions.probabilities, (chosen.best, alone.best)), atol=1e-3)


def test_an_mlp_fits_with_the_settings_of_the_folds(rings):
    data, described, labels = rings
    heads = frozen_heads.fit(
        described,
        data.faces,
        {"ring": labels["ring"]},
        data.split,
        classifiers=["mlp"],
        balance="class_weights",
    )
    assert heads["ring"].chosen == "mlp"

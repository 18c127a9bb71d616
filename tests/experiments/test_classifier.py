"""The experiment's own classifier, read from its folder and fitted again: the same figure on the same rows."""

import keras
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from faceworkbook import training
from faceworkbook.experiments import classifier as own_classifier
from faceworkbook.experiments import cross_dataset, learning_curve, overlap
from faceworkbook.experiments.learning_curve import Draws
from faceworkbook.training import registry
from faceworkbook.training.fitted import ModelFileError
from tests.experiments.toys import prepare

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def network():
    start = keras.initializers.GlorotUniform
    made = keras.Sequential(
        [
            keras.layers.Normalization(),
            keras.layers.Dense(6, "relu", kernel_initializer=start(1)),
            keras.layers.Dense(2, "softmax", kernel_initializer=start(2)),
        ]
    )
    made.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


MODELS = {
    "mlp": ("mlp", {"widths": (4,), "epochs": 5, "learning_rate": 0.01, "balance": "class_weights"}),
    "linear": ("linear", {"balance": "class_weights", "strengths": (0.01, 1.0)}),
    "kernel": ("kernel", {"balance": "class_weights", "landmarks": (50, 200)}),
    "network": (network, {"epochs": 4, "batch_size": 64}),
    "estimator": (RandomForestClassifier(7), {}),
}


def write(folder, data, model, options, *, seed=7):
    """What 03_classifier leaves: the classifier and its reference."""
    given = data.matrix, data.labels, data.split
    fitted = training.fit(model, *given, seed=seed, folder=folder, **options)
    training.fit_linear(*given, seed=seed, folder=folder / "reference")
    return fitted


def accuracy(fitted, data):
    rows = data.split.test
    return (fitted.predict(data.matrix[rows]).argmax(axis=1) == data.labels.codes[rows]).mean()


@pytest.mark.parametrize("name", MODELS)
def test_curve_and_table_hold_the_figure_of_the_saved_classifier(tmp_path, name):
    """To the last digit, whatever was fitted, and whatever seed the later step draws by."""
    data, other = prepare(noise=2.5, name="A"), prepare(seed=9, name="B")
    model, options = MODELS[name]
    figure = accuracy(write(tmp_path, data, model() if callable(model) else model, options), data)
    fitted, own = own_classifier.read(tmp_path, data)
    assert own.notice == "" and own.seed == 7 and accuracy(fitted, data) == figure
    drawn = learning_curve.measure(data, Draws((0.5, 1.0), repeats=1), classifier=own, seed=1, n_boot=20)
    assert drawn.set_index("share").loc[1.0, "value"] == figure
    sets = {"A": data, "B": other}
    tied = overlap.join({key: each.faces for key, each in sets.items()}, np.full(800, -1))
    crossed = cross_dataset.measure(sets, tied, classifier=own, seed=1, n_boot=20)
    assert crossed.set_index(["trained_on", "tested_on"]).loc[("A", "A"), "value"] == figure


def test_what_cannot_be_fitted_again_is_named_with_what_takes_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "MAKERS", dict(registry.MAKERS))

    class Own(KNeighborsClassifier):
        """An estimator that a later process does not know."""

    data = prepare(noise=2.5)
    training.register("own", lambda task, seed: Own(3))
    write(tmp_path, data, "own", {})
    assert own_classifier.read(tmp_path, data)[1].notice == ""
    del registry.MAKERS["own"]
    fitted, own = own_classifier.read(tmp_path, data)
    assert own.kind == "linear" and fitted.classifier == "linear"
    assert "cannot be fitted again here" in own.notice and "Own(n_neighbors=3)" in own.notice
    assert own.notice.endswith("What trains on this page is its linear reference (logistic regression).")


def test_a_network_that_can_be_read_still_predicts(tmp_path):
    def own_loss(truth, predicted):
        return keras.losses.sparse_categorical_crossentropy(truth, predicted)

    data, made = prepare(noise=2.5), network()
    made.compile(keras.optimizers.SGD(0.3), own_loss)
    saved = write(tmp_path, data, made, {"epochs": 2})
    fitted, own = own_classifier.read(tmp_path, data)
    np.testing.assert_allclose(fitted.predict(data.matrix), saved.predict(data.matrix), atol=1e-6)
    assert own.kind == "linear" and "own_loss" in own.notice


def test_other_rows_are_an_error_and_no_reason_for_another_classifier(tmp_path):
    data = prepare()
    write(tmp_path, data, KNeighborsClassifier(3), {})
    with pytest.raises(ModelFileError, match="other descriptors"):
        own_classifier.read(tmp_path, prepare(seed=1))

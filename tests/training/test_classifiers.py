"""Any classifier: names, functions, estimators and Keras models; saved without a pickle, fitted again when loaded."""

import json

import keras
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from training_toys import ages, blobs, cut

from faceworkbook import tasks, training
from faceworkbook.training import estimators, registry
from faceworkbook.training.fitted import ModelFileError, RecipeError

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


@pytest.fixture
def named(monkeypatch):
    """Names that a test registers are gone after it."""
    monkeypatch.setattr(registry, "MAKERS", dict(registry.MAKERS))


def accuracy(fitted, x, labels, rows):
    return (fitted.predict(x[rows]).argmax(axis=1) == labels.codes[rows]).mean()


def network(width=8, seed=1):
    start = keras.initializers.GlorotUniform
    made = keras.Sequential(
        [
            keras.layers.Normalization(),
            keras.layers.Dense(width, "relu", kernel_initializer=start(seed)),
            keras.layers.Dropout(0.2, seed=seed),
            keras.layers.Dense(3, "softmax", kernel_initializer=start(seed + 1)),
        ]
    )
    made.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


PLAIN = [
    KNeighborsClassifier(5),
    RandomForestClassifier(20),
    make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
]


@pytest.mark.parametrize("estimator", PLAIN, ids=lambda e: type(e).__name__)
def test_an_estimator_is_fitted_as_it_is_and_left_unchanged(estimator):
    x, labels = blobs(n=300, n_classes=3)
    split = cut(300)
    fitted = training.fit_estimator(estimator, x, labels, split, seed=3)
    assert not hasattr(estimator, "classes_") and not hasattr(estimator, "n_features_in_")
    p = fitted.predict(x[split.test])
    assert p.shape == (60, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    again = estimators.fresh(estimator, 3).fit(x[split.train], labels.codes[split.train])
    np.testing.assert_allclose(p, again.predict_proba(x[split.test]), atol=1e-6)
    hits = accuracy(fitted, x, labels, split.validation)
    assert fitted.history["val_accuracy"].item() == pytest.approx(hits)
    assert set(fitted.history) >= {"epoch", "loss", "val_loss", "accuracy"}
    assert fitted.settings["n_train"] == 180


def test_one_cell_changes_the_model(tmp_path, named):
    """By object, by function and by name, in a single fit and in folds."""
    x, labels = blobs(n=200)
    split = cut(200)
    training.register("knn", lambda task, seed: KNeighborsClassifier(5))
    fits = [
        training.fit(KNeighborsClassifier(5), x, labels, split),
        training.fit(lambda task, seed: KNeighborsClassifier(5), x, labels, split),
        training.fit("knn", x, labels, split),
    ]
    for fitted in fits:
        np.testing.assert_array_equal(fitted.predict(x), fits[0].predict(x))
        later = training.fit_folds(x, labels, [split], classifier=fitted.classifier, **fitted.options)
        np.testing.assert_allclose(later.outputs[0], fitted.predict(x), atol=1e-6)
    assert fits[2].classifier == "knn"


@pytest.mark.parametrize("name", ["mlp", "linear", "kernel", "residual_mlp"])
def test_the_names_that_are_there(name):
    x, labels = blobs(n=300)
    split = cut(300)
    options = {} if name in ("linear", "kernel") else {"epochs": 8}
    options |= {"mlp": {"learning_rate": 0.01}, "residual_mlp": {"gamma": 0.9}}.get(name, {})
    fitted = training.fit(name, x, labels, split, **options)
    assert fitted.classifier == name and fitted.is_network
    assert accuracy(fitted, x, labels, split.test) > 0.8
    again = training.fit(fitted.classifier, x, labels, split, **fitted.options)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))


def test_unknown_names_and_things_are_refused():
    x, labels = blobs(n=80)
    with pytest.raises(
        ValueError, match=r"classifier='forest'; allowed are \['kernel', 'linear', 'mlp', 'residual_mlp'\]"
    ):
        training.fit("forest", x, labels, cut(80))
    with pytest.raises(ValueError, match="classifier is a int; allowed are"):
        training.fit(5, x, labels, cut(80))
    with pytest.raises(TypeError, match=r"takes the option .balance. alone, got \['epochs'\]"):
        training.fit(KNeighborsClassifier(), x, labels, cut(80), epochs=3)
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        training.register("my net", lambda task, seed: None)


def test_a_regressor_learns_a_number_and_a_classifier_is_refused():
    x, years = ages()
    labels, split = tasks.labels_of_numbers(years, name="age"), cut(600)
    fitted = training.fit(Ridge(1.0), x, labels, split)
    assert np.abs(fitted.predict(x[split.test]) - years[split.test]).mean() < 3
    assert fitted.history["val_mae"].item() < 3
    with pytest.raises(training.TrainingError, match="KNeighborsClassifier a classifier; give a regressor"):
        training.fit(KNeighborsClassifier(), x, labels, split)


def test_an_estimator_without_probabilities_is_refused():
    x, labels = blobs(n=80)
    with pytest.raises(ValueError, match="gives classes without probabilities"):
        training.fit(SVC(), x, labels, cut(80))


@pytest.mark.parametrize("estimator", [KNeighborsClassifier(3), RandomForestClassifier(10)])
def test_several_yes_no_labels_at_once(estimator):
    x = np.random.default_rng(0).normal(size=(300, 4)).astype("f")
    codes = np.column_stack([x[:, 0] > 0, x[:, 1] > 0, np.zeros(300)]).astype(int)
    task = tasks.Task("smile+hat+beard", tasks.MULTILABEL, ("smile", "hat", "beard"))
    labels, split = tasks.Labels(task, codes, np.full(300, np.nan)), cut(300)
    p = training.fit(estimator, x, labels, split).predict(x[split.test])
    assert p.shape == (60, 3) and (p[:, 2] == 0).all()
    assert ((p > 0.5) == codes[split.test])[:, :2].mean() > 0.85


def test_classes_without_a_training_row_get_no_probability():
    x, labels = blobs(n=300, n_classes=3)
    split = cut(300)
    split.train = split.train[labels.codes[split.train] != 1]
    p = training.fit(KNeighborsClassifier(), x, labels, split).predict(x)
    assert p.shape == (300, 3) and (p[:, 1] == 0).all()


# ------------------------------------------------------------------------------------------ Keras models


def test_a_compiled_network_is_copied_normalised_and_stopped_early():
    x, labels = blobs(n=300, n_classes=3)
    split, given = cut(300), network()
    fitted = training.fit(given, x, labels, split, epochs=15, patience=3, seed=2)
    assert accuracy(fitted, x, labels, split.test) > 0.9
    assert fitted.has_dropout and fitted.sample(x[:4], 3).shape == (3, 4, 3)
    layer = next(one for one in fitted.model.layers if isinstance(one, keras.layers.Normalization))
    np.testing.assert_allclose(np.ravel(layer.mean), x[split.train].mean(axis=0), rtol=1e-4)
    p = fitted.predict(x[split.validation])
    loss = -np.log(p[np.arange(len(p)), labels.codes[split.validation]]).mean()
    assert loss == pytest.approx(fitted.history["val_loss"].min(), rel=1e-3), "the best weights are kept"
    again = training.fit(given, x, labels, split, epochs=15, patience=3, seed=2)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))


def test_a_network_trained_in_plain_sight_is_wrapped_saved_and_trained_again_later(tmp_path):
    x, labels = blobs(n=300, n_classes=3)
    split, y = cut(300), training.targets_of(labels)
    model = network()
    model.layers[0].adapt(x[split.train])
    history = model.fit(
        x[split.train], y[split.train], validation_data=(x[split.validation], y[split.validation]),
        epochs=3, verbose=0,
    )  # fmt: skip
    fitted = training.wrap(model, labels.task, history, {"seed": 0})
    assert list(fitted.history["epoch"]) == [1, 2, 3] and fitted.settings["best_epoch"] in (1, 2, 3)
    fitted.save(tmp_path)
    loaded = training.load(tmp_path)
    np.testing.assert_allclose(loaded.predict(x), fitted.predict(x), atol=1e-6)
    later = training.fit_folds(x, labels, [cut(300, seed=5)], classifier=loaded.classifier, epochs=4)
    assert later.outputs.shape == (1, 300, 3)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_network_of_ones_own_is_fitted_again_from_its_file_to_the_same_outputs(tmp_path, named, by_name):
    """Optimizer, options and initial weights are those of the file, not Keras' defaults; also without its name."""
    x, labels = blobs(n=300, n_classes=3)
    split = cut(300)
    training.register("own", lambda task, seed: network())
    options = {"epochs": 3, "patience": 2, "batch_size": 32, "balance": "class_weights"}
    given = "own" if by_name else network()
    fitted = training.fit(given, x, labels, split, seed=2, folder=tmp_path, **options)
    del registry.MAKERS["own"]
    loaded = training.load(tmp_path)
    assert float(loaded.model.optimizer.learning_rate) == pytest.approx(0.01) and not loaded.not_refitted
    again = training.fit(loaded.classifier, x, labels, split, seed=2, **loaded.options)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))


def test_a_network_with_a_loss_of_ones_own_is_read_and_why_it_cannot_be_fitted_again_is_named(tmp_path):
    def own_loss(truth, predicted):
        return keras.losses.sparse_categorical_crossentropy(truth, predicted)

    x, labels = blobs(n=300, n_classes=3)
    given = network()
    given.compile(keras.optimizers.Adam(0.01), own_loss, metrics=["accuracy"])
    fitted = training.fit(given, x, labels, cut(300), epochs=2, folder=tmp_path)
    assert not fitted.not_refitted
    loaded = training.load(tmp_path)
    np.testing.assert_allclose(loaded.predict(x), fitted.predict(x), atol=1e-6)
    assert "own_loss" in loaded.not_refitted


def test_class_weights_reach_a_network():
    x, labels = blobs(n=300, n_classes=3)
    codes = labels.codes.copy()
    codes[(codes == 2) & (np.arange(300) % 10 > 0)] = 0
    rare = tasks.Labels(labels.task, codes, labels.values)
    split = cut(300)
    plain, weighed = (
        training.fit(network(), x, rare, split, epochs=6, balance=how).predict(x)
        for how in ("none", "class_weights")
    )
    assert weighed[:, 2].mean() > 1.3 * plain[:, 2].mean()
    with pytest.raises(ValueError, match="balance='rare'; allowed are"):
        training.fit(network(), x, rare, split, balance="rare")


def test_the_pages_settings_go_to_what_takes_them():
    settings = {"widths": (8,), "epochs": 5, "patience": 2, "batch_size": 64, "balance": "class_weights"}
    assert training.options_for("mlp", settings) == settings
    network_options = {name: settings[name] for name in ("epochs", "patience", "batch_size", "balance")}
    assert training.options_for(network(), settings) == network_options
    assert training.options_for("linear", settings) == {"balance": "class_weights"}
    even = {"balance": "class_weights"}
    assert training.options_for("residual_mlp", settings) == {"epochs": 5, "patience": 2} | even
    assert training.options_for(KNeighborsClassifier(5), settings) == even
    assert training.options_for("a registered name", settings) == even


# --------------------------------------------------------------------------------- saved without a pickle


@pytest.mark.parametrize("estimator", PLAIN, ids=lambda e: type(e).__name__)
def test_a_saved_estimator_is_fitted_again_on_its_rows(estimator, tmp_path):
    x, labels = blobs(n=200, n_classes=3)
    split = cut(200)
    fitted = training.fit(estimator, x, labels, split, seed=4, folder=tmp_path)
    assert not list(tmp_path.glob("*.keras")) and not list(tmp_path.glob("*.pkl"))
    again = training.load(tmp_path, matrix=x, labels=labels, split=split)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))


def test_what_a_saved_estimator_needs_is_named(tmp_path, named):
    x, labels = blobs(n=200)
    split = cut(200)
    training.fit(KNeighborsClassifier(5), x, labels, split, folder=tmp_path)
    with pytest.raises(
        ModelFileError, match=r"KNeighborsClassifier\(\), which is fitted again .*; give load"
    ):
        training.load(tmp_path)
    with pytest.raises(ModelFileError, match="was fitted on other descriptors, labels or rows"):
        training.load(tmp_path, matrix=x + 1, labels=labels, split=split)

    class Own(KNeighborsClassifier):
        """An estimator of the user's own."""

    training.register("own", lambda task, seed: Own(3))
    training.fit("own", x, labels, split, folder=tmp_path)
    given = {"matrix": x, "labels": labels, "split": split}
    assert training.load(tmp_path, **given).classifier == "own"
    training.register("own", lambda task, seed: Own(9))
    with pytest.raises(RecipeError, match=r"Own\(n_neighbors=3\), and 'own' is Own\(n_neighbors=9\)"):
        training.load(tmp_path, **given)
    del registry.MAKERS["own"]
    with pytest.raises(RecipeError, match=r"call training.register for 'own' first"):
        training.load(tmp_path, **given)


@pytest.mark.parametrize(
    "estimator",
    [
        {"class": "os.system", "params": {}},
        {"class": "sklearn.os.system", "params": {}},
        {"class": "sklearn.neighbors.NoSuch", "params": {}},
        {"class": "sklearn.utils.Bunch", "params": {}},
        {"class": "sklearn.neighbors.KNeighborsClassifier", "params": {"k": 3}},
    ],
)
def test_a_record_runs_nothing_but_estimators_of_scikit_learn(tmp_path, estimator):
    x, labels = blobs(n=200)
    split = cut(200)
    training.fit(KNeighborsClassifier(5), x, labels, split, folder=tmp_path)
    record = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(record | {"estimator": estimator}))
    with pytest.raises(ModelFileError, match="fit the model again"):
        training.load(tmp_path, matrix=x, labels=labels, split=split)

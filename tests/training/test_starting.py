"""Nets that begin with another net's weights: what is taken, what is exchanged, at which rate, and what is refused."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from training_toys import ages, blobs, cut

from faceworkbook import tasks, training
from faceworkbook.training import batched, starting
from faceworkbook.training.batched import Settings, Start, TrainingError

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

QUICK = {"epochs": 4, "learning_rate": 0.01, "widths": (8,)}
STILL = {**QUICK, "epochs": 1, "learning_rate": 1e-9}


def pre_train(x, labels, **options):
    return training.fit_mlp(x, labels, cut(len(x)), seed=1, **{**QUICK, **options})


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_a_net_that_hardly_moves_answers_as_the_one_it_began_with(kind):
    """On rows of other means and spreads, whose own standardisation would give other answers."""
    if kind == "number":
        x, years = ages()
        labels = tasks.labels_of_numbers(years, name="age")
        later = tasks.labels_of_numbers(years * 0.5 + 40, name="age")
    else:
        x, labels = blobs(n_classes=2 if kind == "binary" else 4)
        later = labels
    before = pre_train(x, labels)
    moved = (x * 3 + 7).astype(np.float32)
    after = training.fit_mlp(moved, later, cut(len(x), seed=5), seed=9, start=before, **STILL)
    np.testing.assert_allclose(after.predict(moved), before.predict(moved), rtol=1e-4, atol=1e-4)
    assert after.settings["start"] == f"mlp of {labels.name}"


def test_the_output_layer_is_exchanged_where_the_task_differs():
    x, letters = blobs(n_classes=3)
    before = pre_train(x, letters)
    other = tasks.labels_of_classes(np.where(x[:, 3] > np.median(x[:, 3]), "up", "down"), name="place")
    after = training.fit_mlp(x, other, cut(len(x)), seed=2, start=before, **STILL)
    random = training.fit_mlp(x, other, cut(len(x)), seed=2, **STILL)
    weights = {
        name: fitted.model.get_layer(layer).get_weights()[0]
        for name, fitted, layer in (
            ("before", before, "dense1"),
            ("after", after, "dense1"),
            ("out", after, "output"),
            ("drawn", random, "output"),
        )
    }
    np.testing.assert_allclose(weights["after"], weights["before"], atol=1e-6)
    np.testing.assert_allclose(weights["out"], weights["drawn"], atol=1e-6)
    renamed = replace(letters, task=replace(letters.task, classes=letters.classes[::-1]))
    assert not Start.of_model(before.model, before.task).keeps_output(renamed.task), (
        "another order is another task"
    )


def test_a_step_is_that_of_keras_with_a_rate_for_each_group():
    """One step over all training rows, against two Adam optimisers of Keras."""
    x, labels = blobs(n=200, n_classes=2)
    split, before = cut(200), pre_train(x, labels, dropout=0.0)
    rates = {"shared": 0.1, "letter": 2.0}
    settings = {"epochs": 1, "learning_rate": 0.01, "widths": (8,), "dropout": 0.0, "batch_size": 200}
    after = training.fit_mlp(x, labels, split, start=before, lr_multipliers=rates, **settings)

    model = keras.models.clone_model(before.model)
    model.set_weights(before.model.get_weights())
    for name, factor in rates.items():
        layer = "dense1" if name == "shared" else "output"
        twin = keras.models.clone_model(before.model)
        twin.set_weights(before.model.get_weights())
        for one in twin.layers:
            one.trainable = one.name == layer
        twin.compile(keras.optimizers.Adam(0.01 * factor), "binary_crossentropy")
        twin.fit(x[split.train], labels.codes[split.train], batch_size=200, epochs=1, verbose=0)
        model.get_layer(layer).set_weights(twin.get_layer(layer).get_weights())
    for own, expected in zip(after.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(own, expected, atol=2e-5)


def test_hidden_layers_of_rate_zero_stay_and_the_rest_learns():
    x, letters = blobs(n_classes=3)
    before = pre_train(x, letters)
    after = training.fit_mlp(
        x, letters, cut(len(x), seed=3), start=before, lr_multipliers={"shared": 0}, **{**QUICK, "epochs": 3}
    )
    layers = [
        (one.model.get_layer(name).get_weights()[0])
        for name in ("dense1", "output")
        for one in (before, after)
    ]
    np.testing.assert_array_equal(layers[0], layers[1])
    assert np.abs(layers[2] - layers[3]).max() > 1e-3


def test_folds_begin_with_one_model_each_the_same_alone_and_in_company():
    x, letters = blobs(n=300, n_classes=3)
    stack = batched.fit(x, letters, [cut(300), cut(300, seed=1)], Settings(**QUICK), seeds=[1, 2])
    splits, settings = [cut(300, seed=s) for s in (4, 5, 6)], Settings(**QUICK)
    models = [1, 0, 1]
    together = batched.fit_from(Start.of_stack(stack, models), x, letters, splits, settings, seeds=[7, 8, 9])
    for i, (model, split) in enumerate(zip(models, splits, strict=True)):
        alone = batched.fit_from(Start.of_stack(stack, [model]), x, letters, [split], settings, seeds=[7 + i])
        np.testing.assert_allclose(together.predict(x)[i], alone.predict(x)[0], atol=1e-4)
    fits = training.fit_folds(x, letters, splits, seed=7, start=pre_train(x, letters), **QUICK)
    assert len(fits) == 3


def test_a_stopped_fine_tuning_goes_on_and_another_start_has_a_file_of_its_own(tmp_path):
    x, letters = blobs(n=200, n_classes=3)
    stack = batched.fit(x, letters, [cut(200), cut(200, seed=1)], Settings(**QUICK), seeds=[1, 2])
    settings = Settings(**{**QUICK, "epochs": 12})
    made = [
        batched.fit_from(
            Start.of_stack(stack, [i]), x, letters, [cut(200)], settings, seeds=[3], folder=tmp_path
        )
        for i in (0, 1, 0)
    ]
    assert len(list(tmp_path.glob("stack-*.npz"))) == 2
    np.testing.assert_array_equal(made[0].predict(x), made[2].predict(x))
    assert np.abs(made[0].predict(x) - made[1].predict(x)).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "columns", "words"),
    [
        (
            {"widths": (16, 16)},
            12,
            r"widths=\[16, 16\], and the model to start from has \[8\]; give widths=\[8\]",
        ),
        ({}, 10, "descriptors of width 12, these have 10"),
        ({"lr_multipliers": {"hidden": 0.1}}, 12, r"lr_multipliers names \['hidden'\]; .*'shared', 'letter'"),
        ({"lr_multipliers": {"shared": -1}}, 12, "numbers of 0 or more"),
    ],
)
def test_what_does_not_fit_is_refused(options, columns, words):
    x, letters = blobs(n=120, n_classes=3)
    before = pre_train(x, letters)
    with pytest.raises(ValueError, match=words):
        training.fit_mlp(x[:, :columns], letters, cut(120), start=before, **{**QUICK, **options})


def test_a_residual_mlp_takes_all_layers_and_its_shape_from_the_start():
    x, genders = blobs(n=200)
    named = replace(genders, task=replace(genders.task, name="gender"))
    before = training.fit(
        "residual_mlp", x, named, cut(200), seed=1, epochs=2, residuals=1, groups=2, learning_rate=0.01
    )
    still = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    moved = (x * 2 + 1).astype(np.float32)
    after = training.fit("residual_mlp", moved, genders, cut(200, seed=2), seed=5, start=before, **still)
    theirs, own = ({layer.name: layer for layer in one.model.layers} for one in (before, after))
    assert set(theirs) == set(own)
    for name in ("group1_block1_dense1", "group2_halve"):
        np.testing.assert_allclose(own[name].get_weights()[0], theirs[name].get_weights()[0], atol=1e-6)
    np.testing.assert_allclose(own["standardise"].mean, theirs["standardise"].mean)
    with pytest.raises(TrainingError, match="no layers"):
        starting.copy_layers(after.model, pre_train(x, genders).model)


def test_a_saved_model_that_began_with_another_is_not_fitted_again(tmp_path):
    x, letters = blobs(n=120)
    training.fit_mlp(x, letters, cut(120), start=pre_train(x, letters), folder=tmp_path, **QUICK)
    assert "began with the weights" in training.load(tmp_path).not_refitted

"""Many models as one program: the same weights as one by one, and as Keras; stops and goes on."""

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
from training_toys import ages, blobs, cut

from faceworkbook import tasks
from faceworkbook.models import mlp
from faceworkbook.models.multitask import Head
from faceworkbook.tasks import ORDERED, Task
from faceworkbook.training import batched, ordinal_losses
from faceworkbook.training.batched import Settings, epochs, program
from faceworkbook.training.checkpoint import CheckpointError

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

QUICK = Settings(widths=(8, 6), dropout=0.3, epochs=6, batch_size=32, learning_rate=0.01, patience=6)


def uneven(n):
    """Five splits of different sizes."""
    return [cut(n, train=0.3 + 0.1 * i, validation=0.2, seed=i) for i in range(5)]


def weights(stack, i=0):
    return [a[i] for pair in zip(stack.kernels, stack.biases, strict=True) for a in pair]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        QUICK,
        batched.with_settings(QUICK, widths=(8,), input_dropout=0.2, weight_decay=0.05),
        batched.with_settings(QUICK, widths=(), balance="class_weights"),
        batched.with_settings(QUICK, learning_rate=0.05, dropout=0.0, epochs=30, patience=2),
    ],
    ids=["two layers", "input dropout, decay", "linear, balanced", "stop at different epochs"],
)
def test_in_company_as_alone(settings, n_classes):
    x, target = blobs(n=240, n_classes=n_classes, noise=2.5)
    splits, seeds = uneven(240), (3, 3, 4, 5, 6)
    together = batched.fit(x, target, splits, settings, seeds=seeds)
    for i, (split, seed) in enumerate(zip(splits, seeds, strict=True)):
        alone = batched.fit(x, target, [split], settings, seeds=[seed])
        assert alone.best_epoch[0] == together.best_epoch[i]
        for a, b in zip(weights(together, i), weights(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
        np.testing.assert_allclose(together.predict(x)[i], alone.predict(x)[0], atol=1e-3)


def test_models_of_different_settings_in_company_as_alone():
    """Rates, decay, dropout, weights of classes, epochs and patience may differ; layers and batches may not."""
    x, target = blobs(n=240, n_classes=3, noise=2.5)
    changes = [
        {"learning_rate": 0.05, "gamma": 0.7},
        {"dropout": 0.0, "input_dropout": 0.4, "weight_decay": 0.1},
        {"balance": "class_weights", "dropout": 0.5},
        {"balance": "oversample", "epochs": 3},
        {"learning_rate": 0.2, "patience": 1, "epochs": 12},
    ]
    settings = [batched.with_settings(QUICK, **own) for own in changes]
    splits, seeds = uneven(240), (3, 3, 4, 5, 6)
    together = batched.fit(x, target, splits, settings, seeds=seeds)
    for i, (split, seed, own) in enumerate(zip(splits, seeds, settings, strict=True)):
        alone = batched.fit(x, target, [split], own, seeds=[seed])
        assert alone.best_epoch[0] == together.best_epoch[i]
        figures = together.history[together.history["model"] == i].drop(columns="model")
        assert len(figures) == len(alone.history)
        np.testing.assert_allclose(together.predict(x)[i], alone.predict(x)[0], atol=2e-3)
        np.testing.assert_allclose(np.asarray(together.model(i)(x)), together.predict(x)[i], atol=1e-4)
    with pytest.raises(batched.TrainingError, match=r"several shapes .*; fit those of one shape at a time"):
        batched.fit(x, target, splits[:2], [QUICK, batched.Settings(widths=(3,))], seeds=[0, 1])
    with pytest.raises(batched.TrainingError, match="2 splits and 3 settings"):
        batched.fit(x, target, splits[:2], settings[:3], seeds=[0, 1])


def test_the_learning_rate_decays_as_keras_has_it():
    x, target = blobs(n=200, noise=2.0)
    split = cut(200)
    settings = batched.with_settings(QUICK, dropout=0.0, epochs=4, patience=4, gamma=0.5)
    stack = batched.fit(x, target, [split], settings, seeds=[7])
    model = keras_twin(x, target, split, settings, seed=7)
    steps = -(-len(split.train) // settings.batch_size)
    rate = keras.optimizers.schedules.ExponentialDecay(settings.learning_rate, steps, 0.5, staircase=True)
    model.compile(keras.optimizers.Adam(rate), target.task.loss)
    train_in_keras(model, x, target, split, settings, seed=7, epochs=int(stack.best_epoch[0]))
    np.testing.assert_allclose(np.asarray(model(x))[:, 0], stack.predict(x)[0, :, 1], atol=1e-3)


def test_bfloat16_learns_what_float32_does():
    x, target = blobs(n=240, noise=2.5)
    split, lower = cut(240), batched.with_settings(QUICK, dtype_policy="mixed_bfloat16")
    full, half = (batched.fit(x, target, [split], own, seeds=[3]) for own in (QUICK, lower))
    apart = np.abs(half.predict(x)[0] - full.predict(x)[0])
    assert 1e-6 < apart.max() < 0.05 and apart.mean() < 0.01
    assert half.history["val_loss"].min() == pytest.approx(full.history["val_loss"].min(), abs=0.01)
    assert half.kernels[0].dtype == np.float32
    with pytest.raises(batched.TrainingError, match="several shapes"):
        batched.fit(x, target, [split] * 2, [QUICK, lower], seeds=[0, 1])
    with pytest.raises(ValueError, match="dtype_policy='float16'; allowed are"):
        batched.with_settings(QUICK, dtype_policy="float16")


def test_numbers_in_company_as_alone():
    x, years = ages(300)
    target = tasks.labels_of_numbers(years, name="age")
    together = batched.fit(x, target, uneven(300), QUICK, seeds=range(5))
    for i, split in enumerate(uneven(300)):
        alone = batched.fit(x, target, [split], QUICK, seeds=[i])
        np.testing.assert_allclose(together.predict(x)[i], alone.predict(x)[0], atol=0.02)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("balance", ["none", "class_weights"])
def test_same_weights_as_keras_fit_with_the_same_start_and_batches(n_classes, balance):
    x, target = blobs(n=200, n_classes=n_classes, noise=2.0)
    split = cut(200)
    settings = batched.with_settings(QUICK, dropout=0.0, epochs=4, patience=4, balance=balance)
    stack = batched.fit(x, target, [split], settings, seeds=[7])
    model = keras_twin(x, target, split, settings, seed=7)
    train_in_keras(model, x, target, split, settings, seed=7, epochs=int(stack.best_epoch[0]))
    dense_layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    for layer, kernel, bias in zip(dense_layers, stack.kernels, stack.biases, strict=True):
        np.testing.assert_allclose(kernel[0], layer.get_weights()[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(bias[0, 0], layer.get_weights()[1], rtol=1e-3, atol=1e-4)


def in_order(n=200):
    """Four ages out of blobs, not equally far apart."""
    x, letters = blobs(n=n, n_classes=4, noise=2.0)
    task = Task("age_years", ORDERED, ("20", "21", "30", "50"), "years", (20, 21, 30, 50))
    return x, tasks.Labels(task, letters.codes, np.array(task.class_values)[letters.codes])


@pytest.mark.parametrize("loss", ["dldl_v2", "sord", "mean_variance"])
def test_losses_that_know_an_order_train_to_keras_weights(loss):
    x, target = in_order()
    split = cut(200)
    settings = batched.with_settings(QUICK, dropout=0.0, epochs=4, patience=4, ordinal_loss=loss)
    stack = batched.fit(x, target, [split, cut(200, seed=3)], settings, seeds=[7, 8])
    model = keras_twin(x, target, split, settings, seed=7)
    head = Head(target.task, loss=loss)

    def in_keras(truth, shares):
        wanted = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(truth, (-1,)), "int32"), 4)
        return ordinal_losses.LOSSES[loss](head, wanted, keras.ops.log(shares))

    model.compile(keras.optimizers.Adam(settings.learning_rate), in_keras)
    epochs_ = int(stack.best_epoch[0])
    train_in_keras(model, x, target, split, settings, seed=7, epochs=epochs_)
    dense_layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    for layer, kernel in zip(dense_layers, stack.kernels, strict=True):
        np.testing.assert_allclose(kernel[0], layer.get_weights()[0], rtol=1e-3, atol=1e-4)
    held = float(model.evaluate(x[split.validation], target.codes[split.validation, None], verbose=0))
    own = stack.history.query(f"model == 0 and epoch == {epochs_}")["val_loss"].item()
    assert own == pytest.approx(held, rel=1e-3)
    plain = batched.fit(x, target, [split], replace(settings, ordinal_loss="cross_entropy"), seeds=[7])
    assert np.abs(plain.kernels[0][0] - stack.kernels[0][0]).max() > 1e-3


def test_an_order_is_asked_of_classes_that_have_one_and_of_more_than_two():
    x, letters = blobs(n=60, n_classes=3)
    with pytest.raises(ValueError, match=r"ordinal_loss='sord' is for ordered classes, .* of kind 'classes'"):
        batched.fit(x, letters, [cut(60)], replace(QUICK, ordinal_loss="sord"), seeds=[0])
    codes = np.minimum(letters.codes, 1)
    two = tasks.Labels(Task("half", ORDERED, ("low", "high")), codes, codes * 1.0)
    with pytest.raises(batched.TrainingError, match=r"three ordered classes and more; 'half' has two"):
        batched.fit(x, two, [cut(60)], replace(QUICK, ordinal_loss="sord"), seeds=[0])


def keras_twin(x, target, split, settings, *, seed):
    """The net in Keras, with the initial weights that the stack draws."""
    mean, spread = batched.moments(x[split.train])
    model = mlp.build(
        target.task,
        mean=mean,
        variance=spread**2,
        widths=settings.widths,
        dropout=settings.dropout,
    )
    rng = np.random.default_rng([seed, 0])
    sizes = [x.shape[1], *settings.widths, target.task.n_outputs]
    kernels = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        limit = np.sqrt(6 / (fan_in + fan_out))
        kernels.append(rng.uniform(-limit, limit, (fan_in, fan_out)))
    mlp.set_weights(model, kernels, [np.zeros(k.shape[1]) for k in kernels])
    model.compile(keras.optimizers.Adam(settings.learning_rate), target.task.loss)
    return model


def train_in_keras(model, x, target, split, settings, *, seed, epochs):
    weight = np.ones(len(x))
    if settings.balance == "class_weights":
        counts = np.bincount(target.codes[split.train])
        weight = (len(split.train) / (len(counts) * counts))[target.codes]
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 1, epoch]).permutation(split.train)
        model.fit(
            x[order],
            target.codes[order],
            sample_weight=weight[order],
            batch_size=settings.batch_size,
            shuffle=False,
            verbose=0,
        )


def test_the_exported_keras_model_says_what_the_stack_says():
    x, target = blobs(n=200, n_classes=3)
    stack = batched.fit(x, target, uneven(200), QUICK, seeds=range(5))
    for i in (0, 4):
        np.testing.assert_allclose(np.asarray(stack.model(i)(x)), stack.predict(x)[i], atol=1e-4)


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_stopped_run_goes_on_to_the_same_result(tmp_path, stop, monkeypatch):
    x, target = blobs(n=200, noise=3.0)
    settings = batched.with_settings(QUICK, epochs=9, patience=3, learning_rate=0.03)

    def run(folder):
        return batched.fit(x, target, uneven(200), settings, seeds=range(5), folder=folder)

    monkeypatch.setattr(epochs, "SAVE_EVERY", 2)
    whole = run(tmp_path / "whole")
    plain, calls = epochs._epoch, itertools.count()

    def killed(*args):
        if next(calls) == stop:
            raise KeyboardInterrupt
        plain(*args)

    monkeypatch.setattr(epochs, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    monkeypatch.setattr(epochs, "_epoch", plain)
    resumed = run(tmp_path / "killed")
    for a, b in zip(whole.kernels, resumed.kernels, strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole.history.equals(resumed.history)


def test_a_finished_stack_is_read_and_not_trained_again(tmp_path, monkeypatch):
    x, target = blobs(n=120)
    first = batched.fit(x, target, uneven(120), QUICK, seeds=range(5), folder=tmp_path)
    monkeypatch.setattr(epochs, "_epoch", None)
    again = batched.fit(x, target, uneven(120), QUICK, seeds=range(5), folder=tmp_path)
    np.testing.assert_array_equal(first.predict(x), again.predict(x))


def test_a_checkpoint_of_other_data_or_settings_is_not_taken(tmp_path):
    x, target = blobs(n=120)
    batched.fit(x, target, uneven(120), QUICK, seeds=range(5), folder=tmp_path)
    changed = x.copy()
    changed[0, 1] += 1
    for data, settings in ((changed, QUICK), (x, batched.with_settings(QUICK, epochs=5))):
        batched.fit(data, target, uneven(120), settings, seeds=range(5), folder=tmp_path)
    assert len(list(tmp_path.glob("stack-*.npz"))) == 3


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    x, target = blobs(n=120)
    batched.fit(x, target, uneven(120), QUICK, seeds=range(5), folder=tmp_path)
    path = next(tmp_path.glob("stack-*.npz"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=rf"{path.name} is no whole checkpoint .*; delete it"):
        batched.fit(x, target, uneven(120), QUICK, seeds=range(5), folder=tmp_path)


def test_dropout_drops_the_share_it_says_by_seed():
    import tensorflow as tf

    z = program._drop(
        tf.ones((3, 50, 40)), tf.fill([3], 0.4), tf.constant([1, 2, 1], tf.int64), tf.constant(5, tf.int64), 1
    )
    z = z.numpy()
    assert (z == 0).mean() == pytest.approx(0.4, abs=0.03)
    assert z.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(z[0], z[2])
    assert (z[0] != z[1]).any()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"balance": "equal"}, "class_weights"),
        ({"input_dropout": 1}, "input_dropout"),
        ({"depth": 3}, "no such setting"),
        (
            {"ordinal_loss": "or_cnn"},
            "an MLP takes .*'or_cnn', which have last layers of their own, are trained by",
        ),
    ],
)
def test_settings_out_of_range_are_named(wrong, says):
    with pytest.raises(ValueError, match=says):
        batched.with_settings(Settings(), **wrong)


def test_one_seed_a_split():
    x, target = blobs(n=60)
    with pytest.raises(batched.TrainingError, match="2 splits and 1 seeds"):
        batched.fit(x, target, [cut(60), cut(60)], QUICK, seeds=[1])


def several(n=400, seed=0):
    """Three yes/no labels a face, the last one rare, each by one direction."""
    x = np.random.default_rng(seed).normal(size=(n, 6)).astype("f")
    codes = (x[:, :3] > [0.0, 0.5, 1.2]).astype(int)
    task = tasks.Task("smile+hat+beard", tasks.MULTILABEL, ("smile", "hat", "beard"))
    return x, tasks.Labels(task, codes, np.full(n, np.nan))


def test_several_labels_are_learned_at_once_with_keras_weights():
    x, target = several()
    split = cut(400)
    settings = batched.with_settings(QUICK, dropout=0.0, epochs=4, patience=4)
    stack = batched.fit(x, target, [split], settings, seeds=[7])
    model = keras_twin(x, target, split, settings, seed=7)
    train_in_keras(model, x, target, split, settings, seed=7, epochs=int(stack.best_epoch[0]))
    dense_layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    for layer, kernel in zip(dense_layers, stack.kernels, strict=True):
        np.testing.assert_allclose(kernel[0], layer.get_weights()[0], rtol=1e-3, atol=1e-4)
    longer = batched.fit(x, target, [split, split], QUICK, seeds=[7, 8])
    p = batched.fit(
        x, target, [split], batched.with_settings(QUICK, epochs=60, patience=20), seeds=[7]
    ).predict(x)[0]
    assert longer.predict(x).shape == (2, 400, 3)
    assert ((p > 0.5) == target.codes)[split.test].mean() > 0.93
    assert longer.history["val_accuracy"].between(0, 1).all()


def test_weights_by_class_are_refused_for_several_labels():
    x, target = several()
    with pytest.raises(ValueError, match="several labels a face; use balance='group_weights'"):
        batched.fit(x, target, [cut(400)], batched.with_settings(QUICK, balance="class_weights"), seeds=[0])

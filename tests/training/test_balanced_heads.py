"""Several tasks, and pictures: training rows are evened out by weights or by repetition, validation rows never."""

import keras
import numpy as np
import pandas as pd
import pytest

from faceworkbook import tasks
from faceworkbook.models import multitask
from faceworkbook.models.multitask import make_head
from faceworkbook.training import augment, balancing, cutting, fine_tune, targets
from faceworkbook.training.augment import Augmentation
from faceworkbook.training.batches import Joint, Stage
from faceworkbook.training.multitask import Settings, fit
from faceworkbook.training.pictures import PixelArray
from tests.training import toy_network as toy
from tests.training.training_toys import blobs

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

N = 200
TRAIN, VALIDATION = np.arange(150), np.arange(150, N)


def made(*, missing=0.2, seed=0):
    """Descriptors, a rare class with labels missing, a number, and groups."""
    x, letter = blobs(n=N, n_classes=3, seed=seed)
    rng = np.random.default_rng(seed)
    codes = np.where((letter.codes == 2) & (rng.random(N) < 0.7), 0, letter.codes)
    codes[rng.random(N) < missing] = tasks.MISSING
    letter = tasks.Labels(letter.task, codes, letter.values)
    years = tasks.labels_of_numbers(30 + 5 * x[:, 1] + rng.normal(size=N), name="age")
    groups = np.where(rng.random(N) < 0.2, "x", "y").astype(object)
    labels = {"letter": letter, "age": years}
    return x, {
        name: balancing.GroupedLabels(own.task, own.codes, own.values, groups) for name, own in labels.items()
    }


def first_epoch(x, labels, **settings):
    """The net as it starts, and the losses of the first epoch in one batch, measured before it moves."""
    heads = [make_head(own, rows=TRAIN) for own in labels.values()]
    net = multitask.build(x.shape[1], heads, dropout=0.0, batch_norm=False, seed=1)
    start = keras.ops.convert_to_numpy
    outputs = {name: start(out) for name, out in net.model(x).items()}
    plan = Joint((Stage("all", TRAIN, tuple(labels)),), N)
    given = Settings(epochs=1, progress=False, weight_decay=0.0, learning_rate=0.0, **settings)
    history = fit(net, x, labels, plan=plan, validation=VALIDATION, settings=given).history.iloc[0]
    return outputs, history


def keras_loss(labels, output, rows, weights=None):
    rows = rows[labels.known[rows]]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weight = None if weights is None else weights[rows]
    return float(loss(labels.codes[rows], output[rows], sample_weight=weight))


@pytest.mark.parametrize("balance", ["none", "class_weights", "group_weights"])
def test_the_loss_of_a_head_is_that_of_keras_with_sample_weights(balance):
    x, labels = made()
    outputs, history = first_epoch(x, labels, balance=balance)
    own = labels["letter"]
    rows = TRAIN[own.known[TRAIN]]
    weights = np.ones(N)
    if balance == "class_weights":
        counts = np.bincount(own.codes[rows])
        weights[rows] = (len(rows) / (3 * counts))[own.codes[rows]]
    if balance == "group_weights":
        sizes = pd.Series(own.groups[rows]).value_counts()
        weights[rows] = [len(rows) / (2 * sizes[name]) for name in own.groups[rows]]
    assert history["letter_loss"] == pytest.approx(
        keras_loss(own, outputs["letter"], TRAIN, weights), rel=1e-4
    )
    held = keras_loss(own, outputs["letter"], VALIDATION)
    assert history["validation_letter_loss"] == pytest.approx(held, rel=1e-4)
    hit = outputs["letter"][rows].argmax(axis=1) == own.codes[rows]
    assert history["letter_rate"] == pytest.approx(hit.mean(), rel=1e-4)


def test_class_weights_leave_numbers_and_group_weights_do_not():
    _, labels = made()
    assert targets.weigh(labels["age"], TRAIN, "class_weights") is None
    assert targets.weigh(labels["age"], TRAIN, "oversample") is None
    weights = targets.weigh(labels["age"], TRAIN, "group_weights")
    assert weights[TRAIN].mean() == pytest.approx(1) and (weights[VALIDATION] == 1).all()


def test_tasks_are_repeated_together():
    _, labels = made()
    rows = balancing.repeat_together(list(labels.values()), TRAIN, "oversample", seed=2)
    counts = pd.Series(labels["age"].groups[rows]).value_counts()
    assert counts.nunique() == 1
    plain = [tasks.Labels(own.task, own.codes, own.values) for own in labels.values()]
    rows = balancing.repeat_together(plain, TRAIN, "oversample", seed=2)
    known = rows[plain[0].known[rows]]
    assert len(set(np.bincount(plain[0].codes[known]))) == 1
    with pytest.raises(balancing.BalanceError, match="is a number"):
        balancing.repeat_together(plain[1:], TRAIN, "oversample")


@pytest.mark.parametrize("balance", ["class_weights", "group_weights", "oversample"])
def test_the_tables_of_several_tasks(balance):
    _, labels = made()
    table = balancing.tables(labels, TRAIN, balance)
    expected = {"class_weights": ["letter"], "group_weights": ["letter", "age"], "oversample": ["all"]}
    assert list(table["task"].unique()) == expected[balance]
    known = table[table["group"] != "unknown"]
    assert (known.groupby("task")["after"].agg(lambda n: n.max() - n.min()) < 1e-3).all()
    assert balancing.tables(labels, TRAIN, "none").empty


# --------------------------------------------------------------------------------- pictures


def test_each_repetition_of_a_picture_is_changed_in_another_manner():
    rows = np.array([3, 3, 3, 5])
    plain = augment.draw(Augmentation(), rows, seed=1, epoch=2)
    times = augment.draw(Augmentation(), rows, seed=1, epoch=2, repetition=np.array([0, 1, 2, 0]))
    assert plain[0] == plain[1] == times[0] and plain[3] == times[3]
    assert len({row.tobytes() for row in times}) == 4


def fine_tuned(balance, *, folder=None, seed=0):
    pixels, codes = toy.pictures(60)
    codes[:30] = np.where(np.arange(30) % 5 > 0, 0, codes[:30])
    names = np.where(codes, "above", "below")
    labels = {"light": tasks.labels_of_classes(names, name="light")}
    split = toy.Split(np.arange(40), np.arange(40, 60))
    heads = [make_head(own, rows=split.train) for own in labels.values()]
    net = cutting.assemble(toy.backbone(), heads, dropout=0.0)
    settings = fine_tune.Settings(
        epochs=2, batch_size=10, learning_rate=1e-2, progress=False, balance=balance, seed=seed,
        augmentation=Augmentation(0.5, 5, 0, 0, 0, 0),
    )  # fmt: skip
    source = PixelArray(pixels, toy.PREPROCESSING)
    return fine_tune.fit(net, source, labels, split=split, settings=settings, folder=folder), labels, split


def test_pictures_are_oversampled_with_augmentation_and_gone_on_with(tmp_path):
    fitted, labels, split = fine_tuned("oversample", folder=tmp_path)
    rows = balancing.repeat_together(list(labels.values()), split.train, "oversample")
    assert len(rows) > len(split.train)
    again, *_ = fine_tuned("oversample", folder=tmp_path)
    pd.testing.assert_frame_equal(fitted.history, again.history)
    plain, *_ = fine_tuned("none")
    assert plain.history["loss"].iloc[0] != fitted.history["loss"].iloc[0]

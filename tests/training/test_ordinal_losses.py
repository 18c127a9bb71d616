"""Losses of ordered classes against figures worked out by hand, and the last layers of CORAL and OR-CNN."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from faceworkbook import tasks  # noqa: E402
from faceworkbook.models import multitask, ordinal  # noqa: E402
from faceworkbook.models.multitask import Head  # noqa: E402
from faceworkbook.serving.keras_head import translate  # noqa: E402
from faceworkbook.tasks import ORDERED, Task  # noqa: E402
from faceworkbook.training import masked  # noqa: E402
from faceworkbook.training import multitask as training  # noqa: E402
from faceworkbook.training.batches import Joint, Stage  # noqa: E402
from faceworkbook.training.ordinal_losses import LOSSES  # noqa: E402
from faceworkbook.training.targets import Targets  # noqa: E402

STEPS = Task("steps", ORDERED, ("0", "1", "2"))
SHARES = np.log(np.float32([[0.2, 0.5, 0.3]]))
MIDDLE = np.float32([[0, 1, 0]])


@pytest.mark.parametrize(
    "loss, expected",
    [
        # p = (e^-1/8, 1, e^-1/8) / 2.7649938; KL(p, shares) = .051807; the expectation 1.1 misses 1 by .1.
        ("dldl_v2", 0.151807),
        # softmax(-1, 0, -1) = (.2119416, .5761169, .2119416), against ln .2, ln .5, ln .3.
        ("sord", 0.9956136),
        # ln 2 + .2 * .1^2 / 2 + .05 * (.2 * 1.1^2 + .5 * .1^2 + .3 * .9^2).
        ("mean_variance", 0.7186472),
        # P(y > 0) = .8 and P(y > 1) = .3: -ln .8 - ln .7.
        ("coral", 0.5798185),
    ],
)
def test_each_loss_is_what_its_formula_gives_by_hand(loss, expected):
    head = Head(STEPS, loss=loss)
    np.testing.assert_allclose(LOSSES[loss](head, MIDDLE, SHARES), [expected], atol=2e-6)
    sums = masked.measure(head, SHARES, MIDDLE, np.float32([1]))
    np.testing.assert_allclose(sums, [expected, 1, 1], atol=2e-6)


@pytest.mark.parametrize("loss", ["dldl_v2", "sord", "mean_variance", "coral"])
def test_a_miss_by_more_years_costs_more_where_cross_entropy_sees_none(loss):
    ages = Task("age_years", ORDERED, ("20", "21", "40"), "years", (20, 21, 40))
    near, far = np.float32([[4, 3, 0], [4, 0, 3]])
    costs = LOSSES[loss](Head(ages, loss=loss), np.float32([[1, 0, 0]] * 2), np.stack([near, far]))
    assert float(costs[0]) < float(costs[1])
    same = masked.cross_entropy(np.float32([[1, 0, 0]] * 2), np.stack([near, far]))
    assert float(same[0]) == pytest.approx(float(same[1]))


@pytest.mark.parametrize(
    "loss, expected",
    [
        # p = (.5312094, .4687906, 1e-22) and the expectation 26.5 misses 20 by 6.5.
        ("dldl_v2", 6.9886915),
        # softmax(0, -1, -400) = (.7310586, .2689414, 0), against ln .2, ln .5.
        ("sord", 1.3630094),
        # -ln .2 + .2 * 6.5^2 / 2 + .05 * (.2 * 6.5^2 + .5 * 5.5^2 + .3 * 13.5^2).
        ("mean_variance", 9.7469379),
        # P(y > 20) = .8 and P(y > 21) = .3: -ln .2 - ln .7.
        ("coral", 1.9661129),
    ],
)
def test_numbers_and_not_places_count_where_years_are_missing(loss, expected):
    ages = Task("age_years", ORDERED, ("20", "21", "40"), "years", (20, 21, 40))
    made = LOSSES[loss](Head(ages, loss=loss), np.float32([[1, 0, 0]]), SHARES)
    np.testing.assert_allclose(made, [expected], rtol=1e-5)


def test_votes_are_learned_as_the_mean_over_their_classes():
    votes = np.float32([[0.5, 0.5, 0]])
    one, other = np.float32([[1, 0, 0]]), np.float32([[0, 1, 0]])
    for loss in ("sord", "coral"):
        made = [float(LOSSES[loss](Head(STEPS, loss=loss), t, SHARES)[0]) for t in (one, other, votes)]
        assert made[2] == pytest.approx((made[0] + made[1]) / 2, rel=1e-5)


def test_coral_starts_from_classes_that_are_as_likely_and_never_loses_their_order():
    layer = ordinal.OrderedLogits(5)
    np.testing.assert_allclose(np.exp(layer(np.zeros((1, 1)))), np.full((1, 5), 0.2), rtol=1e-5)
    rng = np.random.default_rng(0)
    layer.gaps.assign(rng.normal(0, 3, 3))
    b = np.asarray(layer.thresholds())
    assert (np.diff(b) < 0).all()
    scores = np.float32([[-2.0], [0.3], [5.0]])
    above = 1 / (1 + np.exp(-(scores + b)))
    expected = np.hstack([np.ones((3, 1)), above]) - np.hstack([above, np.zeros((3, 1))])
    np.testing.assert_allclose(np.exp(layer(scores)), expected, atol=1e-6)


def test_a_coral_head_that_starts_far_off_is_drawn_back():
    """Shares that float32 rounds to 0 had no gradient: such a head never learned."""
    layer = ordinal.OrderedLogits(3)
    with tf.GradientTape() as tape:
        score = tf.Variable([[-60.0], [60.0]])
        losses = LOSSES["coral"](Head(STEPS, loss="coral"), np.float32([[0, 0, 1], [1, 0, 0]]), layer(score))
    np.testing.assert_allclose(losses, [120, 120], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(losses, score), [[-2], [2]], rtol=1e-5)


def test_smoothing_leaves_the_true_number_of_ordered_losses_where_it_is():
    own = tasks.Labels(STEPS, np.array([0]), np.array([0.0]))
    taken = {
        loss: Targets(Head(STEPS, loss=loss), own).take(np.array([0]), smoothing=0.3)[0][0]
        for loss in ordinal.LOSSES
    }
    np.testing.assert_allclose(taken.pop("cross_entropy"), [0.8, 0.1, 0.1], rtol=1e-6)
    for values in taken.values():
        np.testing.assert_array_equal(values, [1, 0, 0])


def test_or_cnn_is_the_cross_entropy_of_each_answer_and_reads_them_in_falling_order():
    """-ln .8 - ln .7 of P(y > 0) = .8, P(y > 1) = .3; answers in the wrong order count the same ones above one half."""
    raw = np.log(np.float32([[0.8 / 0.2, 0.3 / 0.7], [0.3 / 0.7, 0.8 / 0.2]]))
    head = Head(STEPS, loss="or_cnn")
    losses = LOSSES["or_cnn"](head, np.concatenate([MIDDLE, MIDDLE]), raw)
    np.testing.assert_allclose(losses, [-np.log(0.8 * 0.7), -np.log(0.3 * 0.2)], rtol=1e-5)
    shares = np.exp(ordinal.class_logits("or_cnn", raw))
    np.testing.assert_allclose(shares, [[0.2, 0.5, 0.3]] * 2, rtol=1e-5)
    sums = masked.measure(head, raw, np.concatenate([MIDDLE, MIDDLE]), np.float32([1, 1]))
    np.testing.assert_allclose(sums[1:], [2, 2])
    alike = np.asarray(ordinal.class_logits("or_cnn", np.float32([[0.7, 0.7]])))
    assert np.isfinite(alike).all() and np.exp(alike[0, 1]) < 1e-6
    np.testing.assert_array_equal(ordinal.class_logits("sord", SHARES), SHARES)


def ordered_net(loss, n=240, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    ages = np.clip(np.round(40 + 12 * x[:, 0] + rng.normal(0, 2, n)), 5, 90)
    years, codes = np.unique(ages.astype(int), return_inverse=True)
    task = Task("age_years", ORDERED, tuple(map(str, years)), "years", tuple(years))
    labels = tasks.Labels(task, codes, ages)
    rows = np.arange(160)
    net = multitask.build(4, [multitask.make_head(labels, rows=rows, ordinal_loss=loss)], seed=seed)
    return net, x, labels, rows


@pytest.mark.parametrize("loss", ["coral", "or_cnn"])
def test_an_ordered_head_learns_and_its_saved_model_answers_alike(loss, tmp_path):
    net, x, labels, rows = ordered_net(loss)
    settings = training.Settings(epochs=40, learning_rate=0.03, progress=False)
    plan = Joint((Stage("all", rows, ("age_years",)),), 32)
    fitted = training.fit(
        net, x, {"age_years": labels}, plan=plan, validation=np.arange(160, 200), settings=settings
    )
    history = fitted.history["validation_loss"]
    assert history.min() < 0.7 * history[0]
    shares = multitask.predict(net, x[200:])["age_years"]
    years = shares @ np.array(labels.task.class_values)
    truth = labels.values[200:]
    assert np.abs(years - truth).mean() < 0.7 * np.abs(np.median(labels.values[rows]) - truth).mean()

    multitask.serving_model(net).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(x[200:])["age_years"], shares, atol=1e-5)
    head = translate(loaded, "age_years")
    np.testing.assert_allclose(head.run(x[200:])["age_years"], shares, atol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Head(STEPS, loss="corall"), "ordinal_loss='corall'; allowed are"),
        (
            lambda: Head(Task("gender", classes=("f", "m")), loss="coral"),
            r"is for ordered classes, such as age_years or age_group; task 'gender' is of kind 'classes'",
        ),
    ],
)
def test_a_loss_that_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

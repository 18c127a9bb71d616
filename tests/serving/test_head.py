"""A Keras head as steps that numpy evaluates."""

from __future__ import annotations

import numpy as np
import pytest

from faceworkbook.serving import head as heads
from faceworkbook.serving.head import Head, HeadError
from faceworkbook.tasks import CLASSES, MULTILABEL, NUMBER, Task
from tests.serving.toys import WIDTH, make_head

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 24)).astype(np.float32) * 3 + 1
MEAN, VARIANCE = X.mean(axis=0), X.var(axis=0)
COLOUR = Task("colour", CLASSES, ("red", "green", "blue"))
GENDER = Task("gender", CLASSES, ("male", "female"))
AGE = Task("age", NUMBER, unit="years")
SIGNS = Task("a+b", MULTILABEL, ("a", "b"))


def _keras_models():
    from faceworkbook.models import kernel, mlp, multitask, residual_mlp
    from faceworkbook.models.multitask import Head as KerasHead

    common = {"mean": MEAN, "variance": VARIANCE}
    yield "linear", mlp.build(COLOUR, widths=(), dropout=0.0, **common)
    yield "mlp", mlp.build(GENDER, widths=(16, 8), **common)
    yield "number", mlp.build(AGE, widths=(16,), unit=(40.0, 12.0), **common)
    yield "multilabel", mlp.build(SIGNS, widths=(16,), **common)
    width = X.shape[1]
    blocks = {"kernel": [kernel.Block(0, width)], "blocks": [kernel.Block(0, 3), kernel.Block(5, width, 2.0)]}
    for name, task, bounds in (
        ("kernel", COLOUR, None),
        ("kernel number", AGE, (0.0, 1.0)),
        ("blocks", AGE, None),
    ):
        of = blocks.get(name, blocks["kernel"])
        shape = {"kernel": rng.normal(size=(20, task.n_outputs)), "bias": np.zeros(task.n_outputs)}
        shape |= {"landmarks": kernel.roots_of(X[:20], of), "gamma": 2.0, "bounds": bounds}
        yield name, kernel.build(task, kernel.read_blocks(of, width), **shape)
    recipe = residual_mlp.Recipe(2, 2, 32, 1e-3, 1e-4, 0.5)
    several = [mlp.build(COLOUR, widths=(16,), seed=seed, **common) for seed in range(3)]
    yield "mlps", mlp.average(several)
    yield "residual_mlp", residual_mlp.build(COLOUR, recipe, **common)
    trio = [KerasHead(COLOUR), KerasHead(AGE, 40.0, 12.0), KerasHead(SIGNS)]
    for kind in ("linear", "bottleneck", "stitch"):
        net = multitask.build(24, trio, standardise=(MEAN, np.sqrt(VARIANCE)), head=kind, hidden=(12,))
        yield f"heads {kind}", multitask.serving_model(net)


@pytest.mark.tensorflow
def test_every_head_of_the_workbook_gives_what_keras_gives():
    from faceworkbook.serving import keras_head

    for name, model in _keras_models():
        for layer in model.layers:  # fresh batch norm does nothing
            if type(layer).__name__ == "BatchNormalization":
                shape = layer.moving_mean.shape
                layer.moving_mean.assign(rng.normal(size=shape))
                layer.moving_variance.assign(rng.uniform(0.5, 2, size=shape))
        expected = model(X, training=False)
        expected = expected if isinstance(expected, dict) else {"task": expected}
        made = keras_head.translate(model, "task").run(X)
        assert made.keys() == expected.keys()
        for task, values in expected.items():
            scale = max(1.0, float(np.abs(values).max()))
            np.testing.assert_allclose(
                made[task] / scale, np.asarray(values) / scale, atol=1e-5, err_msg=name
            )


@pytest.mark.tensorflow
def test_models_that_cannot_be_written_down_are_refused_by_name():
    import keras
    from sklearn.neighbors import KNeighborsClassifier

    from faceworkbook.serving import keras_head

    with pytest.raises(HeadError, match="KNeighborsClassifier cannot be written down"):
        keras_head.translate(KNeighborsClassifier(), "task")
    inputs = keras.Input((4,))
    with pytest.raises(HeadError, match="GaussianNoise"):
        keras_head.translate(keras.Model(inputs, keras.layers.GaussianNoise(0.1)(inputs)), "task")


def test_heads_are_joined_and_read_again():
    head = make_head()
    one = Head(WIDTH, head.steps, {"colour": "c"}, head.arrays)
    other = Head(WIDTH, head.steps, {"light": "l"}, head.arrays)
    both = heads.join({"x": one, "y": other})
    again = Head.from_record(both.to_record(), both.arrays)
    x = rng.random((5, WIDTH), np.float32)
    expected = head.run(x)
    made = again.run(x)
    assert set(made) == {"colour", "light"}
    for task in made:
        np.testing.assert_array_equal(made[task], expected[task])
    with pytest.raises(HeadError, match="each task once"):
        heads.join({"x": one, "y": one})


@pytest.mark.parametrize(
    "change",
    [
        {"width": 10**30},
        {"width": -1},
        {"width": "256"},
        {"width": True},
        {"steps": [{"operation": "eval", "inputs": [], "outputs": [], "arrays": []}]},
        {"steps": [{"operation": "dense", "inputs": ["nothing"], "outputs": ["a"], "arrays": ["k", "b"]}]},
        {
            "steps": [
                {"operation": "dense", "inputs": ["descriptor"], "outputs": ["a"], "arrays": ["no", "b"]}
            ]
        },
        {"steps": [{}] * 2000},
        {"steps": "x"},
        {"outputs": {"colour": "nothing"}},
        {"outputs": {}},
    ],
)
def test_hostile_steps_are_refused(change):
    head = make_head()
    with pytest.raises(HeadError):
        Head.from_record({**head.to_record(), **change}, head.arrays)


def test_descriptors_of_another_width_are_refused():
    with pytest.raises(HeadError, match=r"\(n, 256\)"):
        make_head().run(np.zeros((2, 10), np.float32))


def test_sigmoid_and_softmax_do_not_overflow():
    x = np.array([[-1e4, 0.0, 1e4]], np.float32)
    with np.errstate(over="raise"):
        np.testing.assert_allclose(heads.ACTIVATIONS["sigmoid"](x), [[0, 0.5, 1]], atol=1e-6)
        np.testing.assert_allclose(heads.ACTIVATIONS["softmax"](x), [[0, 0, 1]], atol=1e-6)

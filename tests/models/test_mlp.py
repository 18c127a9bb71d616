"""The dense net: shapes, outputs that are probabilities, and a loss that knows it."""

import keras
import numpy as np
import pytest

from faceworkbook.models import mlp
from faceworkbook.tasks import Task

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def small(*, n_classes=2, **settings):
    task = Task("letter", classes=tuple("abcdefgh"[:n_classes]))
    return mlp.build(task, **{"mean": np.zeros(5), "variance": np.ones(5), **settings})


def test_the_net_layer_by_layer():
    layers = [(type(x).__name__, getattr(x, "units", None)) for x in small().layers[2:]]
    assert layers == [("Dense", 16), ("Dropout", None), ("Dense", 16), ("Dense", 1)]
    assert small().layers[-1].activation.__name__ == "sigmoid"
    assert small().get_layer("dropout1").rate == 0.4


@pytest.mark.parametrize(("n_classes", "width"), [(2, 1), (3, 3), (8, 8)])
def test_outputs_become_one_probability_a_class(n_classes, width):
    out = small(n_classes=n_classes)(np.random.default_rng(0).normal(size=(7, 5)).astype("f"))
    assert out.shape == (7, width)
    p = Task("letter", classes=tuple("abcdefgh"[:n_classes])).decode(np.asarray(out))
    assert p.shape == (7, n_classes)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    assert (p >= 0).all()


def test_the_sigmoid_belongs_to_the_second_class():
    model = small(widths=())
    mlp.set_weights(model, [np.ones((5, 1))], [np.zeros(1)])
    p = Task("letter", classes=("a", "b")).decode(np.asarray(model(np.array([[9.0] * 5, [-9.0] * 5], "f"))))
    assert p[0, 1] > 0.99 and p[1, 0] > 0.99


def test_loss_takes_probabilities_and_not_logits():
    # With from_logits=True on a sigmoid the surest right answer would still cost .31.
    truth, output = np.array([[1.0], [0.0]]), np.array([[0.9], [0.2]])
    by_hand = -(np.log(0.9) + np.log(0.8)) / 2
    loss = keras.losses.get(Task("letter", classes=("a", "b")).loss)
    assert np.mean(loss(truth, output)) == pytest.approx(by_hand, abs=1e-5)
    wrong = float(keras.losses.BinaryCrossentropy(from_logits=True)(truth, output))
    assert abs(wrong - by_hand) > 0.1


def test_standardisation_is_inside_and_survives_the_file(tmp_path):
    mean, variance = np.array([1.0, 2, 3, 4, 5]), np.array([4.0, 1, 9, 1, 1])
    model = small(mean=mean, variance=variance)
    plain = small()
    mlp.set_weights(
        plain,
        [layer.get_weights()[0] for layer in model.layers if isinstance(layer, keras.layers.Dense)],
        [layer.get_weights()[1] for layer in model.layers if isinstance(layer, keras.layers.Dense)],
    )
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("f")
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    expected = np.asarray(plain(((x - mean) / np.sqrt(variance)).astype("f")))
    np.testing.assert_allclose(again(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"widths": (0,)}, {"widths": (1.5,)}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small(**wrong)


def test_weights_of_another_net_are_refused():
    with pytest.raises(ValueError, match="1 kernels"):
        mlp.set_weights(small(), [np.ones((5, 1))], [np.zeros(1)])

"""Several MLPs as one network: its output is the mean of theirs, also as a head without Keras."""

import numpy as np
import pytest
from training_toys import ages, blobs, cut

from faceworkbook import tasks, training
from faceworkbook.serving import keras_head

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]
SHORT = {"epochs": 3, "widths": (8, 8), "dropout": 0.3}


@pytest.mark.parametrize("kind", ["two classes", "three classes", "a number"])
def test_members_answer_with_their_mean(kind, tmp_path):
    if kind == "a number":
        x, years = ages()
        labels = tasks.labels_of_numbers(years, name="age")
    else:
        x, labels = blobs(n=200, n_classes=2 if kind == "two classes" else 3)
    split = cut(len(x))
    fitted = training.fit_mlp(x, labels, split, seed=2, members=3, **SHORT)
    alone = [training.fit_mlp(x, labels, split, seed=2 + 1000 * i, **SHORT).predict(x) for i in range(3)]
    np.testing.assert_allclose(fitted.predict(x), np.mean(alone, axis=0), rtol=1e-3, atol=1e-3)
    head = keras_head.translate(fitted.model, labels.name)
    np.testing.assert_allclose(
        labels.task.decode(head.run(x)[labels.name]), fitted.predict(x), rtol=1e-3, atol=1e-3
    )
    again = training.load(fitted.save(tmp_path))
    np.testing.assert_allclose(again.predict(x), fitted.predict(x), rtol=1e-5, atol=1e-5)
    assert again.options["members"] == 3
    folds = training.fit_folds(x, labels, [split], seed=2, members=3, **SHORT)
    assert len(folds) == 1
    np.testing.assert_allclose(
        labels.task.decode(folds.outputs[0])
        if folds.outputs[0].ndim == 1 and labels.classes
        else folds.outputs[0],
        fitted.predict(x),
        rtol=1e-3,
        atol=1e-3,
    )


def test_one_member_is_the_mlp_as_it_was():
    x, labels = blobs(n=120)
    one, same = (training.fit_mlp(x, labels, cut(120), **SHORT, **more) for more in ({}, {"members": 1}))
    np.testing.assert_array_equal(one.predict(x), same.predict(x))
    assert "members" not in same.options and same.model.name == "mlp"


@pytest.mark.parametrize("members", [0, 1.5, True])
def test_other_numbers_of_members_are_refused(members):
    x, labels = blobs(n=60)
    with pytest.raises(ValueError, match=r"members=.*whole numbers of 1 or more"):
        training.fit_mlp(x, labels, cut(60), members=members)


def test_each_classifier_takes_its_own_of_the_settings():
    settings = {"balance": "none", "members": 5, "blocks": (3, 4), "widths": (8,)}
    assert training.options_for("mlp", settings) == {k: v for k, v in settings.items() if k != "blocks"}
    assert training.options_for("kernel", settings) == {"balance": "none", "blocks": (3, 4)}
    assert training.options_for("linear", settings) == {"balance": "none"}

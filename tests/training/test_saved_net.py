"""Nets with heads that begin with a saved one: what comes along, what is exchanged, and in whose units numbers are."""

import keras
import numpy as np
import pytest
import toy_network as toy

from faceworkbook import tasks
from faceworkbook.models import multitask
from faceworkbook.tasks import ORDERED, Labels, Task
from faceworkbook.training import cutting, starting
from faceworkbook.training.batched import TrainingError
from faceworkbook.training.starting import SavedNet

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
YEARS = tasks.labels_of_numbers(40 + 9 * X[:, 0], name="age")
STEPS = Labels(Task("steps", ORDERED, ("0", "1", "2"), "", (0, 1, 2)), np.arange(40) % 3, np.arange(40.0) % 3)
GENDERS = tasks.labels_of_classes(np.where(X[:, 1] > 0, "f", "m"), name="gender")


EVERYONE = np.arange(40)


def heads(*labels, rows=EVERYONE, loss="cross_entropy"):
    return [multitask.make_head(own, rows=rows, ordinal_loss=loss) for own in labels]


def saved(net, folder):
    multitask.serving_model(net).save(folder / "model.keras")
    records = {head.name: head.to_record() for head in net.heads}
    return SavedNet(keras.models.load_model(folder / "model.keras", compile=False), records)


def shake(net):
    """Weights as after training: none where it began."""
    rng = np.random.default_rng(7)
    for layer in net.model.layers:
        for w in layer.weights:
            if "seed" not in w.path and w.dtype == "float32":
                w.assign(np.asarray(w) + np.abs(rng.normal(0, 0.3, w.shape)))
    return net


@pytest.mark.parametrize("head", ["linear", "bottleneck", "stitch"])
@pytest.mark.parametrize("loss", ["cross_entropy", "coral", "or_cnn"])
def test_the_same_tasks_are_answered_as_by_the_net_it_began_with(head, loss, tmp_path):
    """A number is measured in the start's units: on rows of another mean its answers would move."""
    options = {"head": head, "hidden": (5,), "stitch_widths": (8, 4)}
    moments = multitask.standardiser(X, rows=np.arange(40))
    before = multitask.build(6, heads(YEARS, STEPS, loss=loss), standardise=moments, seed=1, **options)
    earlier = saved(shake(before), tmp_path)
    adapted = earlier.adapt(heads(YEARS, STEPS, rows=np.flatnonzero(X[:, 0] > 0), loss=loss))
    after = multitask.build(6, adapted, standardise=earlier.standardise, seed=2, **options)
    table = earlier.hand_to(after)
    assert set(table["what"]) == {starting.TAKEN}
    for name, expected in multitask.predict(before, X * 2 + 1).items():
        np.testing.assert_allclose(multitask.predict(after, X * 2 + 1)[name], expected, rtol=1e-4, atol=1e-5)


def test_heads_of_other_tasks_and_what_mixes_the_tasks_begin_at_random(tmp_path):
    options = {"head": "stitch", "stitch_widths": (8, 4)}
    before = shake(multitask.build(6, heads(YEARS, STEPS), seed=1, **options))
    earlier = saved(before, tmp_path)
    fresh = multitask.build(6, heads(STEPS, GENDERS), seed=2, **options)
    drawn = {layer.name: layer.get_weights() for layer in fresh.model.layers}
    what = earlier.hand_to(fresh).set_index("layer")["what"]
    begun = set(what.index[what == starting.EXCHANGED])
    assert begun == {"gender__own", "gender__logits", "shared__stitch"}
    for name in what.index:
        source = drawn[name] if name in begun else before.model.get_layer(name).get_weights()
        for own, expected in zip(fresh.model.get_layer(name).get_weights(), source, strict=True):
            np.testing.assert_array_equal(own, expected)
    reordered = Labels(Task("steps", ORDERED, ("2", "1", "0"), "", (2, 1, 0)), STEPS.codes, STEPS.values)
    assert not earlier.keeps(heads(reordered)[0]), "another order is another task"
    assert not earlier.keeps(heads(STEPS, loss="sord")[0]), "another loss is another head"


def test_a_net_of_another_shape_is_refused(tmp_path):
    earlier = saved(multitask.build(6, heads(GENDERS), hidden=(5,), seed=1), tmp_path)
    with pytest.raises(TrainingError, match=r"shape \[\(6, 7\).*same hidden layers and heads"):
        earlier.hand_to(multitask.build(6, heads(GENDERS), hidden=(7,), seed=1))
    with pytest.raises(TrainingError, match=r"has no layers \['gender__narrow'\]"):
        earlier.hand_to(multitask.build(6, heads(GENDERS), hidden=(5,), head="bottleneck", seed=1))


def test_a_network_on_pictures_takes_its_whole_trunk(tmp_path):
    own = toy.labels(24)["light"]
    before = cutting.assemble(toy.backbone(), heads(own, rows=np.arange(24)), seed=1)
    earlier = saved(shake(before.net), tmp_path)
    after = cutting.assemble(toy.backbone(), earlier.adapt(heads(own, rows=np.arange(24))), seed=5)
    assert earlier.standardise is None
    earlier.hand_to(after.net)
    x = np.random.default_rng(1).normal(size=(4, 12, 12, 3)).astype(np.float32)
    expected = multitask.predict(before.net, x)["light"]
    np.testing.assert_allclose(multitask.predict(after.net, x)["light"], expected, atol=1e-5)

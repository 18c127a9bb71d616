"""One picture network on data sets with disjoint labels: joint and in turn, filled, frozen, mixed, averaged, resumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("keras")

from faceworkbook import backbones, tasks  # noqa: E402
from faceworkbook.models.multitask import Head, make_head  # noqa: E402
from faceworkbook.training import augment, cutting, masked, picture_batches, schedules  # noqa: E402
from faceworkbook.training.augment import Augmentation  # noqa: E402
from faceworkbook.training.batches import Alternating, Joint, Stage  # noqa: E402
from faceworkbook.training.checkpoint import CheckpointError  # noqa: E402
from faceworkbook.training.fine_tune import Settings, fit_plan  # noqa: E402
from faceworkbook.training.joined_pictures import JoinedPictures  # noqa: E402
from faceworkbook.training.loop import Batch  # noqa: E402
from faceworkbook.training.pictures import PixelArray  # noqa: E402
from faceworkbook.training.pseudo_labels import Fill  # noqa: E402
from faceworkbook.training.targets import Targets  # noqa: E402
from tests.support import vgg_files  # noqa: E402
from tests.training import toy_network as toy  # noqa: E402

N = 48  # of each set
STAGES = (Stage("one", np.arange(36), ("light",)), Stage("two", N + np.arange(36), ("tone",)))
VALIDATION = np.concatenate([np.arange(36, N), N + np.arange(36, N)])
QUICK = {"epochs": 3, "learning_rate": 1e-2, "progress": False}
STILL = Augmentation(0, 0, 0, 0, 0, 0)


def joined():
    return JoinedPictures([PixelArray(toy.pictures(N, seed=seed)[0], toy.PREPROCESSING) for seed in (0, 1)])


def labels():
    """The first set knows which half is the brighter one, the second a class of the same kind and no more."""
    codes = [toy.pictures(N, seed=seed)[1] for seed in (0, 1)]
    nobody = np.full(N, None, dtype=object)
    light = np.concatenate([np.where(codes[0], "above", "below").astype(object), nobody])
    tone = np.concatenate([nobody, np.where(codes[1], "b", "a").astype(object)])
    return {
        "light": tasks.labels_of_classes(light, name="light"),
        "tone": tasks.labels_of_classes(tone, name="tone"),
    }


def network(**options):
    heads = [make_head(own, rows=np.arange(2 * N)) for own in labels().values()]
    return cutting.assemble(
        toy.backbone(), heads, **{"dropout": 0.0, "seed": 0, "trunk_momentum": 0.9, **options}
    )


def train(net=None, *, plan=None, source=None, folder=None, **settings):
    return fit_plan(
        net or network(),
        source or joined(),
        labels(),
        plan=plan or Joint(STAGES, 12),
        validation=VALIDATION,
        settings=Settings(**{**QUICK, **settings}),
        folder=folder,
    )


def weights(net):
    return net.net.model.get_weights()


def alike(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


FILLS = {
    "naive": Fill(),
    "distilled": Fill("distilled", first_epoch=1),
    "pseudo": Fill("pseudo", selectors=("confidence", "density", "distribution"), first_epoch=1, cluster_k=2),
}


@pytest.mark.parametrize("method", FILLS)
@pytest.mark.parametrize(
    "plan", [Joint(STAGES, 12), Alternating(STAGES, 12), Alternating(STAGES, 12, "batch")]
)
def test_every_strategy_learns_both_tasks(plan, method):
    turns = 2 if getattr(plan, "turn", "") == "epoch" else 1
    history = train(
        plan=plan, fill=FILLS[method], epochs=8 * turns, augmentation=Augmentation(mirror=0.5)
    ).history
    for name in ("light", "tone"):
        losses = history[f"{name}_loss"].dropna()
        assert losses.min() < 0.98 * losses.iloc[0]


def test_a_task_whose_labels_do_not_count_stands_still():
    plan = Alternating(STAGES, 12)
    history = train(plan=plan, epochs=2).history
    assert np.isnan(history["tone_loss"][0]) and np.isnan(history["light_loss"][1])
    filled = train(plan=plan, epochs=2, fill=Fill("distilled", first_epoch=0)).history
    assert np.isfinite(filled[["light_loss", "tone_loss"]].to_numpy()).all()


class Interrupting(PixelArray):
    """Pictures whose reading is interrupted once."""

    def take(self, rows):
        Interrupting.left -= 1
        if Interrupting.left == 0:
            raise RuntimeError("killed")
        return super().take(rows)


@pytest.mark.parametrize(
    "settings",
    [
        {"fill": FILLS["pseudo"], "augmentation": Augmentation(), "dropout": 0.5},
        {"ema": 0.9, "mixup": 0.4, "learning_rate": schedules.Plateau(0.05, wait=1), "label_smoothing": 0.1},
        {
            "task_weights": "uncertainty",
            "frozen_epochs": {"trunk": 2},
            "head": "stitch",
            "stitch_widths": (8, 4),
        },
    ],
)
def test_a_killed_run_goes_on_to_the_same_weights(settings, tmp_path):
    settings = {"epochs": 4, **settings}
    options = {name: settings.pop(name) for name in ("head", "stitch_widths", "dropout") if name in settings}
    plan = Alternating(STAGES, 12, "batch")
    whole = network(**options)
    expected = train(whole, plan=plan, **settings).history

    first, second = (PixelArray(toy.pictures(N, seed=seed)[0], toy.PREPROCESSING) for seed in (0, 1))
    for reads in (9, 11):
        Interrupting.left = reads
        source = JoinedPictures([Interrupting(first.pixels, toy.PREPROCESSING), second])
        with pytest.raises(RuntimeError, match="killed"):
            train(network(**options), plan=plan, source=source, folder=tmp_path, **settings)
    assert 0 < len(pd.read_csv(tmp_path / "history.csv")) < 4

    resumed = network(**options)
    again = train(resumed, plan=plan, folder=tmp_path, **settings).history
    pd.testing.assert_frame_equal(again, expected)
    assert alike(weights(resumed), weights(whole))


def test_a_checkpoint_of_other_layers_with_the_same_weights_is_refused(tmp_path):
    own = {"dropout": 0.5, "hidden": (6,)}
    train(network(**own), epochs=1, folder=tmp_path)
    for other, message in (
        ({"dropout": 0.3}, r"layers\.shared__hidden1_dropout\.rate is 0\.5 there, 0\.3 here"),
        ({"trunk_momentum": 0.8}, r"layers\.conv_1_bn\.momentum is 0\.9 there, 0\.8 here"),
        ({"precision": "mixed_bfloat16"}, r"layers\.conv_1\.dtype"),
    ):
        with pytest.raises(CheckpointError, match=message):
            train(network(**{**own, **other}), epochs=2, folder=tmp_path)
    assert len(train(network(**own), epochs=2, folder=tmp_path).history) == 2


def test_groups_stay_for_their_first_epochs():
    net = network()
    before = {layer.name: layer.get_weights() for layer in net.net.model.layers}
    train(net, epochs=1, frozen_epochs={"trunk": 1, "tone": 1})
    moved = {
        layer.name
        for layer in net.net.model.layers
        if layer.weights and not alike(layer.get_weights(), before[layer.name])
    }
    assert moved == {"light__logits"}
    with pytest.raises(ValueError, match="frozen_epochs names \\['taste'\\]"):
        train(frozen_epochs={"taste": 1})


def test_fixed_and_learned_task_weights():
    learned = train(task_weights="uncertainty", lr_multipliers={"weights": 5.0}).history
    assert learned["weight:light"].iloc[-1] != 1 and learned["rate:weights"].iloc[0] == pytest.approx(0.05)
    net = network()
    head = net.net.model.get_layer("tone__logits").get_weights()[1]
    train(net, task_weights={"tone": 0.0}, epochs=1, weight_decay=0.0)
    assert np.array_equal(net.net.model.get_layer("tone__logits").get_weights()[1], head)


@pytest.mark.parametrize("fill", [Fill("distilled", first_epoch=0), replace(FILLS["pseudo"], first_epoch=0)])
def test_activations_of_a_frozen_layer_fill_and_train_alike(fill):
    settings = {
        "freeze": "conv_2_relu",
        "fill": fill,
        "augmentation": replace(STILL, mirror=0.5),
    }
    whole, from_layer = network(), network()
    one = train(whole, **settings).history
    two = train(from_layer, precompute="conv_2_relu", **settings).history
    np.testing.assert_allclose(two["validation_loss"], one["validation_loss"], rtol=1e-4)
    with pytest.raises(ValueError, match=r"mixup=0.2 mixes pictures, and precompute='conv_2_relu'"):
        train(precompute="conv_2_relu", mixup=0.2, freeze="conv_2_relu")


def test_mixed_rows_have_the_mean_of_both_losses():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 2)).astype(np.float32)
    values, mask = np.eye(4, dtype=np.float32), np.float32([1, 1, 0, 0])
    made = picture_batches.mix_batch(Batch(x, {"a": (values, mask)}), share=0.7, rng=np.random.default_rng(2))
    other = np.random.default_rng(2).permutation(4)
    np.testing.assert_allclose(made.x, 0.7 * x + 0.3 * x[other], rtol=1e-6)
    mixed, weight = (np.asarray(a) for a in made.targets["a"])
    # Two rows bear the label, and so many pictures hold some of it.
    more = np.count_nonzero(mask + mask[other]) / 2
    assert more > 1
    np.testing.assert_allclose(weight, (0.7 * mask + 0.3 * mask[other]) * more, rtol=1e-6)
    logits = np.log(np.float32([0.1, 0.2, 0.3, 0.4]))
    expected = 0.7 * mask * -(values @ logits) + 0.3 * mask[other] * -(values[other] @ logits)
    np.testing.assert_allclose(weight * -(mixed @ logits), expected * more, rtol=1e-5)
    head = Head(tasks.Task("a", classes=("p", "q", "r", "s")))
    sums = np.asarray(masked.measure(head, np.tile(logits, (4, 1)), mixed, weight))
    of_the_labelled = -np.log([0.1, 0.2]).mean()
    assert sums[0] / sums[2] == pytest.approx(of_the_labelled, rel=1e-5)


def test_the_moving_average_is_judged_and_kept():
    # decay .5 with min(.5, (1 + t) / (10 + t)): steps of .1, 2/11, .25 ... of the average so far.
    plain, averaged = network(), network()
    plan = Joint(STAGES, 72)  # one step an epoch
    start = plain.net.model.get_layer("light__logits").get_weights()[0]
    train(plain, plan=plan, epochs=1)
    train(averaged, plan=plan, epochs=1, ema=0.5)
    stepped = plain.net.model.get_layer("light__logits").get_weights()[0]
    np.testing.assert_allclose(
        averaged.net.model.get_layer("light__logits").get_weights()[0], 0.1 * start + 0.9 * stepped, rtol=1e-5
    )


def test_a_plateau_halves_the_rate_after_waiting_and_from_the_losses_alone():
    plateau = schedules.Plateau(0.8, factor=0.5, wait=2, floor=0.3)
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.93, 0.5, 0.6, 0.7]
    assert [plateau.after(losses[:n]) for n in range(10)] == pytest.approx(
        [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.24, 0.24, 0.24, 0.24]
    )
    assert schedules.slower(plateau, 3) == replace(plateau, wait=6)
    with pytest.raises(ValueError, match="plateau factor=1; allowed is above 0 and below 1"):
        schedules.Plateau(0.1, factor=1)


def test_joined_pictures_are_those_of_their_sources_in_any_order():
    source = joined()
    rows = np.array([50, 3, 95, 47, 48])
    expected = np.concatenate([toy.pictures(N, seed=seed)[0] for seed in (0, 1)])[rows]
    np.testing.assert_array_equal(source.take(rows), expected)
    assert source.fingerprint(np.array([3, 50])) != source.fingerprint(np.array([2, 50]))
    other = PixelArray(expected[:, :10, :10], replace(toy.PREPROCESSING, size=(10, 10)))
    with pytest.raises(ValueError, match="pictures are prepared in 2 manners"):
        JoinedPictures([PixelArray(expected, toy.PREPROCESSING), other])


def test_a_mirrored_pose_is_learned_as_the_opposite_one_or_not_at_all():
    classes = ("<= -60", "(-60, -10]", "(-10, 10)", "[10, 60)")
    own = tasks.labels_of_classes([classes[code] for code in (1, 2, 1, 0, 3)], name="pose", classes=classes)
    drawn = np.zeros(4, augment.DRAWN)
    drawn["mirror"] = [True, True, False, True]
    values, mask = Targets(Head(own.task), own).take(np.arange(4), drawn)
    np.testing.assert_array_equal(mask, [1, 1, 1, 0])
    np.testing.assert_array_equal(values[:3].argmax(axis=1), [3, 2, 1])


def test_the_momentum_of_the_trunks_batch_norm_is_a_choice():
    assert network(trunk_momentum=0.0).net.model.get_layer("conv_1_bn").momentum == 0.99
    assert network(trunk_momentum=0.8).net.model.get_layer("conv_1_bn").momentum == 0.8
    with pytest.raises(
        ValueError, match=r"bn_momentum=1.5; allowed is 0 \(the network's own\) up to below 1"
    ):
        network(trunk_momentum=1.5)


def networks(tmp_path):
    widths = {"widths": (4, 5, 6, 7, 9), "depths": (2, 2, 3, 3, 3), "side": 2, "hidden": 11, "classes": 13}
    parameters = vgg_files.random_parameters(np.random.default_rng(7), **widths)
    vgg_files.write_t7(tmp_path / "VGG_FACE.t7", parameters)
    return {
        "mini_xception": lambda: backbones.load("mini_xception"),
        "mobilenet_v2": lambda: backbones.load("mobilenet_v2").adjusted(resolution=64),
        "vgg_face": lambda: backbones.load("vgg_face", weights=tmp_path / "VGG_FACE.t7"),
    }


@pytest.mark.parametrize(
    "name, cut", [("mini_xception", None), ("mobilenet_v2", "block_6_expand_relu"), ("vgg_face", "conv4_2")]
)
def test_each_network_is_trained_on_two_sets_together(name, cut, tmp_path):
    backbone = networks(tmp_path)[name]()
    size = (*backbone.preprocessing.size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (16, *size), dtype=np.uint8)
    own = {
        "light": tasks.labels_of_classes(["a", "b"] * 4 + [None] * 8, name="light"),
        "years": tasks.labels_of_numbers([np.nan] * 8 + list(range(20, 28)), name="years"),
    }
    heads = [make_head(of, rows=np.arange(16)) for of in own.values()]
    net = cutting.assemble(backbone, heads, cut=cut, head="stitch", stitch_widths=(8, 4), dropout=0.0)
    stages = (Stage("one", np.arange(6), ("light",)), Stage("two", np.arange(8, 14), ("years",)))
    settings = Settings(epochs=1, learning_rate=1e-3, progress=False, fill=Fill("distilled", first_epoch=0))
    source = JoinedPictures([PixelArray(half, backbone.preprocessing) for half in (pixels[:8], pixels[8:])])
    before = net.net.model.get_weights()
    given = {
        "plan": Joint(stages, 6, "temperature"),
        "validation": np.array([6, 7, 14, 15]),
        "settings": settings,
    }
    history = fit_plan(net, source, own, **given).history
    assert np.isfinite(history[["light_loss", "years_loss", "validation_loss"]].to_numpy()).all()
    assert not alike(before, net.net.model.get_weights())

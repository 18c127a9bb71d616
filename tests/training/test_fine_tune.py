"""Fine-tuning: what is frozen stays, rates are effective, faults of earlier systems do not come back."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

keras = pytest.importorskip("keras")

from faceworkbook import (  # noqa: E402
    backbones,
    images,
    tasks,
)
from faceworkbook.models.multitask import Head, make_head  # noqa: E402
from faceworkbook.training import augment, cutting, fine_tune, logs, loop, schedules  # noqa: E402
from faceworkbook.training.augment import Augmentation  # noqa: E402
from faceworkbook.training.checkpoint import CheckpointError  # noqa: E402
from faceworkbook.training.fine_tune import Settings, fit, predict  # noqa: E402
from faceworkbook.training.pictures import PixelArray, PixelFiles  # noqa: E402
from faceworkbook.training.schedules import cosine  # noqa: E402
from faceworkbook.training.targets import Targets  # noqa: E402
from tests.support import vgg_files  # noqa: E402
from tests.training import toy_network as toy  # noqa: E402

N = 60
SPLIT = toy.Split(np.arange(40), np.arange(40, 52))
QUICK = {"epochs": 2, "batch_size": 10, "learning_rate": 1e-2, "progress": False}


@pytest.fixture(scope="module")
def source():
    return toy.source(N)


@pytest.fixture(scope="module")
def labels():
    return toy.labels(N)


def network(labels, **options):
    tasks = [make_head(target, rows=SPLIT.train) for target in labels.values()]
    return cutting.assemble(toy.backbone(), tasks, **{"dropout": 0.0, **options})


def train(net, source, labels, *, split=SPLIT, folder=None, soft=None, **settings):
    settings = Settings(**{**QUICK, **settings})
    return fit(net, source, labels, split=split, settings=settings, soft=soft, folder=folder)


def weights_of(net, layer: str) -> list[np.ndarray]:
    return net.net.model.get_layer(layer).get_weights()


def same(first, second) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# ------------------------------------------------------------------------------------- the network


def test_the_trunk_keeps_kernels_and_biases_as_they_are(source, labels):
    # The VGG-Face transfer system (agegender_cleaned) threw biases away and transposed kernels, so its trunk computed something else.
    whole, net = toy.backbone().full, network(labels, cut="conv_2_relu")
    x = images.network_input(source.pixels[:5], toy.PREPROCESSING)
    expected = keras.Model(whole.input, whole.get_layer("conv_2_relu").output)(x)
    result = keras.Model(net.net.model.input, net.net.model.get_layer("conv_2_relu").output)(x)
    assert np.abs(whole.get_layer("conv_1").get_weights()[1]).min() > 0
    np.testing.assert_array_equal(result, expected)


def test_the_cut_decides_which_layers_are_used(labels):
    assert network(labels, cut="conv_2").trunk == ("picture", "conv_1", "conv_1_bn", "conv_1_relu", "conv_2")
    assert network(labels).cut == "conv_3_relu"


def test_a_trunk_of_another_resolution_is_trained_at_it(labels):
    larger = toy.backbone().adjusted(resolution=toy.SIZE + 8)
    net = cutting.assemble(larger, [make_head(labels["light"], rows=SPLIT.train)], dropout=0.0)
    assert net.preprocessing.size == (toy.SIZE + 8,) * 2 == tuple(net.net.model.input.shape[1:3])
    np.testing.assert_array_equal(weights_of(net, "conv_1")[0], weights_of(network(labels), "conv_1")[0])


@pytest.mark.parametrize("pool, width", [("average", 6), ("flatten", 4 * 4 * 6)])
def test_heads_stand_on_averaged_or_flattened_maps(labels, pool, width):
    net = network(labels, cut="conv_2_relu", pool=pool)
    assert weights_of(net, "light__logits")[0].shape == (width, 2)


def test_a_flattened_trunk_with_a_wide_hidden_layer_is_there(labels):
    net = network(labels, pool="flatten", hidden=(32,), dropout=0.5)
    assert weights_of(net, "shared__hidden1")[0].shape[1] == 32


def test_the_backbone_itself_is_never_trained(source, labels):
    backbone = toy.backbone()
    before = backbone.full.get_weights()
    net = cutting.assemble(backbone, [make_head(labels["light"], rows=SPLIT.train)])
    train(net, source, labels)
    assert same(backbone.full.get_weights(), before)
    assert not same(weights_of(net, "conv_1"), backbone.full.get_layer("conv_1").get_weights())


def test_unknown_layers_are_named_with_those_there_are(labels):
    with pytest.raises(ValueError, match=r"no layer 'conv_9'; expected one of conv_1"):
        network(labels, cut="conv_9")


def test_own_head_needs_one_number(labels):
    with pytest.raises(ValueError, match="head='own' needs a network that ends in one number"):
        network(labels, head="own")


def test_vgg_face_is_cut_and_frozen_by_layer_name(tmp_path):
    toy_widths = {
        "widths": (4, 5, 6, 7, 9),
        "depths": (2, 2, 3, 3, 3),
        "side": 2,
        "hidden": 11,
        "classes": 13,
    }
    vgg_files.write_t7(
        tmp_path / "VGG_FACE.t7", vgg_files.random_parameters(np.random.default_rng(7), **toy_widths)
    )
    backbone = backbones.load("vgg_face", weights=tmp_path / "VGG_FACE.t7")
    wanted = backbone.preprocessing
    assert (wanted.channels, wanted.mean) == ("BGR", (93.594, 104.7624, 129.1863))
    pixels = np.random.default_rng(0).integers(0, 256, (12, *wanted.size, 3), dtype=np.uint8)
    target = tasks.labels_of_classes(["a", "b"] * 6, name="light")
    net = cutting.assemble(
        backbone, [make_head(target, rows=np.arange(12))], cut="conv4_2", pool="flatten", hidden=(32,)
    )
    before = {name: weights_of(net, name) for name in ("conv1_1", "conv4_1", "conv4_2")}
    assert same(before["conv1_1"], backbone.full.get_layer("conv1_1").get_weights())
    split = toy.Split(np.arange(8), np.arange(8, 12))
    train(net, PixelArray(pixels, wanted), {"light": target}, split=split, freeze="conv4_1")
    assert net.trunk[-1] == "conv4_2"
    assert same(weights_of(net, "conv4_1"), before["conv4_1"])
    assert not same(weights_of(net, "conv4_2"), before["conv4_2"])


def test_ssr_net_learns_years_with_its_own_head():
    backbone = backbones.load("ssr_net")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    ages = tasks.labels_of_numbers(np.where(np.arange(24) % 2, 30.0, 34.0), name="age")
    heads = [make_head(ages, rows=np.arange(16))]
    net = cutting.assemble(backbone, heads, head="own", seed=1)
    source, split = PixelArray(pixels, backbone.preprocessing), toy.Split(np.arange(16), np.arange(16, 24))
    history = train(net, source, {"age": ages}, split=split, number_loss="absolute", epochs=3).history
    assert net.net.heads[0].scale == 1
    # The loss is the mean absolute error in years, and so is what is predicted.
    np.testing.assert_allclose(history["age_loss"], history["age_rate"])
    result = predict(net, source, rows=split.validation)["age"]
    missed = np.abs(result - ages.values[split.validation]).mean()
    assert missed == pytest.approx(history["validation_age_rate"].min(), rel=1e-3)


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights(source, labels):
    net = network(labels, precision="mixed_bfloat16")
    layer = net.net.model.get_layer("conv_2")
    assert (layer.compute_dtype, layer.kernel.dtype) == ("bfloat16", "float32")
    history = train(net, source, labels).history
    assert np.isfinite(history["loss"]).all()
    full = predict(network(labels), source, rows=np.arange(5))["light"]
    half = predict(network(labels, precision="mixed_bfloat16"), source, rows=np.arange(5))["light"]
    np.testing.assert_allclose(half, full, atol=0.05)


# --------------------------------------------------------------------- freezing and learning rates


def test_frozen_layers_and_their_batch_norm_do_not_move(source, labels):
    net = network(labels)
    frozen = ("conv_1", "conv_1_bn", "conv_2", "conv_2_bn")
    before = {name: weights_of(net, name) for name in (*frozen, "conv_3", "light__logits")}
    train(net, source, labels, freeze="conv_2_relu")
    for name in frozen:
        assert same(weights_of(net, name), before[name])
    assert not same(weights_of(net, "conv_3"), before["conv_3"])
    assert not same(weights_of(net, "light__logits"), before["light__logits"])


def test_batch_norm_that_is_not_frozen_learns_the_new_pictures(source, labels):
    net = network(labels)
    before = weights_of(net, "conv_1_bn")
    train(net, source, labels)
    assert not np.array_equal(weights_of(net, "conv_1_bn")[2], before[2])


def test_frozen_batch_norm_computes_with_its_stored_statistics(source, labels):
    # With everything frozen but the head, the training loss of a step is that of inference mode.
    net = network(labels)
    expected = predict(net, source, rows=SPLIT.train)["light"]
    loss = -np.log(expected[np.arange(40), labels["light"].codes[SPLIT.train]]).mean()
    history = train(net, source, labels, freeze="conv_3_relu", epochs=1, batch_size=40).history
    assert history["loss"][0] == pytest.approx(loss, rel=1e-4)


def test_batch_norm_of_the_heads_keeps_up_with_a_trunk_that_changes(source, labels):
    """Statistics that lag behind made validation faces look bad after a good epoch, and spoiled the choice."""
    net = network(labels, batch_norm=True)
    train(net, source, labels, epochs=12, freeze="conv_3_relu")
    norm = net.net.model.get_layer("light__norm")
    tail = keras.Model(net.net.model.input, norm.input)
    seen = np.asarray(tail(images.network_input(source.pixels[SPLIT.train], toy.PREPROCESSING)))
    stored = np.asarray(norm.moving_mean)
    assert np.abs(stored - seen.mean(axis=0)).max() < 0.25 * seen.std(axis=0).max()


def test_learning_rates_by_group_are_effective_under_adam(source, labels):
    # Adam's first step is the learning rate for every weight, whatever the gradient's scale.
    net = network(labels)
    names = ("conv_1", "conv_2", "conv_3", "light__logits")
    before = {name: weights_of(net, name)[0] for name in names}
    multipliers = {"conv_1_relu": 0.0, "conv_2_relu": 0.01, "trunk": 0.1, "light": 1.0}
    train(net, source, labels, epochs=1, batch_size=40, lr_multipliers=multipliers, weight_decay=0.0)
    moved = [np.median(np.abs(weights_of(net, name)[0] - before[name])) for name in names]
    np.testing.assert_allclose(moved, [0, 1e-4, 1e-3, 1e-2], rtol=0.05)


def test_layers_thaw_when_the_schedule_says(source, labels):
    net = network(labels)
    start = {name: weights_of(net, name) for name in ("conv_1", "conv_2", "conv_3")}
    unfreeze = ((0, "conv_3_relu"), (1, "conv_2_relu"), (2, "conv_1_relu"))
    moved = []
    for epochs in (1, 2, 3):
        net = network(labels)
        train(net, source, labels, epochs=epochs, unfreeze=unfreeze, learning_rate=cosine(1e-2, epochs=10))
        moved.append([not same(weights_of(net, name), start[name]) for name in start])
    best = [row.index(True) if True in row else 3 for row in moved]
    assert moved[0] == [False, False, False]
    assert best == sorted(best, reverse=True)
    settings = Settings(unfreeze=((2, None), (0, "conv_2_relu")), freeze="conv_1_relu")
    assert [settings.frozen_upto(e) for e in range(4)] == ["conv_2_relu"] * 2 + ["conv_1_relu"] * 2


def test_stages_are_read_from_texts():
    assert fine_tune.parse_stages(["0: conv_2_relu", "3:"]) == ((0, "conv_2_relu"), (3, None))
    with pytest.raises(ValueError, match="unfreeze holds 'soon'; expected 'EPOCH: LAYER'"):
        fine_tune.parse_stages(["soon"])


def test_param_groups_are_described(labels):
    settings = Settings(
        epochs=5,
        learning_rate=0.1,
        lr_multipliers={"trunk": 0.5},
        freeze="conv_1_relu",
        unfreeze=((0, "conv_2_relu"), (3, None)),
    )
    result = fine_tune.describe_param_groups(network(labels), settings)
    assert result["from epoch"].tolist() == ["never", 3, 0, 0]
    assert result["learning rate"].tolist() == [0.0, pytest.approx(0.05), pytest.approx(0.05), 0.1]
    assert result["weights"].sum() == network(labels).net.model.count_params()


def test_a_thawed_group_has_its_rate_in_the_history(source, labels):
    history = train(network(labels), source, labels, unfreeze=((0, "conv_2_relu"), (1, None))).history
    assert history["rate:trunk to conv_2_relu"].tolist() == [0.0, pytest.approx(1e-2)]


def test_unknown_groups_are_refused(source, labels):
    with pytest.raises(ValueError, match=r"no layer or parameter group is called \['neck'\]"):
        train(network(labels), source, labels, lr_multipliers={"neck": 0.1})


def test_cosine_rises_then_falls():
    schedule = cosine(3.0, epochs=10, warmup=2, floor=0.0)
    rates = [schedules.rate(schedule, epoch) for epoch in range(10)]
    assert rates[:3] == pytest.approx([1.0, 2.0, 3.0])
    assert rates[6] == pytest.approx(1.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_one_optimiser_state_is_kept_from_epoch_to_epoch(source, labels, tmp_path):
    # The code of arXiv 2003.06746 began anew with each epoch.
    train(network(labels), source, labels, epochs=3, folder=tmp_path)
    with np.load(tmp_path / loop.CHECKPOINT) as file:
        state = [file[name] for name in file.files if name.startswith("state:")]
    counts = [int(a) for a in state if a.shape == () and np.issubdtype(a.dtype, np.integer)]
    assert counts == [3 * 4, 3 * 4], "trunk and head, four batches an epoch"


# ------------------------------------------------------------------------------------------- steps


def test_accumulated_gradients_are_those_of_the_whole_batch(source, labels):
    result = []
    for pieces in (1, 4):
        net = network(labels)
        train(net, source, labels, freeze="conv_2_relu", batch_size=20, accumulate=pieces)
        result.append(net.net.model.get_weights())
    for whole, pieced in zip(*result, strict=True):
        np.testing.assert_allclose(pieced, whole, atol=2e-5)


def test_a_compiled_step_computes_the_same(source, labels):
    result = []
    for xla in (False, True):
        net = network(labels)
        train(net, source, labels, epochs=1, batch_size=40, learning_rate=1e-3, xla=xla)
        result.append(predict(net, source, rows=np.arange(20))["light"])
    np.testing.assert_allclose(result[1], result[0], atol=1e-3)


def test_what_xla_cannot_compile_is_a_sentence(source, labels):
    """A max pooling has no deterministic gradient in XLA, and a reproducible run is the default."""
    from tensorflow.python.framework import config

    trunk = toy.build()
    reduced = keras.layers.MaxPooling2D(name="pool")(trunk.output)
    backbone = dataclasses.replace(
        toy.backbone(), tap="pool", tap_table={"pool": backbones.Tap("pool", 5, pool=True)},
        builder=lambda: keras.Model(trunk.input, reduced),
    )  # fmt: skip
    heads = [make_head(target, rows=SPLIT.train) for target in labels.values()]
    config.enable_op_determinism()
    try:
        with pytest.raises(ValueError, match=r"^xla=true: .*deterministic XLA .*; give xla=false, or repro"):
            train(cutting.assemble(backbone, heads, seed=0), source, labels, xla=True)
    finally:
        config.disable_op_determinism()


def test_accumulation_counts_known_labels_and_not_pieces(source, labels):
    # 3 of 40 rows are known, all in one piece: a mean of the pieces' means would be wrong.
    names = labels["light"].truth.copy()
    names[[i for i in range(40) if i not in (1, 2, 3)]] = None
    few = {"light": tasks.labels_of_classes(names, name="light", classes=("above", "below"))}
    losses = [
        train(network(labels), source, few, epochs=1, batch_size=40, accumulate=k, freeze="conv_3_relu")
        .history["loss"]
        .item()
        for k in (1, 5)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_heads_see_earlier_layers_beside_the_last_one(source, labels):
    net = network(labels, also=["conv_1_relu", "conv_2_relu"], batch_norm=False)
    layers = [net.net.model.get_layer(name).output for name in ("conv_1_relu", "conv_2_relu", net.cut)]
    maps = keras.Model(net.net.model.input, layers)(
        images.network_input(source.pixels[:5], toy.PREPROCESSING)
    )
    expected = np.concatenate([np.asarray(m).mean(axis=(1, 2)) for m in maps], axis=1)
    result = net.net.features(images.network_input(source.pixels[:5], toy.PREPROCESSING))["light"]
    np.testing.assert_allclose(result, expected, atol=1e-5)
    before = weights_of(net, "conv_3"), weights_of(net, "conv_2")
    train(net, source, labels, freeze="conv_2_relu", precompute="conv_1_relu")
    assert not same(weights_of(net, "conv_3"), before[0]) and same(weights_of(net, "conv_2"), before[1])
    with pytest.raises(
        ValueError, match=r"\['conv_3_relu'\] do not lie before the cut 'conv_2_relu'; name layers before it"
    ):
        network(labels, cut="conv_2_relu", also=["conv_3_relu"])


@pytest.mark.parametrize("mirror", [0.0, 0.5])
def test_precomputed_layers_give_the_same_training(source, labels, tmp_path, mirror):
    result, changes = [], Augmentation(mirror, 0, 0, 0, 0, 0)
    for layer in (None, "conv_2_relu"):
        net = network(labels)
        folder = tmp_path / str(layer)
        options = {"freeze": "conv_2_relu", "precompute": layer, "augmentation": changes}
        history = train(net, source, labels, folder=folder, epochs=3, **options).history
        result.append((net.net.model.get_weights(), history["validation_loss"].to_numpy()))
    for whole, tail in zip(result[0][0], result[1][0], strict=True):
        np.testing.assert_allclose(tail, whole, atol=1e-4)
    np.testing.assert_allclose(result[1][1], result[0][1], atol=1e-4)
    assert not (tmp_path / "conv_2_relu" / "activations.npy").exists()


def test_what_changes_cannot_be_precomputed(source, labels):
    with pytest.raises(ValueError, match="precompute='conv_2_relu' changes in training; freeze"):
        train(network(labels), source, labels, freeze="conv_1_relu", precompute="conv_2_relu")
    with pytest.raises(ValueError, match="mirror is the only augmentation"):
        train(
            network(labels),
            source,
            labels,
            freeze="conv_2_relu",
            precompute="conv_1_relu",
            augmentation=Augmentation(),
        )


def test_rows_without_label_change_nothing(source, labels):
    names = labels["light"].truth.copy()
    names[20:40] = None
    half = {"light": tasks.labels_of_classes(names, name="light", classes=("above", "below"))}
    settings = {"freeze": "conv_3_relu", "batch_size": 40, "epochs": 1, "weight_decay": 0.0}
    masked, without = network(labels), network(labels)
    train(masked, source, half, **settings)
    train(without, source, half, split=toy.Split(np.arange(20), SPLIT.validation), **settings)
    for a, b in zip(masked.net.model.get_weights(), without.net.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_several_tasks_train_on_pictures(source, labels):
    yaw = tasks.labels_of_numbers(np.linspace(-30, 30, N), name="yaw")
    both = {**labels, "yaw": yaw}
    net = network(both)
    history = train(net, source, both).history
    assert history["loss"][0] == pytest.approx(history["light_loss"][0] + history["yaw_loss"][0])
    result = predict(net, source, rows=np.arange(7))
    assert result["light"].shape == (7, 2)
    assert result["yaw"].shape == (7,)


def test_soft_targets_are_learned_as_they_are(source, labels):
    shares = np.tile([3.0, 1.0], (N, 1))
    net = network(labels)
    train(net, source, labels, soft={"light": shares}, epochs=25, freeze="conv_3_relu", learning_rate=0.05)
    result = predict(net, source, rows=SPLIT.train)["light"]
    np.testing.assert_allclose(result.mean(axis=0), [0.75, 0.25], atol=0.03)


def test_soft_targets_of_another_shape_are_refused(source, labels):
    with pytest.raises(ValueError, match="soft targets of 'light' have shape"):
        train(network(labels), source, labels, soft={"light": np.ones((N, 3))})


# ------------------------------------------------------------------- which rows are used for what


def test_only_training_rows_are_augmented(source, labels):
    # The UTKFace multi-task system of 2018 augmented its validation rows too.
    strong = Augmentation(mirror=1, rotate=45, shift=0.4, zoom=0.5, light=1, blur=1)
    net = network(labels)
    expected = predict(net, source, rows=SPLIT.validation)["light"]
    loss = -np.log(expected[np.arange(12), labels["light"].codes[SPLIT.validation]]).mean()
    history = train(net, source, labels, learning_rate=0.0, freeze="conv_3_relu", augmentation=strong).history
    np.testing.assert_allclose(history["validation_loss"], loss, rtol=1e-4)
    assert abs(history["loss"][0] - history["loss"][1]) > 1e-4


def test_pose_labels_turn_with_the_pictures(source, labels):
    yaw = tasks.labels_of_numbers(np.full(N, 10.0) + np.arange(N) % 2, name="yaw")
    task = Head(tasks.Task("yaw", tasks.NUMBER))
    targets = Targets(task, yaw)
    drawn = augment.draw(Augmentation(mirror=0.5), np.arange(N), seed=0, epoch=0)
    values, mask = targets.take(np.arange(N), drawn)
    np.testing.assert_array_equal(values[:, 0] < 0, drawn["mirror"])
    assert mask.all()


def test_answers_to_a_picture_and_its_mirror_image_are_averaged(source, labels):
    yaw = tasks.labels_of_numbers(np.linspace(-30, 30, N), name="yaw")
    net = network({**labels, "yaw": yaw})
    rows = np.arange(7)
    turned = PixelArray(np.ascontiguousarray(source.pixels[:, :, ::-1]), toy.PREPROCESSING)
    straight, other = predict(net, source, rows=rows), predict(net, turned, rows=rows)
    both = predict(net, source, rows=rows, mirrored=True)
    np.testing.assert_allclose(both["light"], (straight["light"] + other["light"]) / 2, atol=1e-6)
    np.testing.assert_allclose(both["yaw"], (straight["yaw"] - other["yaw"]) / 2, atol=1e-4)
    np.testing.assert_allclose(
        predict(net, turned, rows=rows, mirrored=True)["light"], both["light"], atol=1e-6
    )


def test_overlapping_rows_are_refused(source, labels):
    # The code of arXiv 2003.06746 chose epochs on the rows that it reported.
    with pytest.raises(ValueError, match="5 rows are both training and validation rows"):
        train(network(labels), source, labels, split=toy.Split(np.arange(40), np.arange(35, 50)))


def test_rows_outside_the_split_are_never_read(labels):
    seen = set()

    class Watched(PixelArray):
        def take(self, rows):
            seen.update(np.asarray(rows).tolist())
            return super().take(rows)

    train(network(labels), Watched(toy.pictures(N)[0], toy.PREPROCESSING), labels)
    assert seen == set(range(52))


def test_the_best_epoch_by_validation_is_kept(source, labels):
    net = network(labels)
    fitted = train(net, source, labels, epochs=6, learning_rate=0.2)
    best = fitted.history["validation_loss"].min()
    assert fitted.history["validation_loss"][fitted.best_epoch] == best
    result = predict(net, source, rows=SPLIT.validation)["light"]
    loss = -np.log(result[np.arange(12), labels["light"].codes[SPLIT.validation]]).mean()
    assert loss == pytest.approx(best, rel=1e-3)


def test_training_stops_when_patience_ends(source, labels):
    fitted = train(network(labels), source, labels, epochs=40, learning_rate=0.0, patience=3)
    assert len(fitted.history) <= 6


def test_every_row_is_answered_and_probabilities_add_up_by_row(source, labels):
    # 60 rows in batches of 128 and of 7: nothing dropped; an earlier soft-max ran over the matrix.
    result = predict(network(labels), source, rows=np.arange(N))["light"]
    assert result.shape == (N, 2)
    np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-6)


def test_inference_sees_the_same_input_as_training(source, labels):
    # One earlier system left standardisation out at inference, another fed RGB on one path and BGR on the other.
    net = network(labels)
    x = images.network_input(source.pixels[:9], toy.PREPROCESSING)
    logits = net.net.model(x, training=False)["light"]
    result = predict(net, source, rows=np.arange(9))["light"]
    np.testing.assert_allclose(result, keras.ops.softmax(logits), atol=1e-6)


def test_pictures_of_another_preprocessing_are_refused(labels):
    other = images.Preprocessing((toy.SIZE, toy.SIZE), "RGB", (0, 0, 0))
    with pytest.raises(ValueError, match="read them with the network's own preprocessing"):
        train(network(labels), PixelArray(toy.pictures(N)[0], other), labels)


def test_it_learns(source, labels):
    net = network(labels)
    train(net, source, labels, epochs=15, augmentation=Augmentation(mirror=0.5, rotate=5))
    rows = np.arange(52, N)
    result = predict(net, source, rows=rows)["light"].argmax(axis=1)
    assert (result == labels["light"].codes[rows]).mean() >= 0.85


# ------------------------------------------------------------------------------------------ folder


def test_a_folder_of_another_run_is_refused(source, labels, tmp_path):
    train(network(labels), source, labels, folder=tmp_path)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        train(network(labels), source, labels, folder=tmp_path, learning_rate=0.5)


def test_a_checkpoint_of_other_pictures_is_refused(source, labels, tmp_path):
    """Same labels, split, settings and first weights: only the pictures differ."""
    train(network(labels), source, labels, folder=tmp_path)
    other = PixelArray(toy.pictures(N, seed=1)[0], toy.PREPROCESSING)
    with pytest.raises(CheckpointError, match=r"belongs to another run .pictures differs.; delete it"):
        train(network(labels), other, labels, folder=tmp_path)


def test_a_checkpoint_of_changed_files_or_boxes_is_refused(source, labels, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for path, pixels in zip(paths, source.pixels, strict=True):
        cv2.imwrite(str(path), pixels)
    boxes = [(0, 0, toy.SIZE, toy.SIZE)] * N
    settings = {"folder": tmp_path / "run", "epochs": 1}
    train(network(labels), PixelFiles(paths, toy.PREPROCESSING, boxes), labels, **settings)
    moved = PixelFiles(paths, toy.PREPROCESSING, [(1, 0, toy.SIZE, toy.SIZE), *boxes[1:]])
    with pytest.raises(CheckpointError, match="pictures differs"):
        train(network(labels), moved, labels, **settings)
    cv2.imwrite(str(paths[3]), source.pixels[4])
    with pytest.raises(CheckpointError, match="pictures differs"):
        train(network(labels), PixelFiles(paths, toy.PREPROCESSING, boxes), labels, **settings)


@pytest.mark.parametrize(
    ("options", "text"), [({"seed": 9}, "first weights"), ({"cut": "conv_2_relu"}, "network.cut")]
)
def test_a_checkpoint_of_another_network_is_refused(source, labels, tmp_path, options, text):
    train(network(labels), source, labels, folder=tmp_path)
    with pytest.raises(CheckpointError, match=text):
        train(network(labels, **options), source, labels, folder=tmp_path)


def test_a_checkpoint_of_other_soft_targets_is_refused(source, labels, tmp_path):
    train(network(labels), source, labels, folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"labels\.light differs"):
        train(network(labels), source, labels, soft={"light": np.full((N, 2), 0.5)}, folder=tmp_path)


def test_a_finished_run_is_not_trained_again(source, labels, tmp_path):
    first = network(labels)
    train(first, source, labels, folder=tmp_path)
    second = network(labels)
    fitted = train(second, source, labels, folder=tmp_path)
    assert len(fitted.history) == 2
    assert same(first.net.model.get_weights(), second.net.model.get_weights())


def test_the_history_is_a_csv_file(source, labels, tmp_path):
    fitted = train(network(labels), source, labels, folder=tmp_path)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0].split(",")[:2] == ["epoch", "loss"]
    assert len(lines) == 1 + len(fitted.history)


def test_tensorboards_files_hold_the_history(source, labels, tmp_path):
    import tensorflow as tf

    history = train(network(labels), source, labels, folder=tmp_path).history
    again = {**history.iloc[0], "loss": 0.25}
    logs.write_tensorboard(tmp_path / "tensorboard", [again])
    files = sorted((tmp_path / "tensorboard").iterdir())
    assert len(files) == len(history) and all("tfevents" in file.name for file in files)
    logged = {}
    for event in (event for file in files for event in tf.compat.v1.train.summary_iterator(str(file))):
        logged |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    assert logged["loss", 0] == 0.25 and logged["loss", 1] == pytest.approx(history["loss"][1])
    for epoch, rate in enumerate(history["validation_light_rate"]):
        assert logged["validation_light_rate", epoch] == pytest.approx(rate)


def test_a_saved_model_gives_probabilities_and_names_its_input(source, labels, tmp_path):
    net = network(labels)
    fine_tune.save(net, tmp_path)
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    record = json.loads((tmp_path / "model.json").read_text())
    described = images.Preprocessing.from_dict(record["preprocessing"])
    x = images.network_input(source.pixels[:6], described)
    np.testing.assert_allclose(model(x)["light"], predict(net, source, rows=np.arange(6))["light"], atol=1e-6)
    assert record["tasks"][0]["task"]["classes"] == ["above", "below"]


def test_rows_are_read_once_for_all_tasks(source, labels):
    yaw = tasks.labels_of_numbers(np.linspace(-30, 30, N), name="yaw")
    net = network({**labels, "yaw": yaw})
    read = fine_tune.read_rows(net, source, rows=np.array([50, 4, 17, 30]))
    expected = predict(net, source, rows=np.array([17, 50]))
    for name, values in read.items():
        assert len(values) == N and np.isnan(values).reshape(N, -1).any(axis=1).sum() == N - 4
        np.testing.assert_allclose(values[[17, 50]], expected[name], atol=1e-5)


def test_votes_become_shares_and_single_votes_none():
    table = pd.DataFrame({"votes_a": [6, 1, 0, 1], "votes_b": [4, 9, 0, 1]})
    target = tasks.labels_of_classes(["a", "b", None, "a"], name="emotion", classes=("a", "b"))
    result = fine_tune.vote_shares(table, target)
    np.testing.assert_allclose(result, [[0.6, 0.4], [0, 1], [0, 0], [1, 0]])
    with pytest.raises(ValueError, match=r"lacks .*votes_b"):
        fine_tune.vote_shares(table[["votes_a"]], target)


def test_curves_bear_the_names_that_the_picture_reads(source, labels):
    net = network(labels)
    fitted = train(net, source, labels)
    result = fine_tune.curves(fitted.history, net.net.heads[0])
    assert list(result) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"accumulate": 0}, {"learning_rate": -1}, {"number_loss": "cubic"}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*allowed"):
        Settings(**wrong)

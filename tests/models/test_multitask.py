"""Heads on a trunk: shapes, parameter groups, stitches, standardisation, saving."""

import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

keras = pytest.importorskip("keras")

from faceworkbook import tasks  # noqa: E402
from faceworkbook.models import multitask, residual_mlp  # noqa: E402
from faceworkbook.models.cross_stitch import CrossStitch  # noqa: E402
from faceworkbook.models.multitask import Head  # noqa: E402
from faceworkbook.tasks import Task  # noqa: E402

GENDER = Head(Task("gender", classes=("male", "female")))
RACE = Head(Task("race", classes=("White", "Black", "Asian")))
YAW = Head(Task("yaw", "number"), mean=-2.0, scale=12.0)


def faces(n=20, width=6, seed=0):
    return np.random.default_rng(seed).normal(3.0, 2.0, (n, width)).astype(np.float32)


@pytest.mark.parametrize("head", multitask.HEADS)
def test_each_head_answers_every_task_in_its_own_terms(head):
    net = multitask.build(6, [GENDER, RACE, YAW], head=head, stitch_widths=(16, 8))
    predicted = multitask.predict(net, faces(), batch_size=7)
    assert (
        predicted["gender"].shape == (20, 2)
        and predicted["race"].shape == (20, 3)
        and predicted["yaw"].shape == (20,)
    )
    np.testing.assert_allclose(predicted["race"].sum(axis=1), 1.0)
    raw = multitask.forward(net.model, faces())
    np.testing.assert_allclose(predicted["yaw"], raw["yaw"][:, 0] * 12.0 - 2.0, rtol=1e-5)


def test_pictures_are_predicted_a_few_at_a_time():
    """Two thousand of 224 x 224 took 24 GB: all layers' results of 512 of them at once."""

    taken = []

    class Pictures:
        def __getitem__(self, rows):
            taken.append(len(rows))
            return np.broadcast_to(rows[:, None, None, None].astype(np.float32), (len(rows), 224, 224, 3))

    inputs = keras.Input((224, 224, 3))
    trunk = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    net, x, rows = multitask.build(trunk, [GENDER]), Pictures(), np.arange(99, 9, -1)
    raw = multitask.forward(net.model, x, rows=rows)["gender"]
    assert taken == [27, 27, 27, 9]
    np.testing.assert_allclose(
        raw, multitask.forward(net.model, x, rows=rows, batch_size=10)["gender"], rtol=1e-5
    )


@pytest.mark.parametrize(("head", "width"), [("linear", 6), ("bottleneck", 16), ("stitch", 128)])
def test_features_are_what_enters_a_task_s_last_layer(head, width):
    net = multitask.build(6, [GENDER, RACE], head=head)
    features = multitask.forward(net.features, faces())
    assert features["gender"].shape == features["race"].shape == (20, width)
    kernel, bias = net.model.get_layer("race__logits").get_weights()
    logits = multitask.forward(net.model, faces())["race"]
    np.testing.assert_allclose(features["race"] @ kernel + bias, logits, rtol=1e-4, atol=1e-5)


def test_widths_and_layers_of_the_heads_are_those_of_the_older_systems():
    bottleneck = multitask.build(6, [GENDER], head="bottleneck", dropout=0.5).model
    kinds = [type(layer).__name__ for layer in bottleneck.layers[1:]]
    assert kinds == ["BatchNormalization", "Dense", "Dropout", "Dense"]
    assert bottleneck.get_layer("gender__narrow").units == 16
    assert bottleneck.get_layer("gender__narrow").activation is keras.activations.tanh
    stitch = multitask.build(6, [GENDER, RACE], head="stitch").model
    assert stitch.get_layer("shared__wide").units == 1024
    assert stitch.get_layer("race__own").units == 128


def test_a_cross_stitch_starts_as_the_identity_and_then_mixes():
    layer = CrossStitch()
    a, b = faces(4, 5, 1), faces(4, 5, 2)
    kept = [keras.ops.convert_to_numpy(y) for y in layer([a, b])]
    np.testing.assert_array_equal(kept[0], a)
    np.testing.assert_array_equal(kept[1], b)
    layer.set_weights([np.array([[0.75, 0.25], [-1.0, 2.0]], np.float32)])
    mixed = [keras.ops.convert_to_numpy(y) for y in layer([a, b])]
    np.testing.assert_allclose(mixed[0], 0.75 * a + 0.25 * b, rtol=1e-5)
    np.testing.assert_allclose(mixed[1], -a + 2 * b, rtol=1e-5, atol=1e-5)


def test_a_cross_stitch_refuses_tasks_of_different_width():
    with pytest.raises(ValueError, match=r"received widths \[4, 5\]"):
        CrossStitch()([faces(2, 4), faces(2, 5)])


def test_groups_cover_every_weight_once():
    trunk = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    net = multitask.build(trunk, [GENDER, RACE], head="stitch", hidden=(7,), stitch_widths=(8, 4))
    groups = net.layers_by_group()
    assert list(groups) == ["trunk", "shared", "gender", "race"]
    listed = [id(w) for layers in groups.values() for layer in layers for w in layer.weights]
    assert sorted(listed) == sorted(id(w) for w in net.model.weights)
    assert [layer.units for layer in groups["trunk"]] == [5]


def test_heads_stand_on_any_network_that_keras_has():
    trunk = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3)])
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    for pool, width in [("average", 4), ("flatten", 14 * 14 * 4)]:
        net = multitask.build(trunk, [GENDER, YAW], pool=pool, batch_norm=False)
        assert multitask.forward(net.features, pictures)["gender"].shape == (3, width)
        assert multitask.predict(net, pictures)["yaw"].shape == (3,)


def test_standardisation_is_part_of_the_net_so_inference_has_it(tmp_path):
    """The UTKFace multi-task system of 2018 standardised while it trained and not while it predicted."""
    x = faces(50)
    x[:, 2] = 7.0
    mean, deviation = multitask.standardiser(x, rows=np.arange(40))
    np.testing.assert_allclose(mean, x[:40].mean(axis=0), rtol=1e-5)
    net = multitask.build(6, [GENDER], standardise=(mean, deviation), batch_norm=False)
    seen = multitask.forward(net.features, x[:40])["gender"]
    np.testing.assert_allclose(seen.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(np.delete(seen.std(axis=0), 2), 1.0, rtol=1e-4)
    far = x[:1].copy()
    far[0, 2] = 8.0
    assert abs(multitask.forward(net.features, far)["gender"][0, 2]) <= 1.0, (
        "a constant column must not explode"
    )

    multitask.serving_model(net).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0)["gender"], multitask.predict(net, x)["gender"], rtol=1e-5
    )


def test_a_saved_net_says_probabilities_and_units(tmp_path):
    net = multitask.build(6, [RACE, YAW], head="stitch", stitch_widths=(8, 4))
    net.model.get_layer("shared__stitch").set_weights([np.array([[1, 0.5], [0.2, 1]], np.float32)])
    multitask.serving_model(net).save(tmp_path / "model.keras")
    predicted = keras.models.load_model(tmp_path / "model.keras").predict(faces(), verbose=0)
    expected = multitask.predict(net, faces())
    np.testing.assert_allclose(predicted["race"], expected["race"], rtol=1e-4)
    np.testing.assert_allclose(predicted["yaw"][:, 0], expected["yaw"], rtol=1e-4)


def test_dropout_drops_its_share_while_training_and_nothing_after():
    net = multitask.build(6, [GENDER], head="bottleneck", dropout=0.5)
    wide = np.repeat(faces(1), 400, axis=0)
    trained = keras.ops.convert_to_numpy(net.features(wide, training=True)["gender"])
    assert 0.4 < (trained == 0).mean() < 0.6
    assert (multitask.forward(net.features, wide)["gender"] != 0).all()
    none = multitask.build(6, [GENDER], head="bottleneck", dropout=0.0)
    assert "gender__dropout" not in [layer.name for layer in none.model.layers]


def test_the_same_seed_gives_the_same_net():
    one, two, other = (multitask.build(6, [GENDER, RACE], head="bottleneck", seed=s) for s in (3, 3, 4))
    for a, b in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [n.model.get_layer("race__logits").get_weights()[0] for n in (one, other)]
    assert not np.allclose(*kernels)


def test_a_number_s_scale_comes_from_the_training_rows_alone():
    target = tasks.labels_of_numbers([1.0, 3.0, 1000.0, np.nan], name="yaw")
    task = multitask.make_head(target, rows=np.array([0, 1, 3]))
    assert (task.mean, task.scale, task.is_number) == (2.0, 1.0, True)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: multitask.build(6, [GENDER], head="deep"), "head='deep'; allowed are"),
        (lambda: multitask.build(6, [GENDER], pool="max"), "pool='max'; allowed are"),
        (lambda: multitask.build(6, []), "give at least one"),
        (lambda: multitask.build(6, [GENDER, GENDER]), "each name once"),
        (lambda: Head(Task("shared", "number")), "task name 'shared'"),
        (lambda: Head(Task("a__b", "number")), "task name 'a__b'"),
        (lambda: Head(Task("gender", classes=("male",))), "has one class, 'male'"),
        (lambda: Head(Task("yaw", "number"), scale=0.0), "scale 0.0; it must be above 0"),
        (
            lambda: multitask.make_head(
                tasks.labels_of_numbers([1.0, 2.0, np.nan], name="yaw"), rows=np.array([2])
            ),
            "0 known training values",
        ),
        (lambda: multitask.build(6, [GENDER]).head("race"), "no task 'race'; this net has"),
    ],
)
def test_wrong_nets_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# ------------------------------------------------------------------ residual perceptron


def slow_residual(x, weights, *, first):
    """One residual block by hand, in inference mode; `weights` maps layer names to arrays."""

    def norm(y, name):
        gamma, beta, mean, variance = weights[name]
        return gamma * (y - mean) / np.sqrt(variance + 1e-3) + beta

    def dense(y, name):
        kernel, bias = weights[name]
        return y @ kernel + bias

    y = x if first else norm(x, "in_norm")
    y = np.maximum(dense(y, "dense1"), 0)
    return np.maximum(dense(norm(y, "mid_norm"), "dense2") + x, 0)


def test_a_residual_perceptron_is_what_its_definition_says():
    recipe = residual_mlp.Recipe(2, 2, batch_size=8, learning_rate=0.1, weight_decay=0.0, gamma=1.0)
    task = Task("letter", classes=("a", "b", "c"))
    model = residual_mlp.build(task, recipe, mean=np.zeros(8), variance=np.ones(8), seed=1)
    rng = np.random.default_rng(0)
    for layer in model.layers[2:]:
        layer.set_weights([rng.uniform(0.1, 0.5, w.shape).astype(np.float32) for w in layer.get_weights()])
    x = faces(5, 8)
    y = x
    for group in (1, 2):
        for block in (1, 2):
            prefix = f"group{group}_block{block}_"
            weights = {
                layer.name.removeprefix(prefix): layer.get_weights()
                for layer in model.layers
                if layer.name.startswith(prefix)
            }
            y = slow_residual(y, weights, first=(group, block) == (1, 1))
        kernel, bias = model.get_layer(f"group{group}_halve").get_weights()
        y = y @ kernel + bias
        assert y.shape[1] == 8 // 2**group
    kernel, bias = model.get_layer("output").get_weights()
    expected = softmax(y @ kernel + bias, axis=1)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-3, atol=1e-6)


def test_the_very_first_norm_and_dropout_are_skipped():
    names = [layer.name for layer in residual_mlp.trunk(8, residuals=2, groups=1).layers]
    assert "group1_block1_in_norm" not in names and "group1_block2_in_norm" in names
    assert "group1_block1_mid_dropout" in names


def test_shortcuts_and_ic_layers_can_be_left_out():
    recipe = residual_mlp.Recipe(2, 2, batch_size=8, learning_rate=0.1, weight_decay=0.0, gamma=1.0)
    task = tasks.Task("colour", tasks.CLASSES, ("a", "b", "c"))
    given = {"mean": np.zeros(8), "variance": np.ones(8), "seed": 1}
    kinds = {"Add": {"shortcuts": False}, "BatchNormalization": {"ic_layers": False}}
    kinds["Dropout"] = kinds["BatchNormalization"]
    whole = [type(layer).__name__ for layer in residual_mlp.build(task, recipe, **given).layers]
    for kind, change in kinds.items():
        left = residual_mlp.build(task, dataclasses.replace(recipe, **change), **given)
        names = [type(layer).__name__ for layer in left.layers]
        assert kind in whole and kind not in names
        assert whole.count("Dense") == names.count("Dense") == 2 * 2 * 2 + 2 + 1


@pytest.mark.parametrize(
    "wrong", [{"residuals": 6}, {"groups": -1}, {"gamma": 0.0}, {"learning_rate": 0.0}, {"dropout": 1.0}]
)
def test_recipes_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*allowed"):
        dataclasses.replace(residual_mlp.BEST["gender"], **wrong)


@pytest.mark.parametrize("target", residual_mlp.BEST)
def test_the_best_recipes_build_and_carry_heads(target):
    recipe = residual_mlp.BEST[target]
    trunk = residual_mlp.trunk(64, residuals=recipe.residuals, groups=recipe.groups)
    assert trunk.output.shape == (None, 64 // 2**recipe.groups)
    net = multitask.build(trunk, [GENDER, RACE], batch_norm=False)
    assert multitask.predict(net, faces(3, 64))["race"].shape == (3, 3)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"residuals": 1, "groups": 4}, "below 1; use fewer groups"),
        ({"residuals": -1, "groups": 1}, "0 or more"),
    ],
)
def test_wrong_shapes_of_a_residual_perceptron_are_refused(sizes, text):
    with pytest.raises(ValueError, match=text):
        residual_mlp.trunk(8, **sizes)


def test_standardiser_reads_a_mapped_matrix_in_parts(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", (rng.standard_normal((97, 5)) * [1, 2, 3, 4, 0] + 100).astype(np.float32))
    matrix, rows = np.load(tmp_path / "x.npy", mmap_mode="r"), rng.permutation(97)[:90]
    monkeypatch.setattr(multitask, "MOMENT_ROWS", 13)
    mean, deviation = multitask.standardiser(matrix, rows=rows)
    np.testing.assert_allclose(mean, np.asarray(matrix)[rows].astype(float).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        deviation, np.asarray(matrix)[rows].astype(float).std(axis=0), rtol=1e-5, atol=1e-9
    )

"""Engines: the same descriptors as Keras, the check that guards it, and what is kept between runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from faceworkbook import backbones, images
from faceworkbook.descriptors import engines
from faceworkbook.descriptors.engines import onnx_engine, onnx_graph, own_kernels, prepare
from faceworkbook.descriptors.engines.compiled.graphs import UnsuitedGraph
from faceworkbook.descriptors.engines.winograd import leading
from tests.support import vgg_files
from tests.support.networks import compute

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

onnx = pytest.importorskip("onnx", reason="the extra [fast] is not installed")
TOY = {"widths": (4, 5, 6, 7, 9), "depths": (2, 2, 3, 3, 3), "side": 2, "hidden": 11, "classes": 13}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A narrow VGG-Face."""
    path = tmp_path_factory.mktemp("toy") / "vgg_face.mat"
    vgg_files.write_mat(path, vgg_files.random_parameters(np.random.default_rng(3), **TOY))
    return backbones.load("vgg_face", weights=path)


def noise(backbone, n=3):
    shape = (n, *backbone.preprocessing.size, 3)
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def reference(backbone, pixels):
    """Plain Keras on plainly preprocessed input: what every engine must give."""
    return compute(backbone.model, images.network_input(pixels, backbone.preprocessing))


def converted(backbone, folder, engine):
    onnx_graph.write(backbone.model, folder)
    return prepare.make(engine, folder, backbone.preprocessing, threads=1)


@pytest.mark.parametrize("engine", ["keras", "winograd", "onnx"])
@pytest.mark.parametrize("tap", ["pool5", "fc7", "fc8", "prob"])
def test_each_engine_gives_the_descriptors_of_keras(toy, tmp_path, engine, tap):
    net, pixels = toy.at(tap), noise(toy)
    runner = engines.choose(net, engine="keras") if engine == "keras" else converted(net, tmp_path, engine)
    result = runner.run(pixels)
    assert result.shape == (3, net.dim) and result.dtype == np.float32
    assert engines.agrees(engines.compare(result, reference(net, pixels)))


@pytest.mark.parametrize("engine", ["keras", "winograd", "onnx"])
@pytest.mark.parametrize("taps", [("fc7", "fc6"), ("pool5", "fc7", "fc8")])
def test_several_taps_of_one_pass_are_those_of_a_pass_each(toy, tmp_path, engine, taps):
    net, pixels = toy.together(taps), noise(toy)
    runner = engines.choose(net, engine="keras") if engine == "keras" else converted(net, tmp_path, engine)
    expected = np.concatenate([reference(toy.at(tap), pixels) for tap in taps], axis=1)
    result = runner.run(pixels)
    assert result.shape == (3, net.dim) and net.dims == tuple(toy.at(tap).dim for tap in taps)
    assert engines.agrees(engines.compare(result, expected, dims=net.dims))


def test_each_tap_is_compared_by_itself():
    """A tap of small numbers may not hide behind one of large numbers."""
    rng = np.random.default_rng(0)
    large, small = 1e6 * rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    reference, wrong = np.hstack([large, small]), np.hstack([large, small[:, ::-1]])
    assert engines.agrees(engines.compare(wrong, reference))
    assert not engines.agrees(engines.compare(wrong, reference, dims=(5, 3)))
    assert engines.agrees(engines.compare(reference, reference, dims=(5, 3)))


@pytest.mark.parametrize("engine", ["keras", "winograd", "onnx"])
def test_every_engine_averages_both_sides_of_a_face(toy, verdict, monkeypatch, tmp_path, engine):
    made = engines.choose(toy, engine="keras") if engine == "keras" else converted(toy, tmp_path, engine)
    verdict(**{engine: GOOD})
    monkeypatch.setattr(prepare, "make", lambda *args, **options: made)
    monkeypatch.setattr(engines, "_keras", lambda *args: made)
    pixels = noise(toy)
    straight, turned = reference(toy, pixels), reference(toy, pixels[:, :, ::-1])
    for mirror, expected in (("mean", (straight + turned) / 2), ("only", turned)):
        net = toy.mirrored(mirror)
        runner = engines.choose(net, engine=engine)
        assert engines.agrees(engines.compare(runner.run(pixels), expected))
        assert engines.agrees(engines.compare(reference(net, pixels), expected))
        assert runner.settings["mirror"] == mirror and "mirror" not in made.settings
    assert not engines.agrees(engines.compare(turned, straight))


@pytest.mark.parametrize("engine", ["winograd", "onnx"])
def test_a_batch_of_another_size_gives_the_same_rows(toy, tmp_path, engine):
    pixels, runner = noise(toy, 9), converted(toy, tmp_path, engine)
    whole = runner.run(pixels)
    pieces = np.concatenate([runner.run(pixels[:1]), runner.run(pixels[1:4]), runner.run(pixels[4:])])
    np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("tap", ["conv_pw_5_relu", "global_pooling", "gender_pred", "age_pred"])
def test_the_embedded_default_in_every_engine_on_real_faces(tmp_path, shared_data, tap):
    net = backbones.load("faceres_deep", tap=tap)
    files = sorted(shared_data("utkface/UTKFace").glob("*.jpg"))[::1500][:5]
    pixels = np.stack([images.face_pixels(file.read_bytes(), net.preprocessing) for file in files])
    expected = reference(net, pixels)
    result = converted(net, tmp_path, "onnx").run(pixels)
    assert engines.agrees(engines.compare(result, expected))


def every_layer():
    """A network that has each layer with a translation, most of them with odd sizes and strides."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input((31, 29, 3))
    x = layers.ZeroPadding2D(((1, 2), (0, 3)))(x)
    x = layers.Conv2D(8, (3, 2), strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(scale=False)(x)
    a = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(x)
    a = layers.Activation("relu6")(a)
    b = layers.SeparableConv2D(16, 3, padding="same", activation="silu")(x)
    x = layers.Add()([a, b])
    x = layers.Concatenate()([x, layers.Multiply()([a, b])])
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    x = layers.Conv2D(6, 3, groups=2, dilation_rate=2, activation="sigmoid")(x)
    x = layers.MaxPooling2D(2)(x)
    both = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.Concatenate()([layers.Flatten()(x), *both])
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(7, activation="softmax")(layers.Dense(9, "tanh")(x)))


def test_every_translated_layer(tmp_path):
    model = every_layer()
    rng = np.random.default_rng(2)
    for variable in model.weights:  # fresh batch-norm statistics would hide a mix-up
        variable.assign(rng.uniform(0.2, 0.6, variable.shape))
    onnx_graph.write(model, tmp_path)
    record = images.Preprocessing((31, 29), "RGB", (120.0, 110.0, 100.0), 1 / 128)
    pixels = rng.integers(0, 256, (2, 31, 29, 3), np.uint8)
    result = prepare.make("onnx", tmp_path, record, threads=1).run(pixels)
    expected = compute(model, images.network_input(pixels, record))
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-5)


def convolutions(height, width, *, pools):
    """3 x 3 convolutions on a picture of any size, with pooling after those named, then a dense layer."""
    import keras

    x = inputs = keras.Input((height, width, 3))
    for i, filters in enumerate((6, 5, 7, 130)):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(2)(x) if i in pools else x
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("height, width", [(4, 4), (8, 9), (13, 6), (31, 22), (70, 61)])
@pytest.mark.parametrize("pools", [(), (1,), (1, 3)])
def test_winograd_at_every_edge(tmp_path, height, width, pools):
    """Sizes that tiles of 4 do not divide, odd sizes before pooling, and more faces than go together."""
    model = convolutions(height, width, pools=pools)
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(rng.uniform(-0.3, 0.4, variable.shape))
    onnx_graph.write(model, tmp_path)
    record = images.Preprocessing((height, width), "BGR", (120.0, 110.0, 100.0), 1 / 128)
    pixels = rng.integers(0, 256, (11, height, width, 3), np.uint8)
    result = prepare.make("winograd", tmp_path, record, threads=1).run(pixels)
    expected = compute(model, images.network_input(pixels, record))
    assert engines.compare(result, expected)["relative_error"] < 1e-5


def test_winograd_refuses_networks_that_it_is_not_made_for(tmp_path):
    onnx_graph.write(every_layer(), tmp_path)
    with pytest.raises(UnsuitedGraph, match="begins with 0 3 x 3 convolutions"):
        own_kernels.check_graph("winograd", tmp_path / "model.onnx")


def test_a_branch_ends_what_winograd_takes(tmp_path):
    import keras

    inputs = keras.Input((12, 12, 3))
    conv = lambda x: keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)  # noqa: E731
    first = conv(inputs)
    second = conv(first)
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Add()([conv(second), second])))
    onnx_graph.write(model, tmp_path)
    layers, _ = leading.split_graph(tmp_path / "model.onnx")
    assert len(layers) == 2
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)
    record = images.Preprocessing((12, 12), "RGB", (0.0, 0.0, 0.0), 1 / 255)
    result = prepare.make("winograd", tmp_path, record, threads=2).run(pixels)
    expected = compute(model, images.network_input(pixels, record))
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_a_layer_without_translation_is_named(tmp_path):
    import keras

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.UpSampling2D(name="larger")(inputs)))
    with pytest.raises(onnx_graph.UnsupportedLayer, match=r"larger.*UpSampling2D"):
        onnx_graph.write(model, tmp_path)


@pytest.mark.parametrize(
    "channels, scale",
    [
        *(("RGB", 1.0), ("BGR", 1.0), ("BGR", 1 / 128), ("GRAY", 1 / 255)),
        *(("RGB", (0.1, 0.2, 0.3)), ("RGB", None)),
    ],
)
def test_fused_preprocessing_equals_the_plain_one(channels, scale):
    mean = (10.0,) if channels == "GRAY" else (10.0, 20.0, 30.0)
    mean, prewhiten = ((0.0,) * 3, True) if scale is None else (mean, False)
    record = images.Preprocessing((5, 4), channels, mean, scale or 1.0, prewhiten=prewhiten)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    expected = images.network_input(pixels, record).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(onnx_engine.planes(pixels, record), expected, atol=1e-4)


@pytest.mark.parametrize(
    "channels, options",
    [
        ("GRAY", {"mean": (10.0,), "scale": 1 / 255}),
        ("BGR", {"mean": (10.0, 20.0, 30.0), "scale": (0.1, 0.2, 0.3)}),
        ("RGB", {"mean": (0.0,) * 3, "prewhiten": True}),
    ],
)
def test_preprocessing_in_the_keras_engine(channels, options):
    import keras

    from faceworkbook.descriptors.engines.keras_engine import _compiled

    record = images.Preprocessing((5, 4), channels, **options)
    flat = keras.Sequential([keras.Input((5, 4, 1 if channels == "GRAY" else 3)), keras.layers.Flatten()])

    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    pixels[2] = 77
    expected = images.network_input(pixels, record).reshape(3, -1)
    np.testing.assert_allclose(_compiled(flat, record, xla=False)(pixels).numpy(), expected, atol=1e-5)


def test_comparison_reports_the_worst_face():
    expected = np.array([[3.0, 4.0], [1.0, 0.0]])
    descriptors = np.array([[3.0, 4.0], [1.0, 0.1]])
    difference = engines.compare(descriptors, expected)
    assert difference["relative_error"] == pytest.approx(0.1)
    assert difference["cosine"] == pytest.approx(1 / np.hypot(1, 0.1))
    assert not engines.agrees(difference)
    assert not engines.agrees(engines.compare(np.full((1, 2), np.nan), expected[:1]))


@pytest.fixture
def verdict(monkeypatch):
    """``verdict(winograd=..., onnx=...)`` makes a trial end like that, the others unsuited; no model is converted."""

    def plant(**given):
        verdicts = {**dict.fromkeys(("winograd", "separable"), UNSUITED), **given}
        monkeypatch.setattr(prepare, "prepared", lambda *args, **options: verdicts)
        monkeypatch.setattr(prepare, "make", lambda name, *args, **options: name)
        monkeypatch.setattr(engines, "_keras", lambda *args: "keras")
        monkeypatch.setattr(engines, "MIN_BYTES", 0)

    return plant


UNSUITED = {"unsuited": "begins with 0 convolutions"}
GOOD = {"cosine": 1.0, "relative_error": 1e-5}
WRONG = {"cosine": 0.99, "relative_error": 0.1}


def test_an_engine_that_disagrees_is_not_used(toy, verdict):
    verdict(winograd=WRONG, onnx=GOOD)
    with pytest.warns(engines.EngineWarning, match=r"winograd.*cosine 0.990000"):
        assert engines.choose(toy) == "onnx"


def test_auto_takes_own_kernels_where_they_suit(toy, verdict, recwarn):
    verdict(winograd=GOOD)
    assert engines.choose(toy) == "winograd"
    verdict(separable=GOOD)
    assert engines.choose(toy) == "separable"
    verdict(onnx=GOOD)
    assert engines.choose(toy) == "onnx"
    assert not [w for w in recwarn if w.category is engines.EngineWarning]


def test_where_all_disagree_or_fail_keras_runs(toy, verdict):
    verdict(winograd=WRONG, onnx={"error": "no such instruction"})
    with pytest.warns(engines.EngineWarning, match="no such instruction"):
        assert engines.choose(toy) == "keras"
    verdict(winograd=UNSUITED)
    with pytest.warns(engines.EngineWarning, match="begins with 0 convolutions"):
        assert engines.choose(toy, engine="winograd") == "keras"


def test_a_network_that_cannot_be_converted_runs_in_keras(toy, monkeypatch):
    def fail(*args, **options):
        raise prepare.PreparationError("layer larger is an UpSampling2D")

    monkeypatch.setattr(prepare, "prepared", fail)
    monkeypatch.setattr(engines, "MIN_BYTES", 0)
    with pytest.warns(engines.EngineWarning, match="UpSampling2D"):
        assert engines.choose(toy).name == "keras"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (
            "print('OSError: libllvmlite.so: failed to map segment from shared object', file=sys.stderr); sys.exit(1)",
            "segment",
        ),
        ("os.kill(os.getpid(), 9)", "try was killed; often"),
    ],
)
def test_too_little_memory_is_named_and_no_verdict(toy, export_here, tmp_path, end, reason):
    real, ends = subprocess.run, [sys.executable, "-c", f"import os, sys; {end}"]
    made_for = {"precision": "float32"}
    with pytest.MonkeyPatch.context() as fault:
        fault.setattr(prepare.subprocess, "run", lambda command, **options: real(ends, **options))
        with pytest.raises(
            prepare.PreparationError, match=f"{reason}.*the memory is used up: end other programs"
        ):
            prepare.prepared(toy, noise(toy), tmp_path / "models", engines=("onnx",), made_for=made_for)
    assert not (tmp_path / "models").exists()
    verdict = prepare.prepared(toy, noise(toy), tmp_path / "models", engines=("onnx",), made_for=made_for)
    assert verdict["onnx"]["cosine"] > 0.999


def test_a_toy_is_not_worth_converting(toy, monkeypatch):
    monkeypatch.setattr(prepare, "prepared", lambda *args, **options: pytest.fail("was converted"))
    assert engines.choose(toy).name == "keras"


def test_unknown_options_are_answered_with_what_is_allowed(toy):
    with pytest.raises(ValueError, match="auto, winograd, separable, onnx, keras, gpu, tensorrt"):
        engines.choose(toy, engine="torch")
    with pytest.raises(ValueError, match="float32, tf32, float16, bfloat16, int8"):
        engines.choose(toy, precision="float64")
    with pytest.raises(ValueError, match="calibrated on real faces"):
        engines.choose(toy, precision="int8")
    with pytest.raises(ValueError, match="has no int8"):
        engines.choose(toy, engine="winograd", precision="int8", check_pixels=noise(toy))


def test_a_missing_package_is_named(toy, monkeypatch):
    monkeypatch.setitem(engines.PACKAGES, "winograd", ("no_such_package",))
    with pytest.raises(ValueError, match=r"no_such_package.*faceworkbook\[fast\]"):
        engines.choose(toy, engine="winograd")


def test_the_first_run_converts_and_checks_and_the_next_one_does_not_even_import_tensorflow(
    toy, folder_of_namesakes
):
    pixels = noise(toy, 4)
    first = engines.choose(toy, engine="onnx", check_pixels=pixels)
    assert first.name == "onnx"
    (path,) = toy.cache.glob("*/verdict.json")
    verdict = json.loads(path.read_text())
    assert verdict["onnx"]["cosine"] > 0.9999
    assert not list(toy.cache.glob("*.part"))
    code = (
        "import sys; from faceworkbook import backbones; from faceworkbook.descriptors import engines; "
        f"net = backbones.load('vgg_face', weights={str(toy.weights)!r}); "
        "assert engines.choose(net, engine='onnx').name == 'onnx'; "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=120)


def test_what_is_converted_is_read_where_nothing_may_be_written(toy, monkeypatch):
    engines.choose(toy, engine="onnx", check_pixels=noise(toy, 4))

    def refuse(*arguments):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(prepare.files, "hold", refuse)
    monkeypatch.setattr(engines, "_writable", refuse)
    assert engines.choose(toy, engine="onnx").name == "onnx"


def test_a_verdict_that_is_damaged_foreign_or_of_another_processor_is_reached_anew(
    toy, monkeypatch, tmp_path
):
    prepared, net = [], dataclasses.replace(toy, cache=tmp_path)

    def count(backbone, pixels, folder, *rest):
        prepared.append(folder)
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(b"whole")
        record = {"format": prepare.FORMAT, "made_for": rest[-1], "models": {"model.onnx": 5}, "onnx": GOOD}
        (folder / "verdict.json").write_text(json.dumps(record))

    monkeypatch.setattr(prepare, "_prepare", count)
    monkeypatch.setattr(prepare, "make", lambda name, *rest, **options: name)

    def choose() -> int:
        assert engines.choose(net, engine="onnx") == "onnx"
        return len(prepared)

    assert choose() == choose() == 1
    path = prepared[0] / "verdict.json"
    whole = json.loads(path.read_text())
    foreign = whole | {"made_for": whole["made_for"] | {"weights_sha256": "0" * 64}}
    for damaged in (json.dumps(whole)[:-9], "[]", json.dumps(foreign), json.dumps({**whole, "models": [1]})):
        path.write_text(damaged)
        before = len(prepared)
        assert choose() == before + 1 == choose()
    (prepared[0] / "model.onnx").write_bytes(b"cut")
    assert choose() == 6
    monkeypatch.setattr(engines, "describe_processor", lambda: "another")
    assert choose() == choose() == 7 and prepared[-1] != prepared[0]


def test_int8_records_what_it_costs(tmp_path, shared_data):
    net = backbones.load("faceres_deep")
    files = sorted(shared_data("utkface/UTKFace").glob("*.jpg"))[::500][:16]
    pixels = np.stack([images.face_pixels(file.read_bytes(), net.preprocessing) for file in files])
    onnx_graph.write(net.model, tmp_path)
    onnx_engine.quantise(tmp_path / "model.onnx", tmp_path / "int8.onnx", pixels, net.preprocessing)
    runner = onnx_engine.OnnxEngine(tmp_path / "int8.onnx", net.preprocessing, precision="int8")
    difference = engines.compare(runner.run(pixels), reference(net, pixels))
    assert 0.5 < difference["cosine"] < 0.99999
    assert runner.settings["precision"] == "int8"

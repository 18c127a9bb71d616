"""A network of one's own: registered or a plain object, extracted and known by its weights."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from faceworkbook import backbones, datasets, descriptors, images
from faceworkbook.descriptors import engines
from tests.conftest import REPO
from tests.support.networks import compute

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

SYNTHETIC = REPO / "data/synthetic"
PREPROCESSING = images.Preprocessing((24, 20), "RGB", (127.5,) * 3, 1 / 127.5)


def make_model(seed=0, *, activation="relu", channels=3):
    import keras

    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((24, 20, channels))
    x = keras.layers.Conv2D(5, 3, activation=activation, name="maps")(x)
    x = keras.layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(7, name="head")(x))


@pytest.fixture
def faces():
    return datasets.load("synthetic", SYNTHETIC).faces.head(3)


@pytest.fixture
def registered(monkeypatch):
    """A toy Keras model in the registry, as a notebook's cell would add it."""
    monkeypatch.setattr(backbones, "_registry", dict(backbones._registry))

    def open_mine(weights, tap):
        return backbones.from_keras(make_model(), name="mine", preprocessing=PREPROCESSING, tap=tap)

    backbones.register("mine", open_mine)


def input_of(faces):
    data = [(SYNTHETIC / image).read_bytes() for image in faces["image"]]
    boxes = faces[["top", "left", "bottom", "right"]].astype(float).to_numpy()
    pixels = [images.face_pixels(d, PREPROCESSING, box=box) for d, box in zip(data, boxes, strict=True)]
    return images.network_input(np.stack(pixels), PREPROCESSING)


def test_a_registered_model_is_loaded_by_name_and_extracted(registered, faces, tmp_path):
    assert "mine" in backbones.list()
    net = backbones.load("mine")
    extracted = descriptors.extract(faces, net, root=SYNTHETIC, store=tmp_path, progress=False)
    expected = compute(make_model(), input_of(faces))
    np.testing.assert_allclose(extracted.matrix, expected, atol=1e-4)


def test_a_sequential_model_from_a_file_is_one_too(tmp_path):
    import keras

    layers = [keras.Input((24, 20, 3)), keras.layers.Conv2D(5, 3), keras.layers.GlobalMaxPooling2D()]
    keras.Sequential(layers).save(tmp_path / "mine.keras")
    model = keras.saving.load_model(tmp_path / "mine.keras")
    net = backbones.from_keras(model, name="mine", preprocessing=PREPROCESSING)
    assert net.model(np.zeros((2, 24, 20, 3), np.float32)).shape == (2, 5)


def test_a_plain_object_does_too_at_any_of_its_layers(faces, tmp_path):
    import keras

    model = make_model()
    net = backbones.from_keras(model, name="mine", preprocessing=PREPROCESSING, tap="maps")
    extracted = descriptors.extract(faces, net, root=SYNTHETIC, store=tmp_path, progress=False)
    maps = keras.Model(model.input, model.get_layer("maps").output)(input_of(faces))
    np.testing.assert_allclose(extracted.matrix, np.mean(maps, axis=(1, 2)), atol=1e-4)
    assert net.dim == 5 and {"maps", "head"} <= set(net.taps)


@pytest.mark.parametrize("engine", ["onnx", "winograd"])
def test_a_fast_engine_takes_a_model_in_memory(engine, tmp_path, recwarn):
    pytest.importorskip("onnx", reason="the extra [fast] is not installed")
    import keras

    inputs = keras.Input((24, 20, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    net = backbones.from_keras(model, name="mine", preprocessing=PREPROCESSING)
    runner = engines.choose(dataclasses.replace(net, cache=tmp_path), engine=engine)
    assert runner.name == engine
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 20, 3), np.uint8)
    expected = compute(model, images.network_input(pixels, PREPROCESSING))
    assert engines.agrees(engines.compare(runner.run(pixels), expected))


def fingerprint(model):
    return backbones.from_keras(model, name="mine", preprocessing=PREPROCESSING).fingerprint


def test_the_fingerprint_follows_the_content():
    assert fingerprint(make_model()) == fingerprint(make_model())  # whatever Keras names the layers
    assert fingerprint(make_model()) != fingerprint(make_model(seed=1))
    assert fingerprint(make_model()) != fingerprint(make_model(activation="tanh"))


def test_other_weights_under_the_same_name_are_computed_anew(faces, tmp_path):
    first, second = (
        descriptors.extract(
            faces,
            backbones.from_keras(make_model(seed), name="mine", preprocessing=PREPROCESSING),
            root=SYNTHETIC,
            store=tmp_path,
            progress=False,
        ).matrix.copy()
        for seed in (0, 1)
    )
    assert np.abs(first - second).max() > 0.01


def test_it_is_pickled_for_other_processes():
    net = backbones.from_keras(make_model(), name="mine", preprocessing=PREPROCESSING)
    x = np.random.default_rng(0).normal(size=(2, 24, 20, 3)).astype(np.float32)
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_allclose(copy.model(x), net.model(x), atol=1e-5)


def test_a_model_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"expected one of shape \(n, 24, 20, 3\)"):
        backbones.from_keras(make_model(channels=1), name="mine", preprocessing=PREPROCESSING)
    with pytest.raises(ValueError, match=r"tap='fc9'; mine has maps, .*head"):
        backbones.from_keras(make_model(), name="mine", preprocessing=PREPROCESSING, tap="fc9")


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(
        ValueError, match=r"'resnet' is unknown; expected one of vgg_face, .*backbones.register"
    ):
        backbones.load("resnet")


def test_fresh_weights_give_no_descriptors(faces, tmp_path):
    """Their next run would draw others, and the store could not distinguish them."""
    with pytest.raises(ValueError, match="mini_xception has fresh, random weights"):
        descriptors.extract(
            faces, backbones.load("mini_xception"), root=SYNTHETIC, store=tmp_path, progress=False
        )


def test_a_misspelt_network_or_tap_is_an_error_of_the_workbook():
    with pytest.raises(backbones.BackboneError, match="Did you mean faceres_deep"):
        backbones.load("faceres_dep")
    with pytest.raises(backbones.BackboneError, match="tap='fc7'; faceres_deep has"):
        backbones.load("faceres_deep", tap="fc7")


@pytest.mark.parametrize("name", ["vgg_face", "faceres_deep", "mine"])
@pytest.mark.parametrize("suffix", [".mat", ".t7", ".h5", ".onnx", ".keras"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html>login</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git lfs pull"),
        (b"\0" * 99, "zero bytes"),
        (b"", "is empty"),
    ],
)
def test_a_weights_file_that_is_another_file_is_named(tmp_path, name, suffix, content, kind):
    if name == "mine" and suffix in (".mat", ".t7"):
        pytest.skip("no file of one's own")
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content)
    with pytest.raises(backbones.WeightsError, match=f"mine{suffix}.*{kind}"):
        backbones.load(name, weights=path)

"""Trainable networks against their papers' figures and formulas, and weights read from files."""

from __future__ import annotations

import numpy as np
import pytest

from faceworkbook import backbones, images
from faceworkbook.backbones import mini_xception, ssr_net, trainable
from faceworkbook.backbones.base import WeightsError

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


@pytest.fixture(scope="module")
def mini():
    return mini_xception.build()


@pytest.fixture(scope="module")
def ssr():
    import keras

    keras.utils.set_random_seed(4)
    return ssr_net.build()


def test_all_stand_in_the_registry_and_need_no_file():
    assert set(trainable.ARCHITECTURES) <= set(backbones.list())
    for name in trainable.ARCHITECTURES:
        described = backbones.load(name)
        assert described.fingerprint == "untrained"
        assert "fresh weights" in described.source


def test_mini_xception_has_as_many_parameters_as_published(mini):
    # 58,423 with the paper's head for seven classes: a 3 x 3 convolution with biases.
    assert mini.count_params() + (3 * 3 * 128 + 1) * 7 == 58_423


def test_mini_xception_keeps_taps_and_shapes(mini):
    described = backbones.load("mini_xception", tap="module_2")
    assert described.model.output_shape == (None, 32)
    assert mini.output_shape == (None, 4, 4, 128)
    assert described.preprocessing.size == (64, 64)


def test_the_shortcut_equals_a_convolution_with_stride_two(mini):
    import keras

    x = np.random.default_rng(0).normal(size=(2, 60, 60, 8)).astype(np.float32)
    kernel = mini.get_layer("module_1_short").get_weights()
    expected = keras.layers.Conv2D(16, 1, strides=2, padding="same", use_bias=False)
    expected.build(x.shape)
    expected.set_weights(kernel)
    every_other = keras.layers.AveragePooling2D(1, strides=2, padding="same")(x)
    result = mini.get_layer("module_1_short")(every_other)
    np.testing.assert_allclose(result, expected(x), atol=1e-5)


def test_mini_xception_trains_without_damage_to_memory(mini):
    # A 1 x 1 convolution with stride 2 corrupts the heap in its gradient (TensorFlow 2.21, oneDNN).
    import keras

    head = keras.layers.GlobalAveragePooling2D()(mini.output)
    model = keras.Model(mini.input, keras.layers.Dense(3, activation="softmax")(head))
    model.compile("adam", "sparse_categorical_crossentropy")
    x = np.zeros((32, 64, 64, 1), np.float32)
    history = model.fit(x, np.arange(32) % 3, batch_size=16, epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_ssr_net_has_as_many_parameters_as_published(ssr):
    # 40,915 in the authors' Keras code for 64 x 64 and stages (3, 3, 3).
    assert ssr.count_params() == 40_915


def test_ssr_net_age_follows_the_papers_equations(ssr):
    import keras

    x = np.random.default_rng(1).uniform(0, 255, (6, 64, 64, 3)).astype(np.float32)
    names = [f"stage_{k}_{part}" for k in (1, 2, 3) for part in ("shares", "shifts", "delta")]
    parts = keras.Model(ssr.input, [ssr.get_layer(name).output for name in names])(x)
    parts = [np.asarray(part, np.float64) for part in parts]
    age, width = 0.0, 1.0
    for shares, shifts, delta in (parts[0:3], parts[3:6], parts[6:9]):
        width = width * 3 * (1 + delta[:, 0])
        age = age + sum(shares[:, i] * (i + shifts[:, i]) for i in range(3)) / width
    np.testing.assert_allclose(np.asarray(ssr(x))[:, 0], 101 * age, rtol=1e-4)


def test_ssr_net_reads_three_depths(ssr):
    # 64 x 64 shrinks to 31, 14 and 4; the two larger maps are averaged over 8 and 4.
    flat = [
        ssr.get_layer(f"stage_{k}_{stream}_flat").output.shape[1]
        for k in (1, 2, 3)
        for stream in ("relu", "tanh")
    ]
    assert flat == [4 * 4 * 10] * 2 + [3 * 3 * 10] * 4


@pytest.mark.parametrize("name, dim", [("mobilenet_v2", 1280), ("inception_v3", 2048)])
def test_keras_applications_have_their_own_preprocessing(name, dim):
    from keras.applications import imagenet_utils

    described = backbones.load(name)
    height, width = described.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    expected = imagenet_utils.preprocess_input(pixels.astype(np.float32), mode="tf")
    result = images.network_input(pixels, described.preprocessing)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert described.model.output_shape == (None, dim)
    assert described.model(result[:1]).shape == (1, dim)


def test_weights_come_from_a_file(mini, tmp_path):
    path = tmp_path / "mine.weights.h5"
    mini.save_weights(path)
    described = backbones.load("mini_xception", weights=path)
    assert described.fingerprint != "untrained"
    for a, b in zip(described.full.get_weights(), mini.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_whole_keras_models_are_read_too(mini, tmp_path):
    mini.save(tmp_path / "mine.keras")
    described = backbones.load("mini_xception", weights=tmp_path / "mine.keras")
    np.testing.assert_array_equal(described.full.get_weights()[0], mini.get_weights()[0])


def test_weights_files_of_keras_applications_style_are_read(mini, tmp_path):
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    path = tmp_path / "mine_no_top.h5"
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, mini)
    for a, b in zip(
        backbones.load("mini_xception", weights=path).full.get_weights(), mini.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_file_that_leaves_variables_unset_is_refused(mini, tmp_path, monkeypatch):
    path = tmp_path / "mine.weights.h5"
    mini.save_weights(path)
    monkeypatch.setattr(
        trainable,
        "_read",
        lambda model, weights: model.get_layer("conv_1").set_weights(mini.get_layer("conv_1").get_weights()),
    )
    with pytest.raises(WeightsError, match=r"sets 1 of \d+ variables of mini_xception; missing are"):
        _ = backbones.load("mini_xception", weights=path).full


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_network_are_refused(ssr, tmp_path):
    path = tmp_path / "other.weights.h5"
    ssr.save_weights(path)
    with pytest.raises(WeightsError, match=r"other.weights.h5: does not fit mini_xception"):
        _ = backbones.load("mini_xception", weights=path).full


def test_damaged_and_missing_files_are_named(tmp_path):
    path = tmp_path / "broken.weights.h5"
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"broken.weights.h5 is damaged or no file for this"):
        _ = backbones.load("mini_xception", weights=path).full
    with pytest.raises(WeightsError, match="does not exist"):
        backbones.load("mini_xception", weights=tmp_path / "none.weights.h5")

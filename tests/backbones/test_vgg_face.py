"""VGG-Face from files that the tests write, against a network computed by hand in NumPy."""

from __future__ import annotations

import dataclasses
import pickle

import cv2
import numpy as np
import pytest
import scipy.io
from numpy.lib.stride_tricks import sliding_window_view

from faceworkbook import backbones, images
from tests.support import vgg_files
from tests.support.networks import compute

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

# Widths that differ everywhere and a map of 2 x 2 before fc6, so that no mix-up of axes goes unseen.
TOY = {"widths": (4, 5, 6, 7, 9), "depths": (2, 2, 3, 3, 3), "side": 2, "hidden": 11, "classes": 13}
LAYOUTS = {
    "wrapped, weights": {"wrapped": True, "older": False},
    "wrapped, filters": {"wrapped": True, "older": True},
    "top level, weights": {"wrapped": False, "older": False},
    "top level, filters": {"wrapped": False, "older": True},
}


@pytest.fixture(scope="module")
def toy():
    return vgg_files.random_parameters(np.random.default_rng(7), **TOY)


@pytest.fixture
def mat(toy, tmp_path):
    path = tmp_path / "vgg_face.mat"
    vgg_files.write_mat(path, toy)
    return path


@pytest.fixture
def t7(toy, tmp_path):
    path = tmp_path / "VGG_FACE.t7"
    vgg_files.write_t7(path, toy)
    return path


def convolve(x, kernel, bias, pad):
    """Cross-correlation of (channels, height, width) with (out, in, height, width), by hand."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(x, kernel.shape[2:], axis=(1, 2))
    out = np.tensordot(kernel, windows, axes=((1, 2, 3), (0, 3, 4)))
    return out + bias[:, None, None]


def by_hand(parameters, x):
    """Taps of one input (channels, height, width), computed channels first as in the paper's Torch code."""
    taps = {}
    for name, kernel in parameters.kernels.items():
        if name.startswith("fc"):
            taps.setdefault("pool5", x.transpose(1, 2, 0).ravel() if x.ndim == 3 else x)
            x = kernel.reshape(len(kernel), -1) @ x.ravel() + parameters.biases[name]
            x = x if name == "fc8" else np.maximum(x, 0)
            taps[name] = x
            continue
        x = np.maximum(convolve(x, kernel, parameters.biases[name], 1), 0)
        block, layer = (int(digit) for digit in name[4:].split("_"))
        if f"conv{block}_{layer + 1}" not in parameters.kernels:
            channels, height, width = x.shape
            x = x.reshape(channels, height // 2, 2, width // 2, 2).max((2, 4))
    e = np.exp(x - x.max())
    taps["prob"] = e / e.sum()
    return taps


def relative(result, expected):
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


def test_the_hand_written_network_is_right_on_a_case_that_can_be_checked_by_eye():
    kernel = np.zeros((1, 1, 3, 3))
    kernel[0, 0, 0, 1] = 1  # looks one row up: the output is the input moved down
    out = convolve(np.arange(9.0).reshape(1, 3, 3), kernel, np.array([10.0]), 1)
    np.testing.assert_array_equal(out[0], [[10, 10, 10], [10, 11, 12], [13, 14, 15]])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tap_of_each_matlab_layout_equals_the_network_computed_by_hand(toy, tmp_path, layout):
    path = tmp_path / "vgg_face.mat"
    vgg_files.write_mat(path, toy, **LAYOUTS[layout])
    pixels = np.random.default_rng(1).normal(0, 60, (2, 64, 64, 3)).astype(np.float32)
    expected = [by_hand(toy, x.transpose(2, 0, 1)) for x in pixels]
    net = backbones.load("vgg_face", weights=path)
    for tap in net.taps:
        result = compute(net.at(tap).model, pixels)
        assert result.shape == (2, net.at(tap).dim)
        for n in range(2):
            assert relative(result[n], expected[n][tap]) < 1e-4, (layout, tap)


def test_the_torch_file_gives_the_same_network(toy, t7):
    pixels = np.random.default_rng(2).normal(0, 60, (1, 64, 64, 3)).astype(np.float32)
    expected = by_hand(toy, pixels[0].transpose(2, 0, 1))
    net = backbones.load("vgg_face", weights=t7)
    for tap in ("pool5", "fc6", "fc7", "fc8", "prob"):
        assert relative(compute(net.at(tap).model, pixels)[0], expected[tap]) < 1e-4, tap


def test_both_files_describe_the_same_face_although_one_wants_rgb_and_the_other_bgr(toy, tmp_path):
    """A Torch file whose first kernels are flipped along the input channels is the same network."""
    flipped = {**toy.kernels, "conv1_1": toy.kernels["conv1_1"][:, ::-1]}
    vgg_files.write_t7(tmp_path / "VGG_FACE.t7", dataclasses.replace(toy, kernels=flipped))
    vgg_files.write_mat(tmp_path / "vgg_face.mat", toy)
    face = np.random.default_rng(3).integers(0, 256, (1, 64, 64, 3), np.uint8)
    results = []
    for file in ("vgg_face.mat", "VGG_FACE.t7"):
        net = backbones.load("vgg_face", weights=tmp_path / file)
        results.append(compute(net.model, images.network_input(face, net.preprocessing)))
    assert relative(results[1], results[0]) < 1e-4


def test_preprocessing_of_the_matlab_file(mat):
    net = backbones.load("vgg_face", weights=mat)
    face = np.zeros((1, 64, 64, 3), np.uint8)
    face[..., 0] = 200  # red
    given = images.network_input(face, net.preprocessing)[0, 0, 0]
    np.testing.assert_allclose(given, [200 - 129.1863, -104.7624, -93.5940], atol=1e-3)
    assert net.preprocessing.size == (64, 64)
    assert net.preprocessing.interpolation == "bicubic"


def test_preprocessing_of_the_torch_file(t7):
    net = backbones.load("vgg_face", weights=t7)
    face = np.zeros((1, 64, 64, 3), np.uint8)
    face[..., 0] = 200  # red comes last
    given = images.network_input(face, net.preprocessing)[0, 0, 0]
    np.testing.assert_allclose(given, [-93.5940, -104.7624, 200 - 129.1863], atol=1e-3)
    assert net.preprocessing.size == (64, 64)


def test_a_larger_picture_is_resized_as_the_file_says(mat):
    net = backbones.load("vgg_face", weights=mat)
    rng = np.random.default_rng(4)
    picture = rng.integers(0, 256, (80, 80, 3), np.uint8)
    expected_pixels = images.resize(picture, (64, 64), interpolation="bicubic")
    ok, data = cv2.imencode(".png", picture[..., ::-1])
    assert ok
    np.testing.assert_array_equal(images.face_pixels(data.tobytes(), net.preprocessing), expected_pixels)
    assert not np.array_equal(expected_pixels, images.resize(picture, (64, 64), interpolation="bilinear"))


def test_layers_bear_the_names_of_the_file_and_classes_are_read(mat):
    net = backbones.load("vgg_face", weights=mat)
    names = [layer.name for layer in net.full.layers]
    assert names[1:6] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"]
    assert names[-6:] == ["fc6", "relu6", "fc7", "relu7", "fc8", "prob"]
    assert net.classes == tuple(f"Person_{n}" for n in range(13))


def test_torch_modules_get_the_same_names(t7):
    names = [layer.name for layer in backbones.load("vgg_face", weights=t7).full.layers]
    assert names[1:6] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"]
    assert [n for n in names if "dropout" not in n][-6:] == ["fc6", "relu6", "fc7", "relu7", "fc8", "prob"]


def test_every_variable_holds_the_value_of_the_file(toy, mat):
    model = backbones.load("vgg_face", weights=mat).full
    for name, kernel in toy.kernels.items():
        layer = model.get_layer(name)
        np.testing.assert_array_equal(layer.kernel, kernel.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(layer.bias, toy.biases[name])
    assert len(model.weights) == 2 * len(toy.kernels)


def test_a_loaded_model_can_be_saved_and_trained_on(mat, tmp_path):
    import keras

    model = backbones.load("vgg_face", weights=mat).model
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(5).normal(0, 60, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(compute(again, x), compute(model, x))


def test_nothing_is_built_before_it_is_asked_for_and_a_description_can_be_sent_to_a_process(mat):
    net = backbones.load("vgg_face", weights=mat, tap="fc7")
    assert "full" not in net.__dict__
    assert net.model.output_shape == (None, 11)
    sent = pickle.loads(pickle.dumps(net))
    assert sent == net
    assert "full" not in sent.__dict__


def test_the_fingerprint_follows_the_file(mat, toy):
    import hashlib

    first = backbones.load("vgg_face", weights=mat).fingerprint
    assert first == hashlib.sha256(mat.read_bytes()).hexdigest()
    vgg_files.write_mat(mat, dataclasses.replace(toy, biases={n: b + 1 for n, b in toy.biases.items()}))
    assert backbones.load("vgg_face", weights=mat).fingerprint == hashlib.sha256(mat.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def full_size():
    """All 145,002,878 weights at random, an input, and its taps computed by hand."""
    full = vgg_files.random_parameters(np.random.default_rng(0))
    x = np.random.default_rng(1).normal(0, 60, (1, 224, 224, 3)).astype(np.float32)
    return full, x, by_hand(full, x[0].transpose(2, 0, 1))


@pytest.mark.fullsize
@pytest.mark.parametrize("file", ["vgg_face.mat", "VGG_FACE.t7"])
def test_the_full_size_network_equals_the_one_computed_by_hand(full_size, tmp_path, file):
    full, x, expected = full_size
    write = vgg_files.write_mat if file.endswith("mat") else vgg_files.write_t7
    write(tmp_path / file, full)
    net = backbones.load("vgg_face", weights=tmp_path / file)
    assert net.full.count_params() == 145_002_878
    for tap in ("fc7", "fc8"):
        assert relative(compute(net.at(tap).model, x)[0], expected[tap]) < 1e-4, tap


# Damaged files and other networks: one clear error each.


def refused(path, *words):
    with pytest.raises(backbones.WeightsError) as caught:
        backbones.load("vgg_face", weights=path)
    text = str(caught.value)
    assert path.name in text
    assert all(word in text for word in words), text
    assert "\n" not in text and len(text) < 400


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "vgg_face.mat", "does not exist", "vgg_face.mat")
    (tmp_path / "folder.mat").mkdir()
    refused(tmp_path / "folder.mat", "is a folder")


def test_a_matlab_73_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "vgg_face.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["net"] = np.zeros(3)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))
    refused(path, "v7.3", "-v7")


def test_weights_of_keras_are_not_called_a_matlab_file(tmp_path):
    """Such as DeepFace's vgg_face_weights.h5, which nobody can save in MATLAB."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "vgg_face_weights.h5"
    with h5py.File(path, "w") as file:
        file["conv2d_1/kernel"] = np.zeros((3, 3, 3, 4), "f4")
    refused(path, "HDF5 file that holds conv2d_1", "model.save")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_a_file_cut_short(mat, t7, share):
    for path in (mat, t7):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        refused(path)


def test_a_file_that_is_something_else(tmp_path):
    path = tmp_path / "vgg_face.mat"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    refused(path, "neither")
    scipy.io.savemat(path, {"faces": np.zeros(3)})
    refused(path, "faces", "expected a MatConvNet network")


def edited(mat, change):
    """Rewrite the .mat after `change(layers by name)`."""
    net = scipy.io.loadmat(mat, struct_as_record=False)["net"][0, 0]
    change({str(cell[0, 0].name[0]): cell[0, 0] for cell in net.layers.ravel()})
    fields = {name: getattr(net, name) for name in net._fieldnames}
    scipy.io.savemat(mat, {"net": fields})


def test_a_layer_without_weights(mat):
    edited(mat, lambda layers: setattr(layers["conv3_2"], "weights", np.empty((1, 0), object)))
    refused(mat, "conv3_2", "no kernel and bias")


def test_a_kernel_of_the_wrong_shape(mat):
    def cut(layers):
        layers["conv3_2"].weights[0, 0] = layers["conv3_2"].weights[0, 0][:, :, :-1]

    edited(mat, cut)
    refused(mat, "conv3_2", "5 input channels", "gives 6")


def test_a_bias_of_the_wrong_length(mat):
    def cut(layers):
        layers["fc7"].weights[0, 1] = layers["fc7"].weights[0, 1][:, :-1]

    edited(mat, cut)
    refused(mat, "fc7", "bias", "(11,)")


def test_weights_that_are_not_numbers(mat):
    def spoil(layers):
        layers["fc7"].weights[0, 0][0, 0, 0, 0] = np.nan

    edited(mat, spoil)
    with pytest.raises(backbones.WeightsError, match=r"fc7.*no numbers"):
        _ = backbones.load("vgg_face", weights=mat).model


def test_another_network(mat):
    edited(mat, lambda layers: setattr(layers["fc8"], "name", "classifier"))
    refused(mat, "another network", "fc8")


def test_a_layer_that_vgg_face_does_not_have(mat):
    edited(mat, lambda layers: setattr(layers["relu6"], "type", "bnorm"))
    refused(mat, "bnorm")


def test_a_missing_layer(toy, tmp_path):
    kernels = {name: kernel for name, kernel in toy.kernels.items() if name != "conv4_1"}
    path = tmp_path / "vgg_face.mat"
    vgg_files.write_mat(path, dataclasses.replace(toy, kernels=kernels))
    refused(path, "conv4_2", "input channels")


def test_unknown_names_are_answered_with_what_there_is(mat):
    with pytest.raises(ValueError, match="pool5, fc6, fc7, fc8, prob"):
        backbones.load("vgg_face", weights=mat, tap="fc9")
    with pytest.raises(ValueError, match="vgg_face"):
        backbones.load("facenet")

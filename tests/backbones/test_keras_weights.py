"""Keras files of one's own: whole models, and weights alone that are read into the right layers."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest

from faceworkbook import backbones, images
from faceworkbook.backbones import WeightsError
from faceworkbook.descriptors import engines
from tests.backbones.test_own_onnx import faces, templates, unit, weights
from tests.support import vgg_files
from tests.support.networks import compute

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]
__all__ = ["weights"]

CAR = "size: [24, 20]\nchannels: BGR\nmean: 10\nscale: 1/100\n"
TOY = {"widths": (4, 5, 6, 7, 9), "depths": (2, 2, 3, 3, 3), "side": 2, "hidden": 11, "classes": 13}


def make_model():
    import keras

    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((24, 20, 3))
    x = keras.layers.Conv2D(5, 3, activation="relu", name="maps")(x)
    x = keras.layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(7, name="head")(x))


def small_faces():
    return np.ascontiguousarray(faces(24)[:, :, :20])


def prepared(pixels):
    return (pixels[..., ::-1].astype(np.float32) - 10) / 100


@pytest.mark.parametrize(("file", "used"), [("mine.keras", ["keras"]), ("mine.h5", ["keras", "onnx"])])
def test_a_whole_model_is_read_at_any_layer_and_scaled_to_length_one(weights, export_here, file, used):
    model = make_model()
    model.save(weights / file)
    (weights / "mine.yaml").write_text(CAR + "normalisation: L2")
    net = backbones.load("mine")
    assert net.tap == "head" and net.is_own
    expected = unit(compute(model, prepared(small_faces())))
    for engine in used:
        np.testing.assert_allclose(engines.choose(net, engine=engine).run(small_faces()), expected, atol=1e-5)
    (weights / "mine.yaml").write_text(CAR + "tap: maps\npool: flatten")
    assert backbones.load("mine").dim == 22 * 18 * 5
    assert backbones.load("mine", tap="head").dim == 7


def test_what_does_not_fit_a_model_is_answered_with_what_it_has(weights):
    make_model().save(weights / "mine.keras")
    for lines, message in (
        (
            CAR.replace("[24, 20]", "32"),
            r"does not fit mine\.keras: .*the model has inputs: .*\(n, 24, 20, 3\)",
        ),
        (CAR + "tap: fc9", r"tap: 'fc9' is no layer .*outputs: .*layers: maps, .*head"),
        (CAR + "layout: NCHW", "Keras files are read as NHWC"),
        (CAR + "architecture: vgg_face", "is a whole network"),
    ):
        (weights / "mine.yaml").write_text(lines)
        with pytest.raises(WeightsError, match=message):
            backbones.load("mine")


@pytest.mark.parametrize("file", ["mine.keras", "mine.h5"])
@pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html>", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_what_is_no_keras_file_is_refused(weights, file, data):
    (weights / file).write_bytes(data)
    (weights / "mine.yaml").write_text(CAR)
    with pytest.raises(WeightsError, match=re.escape(file)):
        backbones.load("mine")


@pytest.mark.parametrize("file", ["mine.keras", "mine.h5"])
def test_a_layer_that_holds_code_is_refused_before_keras_opens_the_file(weights, file, tmp_path):
    import keras

    inputs = keras.Input((24, 20, 3))
    mark = str(tmp_path / "executed")
    layer = keras.layers.Lambda(lambda x: [open(mark, "w"), x][1], output_shape=(24, 20, 3))  # noqa: SIM115, PTH123
    keras.Model(inputs, keras.layers.Flatten()(layer(inputs))).save(weights / file)
    (tmp_path / "executed").unlink(missing_ok=True)
    (weights / "mine.yaml").write_text(CAR)
    with pytest.raises(WeightsError, match=r"has a layer \w+, which holds or calls code of its own"):
        backbones.load("mine")
    assert not (tmp_path / "executed").exists()


def test_a_class_of_another_module_is_refused(weights):
    make_model().save(weights / "mine.keras")
    with zipfile.ZipFile(weights / "mine.keras") as file:
        content = {name: file.read(name) for name in file.namelist()}
    config = json.loads(content["config.json"])
    layer = config["config"]["layers"][1]
    layer |= {
        "module": "subprocess",
        "class_name": "run",
        "registered_name": None,
        "config": {"args": ["true"]},
    }
    content["config.json"] = json.dumps(config)
    with zipfile.ZipFile(weights / "mine.keras", "w") as file:
        for name, data in content.items():
            file.writestr(name, data)
    (weights / "mine.yaml").write_text(CAR)
    with pytest.raises(WeightsError, match="layer run of subprocess"):
        backbones.load("mine")


# ------------------------------------------------------------------------------------------------- weights alone


@pytest.fixture(scope="module")
def parameters():
    return vgg_files.random_parameters(np.random.default_rng(7), **TOY)


def write_vgg(path, parameters, *, names="deepface", top=True):
    """Write weights as Keras 2 did: DeepFace's numbered layers, or keras-vggface's named ones."""
    layers = {}
    for place, (name, kernel) in enumerate(parameters.kernels.items(), 1):
        kernel = kernel.transpose(2, 3, 1, 0)
        if names != "deepface":
            kernel = kernel.reshape(-1, kernel.shape[-1]) if name.startswith("fc") else kernel
            kernel = kernel[:, :, ::-1] if name == "conv1_1" else kernel  # it reads BGR
        if top or not name.startswith("fc"):
            layer = f"conv2d_{place}" if names == "deepface" else name
            words = ("W_1:0", "b_1:0") if names == "keras 1" else ("kernel:0", "bias:0")
            joint = "_" if names == "keras 1" else "/"
            layers[layer] = {
                f"{layer}{joint}{w}": a for w, a in zip(words, (kernel, parameters.biases[name]), strict=True)
            }
        layers[f"zero_padding2d_{place}"] = {}
    vgg_files.write_keras_weights(path, layers)


def both(mat, other, pixels):
    from faceworkbook.images import network_input

    results = []
    for net in (mat, other):
        results.append(compute(net.model, network_input(pixels, net.preprocessing)))
    return results


@pytest.mark.parametrize(
    ("names", "file"),
    [
        ("deepface", "vgg_face_weights.h5"),
        ("named", "rcmalli_vggface_tf_vgg16.h5"),
        ("keras 1", "rcmalli_vggface_tf_vgg16.h5"),
    ],
)
def test_vgg_face_of_deepface_and_keras_vggface_equal_the_matlab_file(
    weights, tmp_path, parameters, names, file
):
    vgg_files.write_mat(tmp_path / "vgg_face.mat", parameters)
    write_vgg(weights / file, parameters, names=names)
    mat = backbones.load("vgg_face", weights=tmp_path / "vgg_face.mat")
    net = backbones.load("vgg_face")
    assert net.weights.name == file and backbones.default().weights == net.weights
    for tap in net.taps:
        expected, result = both(mat.at(tap), net.at(tap), faces(64))
        np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())
    if names == "deepface":
        assert replace(net.preprocessing, mean=mat.preprocessing.mean) == mat.preprocessing
        np.testing.assert_allclose(net.preprocessing.mean, mat.preprocessing.mean, atol=1e-5)  # float32 there


@pytest.mark.fullsize
def test_deepface_s_full_size_file_equals_the_matlab_file(weights, tmp_path):
    """145,002,878 random weights in both forms, each read by itself: at every tap the same numbers to 1e-5."""
    import keras

    parameters, described = vgg_files.random_parameters(np.random.default_rng(0)), []
    vgg_files.write_mat(tmp_path / "vgg_face.mat", parameters)
    write_vgg(weights / "vgg_face_weights.h5", parameters)
    del parameters
    for path in (tmp_path / "vgg_face.mat", weights / "vgg_face_weights.h5"):
        net = backbones.load("vgg_face", weights=path)
        assert net.full.count_params() == 145_002_878
        taps = net.taps
        joint = net.together(taps)
        pictures = images.network_input(faces(224)[:3], net.preprocessing)
        described.append(np.split(compute(joint.model, pictures), np.cumsum(joint.dims)[:-1], axis=1))
        path.unlink()
        del net, joint
        keras.backend.clear_session()
    for tap, expected, result in zip(taps, *described, strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max(), err_msg=tap)


def test_the_deepface_template_reads_the_same_file_under_another_name(weights, parameters):
    write_vgg(weights / "deepface.h5", parameters)
    (weights / "deepface.yaml").write_text(templates()["deepface"])
    net = backbones.load("deepface")
    plain = backbones.load("vgg_face", weights=weights / "deepface.h5", tap="fc7")
    expected, result = both(plain, net, faces(64))
    np.testing.assert_allclose(result, unit(expected), atol=1e-5)
    assert net.fingerprint != plain.fingerprint and "converted by DeepFace" in net.source


def test_vgg16_without_top_ends_at_pool5(weights, parameters):
    write_vgg(weights / "rcmalli_vggface_tf_notop_vgg16.h5", parameters, names="named", top=False)
    net = backbones.load("vgg_face")
    assert net.taps == ("pool5",) and net.dim == 7 * 7 * 9 and net.preprocessing.channels == "BGR"


def test_weights_of_another_network_are_answered_with_their_layers(weights, parameters):
    write_vgg(weights / "vgg_face_weights.h5", parameters)
    with h5py.File(weights / "vgg_face_weights.h5", "a") as file:
        file.attrs["layer_names"] = file.attrs["layer_names"][:-4]
    with pytest.raises(WeightsError, match=r"is another network; .*conv1_1 to fc8; the file has 14 layers"):
        backbones.load("vgg_face")
    (weights / "mine.yaml").write_text(CAR)
    write_vgg(weights / "mine.h5", parameters)
    with pytest.raises(
        WeightsError, match=r"is weights alone, so expected one of vgg_face, .*16 layers with weights"
    ):
        backbones.load("mine")


def test_keras_3_weights_and_plain_hdf5_are_explained(weights):
    make_model().save_weights(weights / "mine.weights.h5")
    (weights / "mine.weights.h5").rename(weights / "mine.h5")
    (weights / "mine.yaml").write_text("architecture: vgg_face")
    with pytest.raises(WeightsError, match=r"save it with model\.save\('NAME\.keras'\)"):
        backbones.load("mine")


def test_arrays_outside_of_the_file_are_refused(weights, tmp_path, parameters):
    write_vgg(weights / "vgg_face_weights.h5", parameters)
    with h5py.File(weights / "vgg_face_weights.h5", "a") as file:
        del file["conv2d_1/conv2d_1/bias:0"]
        with h5py.File(tmp_path / "secret.h5", "w") as secret:
            secret["bias"] = np.zeros(4, "f4")
        file["conv2d_1/conv2d_1/bias:0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "bias")
    with pytest.raises(WeightsError, match="does not lie in the file itself"):
        backbones.load("vgg_face")


# ------------------------------------------------------------------------------------------------- ResNet-50


def resnet_layers(kind, rng, *, divide=8, top=True):
    """Return arrays of keras-vggface's ResNet-50 or SENet-50, its widths divided, under the file's names."""
    layers = {}

    def convolution(name, size, given, out, *, bias=False, norm=True):
        kernel = rng.normal(0, (2 / (size * size * given)) ** 0.5, (size, size, given, out))
        layers[name] = {f"{name}/kernel:0": kernel} | (
            {f"{name}/bias:0": rng.normal(0, 0.1, out)} if bias else {}
        )
        if norm:
            values = (
                rng.uniform(0.5, 1, out),
                rng.normal(0, 0.1, out),
                rng.normal(0, 0.1, out),
                rng.uniform(0.5, 2, out),
            )
            words = ("gamma", "beta", "moving_mean", "moving_variance")
            layers[f"{name}/bn"] = {f"{name}/bn/{w}:0": v for w, v in zip(words, values, strict=True)}
        return out

    given = convolution("conv1/7x7_s2", 7, 3, 64 // divide)
    for stage, blocks in {2: 3, 3: 4, 4: 6, 5: 3}.items():
        inner = 2 ** (stage + 4) // divide
        for block in range(1, blocks + 1):
            name = f"conv{stage}_{block}"
            convolution(f"{name}_1x1_reduce", 1, given, inner)
            convolution(f"{name}_3x3", 3, inner, inner)
            convolution(f"{name}_1x1_increase", 1, inner, 4 * inner)
            if kind == "senet50":
                convolution(f"{name}_1x1_down", 1, 4 * inner, max(4 * inner // 16, 1), bias=True, norm=False)
                convolution(f"{name}_1x1_up", 1, max(4 * inner // 16, 1), 4 * inner, bias=True, norm=False)
            if block == 1:
                convolution(f"{name}_1x1_proj", 1, given, 4 * inner)
            given = 4 * inner
    if top:
        layers["classifier"] = {
            "classifier/kernel:0": rng.normal(0, 0.05, (given, 11)),
            "classifier/bias:0": rng.normal(0, 0.1, 11),
        }
    return {
        layer: {name: a.astype(np.float32) for name, a in arrays.items()} for layer, arrays in layers.items()
    }


def resnet_by_hand(layers, x, *, epsilon):
    """Compute avg_pool of one preprocessed picture in float64, by plain loops over the published architecture."""

    def array(layer, word):
        return layers[layer][f"{layer}/{word}:0"].astype(np.float64)

    def convolve(x, layer, stride=1):
        kernel = array(layer, "kernel")
        size = kernel.shape[0]
        total = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[:2]]
        x = np.pad(x, [(t // 2, t - t // 2) for t in total] + [(0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]
        return np.einsum("yxcij,ijco->yxo", windows, kernel, optimize=True)

    def norm(x, layer):
        layer = f"{layer}/bn"
        scale = array(layer, "gamma") / np.sqrt(array(layer, "moving_variance") + epsilon)
        return (x - array(layer, "moving_mean")) * scale + array(layer, "beta")

    def relu(x):
        return np.maximum(x, 0)

    x = relu(norm(convolve(x, "conv1/7x7_s2", 2), "conv1/7x7_s2"))
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max(axis=(3, 4))
    for stage, blocks in {2: 3, 3: 4, 4: 6, 5: 3}.items():
        for block in range(1, blocks + 1):
            name, stride = f"conv{stage}_{block}", 2 if stage > 2 and block == 1 else 1
            short = norm(convolve(x, f"{name}_1x1_proj", stride), f"{name}_1x1_proj") if block == 1 else x
            x = relu(norm(convolve(x, f"{name}_1x1_reduce", stride), f"{name}_1x1_reduce"))
            x = relu(norm(convolve(x, f"{name}_3x3"), f"{name}_3x3"))
            x = norm(convolve(x, f"{name}_1x1_increase"), f"{name}_1x1_increase")
            if f"{name}_1x1_down" in layers:
                mean = x.mean(axis=(0, 1), keepdims=True)
                small = relu(convolve(mean, f"{name}_1x1_down") + array(f"{name}_1x1_down", "bias"))
                weight = convolve(small, f"{name}_1x1_up") + array(f"{name}_1x1_up", "bias")
                x = x / (1 + np.exp(-weight))
            x = relu(x + short)
    return x.mean(axis=(0, 1))


# A conversion to ONNX takes time, and a SENet holds every kind of layer that a ResNet has.
@pytest.mark.parametrize(
    ("kind", "epsilon", "engine"), [("resnet50", 1e-3, "keras"), ("senet50", 1e-4, "onnx")]
)
def test_each_layer_of_keras_vggface_is_in_its_place(weights, export_here, kind, epsilon, engine):
    layers = resnet_layers(kind, np.random.default_rng(1))
    vgg_files.write_keras_weights(weights / f"rcmalli_vggface_tf_{kind}.h5", layers)
    net = backbones.load(f"vggface_{kind}")
    assert net.dim == 256 and net.at("classifier").dim == 11 and net.at("conv4_6").dim == 128
    pixels = faces(224, n=1)
    x = pixels[0, ..., ::-1].astype(np.float64) - [91.4953, 103.8827, 131.0912]
    result = engines.choose(net, engine=engine).run(pixels)[0]
    expected = resnet_by_hand(layers, x, epsilon=epsilon)
    np.testing.assert_allclose(result, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["resnet50", "senet50"])
def test_the_templates_and_the_files_without_top(weights, kind):
    name = f"vggface2_{kind}"
    layers = resnet_layers(kind, np.random.default_rng(1), divide=16, top=False)
    vgg_files.write_keras_weights(weights / f"{name}.h5", layers)
    (weights / f"{name}.yaml").write_text(templates()[name])
    net = backbones.load(name)
    assert "classifier" not in net.taps and net.dim == 128 and "Cao et al. 2018" in net.source


def test_a_resnet_is_no_senet(weights):
    layers = resnet_layers("resnet50", np.random.default_rng(1), divide=16)
    vgg_files.write_keras_weights(weights / "mine.h5", layers)
    with pytest.raises(
        WeightsError, match=r"is no vggface_senet50: it has no layer conv2_1_1x1_down; the file has 107"
    ):
        backbones.load("vggface_senet50", weights=weights / "mine.h5")
    layers = resnet_layers("senet50", np.random.default_rng(1), divide=16)
    vgg_files.write_keras_weights(weights / "other.h5", layers)
    with pytest.raises(WeightsError, match="has a layer conv2_1_1x1_down too many"):
        backbones.load("vggface_resnet50", weights=weights / "other.h5")
    layers["conv3_2_3x3"]["conv3_2_3x3/kernel:0"] = np.zeros((3, 3, 2, 8), np.float32)
    vgg_files.write_keras_weights(weights / "third.h5", layers)
    with pytest.raises(WeightsError, match=r"conv3_2_3x3 has shape \(3, 3, 2, 8\); expected \(3, 3, 8, 8\)"):
        backbones.load("vggface_senet50", weights=weights / "third.h5").builder()


def test_a_file_that_the_workbook_knows_by_its_name_says_so(weights):
    (weights / "rcmalli_vggface_tf_resnet50.h5").touch()
    with pytest.raises(WeightsError, match="as vggface_resnet50 it is known without a side-car"):
        backbones.load("rcmalli_vggface_tf_resnet50")

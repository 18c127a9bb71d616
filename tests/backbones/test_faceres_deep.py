"""The embedded default against its original graph, evaluated node by node."""

from __future__ import annotations

import json

import numpy as np
import pytest

from faceworkbook import backbones, images
from faceworkbook.backbones import faceres_deep
from tests.support.networks import compute
from tools import convert_faceres, tfjs

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


@pytest.fixture(scope="module")
def net():
    return backbones.load("faceres_deep")


@pytest.fixture
def faces(shared_data, net):
    """Input of six real faces, (6, 224, 224, 3) float32."""
    files = sorted(shared_data("utkface/UTKFace").glob("*.jpg"))[::900][:6]
    pixels = [images.face_pixels(file.read_bytes(), net.preprocessing) for file in files]
    return images.network_input(np.stack(pixels), net.preprocessing)


def evaluate(graph: dict, constants: dict, x: np.ndarray, names: tuple[str, ...]) -> list[np.ndarray]:
    """Run a TensorFlow graph with NumPy and OpenCV: every node in the order of the file."""
    values = {**constants, "input_1": x}
    nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}

    def value(name):
        if name not in values:
            node = nodes[name]
            values[name] = run(node, [value(given) for given in node["input"]])
        return values[name]

    return [value(name) for name in names]


def run(node, given):
    op = node["op"]
    binary = {"Add": np.add, "Mul": np.multiply, "Minimum": np.minimum, "Maximum": np.maximum}
    if op in binary:
        return binary[op](*given)
    if op == "Relu":
        return np.maximum(given[0], 0)
    if op == "Conv2D":
        return convolve(given[0], given[1], stride(node))
    if op == "DepthwiseConv2dNative":
        return depthwise(given[0], given[1], stride(node))
    if op == "Mean":
        return given[0].mean(tuple(given[1]))
    if op == "_FusedMatMul":
        out = given[0] @ given[1] + given[2]
        return np.maximum(out, 0) if node["name"].endswith("Relu") else out
    if op == "Sigmoid":
        return 1 / (1 + np.exp(-given[0]))
    assert op == "Softmax"
    e = np.exp(given[0] - given[0].max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def stride(node) -> int:
    return int(node["attr"]["strides"]["list"]["i"][1])


def padded(x, size, step):
    """TensorFlow's SAME: the odd pixel of padding is added below and on the right."""
    total = max((-(-x.shape[1] // step) - 1) * step + size - x.shape[1], 0)
    around = (total // 2, total - total // 2)
    return np.pad(x, ((0, 0), around, around, (0, 0)))


def convolve(x, kernel, step):
    """The sum over the kernel's places of the shifted input times that place's matrix."""
    size = kernel.shape[0]
    return sum(shifted @ kernel[place] for place, shifted in shifts(x, size, step))


def depthwise(x, kernel, step):
    return sum(shifted * kernel[place][:, 0] for place, shifted in shifts(x, kernel.shape[0], step))


def shifts(x, size, step):
    """Each place (row, column) of a kernel, with the input that it sees."""
    height, width = (-(-n // step) for n in x.shape[1:3])
    x = padded(x, size, step)
    for i, j in np.ndindex(size, size):
        yield (i, j), x[:, i : i + step * height : step, j : j + step * width : step][:, :height, :width]


def test_descriptors_and_answers_equal_the_original_graph(net, faces, shared_weights):
    source = shared_weights("faceres-deep") / "faceres-deep.json"
    graph = json.loads(source.read_text())
    constants = tfjs.read_constants(source, convert_faceres.KINDS)
    names = ("global_pooling/Mean", "gender_pred/Sigmoid", "age_pred/Softmax")
    descriptors, gender, age = evaluate(graph, constants, faces, names)
    result = compute(net.full, faces)
    cosine = (result[0] * descriptors).sum(1) / np.linalg.norm(result[0], axis=1)
    assert (cosine / np.linalg.norm(descriptors, axis=1)).min() > 0.9999
    assert np.abs(result[0] - descriptors).max() / np.abs(descriptors).max() <= 2e-3
    np.testing.assert_allclose(result[1], gender, atol=0.01)
    np.testing.assert_allclose(result[2], age, atol=0.01)


def test_converting_again_gives_the_file_that_is_shipped(tmp_path, shared_weights, net):
    path = convert_faceres.convert(shared_weights("faceres-deep"), tmp_path)
    shipped, again = faceres_deep.read_arrays(net.weights), faceres_deep.read_arrays(path)
    assert shipped.keys() == again.keys()
    for name, array in shipped.items():
        np.testing.assert_array_equal(array, again[name])
    assert [p.name for p in tmp_path.iterdir()] == ["faceres_deep.h5"]


def test_keras_itself_can_load_the_file(net):
    model = net.builder()
    before = model.get_weights()
    for variable in model.weights:
        variable.assign(variable * 0)
    model.load_weights(net.weights)
    for after, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, expected)


def test_the_file_is_small_and_mostly_float16_but_computes_in_float32(net):
    assert net.weights.stat().st_size < 7.5e6
    arrays = faceres_deep.read_arrays(net.weights)
    halves = sum(array.size for array in arrays.values() if array.dtype == np.float16)
    assert halves > 0.97 * sum(array.size for array in arrays.values())
    assert {variable.dtype for variable in net.full.weights} == {"float32"}


@pytest.mark.parametrize("tap", faceres_deep.TAPS)
def test_every_tap_has_its_width_and_its_pooling(net, tap):
    x = np.random.default_rng(0).normal(0, 50, (2, 224, 224, 3)).astype(np.float32)
    result = compute(net.at(tap).model, x)
    assert result.shape == (2, net.at(tap).dim)
    import keras

    raw = compute(keras.Model(net.full.input, net.full.get_layer(tap).output), x)
    expected = raw.mean((1, 2)) if raw.ndim == 4 else raw
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tap", ["feats", "gender_pred", "age_pred"])
def test_what_was_tuned_on_a_data_set_is_barred_there(net, tap):
    for dataset in ("adience", "agegender_cleaned", "imdb_wiki"):
        with pytest.raises(
            ValueError, match=f"'{tap}' of faceres_deep is barred on '{dataset}': its author tuned it"
        ):
            net.at(tap).mirrored().check_use(dataset)
        net.at("conv_pw_12_relu").check_use(dataset)
    net.at(tap).check_use("utkface")


def test_genders_read_off_the_name_of_real_faces(shared_data, net):
    """High is male: UTKFace writes 0 for men in the second field of a name."""
    files = sorted(shared_data("utkface/UTKFace").glob("[23]?_[01]_*.jpg"))[::150][:24]
    pixels = np.stack([images.face_pixels(f.read_bytes(), net.preprocessing) for f in files])
    gender = compute(net.at("gender_pred").model, images.network_input(pixels, net.preprocessing))
    male = np.array([file.name.split("_")[1] == "0" for file in files])
    assert ((gender[:, 0] > 0.5) == male).mean() > 0.8


def test_a_damaged_file_is_refused(tmp_path, net):
    folder = tmp_path / "faceres_deep"
    folder.mkdir()
    path = folder / "faceres_deep.h5"
    path.write_bytes(net.weights.read_bytes()[:100_000])
    with pytest.raises(backbones.WeightsError, match="convert it anew"):
        _ = backbones.load("faceres_deep", weights=path).model


def test_the_default_is_vgg_face_where_its_file_is_there(tmp_path):
    from tests.support import vgg_files

    assert backbones.default(tmp_path).name == "faceres_deep"
    small = {"widths": (2,) * 5, "depths": (1,) * 5, "side": 1, "hidden": 3, "classes": 4}
    vgg_files.write_mat(
        tmp_path / "vgg-face.mat", vgg_files.random_parameters(np.random.default_rng(0), **small)
    )
    result = backbones.default(tmp_path, tap="fc7")
    assert (result.name, result.tap, result.weights.name) == ("vgg_face", "fc7", "vgg-face.mat")


def test_importing_the_room_and_describing_a_network_does_not_import_tensorflow():
    import subprocess
    import sys

    code = (
        "import sys; from faceworkbook import backbones; b = backbones.load('faceres_deep', tap='feats'); "
        "assert b.dim == 256 and 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

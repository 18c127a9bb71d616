"""ONNX networks of one's own with a side-car: every usual signature, and what does not fit is answered."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from faceworkbook import backbones, images, project
from faceworkbook.backbones import WeightsError, own_files, sidecar
from faceworkbook.descriptors import engines
from tests.conftest import REPO
from tests.support import onnx_toys

onnx = pytest.importorskip("onnx", reason="the extra [fast] is not installed")
pytest.importorskip("onnxruntime", reason="the extra [fast] is not installed")

CAR = "size: 112\nchannels: RGB\nmean: 127.5\nscale: 1/127.5\n"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder ``weights`` of a project that has nothing but it."""
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


def put(weights, name="mine", car=CAR, **options):
    matrix = onnx_toys.write(weights / f"{name}.onnx", **options)
    (weights / f"{name}.yaml").write_text(car)
    return matrix


def faces(size, n=5):
    coarse = np.random.default_rng(0).integers(0, 256, (n, 9, 9, 3), np.uint8)
    return np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse])


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def templates():
    """Return name and text of each side-car in weights/README.md."""
    text = (REPO / "weights" / "README.md").read_text(encoding="utf-8")
    return dict(
        re.findall(r"^### (\w+)[^\n]*\n(?:(?!^###).)*?```yaml\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    )


# Of every template: the signature of the usual export, and the preprocessing by hand of pixels 0..255, RGB.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
CLIP_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])
HALF = {"size": 112, "dim": 512}
SIGNATURES = {
    "arcface": (HALF | {"batch": "None"}, lambda x: (x - 127.5) / 127.5, True),
    "adaface": (HALF | {"names": ("input", "output")}, lambda x: (x[..., ::-1] - 127.5) / 127.5, True),
    "facenet": (
        {"size": 160, "dim": 512, "layout": "NHWC", "names": ("image_input", "embeddings")},
        lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True),
        True,
    ),
    "facenet_fixed": (
        {"size": 160, "dim": 512, "names": ("input", "output")},
        lambda x: (x - 127.5) / 128,
        True,
    ),
    "sface": (
        {"size": 112, "dim": 128, "batch": 1, "names": ("data", "fc1")},
        lambda x: x[..., ::-1],
        True,
    ),
    "clip": (
        {"size": 224, "dim": 512, "names": ("pixel_values", "image_embeds")},
        lambda x: (x / 255 - CLIP_MEAN) / CLIP_DEVIATION,
        True,
    ),
    "farl": (
        {"size": 224, "dim": 512, "names": ("image", "features")},
        lambda x: (x / 255 - CLIP_MEAN) / CLIP_DEVIATION,
        True,
    ),
    "dinov2": (
        {"size": 224, "dim": 384, "names": ("pixel_values", "last_hidden_state"), "extra": ("tokens",)},
        lambda x: (x / 255 - MEAN) / DEVIATION,
        False,
    ),
    "timm": (
        {"size": 224, "dim": 768, "names": ("x", "linear")},
        lambda x: (x / 255 - MEAN) / DEVIATION,
        False,
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_each_template_gives_the_descriptors_that_are_computed_by_hand(weights, name):
    signature, preprocess, has_unit_length = SIGNATURES[name]
    matrix = put(weights, name, templates()[name], **signature)
    net = backbones.load(name)
    pixels = faces(signature["size"])
    expected = onnx_toys.by_hand(preprocess(pixels.astype(np.float64)), matrix)
    result = engines.choose(net).run(pixels)
    np.testing.assert_allclose(result, unit(expected) if has_unit_length else expected, atol=2e-5)
    assert result.shape == (5, net.dim) and result.dtype == np.float32


def test_every_template_for_onnx_is_tried():
    whole = {name for name, text in templates().items() if "architecture" not in text}
    assert whole == set(SIGNATURES)


def test_it_is_listed_and_known_to_another_process_by_its_name_alone(weights):
    put(weights)
    assert "mine" in backbones.list()
    code = "from faceworkbook import backbones; print(backbones.load('mine').fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == backbones.load("mine").fingerprint
    copy = pickle.loads(pickle.dumps(backbones.load("mine")))
    pixels = faces(112)
    np.testing.assert_array_equal(engines.choose(copy).run(pixels), engines.choose(copy).run(pixels))


def test_a_file_elsewhere_is_opened_by_its_path(weights, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere", "other")
    assert backbones.load("other", weights=tmp_path / "elsewhere/other.onnx").dim == 512


def test_a_linked_file_has_its_side_car_beside_the_link(weights, tmp_path):
    put(tmp_path, "large", extra=("external",))
    (weights / "mine.onnx").symlink_to(tmp_path / "large.onnx")
    (weights / "mine.yaml").write_text(CAR)
    assert engines.choose(backbones.load("mine")).run(faces(112)).shape == (5, 512)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_filled(weights, batch):
    matrix = put(weights, batch=batch)
    pixels = faces(112)
    expected = onnx_toys.by_hand((pixels - 127.5) / 127.5, matrix)
    np.testing.assert_allclose(engines.choose(backbones.load("mine")).run(pixels), expected, atol=1e-5)


def test_a_graph_that_hides_its_fixed_batch_takes_one_from_the_side_car(weights):
    put(weights, car=CAR + "batch: 2\n")
    assert backbones.load("mine").graph.batch == 2


@pytest.mark.parametrize("extra", [("second output",), ()])
def test_any_output_and_any_tensor_is_a_tap(weights, extra):
    put(weights, car=CAR + "tap: flat\n", extra=extra)
    net = backbones.load("mine")
    pixels = faces(112)
    fields = onnx_toys.by_hand((pixels - 127.5) / 127.5, np.eye(48))
    assert (net.tap, net.dim) == ("flat", 48)
    np.testing.assert_allclose(engines.choose(net).run(pixels), fields, atol=1e-5)
    assert backbones.load("mine", tap="683").dim == 512


def test_tokens_need_a_pool(weights):
    put(weights, extra=("tokens",))
    with pytest.raises(WeightsError, match=r"\(n, 2, 512\), tokens .* add pool"):
        backbones.load("mine")
    (weights / "mine.yaml").write_text(CAR + "pool: mean\n")
    mean = engines.choose(backbones.load("mine")).run(faces(112))
    (weights / "mine.yaml").write_text(CAR + "pool: first\n")
    first = engines.choose(backbones.load("mine")).run(faces(112))
    np.testing.assert_allclose(mean, first + 0.5, atol=1e-5)


def test_what_changes_descriptors_changes_the_fingerprint(weights):
    put(weights)
    first = backbones.load("mine").fingerprint
    (weights / "mine.yaml").write_text(CAR + "licence: MIT\nsource: somewhere\n")
    assert backbones.load("mine").fingerprint == first
    prints = {first}
    for line in ("mean: 128", "scale: 1/128", "normalisation: L2", "margin: 0.1", "interpolation: bicubic"):
        key = line.split(":")[0]
        lines = [*(old for old in CAR.splitlines() if not old.startswith(key)), line]
        (weights / "mine.yaml").write_text("\n".join(lines))
        prints.add(backbones.load("mine").fingerprint)
    assert len(prints) == 6


def test_external_data_count_and_lie_in_the_folder(weights):
    put(weights, extra=("external",))
    net = backbones.load("mine")
    pixels = faces(112)
    first = engines.choose(net).run(pixels)
    data = np.fromfile(weights / "mine.data", np.float32)
    (2 * data).tofile(weights / "mine.data")
    other = backbones.load("mine")
    np.testing.assert_allclose(engines.choose(other).run(pixels), 2 * first, rtol=1e-5)
    assert other.fingerprint != net.fingerprint


@pytest.mark.parametrize(
    "location", ["../secret.data", "/etc/passwd", "sub/../../secret.data", "linked.data"]
)
def test_external_data_outside_of_the_folder_are_refused(weights, tmp_path, location):
    put(weights, extra=("external",))
    (weights / "mine.data").rename(tmp_path / "secret.data")
    (weights / "linked.data").symlink_to(tmp_path / "secret.data")
    model = onnx.load(weights / "mine.onnx", load_external_data=False)
    (entry,) = [e for e in model.graph.initializer[0].external_data if e.key == "location"]
    entry.value = location
    (weights / "mine.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="outside of its folder; such files are refused"):
        backbones.load("mine")


def test_external_data_that_are_not_there_are_named(weights):
    put(weights, extra=("external",))
    (weights / "mine.data").unlink()
    with pytest.raises(WeightsError, match=r"weights from 'mine.data', which is not there"):
        backbones.load("mine")


@pytest.mark.parametrize(
    ("options", "lines", "message"),
    [
        (
            {},
            "size: 160",
            r"\(n, 3, 160, 160\); the graph has inputs: input.1 \(batch, 3, 112, 112\) float; outputs: 683",
        ),
        (
            {},
            "layout: NHWC",
            r"layout \(NHWC\) make one input of shape \(n, 112, 112, 3\); the graph has inputs",
        ),
        ({}, "channels: GRAY", r"\(n, 1, 112, 112\); the graph has inputs"),
        (
            {},
            "output: embedding",
            "'embedding' is no output and no tensor of mine.onnx; the graph has inputs",
        ),
        ({"extra": ("second input",)}, "", r"input_ids \(batch, 77\) int64; outputs"),
        (
            {"extra": ("second output",)},
            "",
            "tap is not there, and mine.onnx has several outputs; the graph has",
        ),
        ({"batch": 3}, "batch: 2", "mine.onnx takes 3 at a time"),
    ],
)
def test_a_side_car_that_does_not_fit_is_answered_with_what_the_graph_has(weights, options, lines, message):
    key = lines.split(":")[0] or "nothing"
    car = "\n".join([*(line for line in CAR.splitlines() if not line.startswith(key)), lines])
    put(weights, car=car, **options)
    with pytest.raises(WeightsError, match=message):
        backbones.load("mine")


@pytest.mark.parametrize(
    "data", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 99]
)
def test_what_is_no_onnx_file_is_refused(weights, data):
    put(weights)
    (weights / "mine.onnx").write_bytes(data)
    with pytest.raises(
        WeightsError, match=r"mine\.onnx is (empty|a web page|a pointer of Git LFS|nothing but zero bytes)"
    ):
        backbones.load("mine")


def test_an_operator_that_the_runtime_lacks_is_named(weights):
    put(weights)
    model = onnx.load(weights / "mine.onnx")
    model.graph.node[1].domain = "ai.mine"
    model.opset_import.append(onnx.helper.make_opsetid("ai.mine", 1))
    onnx.save(model, weights / "mine.onnx")
    with pytest.raises(WeightsError, match="ONNX Runtime cannot run it"):
        backbones.load("mine")


@pytest.mark.parametrize("name", ["batch", "683"])
def test_names_that_are_no_text_end_in_a_sentence_and_nothing_is_printed(name, weights, capfd):
    put(weights, batch="batch")
    path = weights / "mine.onnx"
    garbled = bytes([*name.encode()[:-1], 0xE9])
    path.write_bytes(path.read_bytes().replace(name.encode(), garbled))
    with pytest.raises(
        WeightsError, match=r"mine\.onnx is damaged: it has names that are no text; export it again"
    ):
        backbones.load("mine")
    assert capfd.readouterr() == ("", "")


def test_a_type_of_numbers_that_nobody_knows_ends_in_a_sentence(weights):
    put(weights, car=CAR + "tap: another\n")
    model = onnx.load(weights / "mine.onnx")
    model.graph.input[0].type.tensor_type.elem_type = 99
    onnx.save(model, weights / "mine.onnx")
    with pytest.raises(WeightsError, match="no output and no tensor"):
        backbones.load("mine")


def test_a_weights_file_without_side_car_shows_one_that_works(weights):
    put(weights)
    (weights / "mine.yaml").unlink()
    assert "mine" not in backbones.list()
    with pytest.raises(WeightsError, match=r"weights/mine\.onnx has no side-car; write mine\.yaml") as error:
        backbones.load("mine")
    (weights / "mine.yaml").write_text(str(error.value).split("\n\n")[1])
    net = backbones.load("mine")
    assert net.preprocessing.align == "five_points" and net.preprocessing.size == (112, 112)


def test_a_side_car_without_weights_and_two_weights_are_named(weights):
    (weights / "mine.yaml").write_text(CAR)
    with pytest.raises(WeightsError, match="is there without its weights; put mine"):
        backbones.load("mine")
    put(weights)
    (weights / "mine.keras").touch()
    with pytest.raises(WeightsError, match="have the same name"):
        backbones.load("mine")
    assert "have the same name" in own_files.describe()["mine"]


def test_a_name_of_the_workbooks_own_is_not_taken_silently(weights):
    put(weights, "ssr_net")
    with pytest.raises(WeightsError, match="rename the two files"):
        backbones.load("ssr_net")


def test_there_is_no_keras_model(weights):
    put(weights)
    net = backbones.load("mine")
    for get in (lambda: net.full, lambda: net.model):
        with pytest.raises(WeightsError, match=r"ONNX network .* fine-tuning, Grad-CAM and Keras need"):
            get()
    with pytest.raises(ValueError, match="expected engine 'auto' or 'onnx'"):
        engines.choose(net, engine="keras")
    with pytest.raises(ValueError, match="precision 'float32'"):
        engines.choose(net, precision="int8", check_pixels=faces(112))


def test_a_missing_runtime_is_named(weights, monkeypatch):
    put(weights)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsError, match=r"pip install 'faceworkbook\[fast\]'"):
        backbones.load("mine")


def test_the_mirror_image_too(weights):
    matrix = put(weights)
    pixels = faces(112)
    both = [onnx_toys.by_hand((p - 127.5) / 127.5, matrix) for p in (pixels, pixels[:, :, ::-1])]
    result = engines.choose(backbones.load("mine").mirrored()).run(pixels)
    np.testing.assert_allclose(result, np.mean(both, axis=0), atol=1e-5)


# ------------------------------------------------------------------------------------------------- the side-car


def read(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return sidecar.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("channel: RGB", "unknown key 'channel', did you mean channels"),
        ("license: MIT", "unknown key 'license', did you mean licence"),
        ("std: 0.5", "did you mean scale"),
        ("5: 1", "unknown key 5"),
        ("- 1", "holds no names with values"),
        ("", "holds no names with values"),
        ("size: [1", "cannot be read as YAML"),
        ("size: !!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("size: big", "size: 'big'; expected pixels"),
        ("size: [112, 112, 3]", "expected pixels"),
        ("channels: HSV", "expected one of RGB, BGR, GRAY"),
        ("mean: [1, 2]", "expected one number, or a list of three"),
        ("mean: .nan", "expected one number, or a list of three"),
        ("scale: 0", "expected numbers other than 0"),
        ("scale: 1/0", "scale: '1/0'"),
        ("scale: __import__('os')", "expected a number, or a fraction"),
        ("margin: 9", "expected a share of the box"),
        ("prewhiten: 1", "expected true or false"),
        ("align: eyes", "expected one of none, five_points, upright"),
        ("normalisation: prewhiten", "expected one of none, L2"),
        ("batch: 0", "expected a whole number"),
        ("tap: [a]", "expected the name of an output"),
        ("tap: a\noutput: b", "tap and output mean the same"),
        ("x: " + "y" * 70_000, "a side-car has a few lines"),
    ],
)
def test_a_faulty_side_car_is_answered_in_one_sentence(tmp_path, text, message):
    with pytest.raises(WeightsError, match=re.escape(message)) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value) and "mine.yaml" in str(error.value)


def test_what_is_needed_is_asked_for(tmp_path):
    with pytest.raises(WeightsError, match="mean and scale not there"):
        read(tmp_path, "size: 112\nchannels: RGB").preprocessing()
    with pytest.raises(WeightsError, match="template='dlib'"):
        read(tmp_path, CAR + "template: dlib").preprocessing()
    with pytest.raises(WeightsError, match="leave them at 0 and 1"):
        read(tmp_path, CAR + "prewhiten: true").preprocessing()


def test_values_are_read_as_people_write_them(tmp_path):
    car = read(
        tmp_path,
        "size: [96, 80]\nchannels: bgr\nmean: [1, 2, 3.5]\nscale: [1/2, 1/4, .5]\nalign: no\nlicence: MIT",
    )
    expected = images.Preprocessing((96, 80), "BGR", (1, 2, 3.5), (0.5, 0.25, 0.5))
    assert car.preprocessing() == expected
    assert car.describe_origin() == "source not stated; licence: MIT"
    grey = read(tmp_path, "size: 48\nchannels: GRAY\nprewhiten: true").preprocessing()
    assert grey.mean == (0,) and grey.prewhiten


def test_workbook_list_names_them_and_what_is_wrong(weights, capsys):
    put(weights, car=CAR + "licence: research only\nsource: mine\n")
    (weights / "lone.onnx").touch()
    assert own_files.describe()["mine"] == "weights/mine.onnx, mine; licence: research only"
    assert "cannot be used: weights/lone.onnx has no side-car" in own_files.describe()["lone"]
    assert project.root() == weights.parent

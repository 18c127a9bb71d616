"""``workbook export``: one file from picture to probabilities answers as the predictor does, without this package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from faceworkbook import cli
from faceworkbook.images import Preprocessing
from faceworkbook.serving import Predictor, PredictorError, export_int8, exporting, folder
from faceworkbook.serving.answers import Answering
from faceworkbook.serving.describing import GRAPH, Network
from faceworkbook.serving.head import Head
from faceworkbook.serving.spread import Spread
from faceworkbook.tasks import CLASSES, MULTILABEL, NUMBER, ORDERED, Task
from tests.conftest import REPO
from tests.serving.toys import make_record, plain_picture, write_toy

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

FACES = sorted((REPO / "data" / "synthetic" / "images").glob("*.jpg"))
RGB = Preprocessing((16, 12), "RGB", (127.5, 120.0, 110.0), (1 / 127.5, 1 / 120, 1 / 110))
SEVERAL = {
    "BGR": (replace(RGB, channels="BGR"), ""),
    "grey": (Preprocessing((16, 12), "GRAY", (100.0,), 0.02), ""),
    "prewhitened": (Preprocessing((16, 12), "RGB", (0.0, 0.0, 0.0), prewhiten=True), ""),
    "mirrored": (RGB, "only"),
    "both sides": (RGB, "mean"),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The embedded network, a head with classes, a number and two yes/no labels."""
    return write_toy(tmp_path_factory.mktemp("toy") / "predictor")


def make_graph(channels: int) -> bytes:
    """Return a network of few weights that knows left from right: (n, channels, 16, 12) to 4 numbers."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    kernel = np.random.default_rng(1).normal(0, 0.1, (4, channels, 16, 12)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["map"]),
        helper.make_node("Flatten", ["map"], ["descriptor"], axis=1),
    ]
    start = helper.make_tensor_value_info("input", kind, ["n", channels, 16, 12])
    end = helper.make_tensor_value_info("descriptor", kind, ["n", 4])
    graph = helper.make_graph(nodes, "toy", [start], [end], [onnx.numpy_helper.from_array(kernel, "kernel")])
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def write_graph_predictor(place, preprocessings, *, head, answering, channels=3):
    """Write a predictor whose networks lie in its folder as one graph, read with several preprocessings."""
    graph = make_graph(channels)
    digest = hashlib.sha256(graph).hexdigest()
    networks = [
        Network("tiny", "end", 4, digest, "", each, "made here", mirror, True)
        for each, mirror in preprocessings
    ]
    spread = Spread.fit(*np.random.default_rng(0).normal(size=(2, 200, head.width)).astype(np.float32))
    record, _ = make_record()
    record |= {
        "networks": [network.to_record() for network in networks],
        "head": head.to_record(),
        "tasks": [one.to_record() for one in answering],
        "unlike": {"flagged": spread.flagged},
    }
    return folder.write(
        place, record, {**head.arrays, **spread.to_arrays()}, {GRAPH: graph, "card.md": "# toy\n"}
    )


def one_class_head(width=4):
    kernel = np.random.default_rng(2).normal(size=(width, 1)).astype(np.float32)
    steps = (
        {"operation": "dense", "inputs": ["descriptor"], "outputs": ["a"], "arrays": ["k", "b"]},
        {"operation": "activation", "inputs": ["a"], "outputs": ["p"], "arrays": [], "activation": "sigmoid"},
    )
    return Head(width, steps, {"smile": "p"}, {"k": kernel, "b": np.zeros(1, np.float32)})


SMILE = Answering(Task("smile", CLASSES, ("no", "yes")), 1.7, 0.9, {"no": 0.5, "yes": np.inf})


def pixels_of(predictor, n=5):
    return [
        np.random.default_rng(3).integers(0, 256, (n, *each.size, 3), np.uint8)
        for each in predictor.describer.preprocessings
    ]


def compared(predictor, out, target):
    """Return own and exported answers on the same random pictures."""
    pixels = pixels_of(predictor)
    rules = exporting.export(predictor, out, target=target, pixels=pixels)
    assert rules["checked"]["largest_difference"] <= 1e-4
    run = exporting.open_graph(out / "model.onnx")
    return exporting.own_answers(predictor, pixels), run(pixels)


def test_real_weights_answer_alike_in_one_graph_and_without_this_package(real, tmp_path):
    predictor = Predictor.load(real)
    rules = exporting.export(predictor, tmp_path, target="onnx")
    assert rules["checked"]["faces"] > 30 and rules["checked"]["largest_difference"] <= 1e-4
    assert [each["name"] for each in rules["outputs"]] == ["colour", "light", "sign+mark"]
    written = json.loads((tmp_path / "preprocessing.json").read_text())
    assert written["inputs"][0]["size"] == [224, 224] and written["outputs"][0]["limits"]["blue"] == 1
    assert written["outputs"][1]["bands"] == [[100.0, 5.0], [None, 20.0]]
    assert "MIT" in (tmp_path / "README.md").read_text() and (tmp_path / "card.md").read_text() == "# toy\n"
    # Nothing of the package may be imported by what was written.
    hidden = {**os.environ, "PYTHONPATH": str(tmp_path)}
    (tmp_path / "faceworkbook.py").write_text("raise ImportError('not here')")
    command = [sys.executable, "example.py", str(FACES[0])]
    done = subprocess.run(command, cwd=tmp_path, env=hidden, capture_output=True, text=True, check=True)
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    own = predictor.predict(FACES[0], faces="whole").iloc[0]
    shares = dict(text.rsplit(" ", 1) for text in lines["colour"].split("; ")[0].split(", "))
    assert {name: float(share) for name, share in shares.items()} == pytest.approx(
        {name: own[f"p:colour={name}"] for name in ("red", "green", "blue")}, abs=0.03
    )
    assert float(lines["light"].split()[0]) == pytest.approx(own["light"], rel=0.05)
    assert "at most" in lines["light"] and "blue" in lines["colour"].split("one of: ")[1]


def test_the_keras_file_answers_alike(real, tmp_path):
    predictor = Predictor.load(real)
    rules = exporting.export(predictor, tmp_path, target="keras")
    assert rules["model"] == "model.keras" and rules["checked"]["largest_difference"] <= 1e-4
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "card.md",
        "model.keras",
        "preprocessing.json",
    ]


@pytest.mark.parametrize("name", SEVERAL)
def test_every_preprocessing_is_in_the_graph(name, tmp_path):
    preprocessing, mirror = SEVERAL[name]
    channels = 1 if preprocessing.channels == "GRAY" else 3
    place = write_graph_predictor(
        tmp_path / "predictor",
        [(preprocessing, "")],
        head=one_class_head(),
        answering=[SMILE],
        channels=channels,
    )
    predictor = Predictor.load(place)
    if mirror:
        # Of a registered network both sides are run by the engine; here the graph must do it alone.
        pixels = pixels_of(predictor)
        turned = [np.ascontiguousarray(each[:, :, ::-1]) for each in pixels]
        network = replace(predictor.describer.networks[0], mirror=mirror)
        plain, other = (predictor.describer.run(each) for each in (pixels, turned))
        expected = other if mirror == "only" else (plain + other) / 2
        described = replace(predictor, describer=replace(predictor.describer, networks=(network,)))
        exporting.save_graph(exporting.export_graph.build(described), tmp_path / "model.onnx")
        made = exporting.open_graph(tmp_path / "model.onnx")(pixels)["smile"]
        want = SMILE.calibrate(SMILE.task.decode(predictor.head.run(expected)["smile"]))
        assert np.abs(made - want).max() < 1e-5 and np.ptp(want) > 0.01
        return
    own, exported = compared(predictor, tmp_path / "out", "onnx")
    assert exported["smile"].shape == (5, 2) and np.ptp(own["smile"]) > 1e-3
    np.testing.assert_allclose(exported["smile"], own["smile"], atol=1e-5)


def test_several_networks_have_an_input_for_each_preprocessing(tmp_path):
    other = replace(RGB, mean=(0.0, 0.0, 0.0), interpolation="bicubic")
    place = write_graph_predictor(
        tmp_path / "predictor",
        [(RGB, ""), (other, ""), (RGB, "")],
        head=one_class_head(12),
        answering=[SMILE],
    )
    own, exported = compared(Predictor.load(place), tmp_path / "out", "onnx")
    np.testing.assert_allclose(exported["smile"], own["smile"], atol=1e-5)
    rules = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    assert [each["name"] for each in rules["inputs"]] == ["picture_0", "picture_1"]


def every_operation():
    """A head with every operation, activation and kind of task."""
    rng = np.random.default_rng(4)
    arrays = {
        "mean": rng.normal(size=4),
        "factor": rng.normal(size=4),
        "mix": rng.normal(size=(2, 2)),
        "k": rng.normal(size=(4, 4)),
        "b": rng.normal(size=4),
        "k3": rng.normal(size=(8, 3)),
        "b3": rng.normal(size=3),
        "k2": rng.normal(size=(2, 2)),
        "b2": rng.normal(size=2),
        "k1": rng.normal(size=(4, 1)),
        "b1": rng.normal(size=1),
    }

    def step(operation, inputs, outputs, names=(), **more):
        return {"operation": operation, "inputs": inputs, "outputs": outputs, "arrays": list(names), **more}

    def act(name, x, y):
        return step("activation", [x], [y], activation=name)

    steps = (
        step("scale", ["descriptor"], ["s"], ("factor", "mean")),
        step("dense", ["s"], ["d"], ("k", "b")),
        *(act(name, "d", name) for name in ("relu", "relu6", "silu", "tanh", "linear")),
        step("mix", ["relu", "silu"], ["m0", "m1"], ("mix",)),
        step("add", ["m0", "m1", "relu6"], ["sum"]),
        step("concatenate", ["sum", "tanh"], ["both"]),
        step("dense", ["both"], ["d3"], ("k3", "b3")),
        step("sort", ["d3"], ["rising"]),
        act("softmax", "rising", "three"),
        step("columns", ["linear"], ["first"], first=1, last=3),
        step("dense", ["first"], ["d2"], ("k2", "b2")),
        act("softmax", "d2", "two"),
        act("sigmoid", "d2", "signs"),
        step("dense", ["sum"], ["years"], ("k1", "b1")),
    )
    outputs = {"band": "three", "gender": "two", "sign+mark": "signs", "age": "years"}
    return Head(4, steps, outputs, {name: np.asarray(a, np.float32) for name, a in arrays.items()})


EVERY_TASK = [
    Answering(
        Task("band", ORDERED, ("a", "b", "c"), "years", (10.0, 20.0, 30.0)), 1.3, 0.9, bands=((np.inf, 4.0),)
    ),
    Answering(Task("gender", CLASSES, ("male", "female"))),
    Answering(Task("sign+mark", MULTILABEL, ("sign", "mark"))),
    Answering(Task("age", NUMBER, unit="years")),
]


@pytest.mark.parametrize("build", ["export_graph", "export_keras"])
def test_every_operation_and_kind_of_task(build, tmp_path):
    head = every_operation()
    place = write_graph_predictor(tmp_path / "predictor", [(RGB, "")], head=head, answering=EVERY_TASK)
    predictor = Predictor.load(place)
    own, exported = compared(predictor, tmp_path / "out", "onnx")
    assert sorted(own) == ["age", "band", "band value", "gender", "sign+mark"]
    if build == "export_keras":
        from faceworkbook.backbones import import_keras
        from faceworkbook.serving import export_keras

        keras = import_keras()
        start, outputs = keras.Input((4,)), {}
        tensors = export_keras._add_head(head, start)
        for one in EVERY_TASK:
            outputs |= export_keras._make_answer(one, tensors[one.task.name])
        keras.Model(start, outputs).save(tmp_path / "head.keras")
        model = keras.saving.load_model(tmp_path / "head.keras", safe_mode=True)
        exported = model(predictor.describer.run(pixels_of(predictor)))
    for name, values in own.items():
        np.testing.assert_allclose(np.asarray(exported[name]), values, atol=1e-4, rtol=1e-4, err_msg=name)


def test_a_task_may_be_called_like_the_input(tmp_path):
    head = one_class_head()
    head = replace(head, outputs={"picture": "p"})
    one = replace(SMILE, task=replace(SMILE.task, name="picture"))
    place = write_graph_predictor(tmp_path / "predictor", [(RGB, "")], head=head, answering=[one])
    own, exported = compared(Predictor.load(place), tmp_path / "out", "onnx")
    np.testing.assert_allclose(exported["picture"], own["picture"], atol=1e-5)


def test_answers_that_differ_are_not_handed_over(tmp_path, monkeypatch):
    place = write_graph_predictor(
        tmp_path / "predictor", [(RGB, "")], head=one_class_head(), answering=[SMILE]
    )
    predictor = Predictor.load(place)
    monkeypatch.setattr(exporting, "own_answers", lambda *a: {"smile": np.zeros((5, 2))})
    with pytest.raises(PredictorError, match=r"smile differ by .* \(at most 0.0001\)"):
        exporting.export(predictor, tmp_path / "out", target="onnx", pixels=pixels_of(predictor))
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_the_folder_works_on_another_machine(real, tmp_path, monkeypatch):
    predictor = Predictor.load(real)
    rules = exporting.export(predictor, tmp_path / "out", target="folder")
    assert "faceres_deep.h5" in rules["files"] and "licence" in rules["terms"][0]
    moved = shutil.copytree(tmp_path / "out", tmp_path / "elsewhere" / "predictor")
    # The package has its detector there and no network.
    shutil.copytree(REPO / "weights" / "yunet", tmp_path / "package" / "weights" / "yunet")
    monkeypatch.setattr("faceworkbook.project.SHIPPED", tmp_path / "package")
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path / "elsewhere"))
    other = Predictor.load(moved)
    assert other.describer.weights == (moved / "faceres_deep.h5",)
    assert other.fingerprint == predictor.fingerprint


def test_a_network_of_ones_own_travels_with_its_side_car(tmp_path, monkeypatch):
    home, head, record = tmp_path / "home", one_class_head(), make_record()[0]
    (home / "weights").mkdir(parents=True)
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(home))
    (home / "weights" / "mine.onnx").write_bytes(make_graph(3))
    text = "size: [16, 12]\nchannels: BGR\nmean: 127.5\nscale: 1/127.5\nnormalisation: L2\nlicence: mine\nsource: here\n"
    (home / "weights" / "mine.yaml").write_text(text)
    from faceworkbook import backbones

    spread = Spread.fit(*np.random.default_rng(0).normal(size=(2, 200, 4)).astype(np.float32))
    record |= {
        "networks": [Network.of(backbones.load("mine")).to_record()],
        "head": head.to_record(),
        "tasks": [SMILE.to_record()],
        "unlike": {"flagged": spread.flagged},
    }
    place = folder.write(tmp_path / "predictor", record, {**head.arrays, **spread.to_arrays()}, {})
    predictor = Predictor.load(place)
    own, exported = compared(predictor, tmp_path / "out", "onnx")
    np.testing.assert_allclose(exported["smile"], own["smile"], atol=1e-5)
    with pytest.raises(PredictorError, match=r"mine is an ONNX network.*--to onnx"):
        exporting.export(predictor, tmp_path / "keras", target="keras")
    rules = exporting.export(predictor, tmp_path / "elsewhere", target="folder")
    assert {"mine.onnx", "mine.yaml"} <= set(rules["files"])
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path / "nobody"))
    assert Predictor.load(tmp_path / "elsewhere").describer.weights[0].name == "mine.onnx"


def test_int8_is_measured_on_faces_that_it_was_not_calibrated_on(tmp_path):
    place = write_graph_predictor(
        tmp_path / "predictor", [(RGB, "")], head=one_class_head(), answering=[SMILE]
    )
    predictor = Predictor.load(place)
    rows = [f"images/{path.name}" for path in FACES[:40]]
    table = pd.DataFrame(
        {"face_id": rows, "image": rows, "split": ["train", "test"] * 20, "smile": ["no", "yes"] * 20}
    )
    table = table.assign(**dict.fromkeys(("top", "left", "bottom", "right"), np.nan), identity=None)
    table["smile"] = pd.Categorical(["no", "no", "yes", "yes"] * 10)
    calibration, measured = export_int8.draw_faces(predictor, table, REPO / "data" / "synthetic", n=15)
    assert set(calibration.table["split"]) == {"train"} and set(measured.table["split"]) == {"test"}
    assert len(measured.table) == 15 == len(measured.pixels[0])
    out = tmp_path / "out"
    rules = exporting.export(predictor, out, target="onnx", pixels=pixels_of(predictor))
    rules = export_int8.add(predictor, out, rules, (calibration, measured), dataset="rendered faces")
    cost = json.loads((out / "preprocessing.json").read_text())["int8"]
    assert cost["calibrated_on"] == 20 and cost["measured_on"] == 15 and (out / "model_int8.onnx").is_file()
    (task,) = cost["tasks"]
    assert task["task"] == "smile" and 0.5 < task["same_class"]["value"] <= 1 and task["figure"]["n"] == 15
    assert task["figure"]["difference"] == pytest.approx(task["figure"]["int8"] - task["figure"]["float32"])
    assert "15 others" in (out / "README.md").read_text() and "same class" in rules["int8"]["sentences"][2]
    with pytest.raises(PredictorError, match="3 faces to measure int8 on"):
        export_int8.draw_faces(predictor, table, REPO / "data" / "synthetic", n=3)


def test_cost_of_a_number_has_its_interval_the_right_side_up():
    table = pd.DataFrame({"face_id": [str(i) for i in range(40)], "age": np.arange(40.0), "identity": None})
    rng = np.random.default_rng(0)
    before = np.arange(40.0) + rng.normal(0, 1, 40)
    after = before + rng.normal(0, 3, 40)
    one = Answering(Task("age", NUMBER, unit="years"))
    figure = export_int8.compare(one, table, {"age": before}, {"age": after})["figure"]
    assert figure["int8"] > figure["float32"] and figure["low"] < figure["difference"] < figure["high"]
    assert (
        export_int8.compare(one, table.drop(columns="age"), {"age": before}, {"age": after})["figure"] is None
    )


def test_the_command(real, tmp_path, capsys):
    out = tmp_path / "whole"
    assert cli.main(["export", str(real), "--to", "folder", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "licence" in printed and "faceres_deep.h5" in printed
    # A second time writes the same anew.
    assert cli.main(["export", str(real), "--to", "folder", "--out", str(out)]) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    for wrong, sentence in (
        (["--to", "keras", "--int8"], "--int8 goes with --to onnx"),
        (["--to", "onnx", "--dataset", "fairface"], "--int8, which is missing"),
        (["--to", "onnx", "--int8", "--dataset", "fairface"], "go together"),
        (["--to", "folder", "--out", str(tmp_path / "mine")], "holds other files"),
        (["--to", "folder", "--out", str(tmp_path / "mine" / "thesis.txt")], "is a file"),
        (["--to", "folder", "--out", str(real)], "own folder"),
    ):
        assert cli.main(["export", str(real), *wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose"


def test_an_upload_of_one_colour_stays_within_the_tolerance_at_the_ends(real, tmp_path):
    predictor = Predictor.load(real)
    pictures = [
        predictor.cutter.cut(plain_picture(c), faces="whole")[0].pixels for c in ((0, 0, 0), (255, 255, 255))
    ]
    rules = exporting.export(predictor, tmp_path, target="onnx", pixels=exporting.stack(pictures))
    assert rules["checked"] == {"faces": 2, "largest_difference": pytest.approx(0, abs=1e-4), "allowed": 1e-4}

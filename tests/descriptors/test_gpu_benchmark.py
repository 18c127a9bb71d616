"""The benchmark of a GPU with toy sizes on a processor: its whole table, and what an engine that fails leaves in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import fresh_process, gpu
from faceworkbook.descriptors.engines import devices, onnx_graph
from tests.descriptors.test_engines import noise, toy
from tests.descriptors.test_gpu_engine import made

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("onnx", reason="the extra [fast] is not installed")
__all__ = ["toy"]


@pytest.fixture
def here(toy, monkeypatch):
    """Run what has a process of its own in this one, on a toy and a few rows."""
    monkeypatch.setattr(
        fresh_process, "call", lambda _, function, *given, environment=None: getattr(gpu, function)(*given)
    )
    monkeypatch.setattr(gpu, "vgg_face_file", lambda: toy.weights)
    monkeypatch.setattr(gpu, "ON_CPU", ("keras",))
    small = gpu.small_nets
    monkeypatch.setattr(gpu, "small_nets", lambda policy, n: small(policy, 60, d=8, fits=2, epochs=1))
    monkeypatch.setattr(devices, "find_gpu", lambda: None)


def test_one_call_fills_the_whole_table(here):
    tables = gpu.speeds(
        ("vgg_face",), precisions=("float32", "bfloat16"), batches=(1, 4), n_files=5, seconds=0.001
    )
    ((title, speeds),), (training,) = tables.items(), gpu.training(0.001).values()
    assert title == "vgg_face on the CPU, without a card"
    assert [*speeds.index] == [("keras", p, n) for p in ("float32", "bfloat16") for n in (1, 4)]
    assert (speeds[["memory, faces/s", "limit, faces/s", "share of the limit", "GB"]] > 0).all(axis=None)
    assert speeds["store, faces/s"].notna().tolist() == [False, True] * 2
    assert speeds["relative error"].loc["keras", "bfloat16"].gt(0).all()
    assert (training["faces/s"] > 0).all() and len(training) == 4
    assert training["result"].notna().all() and "XLA" in training
    assert [*training.index.get_level_values("precision")] == ["float32"] * 2 + ["mixed_bfloat16"] * 2
    lines = gpu.as_markdown(speeds.reset_index()).splitlines()
    assert len(lines) == 6 and len({line.count("|") for line in lines}) == 1


def test_an_engine_that_fails_is_a_line_with_the_reason():
    def fail():
        raise RuntimeError("Traceback ...\nValueError: engine='gpu' needs an NVIDIA GPU")

    (row,) = gpu.attempt(fail, engine="gpu", precision="float16")
    assert row["note"] == "ValueError: engine='gpu' needs an NVIDIA GPU"
    assert (row["engine"], row["precision"]) == ("gpu", "float16")


def test_training_on_a_card_stands_beside_the_processors_and_what_fails_has_a_line(monkeypatch):
    monkeypatch.setattr(devices, "find_gpu", lambda: devices.Gpu("H100", 9.0, 81559, "1"))
    without_card = []

    def train(function, policy, *given, environment=None):
        if True in given:
            raise RuntimeError("it ran out of memory")
        without_card.append(environment == {"CUDA_VISIBLE_DEVICES": "-1"})
        return {"what": function, "precision": policy, "faces/s": 1.0, "result": 0.25 if environment else 0.5}

    monkeypatch.setattr(gpu, "train_apart", train)
    ((title, table),) = gpu.training(0.0).items()
    assert title == "training on H100" and without_card == [False] * 4 + [True] * 2
    done = table[table["note"].isna()]
    assert (done["by the CPU in float32"] == 0.25).all() and (done["result"] == 0.5).all() and len(done) == 4
    assert table["note"].dropna().tolist() == ["it ran out of memory"] * 2


def test_kernels_are_timed_with_faces_on_the_device(toy, tmp_path):
    onnx_graph.write(toy.model, tmp_path)
    runner = made(tmp_path, toy.preprocessing, sizes=(2,))
    assert gpu.kernels_alone(runner, noise(toy, 2), 0.001) > 0


@pytest.mark.parametrize(
    ("name", "expected"), [("NVIDIA H100 80GB HBM3", 989.4e12), ("NVIDIA H100 PCIe", 756e12)]
)
def test_the_limit_is_the_cards_by_its_name(monkeypatch, name, expected):
    monkeypatch.setattr(devices, "find_gpu", lambda: devices.Gpu(name, 9.0, 81559, "1"))
    assert gpu.peak("float16") == expected
    monkeypatch.setattr(devices, "find_gpu", lambda: devices.Gpu("Another", 9.0, 81559, "1"))
    assert np.isnan(gpu.peak("float16"))


def test_numbers_have_three_digits_and_unknown_ones_none():
    table = pd.DataFrame({"a": [1234.5, 0.01234, float("nan")], "b": ["x", "y", "z"]})
    assert gpu.as_markdown(table).splitlines()[2:] == ["| 1,234 | x |", "| 0.0123 | y |", "|  | z |"]

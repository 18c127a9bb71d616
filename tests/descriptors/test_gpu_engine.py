"""The engine for a GPU, run by ONNX Runtime's CPU provider: the same graph, binding, batches and order."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from faceworkbook import images
from faceworkbook.descriptors import engines
from faceworkbook.descriptors.engines import device_graph, gpu_engine, keras_engine, lanes, onnx_graph
from faceworkbook.descriptors.engines.devices import CUDA, TENSORRT
from tests.descriptors.test_engines import every_layer, noise, reference, toy
from tests.support.networks import compute

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

onnx = pytest.importorskip("onnx", reason="the extra [fast] is not installed")
__all__ = ["toy"]
CPU = "CPUExecutionProvider"


def made(folder, preprocessing, **options):
    return gpu_engine.GpuEngine(folder / "model.onnx", preprocessing, provider=CPU, **options)


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """Every layer with a translation, its graph and its preprocessing."""
    model, folder = every_layer(), tmp_path_factory.mktemp("layers")
    rng = np.random.default_rng(2)
    for variable in model.weights:
        least = 0.2 if "variance" in variable.name else -0.5
        variable.assign(rng.uniform(least, 0.6, variable.shape))
    onnx_graph.write(model, folder)
    return model, folder, images.Preprocessing((31, 29), "RGB", (120.0, 110.0, 100.0), 1 / 128)


@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-5), ("float16", 5e-3)])
def test_it_gives_the_descriptors_of_keras(toy, tmp_path, precision, limit):
    net, pixels = toy.at("fc7"), noise(toy, 5)
    onnx_graph.write(net.model, tmp_path)
    runner = made(tmp_path, net.preprocessing, precision=precision, sizes=(2, 4))
    result = runner.run(pixels)
    assert result.shape == (5, net.dim) and result.dtype == np.float32
    difference = engines.compare(result, reference(net, pixels))
    assert difference["relative_error"] < limit and engines.agrees(difference, precision)
    assert runner.settings["precision"] == precision and runner.settings["batches"] == [2, 4]
    assert runner.batch_size == 4 and not runner.settings["page-locked"]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_every_layer_and_normalisation_that_no_convolution_takes_in(layers, precision):
    model, folder, record = layers
    pixels = np.random.default_rng(3).integers(0, 256, (3, 31, 29, 3), np.uint8)
    result = made(folder, record, precision=precision, sizes=(3,)).run(pixels)
    expected = compute(model, images.network_input(pixels, record))
    np.testing.assert_allclose(result, expected, rtol=1e-3 if precision == "float32" else 3e-2, atol=1e-3)


@pytest.mark.parametrize("follows", ["conv", "pool"])
def test_normalisation_is_folded_where_it_can_be_and_else_stays_in_float32(tmp_path, follows):
    import keras

    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=follows == "conv")(x)
    x = keras.layers.MaxPooling2D(2)(x) if follows == "pool" else x
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    model, rng = keras.Model(inputs, x), np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.2, 0.6, variable.shape))
    model.layers[-2].moving_variance.assign([1e6, 2e6, 3e6, 4e6])  # more than float16 holds
    onnx_graph.write(model, tmp_path)
    record = images.Preprocessing((8, 8), "BGR", (120.0, 110.0, 100.0))
    graph = device_graph.read(tmp_path / "model.onnx", record, half=True).graph
    kinds = [node.op_type for node in graph.node]
    assert ("BatchNormalization" in kinds) == (follows == "pool")
    pixels = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    result = made(tmp_path, record, precision="float16", sizes=(2,)).run(pixels)
    expected = compute(model, images.network_input(pixels, record))
    assert engines.compare(result, expected)["relative_error"] < 2e-3


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        ("GRAY", {"mean": (10.0,), "scale": 1 / 255}),
        ("BGR", {"mean": (10.0, 20.0, 30.0), "scale": (0.1, 0.2, 0.3)}),
        ("RGB", {"mean": (0.0,) * 3, "prewhiten": True}),
    ],
)
def test_bytes_go_up_and_are_prepared_on_the_device(tmp_path, channels, options):
    import keras

    depth = 1 if channels == "GRAY" else 3
    model = keras.Sequential([keras.Input((5, 4, depth)), keras.layers.Flatten()])
    onnx_graph.write(keras.Model(model.inputs, model.outputs), tmp_path)
    record = images.Preprocessing((5, 4), channels, **options)
    (start,) = device_graph.read(tmp_path / "model.onnx", record).graph.input
    assert start.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    pixels[2] = 77
    expected = images.network_input(pixels, record).reshape(3, -1)
    np.testing.assert_allclose(made(tmp_path, record, sizes=(4,)).run(pixels), expected, atol=1e-5)


def test_order_and_tail_whatever_the_number_of_faces(layers):
    _, folder, record = layers
    pixels = np.random.default_rng(4).integers(0, 256, (23, 31, 29, 3), np.uint8)
    runner = made(folder, record, sizes=(2, 5))
    whole = runner.run(pixels)
    for start, stop in ((0, 1), (1, 8), (8, 23), (3, 5)):
        np.testing.assert_allclose(runner.run(pixels[start:stop]), whole[start:stop], rtol=1e-4, atol=1e-6)
    assert runner.run(pixels[:0]).shape == (0, 7)
    assert len(np.unique(whole.round(6), axis=0)) == 23


def test_batches_have_a_few_sizes_only():
    for n in range(1, 40):
        pieces = lanes.divide(n, (2, 4, 8))
        assert [p.start for p in pieces] == [0, *(p.stop for p in pieces[:-1])] and pieces[-1].stop == n
        assert {p.size for p in pieces} <= {2, 4, 8}
        assert all(p.size >= p.stop - p.start for p in pieces)
        assert pieces[-1].size // 2 < pieces[-1].stop - pieces[-1].start or pieces[-1].size == 2
    assert lanes.divide(0, (2, 4)) == []


def test_an_error_in_one_batch_ends_the_call_and_the_next_one_works(layers, monkeypatch):
    _, folder, record = layers
    runner = made(folder, record, sizes=(1,))
    pixels = np.zeros((4, 31, 29, 3), np.uint8)
    with pytest.raises(ValueError, match="could not broadcast"):
        runner.run(pixels[:, :5])
    assert runner.run(pixels).shape == (4, 7)


def test_strict_float32_forbids_tf32_and_lower_precisions_read_channels_last(tmp_path):
    asked = {
        p: dict([gpu_engine.provider_options(CUDA, p, tmp_path)[0]])[CUDA]
        for p in ("float32", "tf32", "float16")
    }
    assert {name: options["use_tf32"] for name, options in asked.items()} == {
        "float32": 0,
        "tf32": 1,
        "float16": 0,
    }
    for option in ("prefer_nhwc", "fuse_conv_bias"):
        assert [asked[name][option] for name in ("float32", "tf32", "float16")] == [0, 1, 1]
    (name, options), (then, _) = gpu_engine.provider_options(TENSORRT, "bfloat16", tmp_path)
    assert (name, then) == (TENSORRT, CUDA)
    assert options["trt_bf16_enable"] and not options["trt_fp16_enable"]
    assert options["trt_engine_cache_enable"] and options["trt_engine_cache_path"] == str(tmp_path)


def test_a_provider_that_does_not_run_is_named(layers):
    _, folder, record = layers
    with pytest.raises(
        gpu_engine.DeviceError, match="does not run on CUDAExecutionProvider here but on CPUExecution"
    ):
        gpu_engine.GpuEngine(folder / "model.onnx", record)


class Runtime:
    """CUDA's runtime as far as pages go: what is locked twice is an error, which the next call finds."""

    def __init__(self):
        self.locked, self.error = {}, 0

    def cudaHostRegister(self, place, size, flags):
        self.error = 712 if place.value in self.locked else 0
        self.locked.setdefault(place.value, size.value)
        return self.error

    def cudaHostUnregister(self, place):
        del self.locked[place.value]
        return 0

    def cudaGetLastError(self):
        error, self.error = self.error, 0
        return error


def test_pages_are_locked_while_a_lane_lives(monkeypatch):
    runtime = Runtime()
    monkeypatch.setattr(lanes, "_load_runtime", lambda: runtime)
    lane = lanes.Lane(2, (8, 8, 3), 4, locked=True)
    assert lane.is_locked and sorted(runtime.locked.values()) == [2 * 4 * 4, 2 * 8 * 8 * 3]
    del lane
    gc.collect()
    assert not runtime.locked


def test_pages_that_cannot_be_locked_leave_no_error_behind(monkeypatch):
    runtime = Runtime()
    monkeypatch.setattr(lanes, "_load_runtime", lambda: runtime)
    array = np.zeros(8, np.uint8)
    runtime.locked[array.ctypes.data] = 8
    assert not lanes.lock_pages(runtime, array)
    assert runtime.error == 0


def test_keras_reads_bytes_where_they_lie(toy):
    net, pixels = toy.at("fc7"), noise(toy, 5)
    runner = keras_engine.KerasEngine(net, device="cpu")
    expected = runner.run(pixels)
    runner._lanes = lanes.Lanes(2, (2, 4), pixels.shape[1:], net.dim, locked=False)
    seen = []

    def compute(lane, size):
        seen.append((lane.pixels.ctypes.data % 64, size))
        return runner._compute_lane(lane, size)

    np.testing.assert_allclose(runner._lanes.run(pixels, compute), expected, rtol=1e-5)
    assert sorted(seen) == [(0, 2), (0, 4)]
    np.testing.assert_allclose(runner.run(pixels[::-1]), expected[::-1], rtol=1e-5)
    assert runner.run(pixels[:0]).shape == (0, net.dim)


def test_several_threads_share_the_lanes():
    shared = lanes.Lanes(3, (2, 4), (1, 1, 3), 3, locked=False)
    numbers = np.arange(60, dtype=np.uint8).reshape(-1, 1, 1, 3)
    with ThreadPoolExecutor(4) as executor:
        results = list(
            executor.map(lambda k: shared.run(numbers[k:], lambda lane, n: lane.pixels[:n, 0, 0]), range(8))
        )
    for k, result in enumerate(results):
        np.testing.assert_array_equal(result, numbers[k:, 0, 0])

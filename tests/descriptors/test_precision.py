"""Precisions: strict float32 is the reference's, each lower one keeps its tolerance and says what it costs."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from benchmarks import emulated
from faceworkbook.backbones import BackboneError
from faceworkbook.descriptors import engines
from faceworkbook.descriptors.engines import base, devices, keras_engine, prepare
from tests.descriptors.test_engines import converted, noise, reference, toy

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("onnx", reason="the extra [fast] is not installed")
__all__ = ["toy"]
H100 = devices.Gpu("H100", 9.0, 81559, "570.1")
T4 = devices.Gpu("Tesla T4", 7.5, 15360, "550.9")


@pytest.fixture
def card(monkeypatch):
    """``card(gpu, providers)`` plants what the driver and ONNX Runtime answer."""

    def plant(gpu, *providers):
        monkeypatch.setattr(devices, "find_gpu", lambda: gpu)
        monkeypatch.setattr(devices, "providers", lambda: providers)
        monkeypatch.setattr(engines, "MIN_BYTES", 0)

    return plant


@pytest.mark.parametrize("engine", ["keras", "winograd", "onnx"])
def test_strict_float32_is_the_reference_to_1e_4(toy, tmp_path, engine):
    net, pixels = toy.at("fc7"), noise(toy)
    runner = engines.choose(net, engine="keras") if engine == "keras" else converted(net, tmp_path, engine)
    difference = engines.compare(runner.run(pixels), reference(net, pixels))
    assert difference["relative_error"] < 1e-4 == base.TOLERANCES["float32"].relative_error


@pytest.mark.skipif(devices.find_gpu() is None, reason="no NVIDIA GPU")
@pytest.mark.parametrize("engine", ["keras", "gpu"])
def test_strict_float32_on_a_gpu_is_the_processor_s_to_1e_4(toy, monkeypatch, engine):
    monkeypatch.setattr(engines, "MIN_BYTES", 0)
    net, pixels = toy.at("fc7"), noise(toy)
    runner = engines.choose(net, engine=engine, check_pixels=pixels)
    if not base.is_on_gpu(runner):
        pytest.skip(f"{engine} does not compute on the GPU here")
    expected = keras_engine.KerasEngine(net, device="cpu").run(pixels)
    assert engines.compare(runner.run(pixels), expected)["relative_error"] < 1e-4


@pytest.mark.skipif(devices.find_gpu() is None, reason="no NVIDIA GPU")
def test_what_is_trained_and_predicted_on_a_gpu_is_no_tf32():
    import tensorflow as tf

    a, b = np.random.default_rng(0).standard_normal((2, 512, 512)).astype(np.float32)
    with tf.device("/GPU:0"):
        product = tf.linalg.matmul(a, b).numpy()
    np.testing.assert_allclose(product, a.astype(float) @ b, atol=1e-3)  # in TF32 they differ by some 2e-2


@pytest.mark.parametrize(("precision", "least"), [("tf32", 1e-4), ("bfloat16", 1e-3)])
def test_what_a_device_rounds_is_no_strict_float32_and_within_its_own_tolerance(toy, precision, least):
    """A GPU that computes float32 in TF32 passed for float32."""
    net, pixels = toy.at("fc7"), noise(toy)
    difference = engines.compare(emulated.EmulatedEngine(net, precision).run(pixels), reference(net, pixels))
    assert difference["relative_error"] > least
    assert not engines.agrees(difference)
    assert engines.agrees(difference, precision)


def test_mantissas_are_rounded_to_their_bits():
    values = np.float32([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-12, -3.0, 1e-3, 0.0])
    rounded = emulated.round_mantissa(values, 10)
    assert rounded[[0, 3, 5]].tolist() == values[[0, 3, 5]].tolist()
    assert rounded[1] in (1, 1 + 2**-10) and rounded[2] == np.float32(1 + 2**-10)
    assert abs(rounded[4] - values[4]) <= 2**-11 * values[4]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_sixteen_bits_are_checked_against_float32_and_recorded(toy, precision):
    net, pixels = toy.at("fc7"), noise(toy)
    runner = engines.choose(net, precision=precision, check_pixels=pixels)
    result = runner.run(pixels)
    assert result.dtype == np.float32 and runner.name == "keras"
    difference = engines.compare(result, reference(net, pixels))
    assert engines.agrees(difference, precision) and not engines.agrees(difference)
    assert runner.settings["precision"] == precision
    assert runner.settings["relative_error"] == pytest.approx(difference["relative_error"], abs=1e-6)


def test_a_network_that_bears_no_rounding_is_refused(toy, monkeypatch):
    monkeypatch.setitem(base.TOLERANCES, "bfloat16", base.Tolerance(1.0, 1e-7))
    with pytest.raises(
        BackboneError, match=r"other descriptors in bfloat16 .*at most 1e-07.*precision='float32'"
    ):
        engines.choose(toy.at("fc7"), precision="bfloat16", check_pixels=noise(toy))


def test_int8_that_is_too_far_off_is_refused(toy, monkeypatch):
    far = {"cosine": 0.5, "relative_error": 0.9}
    monkeypatch.setattr(prepare, "prepared", lambda *args, **options: {"onnx": far})
    with pytest.raises(
        BackboneError, match=r"cannot be quantised to int8 .*cosine 0.500000 \(at least 0.9\)"
    ):
        engines.choose(toy, precision="int8", check_pixels=noise(toy))


def test_tf32_is_switched_off_for_float32_and_left_as_it_was():
    import tensorflow as tf

    switch = tf.config.experimental
    before = switch.tensor_float_32_execution_enabled()
    for allowed in (False, True):
        with keras_engine._TF32.set(allowed):
            assert switch.tensor_float_32_execution_enabled() == allowed
        assert switch.tensor_float_32_execution_enabled() == before


def test_threads_share_the_switch_of_tf32_where_they_want_it_the_same_way():
    """Of two at once, the first one to end left the other to compute in TF32."""
    import tensorflow as tf

    switch = tf.config.experimental
    before, entered, seen = switch.tensor_float_32_execution_enabled(), threading.Event(), []

    def use(allowed):
        with keras_engine._TF32.set(allowed):
            entered.set()
            seen.append((allowed, switch.tensor_float_32_execution_enabled()))

    other = threading.Thread(target=use, args=(True,))
    with keras_engine._TF32.set(False):
        use(False)
        entered.clear()
        other.start()
        assert not entered.wait(0.05) and not switch.tensor_float_32_execution_enabled()
    other.join()
    assert seen == [(False, False), (True, True)]
    assert switch.tensor_float_32_execution_enabled() == before


def test_a_processor_refuses_tf32_in_one_sentence(toy, card):
    card(None)
    with pytest.raises(
        ValueError, match=r"compute capability 8.0 or higher alone, and there is none here; expected"
    ):
        engines.choose(toy, precision="tf32")
    card(T4)
    with pytest.raises(ValueError, match=r"and Tesla T4 has 7.5; expected"):
        engines.choose(toy, precision="tf32")
    with pytest.raises(
        ValueError, match="engine='onnx' has no float16; expected 'keras', 'gpu', 'tensorrt' or 'auto'"
    ):
        engines.choose(toy, engine="onnx", precision="float16")


def test_auto_takes_the_gpu_that_is_there(toy, card, monkeypatch):
    card(H100, devices.CUDA, "CPUExecutionProvider")
    asked = []
    monkeypatch.setattr(
        prepare,
        "prepared",
        lambda *args, engines, made_for: asked.append(made_for) or dict.fromkeys(engines, GOOD),
    )
    monkeypatch.setattr(prepare, "make", lambda name, *args, **options: Made(name, options["precision"]))
    for precision in ("float32", "tf32", "float16"):
        made = engines.choose(toy, precision=precision)
        assert (made.name, made.settings["precision"]) == ("gpu", precision)
    assert [one["device"][0] for one in asked] == ["H100"] * 3
    assert [one["precision"] for one in asked] == ["float32", "tf32", "float16"]
    assert engines.choose(toy, engine="winograd").name == "winograd" and "device" not in asked[-1]


def test_auto_without_its_package_goes_on_with_one_sentence(toy, card, monkeypatch):
    card(H100, "CPUExecutionProvider")
    monkeypatch.setattr(engines, "_tensorflow_sees_gpu", lambda: True)
    monkeypatch.setattr(engines, "_keras", lambda *args: "keras")
    with pytest.warns(
        engines.EngineWarning, match=r"'gpu' on H100 needs .*faceworkbook\[gpu\].*Keras on that GPU"
    ):
        assert engines.choose(toy) == "keras"
    monkeypatch.setattr(engines, "_tensorflow_sees_gpu", lambda: False)
    monkeypatch.setattr(prepare, "prepared", lambda *args, **options: {"winograd": GOOD})
    monkeypatch.setattr(prepare, "make", lambda name, *args, **options: Made(name, "float32"))
    with pytest.warns(engines.EngineWarning, match="the CPU computes in its place"):
        assert engines.choose(toy).name == "winograd"


def test_a_named_device_that_is_missing_is_refused(toy, card):
    card(None, devices.CUDA)
    with pytest.raises(ValueError, match="engine='gpu' needs an NVIDIA GPU, and this process sees none"):
        engines.choose(toy, engine="gpu")
    card(H100, devices.CUDA)
    with pytest.raises(ValueError, match="needs an ONNX Runtime with TensorrtExecutionProvider"):
        engines.choose(toy, engine="tensorrt", precision="float16")
    with pytest.raises(ValueError, match="engine='tensorrt' has no float32"):
        engines.choose(toy, engine="tensorrt")


GOOD = {"cosine": 1.0, "relative_error": 1e-5}


@dataclasses.dataclass
class Made:
    name: str
    precision: str

    def __post_init__(self):
        self.settings = {"precision": self.precision}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("NVIDIA H100 80GB HBM3, 9.0, 81559, 570.133.20\n", ("NVIDIA H100 80GB HBM3", 9.0, 81559)),
        ("", None),
        ("NVIDIA-SMI has failed\n", None),
        ("Old, [N/A], 81559, 1\n", None),
    ],
)
def test_the_drivers_answer_is_read(answer, expected):
    gpu = devices.parse(answer)
    assert (gpu and gpu[:3]) == expected


@pytest.mark.parametrize("hidden", ["", "-1", " "])
def test_a_hidden_card_is_none(monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr(devices, "_ask_driver", lambda which: H100)
    assert devices.find_gpu() is None

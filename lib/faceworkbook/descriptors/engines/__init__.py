"""Engines that compute descriptors: Keras, the reference, and faster ones that are checked against it."""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import json
import platform
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np

from faceworkbook.backbones import UNTRAINED, Backbone, BackboneError, import_keras
from faceworkbook.descriptors.engines import devices
from faceworkbook.descriptors.engines.base import (
    FLOAT32,
    PRECISIONS,
    TOLERANCES,
    Engine,
    EngineWarning,
    agrees,
    compare,
    describe_difference,
    describe_version,
)
from faceworkbook.descriptors.engines.devices import CUDA, TENSORRT, TF32_SINCE, Gpu
from faceworkbook.descriptors.engines.mirrored import MirroredEngine

__all__ = ["PRECISIONS", "TOLERANCES", "Engine", "EngineWarning", "agrees", "check", "choose", "compare"]

# What each computes, in the order in which 'auto' tries them on a CPU.
COMPUTES = {
    "winograd": (FLOAT32,),
    "separable": (FLOAT32,),
    "onnx": (FLOAT32, "int8"),
    "keras": (FLOAT32, "tf32", "float16", "bfloat16"),
    "gpu": (FLOAT32, "tf32", "float16"),
    "tensorrt": ("tf32", "float16", "bfloat16"),
}
ENGINES = ("auto", *COMPUTES)
ON_CPU = ("winograd", "separable", "onnx")
PROVIDERS = {"gpu": CUDA, "tensorrt": TENSORRT}
PACKAGES = {
    **dict.fromkeys(("winograd", "separable"), ("numba", "onnxruntime", "onnx")),
    **dict.fromkeys(("onnx", "gpu", "tensorrt"), ("onnxruntime", "onnx")),
}
EXTRAS = {"gpu": "gpu", "tensorrt": "gpu"}
CHECK_FACES = 16
MIN_BYTES = 1_000_000  # of weights: converting a smaller network takes longer than it saves


def choose(
    backbone: Backbone,
    *,
    engine: str = "auto",
    precision: str = FLOAT32,
    check_pixels: np.ndarray | None = None,
    threads: int | None = None,
) -> Engine:
    """Choose the fastest engine that computes the backbone's descriptors.

    Parameters
    ----------
    backbone : Backbone
        The network and its tap.
    engine : {'auto', 'keras', 'onnx', 'winograd', 'separable', 'gpu', 'tensorrt'}
        'auto': where there is an NVIDIA GPU 'gpu' (ONNX Runtime's CUDA provider), else Keras on it. On a CPU 'winograd'
        for a network that begins with 3 x 3 convolutions such as VGG-Face, 'separable' for one that begins with
        depthwise-separable ones such as MobileNet, else ONNX Runtime; Keras where none of them is installed or agrees
        with it. 'tensorrt' takes minutes to build a network once for each card.
    precision : {'float32', 'tf32', 'float16', 'bfloat16', 'int8'}
        What convolutions and products are computed in; see `TOLERANCES` for how far each may lie from float32.
        'float32' is strict: TF32 is switched off. 'tf32' needs an NVIDIA GPU from Ampere on. 'int8' quantises weights and
        activations, calibrated on `check_pixels`, and runs in ONNX Runtime on the CPU. All but float32 change
        descriptors; the engine's ``settings`` record by how much.
    check_pixels : ndarray of shape (n, height, width, 3), uint8, RGB, optional
        A few real faces at the backbone's input size; smooth random pictures where None. int8 needs real
        faces.
    threads : int, optional
        Threads to compute with; all cores where None.

    Returns
    -------
    Engine
        Its ``settings`` belong in the manifest of what it computes.

    Raises
    ------
    ValueError
        An unknown engine or precision, a package or device that is missing, int8 without faces, or untrained weights.
    BackboneError
        Descriptors in this precision lie too far from those in float32.

    Warns
    -----
    EngineWarning
        An engine disagreed with Keras or could not be prepared; the next one, or Keras, runs in its place.

    Notes
    -----
    The first call for a backbone and tap converts and checks, which takes a minute for a large network.
    The converted models and the verdict are kept in ``backbone.cache`` under the weights' fingerprint. Later
    calls do not import TensorFlow unless Keras is the engine.
    """
    check(engine, precision)
    if precision == "int8" and (check_pixels is None or not len(check_pixels)):
        raise ValueError("precision='int8' is calibrated on real faces: give some as check_pixels")
    _check_weights(backbone)
    if backbone.mirror:
        one_side = choose(
            backbone.mirrored(""),
            engine=engine,
            precision=precision,
            check_pixels=check_pixels,
            threads=threads,
        )
        return MirroredEngine(one_side, backbone.mirror)
    if backbone.graph is not None:
        return _own_graph(backbone, engine, precision, threads)
    candidates = _candidates(engine, precision, backbone, devices.find_gpu())
    if not candidates or not re.fullmatch("[0-9a-f]{64}", backbone.fingerprint):
        return _keras(backbone, precision, check_pixels, threads)
    return _fastest(backbone, candidates, precision, check_pixels, threads)


def check(engine: str, precision: str) -> None:
    """Raise `ValueError` where this machine cannot compute so, whatever the network: see `choose`."""
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}; expected one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}; expected one of {', '.join(PRECISIONS)}")
    if engine != "auto" and precision not in COMPUTES[engine]:
        able = [repr(name) for name, computed in COMPUTES.items() if precision in computed]
        raise ValueError(f"engine={engine!r} has no {precision}; expected {', '.join(able)} or 'auto'")
    needed = "onnx" if precision == "int8" else engine
    missing = _missing(needed)
    if missing:
        raise ValueError(
            f"engine {needed!r} needs {' and '.join(missing)}: pip install 'faceworkbook[{EXTRAS.get(needed, 'fast')}]', "
            "or choose engine='keras'"
        )
    _check_device(engine, precision, devices.find_gpu())


def _check_device(engine: str, precision: str, gpu: Gpu | None) -> None:
    if precision == "tf32" and (gpu is None or gpu.capability < TF32_SINCE):
        there = "there is none here" if gpu is None else f"{gpu.name} has {gpu.capability}"
        raise ValueError(
            f"precision='tf32' is computed by NVIDIA GPUs of compute capability {TF32_SINCE} or higher alone, and {there}; "
            "expected float32, float16, bfloat16 or int8"
        )
    if engine not in PROVIDERS:
        return
    if gpu is None:
        raise ValueError(
            f"engine={engine!r} needs an NVIDIA GPU, and this process sees none; expected 'auto', 'keras', "
            + " or ".join(map(repr, ON_CPU))
        )
    if PROVIDERS[engine] not in devices.providers():
        raise ValueError(f"engine={engine!r} needs {_describe_lack(engine)}, or choose engine='keras'")


def _describe_lack(engine: str) -> str:
    """Return what is to be installed for a device's engine, as the end of a sentence."""
    return (
        f"an ONNX Runtime with {PROVIDERS[engine]}: pip uninstall onnxruntime, which excludes it, then "
        "pip install 'faceworkbook[gpu]'"
    )


def _check_weights(backbone: Backbone) -> None:
    # A store would mix descriptors of one run's random weights with those of the next.
    if backbone.fingerprint.startswith(UNTRAINED):
        raise ValueError(
            f"backbone {backbone.name} has fresh, random weights; expected trained ones: give its weights file as "
            "weights, or a model in memory to backbones.from_keras"
        )


def _own_graph(backbone: Backbone, engine: str, precision: str, threads: int | None) -> Engine:
    if engine not in ("auto", "onnx") or precision != "float32":
        raise ValueError(
            f"{backbone.name} is an ONNX network, which runs as its file is: expected engine 'auto' or 'onnx' and "
            f"precision 'float32', received {engine!r} and {precision!r}"
        )
    from faceworkbook.descriptors.engines.onnx_engine import OwnGraphEngine

    return OwnGraphEngine(backbone, threads=threads)


def _missing(engine: str) -> list[str]:
    return [name for name in PACKAGES.get(engine, ()) if importlib.util.find_spec(name) is None]


def _candidates(engine: str, precision: str, backbone: Backbone, gpu: Gpu | None) -> tuple[str, ...]:
    """Return the engines to try before Keras."""
    if engine != "auto":
        return (engine,) if engine in PACKAGES else ()
    if precision == "int8":
        return ("onnx",)
    if backbone.n_bytes < MIN_BYTES:
        return ()
    on_cpu = tuple(name for name in ON_CPU if precision in COMPUTES[name] and not _missing(name))
    if gpu is None:
        return on_cpu
    if precision not in COMPUTES["gpu"]:
        return ()
    if not _missing("gpu") and CUDA in devices.providers():
        return ("gpu",)
    instead, candidates = ("Keras on that GPU", ()) if _tensorflow_sees_gpu() else ("the CPU", on_cpu)
    message = f"engine 'gpu' on {gpu.name} needs {_describe_lack('gpu')}; {instead} computes in its place"
    warnings.warn(message, EngineWarning, stacklevel=3)
    return candidates


def _tensorflow_sees_gpu() -> bool:
    import_keras()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _keras(backbone: Backbone, precision: str, check_pixels, threads: int | None) -> Engine:
    """Return Keras, compared with itself in float32 on the CPU wherever it computes something else."""
    from faceworkbook.descriptors.engines.keras_engine import KerasEngine

    engine = KerasEngine(backbone, precision=precision, threads=threads)
    if precision == FLOAT32 and engine.settings["device"] == "cpu":
        return engine
    pixels = _check_faces(backbone, check_pixels)
    reference = KerasEngine(backbone, device="cpu").run(pixels)
    difference = compare(engine.run(pixels), reference, dims=backbone.dims)
    if not agrees(difference, precision):
        raise _too_far(backbone, precision, difference)
    engine.settings |= _recorded(difference)
    return engine


def _too_far(backbone: Backbone, precision: str, difference: dict) -> BackboneError:
    instead = "engine='onnx', on the CPU" if precision == FLOAT32 else "precision='float32'"
    return BackboneError(
        f"{backbone.name} at {' and '.join(backbone.read)} has other descriptors in {precision} than in float32 on the "
        f"CPU: {describe_difference(difference, precision)}; use {instead}"
    )


def _recorded(difference: dict) -> dict:
    return {
        "cosine_to_float32": round(difference["cosine"], 6),
        "relative_error": round(difference["relative_error"], 8),
    }


def _fastest(
    backbone: Backbone, candidates: tuple[str, ...], precision: str, check_pixels, threads: int | None
) -> Engine:
    from faceworkbook.descriptors.engines import prepare

    pixels = _check_faces(backbone, check_pixels, all_of_them=precision == "int8")
    folder, made_for = _folder(backbone, candidates, precision, pixels)
    try:
        verdict = prepare.prepared(backbone, pixels, folder, engines=candidates, made_for=made_for)
    except (prepare.PreparationError, OSError) as error:
        if precision == "int8":
            raise _not_quantised(backbone, error) from error
        _warn(backbone, f"could not be converted ({error})")
        return _keras(backbone, precision, check_pixels, threads)
    for name in candidates:
        fault = _fault(name, verdict[name], precision)
        if not fault:
            engine = prepare.make(name, folder, backbone.preprocessing, precision=precision, threads=threads)
            return engine if precision == FLOAT32 else _noted(engine, verdict[name], precision, len(pixels))
        if precision == "int8":
            raise _not_quantised(backbone, fault)
        if "unsuited" not in verdict[name] or len(candidates) == 1:
            _warn(backbone, fault)
    return _keras(backbone, precision, check_pixels, threads)


def _noted(engine: Engine, verdict: dict, precision: str, n: int) -> Engine:
    """Return the engine with what its precision costs in its settings."""
    calibrated = {"calibration_faces": n} if precision == "int8" else {}
    engine.settings |= calibrated | _recorded(verdict)
    return engine


def _not_quantised(backbone: Backbone, reason) -> BackboneError:
    return BackboneError(f"{backbone.name} cannot be quantised to int8 ({reason}); use precision='float32'")


def _fault(name: str, verdict: dict, precision: str) -> str:
    """Return why an engine is not to be used; '' where it may be."""
    reason = verdict.get("error") or verdict.get("unsuited")
    if reason:
        return f"could not be run by {name} ({reason})"
    if agrees(verdict, precision):
        return ""
    return f"has other descriptors in {name}: {describe_difference(verdict, precision)}"


def _warn(backbone: Backbone, fault: str) -> None:
    message = f"{backbone.name} at {' and '.join(backbone.read)} {fault}; a checked engine runs in its place"
    warnings.warn(message, EngineWarning, stacklevel=4)


def _folder(
    backbone: Backbone, candidates: tuple[str, ...], precision: str, pixels: np.ndarray
) -> tuple[Path, dict]:
    """Return the folder for the converted models of a backbone, and what the verdict on them depends on."""
    from faceworkbook.descriptors.engines import prepare

    packages = sorted({package for name in candidates for package in PACKAGES[name]})
    on_device = not set(candidates).isdisjoint(PROVIDERS)
    made_for = {
        "weights_sha256": backbone.fingerprint,
        "taps": list(backbone.read),
        "resolution": backbone.resolution,
        "engines": list(candidates),
        "precision": precision,
        "versions": {package: describe_version(package) for package in packages},
        "processor": describe_processor(),
        **({"device": list(devices.find_gpu() or ())} if on_device else {}),
        **({"calibration": hashlib.sha256(pixels).hexdigest()} if precision == "int8" else {}),
    }
    tag = hashlib.sha256(json.dumps(made_for, sort_keys=True).encode()).hexdigest()[:8]
    size = f"-{backbone.resolution}px" if backbone.resolution else ""
    name = f"{backbone.fingerprint[:16]}-{'+'.join(backbone.read)}{size}-{tag}"
    # What is there is read where nothing may be written: in a container, or by another user than the one who installed.
    ready = prepare.is_current(backbone.cache / name, made_for)
    return (backbone.cache if ready else _writable(backbone.cache)) / name, made_for


@functools.cache
def describe_processor() -> str:
    """Return the processor's kind and those of its instructions by which engines choose their kernels."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    wide = sorted(flag for flag in flags if flag.startswith(("avx", "fma", "amx", "asimd", "sve", "i8mm")))
    return " ".join([platform.machine(), *wide])


def _writable(cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError:
        return _own_folder(cache)


@functools.cache
def _own_folder(cache: Path) -> Path:
    """Return a folder that stands for `cache` while this process lives."""
    folder = tempfile.mkdtemp(prefix="faceworkbook-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _check_faces(backbone: Backbone, check_pixels, *, all_of_them: bool = False) -> np.ndarray:
    if check_pixels is not None and len(check_pixels):
        return np.ascontiguousarray(check_pixels if all_of_them else check_pixels[:CHECK_FACES])
    height, width = backbone.preprocessing.size
    coarse = np.random.default_rng(0).integers(0, 256, (CHECK_FACES, 14, 14, 3), np.uint8)
    return np.stack([cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in coarse])

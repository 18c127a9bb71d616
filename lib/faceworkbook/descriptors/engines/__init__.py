"""Engines that compute descriptors: Keras, the reference, and faster ones that are checked against it."""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.metadata
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

from faceworkbook.backbones import UNTRAINED, Backbone, BackboneError
from faceworkbook.descriptors.engines.base import (
    MAX_RELATIVE_ERROR,
    MIN_COSINE,
    Engine,
    EngineWarning,
    agrees,
    compare,
)
from faceworkbook.descriptors.engines.mirrored import MirroredEngine

__all__ = ["Engine", "EngineWarning", "agrees", "choose", "compare"]

ENGINES = ("auto", "keras", "onnx", "winograd")
PRECISIONS = ("float32", "int8")
# In the order in which they are tried: Winograd's kernels were the fastest wherever a network suits them.
PACKAGES = {"winograd": ("numba", "onnxruntime", "onnx"), "onnx": ("onnxruntime", "onnx")}
CHECK_FACES = 16
MIN_BYTES = 1_000_000  # of weights: converting a smaller network takes longer than it saves


def choose(
    backbone: Backbone,
    *,
    engine: str = "auto",
    precision: str = "float32",
    check_pixels: np.ndarray | None = None,
    threads: int | None = None,
) -> Engine:
    """Choose the fastest engine that computes the backbone's descriptors.

    Parameters
    ----------
    backbone : Backbone
        The network and its tap.
    engine : {'auto', 'keras', 'onnx', 'winograd'}
        'auto': Keras on a GPU. On a CPU, 'winograd' for a network that begins with 3 x 3 convolutions such
        as VGG-Face, else ONNX Runtime; Keras where neither is installed or neither agrees with it.
    precision : {'float32', 'int8'}
        'int8' quantises weights and activations, calibrated on `check_pixels`, and runs in ONNX Runtime. It
        changes descriptors; the engine's ``settings`` record by how much.
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
        An unknown engine or precision, a package that is missing, int8 without faces, or untrained weights.

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
    _check_options(engine, precision, check_pixels)
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
    if precision == "int8":
        return _int8(backbone, check_pixels, threads)
    candidates = _candidates(engine, backbone)
    if not candidates or not re.fullmatch("[0-9a-f]{64}", backbone.fingerprint):
        return _keras(backbone, threads)
    return _fastest(backbone, candidates, check_pixels, threads)


def _check_options(engine: str, precision: str, check_pixels) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}; expected one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "int8" and engine not in ("auto", "onnx"):
        raise ValueError(f"engine={engine!r} has no int8; expected 'onnx' or 'auto'")
    if precision == "int8" and (check_pixels is None or not len(check_pixels)):
        raise ValueError("precision='int8' is calibrated on real faces: give some as check_pixels")
    needed = "onnx" if precision == "int8" else engine
    missing = _missing(needed)
    if missing:
        raise ValueError(
            f"engine {needed!r} needs {' and '.join(missing)}: pip install 'faceworkbook[fast]', "
            "or choose engine='keras'"
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


def _candidates(engine: str, backbone: Backbone) -> tuple[str, ...]:
    """Return the engines to try before Keras."""
    if engine != "auto":
        return (engine,) if engine in PACKAGES else ()
    if backbone.n_bytes < MIN_BYTES or _has_gpu():
        return ()
    return tuple(name for name in PACKAGES if not _missing(name))


def _has_gpu() -> bool:
    if not Path("/dev/nvidiactl").exists():  # answers without importing TensorFlow
        return False
    from faceworkbook.backbones import import_keras

    import_keras()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _keras(backbone: Backbone, threads: int | None) -> Engine:
    from faceworkbook.descriptors.engines.keras_engine import KerasEngine

    return KerasEngine(backbone, threads=threads)


def _fastest(backbone: Backbone, candidates: tuple[str, ...], check_pixels, threads: int | None) -> Engine:
    from faceworkbook.descriptors.engines import prepare

    folder, made_for = _folder(backbone, candidates)
    pixels = _check_faces(backbone, check_pixels)
    try:
        verdict = prepare.prepared(backbone, pixels, folder, engines=candidates, made_for=made_for)
    except (prepare.PreparationError, OSError) as error:
        _warn(backbone, f"could not be converted ({error})")
        return _keras(backbone, threads)
    for name in candidates:
        fault = _fault(name, verdict[name])
        if not fault:
            return prepare.make(name, folder, backbone.preprocessing, threads=threads)
        if "unsuited" not in verdict[name] or len(candidates) == 1:
            _warn(backbone, fault)
    return _keras(backbone, threads)


def _fault(name: str, verdict: dict) -> str:
    """Return why an engine is not to be used; '' where it may be."""
    reason = verdict.get("error") or verdict.get("unsuited")
    if reason:
        return f"could not be run by {name} ({reason})"
    if agrees(verdict):
        return ""
    return (
        f"has other descriptors in {name}: cosine {verdict['cosine']:.6f} (at least {MIN_COSINE}), "
        f"relative error {verdict['relative_error']:.1e} (at most {MAX_RELATIVE_ERROR})"
    )


def _warn(backbone: Backbone, fault: str) -> None:
    message = f"{backbone.name} at {' and '.join(backbone.read)} {fault}; a checked engine runs in its place"
    warnings.warn(message, EngineWarning, stacklevel=4)


def _int8(backbone: Backbone, check_pixels: np.ndarray, threads: int | None) -> Engine:
    from faceworkbook.descriptors.engines import prepare

    pixels = np.ascontiguousarray(check_pixels)
    digest = hashlib.sha256(pixels).hexdigest()[:8]
    folder, made_for = _folder(backbone, ("onnx-int8", digest))
    verdict = prepare.prepared(backbone, pixels, folder, engines=("onnx-int8",), made_for=made_for)[
        "onnx-int8"
    ]
    if "error" in verdict:
        raise BackboneError(
            f"{backbone.name} cannot be quantised to int8 ({verdict['error']}); use precision='float32'"
        )
    engine = prepare.make("onnx-int8", folder, backbone.preprocessing, threads=threads)
    engine.settings |= {
        "calibration_faces": len(pixels),
        "cosine_to_float32": round(verdict["cosine"], 6),
        "relative_error": round(verdict["relative_error"], 6),
    }
    return engine


def _folder(backbone: Backbone, candidates: tuple[str, ...]) -> tuple[Path, dict]:
    """Return the folder for the converted models of a backbone, and what the verdict on them depends on."""
    from faceworkbook.descriptors.engines import prepare

    packages = sorted({package for name in candidates for package in PACKAGES.get(name, PACKAGES["onnx"])})
    made_for = {
        "weights_sha256": backbone.fingerprint,
        "taps": list(backbone.read),
        "resolution": backbone.resolution,
        "engines": list(candidates),
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "processor": describe_processor(),
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


def _check_faces(backbone: Backbone, check_pixels) -> np.ndarray:
    if check_pixels is not None and len(check_pixels):
        return np.ascontiguousarray(check_pixels[:CHECK_FACES])
    height, width = backbone.preprocessing.size
    coarse = np.random.default_rng(0).integers(0, 256, (CHECK_FACES, 14, 14, 3), np.uint8)
    return np.stack([cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in coarse])

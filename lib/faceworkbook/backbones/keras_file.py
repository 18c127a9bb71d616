"""Whole Keras models from files (``.keras``, ``.h5``): looked through for code first, then opened in safe mode."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from faceworkbook import hdf5
from faceworkbook.backbones import h5_weights, own
from faceworkbook.backbones.base import Tap, WeightsError, import_keras, sha256
from faceworkbook.backbones.sidecar import SideCar

CODE_LAYERS = ("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
MAX_CONFIG_BYTES = 2**26


def open_model(path: Path):
    """Return the Keras model in a file; nothing that the file brings along is executed.

    Raises
    ------
    WeightsError
        No whole Keras model, damaged, or with layers that hold code.
    """
    hdf5.check(path, error=WeightsError)
    _check_code(path, read_config(path))
    keras = import_keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises half a dozen types on a foreign or damaged file
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path}: Keras cannot open it ({reason}); save it again with model.save"
        ) from error


def read_config(path: Path) -> dict:
    """Return the description of the model's layers, as the file has it."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as file:
                if file.getinfo("config.json").file_size > MAX_CONFIG_BYTES:
                    raise WeightsError(
                        f"{path}: config.json is larger than {MAX_CONFIG_BYTES:,} bytes; give a Keras model"
                    )
                text = file.read("config.json")
        else:
            text = h5_weights.read_attribute(path, "model_config")
        config = json.loads(text)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{path} is no Keras model, or damaged ({error}); save it again with model.save"
        ) from error
    if not isinstance(config, dict):
        raise WeightsError(
            f"{path} is no Keras model: its config is no record of layers; save it again with model.save"
        )
    return config


def _check_code(path: Path, config: dict) -> None:
    for record in _records(config):
        kind, module = str(record.get("class_name")), record.get("module")
        foreign = isinstance(module, str) and module.split(".")[0] not in ("keras", "builtins", "tf_keras")
        if kind in CODE_LAYERS or (foreign and record.get("registered_name") is None):
            raise WeightsError(
                f"{path} has a layer {kind}{f' of {module}' if foreign else ''}, which holds or calls code of its own; "
                "nothing in a weights file is executed: save the model without it, or export it to ONNX"
            )


def _records(value) -> Iterator[dict]:
    """Yield every record that names a class, however deep it lies."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def measure(path: Path, sidecar: SideCar) -> dict:
    """Return the taps of a model according to its side-car, in plain types: sha256, taps, tap.

    Raises
    ------
    WeightsError
        The side-car does not fit; the text has the model's inputs, outputs and shapes.
    """
    if sidecar.layout == "NCHW":
        raise WeightsError(f"{sidecar.file}: layout: NCHW; Keras files are read as NHWC: leave layout out")
    preprocessing = sidecar.preprocessing()
    model = open_model(path)
    has = describe(model)
    try:
        own.check_input(model, preprocessing)
    except ValueError as error:
        raise WeightsError(f"{sidecar.file} does not fit {path.name}: {error}; {has}") from error
    taps = own.find_taps(model, pool=sidecar.pool != "flatten", scales_to_one=sidecar.scales_to_one)
    tap = sidecar.tap or own.last_layer(model)
    if tap not in taps:
        raise WeightsError(
            f"{sidecar.file}: tap: {tap!r} is no layer of {path.name} that gives (n, dim) or a map of known size; {has}; "
            f"layers: {', '.join(taps)}"
        )
    return {"sha256": sha256(path), "tap": tap, "taps": {name: vars(t) for name, t in taps.items()}}


def taps_of(facts: dict) -> dict[str, Tap]:
    """Return the taps that `measure` wrote down."""
    return {name: Tap(**{**values, "tuned_on": ()}) for name, values in facts["taps"].items()}


def describe(model) -> str:
    """Return inputs and outputs of a model with their shapes, in words."""
    words = []
    for what in ("inputs", "outputs"):
        tensors = getattr(model, what, None) or []
        shapes = (f"{t.name} ({', '.join('n' if n is None else str(n) for n in t.shape)})" for t in tensors)
        words.append(f"{what}: {', '.join(shapes)}")
    return f"the model has {'; '.join(words)}"

"""Networks of one's own from files: ``weights/NAME.onnx``, ``.keras`` or ``.h5`` with ``NAME.yaml`` beside it."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from faceworkbook import project
from faceworkbook.backbones import h5_weights, keras_file, onnx_file, sidecar, vgg_face, vggface_resnet
from faceworkbook.backbones.base import WEIGHTS, Backbone, Tap, WeightsError, remember
from faceworkbook.backbones.onnx_file import OnnxGraph
from faceworkbook.backbones.sidecar import SideCar

WEIGHTS_SUFFIXES, SIDECAR_SUFFIXES = (".onnx", ".keras", ".h5"), (".yaml", ".yml")
BUILT_IN_FILES = {file for files in (vgg_face.FILES, *vggface_resnet.FILES.values()) for file in files}
# What a file of weights alone is read into.
ARCHITECTURES: dict[str, Callable[..., Backbone]] = {
    "vgg_face": vgg_face.load,
    **{name: functools.partial(vggface_resnet.load, name) for name in vggface_resnet.FILES},
}


def names() -> tuple[str, ...]:
    """Return the networks that have both a weights file and a side-car."""
    seen = {path.stem for path in _files(SIDECAR_SUFFIXES)}
    return tuple(name for name in sorted(seen) if _weights_of(name) and _name_is_plain(name))


def describe() -> dict[str, str]:
    """Return what `names` are, and why a lone or faulty file is none; no weights file is opened."""
    files = _files((*WEIGHTS_SUFFIXES, *SIDECAR_SUFFIXES))
    return {name: _describe(name) for name in sorted({f.stem for f in files if f.name not in BUILT_IN_FILES})}


def _describe(name: str) -> str:
    try:
        weights = locate(name)
        assert weights is not None
        return f"{project.shorten(weights)}, {sidecar.read(sidecar_of(weights)).describe_origin()}"
    except (WeightsError, FileNotFoundError) as error:
        return f"cannot be used: {str(error).splitlines()[0]}"


def locate(name: str) -> Path | None:
    """Return the weights file of a network of one's own; None where there is neither it nor a side-car.

    Raises
    ------
    WeightsError
        One of the two is missing (with a side-car to start from), or two files have this name.
    """
    weights, cars = _weights_of(name), _of(name, SIDECAR_SUFFIXES)
    if not weights and not cars:
        return None
    if not weights:
        raise WeightsError(
            f"{project.shorten(cars[0])} is there without its weights; put {name}.onnx, {name}.keras or {name}.h5 beside it"
        )
    if len(weights) > 1:
        raise WeightsError(
            f"{' and '.join(map(project.shorten, weights))} have the same name; rename one of them"
        )
    if not _name_is_plain(name):
        raise WeightsError(
            f"{project.shorten(weights[0])}: a network's name has letters, digits, '_', '-' and '.'"
        )
    sidecar_of(weights[0])
    return weights[0]


def sidecar_of(weights: Path) -> Path:
    """Return the side-car beside a weights file; where there is none, the error has one to start from."""
    for suffix in SIDECAR_SUFFIXES:
        if weights.with_suffix(suffix).is_file():
            return weights.with_suffix(suffix)
    raise WeightsError(
        f"{project.shorten(weights)} has no side-car; write {weights.with_suffix('.yaml').name} beside it, and check each "
        f"value against what the network was trained with:\n\n{_ready_made(weights)}"
    )


def _files(suffixes: tuple[str, ...]) -> list[Path]:
    folder = project.resolve(WEIGHTS)
    return sorted(path for path in folder.glob("*") if path.suffix in suffixes) if folder.is_dir() else []


def _of(name: str, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in _files(suffixes) if path.stem == name]


def _weights_of(name: str) -> list[Path]:
    return _of(name, WEIGHTS_SUFFIXES)


def _name_is_plain(name: str) -> bool:
    return bool(re.fullmatch(r"[\w][\w.-]*", name))


def _ready_made(weights: Path) -> str:
    for name, files in (("vgg_face", vgg_face.FILES), *vggface_resnet.FILES.items()):
        if weights.name in files:
            return f"architecture: {name}\n\n(as {name} it is known without a side-car)"
    try:
        if weights.suffix == ".onnx":
            return sidecar.ready_made(weights.stem, **onnx_file.guess_input(weights))
        if weights.suffix == ".h5" and not h5_weights.is_whole_model(weights):
            return f"architecture: one of {', '.join(ARCHITECTURES)}"
    except WeightsError as error:
        return f"({error})"
    return sidecar.ready_made(weights.stem, layout="NHWC")


def open_file(weights: Path, *, name: str, tap: str | None = None) -> Backbone:
    """Open a network of one's own.

    Parameters
    ----------
    weights : pathlib.Path
        Its side-car lies beside it.
    name : str
        Under which it is known.
    tap : str, optional
        An output, or a layer; that of the side-car by default.

    Returns
    -------
    Backbone
        Its fingerprint is the SHA-256 of weights and side-car together: another mean makes other descriptors.

    Raises
    ------
    WeightsError
        The side-car is missing, faulty or does not fit; the text has what the file has.
    """
    if not weights.is_file():
        raise WeightsError(
            f"{weights} does not exist; expected a network's weights, with its side-car beside them"
        )
    weights = weights.absolute()
    car = sidecar.read(sidecar_of(weights))
    if weights.suffix == ".onnx":
        return _open_onnx(weights, car, name, tap)
    is_whole = weights.suffix == ".keras" or h5_weights.is_whole_model(weights)
    if car.architecture or not is_whole:
        return _open_architecture(weights, car, name, tap)
    facts = _remembered(weights, car, functools.partial(keras_file.measure, weights, car))
    return _backbone(
        weights,
        car,
        name=name,
        tap=tap or facts["tap"],
        tap_table=keras_file.taps_of(facts),
        fingerprint=facts["sha256"],
        builder=functools.partial(keras_file.open_model, weights),
    )


def _remembered(weights: Path, car: SideCar, measure: Callable[[], dict]) -> dict:
    return remember(weights, weights.parent / "cache", measure, key=car.content())


def _backbone(weights: Path, car: SideCar, *, fingerprint: str, **values) -> Backbone:
    combined = hashlib.sha256(f"{fingerprint} {car.content()}".encode()).hexdigest()
    return Backbone(
        preprocessing=car.preprocessing(),
        fingerprint=combined,
        weights=weights,
        cache=weights.parent / "cache",
        source=car.describe_origin(),
        is_own=True,
        **values,
    )


def _open_architecture(weights: Path, car: SideCar, name: str, tap: str | None) -> Backbone:
    if car.architecture not in ARCHITECTURES:
        raise WeightsError(
            f"{car.file}: architecture: {car.architecture!r}; {weights.name} is weights alone, so expected one of "
            f"{', '.join(ARCHITECTURES)}; {h5_weights.describe(h5_weights.read(weights))}"
        )
    if weights.suffix != ".h5":
        raise WeightsError(
            f"{car.file}: architecture is for weights alone in .h5; {weights.name} is a whole network"
        )
    network = ARCHITECTURES[car.architecture](weights, None)
    preprocessing = car.preprocessing(network.preprocessing)
    if preprocessing.size != network.preprocessing.size:
        raise WeightsError(
            f"{car.file}: size {preprocessing.size}; {car.architecture} takes {network.preprocessing.size}"
        )
    taps = {
        key: replace(value, scales_to_one=car.scales_to_one, pool=value.pool and car.pool != "flatten")
        for key, value in network.tap_table.items()
    }
    combined = hashlib.sha256(f"{network.fingerprint} {car.content()}".encode()).hexdigest()
    return replace(
        network,
        name=name,
        tap=tap or car.tap or network.tap,
        tap_table=taps,
        preprocessing=preprocessing,
        fingerprint=combined,
        weights=weights,
        cache=weights.parent / "cache",
        source=car.describe_origin()
        if car.source
        else f"{network.source}; licence: {car.licence or sidecar.NOT_STATED}",
        is_own=True,
    )


def _open_onnx(weights: Path, car: SideCar, name: str, tap: str | None) -> Backbone:
    measure = functools.partial(onnx_file.measure, weights.resolve(), car)
    facts = _remembered(weights, car, measure)
    if not onnx_file.is_current(weights, facts):
        facts = measure()
    onnx_file.import_runtime()
    taps = {}
    for output, shape in facts["outputs"].items():
        dim = onnx_file.width(shape, car.pool, layout=facts["layout"])
        if dim is not None:
            taps[plain_name(output)] = Tap(output, dim, scales_to_one=car.scales_to_one)
    chosen = plain_name(tap or facts["tap"])
    if tap is None and chosen not in taps:
        raise WeightsError(
            f"{car.file}: output {facts['tap']} of {weights.name} has the shape (n, "
            f"{', '.join(map(str, facts['outputs'].get(facts['tap'], ['?'])))}), tokens and not one descriptor; add pool: "
            "first (the class token), pool: mean or pool: flatten"
        )
    graph = OnnxGraph(
        weights.resolve(),
        facts["input"],
        layout=facts["layout"],
        dtype=facts["dtype"],
        batch=facts["batch"],
        pool=car.pool or "mean",
    )
    return _backbone(
        weights,
        car,
        name=name,
        tap=chosen,
        tap_table=taps,
        fingerprint=facts["sha256"],
        builder=functools.partial(refuse_keras, name, weights.name),
        graph=graph,
    )


def plain_name(output: str) -> str:
    """Return an output's name as a tap: letters, digits, '_', '-' and '.', since folders are named by it."""
    return re.sub(r"[^\w.-]+", "_", output).strip("_") or "output"


def refuse_keras(name: str, file: str):
    """Raise: there is no Keras model of an ONNX network."""
    raise WeightsError(
        f"{name} is an ONNX network ({file}): it gives descriptors, but fine-tuning, Grad-CAM and Keras need a network "
        "of Keras (.keras or .h5)"
    )

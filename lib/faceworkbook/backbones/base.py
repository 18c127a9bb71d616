"""A backbone: a description that is made at once, and a Keras model that is built at first use."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from faceworkbook.files import FileError, write_json
from faceworkbook.images import Preprocessing

if TYPE_CHECKING:
    import keras


MIRRORED = "mirrored"
UNTRAINED = "untrained"  # the fingerprint of fresh weights
WEIGHTS = Path(__file__).resolve().parents[3] / "weights"


class WeightsError(ValueError):
    """A weights file is missing, damaged, or of another network; the text says which and what to do."""


@dataclass(frozen=True)
class Tap:
    """A named place where a descriptor is read.

    Attributes
    ----------
    layer : str
        Layer of the full network whose output is read.
    dim : int
        Width of the descriptor.
    pool : bool
        Average over height and width first; otherwise the output is flattened, height first.
    """

    layer: str
    dim: int
    pool: bool = False


@dataclass(frozen=True)
class Backbone:
    """A face network with one tap chosen. TensorFlow is imported when `full` or `model` is first asked for.

    Attributes
    ----------
    name : str
        Name in the registry, such as 'vgg_face'.
    tap : str
        The chosen one of `taps`.
    tap_table : dict of str to Tap
        Every tap, from input to output.
    preprocessing : faceworkbook.images.Preprocessing
        What the network was trained on; `faceworkbook.images.network_input` applies it.
    fingerprint : str
        SHA-256 of the weights, in hexadecimal; 'untrained' for fresh ones.
    weights : pathlib.Path
        The weights file; an empty path where the model was made in memory.
    builder : callable
        Returns the full Keras model; picklable, so that other processes can build it too.
    classes : tuple of str
        Names of the network's own output classes; may be empty.
    cache : pathlib.Path
        Folder for what is derived from the weights (converted models, hashes).
    source : str
        Where the weights come from, in one line for reports.
    """

    name: str
    tap: str
    tap_table: dict[str, Tap] = field(repr=False)
    preprocessing: Preprocessing
    fingerprint: str
    builder: Callable[[], keras.Model] = field(repr=False, compare=False)
    weights: Path = Path()
    classes: tuple[str, ...] = field(default=(), repr=False)
    cache: Path = field(default=WEIGHTS / "cache", repr=False, compare=False)
    source: str = ""

    def __post_init__(self):
        if self.tap not in self.tap_table:
            raise ValueError(f"tap={self.tap!r}; {self.name} has {', '.join(self.tap_table)}")

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of all taps, from input to output."""
        return tuple(self.tap_table)

    @property
    def dim(self) -> int:
        """Width of the descriptor at the chosen tap."""
        return self.tap_table[self.tap].dim

    @functools.cached_property
    def full(self) -> keras.Model:
        """Keras model with every layer, named as in the weights file."""
        return self.builder()

    @functools.cached_property
    def model(self) -> keras.Model:
        """Functional model: (n, height, width, channels) float32, preprocessed -> (n, dim) float32."""
        return tap_model(self.full, self.tap_table[self.tap], name=f"{self.name}_{self.tap}")

    @functools.cached_property
    def n_bytes(self) -> int:
        """Size of the weights: of the file where there is one, else of the model in memory."""
        if self.weights.is_file():
            return self.weights.stat().st_size
        return sum(variable.numpy().nbytes for variable in self.full.weights)

    def at(self, tap: str) -> Backbone:
        """Return the same network read at another tap; a model that was built is shared."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        other = Backbone(**{**values, "tap": tap})
        if "full" in self.__dict__:
            other.__dict__["full"] = self.full
        return other

    def __getstate__(self):
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def mirrored(backbone: Backbone) -> Backbone:
    """Return the same network reading every picture mirrored left to right.

    The mean of both descriptors is blind to left and right and predicts pitch; half of their difference holds
    nothing else and predicts yaw and roll.
    """
    return Backbone(
        name=f"{backbone.name}_mirrored",
        tap=backbone.tap,
        tap_table={backbone.tap: Tap(MIRRORED, backbone.dim)},
        preprocessing=backbone.preprocessing,
        fingerprint=f"{backbone.fingerprint}-mirrored",
        builder=functools.partial(_mirror_first, backbone),
        weights=backbone.weights,
        cache=backbone.cache,
        source=backbone.source,
    )


def _mirror_first(backbone: Backbone):
    keras = import_keras()
    picture = keras.Input(backbone.model.input.shape[1:], name="picture")
    descriptor = backbone.model(keras.ops.flip(picture, axis=2))
    output = keras.layers.Identity(name=MIRRORED)(descriptor)
    return keras.Model(picture, output, name=f"{backbone.name}_mirrored")


def tap_model(full: keras.Model, tap: Tap, *, name: str) -> keras.Model:
    """Return the layers of `full` from its input to `tap`, ending in a matrix (n, dim)."""
    keras = import_keras()
    output = full.get_layer(tap.layer).output
    if len(output.shape) == 4:
        layer = keras.layers.GlobalAveragePooling2D if tap.pool else keras.layers.Flatten
        output = layer(name="descriptor")(output)
    return keras.Model(full.inputs[0], output, name=name)


def import_keras():
    """Import Keras on TensorFlow; ``faceworkbook/__init__.py`` has their settings."""
    import keras

    # TensorFlow warns of many compiled functions, which here are one for each fit, in the notebook's output.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return keras


def existing_file(path: str | Path, *, expected: str) -> Path:
    """Return `path` as an absolute path; raise a `WeightsError` that names `expected` where it is no file."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(f"{path} {what}; expected {expected}")
    return path.resolve()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remember(path: Path, cache: Path, compute: Callable[[], dict]) -> dict:
    """Return what `compute` returns for a file, kept in a cache until the file's size or time changes.

    Parameters
    ----------
    path : pathlib.Path
        The file that the facts are about.
    cache : pathlib.Path
        Folder of one JSON file for each `path`. Where it cannot be written, nothing is kept.
    compute : callable
        Returns the facts, in plain types.
    """
    stat = path.stat()
    stamp = [str(path), stat.st_size, stat.st_mtime_ns]
    record = cache / f"{path.name}.json"
    known = _read_record(record)
    if known.get("stamp") == stamp:
        return known["facts"]
    facts = compute()
    with contextlib.suppress(FileError):  # a read-only folder only costs the next run a second
        write_json(record, {"stamp": stamp, "facts": facts})
    return facts


def _read_record(path: Path) -> dict:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and "facts" in record else {}

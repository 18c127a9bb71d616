"""A backbone: a description that is made at once, and a Keras model that is built at first use."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from faceworkbook import project
from faceworkbook.files import FileError, name_kind, parse_json, write_json
from faceworkbook.images import Preprocessing

if TYPE_CHECKING:
    import keras

    from faceworkbook.backbones.onnx_file import OnnxGraph


MIRRORS = ("", "mean", "only")
OWN_MARGIN = -1.0  # no share of a box: the network's own margin
LOOSE_MARGIN = 0.2  # around the five-point template, for a network not made for tight chips; see the README
UNTRAINED = "untrained"  # the fingerprint of fresh weights
WEIGHTS = Path("weights")  # relative to the project, see `project.resolve`


def _cache() -> Path:
    return project.resolve(WEIGHTS) / "cache"


class BackboneError(ValueError):
    """A network, tap or option that cannot be; the text names what was received and what is allowed."""


class WeightsError(BackboneError):
    """A weights file is missing, damaged, or of another network; the text says which and what to do."""


def check_kind(path: Path) -> None:
    """Raise `WeightsError` for a file that is no weights file of any kind, such as a web page."""
    if path.is_file() and not path.stat().st_size:
        raise WeightsError(f"{path} is empty; copy or fetch it again")
    kind = name_kind(path)
    if kind and not (path.suffix == ".keras" and kind.startswith("a ZIP")):
        raise WeightsError(f"{path} is {kind}")


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
    scales_to_one : bool
        Scale the descriptor to length 1.
    tuned_on : tuple of str
        Data sets whose labels the layers up to here were trained on: figures on them would be too good.
    """

    layer: str
    dim: int
    pool: bool = False
    scales_to_one: bool = False
    tuned_on: tuple[str, ...] = ()


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
    mirror : {'', 'mean', 'only'}
        'mean': the descriptor is the mean of the picture's and of its mirror image's (left and right). 'only': that of
        the mirror image alone.
    graph : OnnxGraph or None
        Of an ONNX network, which has no Keras model: `full` and `model` say so.
    is_own : bool
        Whether it was brought along, so that its first descriptors are checked.
    variant : str
        What `adjusted` changed, as part of a file's name; empty for the network as it was made.
    resolution : int
        Side of the input in pixels where it is another than the network was made for, else 0.
    beside : tuple of str
        Further taps that are read in the same pass: their descriptors follow, column by column; see `together`.
    auto_taps : tuple of str
        Taps that are offered where a classifier is to choose among several (`several.choose_taps`); empty for `tap`
        alone.
    """

    name: str
    tap: str
    tap_table: dict[str, Tap] = field(repr=False)
    preprocessing: Preprocessing
    fingerprint: str
    builder: Callable[[], keras.Model] = field(repr=False, compare=False)
    weights: Path = Path()
    classes: tuple[str, ...] = field(default=(), repr=False)
    cache: Path = field(default_factory=_cache, repr=False, compare=False)
    source: str = ""
    mirror: str = ""
    graph: OnnxGraph | None = None
    is_own: bool = False
    variant: str = ""
    resolution: int = 0
    beside: tuple[str, ...] = ()
    auto_taps: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self):
        for tap in self.read:
            if tap not in self.tap_table:
                raise BackboneError(f"tap={tap!r}; {self.name} has {', '.join(self.tap_table)}")
        if self.mirror not in MIRRORS:
            raise BackboneError(f"mirror={self.mirror!r}; allowed are {', '.join(map(repr, MIRRORS))}")

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of all taps, from input to output."""
        return tuple(self.tap_table)

    @property
    def read(self) -> tuple[str, ...]:
        """Names of the taps that one pass reads: the chosen one, and those beside it."""
        return (self.tap, *self.beside)

    @property
    def dim(self) -> int:
        """Width of the descriptor: of the chosen tap, and of those beside it."""
        return sum(self.dims)

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of the descriptor at each tap that is read."""
        return tuple(self.tap_table[tap].dim for tap in self.read)

    def check_use(self, dataset: str) -> None:
        """Raise `BackboneError` where the tap was trained on the labels of the data set of that name."""
        tuned_on = self.tap_table[self.tap].tuned_on
        if dataset in tuned_on:
            raise BackboneError(
                f"tap={self.tap!r} of {self.name} is barred on '{dataset}': its author tuned it on the labels of "
                f"{', '.join(tuned_on)}, so that figures there would be too good; choose another tap or data set"
            )

    @functools.cached_property
    def full(self) -> keras.Model:
        """Keras model with every layer, named as in the weights file."""
        return self.builder()

    @functools.cached_property
    def model(self) -> keras.Model:
        """Functional model: (n, height, width, channels) float32, preprocessed -> (n, dim) float32."""
        full = at_resolution(self.full, self.resolution) if self.resolution else self.full
        model = tap_model(
            full, *map(self.tap_table.get, self.read), name=f"{self.name}_{'_'.join(self.read)}"
        )
        return mirror_model(model, self.mirror) if self.mirror else model

    @functools.cached_property
    def n_bytes(self) -> int:
        """Size of the weights: of the file where there is one, else of the model in memory."""
        if self.weights.is_file():
            return self.weights.stat().st_size
        return sum(variable.numpy().nbytes for variable in self.full.weights)

    def at(self, tap: str) -> Backbone:
        """Return the same network read at another tap; a model that was built is shared."""
        return self._with(tap=tap, beside=())

    def together(self, taps: Sequence[str]) -> Backbone:
        """Return the same network read at several taps in one pass; a model that was built is shared."""
        return self._with(tap=taps[0], beside=tuple(taps[1:]))

    def mirrored(self, mirror: str = "mean") -> Backbone:
        """Return the same network with another `mirror`; a model that was built is shared.

        The mean of both sides is blind to left and right and predicts pitch; half of their difference holds nothing
        else and predicts yaw and roll.
        """
        return self._with(mirror=mirror)

    def adjusted(self, *, align: str = "", margin: float = OWN_MARGIN, resolution: int = 0) -> Backbone:
        """Return the same network that reads faces cut out otherwise; a model that was built is shared.

        Parameters
        ----------
        align : {'', 'none', 'five_points', 'upright'}
            '': as the network was made. With 'five_points' a network that was made for unaligned faces sees
            `LOOSE_MARGIN` around the template unless a margin is given.
        margin : float
            Share of the box (with 'five_points' of the template) that is added on each side; -1: the network's own.
        resolution : int
            Side of the input in pixels; 0: the network's own.

        Raises
        ------
        BackboneError
            The network takes no other resolution.
        """
        own, changes, named = self.preprocessing, {}, []
        if align and align != own.align:
            changes["align"] = align
            named.append(align)
        usual = LOOSE_MARGIN if changes.get("align") == "five_points" else own.crop_margin
        chosen = usual if margin == OWN_MARGIN else margin
        if chosen != own.crop_margin:
            changes["crop_margin"] = chosen
        if chosen != usual:
            named.append(f"margin{chosen:g}")
        if resolution and (resolution, resolution) != own.size:
            self._check_resolution(resolution)
            changes["size"] = (resolution, resolution)
            named.append(f"{resolution}px")
        if not changes:
            return self
        return self._with(
            preprocessing=dataclasses.replace(own, **changes),
            variant="-".join([self.variant, *named] if self.variant else named),
            resolution=resolution if "size" in changes else self.resolution,
        )

    def _check_resolution(self, side: int) -> None:
        tap = self.tap_table[self.tap]
        height, width = self.preprocessing.size
        try:
            model = tap_model(at_resolution(self.full, side), tap, name="tried")
            fits = model.output.shape[-1] == tap.dim
        except Exception:  # Keras raises several types where a layer does not fit
            fits = False
        if not fits:
            raise BackboneError(
                f"resolution={side}; {self.name} at {self.tap!r} takes {height} x {width} pixels alone: other sizes need "
                "a network of convolutions that averages over the picture, such as faceres_deep; leave it at 0"
            )

    def _with(self, **changes) -> Backbone:
        other = dataclasses.replace(self, **changes)
        if "full" in self.__dict__:
            other.__dict__["full"] = self.full
        return other

    def __getstate__(self):
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def at_resolution(full: keras.Model, side: int) -> keras.Model:
    """Return a network with the same weights that takes pictures of `side` x `side` pixels."""
    keras = import_keras()
    picture = keras.Input((side, side, full.input.shape[-1]), name="picture")
    other = keras.models.clone_model(full, input_tensors=picture)
    other.set_weights(full.get_weights())
    return other


def mirror_model(model: keras.Model, mirror: str) -> keras.Model:
    """Return the model that gives what `Backbone.mirror` says, from the model of one side."""
    keras = import_keras()
    picture = keras.Input(model.input.shape[1:], name="picture")
    turned = model(keras.ops.flip(picture, axis=2))
    output = turned if mirror == "only" else (model(picture) + turned) / 2
    return keras.Model(picture, output, name=f"{model.name}_mirror_{mirror}")


def tap_model(full: keras.Model, *taps: Tap, name: str) -> keras.Model:
    """Return the layers of `full` from its input to the `taps`, ending in a matrix (n, sum of their dims)."""
    keras = import_keras()
    ends = ["", *(f"_{i}" for i in range(1, len(taps)))]
    outputs = [_read_tap(full, tap, end) for tap, end in zip(taps, ends, strict=True)]
    output = keras.layers.Concatenate(name="descriptors")(outputs) if len(taps) > 1 else outputs[0]
    return keras.Model(full.inputs[0], output, name=name)


def _read_tap(full: keras.Model, tap: Tap, end: str):
    """Return the descriptor at a tap, a Keras tensor (n, dim); the names of layers that are added have the `end`."""
    layers, output = import_keras().layers, full.get_layer(tap.layer).output
    if len(output.shape) == 4:
        layer = layers.GlobalAveragePooling2D if tap.pool else layers.Flatten
        output = layer(name=f"descriptor{end}")(output)
    return layers.UnitNormalization(name=f"unit_length{end}")(output) if tap.scales_to_one else output


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


def remember(path: Path, cache: Path, compute: Callable[[], dict], *, key: str = "") -> dict:
    """Return what `compute` returns for a file, kept in a cache until the file's size or time changes.

    Parameters
    ----------
    path : pathlib.Path
        The file that the facts are about.
    cache : pathlib.Path
        Folder of one JSON file for each `path`. Where it cannot be written, nothing is kept.
    compute : callable
        Returns the facts, in plain types.
    key : str
        What the facts depend on besides the file.
    """
    stat = path.stat()
    stamp = [str(path), stat.st_size, stat.st_mtime_ns, key]
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
        record = parse_json(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and "facts" in record else {}

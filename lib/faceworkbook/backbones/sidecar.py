"""The side-car of a network of one's own: ``NAME.yaml`` beside its weights file, checked key by key."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from faceworkbook import plain_yaml
from faceworkbook.backbones.base import WeightsError
from faceworkbook.preprocessing import ALIGNMENTS, INTERPOLATIONS, Preprocessing

MAX_BYTES = 2**16
LAYOUTS = ("NCHW", "NHWC")
POOLS = ("mean", "first", "flatten")
NORMALISATIONS = ("none", "L2")
NOT_STATED = "not stated"
TEXTS = ("licence", "source")  # what changes no descriptor
INPUT_KEYS = ("size", "channels", "mean", "scale")
# What other programs call the same thing.
SYNONYMS = {
    **dict.fromkeys(("license", "terms"), "licence"),
    **dict.fromkeys(("image_size", "input_size", "input_shape", "crop_size", "resolution"), "size"),
    **dict.fromkeys(("channel_order", "order", "color", "colour", "mode"), "channels"),
    **dict.fromkeys(("std", "stdev", "image_std"), "scale (1 / std, of values 0..255)"),
    **dict.fromkeys(("image_mean", "averageImage"), "mean (of values 0..255)"),
    **dict.fromkeys(("normalization", "normalise", "normalize", "l2"), "normalisation"),
    **dict.fromkeys(("data_format", "format"), "layout"),
    **dict.fromkeys(("alignment",), "align"),
    **dict.fromkeys(("crop_margin",), "margin"),
    **dict.fromkeys(("layer",), "tap"),
    **dict.fromkeys(("resample", "resize"), "interpolation"),
}


@dataclass(frozen=True)
class SideCar:
    """What a side-car says. A key that is not there is None.

    Attributes
    ----------
    file : str
        Its path, for errors.
    size : (height, width) in pixels, or None
    channels : {'RGB', 'BGR', 'GRAY'} or None
    mean : tuple of float, range 0..255, or None
        Subtracted, in the order of `channels`.
    scale : tuple of float or None
        Multiplies the result.
    prewhiten : bool or None
        Each picture to mean 0 and deviation 1; `mean` and `scale` are left out then.
    layout : {'NCHW', 'NHWC'} or None
        Order of the axes that the network reads.
    align : {'none', 'five_points', 'upright'} or None
    template : str or None
        See ``alignment.TEMPLATES``.
    margin : float or None
        Share of the box that is added on each side.
    interpolation : str or None
    tap : str or None
        Output of a graph, or any tensor in it; layer of a Keras model.
    pool : {'mean', 'first', 'flatten'} or None
        How a map or a list of tokens becomes one descriptor.
    normalisation : {'none', 'L2'} or None
        'L2': the descriptor is scaled to length 1.
    batch : int or None
        Faces that the graph takes at a time, where the file does not say so.
    architecture : str or None
        Whose layers a file of weights alone is read into.
    licence, source : str or None
    """

    file: str
    size: tuple[int, int] | None = None
    channels: str | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    prewhiten: bool | None = None
    layout: str | None = None
    align: str | None = None
    template: str | None = None
    margin: float | None = None
    interpolation: str | None = None
    tap: str | None = None
    pool: str | None = None
    normalisation: str | None = None
    batch: int | None = None
    architecture: str | None = None
    licence: str | None = None
    source: str | None = None

    @property
    def scales_to_one(self) -> bool:
        """Whether descriptors are scaled to length 1."""
        return self.normalisation == "L2"

    def content(self) -> str:
        """Return what changes descriptors, as one text, for the network's identity."""
        values = {k: v for k, v in asdict(self).items() if v is not None and k not in ("file", *TEXTS)}
        return json.dumps(values, sort_keys=True)

    def describe_origin(self) -> str:
        """Return source and licence in one line."""
        return f"{self.source or 'source ' + NOT_STATED}; licence: {self.licence or NOT_STATED}"

    def preprocessing(self, base: Preprocessing | None = None) -> Preprocessing:
        """Return the record of the network's input; what is not named is that of `base`.

        Raises
        ------
        WeightsError
            Without `base`: size, channels, or mean and scale are missing.
        """
        given = {name: getattr(self, name) for name in ("align", "template", "interpolation", *INPUT_KEYS)}
        given |= {"crop_margin": self.margin, "prewhiten": self.prewhiten}
        given = {name: value for name, value in given.items() if value is not None}
        values = base.to_dict() if base else {}
        if self.prewhiten:
            values |= {"mean": (0.0,) * (1 if given.get("channels") == "GRAY" else 3), "scale": 1.0}
        values |= given
        missing = [name for name in INPUT_KEYS if name not in values]
        if missing:
            raise WeightsError(
                f"{self.file}: {' and '.join(missing)} not there, and no descriptor is right without; add what the "
                "network was trained with (weights/README.md has the usual ones)"
            )
        n_channels = 1 if values["channels"] == "GRAY" else 3
        if len(values["mean"]) == 1:
            values["mean"] = tuple(values["mean"]) * n_channels
        if len(values["mean"]) != n_channels:
            raise WeightsError(
                f"{self.file}: mean has {len(values['mean'])} numbers; {values['channels']} takes 1 or {n_channels}"
            )
        try:
            return Preprocessing.from_dict(values)
        except ValueError as error:
            raise WeightsError(f"{self.file}: {error}") from error


def read(path: Path) -> SideCar:
    """Read and check a side-car.

    Raises
    ------
    WeightsError
        No YAML, not names and values, an unknown key (with the likely one), or a value that is not allowed.
    """
    values = _mapping(path)
    if "output" in values:
        if "tap" in values:
            raise WeightsError(f"{path}: tap and output mean the same; keep one of them")
        values["tap"] = values.pop("output")
    for key in values:
        if key not in READERS:
            raise WeightsError(
                f"{path}: unknown key {key!r}{_likely(str(key))}; allowed are {', '.join(READERS)}"
            )
    checked = {}
    for key, value in values.items():
        if value is None:
            continue
        try:
            checked[key] = READERS[key](value)
        except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
            raise WeightsError(f"{path}: {key}: {value!r}; {error}") from error
    return SideCar(str(path), **checked)


def _mapping(path: Path) -> dict:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(
                f"{path} has {path.stat().st_size:,} bytes; a side-car has a few lines; see weights/README.md"
            )
        values = plain_yaml.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, plain_yaml.YamlError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path} cannot be read as YAML ({reason}); expected lines like 'size: 112'"
        ) from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds no names with values; expected lines like 'size: 112'")
    return values


def _likely(key: str) -> str:
    name = SYNONYMS.get(key.lower().replace("-", "_"))
    close = [name] if name else difflib.get_close_matches(key.lower(), READERS, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _number(value) -> float:
    """Return a number, or a fraction such as 1/127.5."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):
        above, _, below = value.partition("/")
        try:
            return float(Fraction(above.strip()) / Fraction(below.strip() or "1"))
        except ValueError:
            raise ValueError("expected a number, or a fraction such as 1/127.5") from None
    return float(value)


def _numbers(value) -> tuple[float, ...]:
    values = tuple(_number(v) for v in (value if isinstance(value, list) else [value]))
    if len(values) not in (1, 3) or not all(-1e9 < v < 1e9 for v in values):
        raise ValueError("expected one number, or a list of three")
    return values


def _scale(value) -> tuple[float, ...]:
    if not all(values := _numbers(value)):
        raise ValueError("expected numbers other than 0")
    return values


def _size(value) -> tuple[int, int]:
    values = value if isinstance(value, list) else [value, value]
    if len(values) != 2 or any(
        isinstance(v, bool) or not isinstance(v, int) or not 8 <= v <= 4096 for v in values
    ):
        raise ValueError("expected pixels, 8 to 4096: one number, or [height, width]")
    return tuple(values)


def _whole(value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise ValueError("expected a whole number, 1 to 4096")
    return value


def _margin(value) -> float:
    if not -0.5 < (margin := _number(value)) <= 5:
        raise ValueError("expected a share of the box, -0.5 to 5")
    return margin


def _yes_or_no(value) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _text(value) -> str:
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError("expected a text")
    return " ".join(str(value).split())


def _name(value) -> str:
    # Names of tensors may be numbers.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("expected the name of an output or a layer")
    return str(value)


def _one_of(allowed: tuple[str, ...]) -> Callable:
    def choose(value) -> str:
        value = "none" if value is False else value  # YAML reads a plain no or off as false
        for word in allowed:
            if str(value).lower() == word.lower():
                return word
        raise ValueError(f"expected one of {', '.join(allowed)}")

    return choose


READERS: dict[str, Callable] = {
    "size": _size,
    "channels": _one_of(("RGB", "BGR", "GRAY")),
    "mean": _numbers,
    "scale": _scale,
    "prewhiten": _yes_or_no,
    "layout": _one_of(LAYOUTS),
    "align": _one_of(ALIGNMENTS),
    "template": _name,
    "margin": _margin,
    "interpolation": _one_of(tuple(INTERPOLATIONS)),
    "tap": _name,
    "pool": _one_of(POOLS),
    "normalisation": _one_of(NORMALISATIONS),
    "batch": _whole,
    "architecture": _name,
    "licence": _text,
    "source": _text,
}


def ready_made(
    name: str, *, size: tuple[int, int] | None = None, channels: int = 3, layout: str = "NCHW"
) -> str:
    """Return the text of a side-car to start from, by the size that a network reads.

    Parameters
    ----------
    name : str
        Of the network.
    size : (height, width) in pixels, or None where it is not known
    channels : int
    layout : {'NCHW', 'NHWC'}
    """
    height, width = size or (224, 224)
    lines = [f"size: {height}" if height == width else f"size: [{height}, {width}]"]
    if channels == 1:
        lines += ["channels: GRAY", "mean: 127.5", "scale: 1/127.5"]
    elif (height, width) == (112, 112):
        lines += [
            "channels: RGB  # AdaFace and SFace: BGR",
            "mean: 127.5",
            "scale: 1/127.5",
            "align: five_points",
        ]
        lines += ["template: arcface", "normalisation: L2"]
    elif (height, width) == (160, 160):
        lines += ["channels: RGB", "prewhiten: true", "normalisation: L2"]
    else:
        lines += ["channels: RGB", "mean: [123.675, 116.28, 103.53]", "scale: [1/58.395, 1/57.12, 1/57.375]"]
    lines += [
        f"layout: {layout}",
        "licence: whose weights, under which terms",
        f"source: where {name} comes from",
    ]
    return "\n".join(lines)

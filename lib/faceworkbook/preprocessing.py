"""How the input of a network is prepared: a record that travels with weights, descriptors and models, and its use."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from faceworkbook import alignment

INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}

ALIGNMENTS = ("none", "five_points", "upright")
GREY_WEIGHTS = (0.299, 0.587, 0.114)  # of R, G, B (ITU-R BT.601)


@dataclass(frozen=True)
class Preprocessing:
    """How a network's input is prepared. Stored with weights, descriptors and trained models.

    Attributes
    ----------
    size : (height, width) in pixels
    channels : 'RGB' or 'BGR' or 'GRAY'
        Order of the last axis that the network was trained with.
    mean : tuple of float, range 0..255
        Subtracted from each channel, in the order of `channels`.
    scale : float or tuple of float
        Multiplies the result, one for all channels or one for each; 1.0 leaves 0..255 units.
    interpolation : str
        One of `INTERPOLATIONS`; shrinking by 2 or more always averages areas.
    crop_margin : float
        Share of the box's height and width that is added on each side before the crop. With 'five_points' the share
        of the template's chip. A whole picture without a box has no margin.
    align : {'none', 'five_points', 'upright'}
        'five_points': the similarity transform that brings eyes, nose and mouth nearest to `template`. 'upright': the
        picture is turned until the eye line is level; the crop keeps its place and scale.
    template : str
        One of ``alignment.TEMPLATES``: where the five points lie in a chip.
    prewhiten : bool
        Bring each picture to mean 0 and deviation 1, over all its pixels and channels (FaceNet, Schroff et al. 2015).
        Mean and scale are 0 and 1 then.
    """

    size: tuple[int, int]
    channels: str
    mean: tuple[float, ...]
    scale: float | tuple[float, ...] = 1.0
    interpolation: str = "bilinear"
    crop_margin: float = 0.0
    align: str = "none"
    template: str = "arcface"
    prewhiten: bool = False

    def __post_init__(self):
        if self.channels not in ("RGB", "BGR", "GRAY"):
            raise ValueError(f"channels={self.channels!r}; allowed are 'RGB', 'BGR', 'GRAY'")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation={self.interpolation!r}; allowed are {sorted(INTERPOLATIONS)}")
        if not -0.5 < self.crop_margin <= 5:
            raise ValueError(f"crop_margin={self.crop_margin}; allowed is -0.5..5 (share of the box)")
        if self.align not in ALIGNMENTS:
            raise ValueError(f"align={self.align!r}; allowed are {list(ALIGNMENTS)}")
        if self.template not in alignment.TEMPLATES:
            raise ValueError(f"template={self.template!r}; allowed are {sorted(alignment.TEMPLATES)}")
        object.__setattr__(self, "size", tuple(int(s) for s in self.size))
        object.__setattr__(self, "mean", tuple(float(m) for m in self.mean))
        object.__setattr__(self, "scale", _plain_scale(self.scale, len(self.mean)))
        if self.prewhiten and (any(self.mean) or self.scale != 1.0):
            raise ValueError(
                f"prewhiten with mean={self.mean} and scale={self.scale}; each picture's own are taken: leave them at "
                "0 and 1"
            )

    def to_dict(self) -> dict:
        """Return plain types, for JSON.

        Alignment and prewhitening are named where there are any: other descriptors stay what they were before these
        were known.
        """
        values = {**asdict(self), "size": [*self.size], "mean": [*self.mean]}
        if isinstance(self.scale, tuple):
            values["scale"] = [*self.scale]
        if not self.prewhiten:
            del values["prewhiten"]
        if self.align == "none":
            del values["align"]
            if self.template == "arcface":
                del values["template"]
        return values

    @classmethod
    def from_dict(cls, values: dict) -> Preprocessing:
        """Make the record that `to_dict` wrote."""
        return cls(**values)


def _plain_scale(scale: float | tuple[float, ...], n_channels: int) -> float | tuple[float, ...]:
    """Return one number where all channels have the same."""
    values = tuple(float(v) for v in np.ravel(scale))
    if len(values) not in (1, n_channels) or not np.isfinite(values).all() or not all(values):
        raise ValueError(f"scale={scale}; allowed are 1 or {n_channels} numbers other than 0")
    return values[0] if len(set(values)) == 1 else values


def network_input(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Convert uint8 RGB pixels to the input that the network was trained on.

    Parameters
    ----------
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB, 0..255
    preprocessing : Preprocessing

    Returns
    -------
    ndarray of shape (n, height, width, 3 or 1), float32
        ``(channels in order - mean) * scale``; prewhitened, ``(x - mean of x) / max(deviation of x, n ** -0.5)`` for
        a picture of n numbers.
    """
    if preprocessing.channels == "GRAY":
        ordered = pixels @ np.array(GREY_WEIGHTS, np.float32)
        ordered = ordered[..., None]
    else:
        ordered = pixels if preprocessing.channels == "RGB" else pixels[..., ::-1]
    out = ordered.astype(np.float32)
    if preprocessing.prewhiten:
        return _prewhiten(out)
    out -= np.asarray(preprocessing.mean, np.float32)
    if preprocessing.scale != 1.0:
        out *= np.asarray(preprocessing.scale, np.float32)
    return out


def _prewhiten(pictures: np.ndarray) -> np.ndarray:
    inside = tuple(range(1, pictures.ndim))
    least = pictures[0].size ** -0.5 if len(pictures) else 1.0  # a flat picture has no deviation
    deviation = np.maximum(pictures.std(axis=inside, keepdims=True), np.float32(least))
    return (pictures - pictures.mean(axis=inside, keepdims=True)) / deviation

"""Change training pictures without making their labels false: mirror, turn, shift, zoom, light, blur.

What happens to a picture depends on the seed, the epoch and the row alone, never on what was drawn
before it: any batch of any epoch can be made anew, alone or after a kill. Pictures are never turned
upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from faceworkbook.tasks import YAW_BINS

_FIELDS = ("angle", "right", "down", "zoom", "contrast", "brightness", "blur")
DRAWN = np.dtype([("mirror", "?"), *((name, "f4") for name in _FIELDS)])
LIMITS = {"mirror": 1.0, "rotate": 45.0, "shift": 0.5, "zoom": 0.9, "light": 1.0, "blur": 1.0}
_RANDOM_NUMBERS = 9
_BLUR_PIXELS = (0.4, 1.2)


@dataclass(frozen=True)
class Augmentation:
    """How strongly training pictures are changed; 0 switches a change off.

    Attributes
    ----------
    mirror : float, 0..1
        Share of pictures that are mirrored left to right. Yaw and roll are negated with them.
    rotate : float, degrees
        Largest turn in the picture's plane, to either side. Roll is turned with it.
    shift : float
        Largest move, as a share of the width and of the height.
    zoom : float
        Largest change of scale: 0.1 draws scales in 0.9..1.1.
    light : float
        Largest change of contrast, and of brightness as a share of 255.
    blur : float, 0..1
        Share of pictures that are blurred (Gaussian, standard deviation 0.4 to 1.2 pixels).
    """

    mirror: float = 0.5
    rotate: float = 10.0
    shift: float = 0.06
    zoom: float = 0.1
    light: float = 0.2
    blur: float = 0.05

    def __post_init__(self):
        for name, limit in LIMITS.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ValueError(f"{name}={value}; allowed is 0..{limit:g}")

    @property
    def is_nothing(self) -> bool:
        """Whether every picture stays as it is."""
        return not any(getattr(self, name) for name in LIMITS)


def draw(
    augmentation: Augmentation,
    rows: np.ndarray,
    *,
    seed: int,
    epoch: int,
    repetition: np.ndarray | None = None,
) -> np.ndarray:
    """Decide what happens to the picture of each row in an epoch.

    Parameters
    ----------
    rows : ndarray of shape (n,), int
    repetition : ndarray of shape (n,), int, optional
        Which time a row comes in the epoch, from 0: each time it is changed in another manner.

    Returns
    -------
    ndarray of shape (n,), dtype `DRAWN`
        ``mirror``; ``angle`` in degrees, clockwise as the viewer sees it; ``right`` and ``down`` as
        shares of width and height; ``zoom`` and ``contrast`` as factors; ``brightness`` in 0..255
        units; ``blur``, the standard deviation in pixels, 0 for none.
    """
    times = np.zeros(len(rows), int) if repetition is None else repetition
    pairs = zip(rows, times, strict=True)
    u = [_numbers(seed, epoch, int(row), int(time)) for row, time in pairs]
    u = np.stack(u) if len(rows) else np.zeros((0, _RANDOM_NUMBERS))
    sign = 2 * u - 1
    low, high = _BLUR_PIXELS
    drawn = np.zeros(len(rows), DRAWN)
    drawn["mirror"] = u[:, 0] < augmentation.mirror
    drawn["angle"] = sign[:, 1] * augmentation.rotate
    drawn["right"] = sign[:, 2] * augmentation.shift
    drawn["down"] = sign[:, 3] * augmentation.shift
    drawn["zoom"] = 1 + sign[:, 4] * augmentation.zoom
    drawn["contrast"] = 1 + sign[:, 5] * augmentation.light
    drawn["brightness"] = sign[:, 6] * augmentation.light * 255 / 2
    drawn["blur"] = np.where(u[:, 7] < augmentation.blur, low + u[:, 8] * (high - low), 0)
    return drawn


def _numbers(seed: int, epoch: int, row: int, time: int) -> np.ndarray:
    # Philox is counter-based: the row is its counter, so that no row's numbers depend on another's.
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=[0, time, row, 0])
    return np.random.Generator(bits).random(_RANDOM_NUMBERS)


def apply(pixels: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Change pictures as drawn.

    Parameters
    ----------
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB
    drawn : ndarray of shape (n,), dtype `DRAWN`

    Returns
    -------
    ndarray of the same shape, uint8; what comes in from outside repeats the border
    """
    return np.stack([_change(image, how) for image, how in zip(pixels, drawn, strict=True)])


def _change(image: np.ndarray, how: np.void) -> np.ndarray:
    image = _move(image, how)
    if how["blur"]:
        image = cv2.GaussianBlur(image, (0, 0), float(how["blur"]))
    if how["contrast"] == 1 and how["brightness"] == 0:
        return image
    # Around mid-grey, so that contrast does not brighten; the result is clipped to 0..255.
    levels = (np.arange(256) - 127.5) * how["contrast"] + 127.5 + how["brightness"]
    return cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def _move(image: np.ndarray, how: np.void) -> np.ndarray:
    if how["mirror"]:
        image = np.ascontiguousarray(image[:, ::-1])
    if how["angle"] == 0 and how["zoom"] == 1 and how["right"] == 0 and how["down"] == 0:
        return image
    height, width = image.shape[:2]
    radians = np.deg2rad(float(how["angle"]))
    # Rows go downward, so this matrix turns clockwise as the viewer sees it.
    turn = how["zoom"] * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    moved = centre + np.array([how["right"] * width, how["down"] * height])
    matrix = np.column_stack([turn, moved - turn @ centre])
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def adjust(name: str, values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Labels of the changed pictures: mirroring negates yaw and roll, turning adds to roll.

    Parameters
    ----------
    name : str
        The label; all but 'yaw' and 'roll' (degrees) stay as they are.
    values : ndarray of shape (n,)
    drawn : ndarray of shape (n,), dtype `DRAWN`
    """
    if name not in ("yaw", "roll"):
        return values
    mirrored = np.where(drawn["mirror"], -values, values)
    return mirrored + drawn["angle"] if name == "roll" else mirrored


def adjust_classes(name: str, classes: Sequence[str], shares: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Shares of classes of the changed pictures: mirroring turns the bins of yaw ('pose') round.

    Parameters
    ----------
    name : str
        The label; all but 'pose' stay as they are.
    shares : ndarray of shape (n, n_classes)

    Returns
    -------
    ndarray of the same shape
        A row has no share where its mirror image is of a class that is not there.
    """
    if name != "pose":
        return shares
    opposite = dict(zip(YAW_BINS, reversed(YAW_BINS), strict=True))
    turned = np.zeros_like(shares)
    for place, own in enumerate(classes):
        if opposite[own] in classes:
            turned[:, classes.index(opposite[own])] = shares[:, place]
    return np.where(drawn["mirror"][:, None], turned, shares)

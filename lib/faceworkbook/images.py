"""Decode, crop and resize pictures: uint8 RGB arrays, and the `Preprocessing` that a network wants."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import xxhash
from PIL import Image, ImageOps

INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


# OpenCV has no names for reduced pictures in RGB; the flag for RGB overrules that for grey.
_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}

# What turns a file into pixels; recorded with every descriptor.
DECODER = f"opencv {cv2.__version__}, JPEG decoded at 1/2, 1/4 or 1/8 where that leaves twice the input size"


class UnreadableImage(ValueError):
    """A picture that cannot be decoded; the text names the file and what was found in it."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its input. Stored with weights, descriptors and trained models.

    Attributes
    ----------
    size : (height, width) in pixels
    channels : 'RGB' or 'BGR' or 'GRAY'
        Order of the last axis that the network was trained with.
    mean : tuple of float, range 0..255
        Subtracted from each channel, in the order of `channels`.
    scale : float
        Multiplies the result; 1.0 leaves 0..255 units.
    interpolation : str
        One of `INTERPOLATIONS`; shrinking by 2 or more averages areas whatever stands here.
    crop_margin : float
        Share of the box's height and width that is added on each side before the crop (boxes only).
    """

    size: tuple[int, int]
    channels: str
    mean: tuple[float, ...]
    scale: float = 1.0
    interpolation: str = "bilinear"
    crop_margin: float = 0.0

    def __post_init__(self):
        if self.channels not in ("RGB", "BGR", "GRAY"):
            raise ValueError(f"channels={self.channels!r}; allowed are 'RGB', 'BGR', 'GRAY'")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation={self.interpolation!r}; allowed are {sorted(INTERPOLATIONS)}")
        if not -0.5 < self.crop_margin <= 5:
            raise ValueError(f"crop_margin={self.crop_margin}; allowed is -0.5..5 (share of the box)")
        object.__setattr__(self, "size", tuple(int(s) for s in self.size))
        object.__setattr__(self, "mean", tuple(float(m) for m in self.mean))

    def to_dict(self) -> dict:
        """Plain types, for JSON."""
        return {**asdict(self), "size": [*self.size], "mean": [*self.mean]}

    @classmethod
    def from_dict(cls, values: dict) -> Preprocessing:
        """The record that `to_dict` wrote."""
        return cls(**values)


def content_hash(data: bytes) -> str:
    """128-bit hash of a file's bytes, as 32 hexadecimal digits (XXH3; not for security)."""
    return xxhash.xxh3_128_hexdigest(data)


def decode(data: bytes, *, name: str = "picture", reduce: int = 1) -> np.ndarray:
    """Decode a picture.

    Parameters
    ----------
    data : bytes
        The file's content (JPEG, PNG, BMP, WebP, TIFF, GIF). EXIF orientation is applied.
    name : str
        Named in errors.
    reduce : {1, 2, 4, 8}
        Decode a JPEG at this fraction of its size, which is several times as fast.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8, RGB

    Raises
    ------
    UnreadableImage
        Empty, not a picture, or cut short: a half-decoded picture is never returned.
    """
    if not data:
        raise UnreadableImage(f"{name}: the file is empty")
    if not _ends_whole(data):
        return _decode_strictly(data, name)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduce])
    return _decode_strictly(data, name) if pixels is None else pixels


def _ends_whole(data: bytes) -> bool:
    # OpenCV pads a truncated JPEG with grey and says nothing; an end marker shows a whole file.
    if data[:2] == b"\xff\xd8":
        return data[-2:] == b"\xff\xd9"
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND"


def _decode_strictly(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception as error:  # Pillow raises a dozen types on damaged files
        reason = "not a picture" if "cannot identify" in str(error) else str(error).rstrip(".")
        raise UnreadableImage(f"{name}: cannot be decoded ({reason})") from error


def read(path: str | Path) -> np.ndarray:
    """Decode the file at `path`; see `decode`. A missing file is an `UnreadableImage` too."""
    return decode(read_bytes(path), name=str(path))


def read_bytes(path: str | Path) -> bytes:
    """The bytes of the file at `path`; `UnreadableImage` where it cannot be opened."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be opened ({error.strerror})") from error


def widen(box: tuple[float, float, float, float], *, margin: float) -> tuple[int, int, int, int]:
    """The whole pixels (top, left, bottom, right) of `box` with a share of its height and width added on each
    side, at least one pixel each way; see `crop`."""
    top, left, bottom, right = (float(v) for v in box)
    dy, dx = (bottom - top) * margin, (right - left) * margin
    y0, x0 = round(top - dy), round(left - dx)
    return y0, x0, max(round(bottom + dy), y0 + 1), max(round(right + dx), x0 + 1)


def crop(image: np.ndarray, box: tuple[float, float, float, float], *, margin: float = 0.0) -> np.ndarray:
    """Cut the face box out of `image`.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
    box : (top, left, bottom, right) in pixels
    margin : float
        Share of the box's height and width added on each side.

    Returns
    -------
    ndarray, uint8
        What lies outside the picture is filled by repeating its border.
    """
    y0, x0, y1, x1 = widen(box, margin=margin)
    h, w = image.shape[:2]
    if y1 <= 0 or x1 <= 0 or y0 >= h or x0 >= w:
        raise UnreadableImage(f"box {tuple(map(float, box))} lies outside the picture of {h} x {w} pixels")
    inner = image[max(y0, 0) : y1, max(x0, 0) : x1]
    pads = (max(-y0, 0), max(y1 - h, 0), max(-x0, 0), max(x1 - w, 0))
    return cv2.copyMakeBorder(inner, *pads, cv2.BORDER_REPLICATE) if any(pads) else inner


def resize(image: np.ndarray, size: tuple[int, int], *, interpolation: str = "bilinear") -> np.ndarray:
    """Resize to `size` (height, width); shrinking by 2 or more always averages areas (no aliasing)."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= 2 * height and image.shape[1] >= 2 * width
    method = cv2.INTER_AREA if shrinks else INTERPOLATIONS[interpolation]
    return cv2.resize(image, (width, height), interpolation=method)


def face_pixels(data: bytes, preprocessing: Preprocessing, *, box=None, name: str = "picture") -> np.ndarray:
    """Decode, crop and resize one face.

    Parameters
    ----------
    data : bytes
        The picture file's content.
    preprocessing : Preprocessing
        Gives size, interpolation and crop margin.
    box : (top, left, bottom, right) in pixels, optional
        The whole picture where None.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8, RGB
    """
    reduce = _reduction(data, preprocessing, box)
    image = decode(data, name=name, reduce=reduce)
    if box is not None:
        image = crop(image, tuple(edge / reduce for edge in box), margin=preprocessing.crop_margin)
    return np.ascontiguousarray(resize(image, preprocessing.size, interpolation=preprocessing.interpolation))


def _reduction(data: bytes, preprocessing: Preprocessing, box) -> int:
    """How much smaller a JPEG may be decoded so that twice the network's input is left to average."""
    if len(data) < 40_000 or data[:2] != b"\xff\xd8" or not _ends_whole(data):
        return 1
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except OSError:
        return 1
    if box is not None:
        height, width = box[2] - box[0], box[3] - box[1]
    room = min(height / (2 * preprocessing.size[0]), width / (2 * preprocessing.size[1]))
    return next((r for r in (8, 4, 2) if room >= r), 1)


def network_input(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Turn uint8 RGB pixels into what the network was trained on.

    Parameters
    ----------
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB

    Returns
    -------
    ndarray of shape (n, height, width, 3 or 1), float32
        ``(channels in order - mean) * scale``.
    """
    if preprocessing.channels == "GRAY":
        ordered = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
        ordered = ordered[..., None]
    else:
        ordered = pixels if preprocessing.channels == "RGB" else pixels[..., ::-1]
    out = ordered.astype(np.float32)
    out -= np.asarray(preprocessing.mean, np.float32)
    if preprocessing.scale != 1.0:
        out *= np.float32(preprocessing.scale)
    return out

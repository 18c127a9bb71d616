"""Decode, crop and resize pictures to uint8 RGB arrays."""

from __future__ import annotations

import math

import cv2
import numpy as np
import xxhash

from faceworkbook import alignment
from faceworkbook.decoding import (
    BACKGROUND,
    DECODER,
    MAX_BYTES,
    MAX_PIXELS,
    UnreadableImage,
    decode,
    read,
    read_bytes,
    read_file,
    read_jpeg_size,
    read_size,
    size_of,
)
from faceworkbook.preprocessing import ALIGNMENTS, INTERPOLATIONS, Preprocessing, network_input

__all__ = [
    "ALIGNMENTS",
    "BACKGROUND",
    "DECODER",
    "INTERPOLATIONS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Preprocessing",
    "UnreadableImage",
    "box_problem",
    "content_hash",
    "crop",
    "cut_face",
    "decode",
    "face_pixels",
    "network_input",
    "read",
    "read_bytes",
    "read_file",
    "read_size",
    "reduction",
    "resize",
    "size_of",
    "widen",
]

_LEAST_INSIDE = 0.5  # share of a box's area that lies in the picture


def content_hash(data: bytes) -> str:
    """Return the 128-bit hash of a file's bytes, as 32 hexadecimal digits (XXH3; not for security)."""
    return xxhash.xxh3_128_hexdigest(data)


def widen(box: tuple[float, float, float, float], *, margin: float) -> tuple[int, int, int, int]:
    """Return `box` in whole pixels with a share of its height and width added on each side; see `crop`.

    The result (top, left, bottom, right) is at least one pixel high and wide.
    """
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

    Raises
    ------
    UnreadableImage
        A box that is none, or that lies mostly outside; see `box_problem`.
    """
    y0, x0, y1, x1 = _check_inside(box, image.shape, margin)
    h, w = image.shape[:2]
    inner = image[max(y0, 0) : y1, max(x0, 0) : x1]
    pads = (max(-y0, 0), max(y1 - h, 0), max(-x0, 0), max(x1 - w, 0))
    return cv2.copyMakeBorder(inner, *pads, cv2.BORDER_REPLICATE) if any(pads) else inner


def _check_inside(box, shape: tuple[int, ...], margin: float) -> tuple[int, int, int, int]:
    """Return the box widened by `margin`; `UnreadableImage` where it cannot be a face of a picture of `shape`."""
    problem = box_problem(box, *shape[:2])
    if problem:
        raise UnreadableImage(f"box {tuple(map(float, box))} {problem}")
    y0, x0, y1, x1 = widen(box, margin=margin)
    if (y1 - y0) * (x1 - x0) > MAX_PIXELS:
        raise UnreadableImage(
            f"box {tuple(map(float, box))} has more than {MAX_PIXELS:,} pixels with its margin"
        )
    return y0, x0, y1, x1


def box_problem(box: tuple[float, float, float, float], height: float, width: float) -> str:
    """Return why `box` (top, left, bottom, right in pixels) is no face of a picture of that size; empty if it may be."""
    top, left, bottom, right = map(float, box)
    if not all(map(math.isfinite, (top, left, bottom, right))):
        return "has a side that is no finite number"
    if bottom <= top or right <= left:
        return "has no area; expected top < bottom, left < right"
    if max(bottom, right) <= 1 < max(height, width):
        return "does not reach beyond pixel 1: is it in shares of the picture (0..1)? Pixels are expected"
    seen_height, seen_width = min(bottom, height) - max(top, 0), min(right, width) - max(left, 0)
    if max(seen_height, 0) * max(seen_width, 0) < _LEAST_INSIDE * (bottom - top) * (right - left):
        return (
            f"lies mostly outside the picture of {height:g} x {width:g} pixels: is it for another size of the "
            "picture, or are its sides in another order than top, left, bottom, right?"
        )
    return ""


def resize(image: np.ndarray, size: tuple[int, int], *, interpolation: str = "bilinear") -> np.ndarray:
    """Resize to `size` (height, width); shrinking by 2 or more always averages areas (no aliasing)."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= 2 * height and image.shape[1] >= 2 * width
    method = cv2.INTER_AREA if shrinks else INTERPOLATIONS[interpolation]
    return cv2.resize(image, (width, height), interpolation=method)


def cut_face(image: np.ndarray, preprocessing: Preprocessing, *, box=None, points=None) -> np.ndarray:
    """Cut one face out of a picture: the one function for extraction, fine-tuning and prediction.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    preprocessing : Preprocessing
        Gives size, interpolation, alignment and margin.
    box : (top, left, bottom, right) in pixels, optional
        The whole picture where None.
    points : ndarray of shape (5, 2), optional
        x, y in pixels of `image`, in the order of ``alignment.POINTS``. Where there are none, or none that
        `alignment.usable` accepts, the face is cut out unaligned, whatever `preprocessing` asks for.

    Returns
    -------
    ndarray of shape (height, width, 3) of the network's input, uint8, RGB

    Raises
    ------
    UnreadableImage
        The box lies outside the picture.
    """
    margin, size = preprocessing.crop_margin, preprocessing.size
    align = preprocessing.align if alignment.usable(points) else "none"
    if align == "five_points":
        template = alignment.TEMPLATES[preprocessing.template]
        return alignment.align(image, points, size=size, margin=margin, template=template)
    if box is not None:
        _check_inside(box, image.shape, margin)
    if align == "upright":
        frame = (0, 0, *image.shape[:2]) if box is None else widen(box, margin=margin)
        cut = alignment.turn_upright(image, points, frame)
    else:
        cut = image if box is None else crop(image, box, margin=margin)
    return np.ascontiguousarray(resize(cut, size, interpolation=preprocessing.interpolation))


def face_pixels(
    data: bytes, preprocessing: Preprocessing, *, box=None, points=None, name: str = "picture"
) -> np.ndarray:
    """Decode a picture and cut one face out of it; see `cut_face`.

    Parameters
    ----------
    data : bytes
        The picture file's content.
    preprocessing : Preprocessing
    box, points
        In pixels of the picture as it is stored. A large JPEG is decoded smaller, which is no matter here.
    name : str
        Named in errors.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8, RGB
    """
    aligned = preprocessing.align == "five_points" and alignment.usable(points)
    if aligned:
        across = alignment.chip_side(points, preprocessing.crop_margin) * np.ones(2)
    else:
        across = None if box is None else np.array([box[2] - box[0], box[3] - box[1]], float)
    reduce = reduction(data, preprocessing.size, across=across)
    image = decode(data, name=name, reduce=reduce)
    if reduce > 1:
        box = None if box is None else tuple(edge / reduce for edge in box)
        # Points name the middles of pixels, boxes their edges.
        points = None if points is None else (np.asarray(points, float) + 0.5) / reduce - 0.5
    try:
        return cut_face(image, preprocessing, box=box, points=points)
    except UnreadableImage as error:
        raise UnreadableImage(f"{name}: {error}") from error


def reduction(data: bytes, size: tuple[int, int], *, across: np.ndarray | None = None) -> int:
    """Return the factor by which a JPEG may be decoded smaller and still have twice the pixels of `size`.

    Parameters
    ----------
    data : bytes
    size : (height, width) in pixels
    across : ndarray of shape (2,), optional
        Height and width in pixels of what is cut out; the whole picture where None.
    """
    height, width = read_jpeg_size(data) if len(data) >= 40_000 else (0, 0)
    if across is not None and height:
        height, width = across
    room = min(height / (2 * size[0]), width / (2 * size[1]))
    return next((r for r in (8, 4, 2) if room >= r), 1)

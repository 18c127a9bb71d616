"""Decode, crop and resize pictures to uint8 RGB arrays."""

from __future__ import annotations

import errno
import importlib.metadata
import io
import os
import stat
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import PIL
import simplejpeg
import xxhash
from PIL import Image, ImageOps

from faceworkbook import alignment
from faceworkbook.preprocessing import (
    ALIGNMENTS,  # noqa: F401  (with what follows, the names that go with pictures)
    INTERPOLATIONS,
    Preprocessing,
    network_input,  # noqa: F401
)

MAX_BYTES = 2**28  # of a picture's file
MAX_PIXELS = 2**27  # of a decoded picture: 0.4 GB as RGB
BACKGROUND = (255, 255, 255)  # what transparent pixels become
ORIENTATION = 0x0112  # the EXIF tag
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_TURNS = {
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}

# What turns a file into pixels; recorded with every descriptor.
DECODER = (
    f"simplejpeg {importlib.metadata.version('simplejpeg')} (JPEG, decoded at 1/2, 1/4 or 1/8 where that leaves twice "
    f"the input size), opencv {cv2.__version__}, pillow {PIL.__version__}; transparent pixels become {BACKGROUND}"
)


class UnreadableImage(ValueError):
    """A picture that cannot be decoded; the text names the file and the reason."""


def content_hash(data: bytes) -> str:
    """Return the 128-bit hash of a file's bytes, as 32 hexadecimal digits (XXH3; not for security)."""
    return xxhash.xxh3_128_hexdigest(data)


def decode(data: bytes, *, name: str = "picture", reduce: int = 1) -> np.ndarray:
    """Decode a picture: the one gate through which every byte of a picture goes.

    Parameters
    ----------
    data : bytes
        The file's content (JPEG, PNG, BMP, WebP, TIFF, GIF, AVIF, JPEG 2000). EXIF orientation is applied, 16-bit
        grey is scaled, transparent pixels become `BACKGROUND`.
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
        Empty, not a picture, too large, cut short or torn: a half-decoded picture is never returned.
    """
    if not data:
        raise UnreadableImage(f"{name}: the file is empty")
    try:
        if data[:2] == _JPEG:
            return _decode_jpeg(data, reduce)
        if _is_plain_png(data):
            return _need_pixels(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
        return _decode_with_pillow(data)
    except Exception as error:  # decoders raise a dozen types on damaged files
        reason = "not a picture" if "cannot identify" in str(error) else str(error).strip().rstrip(".")
        raise UnreadableImage(f"{name}: cannot be decoded ({reason or type(error).__name__})") from error


def _decode_jpeg(data: bytes, reduce: int) -> np.ndarray:
    # libjpeg-turbo as in OpenCV, which however fills missing data with grey where this one raises.
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(-(-height // reduce), -(-width // reduce))
    if space not in ("YCbCr", "RGB", "Gray"):
        return _decode_with_pillow(data)
    smallest = {"min_height": -(-height // reduce), "min_width": -(-width // reduce)}
    pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", min_factor=1, **smallest)
    return _turn_upright(pixels, data)


def _turn_upright(pixels: np.ndarray, data: bytes) -> np.ndarray:
    """Apply the EXIF orientation, where there is one."""
    if data.find(b"Exif\0\0", 0, 2**16) < 0:
        return pixels
    with Image.open(io.BytesIO(data)) as header:
        orientation = header.getexif().get(ORIENTATION, 1)
    if orientation in (2, 3, 4, 5, 6, 7, 8):
        pixels = _TURNS[orientation](pixels)
    return np.ascontiguousarray(pixels)


def _is_plain_png(data: bytes) -> bool:
    """Return whether it is a PNG without transparency that ends whole; its size is checked."""
    if data[:8] != _PNG or data[-8:-4] != b"IEND" or len(data) < 33:
        return False
    width, height = struct.unpack(">II", data[16:24])
    _check_size(height, width)
    has_alpha = data[25] in (4, 6) or 0 <= data.find(b"tRNS") < max(data.find(b"IDAT"), 0)
    is_deep_grey = data[24] == 16 and data[25] == 0
    return not has_alpha and not is_deep_grey


def _decode_with_pillow(data: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        # The limit is `MAX_PIXELS`; a decoder's warning ends in pixels or in an error all the same.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(io.BytesIO(data)) as picture:
            _check_size(picture.height, picture.width)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            return np.array(_to_eight_bits(upright, has_alpha=picture.has_transparency_data))


def _to_eight_bits(picture: Image.Image, *, has_alpha: bool) -> Image.Image:
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture, np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ValueError(f"{picture.mode} values of 32 bits a pixel have no known range; save 8 or 16 bits")
    if not has_alpha:
        return picture.convert("RGB")
    cut_out = picture.convert("RGBA")
    ground = Image.new("RGBA", cut_out.size, (*BACKGROUND, 255))
    return Image.alpha_composite(ground, cut_out).convert("RGB")


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(f"{height} x {width} pixels; at most {MAX_PIXELS:,} are read, make it smaller")


def _need_pixels(pixels: np.ndarray | None) -> np.ndarray:
    if pixels is None:
        raise ValueError("damaged")
    return pixels


def read(path: str | Path) -> np.ndarray:
    """Decode the file at `path`; see `decode`. A missing file is an `UnreadableImage` too."""
    return decode(read_bytes(path), name=str(path))


def read_bytes(path: str | Path) -> bytes:
    """Return the bytes of the file at `path`; `UnreadableImage` where it cannot be opened, or is no plain file."""
    try:
        return read_file(str(path))[0]
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be opened ({error.strerror or error})") from error


def read_file(path: str) -> tuple[bytes, os.stat_result]:
    """Return the bytes and the state of a plain file of at most `MAX_BYTES`; OSError for anything else.

    Each call to the system lets another thread in, so there are no more than are needed.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to would wait forever.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        state = os.fstat(file)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        if state.st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, f"{state.st_size:,} bytes; at most {MAX_BYTES:,} are read")
        data = os.read(file, state.st_size)
        while len(data) < state.st_size and (more := os.read(file, state.st_size - len(data))):
            data += more
        return data, state
    finally:
        os.close(file)


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
    """
    y0, x0, y1, x1 = _check_inside(box, image.shape, margin)
    h, w = image.shape[:2]
    inner = image[max(y0, 0) : y1, max(x0, 0) : x1]
    pads = (max(-y0, 0), max(y1 - h, 0), max(-x0, 0), max(x1 - w, 0))
    return cv2.copyMakeBorder(inner, *pads, cv2.BORDER_REPLICATE) if any(pads) else inner


def _check_inside(box, shape: tuple[int, ...], margin: float) -> tuple[int, int, int, int]:
    """Return the box widened by `margin`, of which at least a pixel lies in a picture of `shape`."""
    y0, x0, y1, x1 = widen(box, margin=margin)
    h, w = shape[:2]
    if y1 <= 0 or x1 <= 0 or y0 >= h or x0 >= w:
        raise UnreadableImage(f"box {tuple(map(float, box))} lies outside the picture of {h} x {w} pixels")
    return y0, x0, y1, x1


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
    ndarray of shape (*preprocessing.size, 3), uint8, RGB

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
    return cut_face(image, preprocessing, box=box, points=points)


def reduction(data: bytes, size: tuple[int, int], *, across: np.ndarray | None = None) -> int:
    """Return the factor by which a JPEG may be decoded smaller and still have twice the pixels of `size`.

    Parameters
    ----------
    data : bytes
    size : (height, width) in pixels
    across : ndarray of shape (2,), optional
        Height and width in pixels of what is cut out; the whole picture where None.
    """
    if len(data) < 40_000 or data[:2] != _JPEG:
        return 1
    try:
        height, width = simplejpeg.decode_jpeg_header(data)[:2] if across is None else across
    except ValueError:
        return 1
    room = min(height / (2 * size[0]), width / (2 * size[1]))
    return next((r for r in (8, 4, 2) if room >= r), 1)

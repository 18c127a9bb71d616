"""The one gate for pictures: a file's bytes become uint8 RGB pixels, or one clear error."""

from __future__ import annotations

import errno
import importlib.metadata
import io
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import PIL
import simplejpeg
from PIL import Image

from faceworkbook import quiet
from faceworkbook.files import name_other_kind

MAX_BYTES = 2**28  # of a picture's file
MAX_PIXELS = 2**26  # of a decoded picture, and of what is cut out of one: 0.2 GB as RGB
MAX_PIXELS_OTHER = 2**25  # of formats other than JPEG and PNG, whose decoders need more memory and time
MAX_CODED_PIXELS = 2**28  # of a JPEG that is decoded at a fraction of its size
_HEAD_BYTES = 2**16  # hold the header of nearly every picture
MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten
BACKGROUND = (255, 255, 255)  # what transparent pixels become

# What turns a file into pixels; recorded with every descriptor.
DECODER = (
    f"simplejpeg {importlib.metadata.version('simplejpeg')} (JPEG, decoded at 1/2, 1/4 or 1/8 where that leaves twice "
    f"the input size), opencv {cv2.__version__} (PNG), pillow {PIL.__version__}; transparent pixels become "
    f"{BACKGROUND}; colour profiles are not applied"
)

quiet.silence_libtiff(Image.core.__file__)

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_PILLOW_FORMATS = ("BMP", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
_ORIENTATION = 0x0112  # the EXIF tag
_BITS, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323  # TIFF tags
_LEAST_REACH = 64  # of 255: 16-bit values that stay below have 14 bits or fewer
_TURNS = {
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}
_PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT")  # the chunks that pixels are made of
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")  # neither a stuffed byte nor a restart
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xCA)
_OTHER_FILES = (
    (rb"....ftyp(hei|hev|mif|msf)", "a HEIC picture; save it as JPEG or PNG"),
    (rb"8BPS", "a Photoshop file; save it as JPEG or PNG"),
    (rb"(\xef\xbb\xbf)?\s*<(svg|\?xml)", "an SVG or XML file; save it as PNG"),
)


class UnreadableImage(ValueError):
    """A picture that cannot be decoded; the text names the file and the reason."""


def decode(data: bytes, *, name: str = "picture", reduce: int = 1) -> np.ndarray:
    """Decode a picture: the one gate through which every byte of a picture goes.

    Parameters
    ----------
    data : bytes
        The file's content (JPEG, PNG, BMP, WebP, TIFF, GIF, AVIF, JPEG 2000, PPM), whatever its name. The first of
        several pictures is read. EXIF orientation is applied, 16 bits are scaled to 8, transparent pixels become
        `BACKGROUND`. Colour profiles are not applied: networks are trained on pixels that were read without.
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
        Empty, not a picture, too large, cut short or torn (a half-decoded picture is never returned), wholly
        transparent, or with values whose range nobody knows (32 bits, floats, 16 bits that are not used).
    """
    if not data:
        raise UnreadableImage(f"{name}: the file is empty")
    try:
        if data[:3] == _JPEG:
            pixels, exif = _decode_jpeg(data, reduce)
        elif data[:8] == _PNG:
            pixels, exif = _decode_png(data)
        else:
            pixels, exif = _decode_with_pillow(data)
        return _turn_upright(pixels, exif)
    except Exception as error:  # decoders raise a dozen types on damaged files
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise UnreadableImage(f"{name}: cannot be decoded ({reason})") from error


def read_size(path: str | Path) -> tuple[int, int]:
    """Return height and width in pixels of the upright picture at `path`, from its header; nothing is decoded.

    Raises
    ------
    UnreadableImage
        No plain file, not a picture, or a damaged header.
    """
    try:
        head = read_file(str(path), at_most=_HEAD_BYTES)[0]
        try:
            height, width, orientation = _read_header(head)
        except Exception:  # the header is longer, or the format needs the whole file
            height, width, orientation = _read_header(read_file(str(path))[0])
    except Exception as error:
        raise UnreadableImage(f"{path}: its size cannot be read ({error})") from error
    return (width, height) if orientation >= 5 else (height, width)


def size_of(data: bytes) -> tuple[int, int]:
    """Return height and width in pixels of the upright picture in `data`, as `read_size` does for a file."""
    try:
        height, width, orientation = _read_header(data)
    except Exception as error:
        raise UnreadableImage(f"the size of the picture cannot be read ({error})") from error
    return (width, height) if orientation >= 5 else (height, width)


def read_jpeg_size(data: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG as it is stored; 0, 0 where it is none, or damaged."""
    try:
        return simplejpeg.decode_jpeg_header(data)[:2] if data[:3] == _JPEG else (0, 0)
    except ValueError:
        return 0, 0


def _read_header(data: bytes) -> tuple[int, int, int]:
    """Return height, width and EXIF orientation as they are stored."""
    if data[:3] == _JPEG:
        structure = read_jpeg_structure(data)
        _check_size(structure.height, structure.width, most=2**32)
        return structure.height, structure.width, read_orientation(structure.exif)
    if data[:8] == _PNG:
        width, height = struct.unpack(">II", data[16:24])
        return height, width, read_orientation(dict(_png_chunks(data)).get(b"eXIf", b""))
    with _open_with_pillow(data) as picture:
        # Pillow gives the size of a TIFF as it is when turned upright.
        exif = b"" if picture.format == "TIFF" else picture.info.get("exif", b"")
        return picture.height, picture.width, read_orientation(exif)


def _check_size(height: int, width: int, *, most: int = MAX_PIXELS) -> None:
    if height * width > most:
        raise ValueError(f"{height} x {width} pixels; at most {most:,} are read, make it smaller")
    if height < 1 or width < 1:
        raise ValueError(f"{height} x {width} pixels: there is no picture")


# --------------------------------------------------------------------------- orientation


def read_orientation(exif: bytes) -> int:
    """Return the orientation (1 to 8) that EXIF data asks for; 1 where they are damaged or hold none."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        first = struct.unpack_from(f"{order}I", tiff, 4)[0] if order else len(tiff)
        count = struct.unpack_from(f"{order}H", tiff, first)[0] if order else 0
        for entry in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _turn_upright(pixels: np.ndarray, exif: bytes) -> np.ndarray:
    turn = _TURNS.get(read_orientation(exif))
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


# --------------------------------------------------------------------------- JPEG


@dataclass
class JpegStructure:
    """What the markers of a JPEG say, up to its end.

    Attributes
    ----------
    height, width, components : int
    progressive : bool
    exif : bytes
    scans : int
    missing : dict of int to list of int
        By component, for each of its 64 coefficients, how many low bits no scan holds (99: no bit at all).
    """

    height: int = 0
    width: int = 0
    components: int = 0
    progressive: bool = False
    exif: bytes = b""
    scans: int = 0
    missing: dict[int, list[int]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every bit of every coefficient is in a scan."""
        return bool(self.missing) and not any(map(any, self.missing.values()))


def read_jpeg_structure(data: bytes) -> JpegStructure:
    """Walk over the segments of a JPEG up to its end marker, or as soon as all of its scans are seen."""
    structure = JpegStructure()
    for code, segment in _jpeg_segments(data):
        if code in _FRAMES and len(segment) >= 6 and not structure.missing:
            structure.height, structure.width, structure.components = struct.unpack_from(">HHB", segment, 1)
            structure.progressive = code in _PROGRESSIVE
            structure.missing = {component: [99] * 64 for component in segment[6::3]}
        elif code == _APP1 and segment.startswith(b"Exif\0\0") and not structure.exif:
            structure.exif = segment
        elif code == _SOS:
            structure.scans += 1
            _count_scan(structure, segment)
            if structure.scans > MAX_SCANS:
                raise ValueError(f"a JPEG of more than {MAX_SCANS} scans; save it anew")
            if structure.is_whole and not structure.progressive:
                break
    return structure


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2
    while marker := _MARKER.search(data, at):
        code, at = marker[1][0], marker.end()
        if code in (_SOI, _EOI):
            return
        length = int.from_bytes(data[at : at + 2])
        yield code, data[at + 2 : at + length]
        at += length


def _count_scan(structure: JpegStructure, segment: bytes) -> None:
    components = segment[1 : 1 + 2 * segment[0] : 2]
    first, last, bits = segment[1 + 2 * segment[0] :][:3]
    band = range(first, min(last, 63) + 1) if structure.progressive else range(64)
    for component in components:
        missing = structure.missing.get(component, [0] * 64)
        for coefficient in band:
            missing[coefficient] = bits & 15 if structure.progressive else 0


def _decode_jpeg(data: bytes, reduce: int) -> tuple[np.ndarray, bytes]:
    # libjpeg-turbo as in OpenCV, which however fills missing data with grey where this one raises.
    structure = read_jpeg_structure(data)
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(height, width, most=MAX_PIXELS if structure.progressive else MAX_CODED_PIXELS)
    smallest = {"min_height": -(-height // reduce), "min_width": -(-width // reduce)}
    _check_size(*smallest.values())
    wanted = "CMYK" if space in ("CMYK", "YCCK") else "RGB"
    pixels = simplejpeg.decode_jpeg(data, colorspace=wanted, min_factor=1, **smallest)
    if not structure.is_whole:
        raise ValueError("cut short: a scan is missing")
    if wanted == "CMYK":  # stored inverted, as all programs that write such files do
        pixels = cv2.multiply(pixels[..., :3], cv2.merge([pixels[..., 3]] * 3), scale=1 / 255)
    return pixels, structure.exif


# --------------------------------------------------------------------------- PNG


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        yield kind, b"" if kind == b"IDAT" else data[at + 8 : at + 8 + length]
        at += 12 + length


def _check_png(data: bytes) -> None:
    """Refuse pixels that fail their checksum, as libpng does, which however prints so for every picture."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if kind in _PNG_PIXELS and zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ValueError(f"a damaged PNG: {kind.decode()} fails its checksum")
        at = end + 4


def _decode_png(data: bytes) -> tuple[np.ndarray, bytes]:
    # Pillow returns half a picture where the compressed data end early.
    chunks = dict(_png_chunks(data))
    width, height, depth, kind = struct.unpack_from(">IIBB", chunks.get(b"IHDR", b""))
    _check_size(height, width)
    if b"IEND" not in chunks:
        raise ValueError("cut short: the end of the PNG is missing")
    _check_png(data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("a damaged PNG")
    if kind == 0 and len(chunks.get(b"tRNS", b"")) == 2:
        grey = int.from_bytes(chunks[b"tRNS"]) * (1 if depth >= 8 else 255 // (2**depth - 1))
        opaque = (pixels != grey) * np.array(np.iinfo(pixels.dtype).max, pixels.dtype)
        pixels = np.dstack([pixels, pixels, pixels, opaque])
    pixels = _scale_to_bytes(pixels)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), chunks.get(b"eXIf", b"")
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), chunks.get(b"eXIf", b"")
    cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA, dst=pixels)
    return _compose(pixels), chunks.get(b"eXIf", b"")


def _scale_to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Scale 16-bit values to 0..255; values that use 14 bits or fewer are refused, because their scale is unknown."""
    if pixels.dtype == np.uint8:
        return pixels
    scaled = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    _check_reach(scaled[..., :3] if pixels.ndim == 3 else scaled)
    return scaled


def _check_reach(scaled: np.ndarray) -> None:
    if scaled.max() < _LEAST_REACH:
        raise ValueError(
            f"16 bits a value, of which only the lowest {(scaled.max() + 1) / 256:.1%} of the range are used; "
            "scale them to 0..65535, or save 8 bits"
        )


# --------------------------------------------------------------------------- all other formats


def _open_with_pillow(data: bytes) -> Image.Image:
    if data[:4] == b"RIFF":
        _check_size(*_webp_size(data), most=MAX_PIXELS_OTHER)
    try:
        return Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
    except PIL.UnidentifiedImageError as error:
        kinds = (
            kind for start, kind in _OTHER_FILES if re.match(start, data[:2048], re.IGNORECASE | re.DOTALL)
        )
        raise ValueError(name_other_kind(data) or next(kinds, "not a picture")) from error


def _webp_size(data: bytes) -> tuple[int, int]:
    # The decoder allocates four times what the header asks for when it is opened.
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return int.from_bytes(data[28:30], "little") & 0x3FFF, int.from_bytes(data[26:28], "little") & 0x3FFF


def _decode_with_pillow(data: bytes) -> tuple[np.ndarray, bytes]:
    with warnings.catch_warnings():
        # The limit is `MAX_PIXELS`; a decoder's warning ends in pixels or in an error all the same.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        with _open_with_pillow(data) as picture:
            _check_size(picture.height, picture.width, most=MAX_PIXELS_OTHER)
            tags = picture.tag_v2 if picture.format == "TIFF" else {}
            _check_size(tags.get(_TILE_LENGTH, 1), tags.get(_TILE_WIDTH, 1))
            exif = b"" if tags else picture.info.get("exif", b"")
            picture.load()  # this turns a TIFF upright
            return _to_eight_bits(picture, dict(tags)), exif


def _to_eight_bits(picture: Image.Image, tags: dict) -> np.ndarray:
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        values = np.asarray(picture).astype(np.uint16)
        scaled = _scale_to_bytes(np.invert(values) if tags.get(_PHOTOMETRIC) == 0 else values)
        return cv2.cvtColor(scaled, cv2.COLOR_GRAY2RGB)
    if picture.mode in ("I", "F"):
        raise ValueError(f"{picture.mode} values of 32 bits a pixel have no known range; save 8 or 16 bits")
    if picture.has_transparency_data:
        return _compose(np.asarray(picture.convert("RGBA")))
    pixels = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if 16 in np.ravel(tags.get(_BITS, 8)):
        _check_reach(pixels)
    return pixels


def _compose(pixels: np.ndarray) -> np.ndarray:
    """Lay RGBA pixels on `BACKGROUND`."""
    if not pixels[..., 3].any():
        raise ValueError("every pixel is transparent; save it without its alpha channel")
    composed = np.empty((*pixels.shape[:2], 3), np.uint8)
    ground = np.array(BACKGROUND, np.uint16)
    for top in range(0, len(pixels), 128):  # in strips, for the memory
        strip = pixels[top : top + 128].astype(np.uint16)
        alpha = strip[..., 3:]
        composed[top : top + 128] = (strip[..., :3] * alpha + ground * (255 - alpha) + 127) // 255
    return composed


# --------------------------------------------------------------------------- files


def read(path: str | Path) -> np.ndarray:
    """Decode the file at `path`; see `decode`. A missing file is an `UnreadableImage` too."""
    return decode(read_bytes(path), name=str(path))


def read_bytes(path: str | Path) -> bytes:
    """Return the bytes of the file at `path`; `UnreadableImage` where it cannot be opened, or is no plain file."""
    try:
        return read_file(str(path))[0]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or error
        raise UnreadableImage(f"{path}: cannot be opened ({reason})") from error


def read_file(path: str, *, at_most: int = MAX_BYTES) -> tuple[bytes, os.stat_result]:
    """Return the first `at_most` bytes and the state of a plain file of at most `MAX_BYTES`; OSError for others.

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
        wanted = min(state.st_size, at_most)
        data = os.read(file, wanted)
        while len(data) < wanted and (more := os.read(file, wanted - len(data))):
            data += more
        return data, state
    finally:
        os.close(file)

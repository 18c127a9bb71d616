"""Pictures of every kind and damage: the right pixels, or one listed reason; never half a picture."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from faceworkbook import decoding, images
from faceworkbook.decoding import UnreadableImage, decode, read_size

rng = np.random.default_rng(0)
PHOTO = cv2.resize(rng.integers(30, 225, (12, 9, 3), dtype=np.uint8), (192, 256))
GREY = np.asarray(Image.fromarray(PHOTO).convert("L"))


def encode(pixels, kind, **options):
    buffer = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(pixels=PHOTO, **options):
    return encode(pixels, "JPEG", quality=95, subsampling=0, **options)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, body, *, depth=8, kind=2):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def tiff(pixels, **tags):
    """An uncompressed little-endian TIFF; `tags` such as t262=0 replace its own."""
    height, width, *rest = pixels.shape
    samples = rest[0] if rest else 1
    own = {256: width, 257: height, 258: pixels.itemsize * 8, 259: 1, 262: 2 if rest else 1, 273: 300}
    own |= {277: samples, 278: height, 279: pixels.nbytes} | {int(k[1:]): v for k, v in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(own.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(own)) + entries + b"\0" * 4
    return head.ljust(300, b"\0") + pixels.tobytes()


def assert_shows(data, expected, *, within=5.0):
    expected = np.repeat(expected[..., None], 3, 2) if expected.ndim == 2 else expected
    pixels = decode(data)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable
    assert pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() <= within


def with_header(data, marker, at, fmt, *values):
    place = data.index(marker) + at
    size = struct.calcsize(fmt)
    return data[:place] + struct.pack(fmt, *values) + data[place + size :]


HUGE = {
    "png": png(40_000, 40_000, b"\0" * 99),
    "png, grey": png(40_000, 40_000, b"\0" * 99, kind=0),
    "png, alpha": png(40_000, 40_000, b"\0" * 99, kind=6),
    "jpeg": with_header(jpeg(), b"\xff\xc0", 5, ">HH", 40_000, 40_000),
    "progressive jpeg": with_header(jpeg(progressive=True), b"\xff\xc2", 5, ">HH", 40_000, 40_000),
    "gif": with_header(encode(PHOTO, "GIF"), b"GIF8", 6, "<HH", 40_000, 40_000),
    "bmp": with_header(encode(PHOTO, "BMP"), b"BM", 18, "<ii", 40_000, 40_000),
    "ppm": b"P6\n40000 40000\n255\n" + b"\0" * 99,
    "tiff": tiff(PHOTO, t256=40_000, t257=40_000, t278=40_000),
    "jp2": with_header(encode(PHOTO, "JPEG2000"), b"ihdr", 4, ">II", 40_000, 40_000),
    "avif": with_header(encode(PHOTO, "AVIF"), b"ispe", 8, ">II", 30_000, 30_000),
    "webp": with_header(encode(PHOTO, "WEBP"), b"\x9d\x01\x2a", 3, "<HH", 16_383, 16_383),
    "webp, lossless": with_header(
        encode(PHOTO, "WEBP", lossless=True), b"VP8L", 9, "<I", 16_382 | 16_382 << 14
    ),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_header_that_asks_for_too_much_is_refused(kind):
    with pytest.raises(UnreadableImage, match=r"cannot be decoded \("):
        decode(HUGE[kind])


def test_a_tile_that_is_a_bomb_is_refused():
    data = tiff(GREY, t322=40_000, t323=40_000, t324=300, t325=GREY.nbytes)
    with pytest.raises(UnreadableImage, match="40000 x 40000 pixels"):
        decode(data)


def test_a_progressive_jpeg_of_thousands_of_scans_is_refused():
    data = jpeg(progressive=True)
    scans = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        decode(data[: scans[1]] + data[scans[1] : scans[2]] * 2000 + b"\xff\xd9")


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(UnreadableImage):
        decode(png(*size, b""))


# ---- depth and colour


def sixteen(pixels):
    return pixels.astype(np.uint16) * 257


SIXTEEN = {
    "png": cv2.imencode(".png", sixteen(PHOTO[..., ::-1]))[1].tobytes(),
    "png, alpha": cv2.imencode(".png", sixteen(np.dstack([PHOTO[..., ::-1], GREY * 0 + 255])))[1].tobytes(),
    "tiff": cv2.imencode(".tiff", sixteen(PHOTO[..., ::-1]))[1].tobytes(),
    "ppm": b"P6\n192 256\n65535\n" + sixteen(PHOTO).astype(">u2").tobytes(),
}
SIXTEEN_GREY = {
    "png": cv2.imencode(".png", sixteen(GREY))[1].tobytes(),
    "tiff": tiff(sixteen(GREY)),
    "tiff, white is zero": tiff(65535 - sixteen(GREY), t262=0),
    "pgm": b"P5\n192 256\n65535\n" + sixteen(GREY).astype(">u2").tobytes(),
    "pgm of 12 bits": b"P5\n192 256\n4095\n" + (GREY.astype(int) * 4095 // 255).astype(">u2").tobytes(),
}


@pytest.mark.parametrize("kind", SIXTEEN)
def test_sixteen_bit_colours_are_scaled(kind):
    assert_shows(SIXTEEN[kind], PHOTO, within=1)


@pytest.mark.parametrize("kind", SIXTEEN_GREY)
def test_sixteen_bit_greys_are_scaled(kind):
    assert_shows(SIXTEEN_GREY[kind], GREY, within=1)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("pixels", [GREY, PHOTO], ids=["grey", "colour"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_in_sixteen_are_refused_not_nearly_black(extension, pixels, bits):
    data = cv2.imencode(extension, pixels.astype(np.uint16) << (bits - 8))[1].tobytes()
    with pytest.raises(UnreadableImage, match="16 bits a value, of which only the lowest"):
        decode(data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_values_without_a_known_range_are_refused(dtype):
    data = cv2.imencode(".tiff", GREY.astype(dtype))[1].tobytes()
    with pytest.raises(UnreadableImage, match="cannot be decoded"):
        decode(data)


def test_adobe_cmyk_and_ycck():
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    assert_shows(jpeg(cmyk), PHOTO)
    planes = np.asarray(cmyk)
    stored = np.dstack([np.asarray(Image.fromarray(planes[..., :3]).convert("YCbCr")), 255 - planes[..., 3]])
    data = bytearray(jpeg(Image.fromarray(255 - stored, "CMYK")))
    data[data.index(b"Adobe") + 11] = 2
    assert_shows(bytes(data), PHOTO)


def test_transparency_of_every_kind():
    assert_shows(encode(GREY, "PNG", transparency=int(GREY[0, 0])), np.where(GREY[0, 0] == GREY, 255, GREY))
    alpha = GREY * 0 + 255
    alpha[:, :60], alpha[:, 60:90] = 0, 128
    share = alpha[..., None] / 255
    for kind, options in {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG2000": {}}.items():
        data = encode(np.dstack([PHOTO, alpha]), kind, **options)
        assert_shows(data, PHOTO * share + 255 * (1 - share), within=0.6)
    with pytest.raises(UnreadableImage, match="every pixel is transparent"):
        decode(encode(np.dstack([PHOTO, alpha * 0]), "PNG"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_of_several_pictures_is_read(kind):
    pictures = [Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)]
    lossy = {"WEBP": {"quality": 95}, "MPO": {"quality": 95}}.get(kind, {})
    assert_shows(
        encode(pictures[0], kind, save_all=True, append_images=pictures[1:], **lossy), PHOTO, within=9
    )


# ---- damage


@pytest.mark.parametrize("space", ["RGB", "L", "CMYK"])
def test_torn_jpegs_of_every_colour_space_are_refused(space):
    whole = jpeg(Image.fromarray(PHOTO).convert(space))
    half = len(whole) // 2
    for torn in (whole[:half], whole[:half] + b"\xff\xd9", whole[:half] + whole[half + 900 :]):
        with pytest.raises(UnreadableImage):
            decode(torn)


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused():
    whole = jpeg(progressive=True)
    assert_shows(whole, PHOTO)
    for scan in [match.start() for match in re.finditer(rb"\xff\xda", whole)][1:]:
        with pytest.raises(UnreadableImage, match="a scan is missing"):
            decode(whole[:scan] + b"\xff\xd9")


def test_a_cut_photo_that_ends_with_its_thumbnail_is_refused():
    thumbnail, whole = jpeg(PHOTO[::4, ::4].copy()), jpeg()
    segment = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    photo = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]
    assert_shows(photo, PHOTO)
    assert read_size_of(photo) == PHOTO.shape[:2]
    for torn in (photo[: len(photo) // 2] + thumbnail[-500:], photo[:300], photo[:300] + b"\xff\xd9"):
        with pytest.raises(UnreadableImage):
            decode(torn)


@pytest.mark.parametrize(("kind", "depth"), [(2, 8), (6, 8), (0, 16), (4, 8)])
def test_a_png_whose_data_end_early_is_refused(kind, depth):
    bytes_a_row = 192 * {2: 3, 6: 4, 0: 1, 4: 2}[kind] * depth // 8
    with pytest.raises(UnreadableImage, match="damaged PNG"):
        decode(png(192, 256, (b"\0" + b"\x80" * bytes_a_row) * 100, kind=kind, depth=depth))


@pytest.mark.parametrize(
    "compression", ["", "tiff_lzw", "tiff_deflate", "jpeg", "group4"], ids=lambda name: name or "png"
)
def test_damaged_pictures_are_refused_without_a_word_of_the_decoder(compression, capfd):
    pixels = Image.fromarray(PHOTO).convert("1") if compression == "group4" else PHOTO
    whole = encode(pixels, "TIFF", compression=compression) if compression else encode(pixels, "PNG")
    draws = np.random.default_rng(0)
    refused = 0
    for _ in range(30):
        damaged = bytearray(whole)
        for at in draws.integers(8, len(whole), 3):
            damaged[at] ^= 0x55
        try:
            decode(bytes(damaged))
        except UnreadableImage:
            refused += 1
    assert refused and not capfd.readouterr().err


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "PNG"])
@pytest.mark.parametrize("share", [0.03, 0.3, 0.6, 0.95])
def test_cut_files_of_every_format_are_refused(kind, share):
    data = encode(PHOTO, kind)
    with pytest.raises(UnreadableImage, match="cannot be decoded"):
        decode(data[: int(len(data) * share)])


# ---- orientation


def exif(value, kind=3):
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, kind, 1, value, 0) + b"\0" * 4


def turned(pixels, orientation):
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels, 1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "CMYK", "PNG", "RGBA", "grey 16", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_in_every_format(kind, orientation):
    tag = Image.Exif()
    tag[0x112] = orientation
    picture = {
        "CMYK": Image.fromarray(PHOTO).convert("CMYK"),
        "RGBA": Image.fromarray(PHOTO).convert("RGBA"),
        "grey 16": Image.fromarray(sixteen(PHOTO[..., 1])),
    }.get(kind, Image.fromarray(PHOTO))
    written = {"CMYK": "JPEG", "RGBA": "PNG", "grey 16": "PNG"}.get(kind, kind)
    data = encode(picture, written, exif=tag.tobytes(), **({"quality": 95} if written != "TIFF" else {}))
    expected = turned(PHOTO if kind != "grey 16" else PHOTO[..., 1], orientation)
    assert_shows(data, expected, within=9)
    assert read_size_of(data) == expected.shape[:2]


@pytest.mark.parametrize(
    "damage", [b"", b"junkjunk", exif(6)[:12], exif(9), exif(0), exif(6, kind=2), b"II*\0\xff\xff\xff\x7f"]
)
def test_damaged_exif_costs_no_picture(damage):
    whole, segment = jpeg(), b"Exif\0\0" + damage
    assert_shows(whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:], PHOTO)
    rgba = encode(np.dstack([PHOTO, GREY * 0 + 255]), "PNG")
    assert_shows(rgba[:33] + chunk(b"eXIf", damage) + rgba[33:], PHOTO)


def test_a_comment_that_reads_exif_is_none():
    whole = jpeg()
    assert_shows(whole[:2] + b"\xff\xfe\0\x0cExif\0\0abcd" + whole[2:], PHOTO)


# ---- other files


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s1--a.jpg\n", "git annex get"),
        (b"<!DOCTYPE html><html>404", "a web page"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"8BPS\0\1" + b"\0" * 40, "Photoshop"),
        (b"\0" * 999, "zero bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not a picture"),
        (b"\n" + jpeg(), "not a picture"),
    ],
)
def test_what_stands_in_for_a_picture_is_named(data, reason):
    with pytest.raises(UnreadableImage, match=reason):
        decode(data)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_what_is_no_plain_file_has_its_own_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.jpg"))
        for name in ("pipe", "device", "circle", "socket"):
            with pytest.raises(UnreadableImage, match="cannot be opened"):
                images.read(tmp_path / f"{name}.jpg")
            with pytest.raises(UnreadableImage, match="size cannot be read"):
                read_size(tmp_path / f"{name}.jpg")
    with pytest.raises(UnreadableImage, match="null"):
        images.read(f"{tmp_path}/a\0.jpg")


def read_size_of(data):
    head, orientation = decoding._read_header(data)[:2], decoding._read_header(data)[2]
    return head[::-1] if orientation >= 5 else head


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF", "JPEG2000", "PPM"])
def test_sizes_are_read_from_the_header(kind, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(PHOTO, kind))
    assert read_size(path) == PHOTO.shape[:2]


def test_a_size_behind_a_long_header(tmp_path):
    whole = jpeg()
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:2] + b"\xff\xef\xff\xff".ljust(65537, b"\0") * 3 + whole[2:])
    assert read_size(path) == PHOTO.shape[:2]

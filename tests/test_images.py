"""Decoding, cropping, resizing, and what a network is fed, against Pillow and by hand."""

from __future__ import annotations

import contextlib
import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceworkbook import images
from faceworkbook.images import Preprocessing, UnreadableImage


def encode(pixels, kind="jpeg", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def photo():
    """A smooth colourful picture, 240 x 200."""
    y, x = np.mgrid[0:240, 0:200]
    return np.stack([y, x, (x + y) // 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp", "tiff"])
def test_decodes_rgb_as_pillow_does(photo, kind):
    data = encode(photo, kind)
    want = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    got = images.decode(data)
    assert got.dtype == np.uint8 and got.flags.writeable
    assert np.abs(got - want).max() <= (3 if kind in ("jpeg", "webp") else 0)


def test_channels_are_rgb():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert images.decode(encode(red, "png"))[0, 0].tolist() == [255, 0, 0]


def test_grey_palette_and_alpha_become_rgb(tmp_path):
    for mode in ("L", "P", "RGBA", "CMYK"):
        kind = "jpeg" if mode == "CMYK" else "png"
        buffer = io.BytesIO()
        Image.new(mode, (6, 5)).save(buffer, kind)
        assert images.decode(buffer.getvalue()).shape == (5, 6, 3)


def test_exif_orientation_is_applied(photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned by 90 degrees clockwise
    data = encode(photo, "jpeg", exif=exif, quality=95)
    assert images.decode(data).shape == (200, 240, 3)
    # the decoder's two paths agree
    assert np.abs(images.decode(data).astype(int) - images.decode(data + b"\0").astype(int)).max() <= 3


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_pictures_are_never_half_decoded(photo, kind, share):
    data = encode(photo, kind)
    with pytest.raises(UnreadableImage, match=r"a\.jpg: cannot be decoded"):
        images.decode(data[: int(len(data) * share)], name="a.jpg")


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff\xd9", b"<svg/>"])
def test_what_is_no_picture_is_one_clear_error(data):
    with pytest.raises(UnreadableImage, match=r"x\.jpg"):
        images.decode(data, name="x.jpg")


def test_missing_file(tmp_path):
    with pytest.raises(UnreadableImage, match="cannot be opened"):
        images.read(tmp_path / "none.jpg")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_picture_or_the_named_error(data):
    with contextlib.suppress(UnreadableImage):
        assert images.decode(b"\xff\xd8\xff" + data).ndim == 3


def test_trailing_bytes_after_the_end_are_no_fault(photo):
    data = encode(photo, "jpeg")
    assert images.decode(data + b"\0\0camera notes").shape == photo.shape


def test_crop_with_margin_by_hand(photo):
    got = images.crop(photo, (100, 50, 140, 90), margin=0.25)
    assert np.array_equal(got, photo[90:150, 40:100])


def test_crop_beyond_the_border_repeats_it(photo):
    got = images.crop(photo, (-10, -5, 30, 35))
    assert got.shape == (40, 40, 3)
    assert np.array_equal(got[:10, 5:], np.repeat(photo[:1, :35], 10, axis=0))
    with pytest.raises(UnreadableImage, match="outside the picture"):
        images.crop(photo, (500, 500, 520, 520))


def test_resize_of_a_ramp_is_a_ramp():
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 60, axis=0).repeat(3, axis=2)
    got = images.resize(ramp, (30, 50))[0, :, 0]
    assert np.array_equal(got, np.arange(1, 200, 4))


def test_shrinking_does_not_alias():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(images.resize(stripes, (100, 100))) <= 1


def test_reduced_decoding_of_a_large_jpeg_stays_within_tolerance():
    rng = np.random.default_rng(0)
    large = cv2.resize(
        rng.integers(0, 255, (60, 50, 3), dtype=np.uint8), (1500, 1800), interpolation=cv2.INTER_CUBIC
    )
    data = encode(large, "jpeg", quality=92)
    wanted = Preprocessing(size=(224, 224), channels="RGB", mean=(0, 0, 0))
    assert images._reduction(data, wanted, None) == 2
    fast = images.face_pixels(data, wanted).astype(float)
    slow = images.resize(images.decode(data), (224, 224)).astype(float)
    assert np.abs(fast - slow).mean() < 0.7
    box = (200, 300, 1400, 1400)
    fast = images.face_pixels(data, wanted, box=box).astype(float)
    slow = images.resize(images.crop(images.decode(data), box), (224, 224)).astype(float)
    assert np.abs(fast - slow).mean() < 1.0


def test_small_pictures_are_decoded_whole(photo):
    wanted = Preprocessing(size=(224, 224), channels="RGB", mean=(0, 0, 0))
    assert images._reduction(encode(photo, "jpeg"), wanted, None) == 1


def test_network_input_by_hand():
    pixel = np.array([[[[10, 20, 30]]]], np.uint8)
    bgr = Preprocessing(size=(1, 1), channels="BGR", mean=(1, 2, 3), scale=2.0)
    assert images.network_input(pixel, bgr).ravel().tolist() == [58.0, 36.0, 14.0]
    rgb = Preprocessing(size=(1, 1), channels="RGB", mean=(1, 2, 3))
    assert images.network_input(pixel, rgb).ravel().tolist() == [9.0, 18.0, 27.0]
    grey = Preprocessing(size=(1, 1), channels="GRAY", mean=(0,))
    assert images.network_input(pixel, grey).shape == (1, 1, 1, 1)
    assert images.network_input(pixel, grey).item() == pytest.approx(
        0.299 * 10 + 0.587 * 20 + 0.114 * 30, abs=1e-4
    )


def test_preprocessing_travels_as_plain_types():
    record = Preprocessing(size=(224, 224), channels="BGR", mean=(1.5, 2, 3), crop_margin=0.4)
    assert Preprocessing.from_dict(record.to_dict()) == record
    for wrong in ({"channels": "HSV"}, {"interpolation": "best"}, {"crop_margin": -0.7}):
        with pytest.raises(ValueError, match="allowed"):
            Preprocessing(**{**record.to_dict(), **wrong})


def test_real_faces_decode_as_pillow_does(shared_data):
    files = sorted(shared_data("utkface/UTKFace").iterdir())[::800]
    for path in files:
        want = np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert np.abs(images.read(path) - want).max() <= 3

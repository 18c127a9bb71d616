"""Decoding, cropping, resizing, and what a network is fed, against Pillow and by hand."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from faceworkbook import alignment, images
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
        Image.new("RGB", (6, 5)).convert(mode).save(buffer, kind)
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
    preprocessing = Preprocessing(size=(224, 224), channels="RGB", mean=(0, 0, 0))
    assert images.reduction(data, preprocessing.size) == 2
    fast = images.face_pixels(data, preprocessing).astype(float)
    slow = images.resize(images.decode(data), (224, 224)).astype(float)
    assert np.abs(fast - slow).mean() < 0.7
    box = (200, 300, 1400, 1400)
    fast = images.face_pixels(data, preprocessing, box=box).astype(float)
    slow = images.resize(images.crop(images.decode(data), box), (224, 224)).astype(float)
    assert np.abs(fast - slow).mean() < 1.0


def test_small_pictures_are_decoded_whole(photo):
    preprocessing = Preprocessing(size=(224, 224), channels="RGB", mean=(0, 0, 0))
    assert images.reduction(encode(photo, "jpeg"), preprocessing.size) == 1


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


def test_a_record_of_unaligned_faces_is_the_one_that_was_written_before_alignment_was_known():
    before = {"size": [8, 8], "channels": "RGB", "mean": [0.0] * 3, "scale": 1.0}
    before |= {"interpolation": "bilinear", "crop_margin": 0.0}
    assert Preprocessing.from_dict(before).to_dict() == before
    aligned = Preprocessing.from_dict({**before, "align": "five_points"})
    assert aligned.to_dict() == {**before, "align": "five_points", "template": "arcface"}
    assert Preprocessing.from_dict(aligned.to_dict()) == aligned
    for wrong in ({"align": "eyes"}, {"template": "dlib"}):
        with pytest.raises(ValueError, match="allowed"):
            Preprocessing.from_dict({**before, **wrong})


def test_each_channel_may_have_its_own_scale():
    """CLIP's: (x / 255 - mean) / deviation of each channel."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    mean, deviation = np.array([0.4815, 0.4578, 0.4082]), np.array([0.2686, 0.2613, 0.2758])
    record = Preprocessing((4, 5), "RGB", 255 * mean, 1 / (255 * deviation))
    np.testing.assert_allclose(
        images.network_input(pixels, record), (pixels / 255 - mean) / deviation, atol=1e-5
    )
    assert Preprocessing.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert Preprocessing((4, 5), "RGB", [0] * 3, (0.5, 0.5, 0.5)).to_dict()["scale"] == 0.5
    for wrong in ((1, 2), 0, float("nan")):
        with pytest.raises(ValueError, match="allowed are 1 or 3 numbers"):
            Preprocessing((4, 5), "RGB", [0] * 3, wrong)


def test_prewhitening_is_that_of_facenet():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    pixels[2] = 77  # a flat picture: the deviation is at least 1 / sqrt(n)
    record = Preprocessing((4, 5), "RGB", [0] * 3, prewhiten=True)
    for picture, result in zip(pixels.astype(float), images.network_input(pixels, record), strict=True):
        expected = (picture - picture.mean()) / max(picture.std(), picture.size**-0.5)
        np.testing.assert_allclose(result, expected, atol=1e-4)
    assert images.network_input(pixels[:0], record).shape == (0, 4, 5, 3)
    assert Preprocessing.from_dict(record.to_dict()) == record
    assert "prewhiten" not in Preprocessing((4, 5), "RGB", [0] * 3).to_dict()
    with pytest.raises(ValueError, match="leave them at 0 and 1"):
        Preprocessing((4, 5), "RGB", [127.5] * 3, prewhiten=True)


def test_real_faces_decode_as_pillow_does(shared_data):
    files = sorted(shared_data("utkface/UTKFace").iterdir())[::800]
    for path in files:
        want = np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert np.abs(images.read(path) - want).max() <= 3


# ---- the one gate for pictures


def jpeg_of(size=512, **options):
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8), (size, size))
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", **options)
    return buffer.getvalue(), smooth


@pytest.mark.parametrize("progressive", [False, True])
def test_torn_jpegs_that_end_with_a_marker_are_refused(progressive):
    data, _ = jpeg_of(quality=95, progressive=progressive)
    half = len(data) // 2
    for torn in (data[:half] + b"\xff\xd9", data[: half // 2] + data[-half // 2 :], data[:-1], data[:half]):
        with pytest.raises(images.UnreadableImage, match=r"cannot be decoded \(.*(P|p)remature end"):
            images.decode(torn, name="torn.jpg")


def test_bytes_behind_a_whole_jpeg_do_no_harm():
    data, _ = jpeg_of()
    np.testing.assert_array_equal(images.decode(data + b"appended" * 9), images.decode(data))


@pytest.mark.parametrize("reduce", [1, 2, 4, 8])
def test_jpegs_are_decoded_as_opencv_does(reduce):
    data, _ = jpeg_of(523, quality=90)
    flags = {
        1: cv2.IMREAD_COLOR_RGB,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
    }
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), flags[reduce])
    np.testing.assert_array_equal(images.decode(data, reduce=reduce), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_as_pillow_does(orientation):
    picture = Image.fromarray(np.arange(24 * 16 * 3, dtype=np.uint8).reshape(24, 16, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=100, subsampling=0, exif=exif)
    with Image.open(buffer) as reread:
        expected = np.asarray(ImageOps.exif_transpose(reread).convert("RGB"), int)
    got = images.decode(buffer.getvalue()).astype(int)
    assert got.shape == expected.shape and np.abs(got - expected).max() <= 3


@pytest.mark.parametrize("extension", [".tiff", ".png"])
def test_sixteen_bit_grey_is_the_same_grey_picture(extension):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    data = cv2.imencode(extension, grey * 257)[1].tobytes()
    assert np.abs(images.decode(data)[..., 0].astype(int) - grey).max() <= 1


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_of_32_bits_are_refused(mode):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 70_000, np.int32 if mode == "I" else np.float32)).save(buffer, "TIFF")
    with pytest.raises(images.UnreadableImage, match="32 bits a pixel"):
        images.decode(buffer.getvalue())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_have_one_colour(mode):
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).convert("RGBA")
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:, :8] = 0
    picture.putalpha(Image.fromarray(alpha))
    buffer = io.BytesIO()
    if mode == "P":
        flat = picture.convert("RGB").quantize(16)
        flat.save(buffer, "PNG", transparency=3)
        index = np.asarray(flat)
        assert (images.decode(buffer.getvalue())[index == 3] == images.BACKGROUND).all()
        return
    picture.convert(mode).save(buffer, "PNG")
    pixels = images.decode(buffer.getvalue())
    assert (pixels[:, :8] == images.BACKGROUND).all() and pixels[:, 8:].std() > 20


def test_a_header_that_asks_for_too_much_is_refused_before_anything_is_decoded():
    png = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    png[16:24] = struct.pack(">II", 40_000, 40_000)
    with pytest.raises(images.UnreadableImage, match=r"40000 x 40000 pixels; at most"):
        images.decode(bytes(png))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_a_folder_and_a_sparse_giant_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with (tmp_path / "giant.jpg").open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    for name, says in {
        "pipe.jpg": "not a plain file",
        "folder.jpg": "not a plain file",
        "giant.jpg": "at most",
        "dangling.jpg": "No such file",
    }.items():
        with pytest.raises(images.UnreadableImage, match=rf"{name}: cannot be opened \(.*{says}"):
            images.read(tmp_path / name)


def test_no_garbled_picture_leaves_the_gate_as_anything_but_an_unreadable_image():
    rng = np.random.default_rng(2)
    jpeg, _ = jpeg_of(64)
    seeds = [
        jpeg,
        *(
            cv2.imencode(e, np.full((9, 9, 3), 90, np.uint8))[1].tobytes()
            for e in (".png", ".bmp", ".webp", ".tiff")
        ),
    ]
    for _ in range(400):
        data = bytearray(seeds[rng.integers(len(seeds))])
        at = int(rng.integers(len(data)))
        if rng.random() < 0.3:
            data = data[:at]
        else:
            data[at : at + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(1, 9)))
        try:
            pixels = images.decode(bytes(data))
        except images.UnreadableImage:
            continue
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


# ---- one function that cuts faces out


def scene(side=480):
    """A smooth picture without symmetry, and five points in it."""
    rng = np.random.default_rng(3)
    picture = cv2.resize(
        rng.integers(0, 255, (9, 9, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC
    )
    return picture, (alignment.TEMPLATE - 56) * 1.6 + side / 2


def moved(picture, points, *, angle=0.0, factor=1.0, shift=(0.0, 0.0)):
    """The same scene, turned by `angle` degrees about its middle, scaled and shifted, and its points."""
    middle = picture.shape[1] / 2, picture.shape[0] / 2
    matrix = cv2.getRotationMatrix2D(middle, angle, factor) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    there = cv2.warpAffine(picture, matrix, picture.shape[1::-1], flags=cv2.INTER_CUBIC)
    return there, points @ matrix[:, :2].T + matrix[:, 2]


def recipe(align, size=(112, 112), **options):
    return Preprocessing(size, "RGB", (0, 0, 0), align=align, **options)


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@settings(max_examples=25, deadline=None)
@given(angle=st.floats(-180, 180), factor=st.floats(0.7, 1.5), x=st.floats(-20, 20), y=st.floats(-20, 20))
def test_a_turned_and_scaled_picture_gives_the_same_aligned_chip(angle, factor, x, y):
    picture, points = scene()
    chip = images.cut_face(picture, recipe("five_points"), points=points)
    there, turned = moved(picture, points, angle=angle, factor=factor, shift=(x, y))
    again = images.cut_face(there, recipe("five_points"), points=turned)
    assert difference(chip, again) < 2
    assert difference(chip[:, ::-1], again) > 20  # no mirror image


@settings(max_examples=25, deadline=None)
@given(angle=st.floats(-60, 60))
def test_upright_undoes_a_turn_and_keeps_place_and_scale(angle):
    picture, points = scene()
    points = points - points.mean(axis=0) + 239.5
    level = points.copy()
    level[1, 1] = level[0, 1]
    box = (140, 150, 340, 330)
    there, turned = moved(picture, level, angle=angle)
    # The turn is about the picture's middle, `upright` turns about the points' middle: the frame moves with it.
    dx, dy = turned.mean(axis=0) - level.mean(axis=0)
    frame = (box[0] + dy, box[1] + dx, box[2] + dy, box[3] + dx)
    straight = images.cut_face(picture, recipe("none"), box=box)
    again = images.cut_face(there, recipe("upright"), box=frame, points=turned)
    assert difference(straight, again) < 4
    assert difference(straight[:, ::-1], again) > 20


def test_level_eyes_leave_an_upright_crop_as_it_is():
    picture, points = scene()
    points[1, 1] = points[0, 1]
    for box in (None, (100, 120, 300, 310), (-30, 20, 200, 500)):
        plain = images.cut_face(picture, recipe("none", crop_margin=0.2), box=box)
        upright = images.cut_face(picture, recipe("upright", crop_margin=0.2), box=box, points=points)
        np.testing.assert_array_equal(plain, upright)


@pytest.mark.parametrize(
    "points", [None, np.full((5, 2), np.nan), np.ones((5, 2)) * 50, np.zeros((4, 2)), np.full((5, 2), np.inf)]
)
@pytest.mark.parametrize("align", ["five_points", "upright"])
def test_points_that_give_no_alignment_fall_back_to_the_plain_crop(points, align):
    picture, _ = scene()
    for box in (None, (100, 120, 300, 310)):
        plain = images.cut_face(picture, recipe("none"), box=box)
        np.testing.assert_array_equal(images.cut_face(picture, recipe(align), box=box, points=points), plain)


def test_a_box_outside_is_refused_however_it_is_cut():
    picture, points = scene()
    for align in ("none", "upright"):
        with pytest.raises(UnreadableImage, match="outside"):
            images.cut_face(picture, recipe(align), box=(900, 900, 950, 950), points=points)


def test_points_far_outside_give_a_chip_of_the_border():
    picture, points = scene()
    chip = images.cut_face(picture, recipe("five_points"), points=points + 5000)
    assert chip.shape == (112, 112, 3) and np.ptp(chip.reshape(-1, 3), axis=0).max() <= 1


@pytest.mark.parametrize("align", ["five_points", "upright"])
def test_alignment_of_a_large_jpeg_that_is_decoded_smaller_stays_within_tolerance(align):
    picture, points = scene(1600)
    points = (points - 800) * 6 + 800
    data = encode(picture, quality=95)
    data += b"\0" * max(0, 40_000 - len(data))  # large enough to be decoded smaller
    fast = images.face_pixels(data, recipe(align), points=points)
    slow = images.cut_face(images.decode(data), recipe(align), points=points)
    assert difference(fast, slow) < 2


# ---- boxes


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((0.1, 0.1, 0.9, 0.9), "shares of the picture"),
        ((50, 50, 50, 90), "no area"),
        ((90, 50, 50, 90), "no area"),
        ((float("nan"), 50, 90, 90), "no finite number"),
        ((0, 0, float("inf"), 90), "no finite number"),
        ((-300, 0, 100, 100), "mostly outside"),
        ((150, 120, 900, 800), "mostly outside.*another size"),
        ((0, 0, 1e9, 1e9), "mostly outside"),
        ((1000, 1000, 1100, 1100), "mostly outside"),
    ],
)
def test_a_box_that_is_no_face_of_the_picture_is_refused_with_the_likely_cause(photo, box, reason):
    plain = Preprocessing(size=(32, 32), channels="RGB", mean=(0, 0, 0))
    with pytest.raises(UnreadableImage, match=rf"a\.jpg: box .*{reason}"):
        images.face_pixels(encode(photo, "png"), plain, box=box, name="a.jpg")


def test_a_margin_may_not_ask_for_more_pixels_than_a_picture(photo):
    wide = np.zeros((1, 60_000, 3), np.uint8)
    with pytest.raises(UnreadableImage, match="pixels with its margin"):
        images.crop(np.repeat(wide, 600, axis=0), (0, 0, 600, 60_000), margin=5)


def test_boxes_that_reach_over_the_border_are_kept(photo):
    assert images.crop(photo, (-20, -20, 80, 80)).shape == (100, 100, 3)

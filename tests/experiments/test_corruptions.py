"""Corrupted pictures, on toys."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from faceworkbook import faces, tasks
from faceworkbook.experiments import corruptions

LEVELS = [(name, level) for name, one in corruptions.CORRUPTIONS.items() for level in one.levels]


def texture(n=100):
    return np.random.default_rng(0).integers(0, 256, (n, n, 3), dtype=np.uint8)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(corruptions, "CORRUPTIONS", dict(corruptions.CORRUPTIONS))


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_a_corruption_gives_a_picture_and_leaves_the_original(name, level):
    picture = texture()
    before = picture.copy()
    out = corruptions.CORRUPTIONS[name].function(picture, level, np.random.default_rng(0))
    assert out.dtype == np.uint8 and out.ndim == 3 and out.shape[2] == 3
    np.testing.assert_array_equal(picture, before)
    if name != "crop margin":
        assert out.shape == picture.shape and (out != picture).any()


def test_occlusion_covers_the_share_it_names():
    white = np.full((100, 100, 3), 255, np.uint8)
    assert (corruptions.occlude(white, 0.25) == 128).mean() == pytest.approx(0.25, abs=0.01)


def test_brightness_multiplies_and_cuts():
    out = corruptions.brightness(np.array([[[10, 100, 200]]], np.uint8), 2.0)
    assert out.tolist() == [[[20, 200, 255]]]


def test_crop_margin_adds_on_each_side():
    assert corruptions.crop_margin(texture(40), 0.25).shape == (60, 60, 3)
    assert corruptions.crop_margin(texture(40), -0.1).shape == (32, 32, 3)


def test_colours_stay_in_order_through_jpeg():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert corruptions.jpeg(red, 80)[16, 16].argmax() == 0


def measure_tones(levels, n=60):
    codes = np.arange(n) % 2
    pictures = [np.full((20, 20, 3), 60 + 100 * c, np.uint8) for c in codes]
    labels = tasks.labels_of_classes(np.array(["dark", "light"])[codes], name="tone")
    table = faces.build({"image": [f"{i}.png" for i in range(n)]}, dataset="toy")
    light = SimpleNamespace(predict=lambda m: np.hstack([1 - (m > 110) * 0.9 - 0.05, (m > 110) * 0.9 + 0.05]))
    return corruptions.measure(
        light,
        lambda corrupt: np.array([[corrupt(picture).mean()] for picture in pictures]),
        labels,
        table,
        levels=levels,
        n_boot=200,
    ).set_index("corruption")


def test_what_depends_on_brightness_fails_in_the_dark_and_only_there():
    measured = measure_tones({"brightness": (0.3,), "blur": (0.05,)})
    assert measured.loc["none", "value"] == 1.0
    assert measured.loc["brightness", "value"] == 0.5
    assert measured.loc["brightness", "change"] == -0.5
    assert measured.loc["brightness", "change_high"] < -0.3
    assert measured.loc["blur", "change"] == 0
    assert measured.loc["none", ["change", "change_low", "p_holm"]].isna().all()
    assert measured.loc["brightness", "p_holm"] < 0.01


def test_a_corruption_of_ones_own_takes_two_lines(registry):
    invert = lambda picture, share, rng: np.rint((1 - share) * picture + share * (255 - picture)).astype("u1")  # noqa: E731
    corruptions.register("inverted", invert, levels=(1.0,), unit="share of the negative")
    measured = measure_tones(corruptions.levels_of(["inverted"]))
    assert measured.loc["inverted", "value"] == 0.0
    assert measured.loc["inverted", "unit"] == "share of the negative"
    sheet = corruptions.make_sheet(texture(), corruptions.levels_of(["inverted", "blur"], at_most=1))
    assert [(name, level) for name, level, _ in sheet] == [("none", 0.0), ("inverted", 1.0), ("blur", 0.01)]


@pytest.mark.parametrize("name", ["none", ""])
def test_a_corruption_needs_a_name_and_levels(registry, name):
    with pytest.raises(ValueError, match="corruption"):
        corruptions.register(name, corruptions.blur, levels=() if not name else (1,))


def test_an_unknown_corruption_is_named():
    with pytest.raises(ValueError, match=r"\['fog'\]; known are .*corruptions.register"):
        corruptions.measure(None, None, SimpleNamespace(), None, levels={"fog": (1,)})


def test_faces_are_described_in_batches_and_in_order(tmp_path):
    """As many descriptors as faces, also past the end of a batch; each of its own picture."""
    n = corruptions.BATCH + 3
    for i in range(n):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8, 3), i, np.uint8))
    recipe = SimpleNamespace(size=(8, 8), interpolation="bilinear", crop_margin=0.0, align="none")
    table = faces.build({"image": [f"{i}.png" for i in range(n)]}, dataset="toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corruptions.images, "network_input", lambda pixels, _: pixels)
        net = SimpleNamespace(preprocessing=recipe, graph=None, model=lambda x, training: x[:, 0, 0, :1])
        describe = corruptions.make_describer(net, table, tmp_path)
        assert describe(lambda picture: picture)[:, 0].tolist() == list(range(n))


def test_networks_side_by_side_see_the_same_corruption(tmp_path):
    """What is random falls on the same place for each; an ONNX file is run by its engine, which has no Keras model."""
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8, 3), 200, np.uint8))
    table = faces.build({"image": [f"{i}.png" for i in range(5)]}, dataset="toy")
    recipe = corruptions.images.Preprocessing((8, 8), "RGB", (0.0, 0.0, 0.0))
    keras_net = SimpleNamespace(
        preprocessing=recipe, graph=None, model=lambda x, training: x.reshape(len(x), -1)
    )
    onnx_net = SimpleNamespace(preprocessing=recipe, graph=object())
    with pytest.MonkeyPatch.context() as patch:
        engine = SimpleNamespace(run=lambda pixels: pixels.reshape(len(pixels), -1).astype(np.float32))
        patch.setattr(corruptions.engines, "choose", lambda net: engine)
        describe = corruptions.make_joint_describer([keras_net, onnx_net], table, tmp_path)
        made = describe(corruptions.make_change("occlusion", 0.2, seed=3))
    one, other = np.split(made, 2, axis=1)
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one, axis=0)) > 1, "each picture is covered elsewhere"


def test_aligned_faces_are_corrupted_where_the_clean_points_put_them(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (60, 60, 3), dtype=np.uint8))
    table = faces.build({"image": ["0.png", "1.png"]}, dataset="toy")
    points = np.array([[[20, 20], [40, 26], [29, 32], [20, 40], [37, 45]]] * 2, float)
    points[1] = np.nan
    recipe = corruptions.images.Preprocessing((24, 24), "RGB", (0.0, 0.0, 0.0), align="five_points")
    net = SimpleNamespace(preprocessing=recipe, graph=None, model=lambda x, training: x.reshape(len(x), -1))
    made = corruptions.make_describer(net, table, tmp_path, points=points)(lambda picture: 255 - picture)
    read = [corruptions.images.read(tmp_path / name) for name in table["image"]]
    cut = corruptions.images.cut_face
    expected = [
        255 - cut(picture, recipe, points=own).ravel() for picture, own in zip(read, points, strict=True)
    ]
    np.testing.assert_array_equal(made, np.stack(expected))
    with pytest.raises(ValueError, match=r"reads faces aligned .* and no points were given"):
        corruptions.make_describer(net, table, tmp_path)(lambda picture: picture)

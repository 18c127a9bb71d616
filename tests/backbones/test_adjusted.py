"""A network that reads faces cut out otherwise, or at another resolution, is the same network."""

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

keras = pytest.importorskip("keras")

from faceworkbook import backbones, images  # noqa: E402


def toy(*, flat=False):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.Flatten(name="end")(x) if flat else keras.layers.GlobalAveragePooling2D(name="end")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    return backbones.from_keras(
        model, name="toy", preprocessing=images.Preprocessing((16, 16), "RGB", (0, 0, 0)), tap="end"
    )


def test_nothing_changes_where_nothing_is_asked():
    net = toy()
    for same in (net.adjusted(), net.adjusted(align="none", margin=0.0, resolution=16)):
        assert same is net


@pytest.mark.parametrize(
    ("asked", "margin", "variant"),
    [
        ({"align": "five_points"}, 0.2, "five_points"),
        ({"align": "five_points", "margin": 0.0}, 0.0, "five_points-margin0"),
        ({"align": "upright"}, 0.0, "upright"),
        ({"margin": 0.25}, 0.25, "margin0.25"),
        ({"margin": -0.1}, -0.1, "margin-0.1"),
    ],
)
def test_alignment_and_margin_stand_in_the_recipe_and_in_the_name(asked, margin, variant):
    other = toy().adjusted(**asked)
    assert other.preprocessing.crop_margin == margin and other.variant == variant
    assert other.preprocessing.align == asked.get("align", "none")


def test_the_margin_of_a_network_made_for_aligned_chips_is_its_own():
    net = toy().adjusted(align="five_points", margin=0.0)
    assert net.adjusted(align="five_points") is net


def test_another_resolution_has_the_same_weights():
    net = toy()
    larger = net.adjusted(resolution=24)
    assert larger.preprocessing.size == (24, 24) and larger.variant == "24px"
    assert larger.model.input.shape[1:3] == (24, 24)
    picture = np.tile(np.float32([10, 20, 30]), (1, 24, 24, 1))
    np.testing.assert_allclose(larger.model(picture), net.model(picture[:, :16, :16]), rtol=1e-5)


def test_a_network_that_flattens_refuses_another_resolution():
    with pytest.raises(ValueError, match=r"resolution=24; toy at 'end' takes 16 x 16 pixels alone"):
        toy(flat=True).adjusted(resolution=24)

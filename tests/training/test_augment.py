"""Augmentation keeps labels true, never turns a face upside down, and depends on seed, epoch and row alone."""

from __future__ import annotations

import numpy as np
import pytest

from faceworkbook.training.augment import DRAWN, Augmentation, adjust, adjust_classes, apply, draw

ROWS = np.arange(200)
NOTHING = Augmentation(mirror=0, rotate=0, shift=0, zoom=0, light=0, blur=0)


def still(n: int = 1) -> np.ndarray:
    """Draws that change nothing."""
    drawn = np.zeros(n, DRAWN)
    drawn["zoom"] = drawn["contrast"] = 1
    return drawn


def bar(tilt: float, size: int = 65) -> np.ndarray:
    """A picture of a bar through the middle, leaning `tilt` degrees to the right of upright."""
    y, x = np.mgrid[:size, :size] - size // 2
    across = x * np.cos(np.deg2rad(tilt)) + y * np.sin(np.deg2rad(tilt))
    return np.repeat((np.abs(across) < 2.5).astype(np.uint8)[..., None] * 255, 3, axis=2)


def lean(picture: np.ndarray) -> float:
    """Tilt of the bright pixels' main axis, degrees; > 0 where its top lies to the right."""
    y, x = np.nonzero(picture[..., 0] > 127)
    axis = np.linalg.svd(np.stack([x - x.mean(), y - y.mean()], axis=1), full_matrices=False)[2][0]
    return float(np.rad2deg(np.arctan(-axis[0] / axis[1])))


def test_without_changes_pictures_stay_as_they_are(rng_pictures):
    drawn = draw(NOTHING, np.arange(8), seed=1, epoch=3)
    np.testing.assert_array_equal(apply(rng_pictures, drawn), rng_pictures)


def test_mirroring_is_left_to_right(rng_pictures):
    drawn = still(8)
    drawn["mirror"] = True
    np.testing.assert_array_equal(apply(rng_pictures, drawn), rng_pictures[:, :, ::-1])


@pytest.mark.parametrize("name, expected", [("yaw", -20.0), ("roll", -20.0), ("pitch", 20.0), ("age", 20.0)])
def test_mirroring_negates_yaw_and_roll_alone(name, expected):
    drawn = still()
    drawn["mirror"] = True
    assert adjust(name, np.array([20.0]), drawn)[0] == expected


@pytest.mark.parametrize("tilt", [-15.0, 0.0, 10.0])
@pytest.mark.parametrize("angle", [-12.0, 8.0])
@pytest.mark.parametrize("mirror", [False, True])
def test_roll_stays_true_when_a_picture_is_mirrored_and_turned(tilt, angle, mirror):
    # Roll > 0: the head's top leans to the picture's right. The bar's tilt is measured in the result.
    drawn = still()
    drawn["mirror"], drawn["angle"] = mirror, angle
    changed = apply(bar(tilt)[None], drawn)[0]
    assert lean(bar(tilt)) == pytest.approx(tilt, abs=0.7)
    assert adjust("roll", np.array([tilt]), drawn)[0] == pytest.approx(lean(changed), abs=0.7)


def test_no_picture_is_turned_upside_down():
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    picture[:, :16] = 255
    strong = Augmentation(mirror=0.5, rotate=45, shift=0.2, zoom=0.3, light=0.5, blur=0.5)
    changed = apply(np.repeat(picture, len(ROWS), axis=0), draw(strong, ROWS, seed=0, epoch=0)).astype(float)
    assert (changed[:, :8].mean(axis=(1, 2, 3)) > changed[:, -8:].mean(axis=(1, 2, 3))).all()


def test_what_happens_to_a_row_does_not_depend_on_its_batch():
    whole = draw(Augmentation(), ROWS, seed=5, epoch=2)
    np.testing.assert_array_equal(
        draw(Augmentation(), ROWS[[150, 3, 77]], seed=5, epoch=2), whole[[150, 3, 77]]
    )


@pytest.mark.parametrize("other", [{"seed": 6, "epoch": 2}, {"seed": 5, "epoch": 3}])
def test_seeds_and_epochs_draw_anew(other):
    first = draw(Augmentation(), ROWS, seed=5, epoch=2)
    second = draw(Augmentation(), ROWS, **other)
    assert (first["angle"] != second["angle"]).all()


def test_classes_are_changed_alike():
    # The UTKFace multi-task system of 2018 changed the pictures of some races only, so that a change gave the label away.
    rows = np.arange(3000)
    drawn = draw(Augmentation(), rows, seed=0, epoch=0)
    rare = rows % 10 == 0
    assert drawn["mirror"][rare].mean() == pytest.approx(drawn["mirror"][~rare].mean(), abs=0.07)
    assert np.abs(drawn["angle"][rare]).mean() == pytest.approx(np.abs(drawn["angle"][~rare]).mean(), rel=0.1)
    assert (np.abs(drawn["angle"]) > 0).all()


def test_draws_keep_their_limits():
    drawn = draw(Augmentation(0.3, 7, 0.1, 0.2, 0.1, 0.25), np.arange(4000), seed=0, epoch=0)
    assert drawn["mirror"].mean() == pytest.approx(0.3, abs=0.03)
    assert (drawn["blur"] > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert np.abs(drawn["angle"]).max() == pytest.approx(7, abs=0.1)
    assert drawn["zoom"].min() == pytest.approx(0.8, abs=0.01)
    assert np.abs(drawn["right"]).max() <= 0.1


def test_light_is_clipped_and_not_wrapped():
    drawn = still()
    drawn["brightness"] = 60
    assert (apply(np.full((1, 4, 4, 3), 250, np.uint8), drawn) == 255).all()


def test_shifting_moves_right_and_down():
    picture = np.zeros((1, 20, 20, 3), np.uint8)
    picture[0, 10, 10] = 255
    drawn = still()
    drawn["right"], drawn["down"] = 0.2, 0.1
    assert np.argwhere(apply(picture, drawn)[0, ..., 0] > 127).tolist() == [[12, 14]]


@pytest.mark.parametrize("wrong", [{"mirror": 1.2}, {"rotate": 90}, {"blur": -0.1}])
def test_limits_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*allowed is 0"):
        Augmentation(**wrong)


@pytest.fixture
def rng_pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 24, 20, 3), dtype=np.uint8)


def test_the_bins_of_yaw_are_turned_round_with_the_picture():
    classes = ("<= -60", "(-60, -10]", "(-10, 10)", "[10, 60)")
    drawn = np.zeros(4, DRAWN)
    drawn["mirror"] = [True, True, False, True]
    shares = np.eye(4)[[1, 2, 1, 0]]
    turned = adjust_classes("pose", classes, shares, drawn)
    np.testing.assert_array_equal(turned, [[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(adjust_classes("emotion", classes, shares, drawn), shares)

"""The detector finds what is there, and alignment undoes a known rotation, scale and shift."""

import threading

import cv2
import numpy as np
import pytest

from faceworkbook import alignment, images

ANGLE, FACTOR, SHIFT = np.deg2rad(25), 1.7, np.array([40.0, -12.0])
TURN = FACTOR * np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])


@pytest.fixture(scope="module")
def detector():
    return alignment.Detector()


@pytest.fixture
def portrait(shared_data):
    return images.read(sorted(shared_data("utkface/UTKFace").glob("26_1_0_*"))[0])


def test_similarity_is_recovered_exactly():
    moved = alignment.TEMPLATE @ TURN.T + SHIFT
    matrix = alignment.similarity(alignment.TEMPLATE, moved)
    np.testing.assert_allclose(matrix, np.column_stack([TURN, SHIFT]), atol=1e-9)


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 5, 2)) * 30
    # An independent solution: the four unknowns of a similarity by linear least squares.
    ones, zeros = np.ones(5), np.zeros(5)
    x, y = source.T
    system = np.vstack([np.column_stack([x, -y, ones, zeros]), np.column_stack([y, x, zeros, ones])])
    a, b, tx, ty = np.linalg.lstsq(system, np.concatenate(target.T), rcond=None)[0]
    np.testing.assert_allclose(alignment.similarity(source, target), [[a, -b, tx], [b, a, ty]], atol=1e-9)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan)])
def test_points_without_extent_are_refused(points):
    with pytest.raises(alignment.AlignmentError, match="points"):
        alignment.similarity(points, alignment.TEMPLATE)


@pytest.mark.parametrize(("size", "margin"), [((112, 112), 0.0), ((224, 160), 0.3)])
def test_points_land_on_the_template(size, margin):
    points = alignment.TEMPLATE @ TURN.T + SHIFT + 60
    canvas = np.zeros((320, 320, 3), np.uint8)
    for k, (x, y) in enumerate(points):
        cv2.circle(canvas, (round(x), round(y)), 3, (0, 0, 50 * (k + 1)), -1)
    chip = alignment.align(canvas, points, size=size, margin=margin)
    assert chip.shape == (*size, 3) and chip.dtype == np.uint8
    scale = min(size) / (112 * (1 + 2 * margin))
    expected = (alignment.TEMPLATE - 56) * scale + np.array([size[1], size[0]]) / 2
    for k, (x, y) in enumerate(expected):
        near = chip[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2, 2]
        assert near.max() == pytest.approx(50 * (k + 1), abs=12)


def test_shrinking_does_not_alias():
    stripes = np.zeros((1120, 1120, 3), np.uint8)
    stripes[:, ::2] = 255
    chip = alignment.align(stripes, alignment.TEMPLATE * 10)
    assert chip[20:-20, 20:-20].std() < 12


def slope(points):
    """Angle of the eye line to the horizontal, degrees."""
    along = points[1] - points[0]
    return abs(np.degrees(np.arctan2(along[1], along[0])))


def test_eyes_are_level_after_alignment_of_turned_faces(detector, shared_data):
    before, after = [], []
    for path in sorted(shared_data("utkface/UTKFace").glob("2[0-9]_*"))[::150]:
        matrix = cv2.getRotationMatrix2D((100, 100), 20, 0.9)
        turned = cv2.warpAffine(images.read(path), matrix, (200, 200), borderMode=cv2.BORDER_REPLICATE)
        face = alignment.main_face(detector.detect(turned), turned.shape)
        before.append(slope(face.points))
        chip = alignment.align(turned, face.points, size=(224, 224), margin=0.4)
        after.append(slope(detector.detect(chip)[0].points))
    assert np.median(before) > 12 and np.median(after) < np.median(before) / 3


def test_boxes_and_points_follow_the_picture(detector, portrait):
    canvas = np.full((500, 700, 3), 120, np.uint8)
    canvas[200:400, 300:500] = portrait
    alone, moved = detector.detect(portrait)[0], detector.detect(canvas)[0]
    refined = detector.refine(canvas, moved)
    np.testing.assert_allclose(refined.points, alone.points + np.array([300, 200]), atol=12)
    assert (refined.box, refined.score) == (moved.box, moved.score)
    assert detector.refine(portrait, alone) is alone
    top, left, bottom, right = moved.box
    assert (moved.points[:, 0] > left).all() and (moved.points[:, 0] < right).all()
    assert (moved.points[:, 1] > top).all() and (moved.points[:, 1] < bottom).all()
    assert moved.height == pytest.approx(bottom - top)


def test_real_chips_have_one_face_and_noise_has_none(detector, shared_data):
    paths = sorted(shared_data("utkface/UTKFace").glob("*"))[::400]
    counts = [len([f for f in detector.detect(images.read(p)) if f.score > 0.6]) for p in paths]
    assert len(counts) > 15 and np.mean(np.array(counts) == 1) >= 0.95
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    assert not [f for f in detector.detect(noise) if f.score > 0.6]


def test_threads_see_the_same_faces(detector, portrait):
    expected, seen = detector.detect(portrait)[0].points, []
    threads = [
        threading.Thread(target=lambda: seen.append(detector.detect(portrait)[0].points)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6 and all(np.array_equal(points, expected) for points in seen)


def test_the_main_face_is_large_and_central():
    def face(x, size, score=0.9):
        points = np.full((5, 2), float(x))
        return alignment.Face((x - size / 2, x - size / 2, x + size / 2, x + size / 2), points, score)

    central, corner, small = face(100, 60), face(10, 60), face(100, 20)
    assert alignment.main_face([corner, small, central], (200, 200, 3)) is central
    assert alignment.main_face([], (200, 200, 3)) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "nowhere.onnx"}, "nowhere"),
        ({"min_score": 2}, "min_score=2"),
        ({"looks": [(0, 8)]}, "looks="),
        ({"looks": []}, "looks="),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(alignment.AlignmentError, match=words):
        alignment.Detector(**options)


def test_a_file_that_is_no_model_is_named(tmp_path, portrait):
    path = tmp_path / "odd.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(alignment.AlignmentError, match=r"odd\.onnx"):
        alignment.Detector(path).detect(portrait)

"""Landmarks are computed once for each picture content, and of the face that a box is about."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from faceworkbook import alignment, datasets, images, landmarks
from faceworkbook.faces import BOX
from tests.support.copies import copy_faces


class Counted(alignment.Detector):
    """A detector that counts how often it is asked."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = 0

    def detect(self, image):
        self.asked += 1
        return super().detect(image)


@pytest.fixture(scope="module")
def drawn():
    return datasets.load("synthetic", "data/synthetic")


@pytest.fixture
def some(drawn, tmp_path):
    """Six faces of the embedded set in a folder of their own."""
    return copy_faces(drawn, tmp_path, step=40, n=6), tmp_path


def look(some, detector=None, **options):
    faces, root = some
    detector = detector or Counted()
    path = root / "kept" / landmarks.NAME
    return landmarks.detect(faces, root, path=path, detector=detector, progress=False, **options), detector


def test_a_face_is_looked_at_once(some):
    first, detector = look(some)
    assert detector.asked == 6 and first.table["face_id"].tolist() == some[0]["face_id"].tolist()
    assert np.isfinite(first.points()).all() and (first.table["score"] > 0.6).all()
    again, detector = look(some)
    assert detector.asked == 0
    pd.testing.assert_frame_equal(again.table, first.table)


def test_another_name_of_the_same_content_costs_nothing(some):
    faces, root = some
    first, _ = look(some)
    for image in faces["image"]:
        (root / image).rename(root / image.replace(".", "_moved.", 1))
    moved = faces.assign(image=[image.replace(".", "_moved.", 1) for image in faces["image"]])
    again, detector = look((moved, root))
    assert detector.asked == 0
    np.testing.assert_array_equal(again.points(), first.points())


def test_changed_pictures_boxes_and_settings_are_looked_at_anew(some):
    faces, root = some
    look(some)
    shutil.copy(root / faces["image"][0], root / faces["image"][1])
    assert look(some)[1].asked == 0  # this content is known
    Image.fromarray(images.read(root / faces["image"][0])[:, ::-1]).save(root / faces["image"][2])
    assert look(some)[1].asked == 1
    boxed = faces.copy()
    boxed.loc[3, list(BOX)] = [10, 10, 80, 80]
    assert look((boxed, root))[1].asked == 1
    assert look(some, Counted(looks=((0.25, 320),)))[1].asked == 6


def test_a_touched_file_is_read_and_not_looked_at(some):
    faces, root = some
    look(some)
    os.utime(root / faces["image"][0], (1, 1))
    assert look(some)[1].asked == 0


def test_rows_of_other_faces_stay(some):
    faces, root = some
    look(some)
    look((faces.head(2), root))
    assert look(some)[1].asked == 0


def test_a_run_that_was_cut_off_goes_on(some, monkeypatch):
    monkeypatch.setattr(landmarks, "PIECE", 2)

    class Killed(Counted):
        def detect(self, image):
            if self.asked == 4:
                raise KeyboardInterrupt
            return super().detect(image)

    with pytest.raises(KeyboardInterrupt):
        look(some, Killed(), threads=1)
    _, detector = look(some)
    assert detector.asked == 2
    assert not list((some[1] / "kept").glob("*.partial"))


def test_a_damaged_table_is_computed_anew(some):
    first, _ = look(some)
    path = some[1] / "kept" / landmarks.NAME
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(data)
    again, detector = look(some)
    assert detector.asked in (0, 6)  # 0: the bit lay between the pages
    pd.testing.assert_frame_equal(again.table, first.table)


def test_pictures_that_cannot_be_read_and_pictures_without_a_face_are_named(some):
    faces, root = some
    (root / faces["image"][0]).write_bytes(b"nothing")
    (root / faces["image"][1]).unlink()
    Image.fromarray(np.full((90, 90, 3), 128, np.uint8)).save(root / faces["image"][2])
    marks, _ = look(some)
    assert marks.table["problem"].str.len().gt(0).tolist() == [True, True, False, False, False, False]
    without = marks.without_face(min_score=0.6)
    assert without[["face_id", "reason"]].to_numpy().tolist() == [[faces["face_id"][2], "no face detected"]]
    assert marks.table["n_faces"][2] == 0 and np.isnan(marks.points()[2]).all()
    assert len(marks.without_face(min_score=1.0)) == 4
    again, _ = look(some)
    pd.testing.assert_frame_equal(again.table, marks.table)


def test_the_main_face_of_a_box_is_the_one_in_it(some):
    faces, root = some
    left, right = (cv2.resize(images.read(root / faces["image"][k]), (160, 160)) for k in (0, 1))
    large = cv2.resize(right, (240, 240))
    group = np.full((300, 460, 3), 120, np.uint8)
    group[20:180, 20:180], group[20:260, 200:440] = left, large
    Image.fromarray(group).save(root / "group.png")
    two = faces.iloc[[0, 0, 0]].assign(face_id=["left", "right", "whole"], image="group.png")
    two[list(BOX)] = [[20, 20, 180, 180], [20, 200, 260, 440], [np.nan] * 4]
    marks, _ = look((two, root))
    across = marks.points()[:, :, 0].mean(axis=1)
    assert across[0] < 190 < across[1] and across[2] > 190
    alone = landmarks.detect(faces.head(1), root, progress=False).points()[0]
    side = images.read(root / faces["image"][0]).shape[0]
    np.testing.assert_allclose(marks.points()[0], alone * 160 / side + 20, atol=8)


def test_a_large_jpeg_gives_points_in_its_own_pixels(some):
    faces, root = some
    picture = images.read(root / faces["image"][0])
    factor = 4400 / picture.shape[0]
    large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    Image.fromarray(large).save(root / "large.jpg", quality=97)
    both = faces.iloc[[0, 0]].assign(face_id=["small", "large"])
    both["image"] = [faces["image"][0], "large.jpg"]
    marks, _ = look((both, root))
    np.testing.assert_allclose(marks.points()[1], marks.points()[0] * factor, atol=0.02 * 4400)


@pytest.mark.parametrize(("no_face", "kept"), [("whole", 6), ("leave_out", 5)])
def test_faces_without_points_fall_back_or_are_left_out(some, no_face, kept):
    faces, root = some
    Image.fromarray(np.full((90, 90, 3), 128, np.uint8)).save(root / faces["image"][2])
    recipe = images.Preprocessing((112, 112), "RGB", (0, 0, 0), align="five_points")
    options = landmarks.AlignOptions(no_face=no_face)
    aligned = landmarks.align_faces(faces, root, recipe, options=options, progress=False)
    assert aligned.keep.sum() == kept and len(aligned.without_face) == 1
    assert np.isnan(aligned.points[2]).all() and "1 of 6" in aligned.describe()
    assert aligned.settings["no_face"] == no_face and len(aligned.settings["sha256"]) == 64


def test_nothing_is_detected_where_nothing_is_aligned(some, monkeypatch):
    monkeypatch.setattr(alignment.Detector, "detect", None)
    recipe = images.Preprocessing((112, 112), "RGB", (0, 0, 0))
    aligned = landmarks.align_faces(*some, recipe)
    assert aligned.keep.all() and aligned.points is None and aligned.settings == {}


@pytest.mark.parametrize("wrong", [{"min_score": -0.1}, {"min_score": 1.5}, {"no_face": "drop"}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match="allowed"):
        landmarks.AlignOptions(**wrong)


def test_options_of_parameters_from_before_there_was_a_mesh_mean_yunets_points():
    parameters = {"align_min_score": 0.5, "no_face": "leave_out"}
    assert landmarks.AlignOptions.from_parameters(parameters) == landmarks.AlignOptions(
        0.5, "leave_out", "yunet"
    )
    given = landmarks.AlignOptions.from_parameters(parameters | {"landmarks": "mesh"})
    assert given == landmarks.AlignOptions(0.5, "leave_out", "mesh")


def test_two_processes_fill_one_table_and_look_at_each_face_once(some, monkeypatch, capsys):
    """The first removed the pieces of the second while it wrote them; now the second waits and takes what is there."""
    monkeypatch.setattr(landmarks, "PIECE", 2)
    waits, detector = threading.Event(), Counted()

    class Slow(Counted):
        def detect(self, image):
            assert waits.wait(60)
            return super().detect(image)

    monkeypatch.setattr(landmarks.files, "hold", hold_and_say(waits))
    with ThreadPoolExecutor(2) as executor:
        slow = Slow()
        results = [executor.submit(look, some, each) for each in (slow, detector)]
        tables = [result.result()[0].table for result in results]
    assert slow.asked + detector.asked == 6
    pd.testing.assert_frame_equal(*tables)
    assert sorted(path.suffix for path in (some[1] / "kept").iterdir()) == [".lock", ".parquet"]


def hold_and_say(waits):
    real, begun = landmarks.files.hold, []

    def hold(*arguments):
        begun.append(1)
        if len(begun) == 2:
            waits.set()
        return real(*arguments)

    return hold


def test_a_table_that_is_whole_is_read_without_a_lock(some, monkeypatch):
    look(some)
    monkeypatch.setattr(landmarks.files, "hold", lambda *_: pytest.fail("held"))
    assert look(some)[1].asked == 0

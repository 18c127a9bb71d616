import math

import numpy as np
import pytest

from faceworkbook import datasets
from faceworkbook.datasets import genki4k

LINES = "1 0.5 -0.25 0.1\n0 -0.5 0.25 -0.1\n"


def genki_set(lines=LINES):
    return {"labels.txt": lines, "files/file0001.jpg": b"", "files/file0002.jpg": b""}


def test_line_n_is_file_n_in_degrees(lay):
    table = datasets.load("genki4k", lay(genki_set()), order="unchecked").faces
    assert table["image"].tolist() == ["files/file0001.jpg", "files/file0002.jpg"]
    assert table["yaw"].tolist() == pytest.approx([math.degrees(0.5), -math.degrees(0.5)])
    assert table["smile"].tolist() == ["yes", "no"]


def test_a_blank_or_broken_line_does_not_shift_the_others(lay):
    dataset = datasets.load("genki4k", lay(genki_set("1 0.5\n0 -0.5 0.25 -0.1\n")), order="unchecked")
    assert dataset.faces["image"].tolist() == ["files/file0002.jpg"]
    assert "row malformed" in set(dataset.left_out["reason"])


def test_another_order_is_refused(lay):
    with pytest.raises(datasets.DatasetError, match="not the file as distributed"):
        datasets.load("genki4k", lay(genki_set()))


def test_spaces_and_line_ends_do_not_matter(lay):
    one, other = lay(genki_set()), lay(genki_set(LINES.replace(" ", "  ").replace("\n", "\r\n")))
    assert genki4k.fingerprint(one / "labels.txt") == genki4k.fingerprint(other / "labels.txt")


@pytest.mark.realdata
def test_real_rows_equal_the_file(shared_data):
    root = shared_data("genki4k")
    dataset = datasets.load("genki4k", root)
    expected = [line.split() for line in (root / "labels.txt").read_text().splitlines()]
    assert len(dataset.faces) == len(list((root / "files").iterdir())) == 2000
    assert len(dataset.faces) + len(dataset.left_out) == len(expected) == 4000
    for face in dataset.faces.itertuples():
        smile, yaw, pitch, roll = expected[int(face.image[10:14]) - 1]
        assert (face.smile == "yes") == (smile == "1")
        angles = [math.degrees(float(angle)) for angle in (yaw, pitch, roll)]
        assert [face.yaw, face.pitch, face.roll] == pytest.approx(angles)


@pytest.mark.realdata
def test_yaw_and_roll_have_the_sign_of_the_convention(shared_data, see_pose):
    dataset = datasets.load("genki4k", shared_data("genki4k"))
    extreme = dataset.faces[(dataset.faces["yaw"].abs() > 15) | (dataset.faces["roll"].abs() > 12)].iloc[:80]
    offset, tilt = see_pose(dataset.root, extreme)
    seen = np.isfinite(offset)
    angles = extreme[["yaw", "roll"]].to_numpy(float)[seen]
    assert np.corrcoef(angles[:, 0], offset[seen])[0, 1] > 0.7
    assert np.corrcoef(angles[:, 1], tilt[seen])[0, 1] > 0.4

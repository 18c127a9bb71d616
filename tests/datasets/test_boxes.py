"""Boxes of every reader: those that can be no face of their picture are left out with the likely cause."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import datasets
from faceworkbook.datasets.base import DatasetError, Reasons, list_pictures
from faceworkbook.datasets.boxes import check_boxes, picture_sizes

BOXES = {
    "good": (10, 10, 60, 60),
    "over the border": (-10, -10, 60, 60),
    "shares": (0.1, 0.2, 0.8, 0.9),
    "no area": (60, 10, 60, 60),
    "inverted": (60, 60, 10, 10),
    "another size": (70, 60, 200, 190),
    "outside": (400, 400, 500, 500),
    "no number": (10, np.nan, 60, 60),
    "infinite": (10, 10, np.inf, 60),
}


@pytest.fixture
def root(tmp_path):
    for name in range(len(BOXES)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((100, 80, 3), np.uint8))
    return tmp_path


def rows_of(boxes):
    rows = pd.DataFrame([*boxes.values()], columns=["top", "left", "bottom", "right"], dtype=float)
    return rows.assign(image=[f"{n}.png" for n in range(len(rows))], name=[*boxes])


def test_each_bad_box_has_its_cause(root):
    left_out = Reasons()
    kept = check_boxes(rows_of(BOXES), root, left_out, table="a.csv")
    assert kept["name"].tolist() == ["good", "over the border"]
    details = left_out.table()["detail"].str.cat(sep="\n")
    assert set(left_out.table()["reason"]) == {"bad box"} and len(left_out.rows) == len(BOXES) - 2
    for cause in ("shares of the picture", "no area", "another size", "no finite number"):
        assert cause in details


def test_rows_without_a_box_are_kept(root):
    rows = rows_of({"none": (np.nan,) * 4, "good": BOXES["good"]})
    assert len(check_boxes(rows, root, Reasons(), table="a.csv")) == 2


def test_a_table_of_shares_is_refused_whole(root):
    shares = {"one": (0.1, 0.1, 0.9, 0.9), "two": (0, 0, 1, 1), "bad": (np.nan, 0, 1, 1)}
    with pytest.raises(DatasetError, match=r"a\.csv: no box reaches beyond pixel 1.*shares"):
        check_boxes(rows_of(shares), root, Reasons(), table="a.csv")


def test_sizes_of_pictures_that_cannot_be_read_are_unknown(root):
    (root / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    assert picture_sizes(root, pd.Series(["0.png", "cut.jpg", "none.jpg", "0.png"])) == {"0.png": (100, 80)}


def test_a_csv_and_expw_leave_out_boxes_of_another_size(root):
    boxes = {"good": BOXES["good"], "big": BOXES["another size"]}
    table = rows_of(boxes).assign(gender="male")
    table.drop(columns="name").to_csv(root / "faces.csv", index=False)
    dataset = datasets.load("csv", root)
    assert len(dataset.faces) == 1
    assert dataset.left_out.loc[lambda rows: rows["reason"] == "bad box", "image"].tolist() == ["1.png"]
    photos = root / "image/origin"
    photos.mkdir(parents=True)
    cv2.imwrite(str(photos / "a.jpg"), np.zeros((100, 80, 3), np.uint8))
    lines = [f"a.jpg {n} {t:g} {le:g} {r:g} {b:g} 90 3\n" for n, (t, le, b, r) in enumerate(boxes.values())]
    (root / "label.lst").write_text("".join(lines))
    assert datasets.load("expw", root).counts()["what"].tolist() == ["faces read", "left out: bad box"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_with_a_pictures_name_is_listed(root):
    os.mkfifo(root / "pipe.jpg")
    listed = Reasons()
    assert "pipe.jpg" not in list_pictures(root, listed)
    assert ("pipe.jpg", "not a plain file", "") in listed.rows


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_row_whose_file_is_no_picture_has_the_reason_of_the_file_once(root):
    os.mkfifo(root / "pipe.png")
    (root / "dangling.png").symlink_to("nowhere.png")
    names = ["0.png", "pipe.png", "dangling.png", "none.png"]
    pd.DataFrame({"image": names, "gender": "male"}).to_csv(root / "faces.csv", index=False)
    left_out = datasets.load("csv", root).left_out
    reasons = left_out[left_out["image"].isin(names)].set_index("image")["reason"].to_dict()
    assert reasons == {
        "pipe.png": "not a plain file",
        "dangling.png": "link leads nowhere",
        "none.png": "no picture",
    }
    assert left_out["image"].is_unique

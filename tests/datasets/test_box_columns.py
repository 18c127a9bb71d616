"""Boxes under the headers that other programs write, read as boxes and never as labels without a word."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceworkbook import datasets
from faceworkbook.datasets import inspection
from faceworkbook.datasets.box_columns import box_columns

SIDES = ["top", "left", "bottom", "right"]


@pytest.fixture
def lay_table(tmp_path):
    """``lay_table(header, box)``: a table of two pictures of 100 x 80 with that header and box; its folder."""

    def write(header, *boxes):
        rows = [f"{n}.png,{['male', 'female'][n]},{box}" for n, box in enumerate(boxes)]
        (tmp_path / "faces.csv").write_text("\n".join([f"image,gender,{header}", *rows]) + "\n")
        for n in range(len(boxes)):
            cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((100, 80, 3), n, np.uint8))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("header", "box"),
    [
        ("x,y,w,h", "10,20,30,40"),
        ("X,Y,Width,Height", "10,20,30,40"),
        ("face_x,face_y,face_width,face_height", "10,20,30,40"),
        ("bbox_x,bbox_y,bbox_w,bbox_h", "10,20,30px,40 px"),
        ("x_1,y_1,width,height", "10,20,30,40"),
        ("left,top,width,height", "10,20,30,40"),
        ("xmin,ymin,xmax,ymax", "10,20,40,60"),
        ("xMin,yMin,xMax,yMax", "10,20,40,60"),
        ("x1,y1,x2,y2", "10,20,40,60"),
        ("x2,y2,x1,y1", "40,60,10,20"),
        ("bbox_x1,bbox_y1,bbox_x2,bbox_y2", "10,20,40,60"),
        ("x,y,xmin,ymin,xmax,ymax", "1,1,10,20,40,60"),
        ("x_center,y_center,width,height", "25,40,30,40"),
        ("xyxy", '"[10, 20, 40, 60]"'),
        ("xywh", "10 20 30 40"),
    ],
)
def test_a_box_is_read_under_other_headers_with_a_notice(lay_table, header, box):
    root = lay_table(header, box, box)
    dataset = datasets.load("csv", root)
    assert dataset.faces[SIDES].to_numpy().tolist() == [[20, 10, 60, 40]] * 2
    named = header in ("xyxy", "xywh")
    assert ("columns read as box" in set(dataset.notices["reason"])) != named
    labels = {name for name in datasets.label_names("csv", root, {}) if name not in ("x", "y")}
    assert labels == {"gender"}


@pytest.mark.parametrize("header", ["x,y", "w,h", "xmin,ymin", "width,height", "x,y,w", "a,b,c,d"])
def test_columns_that_make_no_whole_box_stay_columns_of_ones_own(lay_table, header):
    values = ["1", "2", "3", "4"][: header.count(",") + 1]
    dataset = datasets.load("csv", lay_table(header, ",".join(values), ",".join(values)))
    assert set(header.split(",")) <= set(dataset.faces) and dataset.faces["top"].isna().all()


def test_the_option_that_keeps_them_as_columns_of_ones_own(lay_table):
    root = lay_table("x,y,w,h", "10,20,30,40", "10,20,30,40")
    notice = datasets.load("csv", root).notices["detail"][0]
    assert "columns: [my_x=x, my_y=y, my_w=w, my_h=h]" in notice
    dataset = datasets.load("csv", root, columns=["my_x=x", "my_y=y", "my_w=w", "my_h=h"])
    assert dataset.faces["top"].isna().all() and dataset.faces["my_w"].tolist() == [30, 30]


@pytest.mark.parametrize("header", ["bbox", "box", "BoundingBox", "face_box"])
def test_four_numbers_in_a_cell_are_refused_until_their_order_is_named(lay_table, header):
    root = lay_table(header, '"[10, 20, 40, 60]"', '"(10;20;40;60)"')
    with pytest.raises(
        datasets.DatasetError, match=rf"columns: \[xyxy={header}\].*columns: \[xywh={header}\]"
    ):
        datasets.load("csv", root)
    read = {
        name: datasets.load("csv", root, columns=[f"{name}={header}"]) for name in ("xyxy", "xywh", "my_box")
    }
    assert read["xyxy"].faces[SIDES].to_numpy().tolist() == [[20, 10, 60, 40]] * 2
    assert read["xywh"].faces[SIDES].to_numpy().tolist() == [[20, 10, 80, 50]] * 2
    assert read["my_box"].faces["top"].isna().all()
    with pytest.raises(inspection.NotUnderstoodError, match=f"xyxy={header}"):
        inspection.inspect(root)


def test_a_column_box_of_something_else_is_a_label(lay_table):
    assert datasets.load("csv", lay_table("box", "red", "blue")).faces["box"].tolist() == ["red", "blue"]


@pytest.mark.parametrize("box", ["10,20,x,40", "10,20,-30,40", "10,20,0,40", "10,,30,40", "700,20,30,40"])
def test_a_bad_corner_or_size_is_listed(lay_table, box):
    dataset = datasets.load("csv", lay_table("x,y,w,h", box, "10,20,30,40"))
    assert dataset.faces["image"].tolist() == ["1.png"] and set(dataset.left_out["reason"]) == {"bad box"}


def test_a_cell_that_holds_no_four_numbers_is_listed_and_an_empty_one_is_no_box(lay_table):
    root = lay_table("xyxy", "gone", '"10,20,40,60"')
    assert datasets.load("csv", root).left_out["reason"].tolist() == ["bad box"]
    root = lay_table("xyxy", "", '"10,20,40,60"')
    assert datasets.load("csv", root).faces["top"].isna().tolist() == [True, False]


def test_x_and_y_in_shares_may_be_a_corner_or_the_centre(lay_table):
    root = lay_table("x,y,w,h", ".5,.5,.5,.4", ".5,.5,.5,.4")
    with pytest.raises(datasets.DatasetError, match="shares"):
        datasets.load("csv", root)
    with pytest.raises(datasets.DatasetError, match=r"columns: \[left=x, .*columns: \[box_center_x=x, "):
        datasets.load("csv", root, boxes="shares")
    centre = ["box_center_x=x", "box_center_y=y", "box_width=w", "box_height=h"]
    faces = datasets.load("csv", root, boxes="shares", columns=centre).faces
    np.testing.assert_allclose(faces[SIDES].astype(float), [[30, 20, 70, 60]] * 2)


def test_inspect_reads_the_boxes_as_a_run_does(lay_table):
    seen = inspection.inspect(lay_table("x,y,w,h", "10,20,30,40", "12,20,30,40"))
    assert [column.role for column in seen.columns if column.written in "xywh"] == ["box"] * 4
    assert "columns" not in seen.settings and seen.labels == ["gender"]


def test_a_whole_box_of_sides_comes_first():
    headers = ["x", "y", "width", "height", "top", "left", "bottom", "right"]
    assert set(box_columns(headers)) == {"top", "left", "bottom", "right"}

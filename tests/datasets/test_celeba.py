import cv2
import numpy as np
import pytest

from faceworkbook import datasets

NAMES = "5_o_Clock_Shadow Male Smiling"
ROWS = "000001.jpg -1  1 -1\n000002.jpg -1 -1  1\n000003.jpg  1  1  1\n"
SPLITS = "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n"
PEOPLE = "000001.jpg 12\n000002.jpg 12\n000003.jpg 7\n"


def celeba_set(rows=ROWS, *, folders=("", "", ""), pictures="img_align_celeba"):
    anno, evaluation, img = folders
    return {
        f"{anno}list_attr_celeba.txt": f"3\n{NAMES} \n{rows}",
        f"{evaluation}list_eval_partition.txt": SPLITS,
        f"{anno}identity_CelebA.txt": PEOPLE,
        **{f"{img}{pictures}/00000{n}.jpg": b"" for n in (1, 2, 3)},
    }


def kaggle_set():
    header = "image_id," + NAMES.replace(" ", ",")
    return {
        "list_attr_celeba.csv": header + "\n" + ROWS.replace("  ", " ").replace(" ", ","),
        "list_eval_partition.csv": "image_id,partition\n" + SPLITS.replace(" ", ","),
        **{f"img_align_celeba/img_align_celeba/00000{n}.jpg": b"" for n in (1, 2, 3)},
    }


@pytest.mark.parametrize(
    "files", [celeba_set(), celeba_set(folders=("Anno/", "Eval/", "Img/")), kaggle_set()]
)
def test_attributes_split_and_gender(lay, files):
    dataset = datasets.load("celeba", lay(files))
    table = dataset.faces
    assert dataset.left_out.empty
    assert table["Smiling"].astype(str).tolist() == ["no", "yes", "yes"]
    assert table["_5_o_Clock_Shadow"].astype(str).tolist() == ["no", "no", "yes"]
    assert table["gender"].astype(str).tolist() == ["male", "female", "male"]
    assert table["split"].tolist() == ["train", "validation", "test"]


def test_identities(lay):
    assert datasets.load("celeba", lay(celeba_set())).faces["identity"].tolist() == ["celeba:12"] * 2 + [
        "celeba:7"
    ]
    without = celeba_set()
    del without["identity_CelebA.txt"]
    dataset = datasets.load("celeba", lay(without))
    assert dataset.faces["identity"].isna().all() and "no identities" in set(dataset.notices["reason"])


def test_a_bad_value_costs_its_label_only(lay):
    dataset = datasets.load(
        "celeba", lay(celeba_set(ROWS.replace("000002.jpg -1 -1  1", "000002.jpg -1 7 1")))
    )
    assert len(dataset.faces) == 3 and dataset.faces["Male"].isna().tolist() == [False, True, False]
    assert dataset.faces["Smiling"].notna().all()
    assert dataset.notices["reason"].tolist() == ["bad value in Male"]


def test_rows_that_contradict_cut_rows_and_pictures_without_a_row_are_listed(lay):
    rows = ROWS.replace("000003.jpg  1  1  1\n", "000003.jpg 1 1\n") + "000001.jpg 1 1 1\n"
    dataset = datasets.load("celeba", lay(celeba_set(rows)))
    assert dataset.faces["image"].tolist() == ["img_align_celeba/000002.jpg"]
    assert {"rows contradict", "row malformed", "no row"} <= set(dataset.left_out["reason"])


def test_a_list_without_its_two_first_lines_is_refused(lay):
    files = celeba_set()
    files["list_attr_celeba.txt"] = ROWS
    with pytest.raises(datasets.DatasetError, match="the number of pictures in line 1"):
        datasets.load("celeba", lay(files))


def test_photos_have_boxes(lay):
    files = celeba_set(pictures="img_celeba")
    photo = cv2.imencode(".jpg", np.zeros((120, 100, 3), np.uint8))[1].tobytes()
    files |= {name: photo for name in files if name.endswith(".jpg")}
    files["list_bbox_celeba.txt"] = (
        "3\nimage_id x_1 y_1 width height\n000001.jpg 10 20 60 70\n000002.jpg 5 5 0 0\n000003.jpg 95 72 221 306\n"
    )
    dataset = datasets.load("celeba", lay(files), images="wild")
    assert dataset.faces[["top", "left", "bottom", "right"]].to_numpy().tolist() == [[20, 10, 90, 70]]
    assert dataset.left_out["reason"].tolist() == ["bad box", "bad box"]


def test_png_pictures_are_matched(lay):
    files = celeba_set()
    for n in (1, 2, 3):
        del files[f"img_align_celeba/00000{n}.jpg"]
        files[f"img_align_celeba_png/00000{n}.png"] = b""
    assert len(datasets.load("celeba", lay(files)).faces) == 3


@pytest.mark.parametrize("missing", ["list_eval_partition.txt", "img_align_celeba"])
def test_what_is_missing_is_named(lay, missing):
    files = {name: content for name, content in celeba_set().items() if not name.startswith(missing)}
    with pytest.raises(datasets.DatasetError, match=rf"(?s){missing.split('.')[0]}.*Expected layout"):
        datasets.load("celeba", lay(files))

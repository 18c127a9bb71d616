import cv2
import numpy as np
import pytest

from faceworkbook import datasets, faces
from faceworkbook.datasets import rafdb

STEMS = ("train_00001", "train_00002", "test_0001")
POINTS = "10.5\t20.1\n" * 5


def raf_set(emotions=(5, 4, 1), attributes=((0, 0, 2), (1, 1, 0), (2, 2, 4)), *, above="", images="aligned"):
    ending = "_aligned.jpg" if images == "aligned" else ".jpg"
    lines = [f"{stem}.jpg {code}\n" for stem, code in zip(STEMS, emotions, strict=True)]
    files = {f"{above}EmoLabel/list_patition_label.txt": "".join(lines)}
    for stem, codes in zip(STEMS, attributes, strict=True):
        files[f"{above}Image/{images}/{stem}{ending}"] = b""
        files[f"{above}Annotation/manual/{stem}_manu_attri.txt"] = POINTS + "\n".join(map(str, codes))
    return files


def kaggle_set():
    files = {f"DATASET/train/{n}/train_0000{n}_aligned.jpg": b"" for n in range(1, 8)}
    files |= {f"DATASET/test/{n}/test_000{n}_aligned.jpg": b"" for n in range(1, 8)}
    for split, width in (("train", 5), ("test", 4)):
        rows = "".join(f"{split}_{n:0{width}}_aligned.jpg,{n}\n" for n in range(1, 8))
        files[f"{split}_labels.csv"] = "image,label\n" + rows
    return files


@pytest.mark.parametrize("above", ["", "basic/"])
def test_labels_of_the_set_as_distributed(lay, above):
    table = datasets.load("rafdb", lay(raf_set(above=above))).faces
    assert table["emotion"].astype(str).tolist() == ["sadness", "happiness", "surprise"]
    assert table["gender"].astype(object).where(table["gender"].notna(), None).tolist() == [
        "male",
        "female",
        None,
    ]
    assert table["race"].astype(str).tolist() == ["White", "Black", "Asian"]
    assert table["age_group"].astype(str).tolist() == ["20-39", "0-3", "more than 70"]
    assert tuple(table["age_group"].cat.categories) == rafdb.AGE_GROUPS
    assert table["split"].tolist() == ["train", "train", "test"]


def test_emotions_alone(lay):
    files = {name: text for name, text in raf_set().items() if "manual" not in name}
    dataset = datasets.load("rafdb", lay(files))
    assert len(dataset.faces) == 3 and dataset.faces["gender"].isna().all()
    assert dataset.notices["reason"].tolist() == ["no attributes"]


@pytest.mark.parametrize("bad", [((0, 9, 2), (1, 1, 0), (0, 2, 4)), ((0, "x", 2), (1, 1, 0), (0, 2, 4))])
def test_a_bad_code_costs_its_label_only(lay, bad):
    dataset = datasets.load("rafdb", lay(raf_set(attributes=bad)))
    assert dataset.faces["race"].isna().tolist() == [True, False, False]
    assert dataset.faces["gender"].notna().all() and dataset.notices["reason"].tolist() == [
        "bad value in race"
    ]


def test_an_attribute_file_that_is_not_whole_costs_three_labels(lay):
    files = raf_set()
    files["Annotation/manual/train_00001_manu_attri.txt"] = "10.5\t20.1\n0\n1\n"
    dataset = datasets.load("rafdb", lay(files))
    assert dataset.faces.loc[0, ["gender", "race", "age_group"]].isna().all()
    assert dataset.faces["emotion"].notna().all() and dataset.notices["reason"].tolist() == ["no attributes"]


def test_rows_that_contradict_are_excluded(lay):
    files = raf_set()
    files["EmoLabel/list_patition_label.txt"] += "train_00001.jpg 2\n"
    dataset = datasets.load("rafdb", lay(files))
    assert len(dataset.faces) == 2 and "rows contradict" in set(dataset.left_out["reason"])


def test_originals_have_boxes(lay):
    files = raf_set(images="original")
    photo = cv2.imencode(".jpg", np.zeros((100, 90, 3), np.uint8))[1].tobytes()
    files |= {name: photo for name in files if name.endswith(".jpg")}
    boxes = ("10.5 20 60 80 \n", "200 200 300 300\n", "10 20 60\n")
    for stem, text in zip(STEMS, boxes, strict=True):
        files[f"Annotation/boundingbox/{stem}_boundingbox.txt"] = text
    dataset = datasets.load("rafdb", lay(files), images="original")
    assert dataset.faces[[*faces.BOX]].to_numpy().tolist() == [[20, 10.5, 80, 60]]
    assert sorted(dataset.left_out["reason"]) == ["bad box", "no box"]


def test_folders_one_to_seven(lay):
    dataset = datasets.load("rafdb", lay(kaggle_set()))
    assert len(dataset.faces) == 14 and dataset.left_out.empty
    by_image = dataset.faces.set_index("image")["emotion"].astype(str)
    assert by_image["DATASET/train/1/train_00001_aligned.jpg"] == "surprise"
    assert by_image["DATASET/test/7/test_0007_aligned.jpg"] == "neutral"
    assert dataset.faces["split"].value_counts().to_dict() == {"train": 7, "test": 7}


def test_a_folder_of_no_emotion_costs_the_emotion_and_not_the_face(lay):
    dataset = datasets.load("rafdb", lay(kaggle_set() | {"DATASET/train/8/train_00008_aligned.jpg": b""}))
    unknown = dataset.faces["emotion"].isna()
    assert dataset.faces["image"][unknown].tolist() == ["DATASET/train/8/train_00008_aligned.jpg"]
    assert dataset.left_out.empty and dataset.notices["reason"].tolist() == ["bad value in emotion"]


def test_folders_against_their_tables(lay):
    files = kaggle_set()
    files["train_labels.csv"] = files["train_labels.csv"].replace(
        "00001_aligned.jpg,1", "00001_aligned.jpg,3"
    )
    files["test_labels.csv"] += "test_0099_aligned.jpg,3\n"
    files["DATASET/train/train_00008_aligned.jpg"] = b""
    dataset = datasets.load("rafdb", lay(files))
    assert sorted(dataset.left_out["reason"]) == ["no picture", "not in a class folder", "rows contradict"]
    assert len(dataset.faces) == 13


def test_folders_without_tables(lay):
    files = {name.removeprefix("DATASET/"): b"" for name in kaggle_set() if name.endswith("jpg")}
    assert len(datasets.load("rafdb", lay(files)).faces) == 14


@pytest.mark.parametrize("images", ["aligned", "original"])
def test_another_folder_is_answered_with_the_layout(lay, images):
    with pytest.raises(datasets.DatasetError, match=r"(?s)list_patition_label.*Expected layout"):
        datasets.load("rafdb", lay(["a/b.jpg"]), images=images)


def test_codes_that_a_spreadsheet_wrote_with_decimals_are_the_same_codes(lay):
    files = kaggle_set()
    files["test_labels.csv"] = files["test_labels.csv"].replace("\n", ".0\n").replace("label.0", "label")
    dataset = datasets.load("rafdb", lay(files))
    assert len(dataset.faces) == 14 and dataset.left_out.empty

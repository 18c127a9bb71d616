import csv
from collections import Counter

import pytest

from faceworkbook import datasets, faces

HEADER = "file,age,gender,race,service_test\n"


def fairface_set(train="train/1.jpg,30-39,Male,East Asian,True\n", val="val/1.jpg,3-9,Female,White,False\n"):
    files = {"fairface_label_train.csv": HEADER + train, "fairface_label_val.csv": HEADER + val}
    return files | {"train/1.jpg": b"", "val/1.jpg": b""}


def test_a_row_becomes_a_face(lay):
    table = datasets.load("fairface", lay(fairface_set())).faces
    rows = table[["image", "age_group", "gender", "race", "split", "service_test"]].astype(object)
    assert rows.to_numpy().tolist() == [
        ["train/1.jpg", "30-39", "male", "East Asian", "train", "yes"],
        ["val/1.jpg", "3-9", "female", "White", "validation", "no"],
    ]
    assert tuple(table["race"].cat.categories) == faces.RACES_FAIRFACE


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/1.jpg,30-39,Male,Black\n", "row malformed"),
        ("../1.jpg,30-39,Male,Black,True\n", "path leaves the root"),
    ],
)
def test_a_bad_row_is_listed(lay, line, reason):
    dataset = datasets.load("fairface", lay(fairface_set(train=line)))
    assert dataset.faces["image"].tolist() == ["val/1.jpg"]
    assert reason in set(dataset.left_out["reason"])


@pytest.mark.parametrize(
    ("line", "column", "label"),
    [
        ("train/1.jpg,30-39,Mal,Black,True\n", "gender", "gender"),
        ("train/1.jpg,30-3,Male,Black,True\n", "age", "age_group"),
        ("train/1.jpg,30-39,Male,Blac,True\n", "race", "race"),
    ],
)
def test_a_bad_value_costs_its_label_and_not_the_face(lay, line, column, label):
    dataset = datasets.load("fairface", lay(fairface_set(train=line)))
    face = dataset.faces.set_index("image").loc["train/1.jpg", ["gender", "age_group", "race"]]
    assert face.isna().to_dict() == {name: name == label for name in face.index}
    assert dataset.notices["reason"].tolist() == [f"bad value in {column}"]


def test_a_file_saved_by_a_spreadsheet_is_repaired_where_one_class_is_meant(lay):
    train = "train/1.jpg,Oct-19,MALE,East Asian,TRUE\ntrain/2.jpg,03-Sep,Female,White,\ntrain/3.jpg,09-Mar,Male,Black,FALSE\n"
    dataset = datasets.load(
        "fairface", lay(fairface_set(train=train) | {"train/2.jpg": b"", "train/3.jpg": b""})
    )
    read = dataset.faces.set_index("image")
    assert read["age_group"].to_dict() == {"train/1.jpg": "10-19", "train/2.jpg": "3-9", "val/1.jpg": "3-9"}
    assert read.loc["train/1.jpg", "service_test"] == "yes" and read["service_test"].isna().sum() == 1
    assert (
        dataset.left_out["reason"].tolist() == ["bad value in age"]
        and "09-Mar" in dataset.left_out["detail"][0]
    )
    assert dataset.notices["detail"].tolist() == ["Oct-19 is read as 10-19", "03-Sep is read as 3-9"]


def test_the_last_line_needs_no_end(lay):
    dataset = datasets.load("fairface", lay(fairface_set(train="train/1.jpg,30-39,Male,Black,True")))
    assert len(dataset.faces) == 2 and dataset.faces["service_test"].isna().sum() == 1
    assert dataset.notices["reason"].tolist() == ["last line cut short"]


@pytest.mark.realdata
def test_real_counts_equal_the_files(shared_data):
    root = shared_data("fairface")
    dataset = datasets.load("fairface", root)
    for folder, split, rows in (("train", "train", 4480), ("val", "validation", 1050)):
        with (root / f"fairface_label_{folder}.csv").open(newline="") as file:
            expected = list(csv.DictReader(file))
        mine = dataset.faces[dataset.faces["split"] == split]
        assert len(mine) == len(expected) == rows
        for column, field in (("race", "race"), ("age_group", "age")):
            assert Counter(mine[column]) == Counter(row[field] for row in expected)
        assert Counter(mine["gender"].str.title()) == Counter(row["gender"] for row in expected)
        assert int((mine["service_test"] == "yes").sum()) == sum(
            row["service_test"] == "True" for row in expected
        )
    assert dataset.left_out.empty


def test_another_spelling_of_a_whole_column_is_one_error(lay):
    rows = "".join(f"train/{i}.jpg,30-39,{i % 2},Black,True\n" for i in range(8))
    with pytest.raises(
        datasets.DatasetError, match=r"no value of the column 'gender' is understood.*'0', '1'"
    ):
        datasets.load("fairface", lay(fairface_set(train=rows, val="")))


def test_rows_that_contradict_are_excluded_and_rows_that_agree_count_once(lay):
    train = (
        "train/1.jpg,30-39,Male,Black,True\ntrain/1.jpg,30-39,male,BLACK,False\n"
        "train/2.jpg,30-39,Male,Black,True\ntrain\\2.jpg,30-39,Female,Black,True\n"
    )
    dataset = datasets.load("fairface", lay(fairface_set(train=train) | {"train/2.jpg": b""}))
    assert dataset.faces["image"].tolist() == ["train/1.jpg", "val/1.jpg"]
    assert dataset.left_out["reason"].tolist() == ["rows contradict"] * 2 + ["row repeated"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_of_a_published_table_is_repaired_and_noticed(lay, delimiter):
    files = {
        name: content.replace(",", delimiter) if name.endswith("_train.csv") else content
        for name, content in fairface_set().items()
    }
    dataset = datasets.load("fairface", lay(files))
    assert dataset.faces["gender"].tolist() == ["male", "female"] and dataset.left_out.empty
    assert dataset.notices[["image", "reason"]].to_numpy().tolist() == [
        ["fairface_label_train.csv", "delimiter repaired"]
    ]

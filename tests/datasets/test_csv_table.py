from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets, faces
from faceworkbook.datasets.base import numbers

PICTURES = ["a/1.jpg", "a/2.jpg", "a/3.png"]


def table_set(text, pictures=PICTURES, name="faces.csv"):
    return {name: text} | dict.fromkeys(pictures, b"")


def reasons(dataset):
    return dict(Counter(reason for reason in dataset.left_out["reason"] if reason != "no row"))


def test_columns_of_the_face_tables_names_need_no_option(lay):
    text = (
        "image,gender,age,identity,split,yaw,votes_fear,extra_note\na/1.jpg,female,31.5,p1,train,-3,2,hat\n"
    )
    face = datasets.load("csv", lay(table_set(text))).faces.iloc[0]
    assert (face["gender"], face["age"], face["identity"], face["split"], face["yaw"]) == (
        "female",
        31.5,
        "p1",
        "train",
        -3,
    )
    assert face["votes_fear"] == 2 and face["extra_note"] == "hat"


def test_other_headers_and_codes_are_options(lay):
    root = lay(table_set("file;Sex\na/1.jpg;0\n.\\a\\2.jpg;1\n", name="x.csv"))
    dataset = datasets.load(
        "csv",
        root,
        table="x.csv",
        delimiter=";",
        columns=["image=file", "gender=Sex"],
        values=["gender:0=male", "gender:1=female"],
    )
    assert dataset.faces[["image", "gender"]].to_numpy().tolist() == [
        ["a/1.jpg", "male"],
        ["a/2.jpg", "female"],
    ]


def test_boxes_make_several_faces_of_a_picture(lay):
    text = "image,top,left,bottom,right\na/1.jpg,1,2,3,4\na/1.jpg,1,2.5,3,4\na/2.jpg,,,,\n"
    dataset = datasets.load("csv", lay(table_set(text)))
    assert dataset.faces["face_id"].tolist() == [
        "csv:a/1.jpg#1_2_3_4",
        "csv:a/1.jpg#1_2.5_3_4",
        "csv:a/2.jpg",
    ]


def test_the_vocabulary_that_fits_best_is_taken(lay):
    dataset = datasets.load(
        "csv", lay(table_set("image,race\na/1.jpg,East Asian\na/2.jpg,Middle Eastern\na/3.png,Asian\n"))
    )
    assert tuple(dataset.faces["race"].cat.categories) == faces.RACES_FAIRFACE
    assert reasons(dataset) == {"bad value in race": 1}
    free = datasets.load("csv", dataset.root, free=["race"])
    assert tuple(free.faces["race"].cat.categories) == ("Asian", "East Asian", "Middle Eastern")


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        ("image,gender", "a/1.jpg,femal", "bad value in gender"),
        ("image,age", "a/1.jpg,131", "bad value in age"),
        ("image,age", "a/1.jpg,-1", "bad value in age"),
        ("image,age", "a/1.jpg,inf", "bad value in age"),
        ("image,age", "a/1.jpg,0x10", "bad value in age"),
        ("image,fold", "a/1.jpg,1.5", "bad value in fold"),
        ("image,split", "a/1.jpg,valid", "bad value in split"),
        ("image,gender", ",female", "no picture named"),
        ("image,gender", "a/9.jpg,female", "no picture"),
        ("image,gender", "/etc/a.jpg,female", "path leaves the root"),
        ("image,gender", "a/../../1.jpg,female", "path leaves the root"),
        ("image,gender", "a/1.jpg,female,x", "row malformed"),
        ("image,top,left,bottom,right", "a/1.jpg,1,2,3,", "bad box"),
        ("image,top,left,bottom,right", "a/1.jpg,3,2,1,4", "bad box"),
    ],
)
def test_a_bad_row_is_listed_and_the_others_stay(lay, header, row, reason):
    good = "a/2.jpg" + "," * header.count(",")
    dataset = datasets.load("csv", lay(table_set(f"{header}\n{row}\n{good}\n")))
    assert dataset.faces["image"].tolist() == ["a/2.jpg"]
    assert reasons(dataset) == {reason: 1}


def test_unknown_stays_unknown(lay):
    text = "image,gender,age\na/1.jpg,,\na/2.jpg,NA,nan\na/3.png,None,NaN\n"
    dataset = datasets.load("csv", lay(table_set(text)))
    assert (
        dataset.faces["gender"].isna().all() and dataset.faces["age"].isna().all() and len(dataset.faces) == 3
    )


def test_pictures_that_no_row_names_are_listed(lay):
    dataset = datasets.load("csv", lay(table_set("image\na/2.jpg\n")))
    assert dataset.left_out[["image", "reason"]].to_numpy().tolist() == [
        ["a/1.jpg", "no row"],
        ["a/3.png", "no row"],
    ]


def test_columns_not_read_are_noticed(lay):
    dataset = datasets.load("csv", lay(table_set("image,big smile\na/1.jpg,1\n")))
    assert dataset.notices["reason"].tolist() == ["column not read"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("picture\na/1.jpg\n", {}, "lacks the columns"),
        ("image,gender,gender\na/1.jpg,male,male\n", {}, "stand twice"),
        ("image\na/1.jpg\n", {"columns": ["my sex=Sex"]}, "columns: 'my sex=Sex'"),
        ("image\na/1.jpg\n", {"values": ["gender:0=male"]}, "values: 'gender:0=male'"),
        ("image\na/1.jpg\n", {"free": ["gender", "age"]}, None),
        ("image,gender\na/1.jpg,x\n", {"free": ["age"]}, "no label columns"),
        ("image,top\na/1.jpg,1\n", {}, "box columns"),
        ("image\na/1.jpg\n", {"delimiter": ""}, "one character"),
        (b"image\n\xff\xfe\n", {}, "not a text file"),
        ("", {}, "lacks the columns"),
    ],
)
def test_a_wrong_file_or_option_is_one_clear_error(lay, text, options, message):
    root = lay(table_set(text))
    if message is None:
        assert len(datasets.load("csv", root, **options).faces) == 1
        return
    with pytest.raises(datasets.DatasetError, match=message):
        datasets.load("csv", root, **options)


def test_a_missing_table_shows_the_layout(lay):
    with pytest.raises(
        datasets.DatasetError, match=r"(?s)missing: faces\.csv.*Expected layout.*There is: a/"
    ):
        datasets.load("csv", lay(PICTURES))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_plain_number_is_read_back(value):
    import pandas as pd

    assert numbers(pd.Series([repr(value)]))[0] == value


@given(st.text(max_size=8))
def test_other_texts_are_no_numbers(text):
    import pandas as pd

    parsed = numbers(pd.Series([text]))[0]
    assert pd.isna(parsed) or parsed == float(text)

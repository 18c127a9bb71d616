from collections import Counter

import pytest

from faceworkbook import datasets, faces

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
    assert face["votes_fear"] == 2 and face["note"] == "hat"


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
    assert (
        dataset.notices["reason"].tolist() == ["bad value in race"]
        and dataset.faces["race"].isna().sum() == 1
    )
    free = datasets.load("csv", dataset.root, free=["race"])
    assert tuple(free.faces["race"].cat.categories) == ("Asian", "East Asian", "Middle Eastern")


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
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


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("gender", "female", "femal"),
        ("age", "31", "131"),
        ("age", "31", "-1"),
        ("age", "31", "inf"),
        ("age", "31", "0x10"),
        ("fold", "1", "1.5"),
        ("split", "train", "trains"),
        ("yaw", "-1", "360"),
        ("emotion", "happy", "-2"),
    ],
)
def test_a_bad_value_costs_its_label_and_not_the_face(lay, column, good, bad):
    text = f"image,{column},race\na/1.jpg,{bad},Asian\na/2.jpg,{good},Asian\n"
    dataset = datasets.load("csv", lay(table_set(text)))
    assert dataset.faces[column].isna().tolist() == [True, False]
    assert dataset.faces["race"].tolist() == ["Asian"] * 2 and not reasons(dataset)
    assert dataset.notices["reason"].tolist() == [f"bad value in {column}"]
    assert bad in dataset.notices["detail"][0] and "line 2" in dataset.notices["detail"][0]


@pytest.mark.parametrize(
    ("column", "written", "read"),
    [
        ("gender", "M", "male"),
        ("gender", " FEMALE", "female"),
        ("gender", "Woman", "female"),
        ("emotion", "Happy", "happiness"),
        ("emotion", "angry", "anger"),
        ("emotion", "Surprised", "surprise"),
        ("race", "east_asian", "East Asian"),
        ("race", "Latino Hispanic", "Latino_Hispanic"),
        ("age_group", "(25, 32)", "25-32"),
        ("age_group", "25\u201332", "25-32"),
        ("split", "Training", "train"),
        ("split", "val", "validation"),
        ("split", "dev", "validation"),
    ],
)
def test_words_are_read_in_any_spelling(lay, column, written, read):
    dataset = datasets.load("csv", lay(table_set(f'image,{column}\na/1.jpg,"{written}"\n')))
    assert dataset.faces[column].tolist() == [read]


@pytest.mark.parametrize(
    "missing", ["N/A", "null", "NULL", "#N/A", "-nan", "Unknown", "n.a.", "NaT", "unk", "-1", "?", "", " "]
)
def test_every_word_for_missing_is_unknown(lay, missing):
    text = f"image,gender,identity,glasses,age\na/1.jpg,{missing},{missing},{missing},30\na/2.jpg,male,p1,round,30\n"
    dataset = datasets.load("csv", lay(table_set(text)))
    assert dataset.faces.loc[0, ["gender", "identity", "glasses"]].isna().all()
    assert dataset.notices.empty


def test_a_spelling_that_is_refused_as_a_whole_is_one_error_with_the_option(lay):
    root = lay(table_set("image,gender\na/1.jpg,0\na/2.jpg,1\n"))
    with pytest.raises(
        datasets.DatasetError,
        match=r"""-p 'options=\["values: \[gender:0=CLASS, gender:1=CLASS\]"\]'.*options=\["free: \[gender\]"\]""",
    ):
        datasets.load("csv", root)
    coded = datasets.load("csv", root, values=["gender:0=male", "gender:1=female"])
    assert coded.faces["gender"].tolist() == ["male", "female"]


def test_codes_written_as_decimals_are_the_same_codes(lay):
    root = lay(table_set("image,gender\na/1.jpg,0.0\na/2.jpg,1\n"))
    coded = datasets.load("csv", root, values=["gender:0=male", "gender:1=female"])
    assert coded.faces["gender"].tolist() == ["male", "female"]


def test_further_columns_become_labels_of_ones_own(lay):
    text = (
        "image,Smiling,glasses,score,emotion_code,hair colour\n"
        "a/1.jpg,yes,None,1.5,1,brown\na/2.jpg,no,round,,2.0,Brown \na/3.png,Yes,round,3,1,black\n"
    )
    dataset = datasets.load("csv", lay(table_set(text)), classes=["emotion_code"])
    table = dataset.faces
    assert faces.label_columns(table) == ["Smiling", "glasses", "score", "emotion_code", "hair_colour"]
    assert table["Smiling"].tolist() == ["yes", "no", "yes"] and table["Smiling"].cat.categories.tolist() == [
        "no",
        "yes",
    ]
    assert table["glasses"].isna().tolist() == [True, False, False]
    assert table["score"].fillna(-1).tolist() == [1.5, -1, 3]
    assert table["emotion_code"].tolist() == ["1", "2", "1"]
    assert table["hair_colour"].tolist() == ["Brown", "Brown", "black"]
    assert dataset.notices["reason"].tolist() == ["column renamed", "none is unknown", "spellings joined"]


def test_several_yes_no_columns_of_ones_own(lay):
    text = "image,Smiling,Hat\na/1.jpg,-1,1\na/2.jpg,1,0\na/3.png,1,7\n"
    root = lay(table_set(text))
    dataset = datasets.load("csv", root, yes_no=["Smiling", "Hat"])
    assert dataset.faces["Smiling"].tolist() == ["no", "yes", "yes"]
    assert dataset.faces["Hat"].astype(object).where(dataset.faces["Hat"].notna(), None).tolist() == [
        "yes",
        "no",
        None,
    ]
    assert dataset.notices["reason"].tolist() == ["bad value in Hat"]
    assert faces.label_kind(datasets.load("csv", root).faces, "Smiling") == "number"


def test_rows_that_contradict_each_other_are_excluded(lay):
    text = "image,gender\na/1.jpg,male\na/1.jpg,F\na/2.jpg,male\na/2.jpg,Male\na/3.png,male\n"
    dataset = datasets.load("csv", lay(table_set(text)))
    assert dataset.faces["image"].tolist() == ["a/2.jpg", "a/3.png"]
    assert reasons(dataset) == {"rows contradict": 2, "row repeated": 1}


def test_paths_are_located_below_the_root(lay, tmp_path):
    pictures = ["p/0.jpg", "p/1.jpg", "p/Jose\u0301.jpg", "other/2.jpg"]
    text = "image\n/home/her/set/p/0.jpg\np/1.JPG\np/Jos\u00e9.jpg\n2.jpg\n"
    dataset = datasets.load("csv", lay(table_set(text, pictures)))
    assert dataset.faces["image"].tolist() == pictures[:3]
    assert dataset.notices["reason"].tolist() == ["path repaired"] * 3
    lost = dataset.left_out[dataset.left_out["reason"] == "no picture"]
    assert "other/2.jpg has the same name" in lost["detail"].iloc[0]


def test_a_foreign_folder_is_dropped_from_all_paths_or_from_none(lay):
    pictures = ["1.jpg", "anna/1.jpg", "anna/2.jpg", "anna/3.jpg"]
    text = "image\n/x/anna/1.jpg\n/x/anna/2.jpg\n/y/z/1.jpg\n"
    dataset = datasets.load("csv", lay(table_set(text, pictures)))
    assert dataset.faces["image"].tolist() == ["anna/1.jpg", "anna/2.jpg"]
    assert reasons(dataset) == {"path leaves the root": 1}


def test_boxes_in_shares_are_refused_or_read_by_option(lay):
    import cv2
    import numpy as np

    picture = cv2.imencode(".jpg", np.zeros((40, 80, 3), np.uint8))[1].tobytes()
    text = "image,top,left,bottom,right\na.jpg,0.25,0.25,0.75,0.5\n"
    root = lay({"faces.csv": text, "a.jpg": picture})
    with pytest.raises(datasets.DatasetError, match="boxes='shares'"):
        datasets.load("csv", root)
    box = datasets.load("csv", root, boxes="shares").faces.iloc[0][[*faces.BOX]]
    assert box.tolist() == [10, 20, 30, 40]
    mixed = datasets.load(
        "csv", lay({"faces.csv": text + "b.jpg,1,2,30,40\n", "a.jpg": picture, "b.jpg": picture})
    )
    assert mixed.faces["image"].tolist() == ["b.jpg"] and "bad box" in reasons(mixed)


def test_one_stray_quote_is_named_with_its_line(lay):
    text = 'image,note\na/1.jpg,"six, foot"\na/2.jpg,"6 foot\na/3.png,x\n'
    with pytest.raises(datasets.DatasetError, match=r"line 3: a quote is opened that is not closed"):
        datasets.load("csv", lay(table_set(text)))


def test_rare_line_breaks_inside_a_field_break_no_line(lay):
    text = '\ufeffimage,note\r\na/1.jpg,"two\r\nlines"\r\na/2.jpg,one\u2028two\x0bthree\r\na/3.png,x\r\n'
    dataset = datasets.load("csv", lay(table_set(text)))
    assert len(dataset.faces) == 3 and not reasons(dataset)


@pytest.mark.parametrize(
    ("last", "column", "value"),
    [("male", "gender", "male"), ("3", "age", None), ("ma", "gender", None), ("", "age", None)],
)
def test_a_last_line_without_an_end_keeps_its_face_and_loses_a_value_that_may_be_cut(
    lay, last, column, value
):
    text = f"image,{column}\na/1.jpg,{'male' if column == 'gender' else 31}\na/2.jpg,{last}"
    dataset = datasets.load("csv", lay(table_set(text)))
    assert len(dataset.faces) == 2
    held = dataset.faces[column].astype(object)
    assert held.where(held.notna(), None)[1] == value
    assert dataset.notices["reason"].tolist() == ([] if value else ["last line cut short"])


def test_a_last_line_that_ends_in_its_picture_is_whole(lay):
    dataset = datasets.load("csv", lay(table_set("age,image\n31,a/1.jpg\n32,a/2.jpg")))
    assert dataset.faces["age"].tolist() == [31, 32] and dataset.notices.empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image;gender\na/1.jpg;male\n", r"""it looks delimited by ';'.*-p 'options=\["delimiter: ;"\]'"""),
        ("image,gender\n".encode("utf-16"), "a header and no rows"),
    ],
)
def test_another_delimiter_or_encoding_is_named(lay, text, message):
    with pytest.raises(datasets.DatasetError, match=message):
        datasets.load("csv", lay(table_set(text)))


def test_a_decimal_comma_is_read_between_semicolons(lay):
    dataset = datasets.load("csv", lay(table_set("image;age\na/1.jpg;31,5\n")), delimiter=";")
    assert dataset.faces["age"].tolist() == [31.5]


def test_title_source_and_terms_are_the_users(lay):
    info = datasets.load("csv", lay(table_set("image\na/1.jpg\n")), title="My faces", terms="CC0").info
    assert (info.title, info.terms, info.source) == ("My faces", "CC0", "your own table")


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
    dataset = datasets.load("csv", lay(table_set(",image,big smile\n0,a/1.jpg,1\n")))
    assert dataset.notices["reason"].tolist() == ["column not read", "column renamed"]
    assert dataset.faces["big_smile"].tolist() == [1]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("picture\na/1.jpg\n", {}, "lacks the columns"),
        ("image,gender,gender\na/1.jpg,male,male\n", {}, "stand twice"),
        ("image\na/1.jpg\n", {"columns": ["my sex=Sex"]}, "columns: 'my sex=Sex'"),
        ("image\na/1.jpg\n", {"values": ["gender:0=male"]}, "values: 'gender:0=male'"),
        ("image\na/1.jpg\n", {"free": ["gender"]}, None),
        ("image,gender\na/1.jpg,x\n", {"free": ["age"]}, "no columns that it can name"),
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


def test_people_in_other_spellings_are_one_person(lay):
    names = ["a/1.jpg", "a/2.jpg", "a/3.png", *(f"b/{i}.jpg" for i in range(6))]
    people = ["012", "12", "12.0", "Anna", "anna ", "\uff11\uff12", "1.23E+05", "unknown", "0120"]
    text = "image,identity\n" + "".join(f"{image},{who}\n" for image, who in zip(names, people, strict=True))
    dataset = datasets.load("csv", lay(table_set(text, names)))
    read = dataset.faces["identity"].astype(object).where(dataset.faces["identity"].notna(), None)
    assert read.tolist() == ["012", "012", "012", "Anna", "Anna", "012", "1.23E+05", None, "0120"]
    assert dataset.notices["reason"].tolist() == ["spellings joined"] * 2 + ["identity shortened"]


def test_rows_of_one_face_fill_each_other_and_remarks_do_not_contradict(lay):
    text = (
        "no,image,gender,age,note\n1,a/1.jpg,male,,good\n2,a/1.jpg,M,31,bad\n"
        "3,a/2.jpg,male,31,x\n4,a/2.jpg,male,32,y\n5,a/3.png,male,3,z\n"
    )
    dataset = datasets.load("csv", lay(table_set(text)))
    assert dataset.faces[["image", "gender", "age"]].to_numpy().tolist() == [
        ["a/1.jpg", "male", 31],
        ["a/3.png", "male", 3],
    ]
    assert reasons(dataset) == {"rows contradict": 2, "row repeated": 1}


def test_two_names_of_one_face_contradict(lay):
    text = "face_id,image,gender\nx,a/1.jpg,male\ny,a/1.jpg,female\nz,a/2.jpg,male\nz,a/3.png,male\n"
    dataset = datasets.load("csv", lay(table_set(text)))
    assert dataset.faces.empty and reasons(dataset) == {"rows contradict": 4}


@pytest.mark.parametrize(
    ("written", "picture"),
    [
        ("a\\1.jpg", "a/1.jpg"),
        ("C:\\data\\a\\1.jpg", "a/1.jpg"),
        ("file:///home/her/a/1.jpg", "a/1.jpg"),
        ("./a/./1.jpg", "a/1.jpg"),
        ("a/b/../1.jpg", "a/1.jpg"),
        ("A/1.JPG", "a/1.jpg"),
        ("a/1.jpeg", "a/1.jpg"),
        ("a/1", "a/1.jpg"),
        ("a/with%20blank.jpg", "a/with blank.jpg"),
        ("a/3.gif", None),
    ],
)
def test_a_path_in_another_spelling_leads_to_its_picture(lay, written, picture):
    pictures = ["a/1.jpg", "a/with blank.jpg", "a/3.png", "a/3.jpg"]
    dataset = datasets.load("csv", lay(table_set(f"image\n{written}\n", pictures)))
    assert dataset.faces["image"].tolist() == ([picture] if picture else [])


def test_a_folder_that_all_paths_lack_is_put_in_front(lay):
    pictures = [f"img/all/{i}.jpg" for i in range(3)] + ["logo/0.jpg"]
    dataset = datasets.load("csv", lay(table_set("image\n0.jpg\n1.jpg\n2.jpg\n", pictures)))
    assert dataset.faces["image"].tolist() == pictures[:3]


def test_an_extension_is_not_changed_to_a_picture_that_another_row_names(lay):
    dataset = datasets.load("csv", lay(table_set("image,age\na/1.jpg,3\na/1.png,4\n")))
    assert dataset.faces["age"].tolist() == [3] and reasons(dataset) == {"no picture": 1}


def test_ranges_that_a_spreadsheet_made_dates_are_ranges_again(lay):
    text = "image,{}\na/1.jpg,3-9\na/2.jpg,03-Sep\na/3.png,Oct-19\n"
    for column, options in (("age_group", {}), ("age_group", {"free": ["age_group"]}), ("weight", {})):
        dataset = datasets.load("csv", lay(table_set(text.format(column))), **options)
        assert dataset.faces[column].tolist() == ["3-9", "3-9", "10-19"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,age\na/1.jpg,25-32\na/2.jpg,0-2\n", r"columns: \[age_group=age\]"),
        ("image,yaw\na/1.jpg,left\n", r"columns: \[my_yaw=yaw\]"),
        ('image,emotion\na/1.jpg,"a, b"\n', r'values: \[\\"emotion:a, b=CLASS\\"\]'),
        ("file,gender\na/1.jpg,male\na/2.jpg,male\n", r"columns: \[image=file\]"),
        ("image,gender\n", "a header and no rows"),
    ],
)
def test_a_table_that_is_refused_as_a_whole_says_what_to_type(lay, text, message):
    with pytest.raises(datasets.DatasetError, match=message):
        datasets.load("csv", lay(table_set(text)))


def test_an_option_for_a_value_that_no_cell_holds_is_noticed(lay):
    root = lay(table_set("image,gender\na/1.jpg,0\n"))
    dataset = datasets.load("csv", root, values=["gender:0=male", "gender:2=female"])
    assert dataset.notices["reason"].tolist() == ["value not there"]


def test_none_is_a_class_where_it_is_given_a_meaning(lay):
    root = lay(table_set("image,glasses\na/1.jpg,none\na/2.jpg,round\na/3.png,round\n"))
    assert datasets.load("csv", root).notices["reason"].tolist() == ["none is unknown"]
    named = datasets.load("csv", root, values=["glasses:none=without"])
    assert named.faces["glasses"].tolist() == ["without", "round", "round"] and named.notices.empty


def test_a_class_that_values_means_must_be_one(lay):
    root = lay({"faces.csv": "image,gender\na.jpg,0\nb.jpg,1\n", "a.jpg": "", "b.jpg": ""})
    with pytest.raises(
        datasets.DatasetError, match=r"gender:0=mail.*allowed are \['male', 'female'\]. Did you mean 'male'"
    ):
        datasets.load("csv", root, values=["gender:0=mail", "gender:1=female"])
    read = datasets.load("csv", root, values=["gender:0=Man", "gender:1=unknown"]).faces
    assert read["gender"].tolist()[:1] == ["male"] and read["gender"].isna().tolist() == [False, True]
    own = datasets.load("csv", root, values=["gender:0=mail", "gender:1=femail"], free=["gender"]).faces
    assert own["gender"].tolist() == ["mail", "femail"]


def test_a_fold_of_minus_one_is_no_fold(lay):
    root = lay({"faces.csv": "image,fold,smile\na.jpg,-1,y\nb.jpg,1,n\n", "a.jpg": "", "b.jpg": ""})
    dataset = datasets.load("csv", root)
    assert dataset.faces["fold"].isna().tolist() == [True, False]
    assert dataset.notices["reason"].tolist() == ["bad value in fold"]


def test_a_column_named_dataset_is_passed_over_without_a_word(lay):
    root = lay({"faces.csv": "image,dataset,gender\na.jpg,x,male\n", "a.jpg": ""})
    assert datasets.load("csv", root).notices.empty


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html>\n<html>login</html>\n", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git lfs pull"),
        (b"PK\x03\x04\x14\x00\x06\x00", "xlsx"),
        (b"\x1f\x8b\x08\x00", "gzip"),
    ],
)
def test_a_table_that_is_another_file_is_named(lay, content, kind):
    with pytest.raises(datasets.DatasetError, match=kind):
        datasets.load("csv", lay({"faces.csv": content}))

import pytest

from faceworkbook import datasets

TABLE = "image,gender,age,race\na.jpg,male,30,White\nb.jpg,female,40,Black\nc.jpg,,50,Asian\n"


@pytest.fixture
def root(lay):
    return lay({"faces.csv": TABLE, "a.jpg": b"", "b.jpg": b"", "c.jpg": b""})


def corrected(root, text):
    path = root / "corrections.csv"
    path.write_text(text)
    return datasets.load("csv", root, corrections=path)


def test_corrections_are_applied_and_listed(root):
    dataset = corrected(
        root,
        "face_id,column,value,was,suggested\n"
        "csv:a.jpg,gender,female,male,female\n"
        "csv:b.jpg,age,41.5,40,\n"
        "csv:b.jpg,race,NA,,\n"
        "csv:c.jpg,gender,male,NA,\n"
        "csv:c.jpg,race,,Asian,White\n",
    )
    assert dataset.faces["gender"].tolist() == ["female", "female", "male"]
    assert dataset.faces["age"].tolist() == [30, 41.5, 50]
    assert dataset.faces["race"].isna().tolist() == [False, True, False]
    assert dataset.faces["race"].tolist()[2] == "Asian"
    listed = dataset.notices[dataset.notices["reason"] == "label corrected"]
    assert listed["detail"].tolist() == [
        "csv:a.jpg: gender male -> female",
        "csv:b.jpg: age 40.0 -> 41.5",
        "csv:b.jpg: race Black -> NA",
        "csv:c.jpg: gender NA -> male",
    ]


def test_a_face_can_be_left_out(root):
    dataset = corrected(root, "face_id,column,value\ncsv:b.jpg,leave_out,no face\ncsv:c.jpg,gender,male\n")
    assert dataset.faces["image"].tolist() == ["a.jpg", "c.jpg"]
    assert dataset.faces["gender"].tolist() == ["male", "male"]
    assert dataset.left_out[["image", "reason", "detail"]].to_numpy().tolist() == [
        ["b.jpg", "left out by correction", "no face"]
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("csv:x.jpg,gender,male,", "no face 'csv:x.jpg'"),
        ("csv:a.jpg,gender,elf,", r"gender 'elf'; allowed are \['male', 'female'\]"),
        ("csv:a.jpg,sex,male,", "column 'sex'; allowed are"),
        ("csv:a.jpg,age,300,", "number in 0..130"),
        ("csv:a.jpg,age,old,", "number in 0..130"),
        ("csv:a.jpg,gender,female,NA", "gender was 'NA' in the file, 'male' in the set"),
        ("csv:a.jpg,gender,male,\ncsv:a.jpg,gender,female,", "two values"),
        ("csv:a.jpg,gender", "expected 4"),
        ("csv:a.jpg,image,../x.jpg,", "column 'image'"),
    ],
)
def test_a_correction_that_does_not_fit_is_an_error(root, row, message):
    with pytest.raises(datasets.DatasetError, match=message):
        corrected(root, f"face_id,column,value,was\n{row}\n")


def statuses(dataset):
    return dataset.corrections.set_index("line")["status"].to_dict()


def test_every_row_of_the_file_is_listed_with_what_became_of_it(root):
    dataset = corrected(
        root,
        "face_id,column,value,was,suggested,decision\n"
        "csv:a.jpg,gender,Woman,M,female,\n"
        "csv:a.jpg,race,,White,Black,accept\n"
        "csv:b.jpg,gender,,female,male,keep\n"
        "csv:b.jpg,race,,Black,White,undecided\n"
        "csv:b.jpg,age,33,39,,change\n"
        "csv:c.jpg,,,,,unusable\n"
        "csv:x.jpg,gender,male,female,,\n"
        "csv:a.jpg,age,30.0,,,\n",
    )
    assert statuses(dataset) == {
        2: "corrected",
        3: "corrected",
        4: "confirmed",
        5: "undecided",
        6: "not applied",
        7: "left out",
        8: "not applied",
        9: "confirmed",
    }
    assert dataset.faces["gender"].tolist() == ["female", "female"]
    assert dataset.faces["race"].tolist() == ["Black", "Black"]
    assert dataset.faces["age"].tolist() == [30, 40]
    assert "2 of 8 corrections were not applied" in " ".join(dataset.warnings)
    listed = dataset.notices["reason"].value_counts()
    assert listed.to_dict() == {"label corrected": 2, "correction not applied": 2}
    assert dataset.left_out["detail"].tolist() == ["unusable"]


def test_other_names_of_the_columns_and_semicolons_are_read(root):
    dataset = corrected(root, "face_id;label;old;new;decision\ncsv:a.jpg;gender;male;female;change\n")
    assert dataset.faces["gender"].tolist()[0] == "female"


def test_a_face_that_is_unusable_for_several_labels_leaves_once(root):
    dataset = corrected(
        root,
        "face_id,column,value,was,decision\n"
        "csv:a.jpg,gender,,male,unusable\n"
        "csv:a.jpg,race,,White,unusable\n",
    )
    assert dataset.faces["image"].tolist() == ["b.jpg", "c.jpg"] and len(dataset.left_out) == 1
    assert statuses(dataset) == {2: "left out", 3: "left out"}


def test_words_are_read_as_everywhere_else(lay):
    table = "image,gender,smile,person,age\na.jpg,male,yes,12,30\nb.jpg,female,no,13,40\n"
    root = lay({"faces.csv": table, "a.jpg": b"", "b.jpg": b""})
    path = root / "corrections.csv"
    rows = "csv:a.jpg\tgender\tunknown\ncsv:b.jpg\tsmile\t1\ncsv:b.jpg\tage\tn/a\n"
    path.write_text("Face ID\tLabel\tValue\n" + rows, encoding="utf-16")
    faces = datasets.load("csv", root, corrections=path).faces
    assert faces["gender"].isna().tolist() == [True, False] and faces["age"].isna().tolist() == [False, True]
    assert faces["smile"].tolist() == ["yes", "yes"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("csv:a.jpg,gender,,,keep\ncsv:a.jpg,gender,female,,change", "two values"),
        ("csv:a.jpg,gender,,,perhaps", "decision 'perhaps'; allowed are"),
        ("csv:a.jpg,gender,,,change", "and no value"),
        ("csv:a.jpg,gender,,,accept", "and no value"),
    ],
)
def test_a_decision_that_says_nothing_is_an_error(root, row, message):
    with pytest.raises(datasets.DatasetError, match=message):
        corrected(root, f"face_id,column,value,was,decision\n{row}\n")


def test_a_file_of_which_no_row_fits_is_of_another_set(root):
    with pytest.raises(datasets.DatasetError, match="nothing was applied"):
        corrected(root, "face_id,column,value\nmine:a.jpg,gender,male\nmine:b.jpg,gender,male\n")


def test_an_age_group_that_a_spreadsheet_took_for_a_date_is_read(lay):
    header = "file,age,gender,race,service_test\n"
    root = lay(
        {
            "fairface_label_train.csv": header + "train/1.jpg,3-9,Male,White,True\n",
            "fairface_label_val.csv": header + "val/1.jpg,20-29,Male,White,True\n",
            "train/1.jpg": b"",
            "val/1.jpg": b"",
        }
    )
    path = root / "c.csv"
    path.write_text("face_id,column,value,was\nfairface:train/1.jpg,age_group,Oct-19,03-Sep\n")
    dataset = datasets.load("fairface", root, corrections=path)
    assert dataset.faces["age_group"].tolist()[0] == "10-19"


def test_a_missing_file_is_an_error(root):
    with pytest.raises(datasets.DatasetError, match="cannot be opened"):
        datasets.load("csv", root, corrections=root / "none.csv")


def test_the_labels_of_a_set_are_corrected_whatever_its_reader(lay):
    root = lay(["20_0_0_20170116174525999.jpg", "30_1_2_20170116174525999.jpg"])
    (root.parent / "c.csv").write_text(
        "face_id,column,value\nutkface:20_0_0_20170116174525999.jpg,race,Indian\n"
    )
    dataset = datasets.load("utkface", root, corrections=str(root.parent / "c.csv"))
    assert dataset.faces["race"].tolist() == ["Indian", "Asian"]

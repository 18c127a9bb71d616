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
        "csv:c.jpg: gender NA -> male",
        "csv:b.jpg: age 40.0 -> 41.5",
        "csv:b.jpg: race Black -> NA",
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
        ("csv:a.jpg,gender,man,", r"gender 'man'; allowed are \['male', 'female'\]"),
        ("csv:a.jpg,sex,male,", "column 'sex'; allowed are"),
        ("csv:a.jpg,age,300,", "number in 0..130"),
        ("csv:a.jpg,age,old,", "number in 0..130"),
        ("csv:a.jpg,gender,male,female", "gender was male, not 'female'"),
        ("csv:a.jpg,gender,male,\ncsv:a.jpg,gender,female,", "two values"),
        ("csv:a.jpg,gender", "expected 4"),
        ("csv:a.jpg,image,../x.jpg,", "column 'image'"),
    ],
)
def test_a_correction_that_does_not_fit_is_an_error(root, row, message):
    with pytest.raises(datasets.DatasetError, match=message):
        corrected(root, f"face_id,column,value,was\n{row}\n")


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

import pytest

from faceworkbook import datasets

WEBFACE = ["0000045/001.jpg", "0000045/002.jpg", "0000099/001.jpg"]


def test_a_folder_is_a_person(lay):
    dataset = datasets.load("identity_folder", lay(WEBFACE))
    assert dataset.faces["identity"].tolist() == ["0000045", "0000045", "0000099"]
    assert dataset.left_out.empty and dataset.faces["split"].isna().all()


@pytest.mark.parametrize("above", ["CASIA-WebFace/", "a/b/"])
def test_folders_above_are_passed_through(lay, above):
    table = datasets.load("identity_folder", lay([above + name for name in WEBFACE])).faces
    assert table["identity"].tolist() == ["0000045", "0000045", "0000099"]


def test_folders_of_splits(lay):
    files = ["train/n000002/0001_01.jpg", "train/n000003/0001_01.jpg", "test/n000001/0001_01.jpg"]
    table = datasets.load("identity_folder", lay(files)).faces.set_index("image")
    assert table["identity"].tolist() == ["n000001", "n000002", "n000003"]
    assert table["split"].tolist() == ["test", "train", "train"]


def test_labels_of_people(lay):
    meta = "Class_ID, Name, Sample_Num, Flag, Gender\n0000045, A B, 2, 1, m\n0000099, C D, 1, 0, f\n"
    files = dict.fromkeys(WEBFACE, b"") | {"identity_meta.csv": meta}
    dataset = datasets.load("identity_folder", lay(files), people="identity_meta.csv")
    assert dataset.faces["gender"].astype(str).tolist() == ["male", "male", "female"]
    assert dataset.left_out.empty


def test_people_without_a_row_and_bad_values_are_noticed(lay):
    people = "folder,gender,beard\n0000045,x,yes\n0000045,x,yes\n0000077,male,no\n"
    dataset = datasets.load(
        "identity_folder", lay(dict.fromkeys(WEBFACE, b"") | {"p.csv": people}), people="p.csv"
    )
    assert dataset.faces["gender"].isna().all() and dataset.faces["beard"].notna().tolist() == [
        True,
        True,
        False,
    ]
    assert set(dataset.notices["reason"]) == {"no row", "bad value in gender"}
    clash = people.replace("x,yes\n0000045,x,yes", "male,yes\n0000045,female,yes")
    dataset = datasets.load(
        "identity_folder", lay(dict.fromkeys(WEBFACE, b"") | {"p.csv": clash}), people="p.csv"
    )
    assert len(dataset.faces) == 3 and dataset.faces["gender"].isna().all()
    assert "rows contradict" in set(dataset.notices["reason"])


def test_pictures_outside_are_listed(lay):
    dataset = datasets.load("identity_folder", lay([*WEBFACE, "cover.jpg", "0000045/notes.txt"]))
    assert sorted(dataset.left_out["reason"]) == ["not a picture", "not in a person's folder"]


def test_no_folder_at_all(lay):
    with pytest.raises(datasets.DatasetError, match=r"(?s)no picture in a person's folder.*Expected layout"):
        datasets.load("identity_folder", lay(["a.jpg", "b.jpg"]))
    with pytest.raises(datasets.DatasetError, match=r"(?s)missing: p\.csv"):
        datasets.load("identity_folder", lay(WEBFACE), people="p.csv")


def test_title_source_and_terms_are_the_users(lay):
    info = datasets.load("identity_folder", lay(WEBFACE), title="CASIA-WebFace", terms="research").info
    assert (info.title, info.terms) == ("CASIA-WebFace", "research")

import pytest

from faceworkbook import datasets


def megaage_set(ages="30\n5\n", test_ages="70\n", **others):
    files = {
        "list/train_name.txt": "1.jpg\n2.jpg\n",
        "list/train_age.txt": ages,
        "list/test_name.txt": "1.jpg\n",
        "list/test_age.txt": test_ages,
    }
    return files | {"train/1.jpg": b"", "train/2.jpg": b"", "test/1.jpg": b""} | others


def test_line_n_belongs_to_line_n(lay):
    table = datasets.load("megaage_asian", lay(megaage_set())).faces
    assert table["image"].tolist() == ["train/1.jpg", "train/2.jpg", "test/1.jpg"]
    assert table["age"].tolist() == [30, 5, 70] and table["split"].tolist() == ["train", "train", "test"]


@pytest.mark.parametrize("bad", ["x\n5\n", "300\n5\n", "\n5\n"])
def test_a_bad_or_empty_age_shifts_no_other(lay, bad):
    dataset = datasets.load("megaage_asian", lay(megaage_set(ages=bad)))
    assert dataset.faces["age"].isna().tolist() == [True, False, False]
    assert dataset.faces["age"].iloc[1] == 5


def test_lists_of_different_length_are_refused(lay):
    with pytest.raises(datasets.DatasetError, match="different lengths"):
        datasets.load("megaage_asian", lay(megaage_set(ages="30\n")))


def test_pictures_and_lines_without_a_partner_are_listed(lay):
    files = megaage_set(**{"train/9.jpg": b""})
    del files["train/2.jpg"]
    dataset = datasets.load("megaage_asian", lay(files))
    assert set(dataset.left_out["reason"]) == {"no picture", "no row"} and len(dataset.faces) == 2


def test_a_missing_list_is_named(lay):
    files = {name: content for name, content in megaage_set().items() if name != "list/test_age.txt"}
    with pytest.raises(datasets.DatasetError, match=r"(?s)list/test_age\.txt.*Expected layout"):
        datasets.load("megaage_asian", lay(files))

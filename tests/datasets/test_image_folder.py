import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets, faces
from faceworkbook.datasets import image_folder


def test_known_names_get_the_projects_spelling_and_order(lay):
    dataset = datasets.load("image_folder", lay(["Female/a.jpg", "MALE/b.jpg", "MALE/deep/c.png"]))
    assert dataset.faces["gender"].tolist() == ["female", "male", "male"]
    assert tuple(dataset.faces["gender"].cat.categories) == faces.GENDERS


def test_free_names_become_the_vocabulary(lay):
    dataset = datasets.load("image_folder", lay(["glad/a.jpg", "cross/b.jpg"]), label="emotion")
    assert tuple(dataset.faces["emotion"].cat.categories) == ("cross", "glad")


def test_split_folders(lay):
    dataset = datasets.load(
        "image_folder", lay(["train/male/a.jpg", "valid/male/b.jpg", "test/female/c.jpg"])
    )
    assert dict(zip(dataset.faces["image"].str[-5], dataset.faces["split"], strict=True)) == {
        "a": "train",
        "b": "validation",
        "c": "test",
    }


def test_stray_files_are_listed(lay):
    dataset = datasets.load("image_folder", lay(["male/a.jpg", "female/b.jpg", "c.jpg", "male/notes.txt"]))
    listed = dict(zip(dataset.left_out["image"], dataset.left_out["reason"], strict=True))
    assert listed == {"c.jpg": "not in a class folder", "male/notes.txt": "not a picture"}


def test_a_link_out_of_the_root_is_not_followed(lay, tmp_path):
    root = lay(["male/a.jpg"])
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"")
    (root / "male" / "link.jpg").symlink_to(outside)
    (root / "male" / "folder").symlink_to(tmp_path)
    dataset = datasets.load("image_folder", root)
    assert dataset.faces["image"].tolist() == ["male/a.jpg"]
    assert set(dataset.left_out["image"]) == {"male/link.jpg", "male/folder"}


def test_no_class_folder_and_a_wrong_label_are_errors(lay):
    with pytest.raises(datasets.DatasetError, match="Expected layout"):
        datasets.load("image_folder", lay(["a.jpg"]))
    with pytest.raises(datasets.DatasetError, match="allowed are"):
        datasets.load("image_folder", lay(["male/a.jpg"]), label="age")


@given(st.sets(st.text("abcdefgh", min_size=1, max_size=6), min_size=1))
def test_every_folder_keeps_its_own_class(folders):
    names = image_folder.class_names(sorted(folders), "race")
    assert len(set(names.values())) == len(folders)

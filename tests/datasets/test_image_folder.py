import os

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets, faces
from faceworkbook.datasets import image_folder
from faceworkbook.datasets.base import Reasons


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
    with pytest.raises(datasets.DatasetError, match=r"folders \['male'\] are none"):
        datasets.load("image_folder", lay(["male/a.jpg"]), label="age")


@given(st.sets(st.text("abcdefgh", min_size=1, max_size=6), min_size=1))
def test_every_folder_keeps_its_own_class(folders):
    values, _ = image_folder.read_names(pd.Series(sorted(folders)), "race", Reasons())
    assert values.nunique() == len(folders)


def test_a_label_of_ones_own(lay):
    table = datasets.load("image_folder", lay(["smile/a.jpg", "frown/b.jpg"]), label="mouth").faces
    assert faces.label_columns(table) == ["mouth"] and table["mouth"].tolist() == ["frown", "smile"]
    table = datasets.load("image_folder", lay(["Yes/a.jpg", "no/b.jpg"]), label="smile").faces
    assert table["smile"].cat.categories.tolist() == ["no", "yes"] and table["smile"].tolist() == [
        "yes",
        "no",
    ]
    table = datasets.load("image_folder", lay(["7/a.jpg", "30/b.jpg"]), label="age").faces
    assert sorted(table["age"]) == [7, 30]


@pytest.mark.parametrize("label", ["identity", "split", "two words", ""])
def test_a_label_that_folders_cannot_name_is_refused(lay, label):
    with pytest.raises(datasets.DatasetError, match="label="):
        datasets.load("image_folder", lay(["male/a.jpg"]), label=label)


def test_folders_that_differ_in_spelling_only_are_one_class(lay):
    root = lay(["Happy/1.jpg", "happy/2.jpg", "sad/3.jpg", "sad /4.jpg", "unknown/5.jpg"])
    emotion = datasets.load("image_folder", root, label="emotion").faces["emotion"]
    assert (
        emotion.dropna().tolist() == ["happiness", "happiness", "sadness", "sadness"]
        and emotion.isna().sum() == 1
    )
    joined = datasets.load("image_folder", lay(["Mujer/1.jpg", "mujer/2.jpg", "hombre/3.jpg"]))
    assert joined.faces["gender"].nunique() == 2 and joined.notices["reason"].tolist() == [
        "names of one's own",
        "spellings joined",
    ]


def test_numbered_folders_get_their_names_by_option(lay):
    root = lay(["1/a.jpg", "2/b.jpg"])
    dataset = datasets.load("image_folder", root, label="emotion", values=["1=surprise", "2=fear"])
    assert dataset.faces["emotion"].tolist() == ["surprise", "fear"]
    with pytest.raises(datasets.DatasetError, match="FOLDER=CLASS"):
        datasets.load("image_folder", root, label="emotion", values=["3=anger"])


@pytest.mark.parametrize("wrapper", ["", "data/", "my set/images/"])
def test_folders_beside_the_splits_and_around_the_classes_are_no_classes(lay, wrapper):
    names = [
        f"{wrapper}{folder}/{name}/{name}.jpg" for folder in ("train", "test") for name in ("male", "female")
    ]
    dataset = datasets.load("image_folder", lay([*names, f"{wrapper}examples/male/x.jpg"]))
    assert set(dataset.faces["gender"]) == {"male", "female"} and set(dataset.faces["split"]) == {
        "train",
        "test",
    }
    assert dataset.left_out["reason"].tolist() == ["not in a class folder"]
    plain = datasets.load("image_folder", lay([f"{wrapper}male/1.jpg", f"{wrapper}female/1.jpg"]))
    assert plain.faces["gender"].tolist() == ["female", "male"]


def test_links_inside_the_root_are_followed_and_circles_end(lay):
    root = lay(["store/a.jpg", "male/b.jpg", "female/c.jpg"])
    (root / "male" / "a.jpg").symlink_to(root / "store" / "a.jpg")
    (root / "other").symlink_to(root / "female")
    (root / "male" / "up").symlink_to(root)
    (root / "male" / "lost.jpg").symlink_to(root / "nothing.jpg")
    dataset = datasets.load("image_folder", root, label="group")
    assert dataset.faces["image"].tolist() == [
        *("female/c.jpg", "male/a.jpg", "male/b.jpg", "other/c.jpg", "store/a.jpg")
    ]
    assert sorted(dataset.left_out["reason"]) == ["link in a circle", "link leads nowhere"]


def test_links_out_of_the_root_are_named_and_followed_by_option(lay):
    store, root = lay(["x/a.jpg", "x/b.jpg"]), lay([])
    for name in ("male", "female"):
        (root / name).symlink_to(store / "x")
    with pytest.raises(datasets.DatasetError, match="link out of the root 2"):
        datasets.load("image_folder", root)
    assert len(datasets.load("image_folder", root, links="anywhere").faces) == 4


def test_hidden_files_and_junk_are_passed_over(lay):
    junk = [
        ".ipynb_checkpoints/0.jpg",
        "male/.ipynb_checkpoints/0.jpg",
        "__MACOSX/male/._0.jpg",
        "male/._1.jpg",
        "Thumbs.db",
    ]
    dataset = datasets.load("image_folder", lay(["male/0.jpg", "female/0.jpg", *junk]))
    assert dataset.faces["image"].tolist() == ["female/0.jpg", "male/0.jpg"] and dataset.left_out.empty


def test_a_name_that_is_not_utf8_is_listed(lay):
    root = lay(["male/0.jpg", "female/0.jpg"])
    (root / "male" / os.fsdecode(b"p\xe9re.jpg")).touch()
    dataset = datasets.load("image_folder", root)
    assert len(dataset.faces) == 2
    assert dataset.left_out[["image", "reason"]].to_numpy().tolist() == [
        ["male/p\\xe9re.jpg", "name not UTF-8"]
    ]


def place(dataset, label="gender"):
    """Class and split of each face, by the name of its picture."""
    table = dataset.faces.astype({label: object, "split": object})
    table = table.where(table.notna(), None)
    return {
        image.rpartition("/")[2]: (value, split)
        for image, value, split in table[["image", label, "split"]].to_numpy().tolist()
    }


def both(folder):
    return [f"{folder}male/m.jpg", f"{folder}female/f.jpg"]


@pytest.mark.parametrize(
    "beside",
    [
        ["ds/cover.jpg"],
        ["docs/a.jpg"],
        ["docs/figures/a.jpg"],
        ["__MACOSX/ds/male/a.jpg"],
        ["ds/examples/a.jpg"],
    ],
)
def test_folders_beside_the_classes_and_their_wrapper_are_no_classes(lay, beside):
    dataset = datasets.load("image_folder", lay([*both("ds/"), *beside]))
    assert place(dataset) == {"m.jpg": ("male", None), "f.jpg": ("female", None)}
    assert set(dataset.left_out["image"]) == {name for name in beside if "__MACOSX" not in name}


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training Set/", "test_set/"), ("training/images/", "TEST/images/"), ("a/b/train/", "a/b/Test/")],
)
def test_split_folders_in_other_spellings_and_around_wrappers(lay, train, test):
    dataset = datasets.load(
        "image_folder", lay([f"{train}male/m.jpg", f"{train}female/f.jpg", f"{test}male/t.jpg"])
    )
    assert place(dataset) == {
        "m.jpg": ("male", "train"),
        "f.jpg": ("female", "train"),
        "t.jpg": ("male", "test"),
    }


@pytest.mark.parametrize(("label", "names"), [("gender", ("male", "female")), ("mouth", ("smile", "frown"))])
def test_split_folders_inside_the_class_folders(lay, label, names):
    pictures = [f"{name}/{split}/{name}.jpg" for name, split in zip(names, ("train", "test"), strict=True)]
    dataset = datasets.load("image_folder", lay([*pictures, f"{names[0]}/val/v.jpg"]), label=label)
    expected = {f"{names[0]}.jpg": (names[0], "train"), f"{names[1]}.jpg": (names[1], "test")}
    assert place(dataset, label) == expected | {"v.jpg": (names[0], "validation")}


def test_a_folder_that_means_unknown_is_no_class_unless_it_is_named(lay):
    root = lay(["n.a/n.jpg", "none/r.jpg", "round/s.jpg"])
    dataset = datasets.load("image_folder", root, label="glasses")
    assert dataset.faces["glasses"].cat.categories.tolist() == ["none", "round"]
    assert "values: [n.a=CLASS]" in dataset.notices["detail"][0]
    named = datasets.load("image_folder", root, label="glasses", values=["n.a=without"])
    assert named.faces["glasses"].tolist() == ["without", "none", "round"]


def test_numbered_folders_of_a_known_label_say_how_to_name_them(lay):
    dataset = datasets.load(
        "image_folder", lay(["train/1/a.jpg", "train/2/b.jpg", "test/1/c.jpg"]), label="emotion"
    )
    assert dataset.faces["emotion"].tolist() == ["1", "1", "2"] and dataset.faces["split"].notna().all()
    assert "values: [1=CLASS, 2=CLASS]" in dataset.notices["detail"][0]
    named = datasets.load("image_folder", dataset.root, label="emotion", values=["01=Surprised", "2=fear"])
    assert named.faces["emotion"].tolist() == ["surprise", "surprise", "fear"]


def test_folders_of_ages_may_have_a_unit_and_a_bad_one_costs_its_label(lay):
    dataset = datasets.load("image_folder", lay(["25 years/a.jpg", "30/b.jpg", "400/c.jpg"]), label="age")
    assert dataset.faces["age"].fillna(-1).tolist() == [25, 30, -1]
    assert dataset.notices["image"].tolist() == ["400"]


def test_splits_that_bear_the_names_of_a_contest(lay):
    root = lay(
        [f"{split}/{name}/1.jpg" for split in ("Training", "PublicTest", "Private_Test") for name in "ab"]
    )
    table = datasets.load("image_folder", root, label="kind").faces
    assert table["split"].value_counts().to_dict() == {"train": 2, "validation": 2, "test": 2}

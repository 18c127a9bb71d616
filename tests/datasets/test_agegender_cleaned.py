import re
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets
from faceworkbook.datasets import agegender_cleaned as reader

PEOPLE = {
    "nm0000545_rm4094803712_1945-7-26_2010.jpg": ("imdb:nm0000545", 65),
    "1799024_1941-12-16_2010.jpg": ("wiki:1799024", 69),
    "landmark_aligned_face.610.11612844944_2630c5706c_o.jpg": ("adience:610", None),
    "landmark_aligned_face.98.11305826843_a507fc9d96_o-1.jpg": ("adience:98", None),
    "holiday.jpg": (None, None),
}


@pytest.mark.parametrize("name", PEOPLE)
def test_person_and_age_out_of_a_name(name):
    assert reader.parse_person(name) == PEOPLE[name]


@given(st.integers(1, 9999999), st.integers(1800, 2015), st.integers(0, 100))
def test_imdb_and_wiki_people_never_mix(number, born, age):
    dates = f"{born}-1-2_{born + age}.jpg"
    assert reader.parse_person(f"{number}_{dates}") == (f"wiki:{number}", age)
    assert reader.parse_person(f"nm{number:07}_rm12_{dates}") == (f"imdb:nm{number:07}", age)


@given(st.text(max_size=60))
def test_any_name_gives_a_person_or_none(name):
    person, _ = reader.parse_person(name)
    assert person is None or re.fullmatch(r"(imdb:nm|wiki:|adience:)\d+", person, re.ASCII)


@given(st.text(max_size=40))
def test_any_path_is_read_or_refused(path):
    assert reader.parse_path(path) is None or path.split("/")[-3].casefold() in ("aligned", "valid")


def test_split_age_gender_and_what_is_left_out(lay):
    root = lay(
        [
            "combined/aligned/25_F/nm0000545_rm1_1985-7-26_2010.jpg",
            "combined/valid/65_M/1799024_1941-12-16_2010.jpg",
            "combined/valid/30_M/holiday.jpg",
            "combined/valid/30_X/1_1980-1-1_2010.jpg",
            "combined/valid/thirty/1_1980-1-1_2010.jpg",
            "combined/readme.txt",
        ]
    )
    dataset = datasets.load("agegender_cleaned", root)
    rows = dataset.faces[["split", "age", "gender", "identity"]].astype(object).to_numpy().tolist()
    assert rows[0] == ["train", 25.0, "female", "imdb:nm0000545"]
    assert rows[1][:3] == ["test", 30.0, "male"] and rows[2][:2] == ["test", 30.0] and pd.isna(rows[2][2])
    assert rows[3] == ["test", 65.0, "male", "wiki:1799024"]
    assert Counter(dataset.left_out["reason"]) == {"not a picture": 1, "folder malformed": 1}
    assert Counter(dataset.notices["reason"]) == {
        "bad value in gender": 1,
        "person unknown": 1,
        "age disagrees with name": 1,
    }


@pytest.mark.parametrize("folder", ["Aligned/25_f", "ALIGNED/25-F", "aligned/025_Female", "aligned/25 woman"])
def test_folders_in_another_spelling(folder):
    assert reader.parse_path(f"{folder}/1.jpg") == ("train", 25, "female")


def test_an_empty_folder_shows_the_layout_beside_what_is_there(lay):
    with pytest.raises(datasets.DatasetError, match=r"(?s)aligned/25_F.*There is: notes\.txt"):
        datasets.load("agegender_cleaned", lay(["notes.txt"]))


@pytest.mark.realdata
def test_people_of_valid_who_also_stand_in_aligned(shared_data):
    root = shared_data("agegender_cleaned")
    dataset = datasets.load("agegender_cleaned", root)
    files = [path.relative_to(root) for path in root.rglob("*.jpg")]
    assert len(dataset.faces) == len(files) == 7424
    assert dataset.faces["identity"].notna().all()

    def key(name):
        return ("a", name.split(".")[1]) if name.startswith("landmark") else ("p", name.split("_")[0])

    training = {key(path.name) for path in files if path.parts[1] == "aligned"}
    leaked = sum(key(path.name) in training for path in files if path.parts[1] == "valid")
    train = set(dataset.faces.loc[dataset.faces["split"] == "train", "identity"])
    test = dataset.faces[dataset.faces["split"] == "test"]
    assert int(test["identity"].isin(train).sum()) == leaked == 596

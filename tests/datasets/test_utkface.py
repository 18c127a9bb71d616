import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets
from faceworkbook.datasets import utkface

MALFORMED = {
    "39_1_20170116174525125.jpg.chip.jpg": (39, "male", "Black"),
    "61_1_20170109142408075.jpg.chip.jpg": (61, "female", "Black"),
    "61_1_20170109150557335.jpg.chip.jpg": (61, "female", "Indian"),
    "24_0_1_20170116220224657 .jpg.chip.jpg": (24, "male", "Black"),
    "55_0_0_20170116232725357jpg.chip.jpg": (55, "male", "White"),
}


@given(st.integers(0, 116), st.integers(0, 1), st.integers(0, 4), st.integers(10**16, 10**17 - 1))
def test_every_well_formed_name_is_read_back(age, gender, race, stamp):
    labels, reason, note = utkface.parse_name(f"{age}_{gender}_{race}_{stamp}.jpg.chip.jpg")
    assert labels == (
        age,
        ["male", "female"][gender],
        ["White", "Black", "Asian", "Indian", "Others"][race],
    )
    assert (reason, note) == ("", "")


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_reason(name):
    labels, reason, _ = utkface.parse_name(name)
    assert (reason if labels is None else None in labels) or 0 <= labels[0] <= 116


@given(
    st.integers(0, 116),
    st.integers(0, 1),
    st.integers(0, 4),
    st.integers(0, 2),
    st.integers(10**16, 10**17 - 1),
)
def test_a_name_that_lacks_any_field_is_never_guessed(age, gender, race, gone, stamp):
    fields = [str(age), str(gender), str(race)]
    del fields[gone]
    assert utkface.parse_name("_".join([*fields, str(stamp)]) + ".jpg.chip.jpg")[0] is None


@pytest.mark.parametrize(
    ("fields", "labels", "reason"),
    [
        ("117_0_0", (None, "male", "White"), "bad value in age"),
        ("400_1_1", (None, "female", "Black"), "bad value in age"),
        ("39_3_1", (39, None, "Black"), "bad value in gender"),
        ("39_1_5", (39, "female", None), "bad value in race"),
        ("39_2_5", (39, None, None), "bad value in gender and race"),
        ("-1_0_2", (None, "male", "Asian"), "bad value in age"),
        ("1000_1_0", (None, "female", "White"), "bad value in age"),
        ("25.5_1_0", (None, "female", "White"), "bad value in age"),
        ("025_1_0", (None, "female", "White"), "bad value in age"),
        ("nan_1_0", (None, "female", "White"), "bad value in age"),
        ("_1_0", (None, "female", "White"), "bad value in age"),
        ("39_-1_0", (39, None, "White"), "bad value in gender"),
        ("39_1_12", (39, "female", None), "bad value in race"),
        ("-1_-1_3", (None, None, "Indian"), "bad value in age and gender"),
        ("img_1_0", None, "name malformed"),
        ("999_9_9", None, "name malformed"),
    ],
)
def test_a_bad_value_costs_its_label_and_not_the_face(fields, labels, reason):
    assert utkface.parse_name(f"{fields}_20170116174525125.jpg")[:2] == (labels, reason)


def test_all_five_malformed_names_are_listed(lay):
    dataset = datasets.load("utkface", lay([*MALFORMED, "20_0_0_20170116174525999.jpg.chip.jpg"]))
    read = {row.image: (row.age, row.gender, row.race) for row in dataset.faces.itertuples()}
    assert {name: read[name] for name in MALFORMED} == MALFORMED
    assert set(dataset.notices["image"]) == set(MALFORMED)


@pytest.mark.parametrize(
    ("disputed", "gender"), [("39_0_1", "male"), ("39_1_1", "female"), ("leave_out", None)]
)
def test_the_disputed_face_is_a_choice(lay, disputed, gender):
    root = lay(["39_1_20170116174525125.jpg.chip.jpg", "20_0_0_20170116174525999.jpg.chip.jpg"])
    dataset = datasets.load("utkface", root, disputed=disputed)
    mine = dataset.faces[dataset.faces["age"] == 39]
    assert list(mine["gender"]) == ([gender] if gender else [])
    assert "name disputed" in set(dataset.notices["reason"]) | set(dataset.left_out["reason"])


@pytest.mark.realdata
def test_real_chips_are_all_read_and_counted(shared_data):
    root = shared_data("utkface/UTKFace")
    names = [path.name for path in root.iterdir()]
    dataset = datasets.load("utkface", root)
    assert len(dataset.faces) + len(dataset.left_out) == len(names) == 7881
    assert set(dataset.notices["image"]) == set(MALFORMED)
    plain = [row for row in csv.reader(names, delimiter="_") if len(row) == 4]
    women = sum(row[1] == "1" for row in plain) + 2
    assert int((dataset.faces["gender"] == "female").sum()) == women
    others = sum(row[2] == "4" for row in plain)
    assert int((dataset.faces["race"] == "Others").sum()) == others


def test_a_name_that_stands_in_several_folders_is_one_face(lay):
    name = "20_0_0_20170116174525125.jpg.chip.jpg"
    dataset = datasets.load(
        "utkface", lay([f"{folder}/{name}" for folder in ("UTKFace", "crop_part1", "x/UTKFace")])
    )
    assert dataset.faces["image"].tolist() == [f"UTKFace/{name}"]
    assert dataset.left_out["reason"].tolist() == ["name repeated"] * 2

"""The cleaning table of arXiv 2108.08186: every row of a set counts once, and the rows add up."""

import csv

import numpy as np
import pytest

from faceworkbook import audit, datasets
from faceworkbook import faces as face_table
from tests.audit.test_cleaning import measures
from tests.datasets.test_imdb_wiki import row, write_mat

REASONS = ["failed to load", "no age", "no gender", "no face", "several faces", "low score"]


def counted(table):
    return table.set_index("reason")["faces"].to_dict()


def as_dataset(faces, left_out=()):
    gone = datasets.base.Reasons()
    for reason in left_out:
        gone.add("x.jpg", reason)
    nothing = datasets.base.Reasons().table()
    return datasets.Dataset(faces, gone.table(), nothing, None, datasets.describe("adience"))


def test_each_face_counts_for_its_first_reason():
    genders = ["male", None, None, "male", "male", "male", "male"]
    ages = ["0-2", None, "0-2", "0-2", "0-2", "0-2", "0-2"]
    columns = {"image": [f"{i}" for i in range(7)], "gender": genders, "age_group": ages}
    faces = face_table.build(columns, dataset="x")
    measured = measures(
        n_faces=[1, 0, 0, 0, 2, 1, 1],
        score=[0.9, np.nan, np.nan, np.nan, 0.1, 0.1, np.nan],
        problem=["", "", "", "", "", "", "damaged"],
    )
    read = as_dataset(faces, ["no picture", "no picture", "no row", "row repeated"])
    table = audit.cleaning_table(read, measured)
    assert table["reason"].tolist() == [*REASONS, "row repeated", "SUM", "kept"]
    assert counted(table) == {
        "failed to load": 3,
        "no age": 1,
        "no gender": 1,
        "no face": 1,
        "several faces": 1,
        "low score": 1,
        "row repeated": 1,
        "SUM": 9,
        "kept": 1,
    }
    assert table.set_index("reason").loc["SUM", "share"] == pytest.approx(0.9)
    assert set(table["counted"]) == {"all"}


def test_measures_of_some_faces_are_scaled_up():
    n = 100
    columns = {"image": [f"{i}" for i in range(n)], "gender": ["male"] * n, "age": [30.0] * n}
    faces = face_table.build(columns, dataset="x")
    measured = measures(n_faces=[0] + [1] * 9, score=[np.nan] + [0.9] * 9)
    table = audit.cleaning_table(as_dataset(faces), measured)
    assert counted(table)["no face"] == 10
    assert "estimated from 10 faces" in set(table["counted"])


@pytest.mark.realdata
def test_adience_has_a_row_for_each_reason_and_they_add_up(shared_data):
    read = datasets.load("adience", shared_data("adience"))
    table = counted(audit.cleaning_table(read))
    assert table["failed to load"] == 19487 - 117 - 2220 and table["row repeated"] == 117
    assert table["SUM"] + table["kept"] == 19487
    assert sum(n for reason, n in table.items() if reason not in ("SUM", "kept")) == table["SUM"]


@pytest.mark.realdata
def test_imdb_wiki_counts_by_the_scores_that_it_brings(shared_data, tmp_path):
    with shared_data("imdbwiki/wiki_rows.csv").open() as file:
        paths = [line["img_paths"] for line in csv.DictReader(file)][:200:2]
    paths = list(dict.fromkeys(paths))
    rows = [row(path) for path in paths]
    for i in range(4):
        rows[i]["face_score"] = -np.inf
    for i in range(4, 7):
        rows[i]["second_face_score"] = 2.0
    for i in range(7, 9):
        rows[i]["face_score"] = 0.5
    rows[9]["dob"] = 0.0
    rows[10]["gender"] = np.nan
    write_mat(tmp_path / "wiki_crop/wiki.mat", rows)
    for each in rows[:-5]:
        picture = tmp_path / "wiki_crop" / each["full_path"]
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(b"")
    read = datasets.load("imdb_wiki", tmp_path, min_face_score=1.0)
    unseen = measures(n_faces=[0] * len(read.faces)).assign(face_id=read.faces["face_id"])
    table = counted(audit.cleaning_table(read, unseen))
    assert [table[reason] for reason in REASONS] == [5, 1, 1, 4, 3, 2]
    assert table["SUM"] == 16 and table["kept"] == len(rows) - 16

"""Files of anybody's predictions: which column is what, which row is which face, what is left out and why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from faceworkbook import faces
from faceworkbook.descriptors import matching
from faceworkbook.evaluation import metrics, predictions
from faceworkbook.experiments import external_predictions, external_table
from faceworkbook.experiments.external_predictions import Reading, Source
from faceworkbook.experiments.external_table import ExternalError

GENDER, RACE = (
    ["male", "female", "female", "male", "male", None],
    ["White", "Asian", "Black", "White", "Asian", "White"],
)


@pytest.fixture
def source(tmp_path):
    images = ["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "b/1.jpg", "c/6.jpg"]
    table = faces.build(
        {"image": images, "gender": GENDER, "race": RACE, "age": [1, 20, 30, 40, 50, 60]}, dataset="toys"
    )
    return Source("toys", tmp_path / "set", table)


def write(folder: Path, text: str, name: str = "p.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def reasons_of(judged) -> dict:
    rows = judged.excluded[judged.excluded["side"] == "file"]
    return dict(zip(rows["name"], rows["reason"], strict=True))


def test_rows_are_matched_by_path_from_any_folder_on_or_by_a_unique_file_name(source, tmp_path):
    path = write(
        tmp_path,
        f"image,gender\n{source.root}/a/1.jpg,M\n.\\a\\2.jpg,Woman\n/elsewhere/b/3.jpg,f\n4.jpg,man\n1.jpg,M\nx/1.jpg,M\n9.jpg,M\n",
    )
    judged = external_predictions.read(path, source)
    assert judged.table["face_id"].tolist() == [
        f"toys:{name}" for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg")
    ]
    assert judged.table["predicted"].tolist() == ["male", "female", "female", "male"]
    assert reasons_of(judged) == {
        "1.jpg": matching.SEVERAL,
        "x/1.jpg": matching.SEVERAL,
        "9.jpg": matching.NO_FACE,
    }
    not_named = judged.excluded[judged.excluded["side"] == "data set"]
    assert set(not_named["name"]) == {"b/1.jpg", "c/6.jpg"}


def test_repeated_rows_count_once_and_contrary_ones_not_at_all(source, tmp_path):
    path = write(
        tmp_path,
        "image,gender\na/1.jpg,M\na/1.jpg,male\na/2.jpg,F\na/2.jpg,M\nb/3.jpg,F\nc/6.jpg,F\nb/4.jpg,\n",
    )
    judged = external_predictions.read(path, source)
    assert judged.table["face_id"].tolist() == ["toys:a/1.jpg", "toys:b/3.jpg"]
    assert judged.excluded.loc[judged.excluded["side"] == "file", "reason"].tolist() == [
        external_predictions.REPEATED,
        external_predictions.CONTRARY,
        external_predictions.CONTRARY,
        external_predictions.NO_LABEL,
        external_predictions.NO_ANSWER,
    ]


def test_deepfaces_records_are_read_with_their_percentages(source, tmp_path):
    def record(name, woman, race):
        return {
            "img_path": name,
            "age": 31,
            "gender": {"Woman": woman, "Man": 100 - woman},
            "dominant_gender": "Woman" if woman > 50 else "Man",
            "race": race,
            "region": {"x": 1, "y": 2, "w": 3, "h": 4},
        }

    race = {
        "asian": 70.0,
        "indian": 5.0,
        "black": 5.0,
        "white": 10.0,
        "middle eastern": 4.0,
        "latino hispanic": 6.0,
    }
    lines = [[record("a/1.jpg", 20.0, race)], [record("a/2.jpg", 99.5, race)]]
    path = write(tmp_path, "\n".join(json.dumps(line) for line in lines), "deepface.jsonl")
    judged = external_predictions.read(path, source, Reading("gender"))
    assert predictions.probabilities(judged.table).tolist() == [[0.8, 0.2], pytest.approx([0.005, 0.995])]
    assert "percentages" in judged.notices[0]
    assert external_predictions.read(path, source, Reading("age")).table["predicted"].tolist() == [31, 31]
    with pytest.raises(ExternalError, match=r"has columns for .*--label"):
        external_predictions.read(path, source)


def test_words_that_stand_for_no_class_are_refused_until_they_are_given_a_meaning(source, tmp_path):
    path = write(tmp_path, "image,race\na/1.jpg,white\na/2.jpg,latino hispanic\nb/3.jpg,middle eastern\n")
    with pytest.raises(ExternalError, match=r"'latino hispanic', 'middle eastern'\] in 2 rows.*--value"):
        external_predictions.read(path, source)
    judged = external_predictions.read(
        path, source, Reading("race", values=["Latino Hispanic=White", "middle eastern="])
    )
    assert judged.table["predicted"].tolist() == ["White", "White"]
    assert reasons_of(judged) == {"b/3.jpg": external_predictions.NO_ANSWER}


def test_one_probability_of_two_is_enough_and_a_class_of_ones_own_is_kept(source, tmp_path):
    path = write(tmp_path, "photo,verdict,score\na/1.jpg,F,.4\na/2.jpg,F,.9\nb/3.jpg,M,.1\n")
    judged = external_predictions.read(
        path, source, Reading("gender", columns=["image=photo", "predicted=verdict", "female=score"])
    )
    assert judged.table["predicted"].tolist() == ["female", "female", "male"]
    assert judged.table["p:female"].tolist() == [0.4, 0.9, 0.1]
    assert "1 rows 'verdict' is not the likeliest class" in judged.notices[0]


def test_numbers_are_judged_and_what_is_none_counts_as_no_answer(source, tmp_path):
    path = write(tmp_path, "image;apparent_age\na/1.jpg;3.5\na/2.jpg;unknown\n")
    judged = external_predictions.read(path, source)
    assert judged.task.is_number and judged.task.unit == "years"
    assert metrics.summary(judged.table, names=["mae"], n_boot=20)["value"].iloc[0] == 2.5
    assert reasons_of(judged) == {"a/2.jpg": external_predictions.NO_ANSWER}


@pytest.mark.parametrize(
    ("text", "reading", "message"),
    [
        ("who,gender\na/1.jpg,M\n", Reading("gender"), "none of which names the picture"),
        ("image,score\na/1.jpg,M\n", Reading("gender"), "none of which holds 'gender'"),
        ("image,score\na/1.jpg,M\n", Reading(), "names none of the labels"),
        ("image,gender\na/1.jpg,M\n", Reading("gender", columns=["predicted=sex"]), "no column 'sex'"),
        ("image,gender\na/1.jpg,M\n", Reading("gender", columns=["sex"]), "is not NAME=TEXT"),
        ("image,gender\nz.jpg,M\n", Reading("gender"), "none of the 1 rows"),
        ("image,gender\n", Reading("gender"), "holds no row"),
        ("image,male,female\na/1.jpg,.9,.9\n", Reading("gender"), "no probabilities that add up to 1"),
        ("image,gender\na/1.jpg,M\n", Reading("gender", columns=["smiling=gender"]), "the left side is"),
        (
            "image,m\na/1.jpg,.9\n",
            Reading("gender", columns=["male=m", "female=m"]),
            "'m' to several classes",
        ),
        ("image,m,f\na/1.jpg,.9,.1\n", Reading("gender", columns=["male=m", "male=f"]), "give 'male' once"),
        ("image,gender,gender\na/1.jpg,M,F\n", Reading("gender"), "several columns 'gender'"),
        ("image,gender\na,1.jpg,M\n", Reading("gender"), "more fields than its header"),
        ("image,gender\na/1.jpg,M\nb,c,d,e\n", Reading("gender"), "more fields than|Expected 2 fields"),
        ("image,female\na/1.jpg,3.5\na/2.jpg,.2\n", Reading("gender"), "no probabilities that add up to 1"),
        (
            "image,age\na/1.jpg,3\na/2.jpg,(20-29)\n",
            Reading("age"),
            r"'\(20-29\)'\] in 1 rows, which are no numbers",
        ),
        (
            "image,age\na/1.jpg,3\na/2.jpg,-1\n",
            Reading("age"),
            r"'-1'\] in 1 rows, which are no ages.*--value",
        ),
        (
            "image,age\na/1.jpg,12\na/2.jpg,240\nb/3.jpg,361\n",
            Reading("age"),
            r"'240', '361'\] in 2 rows, which are no ages in years",
        ),
        (
            "face_id,image,gender\nuuid,a/1.jpg,M\n",
            Reading("gender"),
            "--column face_id=COLUMN or image=COLUMN",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_sentence(source, tmp_path, text, reading, message):
    with pytest.raises(ExternalError, match=message) as refused:
        external_predictions.read(write(tmp_path, text), source, reading)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "encoding", "label", "column", "expected"),
    [
        ("sep=;\nimage;female\na/1.jpg;0,25\na/2.jpg;0,75\n", "utf-8", "gender", "p:female", [0.25, 0.75]),
        ("image\tfemale\r\na/1.jpg\t.25\r\na/2.jpg\t.75\r\n", "utf-16", "gender", "p:female", [0.25, 0.75]),
        ("image,female\na/1.jpg,25 %\na/2.jpg,75.0%\n", "utf-8", "gender", "p:female", [0.25, 0.75]),
        (
            "image,male,female\na/1.jpg,75%,25%\na/2.jpg,25%,75%\n",
            "utf-8",
            "gender",
            "p:female",
            [0.25, 0.75],
        ),
        ("image|female\na/1.jpg|25\na/2.jpg|75\n", "utf-8-sig", "gender", "p:female", [0.25, 0.75]),
        ("image,male,female\na/1.jpg,0,0\na/2.jpg,.25,.75\n", "utf-8", "gender", "p:female", [0.75]),
        ("image;age\na/1.jpg;2,5\na/2.jpg;19\n", "utf-8", "age", "predicted", [2.5, 19]),
    ],
)
def test_spreadsheets_of_all_countries_are_read(source, tmp_path, text, encoding, label, column, expected):
    path = tmp_path / "p.csv"
    path.write_bytes(text.encode(encoding))
    judged = external_predictions.read(path, source, Reading(label))
    assert judged.table[column].tolist() == pytest.approx(expected)


def test_minus_one_is_a_class_or_a_number_where_it_is_given_a_meaning(source, tmp_path):
    path = write(tmp_path, "image,gender,age\na/1.jpg,-1,-1\na/2.jpg,1,20\nb/3.jpg,1,thirty\n")
    judged = external_predictions.read(path, source, Reading("gender", values=["-1=M", "1=Female"]))
    assert judged.table["predicted"].tolist() == ["male", "female", "female"]
    judged = external_predictions.read(path, source, Reading("age", values=["-1=", "thirty=30"]))
    assert judged.table["predicted"].tolist() == [20, 30]
    assert reasons_of(judged) == {"a/1.jpg": external_predictions.NO_ANSWER}


def test_yes_and_no_are_read_from_ones_and_from_true(source, tmp_path):
    smiling = ["yes", "no", "no", "yes", "no", "yes"]
    table = faces.build({"image": source.faces["image"], "smiling": smiling}, dataset="toys")
    yes_no = Source("toys", source.root, table)
    for one, other in (("1", "-1"), ("1.0", "0.0"), ("True", "False")):
        path = write(tmp_path, f"image,smiling\na/1.jpg,{one}\na/2.jpg,{other}\n")
        judged = external_predictions.read(path, yes_no, Reading("smiling"))
        assert judged.table["predicted"].tolist() == ["yes", "no"]


def test_case_counts_only_where_it_distinguishes_files_and_another_folder_is_another_file(source, tmp_path):
    path = write(tmp_path, "image,gender\nA/1.JPG,M\nB\\3.jpg,F\n2.Jpg,F\nc/4.jpg,M\nelsewhere/4.jpg,M\n")
    judged = external_predictions.read(path, source)
    assert judged.table["face_id"].tolist() == [
        f"toys:{name}" for name in ("a/1.jpg", "b/3.jpg", "a/2.jpg", "b/4.jpg")
    ]
    assert reasons_of(judged) == {"c/4.jpg": matching.NO_FACE}


def test_a_face_is_without_an_answer_once_and_only_where_no_row_answers_it(source, tmp_path):
    path = write(tmp_path, "image,gender\na/1.jpg,M\na/1.jpg,\na/2.jpg,\na/2.jpg,unknown\nc/6.jpg,\n")
    judged = external_predictions.read(path, source)
    counted = [
        judged.count(r) for r in (external_predictions.NO_ANSWER, external_predictions.REPEATED_SILENT)
    ]
    assert counted == [1, 2] and judged.count(external_predictions.NO_LABEL) == 1


def test_a_line_that_was_cut_off_is_named(tmp_path):
    with pytest.raises(ExternalError, match="line 2 is no JSON; the file may be cut off"):
        external_table.read_table(write(tmp_path, '{"image": "a"}\n{"image": ', "p.jsonl"))


def test_a_damaged_file_and_another_format_are_refused(tmp_path):
    for name, content in (("p.json", "{no json"), ("p.parquet", "PAR1"), ("q.jsonl", "[1, 2]")):
        with pytest.raises(ExternalError, match=name):
            external_table.read_table(write(tmp_path, content, name))


def test_predictions_of_this_workbook_are_judged_by_their_test_rows(source, tmp_path):
    shares = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    table = predictions.build(
        source.faces.iloc[:3],
        external_predictions.tasks.read_labels(source.faces, "gender").task,
        truth=GENDER[:3],
        output=shares,
        split=["test", "test", "validation"],
    )
    path = predictions.write(table, tmp_path / "predictions.parquet")
    judged = external_predictions.read(path, source)
    assert judged.table["p:male"].tolist() == [0.9, 0.2]


def test_predictions_of_this_workbook_are_refused_on_another_set_of_the_same_names(source, tmp_path):
    other = [{"male": "female", "female": "male"}[name] for name in GENDER[:5]]
    for truth, refused in ((GENDER[:5], False), ([*GENDER[:4], "female"], True), (other, True)):
        table = predictions.build(
            source.faces.iloc[:5],
            external_predictions.tasks.read_labels(source.faces, "gender").task,
            truth=truth,
            output=np.tile([0.9, 0.1], (5, 1)),
            split="test",
        )
        path = predictions.write(table, tmp_path / "predictions.parquet")
        if not refused:
            assert len(external_predictions.read(path, source).table) == 5
            continue
        n = sum(a != b for a, b in zip(truth, GENDER[:5], strict=True))
        with pytest.raises(ExternalError, match=f"other labels: {n} of 5 of its faces bear another 'gender'"):
            external_predictions.read(path, source)


def test_two_files_meet_on_the_faces_that_both_judge(source, tmp_path):
    first = external_predictions.read(
        write(tmp_path, "image,gender\na/1.jpg,M\na/2.jpg,F\nb/3.jpg,F\n"), source
    )
    second = external_predictions.read(
        write(tmp_path, "image,gender\nb/3.jpg,M\na/2.jpg,F\nb/4.jpg,F\n", "q.csv"), source
    )
    one, two = external_predictions.on_common_faces(first, second)
    assert one["face_id"].tolist() == two["face_id"].tolist() == ["toys:a/2.jpg", "toys:b/3.jpg"]
    assert two["predicted"].tolist() == ["female", "male"]


def test_copies_are_one_unit_of_the_intervals(source, tmp_path):
    judged = external_predictions.read(
        write(tmp_path, "image,gender\na/1.jpg,M\na/2.jpg,F\nb/3.jpg,F\nb/4.jpg,F\n"), source
    )
    copied = external_predictions.with_copies(judged, np.array([0, 1, 1, -1]))
    figures = metrics.summary(copied.table, names=["accuracy"], n_boot=50).iloc[0]
    assert figures["n"] == 4 and figures["n_pictures"] == 3

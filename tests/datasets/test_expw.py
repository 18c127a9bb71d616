import subprocess
from collections import Counter

import pytest

from faceworkbook import datasets


def expw_set(lines, pictures=("a.jpg",)):
    return {"label.lst": lines} | {f"image/origin/{name}": b"" for name in pictures}


def test_box_order_is_top_left_right_bottom(lay):
    dataset = datasets.load("expw", lay(expw_set("a.jpg 0 10 20 70 90 55.5 3\na.jpg 1 10 80 99 90 7 6\n")))
    rows = dataset.faces[["face_id", "top", "left", "bottom", "right", "emotion"]].astype(object)
    assert rows.to_numpy().tolist() == [
        ["expw:a.jpg#0", 10, 20, 90, 70, "happiness"],
        ["expw:a.jpg#1", 10, 80, 90, 99, "neutral"],
    ]


def test_confidence_is_kept_and_filters(lay):
    root = lay(expw_set("a.jpg 0 10 20 70 90 55.5 3\na.jpg 1 10 80 99 90 7 6\n"))
    dataset = datasets.load("expw", root, min_confidence=20)
    assert dataset.faces["confidence"].tolist() == [55.5]
    assert dataset.left_out["reason"].tolist() == ["below confidence"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.jpg 0 10 20 20 90 55.5 3\n", "bad box"),
        ("a.jpg 0 10 20 70 x 55.5 3\n", "bad box"),
        ("a.jpg 0 10 20 70 90 55.5\n", "row malformed"),
        ("b.jpg 0 10 20 70 90 55.5 3\n", "no picture"),
        ("../../../a.jpg 0 10 20 70 90 55.5 3\n", "path leaves the root"),
    ],
)
def test_a_bad_row_is_listed(lay, line, reason):
    dataset = datasets.load("expw", lay(expw_set(line)))
    assert dataset.faces.empty and reason in set(dataset.left_out["reason"])


def test_a_bad_value_costs_its_label_and_not_the_face(lay):
    dataset = datasets.load("expw", lay(expw_set("a.jpg 0 10 20 70 90 55.5 7\n")))
    assert len(dataset.faces) == 1 and dataset.faces["emotion"].isna().all()
    assert dataset.notices["reason"].tolist() == ["bad value in emotion"]


@pytest.mark.realdata
def test_real_counts_equal_the_file(shared_data):
    root = shared_data("expw")
    dataset = datasets.load("expw", root)
    counted = subprocess.run(
        ["awk", "{n[$8]++} END {for (k in n) print k, n[k]}", root / "label.lst"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = dict(
        zip(
            "0123456",
            ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"],
            strict=True,
        )
    )
    expected = {names[code]: int(n) for code, n in (line.split() for line in counted.stdout.splitlines())}
    assert Counter(dataset.faces["emotion"]) == expected and sum(expected.values()) == 295
    assert dataset.faces["image"].nunique() == 280 and dataset.left_out.empty

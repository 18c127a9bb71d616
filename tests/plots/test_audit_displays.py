"""Each audit figure shows the numbers of its table, and is drawn from little as well as from much."""

from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import audit
from faceworkbook import faces as face_table
from faceworkbook.audit import balance
from faceworkbook.plots.age_histogram import AgeHistogramDisplay
from faceworkbook.plots.balance import BalanceDisplay
from faceworkbook.plots.contact_sheet import ContactSheetDisplay
from faceworkbook.plots.leakage import LeakageDisplay
from faceworkbook.plots.pair_balance import PairBalanceDisplay


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30, 20, 3), 10 + (i % 6) * 30, np.uint8))
    (tmp_path / "11.png").write_text("broken")
    return tmp_path


@pytest.fixture
def faces():
    return face_table.build(
        {
            "image": [f"{i}.png" for i in range(12)],
            "gender": ["male"] * 7 + ["female"] * 4 + [None],
            "race": ["White", "Black", "Asian"] * 4,
            "age": [3, 3, 3, 40, 41, 42, 43, 44, 45, None, 80, 81],
        },
        dataset="made",
    )


def test_heat_map_prints_each_count(faces):
    display = PairBalanceDisplay.from_counts(balance.pair_counts(faces, "gender", "race")).plot()
    printed = [text.get_text() for text in display.ax_.texts]
    assert printed == [f"{n}" for n in display.counts.to_numpy().ravel()]
    assert sum(map(int, printed)) == 11 and "male & White: 3" in display.describe()


def test_a_class_name_with_dollar_signs_is_drawn_as_written():
    names = [r"low $\frac$ x", "high"] * 2
    table = face_table.build({"image": [f"{i}.png" for i in range(4)], "tone": names}, dataset="made")
    display = BalanceDisplay.from_faces(table).plot()
    display.figure_.canvas.draw()
    assert names[0] in [label.get_text() for label in display.axes_[0].get_yticklabels()]


def test_histogram_counts_every_known_age(faces):
    display = AgeHistogramDisplay.from_faces(faces, by="gender").plot()
    assert {name: len(v) for name, v in display.values.items()} == {"male": 7, "female": 3, "(missing)": 1}
    assert display.missing == 1 and "11 faces, from 3 to 81" in display.describe()
    heights = [bar.get_height() for container in display.ax_.containers for bar in container]
    assert sum(heights) == 11


def test_histogram_of_nothing_says_so(faces):
    empty = AgeHistogramDisplay.from_faces(faces.assign(age=faces["age"].where(faces["age"] > 200))).plot()
    assert "no face has one" in empty.describe() and np.isnan(empty.heaped())


def test_contact_sheet_has_a_row_a_group(faces, folder):
    display = ContactSheetDisplay.from_groups(faces, folder, groups=faces["gender"], n=3).plot(tile=(30, 30))
    assert [heading for heading, _, _ in display.rows] == ["gender: male (n = 7)", "gender: female (n = 4)"]
    assert [len(pictures) for _, pictures, _ in display.rows] == [3, 3]
    assert display.figure_.dtype == np.uint8 and display.figure_.ndim == 3


def test_contradicting_copies_lie_side_by_side(faces, folder):
    duplicates = audit.exact_duplicates(faces, folder)
    display = ContactSheetDisplay.from_duplicates(duplicates, faces, folder, column="gender")
    captions = [caption for _, _, captions in display.rows for caption in captions]
    conflicts = duplicates.conflicts("gender")
    assert len(captions) == len(conflicts) > 0
    for _, pictures, _ in display.rows:
        assert all((a == b).all() for a, b in zip(pictures[::2], pictures[1::2], strict=True))


def test_removed_faces_are_shown_by_reason_even_unreadable_ones(faces, folder):
    measures = pd.DataFrame({"face_id": faces["face_id"], "image": faces["image"]}).assign(
        n_faces=1.0, score=0.9, face_height=50.0, face_share=0.5, blur=50.0, brightness=100.0, problem=""
    )
    measures.loc[11, "problem"] = "broken"
    measures.loc[2:4, "score"] = 0.1
    cleaned = audit.clean(faces, measures)
    display = ContactSheetDisplay.from_removed(cleaned, faces, folder).plot(tile=(30, 30))
    assert sorted(h for h, _, _ in display.rows) == ["below score (3 removed)", "unreadable (1 removed)"]


def test_nothing_removed_is_a_sheet_that_says_so(faces, folder):
    nothing = ContactSheetDisplay([], "nothing").plot()
    assert nothing.figure_.mean() > 200 and "Rows: none" in nothing.describe()


def test_leak_figure_shows_values_and_intervals():
    rows = [
        ("leaked", "with", 0.9),
        ("leaked", "without", 0.8),
        ("clean", "with", 0.85),
        ("clean", "without", 0.85),
    ]
    table = pd.DataFrame(rows, columns=["rows", "trained", "value"]).assign(measure="accuracy", n=50)
    table = table.assign(low=table["value"] - 0.05, high=table["value"] + 0.02)
    display = LeakageDisplay.from_worth(table, name="official").plot()
    drawn = sorted(x for line in display.ax_.lines for x in line.get_xdata() if line.get_marker() in "os")
    assert drawn == [0.8, 0.85, 0.85, 0.9]
    assert "leaked rows, trained with: 0.900 (0.850 to 0.920)" in display.describe()


def test_corrected_faces_are_captioned_with_both_labels(faces, folder):
    rows = faces[["face_id", "image"]].iloc[:10].assign(was="male", value=["female"] * 9 + [None])
    effect = SimpleNamespace(rows=rows, label="gender")
    display = ContactSheetDisplay.from_corrections(effect, faces, folder, n=9).plot()
    (first, pictures, captions), (second, *_) = display.rows
    assert first == "gender: face 1 to 8 of 10" and second == "gender: face 9 to 9 of 10"
    assert len(pictures) == 8 and captions[0].startswith("male > female")
    display = ContactSheetDisplay.from_corrections(effect, faces, folder).plot()
    assert display.rows[1][2][-1].startswith("male > left out") and display.figure_.ndim == 3

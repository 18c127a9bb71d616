"""What a page shows of its experiment: the expected range, leakage, the reference's name."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from faceworkbook import data_record
from faceworkbook.reports import report_data, sections, tables
from faceworkbook.reports.runs import Run
from faceworkbook.tasks import Task


@pytest.fixture
def shown(monkeypatch):
    bodies = []
    monkeypatch.setattr(tables, "show_html", bodies.append)
    return bodies


def make_run(tmp_path, expected):
    (tmp_path / "experiment.json").write_text(json.dumps({"expected": expected}))
    return Run(tmp_path / "09_multitask", "09_multitask")


FIGURES = pd.DataFrame(
    {
        "task": ["gender", "gender", "race"],
        "metric": "accuracy",
        "strategy": ["single", "joint-naive", "joint-naive"],
        "value": [0.90, 0.94, 0.85],
    }
)


@pytest.mark.parametrize(
    ("low", "mark"), [(0.93, '<p class="pass">0.940 lies inside'), (0.95, "0.940 lies OUTSIDE")]
)
def test_the_row_that_the_experiment_names_is_judged(tmp_path, shown, low, mark):
    run = make_run(
        tmp_path,
        {"task": "gender", "strategy": "joint-naive", "metric": "accuracy", "low": low, "high": 0.96},
    )
    sections.show_expectation(run, FIGURES)
    assert len(shown) == 1 and mark in shown[0]


def test_nothing_is_judged_without_a_range_or_in_a_smoke_run(tmp_path, shown):
    run = make_run(tmp_path, {"note": "no range"})
    sections.show_expectation(run, FIGURES)
    sections.show_expectation(
        make_run(tmp_path, {"metric": "accuracy", "low": 0, "high": 1}), FIGURES, smoke=True
    )
    sections.show_expectation(Run(tmp_path / "alone" / "09_multitask", "09_multitask"), FIGURES)
    assert shown == []


def test_notes_and_names_of_an_experiment_file_are_escaped(tmp_path, shown):
    expected = {
        "metric": "accuracy",
        "low": 0,
        "high": 1,
        "note": "<script>alert(1)</script>",
        "task": "gender",
    }
    sections.show_expectation(make_run(tmp_path, expected), FIGURES)
    assert "<script" not in shown[0] and "&lt;script&gt;" in shown[0]


def test_leakage_is_described_with_and_without_known_people():
    counts = {"test_rows": 888, "same_person": 0, "same_picture": 19, "leaked": 19, "unknown_person": 888}
    unknown = report_data.describe_leakage(counts)
    assert unknown.startswith("19 of 888 test rows are copies") and "not known" in unknown
    known = report_data.describe_leakage({**counts, "same_person": 1500, "unknown_person": 3})
    assert "1,500 show a person" in known and "not known" not in known


@pytest.mark.parametrize(("kind", "name"), [("classes", "logistic"), ("number", "ridge")])
def test_ridge_regression_is_not_called_logistic(kind, name):
    task = Task("label", kind, classes=("a", "b") if kind == "classes" else ())
    assert report_data.reference_title(task) == f"linear reference ({name} regression)"


def test_a_figure_bears_the_title_of_its_own_step(monkeypatch, shown):
    """Steps save figures under the same names."""
    monkeypatch.setattr(Run, "has", lambda *_: True)
    monkeypatch.setattr(Run, "show_saved", lambda *_: None)
    data = SimpleNamespace(run=Run(Path("report"), "05_report"))
    sections.show_saved(data, "03_classifier", ["errors"])
    assert shown == []
    sections.show_saved(data, "04_errors", ["errors"])
    assert len(shown) == 1 and "most confident first" in shown[0]


def test_the_first_screen_names_corrected_labels_and_removed_faces():
    record = {
        "corrections": {"corrected": 86, "left out": 5},
        "cleaning": [{"reason": "SUM", "removed": 1200}],
    }
    corrected, removed = report_data.list_changes(record)
    assert "86 corrected, 5 left out" in corrected and removed.startswith("1,200 faces were removed")
    assert report_data.list_changes({"corrections": {}, "cleaning": []}) == report_data.list_changes({}) == []


def test_a_range_that_names_its_pictures_is_silent_on_others(tmp_path, shown):
    expected = {"metric": "accuracy", "low": 0, "high": 1, "pictures": "abc", "task": "gender"}
    run = make_run(tmp_path, expected)
    sections.show_expectation(run, FIGURES)
    assert shown == []
    for pictures, corrections, judged in (
        ("abcdef", {}, 1),
        ("xbcdef", {}, 0),
        ("abcdef", {"file": "c.csv"}, 0),
    ):
        record = data_record.DataRecord("f", pictures, {}, "s", {}, "", corrections, {}, 12)
        data_record.write(record, tmp_path / "01_faces" / "data.json")
        shown.clear()
        sections.show_expectation(run, FIGURES)
        assert len(shown) == judged

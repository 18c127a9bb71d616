"""What a page says of the range that its experiment expects."""

import json

import pandas as pd
import pytest

from faceworkbook.reports import sections
from faceworkbook.reports.runs import Run


@pytest.fixture
def said(monkeypatch):
    pages = []
    monkeypatch.setattr(sections, "_html", pages.append)
    return pages


def make_run(tmp_path, expected):
    (tmp_path / "experiment.json").write_text(json.dumps({"expected": expected}))
    return Run(tmp_path / "09_multitask", "09_multitask")


FIGURES = pd.DataFrame(
    {
        "task": ["gender", "gender", "race"],
        "metric": "accuracy",
        "way": ["single", "joint-naive", "joint-naive"],
        "value": [0.90, 0.94, 0.85],
    }
)


@pytest.mark.parametrize(
    ("low", "mark"), [(0.93, '<p class="pass">0.940 lies inside'), (0.95, "0.940 lies OUTSIDE")]
)
def test_the_row_that_the_experiment_names_is_judged(tmp_path, said, low, mark):
    run = make_run(
        tmp_path, {"task": "gender", "way": "joint-naive", "metric": "accuracy", "low": low, "high": 0.96}
    )
    sections.expectation(run, FIGURES)
    assert len(said) == 1 and mark in said[0]


def test_nothing_is_judged_without_a_range_or_in_a_smoke_run(tmp_path, said):
    run = make_run(tmp_path, {"note": "no range"})
    sections.expectation(run, FIGURES)
    sections.expectation(make_run(tmp_path, {"metric": "accuracy", "low": 0, "high": 1}), FIGURES, smoke=True)
    sections.expectation(Run(tmp_path / "alone" / "09_multitask", "09_multitask"), FIGURES)
    assert said == []


def test_a_leak_is_said_with_and_without_known_people():
    counts = {"test_rows": 888, "same_person": 0, "same_picture": 19, "leaked": 19, "unknown_person": 888}
    said = sections.say_leak(counts)
    assert said.startswith("19 of 888 test rows are copies") and "not known" in said
    known = sections.say_leak({**counts, "same_person": 1500, "unknown_person": 3})
    assert "1,500 show a person" in known and "not known" not in known

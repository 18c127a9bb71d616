"""Runs asked from a shell: which there are, what one says, in what two differ, what was noted."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from faceworkbook import cli
from faceworkbook.evaluation import predictions
from faceworkbook.reports import run_records
from faceworkbook.tasks import Task


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two runs of one step, and a folder of results that is none."""
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    for name, seed, value in (("demo", 0, 0.9), ("demo.seed-1", 1, 0.8)):
        place = tmp_path / "results" / name / "03_classifier"
        place.mkdir(parents=True)
        records = {
            "params": {"seed": seed, "widths": [16], "out": f"results/{name}"},
            "environment": {"started": f"2026-01-0{seed + 1}T03:04:05+00:00", "commit": "abc"},
            "metrics": {"figures": [{"model": "mlp", "metric": "accuracy", "value": value, "low": 0.7, "high": 0.95, "n": 1200}]},
            "answer": {"answer": f"accuracy {value}"},
            "done": {"seconds": 12.0} | ({"copied_from": "demo"} if seed else {}),
        }  # fmt: skip
        for record, content in records.items():
            (place / f"{record}.json").write_text(json.dumps(content))
        experiment = {"title": "Demo", "given": {"seed": seed} if seed else {}}
        (place.parent / "experiment.json").write_text(json.dumps(experiment))
    (tmp_path / "results" / "descriptors").mkdir()
    return tmp_path


def test_runs_are_listed_with_their_answers(home, capsys):
    assert cli.main(["list", "runs"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["demo", "2026-01-01", "03:04", "1/1", "accuracy", "0.9"]
    assert second.startswith("demo.seed-1")


def test_a_run_is_shown(home, capsys):
    assert cli.main(["show", "demo.seed-1"]) == 0
    printed = capsys.readouterr().out
    assert "demo.seed-1: Demo" in printed and "answer: accuracy 0.8" in printed and "given: seed=1" in printed
    assert "finished in 12 s, copied from demo" in printed
    assert "03_classifier mlp accuracy: 0.800 [0.700, 0.950], n 1,200" in printed
    assert "report: none yet" in printed


def test_two_runs_are_set_against_each_other(home, capsys):
    assert cli.main(["diff", "demo", str(home / "results" / "demo.seed-1")]) == 0
    printed = capsys.readouterr().out
    assert "03_classifier: seed 0 | 1" in printed and "0.900 [0.700, 0.950], n 1,200 | 0.800" in printed
    assert (
        "widths" not in printed
        and "results/demo" not in printed
        and "no test: it takes predictions" in printed
    )
    assert cli.main(["diff", "demo", "demo"]) == 0
    assert "the same parameters and code" in capsys.readouterr().out


def test_a_note_stays_with_its_run(home, capsys):
    assert cli.main(["note", "demo", " labels looked at "]) == 0
    assert cli.main(["note", "demo", "again"]) == 0
    assert cli.main(["show", "demo"]) == 0
    printed = capsys.readouterr().out
    assert "demo: 2 notes" in printed and ": labels looked at" in printed
    assert cli.main(["list", "runs"]) == 0
    assert "[labels looked at] [again]" in capsys.readouterr().out
    assert cli.main(["note", "demo", " "]) == 2
    assert "the note is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run", "says"), [("seed", "there are demo.seed-1"), ("x", "there are demo, demo.seed-1")]
)
def test_a_run_that_is_not_there_names_those_that_are(home, capsys, run, says):
    assert cli.main(["show", run]) == 2
    assert says in capsys.readouterr().err


def test_damaged_records_are_left_out_and_end_nothing(home, capsys):
    for name in ("params", "metrics", "environment", "answer", "done"):
        (home / "results" / "demo" / "03_classifier" / f"{name}.json").write_text("[")
    assert cli.main(["show", "demo"]) == 0 and cli.main(["list", "runs"]) == 0
    assert "not finished" in capsys.readouterr().out


def test_parameters_of_a_notebook_are_listed(capsys):
    assert cli.main(["params", "03_classifier"]) == 0
    printed = capsys.readouterr().out
    assert "widths" in printed and "[16, 16]" in printed and "hidden layers of the MLP" in printed
    assert cli.main(["params", "03_clasifier"]) == 2
    assert "03_classifier.ipynb" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("faceworkbook ")


def write_predictions(home, name, wrong):
    n = 200
    faces = pd.DataFrame(
        {"face_id": [f"f{i}" for i in range(n)], "identity": pd.array([pd.NA] * n, dtype="string")}
    )
    truth = np.where(np.arange(n) % 2, "male", "female").astype(object)
    output = np.where((truth == "male") == (np.arange(n) >= wrong), 0.9, 0.1)
    task = Task("gender", classes=("female", "male"))
    rows = predictions.build(faces, task, truth=truth, output=output, split="test")
    predictions.write(rows, home / "results" / name / "03_classifier" / "predictions.parquet")


def test_the_test_of_two_runs_is_kept_for_the_page_until_one_is_fitted_anew(home, capsys):
    write_predictions(home, "demo", 5)
    write_predictions(home, "demo.seed-1", 50)
    assert cli.main(["diff", "demo", "demo.seed-1"]) == 0
    assert "demo is better than demo.seed-1" in capsys.readouterr().out
    kept = run_records.comparisons(home / "results")
    assert kept["demo | demo.seed-1"].startswith("demo is better than demo.seed-1")
    assert "demo is better than demo.seed-1" in (home / "results" / "index.html").read_text()
    place = home / "results" / "demo" / "03_classifier" / "environment.json"
    place.write_text('{"started": "2026-02-01T00:00:00+00:00"}')
    assert run_records.comparisons(home / "results") == {}

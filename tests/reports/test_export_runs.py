"""Runs for other programs: a table without formulas, MLflow's files, TensorBoard's scalars."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from faceworkbook import cli
from faceworkbook.reports import export_runs, run_records
from tests.support.run_folders import write_runs

N = 4


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Four runs, the last of which failed; the first has curves, a hostile note and a hostile model's name."""
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    write_runs(results, N)
    step = results / "run000" / "03_classifier"
    (step / "history.csv").write_text("epoch,loss,val_loss\n1,0.9,0.95\n2,0.5,\n3,0.4,0.7\n")
    metrics = json.loads((step / "metrics.json").read_text())
    metrics["figures"].append({"model": "../../../=cmd|' /C calc'!A0", "metric": "accuracy", "value": 0.5})
    (step / "metrics.json").write_text(json.dumps(metrics))
    (results / "run000" / "notes.json").write_text(
        json.dumps(
            {"notes": [{"when": "2026-01-01T00:00:00+00:00", "text": '=HYPERLINK("http://x") #final'}]}
        )
    )
    return results


def test_the_table_has_a_row_a_run_and_no_formula(results, capsys):
    assert cli.main(["export-runs", "--to", "csv"]) == 0
    assert "4 runs: runs.csv" in capsys.readouterr().out
    table = pd.read_csv("runs.csv").set_index("run")
    assert sorted(table.index) == [f"run{number:03}" for number in range(N)]
    assert table.loc["run000", "03_classifier mlp accuracy"] == 0.8
    assert table.loc["run000", "03_classifier mlp accuracy low"] == 0.7
    assert table.loc["run002", "03_classifier.seed"] == 2 and table.loc["run003", "status"].startswith(
        "failed"
    )
    assert table.loc["run000", "notes"].startswith("'=HYPERLINK")
    assert not [
        column for column in table if column.lstrip("'").startswith("=") and not column.startswith("'")
    ]


def read_mlflow(place):
    """Return by run name what MLflow's file store holds: meta, metrics, parameters and tags."""
    runs = {}
    for path in place.glob("*/*/meta.yaml"):
        meta, own = yaml.safe_load(path.read_text()), {}
        assert path.parent.name == meta["run_id"] and path.parent.parent.name == meta["experiment_id"]
        for kind in ("metrics", "params", "tags", "artifacts"):
            folder = path.parent / kind
            own[kind] = {
                file.relative_to(folder).as_posix(): file.read_text()
                for file in folder.rglob("*")
                if file.is_file()
            }
        runs[meta["run_name"]] = {"meta": meta} | own
    return runs


def test_mlflow_s_files_hold_figures_curves_parameters_and_tags(results, tmp_path):
    for _ in range(2):  # the second time replaces the first
        assert cli.main(["export-runs", "--to", "mlflow", "--out", "out"]) == 0
    runs = read_mlflow(tmp_path / "out")
    assert sorted(runs) == [f"run{number:03}" for number in range(N)]
    first = runs["run000"]
    assert first["meta"]["status"] == 3 and runs["run003"]["meta"]["status"] == 4
    assert first["metrics"]["03_classifier/mlp accuracy"].split()[1:] == ["0.8", "0"]
    curve = [line.split()[1:] for line in first["metrics"]["03_classifier/epoch val_loss"].splitlines()]
    assert curve == [["0.95", "1"], ["0.7", "3"]]
    assert first["params"]["03_classifier.seed"] == "0" and first["tags"]["mlflow.runName"] == "run000"
    assert first["tags"]["final"] == "true" and "reads it right" in first["tags"]["mlflow.note.content"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {first["meta"]["experiment_id"]}
    allowed = set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-. /")
    assert all(set(name) <= allowed and ".." not in name for name in first["metrics"])


def test_mlflow_reads_what_was_written(results, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    cli.main(["export-runs", "--to", "mlflow", "--out", "out"])
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "out").as_uri())
    (experiment,) = client.search_experiments()
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs["run000"].data.metrics["03_classifier/mlp accuracy"] == 0.8
    curve = client.get_metric_history(runs["run000"].info.run_id, "03_classifier/epoch loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.9), (2, 0.5), (3, 0.4)]
    assert runs["run001"].data.params["03_classifier.widths"] == "[16, 1]"


@pytest.mark.tensorflow
def test_tensorboard_has_figures_and_curves(results, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert cli.main(["export-runs", "--to", "tensorboard", "run000", "run001"]) == 0
    place = tmp_path / "runs_tensorboard"
    assert sorted(path.name for path in place.iterdir()) == ["run000", "run001"]
    scalars = {}
    for folder in (place / "run000").iterdir():
        own = accumulators.EventAccumulator(str(folder))
        own.Reload()
        for tag in own.Tags()["scalars"]:
            scalars[folder.name, tag] = [(point.step, round(point.value, 4)) for point in own.Scalars(tag)]
    assert scalars["03_classifier", "loss"] == [(1, 0.9), (2, 0.5), (3, 0.4)]
    assert scalars["figures", "03_classifier/mlp accuracy high"] == [(0, 0.95)]


def test_a_run_that_is_not_there_is_named(results, capsys):
    assert cli.main(["export-runs", "--to", "csv", "run9"]) == 2
    assert "no run 'run9'; there are run003, run002" in capsys.readouterr().err


def test_torn_histories_cost_their_curves_alone(results):
    (results / "run000" / "03_classifier" / "history.csv").write_bytes(b"epoch,loss\n1,0.5\n1,\xff")
    assert [*export_runs._histories(results / "run000")] == []
    assert len(export_runs.to_table(run_records.read_all(results))) == N


def test_no_runs_make_an_empty_table(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export-runs", "--to", "csv"]) == 0
    assert (tmp_path / "runs.csv").read_text().startswith("run,status,started")

"""A wrong label that was corrected: the run of after says what it changed beside the run of before."""

from __future__ import annotations

import json

import numpy as np
import pytest

from faceworkbook import cli, data_record, splits
from faceworkbook import faces as face_table
from faceworkbook.evaluation import predictions
from faceworkbook.reports import corrected_runs, experiments, keeping, report_data
from faceworkbook.tasks import Task

N, WRONG = 300, 12  # faces; labels of test faces that were wrong


def write_run(folder, faces, split, *, corrections="", seed=0):
    """Write what three steps leave of which the effect is measured; the model errs on every twentieth face."""
    true = np.where(np.arange(N) % 2, "male", "female")  # what a person sees
    is_test = np.isin(np.arange(N), split.test)
    errs = np.arange(N) % 20 == 3
    output = np.where((true == "male") != errs, 0.9, 0.1)
    task = Task("gender", classes=("female", "male"))
    own = faces[is_test].reset_index(drop=True)
    rows = predictions.build(
        own, task, truth=own["gender"].astype(object).to_numpy(), output=output[is_test], split="test"
    )
    for step in corrected_runs.STEPS:
        (folder / step).mkdir(parents=True)
        params = {"seed": seed, "out": f"results/{folder.name}", "corrections": corrections}
        (folder / step / "params.json").write_text(json.dumps(params))
        (folder / step / "done.json").write_text("{}")
        (folder / step / "environment.json").write_text('{"started": "2026-01-01T00:00:00+00:00"}')
    predictions.write(rows, folder / "03_classifier" / "predictions.parquet")
    place = folder / "01_faces"
    faces.to_parquet(place / "faces.parquet")
    splits.save(split, place / "split.json", faces)
    record = {"corrections": {"file": corrections, "hash": "abc"} if corrections else {}}
    (place / data_record.NAME).write_text(json.dumps(record))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A run, and one beside it with corrected labels of twelve test faces."""
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    columns = {
        "image": [f"{i}.jpg" for i in range(N)],
        "gender": np.where(np.arange(N) % 2, "male", "female"),
    }
    after = face_table.build(columns, dataset="made")
    split = splits.make(after, label="gender", seed=0)
    before = after.copy()
    planted = split.test[:WRONG]
    before.loc[planted, "gender"] = (
        after["gender"].iloc[planted].map({"male": "female", "female": "male"}).to_numpy()
    )
    options = {"label": "gender", "seed": 0, "keep_together": np.full(N, -1)}
    former = splits.make(before, **options)
    for name, faces, own in (
        ("own", before, former),
        ("own.corrected", after, splits.make_corrected(after, before, **options)),
    ):
        corrections = "corrections.csv" if name != "own" else ""
        write_run(tmp_path / "results" / name, faces, own, corrections=corrections)
    return tmp_path / "results"


def test_the_effect_of_a_correction_is_that_of_the_labels_where_the_model_answers_the_same(results):
    own = corrected_runs.beside(results / "own.corrected")
    assert own.name == "own"
    effect, n = own.effect, own.effect.n_changed["test"]
    model, labels = effect.change("model"), effect.change("labels")
    assert model["difference"] == 0 and model["n"] == effect.change("both")["n"]
    assert labels["difference"] > 0 and labels["low"] <= labels["difference"] <= labels["high"]
    assert len(effect.rows) == WRONG and 0 < n <= WRONG
    tested = effect.rows[effect.rows["subset"] == "test"]
    assert (tested["was"] != tested["value"]).all() and tested["predicted after"].notna().all()
    first, second = own.describe()
    assert first.startswith("Beside the run own, which has the labels of before: 12 labels of gender differ")
    assert "The corrections of test faces change the truth" in second


def test_diff_says_what_the_corrections_changed_and_keeps_it_for_the_page(results, capsys):
    for order in (["own", "own.corrected"], ["own.corrected", "own"]):
        assert cli.main(["diff", *order]) == 0
        printed = capsys.readouterr().out
        assert "Beside the run own, which has the labels of before" in printed and "no test" not in printed
        assert "not theirs alone" not in printed
    assert "change the truth" in (results / "index.html").read_text()


def test_a_run_that_differs_in_more_is_not_set_beside_it(results, capsys):
    path = results / "own" / "03_classifier" / "params.json"
    path.write_text(json.dumps({"seed": 5}))
    assert corrected_runs.beside(results / "own.corrected") is None
    assert cli.main(["diff", "own", "own.corrected"]) == 0
    assert "differ in more than the corrections" in capsys.readouterr().out


@pytest.mark.parametrize(
    "damaged", ["01_faces/faces.parquet", "03_classifier/predictions.parquet", "01_faces/split.json"]
)
def test_damaged_files_of_the_other_run_do_not_stop_this_one(results, damaged, capsys):
    (results / "own" / damaged).write_bytes(b"torn")
    (results / "own.corrected" / damaged).write_bytes(b"torn")
    assert corrected_runs.beside(results / "own.corrected") is None
    assert cli.main(["diff", "own", "own.corrected"]) == 0
    assert "no test: " in capsys.readouterr().out


def test_without_corrections_there_is_nothing_to_set_beside(results):
    assert corrected_runs.beside(results / "own") is None


def test_the_page_names_the_command_that_takes_the_corrections(tmp_path):
    experiment = report_data._BLANK_EXPERIMENT | {"name": "own", "file": "own", "given": {"label": "hat"}}
    command = report_data.corrected_command(tmp_path, experiment)
    assert command == "workbook run own --name own.corrected -p label=hat -p corrections=corrections.csv"
    assert report_data.corrected_command(tmp_path, report_data._BLANK_EXPERIMENT) == ""


def test_the_name_that_a_refusal_suggests_has_no_folders_in_it():
    experiment = experiments.Experiment("own", "", "", {}, ())
    pairs = {"01_faces.corrections": ("", "../../here/looked at.csv")}
    assert keeping._suggest(experiment, pairs) == "own.corrections-looked_at"

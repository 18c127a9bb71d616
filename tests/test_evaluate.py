"""``workbook evaluate``: the commands of the README on small files, against scikit-learn's figures."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from faceworkbook import cli, files
from faceworkbook.evaluation import comparison, predictions
from faceworkbook.reports import experiments, looks, runner
from tests.conftest import REPO

PEOPLE, DISTURBED = 40, 25
SYNTHETIC = REPO / "data" / "synthetic"

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.xdist_group("notebooks"),
    pytest.mark.skipif(not (SYNTHETIC / "labels.csv").exists(), reason="data/synthetic is missing"),
]


def readme_commands() -> list[list[str]]:
    """Return the arguments of the commands ``workbook evaluate FILE`` of the README."""
    lines = (REPO / "README.md").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    commands = [
        shlex.split(line.partition("#")[0]) for line in lines if re.match(r" +workbook evaluate ", line)
    ]
    return [command[1:] for command in commands]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data/UTKFace (some rendered people), deepface.jsonl and api.csv, as the README names them."""
    folder = tmp_path_factory.mktemp("evaluate")
    root = folder / "data" / "UTKFace"
    (root / "images").mkdir(parents=True)
    rows = pd.read_csv(SYNTHETIC / "labels.csv", dtype=str, keep_default_na=False)
    rows = rows[rows["identity"].isin(rows["identity"].unique()[:PEOPLE])].reset_index(drop=True)
    rows.to_csv(root / "labels.csv", index=False)
    for image in rows["image"]:
        shutil.copyfile(SYNTHETIC / image, root / image)
    rng = np.random.default_rng(0)
    woman = np.clip(np.where(rows["gender"] == "female", 75, 25) + rng.normal(0, 25, len(rows)), 0.5, 99.5)
    with (folder / "deepface.jsonl").open("w") as file:
        for image, share in zip(rows["image"], woman, strict=True):
            face = {
                "gender": {"Woman": share, "Man": 100 - share},
                "dominant_gender": "Woman" if share > 50 else "Man",
            }
            file.write(json.dumps({"img_path": f"data/UTKFace/{image}", **face}) + "\n")
    stated = rows["gender"].where(np.arange(len(rows)) >= DISTURBED, "male").map({"male": "M", "female": "F"})
    stated[::30] = "not sure"
    api = pd.DataFrame({"path": rows["image"].map(lambda image: Path(image).name), "sex": stated})
    api = pd.concat([api, pd.DataFrame({"path": ["unknown.jpg"], "sex": ["M"]})])
    api.to_csv(folder / "api.csv", index=False)
    return folder, rows, woman


@pytest.fixture(scope="module")
def judged(place):
    """The README's two commands on files, run in that folder; what they print, by name."""
    folder, *_ = place
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in readme_commands()[:2]:
            given = ["synthetic" if word == "utkface" else word for word in command]
            given += ["--results", str(folder / "results"), "--smoke"]
            assert cli.main(given) == 0, given
            printed[Path(command[1]).stem] = folder / "results" / f"{Path(command[1]).stem}-synthetic-gender"
    return printed


def figures_of(run: Path) -> pd.DataFrame:
    record = files.read_json(run / "13_evaluate" / "metrics.json", ValueError, advice="")
    return pd.DataFrame(record["figures"]).set_index("metric")


def test_the_readme_names_the_commands_that_are_tested_here():
    commands = readme_commands()
    assert [Path(command[1]).name for command in commands[:2]] == ["deepface.jsonl", "api.csv"]
    assert commands[2][1].startswith("results/")


def test_figures_with_probabilities_are_scikit_learns(place, judged):
    _, rows, woman = place
    figures, truth = figures_of(judged["deepface"]), (rows["gender"] == "female").to_numpy()
    predicted, share = woman > 50, woman / 100
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, predicted),
        "macro_f1": sklearn_metrics.f1_score(truth, predicted, average="macro"),
        "f1": sklearn_metrics.f1_score(truth, predicted),
        "auc": sklearn_metrics.roc_auc_score(truth, share),
        "log_loss": sklearn_metrics.log_loss(truth, share),
        "brier": sklearn_metrics.brier_score_loss(truth, share),
    }
    assert figures["value"].to_dict() == pytest.approx(expected, abs=1e-9)
    assert (figures["n"] == len(rows)).all() and (figures["n_identities"] <= PEOPLE).all()


def test_classes_alone_have_figures_of_classes_alone_and_no_answer_is_counted(place, judged):
    _, rows, _ = place
    figures = figures_of(judged["api"])
    answered = np.arange(len(rows)) % 30 != 0
    truth = rows["gender"][answered]
    stated = rows["gender"].where(np.arange(len(rows)) >= DISTURBED, "male")[answered]
    assert figures.loc["accuracy", "value"] == pytest.approx(sklearn_metrics.accuracy_score(truth, stated))
    assert not {"auc", "log_loss", "brier"} & set(figures.index)
    record = files.read_json(judged["api"] / "13_evaluate" / "metrics.json", ValueError, advice="")
    verdict = " ".join(record["verdict"])
    silent = int((~answered).sum())
    all_wrong = sklearn_metrics.accuracy_score(truth, stated) * answered.sum() / len(rows)
    assert (
        f"no answer for {silent} rows" in verdict
        and f"counted as wrong accuracy is {all_wrong:.3f}" in verdict
    )
    assert "1 rows not judged (no face of the data set bears that name)" in verdict
    assert "classes without probabilities" in verdict


def test_the_paired_test_is_that_of_the_common_faces(judged):
    record = files.read_json(judged["api"] / "13_evaluate" / "metrics.json", ValueError, advice="")
    ours, theirs = (
        predictions.read(judged["api"] / "13_evaluate" / f"{name}.parquet")
        for name in ("predictions", "predictions_against")
    )
    compared = comparison.compare({"api": ours, "deepface": theirs}, n_boot=200)
    assert compared.chosen["sentence"].iloc[0] in record["verdict"]


def test_the_page_shows_the_verdict_first_and_opens_offline(judged):
    for run in judged.values():
        page = (run / "report.html").read_text()
        record = files.read_json(run / "13_evaluate" / "metrics.json", ValueError, advice="")
        places = [page.index(text) for text in (">Answer.<", "faces of", "rows by what became of them")]
        assert places == sorted(places) and len(record["verdict"]) >= 5
        assert not re.findall(r'(?:src|href)="https?://', page)
        assert page.count('alt=""') == 0 and page.count("<img") >= 3


def test_every_reading_is_in_the_ledger(place, judged):
    read, damaged = looks.read(place[0] / "results")
    assert damaged == 0 and len(judged) == 2
    assert [look.model for look in read][:3] == ["deepface", "api", "deepface"]
    # Files that answer other faces of one set are looks at the same rows.
    assert len({look.data for look in read}) == 1
    record = files.read_json(judged["api"] / "13_evaluate" / "metrics.json", ValueError, advice="")
    assert "2 different models" in " ".join(record["verdict"])


def test_later_notebooks_read_the_folder(place, judged):
    folder, run = place[0], judged["api"]
    for name in ("04_errors", "08_groups", "07_compare"):
        notebook = REPO / "notebooks" / f"{name}.ipynb"
        given = {"out": str(run), "smoke": True}
        if name == "07_compare":
            given["runs"] = [
                str(run / "13_evaluate"),
                str(run / "13_evaluate" / "predictions_against.parquet"),
            ]
        known = experiments.params.read(notebook)
        step = experiments.Step(name, notebook, {k: given.get(k, p.default) for k, p in known.items()})
        runner.run_step(step, run / name, "any", name)
        assert (run / name / "report.html").is_file()
    assert folder


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"predictions": "nowhere.csv"}, "no file of predictions at .*nowhere.csv"),
        ({"--dataset": "faces"}, "dataset='faces': allowed are"),
        ({"--label": "mood"}, "label='mood': synthetic has age"),
        ({"--column": "predicted=nothing"}, "no column 'nothing'"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_anything_runs(place, monkeypatch, capsys, changed, message):
    folder, *_ = place
    monkeypatch.chdir(folder)
    given = {"--dataset": "synthetic", "--root": "data/UTKFace", "--label": "gender"} | changed
    file = given.pop("predictions", "deepface.jsonl")
    results = folder / "refused"
    code = cli.main(
        ["evaluate", file, *(word for pair in given.items() for word in pair), "--results", str(results)]
    )
    printed = capsys.readouterr().err.strip()
    assert code == 2 and re.search(message, printed) and printed.startswith("workbook: ")
    assert "\n" not in printed and not results.exists()


@pytest.mark.realdata
@pytest.mark.tensorflow
def test_the_embedded_networks_own_gender_head_on_real_faces(shared_data, tmp_path):
    """500 chips of UTKFace: one command, and the figures of a recomputation by scikit-learn."""
    from faceworkbook import backbones, datasets, descriptors, faces

    root = shared_data("utkface/UTKFace")
    drawn = faces.draw(datasets.load("utkface", root).faces, limit=500, seed=3)
    head = descriptors.extract(
        drawn, backbones.load("faceres_deep", tap="gender_pred"), root=root, store=tmp_path / "head"
    )
    drawn = drawn.set_index("face_id").loc[head.face_id]
    man = np.asarray(head.matrix[:, 0], dtype=float)
    names = drawn["image"].map(lambda image: Path(image).name)
    pd.DataFrame({"file": names, "Man": man, "Woman": 1 - man}).to_csv(tmp_path / "head.csv", index=False)
    given = [
        "--dataset",
        "utkface",
        "--root",
        str(root),
        "--label",
        "gender",
        "--name",
        "head",
        "--results",
        str(tmp_path),
    ]
    assert cli.main(["evaluate", str(tmp_path / "head.csv"), *given, "--smoke"]) == 0
    figures, truth = figures_of(tmp_path / "head"), (drawn["gender"] == "female").to_numpy()
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(truth, man < 0.5),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, man < 0.5),
        "auc": sklearn_metrics.roc_auc_score(truth, 1 - man),
        "log_loss": sklearn_metrics.log_loss(truth, 1 - man),
        "brier": sklearn_metrics.brier_score_loss(truth, 1 - man),
    }
    assert figures["value"][[*expected]].to_dict() == pytest.approx(expected, abs=1e-6)
    assert 0.88 < expected["accuracy"] < 0.95 and (figures["n"] == 500).all()

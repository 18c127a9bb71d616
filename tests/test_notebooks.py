"""Every notebook runs with `smoke` on the embedded faces, from another working directory."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
import yaml

from faceworkbook import project
from faceworkbook.evaluation import predictions
from faceworkbook.reports import experiments, runner
from tests.conftest import REPO

MAIN = ["01_faces", "02_descriptors", "03_classifier", "04_errors", "05_report"]
TOOLS = {"tools_synthetic_faces"}
NAMES = {p.stem for p in (REPO / "notebooks").glob("*.ipynb")}
AFTER = sorted(NAMES - {*MAIN, *TOOLS, "index"})

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.xdist_group("notebooks"),
    pytest.mark.skipif(
        not (REPO / "data" / "synthetic" / "labels.csv").exists(), reason="data/synthetic is missing"
    ),
]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Runs experiments named ``smoke`` into one results folder; the main chain has run."""
    results = tmp_path_factory.mktemp("results")

    def run(steps, **given):
        path = results / "smoke.yaml"
        path.write_text(yaml.safe_dump({"name": "smoke", "title": "Smoke", "steps": steps}))
        given = {"smoke": True, **given}
        allowed = set().union(*(experiments.params.read(s.notebook) for s in experiments.read(path).steps))
        experiment = experiments.read(
            path, given={k: v for k, v in given.items() if k in allowed}, results=results
        )
        runner.run(experiment, results=results)
        return results / "smoke"

    run(MAIN, store=str(results / "descriptors"))
    return run


def test_main_chain_leaves_a_report_with_every_figure(chain):
    folder = chain(MAIN[:1]).parent / "smoke"
    page = (folder / "05_report" / "report.html").read_text()
    assert "These faces are rendered, not photographed" in page
    assert "A smoke run" in page
    assert "faceres_deep" in page and "global_pooling" in page
    assert not re.findall(r'(?:src|href)="https?://', page)
    assert page.count("<img") >= 6 and page.count('alt=""') == 0
    card = (folder / "03_classifier" / "model_card.md").read_text()
    assert "Ruled out" in card and "Deciding anything about a person" in card and "By group" in card


def test_predictions_are_those_of_the_saved_split(chain):
    folder = chain(MAIN[:1]).parent / "smoke"
    predicted = predictions.read(folder / "03_classifier" / "predictions.parquet")
    split = json.loads((folder / "01_faces" / "split.json").read_text())
    faces = pd.read_parquet(folder / "01_faces" / "faces.parquet").set_index("face_id")
    for part in ("validation", "test"):
        assert set(predicted.loc[predicted["split"] == part, "face_id"]) == set(split[part])
    train = faces.loc[split["train"], "identity"]
    assert not set(train) & set(predicted.loc[predicted["split"] == "test", "identity"])


@pytest.mark.parametrize("notebook", AFTER)
def test_notebook_runs_alone_after_the_main_chain(chain, notebook):
    page = (chain([notebook]) / notebook / "report.html").read_text()
    assert len(page) > 20_000


def test_relative_paths_hold_from_any_working_directory(chain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project.resolve("notebooks").is_dir()

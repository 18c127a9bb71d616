"""The audit notebook runs from another working directory and leaves a verdict on top."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

from faceworkbook import datasets
from faceworkbook.reports import engine, kernels

REPO = Path(__file__).resolve().parents[2]
FACES = REPO / "data" / "synthetic"

pytestmark = [pytest.mark.notebooks, pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


def execute(name, folder, parameters):
    """Run a notebook by papermill from its folder of results, in a forked kernel."""
    notebook = REPO / "notebooks" / f"{name}.ipynb"
    return papermill.execute_notebook(
        notebook,
        folder / "out.ipynb",
        parameters,
        cwd=folder,
        kernel_name="python3",
        progress_bar=False,
        **engine.options_of(kernels.open_template(notebook)),
    )


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    if not (FACES / "labels.csv").exists():
        pytest.skip("the embedded faces are missing: data/synthetic/labels.csv")
    folder = tmp_path_factory.mktemp("audit")
    parameters = {"limit": 60, "smoke": False, "out": str(folder), "store": str(folder / "store"), "seed": 3}
    parameters |= {"dataset": "synthetic", "root": str(FACES), "label": "gender"}
    return folder / "01_audit", execute("01_audit", folder, parameters)


def test_the_verdict_stands_on_top(audited):
    folder, notebook = audited
    shown = [out for cell in notebook.cells[:6] for out in cell.get("outputs", []) if "data" in out]
    verdict = pd.read_parquet(folder / "verdict.parquet")
    answer, table = (out["data"]["text/html"] for out in shown[:2])
    assert 'class="answer"' in answer and f"{len(verdict)} findings" in answer
    assert "<caption>" in table and verdict["finding"].iloc[0] in table
    assert not [
        out for cell in notebook.cells for out in cell.get("outputs", []) if out["output_type"] == "error"
    ]


def test_what_is_written_fits_together(audited):
    folder, _ = audited
    measures, copies = (pd.read_parquet(folder / f"{name}.parquet") for name in ("measures", "copies"))
    assert len(measures) == 60 == len(copies)
    dataset = datasets.load("synthetic", FACES, corrections=folder / "corrections.csv")
    assert len(dataset.faces) >= 60
    assert {path.stem for path in (folder / "figures").glob("*.png")} >= {
        "balance",
        "contact_sheet",
        "removed",
    }


@pytest.fixture
def looked_at(audited, tmp_path):
    """The audit's own file of corrections, with decisions for three of its rows and one face more."""
    table = pd.read_csv(audited[0] / "corrections.csv", dtype=str, keep_default_na=False)
    faces = datasets.load("synthetic", FACES).faces
    own = faces[["face_id", "image"]].assign(column="gender", was=faces["gender"].astype(str)).iloc[:3]
    own["value"] = ["male" if name == "female" else "female" for name in own["was"]]
    own["decision"] = ["change", "unusable", "keep"]
    table = table[~table["face_id"].isin(own["face_id"])]
    pd.concat([own, table]).fillna("").to_csv(tmp_path / "looked_at.csv", index=False)
    return tmp_path / "looked_at.csv", own, len(table)


def run_faces(folder, **given):
    parameters = {"out": str(folder), "dataset": "synthetic", "root": str(FACES), "label": "gender"}
    execute("01_faces", folder, parameters | given)
    return folder / "01_faces"


def test_corrections_and_thresholds_reach_faces_split_and_record(looked_at, tmp_path):
    path, own, undecided = looked_at
    (tmp_path / "plain").mkdir()
    (tmp_path / "changed").mkdir()
    plain = run_faces(tmp_path / "plain")
    changed = run_faces(tmp_path / "changed", corrections=str(path), min_size=65.0, one_face=True)
    before, after = (pd.read_parquet(run / "faces.parquet").set_index("face_id") for run in (plain, changed))
    records = [json.loads((run / "data.json").read_text()) for run in (plain, changed)]
    listed = pd.read_parquet(changed / "corrections.parquet")
    assert listed["status"].value_counts().to_dict() == {
        "corrected": 1, "left out": 1, "confirmed": 1, **({"undecided": undecided} if undecided else {}),
    }  # fmt: skip
    gone = set(before.index) - set(after.index)
    left_out = pd.read_parquet(changed / "left_out.parquet")
    assert own["face_id"].iloc[1] in gone and len(left_out) >= len(gone) > 1
    assert {"face too small", "left out by correction"} <= set(left_out["reason"])
    if own["face_id"].iloc[0] in after.index:
        assert after.loc[own["face_id"].iloc[0], "gender"] == own["value"].iloc[0]
    cleaning = records[1]["cleaning"]
    assert cleaning["thresholds"]["min_height"] == 65 and sum(cleaning["removed"].values()) == len(gone) - 1
    assert "thresholds" not in records[0]["cleaning"] and records[1]["corrections"]["hash"]
    assert records[0]["faces"] != records[1]["faces"] and records[0]["split"] != records[1]["split"]
    split = json.loads((changed / "split.json").read_text())
    assert sum(row["rows"] for row in split["report"]) <= len(after)


def test_the_committed_notebook_has_no_outputs():
    notebook = nbformat.read(REPO / "notebooks" / "01_audit.ipynb", as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert max(len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code") <= 32

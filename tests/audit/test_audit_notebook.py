"""The audit notebook runs from another working directory and leaves a verdict on top."""

from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest

from faceworkbook import datasets

REPO = Path(__file__).resolve().parents[2]
FACES = REPO / "data" / "synthetic"

pytestmark = [pytest.mark.notebooks, pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    if not (FACES / "labels.csv").exists():
        pytest.skip("the embedded faces are missing: data/synthetic/labels.csv")
    folder = tmp_path_factory.mktemp("audit")
    parameters = {"limit": 60, "smoke": False, "out": str(folder), "store": str(folder / "store"), "seed": 3}
    parameters |= {"dataset": "synthetic", "root": str(FACES), "label": "gender"}
    notebook = papermill.execute_notebook(
        REPO / "notebooks" / "01_audit.ipynb",
        folder / "out.ipynb",
        parameters,
        cwd=folder,
        progress_bar=False,
    )
    return folder / "01_audit", notebook


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


def test_the_committed_notebook_has_no_outputs():
    notebook = nbformat.read(REPO / "notebooks" / "01_audit.ipynb", as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert max(len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code") <= 32

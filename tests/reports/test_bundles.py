"""A run as one zip without a picture, and what a second run says of it: same, within rounding, or different and where."""

from __future__ import annotations

import json
import shutil
import zipfile

import nbformat
import numpy as np
import pandas as pd
import pytest

from faceworkbook import cli, data_record
from faceworkbook.evaluation import predictions
from faceworkbook.reports import bundles, verifying
from faceworkbook.reports.bundles import BundleError
from faceworkbook.tasks import Task

N = 40
PIXEL = "iVBORw0KGgoAAAANSUhEUg"


def predict(shift=0.0, wrong=4):
    faces = pd.DataFrame(
        {"face_id": [f"f{i}" for i in range(N)], "identity": pd.array([pd.NA] * N, dtype="string")}
    )
    truth = np.where(np.arange(N) % 2, "male", "female").astype(object)
    output = np.where((truth == "male") == (np.arange(N) >= wrong), 0.9 - shift, 0.1)
    return predictions.build(
        faces, Task("gender", classes=("female", "male")), truth=truth, output=output, split="test"
    )


def write_run(folder, *, shift=0.0, wrong=4, pictures="p"):
    """A run of two steps that were never run; its notebooks hold pictures in every place where one can be."""
    out = nbformat.v4.new_output
    outputs = [
        out(
            "display_data",
            {"image/png": PIXEL, "text/plain": "x"},
            metadata={"image/png": {"alt": "Faces <b> of A"}},
        ),
        out("display_data", {"text/html": f'<p>kept</p><img src="data:image/webp;base64,{PIXEL}" alt="B">'}),
        out(
            "display_data",
            {
                "text/html": f'<section class="face-browser"><img src="data:image/webp;base64,{PIXEL}"></section>'
            },
        ),
        out("display_data", {"image/svg+xml": "<svg><path/></svg>", "text/plain": "x"}),
        out("stream", name="stdout", text="printed"),
    ]
    shared = {"out": f"results/{folder.name}", "experiment": folder.name, "seed": 3}
    for step, params in {
        "01_faces": {"dataset": "synthetic", "root": "data/synthetic", "label": "gender"},
        "03_classifier": {"label": "gender", "epochs": 3},
    }.items():
        place = folder / step
        place.mkdir(parents=True)
        cells = [
            nbformat.v4.new_markdown_cell("# Title"),
            nbformat.v4.new_code_cell("show()", outputs=outputs),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), place / "notebook.ipynb")
        for name, content in {
            "params": params | shared, "done": {"seconds": 1}, "answer": {"answer": "yes"},
            "environment": {"started": f"2026-01-01T00:0{step[1]}:00+00:00"},
            "metrics": {"figures": [{"model": "mlp", "metric": "accuracy", "value": 1 - wrong / N}] if "03" in step else []},
        }.items():  # fmt: skip
            (place / f"{name}.json").write_text(json.dumps(content))
    data_record.write(
        data_record.DataRecord("f", pictures, {"gender": "g"}, "s", {}, "", {}, {}, N),
        folder / "01_faces" / "data.json",
    )
    predictions.write(predict(shift, wrong), folder / "03_classifier" / "predictions.parquet")
    (folder / "03_classifier" / "predictor").mkdir()
    (folder / "03_classifier" / "predictor" / "predictor.json").write_text("{}")
    (folder / "03_classifier" / "predictor" / "face.png").write_bytes(b"a face")
    (folder / "03_classifier" / "figures").mkdir()
    (folder / "03_classifier" / "figures" / "sample.png").write_bytes(b"faces")
    return folder


@pytest.fixture
def bundle(tmp_path):
    bundles.make(write_run(tmp_path / "results" / "toy"), tmp_path / "toy.zip")
    return bundles.read(tmp_path / "toy.zip")


def states(findings):
    return {finding.what.split(" (")[0]: finding.state for finding in findings}


def test_no_picture_is_in_a_bundle_and_its_alt_text_stands_there(bundle):
    text = b"\n".join(bundle.content.values())
    assert (
        PIXEL.encode() not in text
        and b"a face" not in text
        and b"<svg" not in text
        and b"data:image/webp" not in text
    )
    assert not [name for name in bundle.content if name.endswith((".png", ".jpg", ".webp"))]
    page = bundle.content["report.html"].decode()
    assert (
        "Here stood: Faces &lt;b&gt; of A" in page
        and "Here stood: B" in page
        and "kept" in page
        and "printed" in page
    )
    assert {
        "03_classifier/predictions.parquet",
        "03_classifier/predictor/predictor.json",
        "01_faces/data.json",
    } <= set(bundle.content)
    assert [step["name"] for step in bundle.record["steps"]] == ["01_faces", "03_classifier"]


def test_a_figure_that_is_undefined_now_is_not_the_same():
    was = [
        {"model": "mlp", "metric": "auc", "value": 0.9},
        {"model": "mlp", "metric": "accuracy", "value": 0.8},
    ]
    now = [{**was[0], "value": None}, was[1]]
    for first, second in ((was, now), (now, was)):
        made = verifying._figures(first, second, "03_classifier")
        assert made.state == "DIFFERENT" and "undefined in one of the two: mlp auc" in made.detail
    assert verifying._figures(now, now, "03_classifier").state == "same"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {"data": "same", "predictions of 03_classifier": "same", "figures of 03_classifier": "same"}),
        ({"shift": 1e-6}, {"data": "same", "predictions of 03_classifier": "within rounding"}),
        ({"shift": 0.01}, {"predictions of 03_classifier": "DIFFERENT", "figures of 03_classifier": "same"}),
        (
            {"wrong": 9},
            {"predictions of 03_classifier": "DIFFERENT", "figures of 03_classifier": "DIFFERENT"},
        ),
        ({"pictures": "q"}, {"data": "DIFFERENT", "predictions of 03_classifier": "same"}),
    ],
)
def test_a_second_run_is_the_same_within_rounding_or_different(bundle, tmp_path, changed, expected):
    again = write_run(tmp_path / "again" / "toy", **changed)
    findings = verifying.compare(bundle, again)
    assert expected.items() <= states(findings).items()
    worst = "DIFFERENT" if "DIFFERENT" in expected.values() else "within rounding" if changed else "same"
    assert verifying.judge([*findings, verifying.Finding("notebook", verifying.OTHER_CODE)]) == worst
    if changed.get("wrong"):
        texts = " ".join(map(str, findings))
        assert (
            "5 of 40 faces are answered otherwise" in texts
            and "mlp accuracy 0.9000 before, 0.7750 now" in texts
        )
    if changed.get("pictures"):
        assert "pictures" in str(findings[0])


def test_a_bundle_is_run_with_its_parameters_on_the_root_that_is_given(bundle, tmp_path):
    experiment = verifying.to_experiment(bundle, root="elsewhere", results=tmp_path / "verified")
    first, second = experiment.steps
    assert first.parameters["root"] == "elsewhere" and first.parameters["seed"] == 3
    assert second.parameters["epochs"] == 3 and second.parameters["out"].endswith("verified/toy")
    assert second.notebook.name == "03_classifier.ipynb"


def test_what_was_changed_or_is_no_bundle_is_refused(bundle, tmp_path):
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(bundle.path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"{}" if name == "01_faces/params.json" else old.read(name))
    with pytest.raises(BundleError, match=r"01_faces/params.json changed after"):
        bundles.read(broken)
    broken.write_bytes(b"no zip")
    with pytest.raises(BundleError, match="is no bundle"):
        bundles.read(broken)
    with pytest.raises(BundleError, match="there is no file"):
        bundles.read(tmp_path / "nothing.zip")
    record = bundle.record | {"steps": [{"name": "x", "notebook": "../../x", "parameters": {}}]}
    with pytest.raises(BundleError, match="no notebook"):
        verifying.to_experiment(bundles.Bundle(bundle.path, record, {}), root="r", results=tmp_path)


def test_the_commands_name_what_they_write_and_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results" / "toy")
    assert cli.main(["bundle", "toy"]) == 0
    assert (
        "toy.bundle.zip" in capsys.readouterr().out and bundles.read("toy.bundle.zip").record["name"] == "toy"
    )
    shutil.rmtree(tmp_path / "results" / "toy" / "01_faces")
    (tmp_path / "results" / "toy" / "03_classifier" / "done.json").unlink()
    assert cli.main(["bundle", "toy"]) == 2 and "no finished step" in capsys.readouterr().err
    assert cli.main(["verify", "nothing.zip", "--root", "."]) == 2

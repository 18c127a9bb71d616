"""Every notebook runs with `smoke` on the embedded faces, from another working directory."""

from __future__ import annotations

import functools
import json
import re
import shutil
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from faceworkbook import backbones, project
from faceworkbook.evaluation import predictions
from faceworkbook.reports import engine, experiments, runner
from tests.conftest import REPO
from tests.reports import same_files

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


def run_steps(results, steps, *, cold=False, **given):
    """Run an experiment named ``smoke`` of these steps into `results`; return its folder."""
    path = results / "smoke.yaml"
    path.write_text(yaml.safe_dump({"name": "smoke", "title": "Smoke", "steps": steps}))
    given = {"smoke": True, "predicted_pose": True, **given}
    allowed = set().union(*(experiments.params.read(s.notebook) for s in experiments.read(path).steps))
    experiment = experiments.read(
        path, given={k: v for k, v in given.items() if k in allowed}, results=results
    )
    runner.run(experiment, results=results, cold=cold)
    return results / "smoke"


@pytest.fixture(scope="module")
def main_chain(tmp_path_factory):
    """The main chain has run into `results`: what it wrote, and the kernels that were forked for it."""
    results, forked, fork = tmp_path_factory.mktemp("results"), [], engine._fork
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_fork", lambda *given: forked.append(fork(*given)) or forked[-1])
        folder = run_steps(results, MAIN, store=str(results / "descriptors"))
    return SimpleNamespace(results=results, forked=forked, files=same_files.read(folder, results=results))


@pytest.fixture(scope="module")
def chain(main_chain):
    """Runs steps beside the main chain, which has run."""
    return functools.partial(run_steps, main_chain.results)


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


def test_cold_kernels_write_what_forked_ones_wrote(main_chain, tmp_path_factory):
    """Pages, notebooks, pictures and tables; but for times, places and the names of progress bars."""
    if not all(main_chain.forked):
        pytest.skip("kernels are started cold here")
    results = tmp_path_factory.mktemp("results")  # as long a name: a page lets long words be broken
    folder = run_steps(results, MAIN, cold=True, store=str(results / "descriptors"))
    cold = same_files.read(folder, results=results)
    assert len(main_chain.forked) == len(MAIN)
    assert {f"{step}/{name}" for step in MAIN for name in ("notebook.ipynb", "report.html")} <= set(cold)
    different = list(same_files.differences(main_chain.files, cold))
    assert not different, "\n".join(different)


def test_predicted_pose_is_a_group_and_no_label(chain):
    folder = chain(MAIN[:1])
    faces = pd.read_parquet(folder / "01_faces" / "faces.parquet")
    assert faces["predicted_yaw"].notna().mean() > 0.9 and (faces["predicted_yaw"] != faces["yaw"]).any()
    assert "predicted_yaw" in json.loads((folder / "01_faces" / "data.json").read_text())["labels"]
    groups = pd.read_parquet(folder / "04_errors" / "groups.parquet")
    bands = groups.loc[groups["attribute"] == "predicted_yaw", "group"].astype(str).tolist()
    assert "-10 to 10" in bands and "below -30" in bands
    assert "predicted_yaw" in (folder / "05_report" / "report.html").read_text()


def test_predictions_are_those_of_the_saved_split(chain):
    folder = chain(MAIN[:1]).parent / "smoke"
    predicted = predictions.read(folder / "03_classifier" / "predictions.parquet")
    split = json.loads((folder / "01_faces" / "split.json").read_text())
    faces = pd.read_parquet(folder / "01_faces" / "faces.parquet").set_index("face_id")
    for part in ("validation", "test"):
        assert set(predicted.loc[predicted["split"] == part, "face_id"]) == set(split[part])
    train = faces.loc[split["train"], "identity"]
    assert not set(train) & set(predicted.loc[predicted["split"] == "test", "identity"])


def test_a_classifier_of_ones_own_is_a_change_of_one_cell(chain, tmp_path):
    """Nearest neighbours instead of the MLP; every step that reads the classifier takes it."""
    chain(MAIN[:1])
    content = nbformat.read(REPO / "notebooks" / "03_classifier.ipynb", as_version=4)
    (cell,) = [c for c in content.cells if "model" in c.metadata.get("tags", [])]
    cell.source = "from sklearn.neighbors import KNeighborsClassifier\n\nmodel = KNeighborsClassifier(5)"
    nbformat.write(content, tmp_path / "03_classifier.ipynb")
    own = tmp_path / "results"
    folder = chain(MAIN[:1])
    for step in ("01_faces", "02_descriptors"):
        shutil.copytree(folder / step, own / step)
    for name in ("03_classifier", "04_errors", "05_report", "07_compare", "11_confidence", "12_stress"):
        place = tmp_path if name == "03_classifier" else REPO / "notebooks"
        values = {"out": str(own), "smoke": True}
        known = experiments.params.read(place / f"{name}.ipynb")
        given = {key: values.get(key, parameter.default) for key, parameter in known.items()}
        step = experiments.Step(name, place / f"{name}.ipynb", given)
        runner.run_step(step, own / name, "any", name)
    assert (
        "no predictor is written: KNeighborsClassifier has no translation into plain arrays"
        in (own / "03_classifier" / "report.html").read_text()
    )
    assert "KNeighborsClassifier" in (own / "05_report" / "report.html").read_text()
    assert "KNeighborsClassifier" in (own / "03_classifier" / "model_card.md").read_text()


@pytest.mark.parametrize("notebook", AFTER)
def test_notebook_runs_alone_after_the_main_chain(chain, notebook):
    page = (chain([notebook]) / notebook / "report.html").read_text()
    assert len(page) > 20_000


def test_a_network_is_fine_tuned_and_put_to_use_on_aligned_faces(chain):
    step = {
        "notebook": "10_fine_tune",
        "parameters": {"backbone": "mini_xception", "align": "five_points", "margin": 0.2, "resume": False},
    }
    folder = chain([step]) / "10_fine_tune"
    network = json.loads((folder / "predictor" / "predictor.json").read_text())["networks"][0]
    assert (
        network["preprocessing"]["align"] == "five_points" and network["preprocessing"]["crop_margin"] == 0.2
    )
    values = json.loads((folder / "metrics.json").read_text())
    assert values["origin"]["preprocessing"] == network["preprocessing"]
    page = (folder / "report.html").read_text()
    assert re.search(rf"{values['without_face']} of \d+ faces have no detected face of score 0.6", page)


def test_a_classifier_starts_from_another_run_unless_that_has_seen_the_tested_faces(chain, tmp_path):
    import keras

    folder = chain(MAIN[:3])
    for step in MAIN[:3]:
        shutil.copytree(folder / step, tmp_path / "earlier" / step)
        if step != "03_classifier":
            shutil.copytree(folder / step, tmp_path / "later" / step)
    earlier, later = tmp_path / "earlier" / "03_classifier", tmp_path / "later"
    notebook = REPO / "notebooks" / "03_classifier.ipynb"
    values = {"out": str(later), "smoke": True, "start": str(earlier), "lr_multipliers": ["shared: 0"]}
    known = experiments.params.read(notebook)
    given = {key: values.get(key, parameter.default) for key, parameter in known.items()}
    step = experiments.Step("03_classifier", notebook, given)
    runner.run_step(step, later / "03_classifier", "any", "03_classifier")
    before, after = (
        keras.models.load_model(place / "model.keras") for place in (earlier, later / "03_classifier")
    )
    kernels = [model.get_layer("dense1").get_weights()[0] for model in (before, after)]
    np.testing.assert_array_equal(*kernels)
    assert "None of the" in json.loads((later / "03_classifier" / "metrics.json").read_text())["start"]

    split = json.loads((later / "01_faces" / "split.json").read_text())
    faces = pd.read_parquet(later / "01_faces" / "faces.parquet").set_index("face_id", drop=False)
    seen = pd.read_parquet(earlier / "trained_on.parquet")
    tested = faces.loc[split["test"][:1], list(seen)].reset_index(drop=True)
    tested["image"] = [str(REPO / "data" / "synthetic" / image) for image in tested["image"]]
    pd.concat([seen, tested], ignore_index=True).to_parquet(earlier / "trained_on.parquet")
    with pytest.raises(
        Exception, match=r"was trained on [\d,]+ of the [\d,]+ faces that are tested here or on their people"
    ):
        runner.run_step(step, later / "03_classifier", "other", "03_classifier")


def test_further_sets_train_in_the_folds_of_both_schemes(chain, tmp_path):
    own = pd.read_parquet(chain(MAIN[:2]) / "01_faces" / "faces.parquet")
    rendered = pd.read_csv(REPO / "data" / "synthetic" / "labels.csv")
    others = rendered[~rendered["identity"].isin(own["identity"])].groupby("gender").head(20)
    for image in others["image"]:
        (tmp_path / image).parent.mkdir(exist_ok=True)
        shutil.copy(REPO / "data" / "synthetic" / image, tmp_path / image)
    others[["image", "gender"]].to_csv(tmp_path / "faces.csv", index=False)
    step = {
        "notebook": "06_cross_validation",
        "parameters": {"also_train": [f"csv: {tmp_path}"], "against_scheme": "official"},
    }
    folder = chain([*MAIN[:2], step]) / "06_cross_validation"
    page = (folder / "report.html").read_text()
    assert "40 faces of csv train in every fold" in page
    values = json.loads((folder / "metrics.json").read_text())
    assert values["against"]["scheme"] == "official" and values["against"]["n"] > 0


def test_a_search_counts_every_model_that_it_has_shown_on_test_rows(chain):
    """The best trial, the defaults beside it, and those of the outer folds."""
    folder = chain([*MAIN[:3], "14_search"])
    written = {path.stem for path in (folder / "14_search").glob("predictions*.parquet")}
    assert written == {"predictions", "predictions_defaults", "predictions_nested"}
    looks = [json.loads(line) for line in (folder.parent / "looks.jsonl").read_text().splitlines()]
    own = {look["model"] for look in looks if look["step"] == "14_search"}
    assert own == {f"14_search/{name}" for name in written}


def test_an_onnx_file_and_the_text_beside_it_run_through_01_to_05(tmp_path, monkeypatch):
    """A network in ArcFace's shape, by the side-car that weights/README.md has for it."""
    pytest.importorskip("onnx", reason="the extra [fast] is not installed")
    pytest.importorskip("onnxruntime", reason="the extra [fast] is not installed")
    from tests.backbones.test_own_onnx import put, templates

    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    put(tmp_path / "weights", "my_arcface", templates()["arcface"])
    given = {"backbone": ["my_arcface"], "smoke": True}
    runner.run(
        experiments.read("demo", given=given, results=tmp_path / "results"), results=tmp_path / "results"
    )
    folder = tmp_path / "results" / "demo"

    (block,) = json.loads((folder / "02_descriptors" / "metrics.json").read_text())["blocks"]
    assert block["network"] == "my_arcface" and block["dim"] == 512 and block["check"]["faces"] == 32
    assert block["weights_sha256"] == backbones.load("my_arcface").fingerprint
    assert block["preprocessing"]["align"] == "five_points"
    vectors = np.load(next(project.resolve(block["store"]).rglob("descriptors.npy")))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (
        "a batch against one by one, least cosine" in (folder / "02_descriptors" / "report.html").read_text()
    )

    (network,) = json.loads((folder / "03_classifier" / "predictor" / "predictor.json").read_text())[
        "networks"
    ]
    assert network["name"] == "my_arcface" and network["preprocessing"] == block["preprocessing"]
    report = (folder / "05_report" / "report.html").read_text()
    assert "my_arcface" in report and "InsightFace models, non-commercial research" in report


def test_relative_paths_hold_from_any_working_directory(chain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project.resolve("notebooks").is_dir()

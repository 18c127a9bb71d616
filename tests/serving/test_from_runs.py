"""What notebooks call to write a predictor: runs of earlier versions are answered in a sentence."""

from types import SimpleNamespace

import pytest

from faceworkbook.landmarks import AlignOptions
from faceworkbook.reports import experiments
from faceworkbook.serving import from_runs
from faceworkbook.serving.checks import PredictorError
from tests.conftest import REPO

ALIGNING = [path for path in (REPO / "notebooks").glob("*.ipynb") if "AlignOptions(" in path.read_text()]


@pytest.mark.parametrize(
    ("parameters", "lacking"),
    [({"min_score": 0.6, "no_face": "whole"}, "align_min_score"), ({}, "align_min_score and no_face")],
)
def test_descriptors_of_an_earlier_version_are_to_be_extracted_again(parameters, lacking):
    def write(run):
        from_runs.align_options(run.values("02_descriptors", "params"))

    run = SimpleNamespace(values=lambda step, name: parameters)
    with pytest.raises(PredictorError):
        write(run)
    assert from_runs.in_a_sentence(write)(run) == (
        f"no predictor is written: 02_descriptors was run by an earlier version, which did not write {lacking} into its "
        "params.json; run 02_descriptors again with the same parameters, then this notebook"
    )


def test_another_precision_than_that_of_training_is_a_limit_of_the_predictor():
    blocks = [{"precision": "float16"}, {"precision": "float32"}, {"kind": "file"}]
    run = SimpleNamespace(values=lambda step: {"blocks": blocks})
    (limit,) = from_runs.limits_of_precision(run)
    assert "descriptors in float16" in limit and "computes them in float32" in limit
    blocks[0]["precision"] = "float32"
    assert from_runs.limits_of_precision(run) == []


@pytest.mark.parametrize("source", ["landmarks", "mesh", "both"])
def test_nets_on_landmarks_have_no_predictor_and_say_on_what_they_are(source):
    run = SimpleNamespace(parameters={"source": source})
    text = from_runs.of_multitask(run, None, None, shares=None, backbone="faceres_deep", tap="global_pooling")
    assert text.startswith(f"no predictor is written: its faces are described by source={source}")
    assert "source=network" in text


@pytest.mark.parametrize("notebook", ALIGNING, ids=lambda path: path.stem)
def test_what_a_notebook_aligns_by_is_what_its_predictor_is_written_with(notebook):
    """A predictor aligns by the parameters; a notebook that leaves one out trained on what is usual now."""
    names = ("align_min_score", "no_face", "landmarks")
    assert f"AlignOptions({', '.join(names)})" in notebook.read_text()
    asked = experiments.params.read(notebook)
    options = from_runs.align_options({name: asked[name].default for name in names})
    assert options == AlignOptions()

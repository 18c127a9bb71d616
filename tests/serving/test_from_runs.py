"""What notebooks call to write a predictor: runs of earlier versions are answered in a sentence."""

from types import SimpleNamespace

import pytest

from faceworkbook.serving import from_runs
from faceworkbook.serving.checks import PredictorError


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


@pytest.mark.parametrize("source", ["landmarks", "mesh", "both"])
def test_nets_on_landmarks_have_no_predictor_and_say_on_what_they_are(source):
    run = SimpleNamespace(parameters={"source": source})
    text = from_runs.of_multitask(run, None, None, shares=None, backbone="faceres_deep", tap="global_pooling")
    assert text.startswith(f"no predictor is written: its faces are described by source={source}")
    assert "source=network" in text

"""Experiment files: refused before anything runs, or settled in every parameter."""

from __future__ import annotations

import pytest
import yaml

from faceworkbook.reports import experiments
from faceworkbook.reports.experiments import ExperimentError, ParameterError
from tests.conftest import REPO

SHIPPED = sorted((REPO / "notebooks" / "experiments").glob("*.yaml"))


def write(tmp_path, **content):
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump({"steps": ["01_faces"], **content}))
    return path


def test_every_step_gets_every_parameter(tmp_path):
    path = write(tmp_path, name="x", parameters={"seed": 4}, steps=["01_faces", "04_errors"])
    read = experiments.read(path, given={"label": "race"})
    assert [s.parameters["seed"] for s in read.steps] == [4, 4]
    assert [s.parameters["label"] for s in read.steps] == ["race", "race"]
    assert read.steps[0].parameters["out"] == "results/x"
    assert read.steps[0].parameters["validation"] == 0.15


def test_a_step_may_stand_twice_under_two_names(tmp_path):
    steps = [{"notebook": "03_classifier", "name": "wide", "parameters": {"widths": [64]}}, "03_classifier"]
    read = experiments.read(write(tmp_path, steps=steps))
    assert [s.name for s in read.steps] == ["wide", "03_classifier"]
    assert read.steps[0].parameters["widths"] == [64]
    assert [s.parameters["step"] for s in read.steps] == ["wide", ""]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"parameters": {"lable": "race"}}, ParameterError, "did you mean 'label'"),
        ({"steps": ["01_facse"]}, ParameterError, "did you mean .*01_faces"),
        ({"steps": [{"notebook": "01_faces", "parameters": {"widths": [3]}}]}, ParameterError, "step 01_faces: no parameter"),
        ({"parameters": {"test": "much"}}, ParameterError, "'test' got 'much'"),
        ({"colour": 1}, ExperimentError, "unknown keys"),
        ({"steps": []}, ExperimentError, "at least one step"),
        ({"steps": "01_faces"}, ExperimentError, "'steps' got '01_faces'"),
        ({"steps": [3]}, ExperimentError, "a step: got 3"),
        ({"steps": [{"name": "a"}]}, ExperimentError, "with notebook"),
        ({"steps": [{"notebook": "01_faces", "parameters": 3}]}, ExperimentError, "step 01_faces: 'parameters' got 3"),
        ({"parameters": 3}, ExperimentError, "'parameters' got 3"),
        ({"expected": "high"}, ExperimentError, "'expected' got 'high'"),
        ({"name": "../x"}, ExperimentError, "allowed are letters"),
        ({"steps": [{"notebook": "04_errors", "name": "wide"}]}, ExperimentError, r"no step of \['04_errors'\] has its notebook's name"),
        ({"steps": [{"notebook": "01_faces", "parameters": {"out": "here"}}]}, ParameterError, "no parameter 'out'"),
        ({"parameters": {"step": "wide"}}, ParameterError, "no parameter 'step'"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused(tmp_path, content, error, message):
    with pytest.raises(error, match=message):
        experiments.read(write(tmp_path, **content))


@pytest.mark.parametrize("content", [b"name: [wrong\nsteps: x: 3", b"\xa8\xff"])
def test_a_file_that_is_no_yaml_is_named(tmp_path, content):
    path = tmp_path / "e.yaml"
    path.write_bytes(content)
    with pytest.raises(ExperimentError, match=r"e\.yaml is no YAML"):
        experiments.read(path)


def test_unknown_experiment_names_the_near_one():
    with pytest.raises(ExperimentError, match="did you mean utkface_gender"):
        experiments.read("utkface_gendr")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_experiments_are_settled_and_state_what_to_expect(path):
    read = experiments.outline(path)
    assert read.name == path.stem
    assert read.question
    if path.stem.startswith("own"):  # nothing can be expected of faces that nobody has seen
        return
    assert read.expected["note"]
    if any(step.name == "05_report" for step in read.steps):
        assert read.expected["low"] < read.expected["high"] and read.expected["metric"]


def test_of_other_faces_the_file_says_nothing():
    """Its title and range would stand, wrongly, over a reader's own photographs."""
    own = experiments.read("demo", given={"dataset": "synthetic", "seed": 3})
    assert own.title == "Gender from rendered faces" and own.expected["low"]
    other = experiments.read("demo", given={"dataset": "image_folder", "root": str(REPO / "data")})
    assert (other.title, other.question, other.expected) == ("demo: dataset image_folder", "", {})


def test_paths_of_a_command_line_are_relative_to_where_it_is_typed(tmp_path, monkeypatch):
    (tmp_path / "faces").mkdir()
    monkeypatch.chdir(tmp_path)
    given = experiments.localize({"root": "faces", "weights": "not/there.mat", "label": "faces"})
    assert (REPO / given["root"]).resolve() == tmp_path / "faces"
    assert (given["weights"], given["label"]) == ("not/there.mat", "faces")


@pytest.mark.parametrize("place", ["near", "a/b/c/d"])
def test_a_command_lines_path_is_detected_from_any_depth(tmp_path, monkeypatch, place):
    """A relative path far from the project's root once stayed relative, and was then read from the root."""
    home = tmp_path / "project"
    home.mkdir()
    typed = tmp_path / place
    (typed / "faces").mkdir(parents=True)
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(home))
    monkeypatch.chdir(typed)
    given = experiments.localize({"root": "faces"})
    assert (home / given["root"]).resolve() == typed / "faces"


def refused(tmp_path, text, says):
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(ExperimentError, match=says):
        experiments.read(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps: [../../../tmp/evil]", "notebook '../../../tmp/evil'; allowed are letters"),
        ("steps: [/tmp/evil]", "notebook '/tmp/evil'; allowed are letters"),
        ("steps: [{notebook: 01_faces, name: ../../outside}]", "name '../../outside'; allowed are letters"),
        ("name: ../outside\nsteps: [01_faces]", "name '../outside'; allowed are letters"),
        ("steps: [01_faces, 01_faces]", r"several steps are called \['01_faces'\]"),
        ("a: &a [x, x]\nb: [*a, *a]\nsteps: [01_faces]", r"alias \*a is not allowed"),
        ("steps: " + "[" * 500 + "]" * 500, "nested more than 8 deep"),
        ("question: " + "x" * 200_000 + "\nsteps: [01_faces]", "at most 100,000"),
        (
            "steps: [01_faces]\nparameters: [" + "1," * 5000 + "1]",
            r"'parameters' got .{80,90} \.\.\.; it takes",
        ),
        ("1: 2\nsteps: [01_faces]", r"unknown keys \['1'\]"),
    ],
)
def test_hostile_files_are_refused_in_a_short_sentence(tmp_path, text, says):
    refused(tmp_path, text, says)


def test_an_expected_range_is_silent_for_other_faces_unless_it_names_its_own(tmp_path):
    expected = {"metric": "accuracy", "low": 0, "high": 1}
    path = write(tmp_path, expected=expected, parameters={"limit": 0})
    assert experiments.read(path).expected == expected
    assert experiments.read(path, given={"seed": 3, "limit": 0}).expected == expected
    assert experiments.read(path, given={"limit": 100}).expected == {}
    named = write(tmp_path, expected={**expected, "pictures": "abc"})
    assert experiments.read(named, given={"limit": 100}).expected["pictures"] == "abc"

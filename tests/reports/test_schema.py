"""The JSON schema of experiment files: it fits every shipped one, marks what ``workbook run`` refuses, and is kept up to date."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import jsonschema
import pytest

from faceworkbook import plain_yaml
from faceworkbook.reports import schema
from tests.conftest import REPO

EXPERIMENTS = sorted((REPO / "notebooks" / "experiments").glob("*.yaml"))
KEPT = REPO / schema.PATH
DEMO = plain_yaml.load((REPO / "notebooks" / "experiments" / "demo.yaml").read_text())


@pytest.fixture(scope="module")
def validator():
    content = json.loads(KEPT.read_text())
    jsonschema.Draft7Validator.check_schema(content)
    return jsonschema.Draft7Validator(content)


def test_the_kept_schema_is_that_of_the_notebooks(tmp_path):
    if schema.to_text(schema.make()) == KEPT.read_text():
        return
    # In a process of its own: what other tests have registered is in no schema.
    path = tmp_path / "made.json"
    command = [sys.executable, "-m", "faceworkbook.cli", "schema", str(path)]
    environment = os.environ | {"FACEWORKBOOK_HOME": str(REPO)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert path.read_text() == KEPT.read_text(), "run: workbook schema"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_fits_and_names_the_schema(validator, path):
    text = path.read_text()
    assert text.startswith(schema.LINE + "\n")
    assert [error.message for error in validator.iter_errors(plain_yaml.load(text))] == []


def change(**keys):
    return copy.deepcopy(DEMO) | keys


FAULTS = {
    "no steps": {key: value for key, value in DEMO.items() if key != "steps"},
    "a key that is none": change(parameter={}),
    "a notebook that is not there": change(steps=["01_faces", "03_clasifier"]),
    "a parameter that no notebook has": change(parameters={"seeed": 1}),
    "a text for a number": change(parameters={"epochs": "many"}),
    "a share above one": change(parameters={"test": 1.5}),
    "a choice that is none": change(parameters={"scheme": "by_person"}),
    "yes for true": change(parameters={"smoke": "yes"}),
    "a list of texts for widths": change(parameters={"widths": ["64"]}),
    "another notebook's parameter": change(
        steps=[{"notebook": "03_classifier", "parameters": {"max_bits": 3}}]
    ),
    "a step's key that is none": change(steps=[{"notebook": "03_classifier", "params": {}}]),
    "a name with a slash": change(name="a/b"),
    "final as a text": change(final="yes"),
    "an expected range of texts": change(expected={"low": "much"}),
    "a sweep's key that is none": change(sweep={"crossed": {"seed": [1]}}),
    "a swept value that is no list": change(sweep={"grid": {"seed": 1}}),
    "a swept parameter that is none": change(sweep={"grid": {"seeed": [1, 2]}}),
    "no seed at all": change(sweep={"seeds": 0}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_marked(validator, fault):
    assert [*validator.iter_errors(FAULTS[fault])]


ALLOWED = {
    "a step with a name and parameters of its own": change(
        steps=[
            "01_faces",
            {"notebook": "08_groups", "name": "by_race", "parameters": {"attributes": ["race"]}},
        ]
    ),
    "a single text for a list": change(parameters={"tap": "fc7", "more_labels": "race"}),
    "a whole number for a share": change(parameters={"dropout": 0}),
    "a data set and a classifier that a cell registers": change(
        parameters={"dataset": "mine", "classifier": "my_net"}
    ),
    "the default of a notebook": change(steps=[{"notebook": "07_compare", "parameters": {"margin": -1}}]),
    "one step's parameter swept": change(
        sweep={"grid": {"03_classifier.dropout": [0.2, 0.4]}, "seeds": [1, 2]}
    ),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_is_allowed_is_not_marked(validator, case):
    assert [error.message for error in validator.iter_errors(ALLOWED[case])] == []


def test_an_editor_shows_comments_and_choices():
    content = json.loads(KEPT.read_text())
    scheme = content["$defs"]["scheme"]
    assert "no person on two sides" in scheme["description"] and "official" in scheme["enum"]
    assert content["$defs"]["parameters.03_classifier"]["properties"]["widths"]["$ref"].startswith(
        "#/$defs/widths"
    )

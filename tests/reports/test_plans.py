"""``final: true``: the plan comes before the test rows, is held to, and says what was looked at before."""

from __future__ import annotations

import pytest
import yaml

from faceworkbook import files
from faceworkbook.reports import experiments, plans
from faceworkbook.reports.experiments import ExperimentError
from faceworkbook.reports.looks import Looks
from faceworkbook.reports.plans import PlanError

NOBODY = Looks(0, 0, "", 0)


def experiment(tmp_path, **parameters):
    path = tmp_path / "last.yaml"
    content = {
        "final": True,
        "parameters": {"label": "gender", **parameters},
        "steps": ["01_faces", "03_classifier"],
    }
    path.write_text(yaml.safe_dump(content))
    return experiments.read(path, results=tmp_path / "results")


def sealed(tmp_path, *, code="c", **parameters):
    folder = tmp_path / "last"
    folder.mkdir(exist_ok=True)
    made = experiment(tmp_path, **parameters)
    plans.seal(made, folder, code=code)
    return folder, made


def test_a_final_experiment_has_a_plan_with_every_parameter_and_a_hash(tmp_path):
    folder, made = sealed(tmp_path)
    plan = plans.read(folder)
    faces, classifier = (step["parameters"] for step in plan["steps"])
    assert classifier["epochs"] == 60 and "out" not in faces
    assert len(plan["plan"]) == 32 and plan["earlier"] == []
    plans.hold_to(folder, "03_classifier", made.steps[1].parameters)


def test_an_unchanged_plan_keeps_its_time_and_a_changed_one_names_those_before(tmp_path):
    folder, _ = sealed(tmp_path)
    first = plans.read(folder)
    files.write_json(folder / plans.NAME, first | {"when": "2020-01-01T00:00:00+00:00"})
    sealed(tmp_path)
    assert plans.read(folder)["when"].startswith("2020")
    sealed(tmp_path, epochs=3)
    second = plans.read(folder)
    assert second["plan"] != first["plan"] and [e["plan"] for e in second["earlier"]] == [first["plan"]]
    assert "plan number 2" in plans.describe(second, NOBODY)
    sealed(tmp_path, epochs=3, code="other code")
    assert len(plans.read(folder)["earlier"]) == 2


@pytest.mark.parametrize(
    ("step", "changed", "message"),
    [
        ("03_classifier", {"epochs": 5}, "epochs=5, the plan of .* has 60"),
        ("08_groups", {}, "08_groups is not in the plan"),
    ],
)
def test_what_departs_from_the_plan_is_refused_in_one_sentence(tmp_path, step, changed, message):
    folder, made = sealed(tmp_path)
    with pytest.raises(PlanError, match=message) as refused:
        plans.hold_to(folder, step, made.steps[1].parameters | changed)
    assert "final: true" in str(refused.value) and "\n" not in str(refused.value)


def test_without_final_nothing_is_sealed(tmp_path):
    folder, made = sealed(tmp_path)
    plans.seal(experiments.Experiment("last", "", "", {}, made.steps), folder, code="c")
    assert plans.read(folder) == {}
    plans.hold_to(folder, "08_groups", {"anything": 1})


def test_the_page_says_whether_the_rows_were_fresh(tmp_path):
    folder, _ = sealed(tmp_path)
    assert "Nobody had looked" in plans.describe(plans.read(folder), NOBODY)
    before = plans.describe(plans.read(folder), Looks(7, 3, "2026-02-03T00:00:00+00:00", 0))
    assert (
        "7 times before, with 3 different models, since 2026-02-03" in before and "no longer fresh" in before
    )


def test_final_is_true_or_false(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("final: perhaps\nsteps: [01_faces]\n")
    with pytest.raises(ExperimentError, match="'final' got 'perhaps'; it takes true or false"):
        experiments.read(path)


def test_a_step_with_a_name_of_its_own_is_known_by_its_notebook(tmp_path):
    path = tmp_path / "two.yaml"
    steps = [
        {"notebook": "07_compare", "name": name, "parameters": {"metric": metric}}
        for name, metric in (("07_compare", "accuracy"), ("by_auc", "auc"))
    ]
    path.write_text(yaml.safe_dump({"final": True, "steps": steps}))
    made = experiments.read(path, results=tmp_path / "results")
    plans.seal(made, tmp_path, code="c")
    for step in made.steps:
        plans.hold_to(tmp_path, "07_compare", step.parameters)
    with pytest.raises(PlanError, match="metric='f1'"):
        plans.hold_to(tmp_path, "07_compare", made.steps[0].parameters | {"metric": "f1"})

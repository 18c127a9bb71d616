"""Searched settings are judged on faces that did not choose them."""

from dataclasses import fields, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

pytest.importorskip("optuna", reason="the extra [search] is not installed")

from faceworkbook import faces, tasks, training
from faceworkbook.evaluation import cross_validation, metrics, predictions
from faceworkbook.experiments import search
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.plots.parallel_coordinates import ParallelCoordinatesDisplay
from faceworkbook.plots.search import SearchDisplay
from faceworkbook.reports import experiments, parameters, searching, values
from faceworkbook.training import balancing, batched, networks
from faceworkbook.training.halving import Halving
from faceworkbook.training.search import Plan
from faceworkbook.training.search import search as run_search
from faceworkbook.training.spaces import Choice, Range
from tests.conftest import REPO

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

SPACE = {"learning_rate": Range(1e-3, 1e-1, log=True), "widths": Choice(((8,),)), "dropout": Range(0.0, 0.5)}
PLAN = Plan(n_trials=10, at_once=10, epochs=6, patience=3, startup=5, halving=Halving(2, 2))


@pytest.fixture(scope="module")
def noise():
    """Descriptors that know nothing of their labels."""
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (400, 20)).astype(np.float32)
    names = np.array(["female", "male"])[rng.permutation(np.arange(400) % 2)]
    table = faces.build({"image": [f"{i}.jpg" for i in range(400)], "gender": names}, dataset="toy")
    return x, table, tasks.read_labels(table, "gender")


def test_on_noise_the_naive_figure_is_better_than_chance_and_the_nested_one_is_not(noise):
    x, table, labels = noise
    splits = training.plan(table, label="gender", n_repeats=1, n_folds=5, validation=0.25)
    # Rates at which nets learn noise, each in another direction.
    space = {"learning_rate": Range(1e-2, 3e-1, log=True), "widths": Choice(((32,),))}
    space |= {"dropout": Range(0.0, 0.5), "input_dropout": Range(0.0, 0.5)}
    plan = replace(PLAN, n_trials=100, at_once=100, epochs=8, patience=8, halving=None)
    made = search.nested("mlp", x, labels, splits, space=space, plan=plan)
    figures = made.optimism(table, metric="accuracy").set_index("figure")
    naive, tested = figures.loc[search.CHOSE], figures.loc[search.TESTED]
    assert naive["low"] > 0.5
    assert tested["low"] < 0.5 < tested["high"]
    assert figures.loc[search.OPTIMISM, "mean"] > 0.05
    assert list(search.settings_by_fold(made)["fold"]) == [0, 1, 2, 3, 4]
    # Each face is tested once, and the folds' mean is that of the table of predictions.
    predicted = cross_validation.predictions(made.fits, table)
    accuracy = metrics.summary(predicted, names=["accuracy"]).iloc[0]
    assert accuracy["n"] == 400 and accuracy["value"] == pytest.approx(tested["mean"])


def test_outer_test_rows_take_no_part_in_the_search(noise):
    x, table, labels = noise
    (split, _) = training.plan(table, label="gender", n_repeats=1, n_folds=2)
    changed, flipped = x.copy(), tasks.Labels(labels.task, labels.codes.copy(), labels.values)
    changed[split.test] += 5
    flipped.codes[split.test] = 1 - flipped.codes[split.test]
    first = search.nested("mlp", x, labels, [split], space=SPACE, plan=PLAN)
    second = search.nested("mlp", changed, flipped, [split], space=SPACE, plan=PLAN)
    assert first.searched[0].table.equals(second.searched[0].table)


@pytest.mark.parametrize(("name", "better"), [("gender", "higher"), ("age", "lower")])
def test_optimism_is_positive_where_the_rows_that_chose_look_better(name, better):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200) if name == "gender" else rng.uniform(20, 60, 200)
    column = np.array(["female", "male"])[truth] if name == "gender" else truth
    table = faces.build({"image": [f"{i}.jpg" for i in range(200)], name: column}, dataset="toy")
    labels = tasks.read_labels(table, name)
    spoilt = np.arange(200) >= 150  # among the test rows
    if name == "gender":
        wrong = np.where(spoilt, 1 - labels.codes, labels.codes)
        output = np.column_stack([1.0 - wrong, wrong])
    else:
        output = truth + np.where(spoilt, 10.0, 1.0) + rng.normal(0, 0.1, 200)
    splits = np.repeat(["validation", "test"], 100)
    predicted = predictions.build(table, labels.task, truth=labels.truth, output=output, split=splits)
    metric = labels.task.headline
    figures = search.compare_subsets(predicted, metric=metric).set_index("figure")
    gap = abs(figures.loc[search.CHOSE, "value"] - figures.loc[search.TESTED, "value"])
    assert figures.loc[search.OPTIMISM, "value"] == pytest.approx(gap) and gap > 0.4
    assert figures.loc[search.OPTIMISM, "low"] > 0


@pytest.mark.parametrize("classifier", ["mlp", "linear", "residual_mlp"])
def test_best_settings_are_parameters_that_03_and_06_take(noise, tmp_path, classifier):
    _x, _table, labels = noise
    options = {
        "mlp": {"widths": (8,), "gamma": 0.9, "learning_rate": 0.0123, "epochs": 3, "patience": 2},
        "linear": {"strengths": [0.002], "balance": "class_weights"},
        "residual_mlp": {
            "residuals": 1,
            "groups": 1,
            "shortcuts": False,
            "gamma": 0.5,
            "epochs": 2,
            "patience": 2,
        },
    }[classifier]
    chosen = search.parameters(classifier, options, labels, balance_by="race")
    path = search.save_parameters(tmp_path / "best.yaml", chosen, comment="best of 10")
    read = parameters.read_file(path)
    assert read == chosen and read["classifier"] == classifier
    assert read["balance_by"] == "race"  # the settings even out groups, and so must those who take them
    for step in ("03_classifier", "06_cross_validation"):
        known = parameters.read(REPO / "notebooks" / f"{step}.ipynb")
        assert set(read) <= set(known)
        for name, value in read.items():
            known[name].check(value)
    # What the notebook makes of it are the searched options again.
    settings = {
        name: value for name, value in read.items() if name not in ("classifier", "classifier_options")
    }
    given = training.options_for(classifier, settings, parameters.parse_options(read["classifier_options"]))
    for name, value in options.items():
        assert given[name] == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize("slowed", [{}, {"shared": 0.5}])
def test_every_setting_of_an_mlp_arrives_in_03_and_06(noise, slowed):
    labels = noise[2]
    options = {"widths": (8,), "gamma": 0.9, "input_dropout": 0.2, "lr_multipliers": slowed}
    chosen = search.parameters("mlp", options, labels)
    further = parameters.parse_options(chosen["classifier_options"])
    settings = {name: chosen[name] for name in set(chosen) & {f.name for f in fields(batched.Settings)}}
    settings["lr_multipliers"] = parameters.parse_options(chosen["lr_multipliers"])
    given = training.options_for("mlp", settings, further)
    expected = batched.with_settings(batched.defaults(labels.task), **options)
    assert batched.with_settings(batched.Settings(), **given) == expected


@pytest.mark.parametrize(
    ("classifier", "step"), [("multitask", "09_multitask"), ("fine_tune", "10_fine_tune")]
)
def test_best_settings_of_networks_are_parameters_that_09_and_10_take(noise, tmp_path, classifier, step):
    _x, _table, labels = noise
    others = {"smile": tasks.Labels(replace(labels.task, name="smile"), labels.codes, labels.values)}
    start = SimpleNamespace(name="faceres_deep")
    learner = networks.Multitask(others) if classifier == "multitask" else networks.FineTune(start, others)
    options = {"hidden": (8,), "learning_rate": 1.5e-5, "dropout": 0.25, "epochs": 3}
    options |= {"trunk": 2.5e-5} if classifier == "fine_tune" else {"heads": "stitch"}
    chose = searching.name("gender", "0" * 32)
    chosen = search.parameters(learner, options, labels, searched_on=chose)
    read = parameters.read_file(search.save_parameters(tmp_path / "best.yaml", chosen, comment="best"))
    known = parameters.read(REPO / "notebooks" / f"{step}.ipynb")
    assert set(read) <= set(known) and not values.check(read, known)
    assert {name: known[name].check(value) for name, value in read.items()} == read
    assert read["hidden"] == [8] and read["learning_rate"] == 1.5e-5 and read["searched_on"] == chose
    if classifier == "fine_tune":
        assert read["labels"] == ["gender", "smile"] and read["backbone"] == "faceres_deep"
        assert parameters.parse_options(read["lr_multipliers"]) == {"trunk": 2.5e-5}


def test_a_step_says_which_faces_chose_its_settings():
    here, there = "a" * 32, "b" * 32
    assert searching.describe("", labels=["gender"], data=here) == (
        "The settings are as given; no search chose them."
    )
    chose = searching.name("gender", here)
    fair = searching.describe(chose, labels=["gender"], data=here)
    assert "for 'gender' on the validation rows of this split; its test rows took no part" in fair
    assert "(this step learns race)" in searching.describe(chose, labels=["race"], data=here)
    assert "each face is tested here" in searching.describe(chose, labels=["gender"], data=here, folds=True)
    for other in (there, ""):
        sentence = searching.describe(chose, labels=["gender"], data=other)
        assert "on faces or a split other than these" in sentence and "flatters the figures" in sentence
    with pytest.raises(ValueError, match="searched_on='gender': expected what 14_search"):
        searching.describe("gender", labels=["gender"])


def test_what_is_searched_reads_descriptors_or_pictures(noise, tmp_path):
    x, table, labels = noise
    rng = np.random.default_rng(0)
    for image in table["image"][:6]:
        cv2.imwrite(str(tmp_path / image), rng.integers(0, 255, (40, 40, 3), np.uint8))
    few = table.iloc[:6].reset_index(drop=True)
    grouped = balancing.group(labels.take(np.arange(6)), few, "gender")
    data = PreparedData(few, grouped, None, x[:6], np.full(6, -1))
    assert search.open_learner("mlp", data) == ("mlp", data.matrix)
    with pytest.raises(ValueError, match=r"together=\['race'\] and classifier='mlp': that learns one label"):
        search.open_learner("mlp", data, together=["race"])
    learner, inputs = search.open_learner("multitask", data, together=["gender"])
    assert inputs is data.matrix and list(learner.others["gender"].groups) == list(few["gender"])
    learner, inputs = search.open_learner("fine_tune", data, backbone="mini_xception", root=tmp_path)
    assert learner.name == "fine_tune" and len(inputs) == 6
    assert inputs.take(np.arange(2)).shape[1:3] == learner.start.preprocessing.size
    (tmp_path / table["image"][4]).unlink()
    with pytest.raises(ValueError, match="1 pictures cannot be read any more"):
        search.open_learner("fine_tune", data, backbone="mini_xception", root=tmp_path)


def test_a_run_takes_parameters_from_a_file_and_others_before_them(tmp_path, monkeypatch):
    from faceworkbook import cli

    path, seen = tmp_path / "best.yaml", {}
    path.write_text(
        yaml.safe_dump({"classifier": "linear", "classifier_options": ["strengths: [0.1]"], "epochs": 3})
    )

    def read(path, *, given, **others):
        seen.update(given)
        raise experiments.ExperimentError("seen")

    monkeypatch.setattr(experiments, "read", read)
    assert cli.main(["run", "demo", "-f", str(path), "-p", "epochs=5"]) == 2
    assert seen == {"classifier": "linear", "classifier_options": ["strengths: [0.1]"], "epochs": 5}
    path.write_text("- a\n- b\n")
    with pytest.raises(parameters.ParameterError, match=r"best.yaml holds no parameters; expected lines"):
        parameters.read_file(path)
    with pytest.raises(parameters.ParameterError, match="cannot be read as parameters"):
        parameters.read_file(tmp_path / "none.yaml")


def test_options_that_a_classifier_does_not_have_are_refused():
    with pytest.raises(
        ValueError, match=r"linear has no option \['gamma'\]; allowed are \['balance', 'strengths'\]"
    ):
        training.options_for("linear", {}, {"gamma": 0.9})


def test_displays_say_what_they_show(noise):
    x, table, labels = noise
    split = training.plan(table, label="gender", n_repeats=1, n_folds=2)[0]
    space = {**SPACE, "balance": Choice(("none", "class_weights"))}
    plan = replace(PLAN, n_trials=24, at_once=24)
    searched = run_search("mlp", x, labels, split, space=space, plan=plan)
    display = SearchDisplay.from_search(searched).plot()
    whole = searched.table[searched.table["state"] == "complete"]["value"]
    assert f"the best reached {whole.max():.3f}" in display.describe()
    assert len(display.axes_[0].lines) == 3
    parallel = ParallelCoordinatesDisplay.from_search(searched, list(space)).plot()
    assert "widths" not in parallel.names and "learning_rate" in parallel.names  # one width alone is no axis
    assert len([line for line in parallel.ax_.lines if len(line.get_xdata()) > 2]) == len(whole)
    assert "learning rate" in parallel.describe()
    empty = SearchDisplay(
        searched.table, searched.column, True, pd.DataFrame(columns=["hyper-parameter", "importance"])
    )
    assert "mattered" not in empty.plot().describe()

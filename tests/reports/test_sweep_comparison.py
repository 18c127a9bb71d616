"""Which settings of a sweep are compared, by which test, and what its page says."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import predictions
from faceworkbook.reports import jobs, sweep_comparison, sweep_page, sweeps
from faceworkbook.tasks import Task
from tests.evaluation.made_predictions import faces_table
from tests.reports import sweep_toys

GENDER = Task("gender", "classes", ("female", "male"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    return sweep_toys.make(tmp_path)


def table(*, seed, ease, split=0, n=300, task=GENDER):
    rng = np.random.default_rng([seed, split])
    truth = np.random.default_rng(split).integers(0, 2, n)
    share = 1 / (1 + np.exp(-rng.normal(ease, 1.5, n)))
    output = np.where(truth[:, None] == [0, 1], share[:, None], 1 - share[:, None])
    faces = faces_table(n).assign(face_id=[f"s{split}f{i}" for i in range(n)])
    return predictions.build(
        faces,
        task,
        truth=np.array(task.classes, dtype=object)[truth],
        output=output,
        split=np.repeat(["validation", "test"], [n // 3, n - n // 3]),
    )


def finish(home, axes, make, *, n_train=400):
    """Write the predictions of every point of a sweep; returns the sweep and its outcomes."""
    sweep = sweeps.read("toy", axes)
    for at, point in enumerate(sweep.points):
        made = make(at, point.swept)
        if made is None:
            continue
        folder = home / "results" / point.name / "03_classifier"
        folder.mkdir(parents=True)
        predictions.write(made, folder / "predictions.parquet")
        (folder / "metrics.json").write_text(json.dumps({"n_train": n_train}))
    outcomes = [jobs.Outcome(point.name) for point in sweep.points]
    return sweep, outcomes


def compare(sweep, outcomes):
    return sweep_comparison.compare(sweep, "results", [outcome.name for outcome in outcomes], n_boot=200)


def test_settings_with_seeds_on_the_same_rows_are_compared_over_people_and_seeds(home):
    axes = [("net", ["a", "b"]), ("seed", [0, 1, 2])]
    sweep, outcomes = finish(home, axes, lambda at, p: table(seed=at, ease=1 if p["net"] == "a" else 4))
    (group,) = compare(sweep, outcomes).groups
    assert group.pairs["test"].tolist() == ["paired t over people and seeds"]
    assert group.settings["seeds"].tolist() == [3, 3] and group.settings["chosen"].tolist() == [False, True]
    page, answer = sweep_page.write(sweep, outcomes, "results")
    text = page.read_text()
    assert "net a is worse than net b" in answer and "Validation rows choose net b" in answer
    assert "net a is worse than net b" in text and "<img src=" in text and "://" not in text
    assert "whoever keeps the best of 2 by them reads it too well" in text
    assert (page.parent / "pairs.csv").is_file() and (page.parent / "points.csv").is_file()


def test_one_fit_each_has_the_metrics_own_paired_test(home):
    sweep, outcomes = finish(home, [("net", ["a", "b", "c"])], lambda at, p: table(seed=at, ease=1 + at))
    (group,) = compare(sweep, outcomes).groups
    assert set(group.pairs["test"]) == {"exact McNemar"} or len(group.pairs) == 3
    assert "sweep seeds for that" in group.design and "Holm over 3 pairs" in group.design
    assert (group.pairs["p_holm"] >= group.pairs["p"]).all()


def test_the_same_folds_are_compared_by_the_corrected_test(home):
    def folds(at, swept):
        made = table(seed=at, ease=2 + at, n=400)
        test = (made["split"] == "test").to_numpy()
        made["fold"] = np.where(test, np.cumsum(test) % 5, 0)
        return made

    sweep, outcomes = finish(home, [("net", ["a", "b"])], folds)
    (group,) = compare(sweep, outcomes).groups
    assert group.pairs["test"].tolist() == ["Nadeau-Bengio corrected t"] and group.pairs["n"].tolist() == [5]
    assert "The same folds: corrected t test" in group.design and "sweep seeds" not in group.design


def test_other_rows_are_never_compared_by_a_paired_test(home):
    axes = [("net", ["a", "b"]), ("seed", [0, 1])]
    sweep, outcomes = finish(home, axes, lambda at, p: table(seed=at, ease=2, split=int(p["net"] == "b")))
    result = compare(sweep, outcomes)
    assert [len(group.pairs) for group in result.groups] == [0, 0]
    answer = sweep_page.describe(sweep, sweep_page._points_table(sweep, {}, result), result)
    assert "2 groups with other test rows or labels, which are not compared with each other" in answer


def test_other_labels_make_another_group(home):
    race = Task("race", "classes", ("Black", "White"))
    sweep, outcomes = finish(
        home, [("net", ["a", "b"])], lambda at, p: table(seed=at, ease=2, task=(GENDER, race)[at])
    )
    assert [group.task for group in compare(sweep, outcomes).groups] == ["gender", "race"]


def test_random_splits_that_settings_share_are_compared_by_the_corrected_test(home):
    axes = [("net", ["a", "b"]), ("01_faces.seed", [0, 1, 2, 3])]
    sweep, outcomes = finish(
        home, axes, lambda at, p: table(seed=at, ease=1 if p["net"] == "a" else 4, split=p["01_faces.seed"])
    )
    (group,) = compare(sweep, outcomes).groups
    (pair,) = group.pairs.to_dict("records")
    assert "Nadeau-Bengio" in pair["test"] and pair["n"] == 4 and pair["verdict"] == "differ"
    assert "its own test rows" in group.design


SMILE = Task("smile", "classes", ("no", "yes"))


def finish_strategies(home, axes, strategies, *, splits=3):
    """Write what 09_multitask writes: a table a strategy and task, with a repeat a split."""
    sweep = sweeps.read("toy", axes)
    for at, point in enumerate(sweep.points):
        folder, rows = home / "results" / point.name / "03_classifier", []
        folder.mkdir(parents=True)
        for strategy in strategies:
            for task in (GENDER, SMILE):
                ease = 1 + 3 * (point.swept["net"] == "b") * (task is GENDER)
                tables_ = [
                    table(seed=10 * at + len(strategy), ease=ease, split=k, task=task).assign(repeat=k)
                    for k in range(splits)
                ]
                own = predictions.join(tables_)
                predictions.write(
                    own[own["split"] == "test"], folder / f"predictions_{strategy}_{task.name}.parquet"
                )
                rows += [
                    {
                        "task": task.name,
                        "strategy": strategy,
                        "repeat": k,
                        "n_train": 400,
                        "validation": ease / 10,
                    }
                    for k in range(splits)
                ]
        pd.DataFrame(rows).to_parquet(folder / "values.parquet")
        (folder / "metrics.json").write_text("{}")
    return sweep, [jobs.Outcome(point.name) for point in sweep.points]


def test_points_of_several_tasks_are_compared_task_by_task_over_their_splits(home):
    sweep, outcomes = finish_strategies(home, [("net", ["a", "b"])], ["joint-naive"])
    result = compare(sweep, outcomes)
    assert [group.task for group in result.groups] == ["gender", "smile"] and not result.without
    gender, smile = (group.pairs.iloc[0] for group in result.groups)
    assert gender["verdict"] == "differ" and smile["verdict"] != "differ"
    assert "Nadeau-Bengio" in gender["test"] and gender["n"] == 3
    values = pd.read_parquet(home / "results" / sweep.points[0].name / "03_classifier" / "values.parquet")
    assert set(values["task"]) == {"gender", "smile"}
    first = result.groups[0].settings.set_index("setting")["value"]
    chosen = result.groups[0].settings.set_index("setting")
    assert chosen["validation"].to_dict() == {"net a": pytest.approx(0.1), "net b": pytest.approx(0.4)}
    assert list(chosen.index[chosen["chosen"]]) == ["net b"]
    assert result.values[sweep.points[0].name] == pytest.approx(first["net a"])
    assert set(result.metrics.values()) == {"accuracy"}
    page, answer = sweep_page.write(sweep, outcomes, "results")
    assert "2 groups with other test rows or labels" in answer and " gender: net a" in answer
    assert " smile: net a" in answer and "group 2 of 2: smile" in page.read_text()


def test_strategies_of_a_point_are_settings_of_their_own(home):
    sweep, outcomes = finish_strategies(home, [("net", ["a", "b"])], ["single", "joint-naive"])
    gender, _ = compare(sweep, outcomes).groups
    assert set(gender.settings["setting"]) == {
        f"net {net}, {strategy}" for net in "ab" for strategy in ("single", "joint-naive")
    }
    assert len(gender.pairs) == 6


def test_no_cell_of_the_tables_is_a_formula(home):
    axes = [("net", ["=1+1", "b"])]
    sweep, outcomes = finish(home, axes, lambda at, p: table(seed=at, ease=2))
    sweep_page.write(sweep, outcomes, "results")
    cells = (home / "results" / "toy.sweep" / "points.csv").read_text()
    assert ",'=1+1," in cells and ",=1+1" not in cells


def test_points_that_failed_or_predict_nothing_are_in_no_comparison(home):
    axes = [("net", ["a", "b"]), ("seed", [0, 1])]
    sweep, outcomes = finish(
        home, axes, lambda at, p: None if at == 3 else table(seed=at, ease=1 if p["net"] == "a" else 4)
    )
    outcomes[0] = jobs.Outcome(outcomes[0].name, jobs.FAILED, error="<b>no</b> memory\nmore")
    result = compare(sweep, outcomes[1:])
    assert list(result.without) == [sweep.points[3].name] and set(result.groups[0].settings["seeds"]) == {1}
    page, answer = sweep_page.write(sweep, outcomes[:3], "results")
    text = page.read_text()
    assert "2 of 4 points are finished, 1 failed, 1 were not reached" in answer
    assert "&lt;b&gt;no&lt;/b&gt; memory" in text and "<b>no" not in text and "not reached" in text


def test_too_many_settings_are_not_compared_pair_by_pair(home):
    axes = [("dropout", [round(0.01 * k, 2) for k in range(1, 33)])]
    sweep, outcomes = finish(home, axes, lambda at, p: table(seed=at, ease=2))
    (group,) = compare(sweep, outcomes).groups
    assert group.pairs.empty and "choose by the validation rows" in group.design
    assert group.settings["chosen"].sum() == 1

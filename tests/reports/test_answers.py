"""Answers are computed from a run's own figures, one sentence each."""

import json
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from faceworkbook import data_record
from faceworkbook.evaluation import comparison, predictions
from faceworkbook.reports import answers, html, identity, referee, runs
from faceworkbook.tasks import Task

GENDER = Task("gender", classes=("female", "male"))
AGE = Task("age", "number", unit="years")


def figure(metric, value, low, high, **more):
    return pd.Series(
        {"metric": metric, "value": value, "low": low, "high": high, "n": 600, "n_identities": 150} | more
    )


def compare(wrong_first, wrong_second, n=400):
    faces = pd.DataFrame(
        {"face_id": [f"f{i}" for i in range(n)], "identity": pd.array([pd.NA] * n, dtype="string")}
    )
    truth = np.where(np.arange(n) % 2, "male", "female").astype(object)
    tables = {}
    for name, wrong in (("mlp", wrong_first), ("linear", wrong_second)):
        right = np.arange(n) >= wrong
        output = np.where((truth == "male") == right, 0.9, 0.1)
        tables[name] = predictions.build(faces, GENDER, truth=truth, output=output, split="test")
    return comparison.compare(tables, metric="accuracy", n_boot=200)


def test_the_headline_of_classes_and_of_numbers():
    assert answers.of_headline(GENDER, figure("accuracy", 0.988, 0.975, 0.993)) == (
        "The gender is read right in 98.8 % of the test faces (accuracy 0.988, 95 % interval 0.975 to 0.993, "
        "n = 600 faces of 150 people)."
    )
    assert answers.of_headline(AGE, figure("mae", 5.2, 5.0, 5.5, n_identities=np.nan), compared="worse") == (
        "The age is off by 5.20 years on average (mean absolute error, 95 % interval 5.00 to 5.50, n = 600); worse."
    )
    unknown = answers.of_headline(GENDER, figure("accuracy", 0.75, np.nan, np.nan))
    assert "nan" not in unknown and "(accuracy 0.750, no 95 % interval: too few people" in unknown


@pytest.mark.parametrize(
    ("wrong", "start"),
    [
        ((10, 60), "better than the reference by 0.125, 95 %"),
        ((60, 10), "worse than"),
        ((10, 11), "no significant"),
    ],
)
def test_a_difference_is_better_worse_or_not_significant(wrong, start):
    assert answers.of_difference(compare(*wrong), to="reference").startswith(start)


def test_a_difference_within_the_margin_is_called_equivalent_and_few_faces_are_not_judged():
    alike = answers.of_difference(compare(100, 102, n=4000), to="reference")
    assert alike.startswith(
        "no significant difference to the reference, equivalent within the margin of 0.01 (its 90 % interval lies "
        "inside), 95 %"
    )
    small = answers.of_difference(compare(100, 112, n=4000), to="reference")
    assert small.startswith(
        "better than the reference by 0.003, equivalent within the margin of 0.01 (its 90 % interval lies inside), 95 %"
    )
    few = answers.of_difference(compare(0, 3, n=8), to="reference")
    assert few == "8 faces are too few to judge the difference to the reference by"


def test_a_comparison_names_the_clearest_pair():
    pairs = compare(10, 60).pairs
    assert answers.of_comparison(pairs) == pairs["sentence"].iloc[0]
    three = pd.concat([pairs, compare(10, 11).pairs.assign(second="third")])
    assert answers.of_comparison(three).startswith("1 of 2 pairs differ; the clearest: mlp is better")


def test_the_worst_group_is_one_that_is_large_enough():
    groups = pd.DataFrame(
        {
            "attribute": "race",
            "group": ["White", "Black", "Asian"],
            "value": [0.9, 0.8, 0.1],
            "low": 0.0,
            "high": 1.0,
            "n": [100, 90, 3],
            "small": [False, False, True],
        }
    )
    text = answers.of_errors(GENDER, figure("accuracy", 0.85, 0.8, 0.9), groups)
    assert text.startswith("Accuracy 0.850 on 600 test faces; worst group: race Black with 0.800")
    nobody = answers.of_errors(GENDER, figure("accuracy", 0.85, 0.8, 0.9), groups.assign(small=True))
    assert "no group is large enough" in nobody


def test_groups_are_worse_or_not():
    rest = pd.DataFrame(
        {
            "attribute": "race",
            "group": ["White", "Black"],
            "value": [0.05, 0.15],
            "rest": [0.15, 0.05],
            "difference": [-0.1, 0.1],
            "low": [-0.2, 0.02],
            "high": [-0.02, 0.2],
            "p_holm": 0.01,
            "n": 100,
            "small": False,
            "verdict": ["better", "worse"],
        }
    )
    worse = answers.of_groups(rest, metric="error")
    assert worse.startswith(
        "1 of 2 groups are served worse than the rest; the worst: race Black, error 0.150 against 0.050"
    )
    none = answers.of_groups(rest.assign(verdict="no difference seen"), metric="error")
    assert none.startswith("None of 2 groups is served significantly worse") and "race Black" in none
    assert "race White" in answers.of_groups(rest.assign(verdict="no difference seen"), metric="accuracy")


@pytest.mark.parametrize(
    ("short", "end"),
    [
        ((-0.02, -0.03, -0.01), "more faces help."),
        ((-0.02, -0.05, 0.01), "no significant gain from the last step."),
    ],
)
def test_the_learning_curve_ends_in_its_last_step(short, end):
    value, low, high = short
    curve = pd.DataFrame(
        {
            "by": "faces",
            "metric": "accuracy",
            "n_train": [500, 1000],
            "mean": [0.88, 0.9],
            "first": [0.87, 0.91],
            "draws": 5,
            "short": [value, np.nan],
            "short_low": [low, np.nan],
            "short_high": [high, np.nan],
        }
    )
    text = answers.of_learning_curve(curve)
    assert "(mean of 5 fits that differ by seed; the first, that of 03_classifier, 0.910)" in text
    assert text.startswith("Accuracy 0.900 with 1,000 training faces (")
    assert "), +0.020 from 500" in text and text.endswith(end)


def test_strategies_name_the_better_one_whichever_stands_first():
    figures = pd.DataFrame({"task": ["age"], "metric": ["mae"], "strategy": ["single"], "value": [5.0]})
    row = {
        "task": "age",
        "metric": "mae",
        "first": "single",
        "second": "joint",
        "difference": 0.4,
        "repeats": 5,
    }
    clear = pd.DataFrame([row | {"low": 0.1, "high": 0.7, "p_holm": 0.01}])
    assert answers.of_strategies(figures, clear).startswith(
        "On age, joint is better than single by 0.400 mae"
    )
    unclear = pd.DataFrame([row | {"low": -0.1, "high": 0.9, "p_holm": 0.3}])
    assert answers.of_strategies(figures, unclear).startswith("None of 1 differences")
    alone = answers.of_strategies(figures, clear.iloc[:0])
    assert alone == "One strategy, nothing to compare; single reaches mae 5.000 on age."
    both = pd.concat([figures, figures.assign(strategy="joint")])
    assert answers.of_strategies(both, clear.iloc[:0]).startswith("One seed, nothing to compare; single")


def test_calibration_folds_faces_descriptors_and_audit():
    row = {"ece": 0.02, "ece_if_calibrated": 0.018, "p_calibrated": 0.4, "n": 600, "overconfidence": 0.01}
    row |= {"overconfidence_low": -0.01, "overconfidence_high": 0.02}
    row |= {"ece_corrected": 0.005, "ece_corrected_low": 0.0, "ece_corrected_high": 0.03}
    made = answers.of_calibration(row)
    assert "0.020 where a calibrated model would show 0.018; in the population 0.005" in made
    assert "0.000 to 0.030" in made
    row |= {"overconfidence": 0.0, "overconfidence_low": np.nan, "overconfidence_high": np.nan}
    made = answers.of_calibration(row)
    assert "as sure as it is right (mean confidence less accuracy +0.000, no 95 % interval" in made
    folds = {"mean": 0.9421, "low": 0.9, "high": 0.98, "n_fits": 25, "sd_folds": 0.01, "sd_seeds": 0.002}
    assert answers.of_folds(folds, metric="accuracy").startswith(
        "Mean accuracy 0.942 (95 % interval 0.900 to 0.980"
    )
    ends = [answers.of_folds(folds | {"sd_seeds": seeds}, metric="accuracy") for seeds in (0.002, np.nan)]
    assert ends[0].endswith("25 fits; standard deviation 0.0100 between folds, 0.0020 between seeds.")
    assert ends[1].endswith("25 fits; standard deviation 0.0100 between folds."), "one repeat"
    faces = pd.DataFrame({"identity": ["a", "b", "b"]})
    split = SimpleNamespace(name="identity", leakage={"leaked": 1}, train=[0], validation=[1], test=[2])
    assert answers.of_faces(faces, split, excluded=7) == (
        "3 faces (2 known people; 7 rows of the set are not in it), split by 'identity' into 1 to train, 1 to choose, "
        "1 to test; 1 test rows leak."
    )
    values = {"n": 2400, "dim": 1024, "described_by": "net at fc7", "unreadable": 0, "lacking": 0}
    made = answers.of_descriptors(values, seconds=2.25)
    assert made == "2,400 descriptors of 1,024 numbers from net at fc7 in 2.2 s; every face has one."
    made = answers.of_descriptors(values | {"unreadable": 2, "lacking": 1000}, seconds=2.25)
    assert made.endswith("2 pictures could not be read and 1,000 of the faces have none.")
    lower = [{"precision": "float32"}, {"precision": "tf32"}, {"kind": "file"}]
    made = answers.of_descriptors(values | {"blocks": lower}, seconds=2.25)
    assert made.startswith("2,400 descriptors of 1,024 numbers, computed in tf32, from net at fc7 in 2.2 s")
    verdict = pd.DataFrame({"severity": ["bad", "fine"], "finding": ["copies", "size"], "count": [12, 0]})
    assert "2 findings (1 bad, 1 fine); the gravest: copies, 12" in answers.of_audit(100, verdict)


@pytest.mark.notebooks
def test_the_answer_reaches_the_top_of_the_page(tmp_path):
    """Filled in the last cell, shown above what the cells between have printed; names in it are escaped."""
    from nbclient import NotebookClient

    source = (
        "from pathlib import Path\nfrom faceworkbook.reports import answers\nfrom faceworkbook.reports.runs import Run\n"
        f"answer = answers.begin(Run(Path({str(tmp_path)!r}), 'step'))"
    )
    cells = [
        nbformat.v4.new_code_cell(text)
        for text in (source, "print('between')", "answer.show('All <b> is well.')")
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3").execute()
    nbformat.write(notebook, tmp_path / "n.ipynb")
    page = BeautifulSoup(html.export(tmp_path / "n.ipynb", tmp_path / "n.html").read_text(), "html.parser")
    text = page.main.text
    assert text.index("All <b> is well.") < text.index("between") and answers.UNFINISHED not in text
    assert "All <b> is well." in (tmp_path / "answer.json").read_text()


def test_cells_that_run_as_a_program_print_their_answer(tmp_path, capsys):
    run = runs.Run(tmp_path, "01_faces", {})
    answers.begin(run).show("It is so.")
    assert capsys.readouterr().out.endswith("It is so.\n")
    assert json.loads((tmp_path / "answer.json").read_text()) == {"answer": "It is so."}
    assert referee.show_verdict(None, ["", "And so."]) == ["And so."]
    assert capsys.readouterr().out == "And so.\n"


def test_what_a_reader_warns_of_stands_in_the_answer():
    assert answers.with_warnings("8 faces.", []) == "8 faces."
    assert answers.with_warnings("8 faces.", ["4 of 12 rows were left out"]) == (
        "8 faces. Warning: 4 of 12 rows were left out."
    )


def gaps(**columns):
    return pd.DataFrame(
        {
            "attribute": ["race", "age"],
            "worst": ["Black", "0-9"],
            "worst_value": [0.8, 0.85],
            "best": ["White", "20-29"],
            "best_value": [0.9, 0.95],
            "gap": 0.1,
            "low": 0.02,
            "high": 0.2,
            "p": [0.2, 0.001],
        }
        | columns
    )


def test_the_worst_group_is_named_where_groups_differ_at_all():
    text = answers.of_gaps(gaps(), metric="accuracy")
    assert text.startswith("Worst for age 0-9 with accuracy 0.850 against 0.950 for 20-29 (gap 0.100, 95 %")
    assert answers.of_gaps(gaps(p=[0.2, 0.3]), metric="accuracy").startswith(
        "No significant difference between groups"
    )
    assert "cannot be judged" in answers.of_gaps(gaps(p=np.nan), metric="accuracy")


def test_an_answer_says_of_which_run_it_is(tmp_path):
    run = runs.Run(tmp_path / "x" / "03_classifier", "03_classifier")
    run.folder.mkdir(parents=True)
    assert identity.describe(run) == "code without a commit"
    run.save_values(
        {"started": "2026-01-02T03:04:05+00:00", "seed": 4, "commit": "abcdef0123"}, "environment"
    )
    run.save_values({"label": "gender"}, "params")
    record = data_record.DataRecord("f", "p", {}, "s", {}, "", {}, {}, 12)
    data_record.write(record, tmp_path / "x" / "01_faces" / "data.json")
    look = {
        "label": "gender",
        "outputs": "o",
        "model": "m",
        "experiment": "x",
        "step": "s",
        "metric": "a",
        "value": 1,
        "n": 3,
    }
    line = json.dumps({"data": record.fingerprint, **look})
    (tmp_path / "looks.jsonl").write_text(f"{line}\n{line}\n")
    text = identity.describe(run)
    assert text == (
        f"2026-01-02 03:04 UTC · seed 4 · data {record.fingerprint[:8]} (12 faces) · code abcdef01 · test rows read 2 times, of one model"
    )
    (tmp_path / "x" / "01_faces" / "data.json").write_text("{")
    assert "data" not in identity.describe(run)
    page = answers.to_html("All is <well>.", of="seed 4 <b>")
    assert "seed 4 &lt;b&gt;" in page and "All is &lt;well&gt;." in page


def test_a_warning_stands_below_the_answer_and_not_in_it():
    body = answers.to_html(
        answers.with_warnings("8 <faces>.", ["4 of 12 rows & more were left out."]), of="seed 0"
    )
    assert '<strong>Answer.</strong> 8 &lt;faces&gt;.</p><p class="warning">' in body
    assert "</strong> 4 of 12 rows &amp; more were left out.</p>" in body and body.endswith(">seed 0</p>")

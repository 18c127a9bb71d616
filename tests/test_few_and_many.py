"""One face, two faces, and two thousand classes: a figure or a sentence at every door, never a traceback of a library."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from faceworkbook import audit, faces, splits, tasks
from faceworkbook.audit import balance
from faceworkbook.evaluation import groups, metrics, predictions

CLASSES = 2000


def table(n: int) -> pd.DataFrame:
    columns = {
        "image": [f"{i}.jpg" for i in range(n)],
        "identity": [f"p{i}" for i in range(n)],
        "gender": [("female", "male")[i % 2] for i in range(n)],
        "race": [("White", "Black")[i // 2 % 2] for i in range(n)],
        "age": [20.0 + i for i in range(n)],
    }
    return faces.build(columns, dataset="few")


def predict(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    """Predictions of test faces: a class with .7, or the number plus one."""
    if label == "age":
        task, output = tasks.Task("age", "number", unit="years"), rows["age"].to_numpy() + 1
    else:
        task, output = tasks.Task(label, classes=("female", "male")), np.full(len(rows), 0.7)
    truth = rows[label].astype(object).to_numpy()
    return predictions.build(rows, task, truth=truth, output=output, split="test")


@pytest.mark.parametrize("n", [1, 2])
def test_a_few_faces_are_no_split_and_the_error_says_why(n):
    with pytest.raises(splits.SplitError) as caught:
        splits.make(table(n), label="gender")
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 40


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("label", ["gender", "age"])
def test_a_few_faces_have_figures_whose_intervals_are_wide_or_none(n, label):
    rows = table(n)
    made = metrics.summary(predict(rows, label))
    assert len(made) and (made["n"].dropna() <= n).all()
    known = made.dropna(subset=["low", "high"])
    assert (known["low"] <= known["value"] + 1e-9).all() and (known["high"] >= known["value"] - 1e-9).all()
    if label == "gender":
        metrics.per_class(predict(rows, label))
        metrics.confusion(predict(rows, label))


@pytest.mark.parametrize("n", [1, 2])
def test_a_few_faces_in_groups(n):
    rows = table(n)
    attached = groups.attach(predict(rows, "gender"), rows, ["race"])
    for made in (groups.by_group(attached, "race"), groups.gaps(attached, "race")):
        assert len(made) <= 3 * n * len(set(made.get("metric", [0])))


@pytest.mark.parametrize("n", [1, 2])
def test_a_few_faces_are_audited(n):
    rows = table(n)
    balance.class_counts(rows)
    balance.pairs(rows)
    audit.label_noise(rows, np.full(n, -1))
    noise = audit.label_noise(rows, np.zeros(n, int))
    assert (noise["groups"] <= 1).all()


def test_two_thousand_classes_are_split_predicted_and_counted():
    n, rng = 3 * CLASSES, np.random.default_rng(0)
    names = [f"class {i:04d}" for i in range(CLASSES)]
    rows = faces.build({"image": [f"{i}.jpg" for i in range(n)]}, dataset="many")
    rows["kind"] = pd.Categorical(names * 3)
    split = splits.make(rows, label="kind")
    assert len(split.train) + len(split.validation) + len(split.test) == n
    output = rng.random((n, CLASSES), dtype=np.float32) ** 8
    output /= output.sum(1, keepdims=True)
    task = tasks.Task("kind", classes=tuple(names))
    made = predictions.build(rows, task, truth=np.array(names * 3, dtype=object), output=output, split="test")
    summary = metrics.summary(made, names=["accuracy", "balanced_accuracy"]).set_index("metric")
    assert 0 <= summary.loc["accuracy", "low"] <= summary.loc["accuracy", "high"] < 0.01
    assert metrics.confusion(made).to_numpy().sum() == n
    by_class = metrics.per_class(made)
    assert by_class["support"].eq(3).all() and by_class["predicted"].sum() == n
    assert by_class["recall"].mean() == pytest.approx(summary.loc["balanced_accuracy", "value"])

"""Who bears the errors: sources, and the people who weigh most."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import influence, metrics, predictions
from faceworkbook.tasks import Task


def of_people(wrong_by_person, *, sizes, dataset="toy"):
    """Predictions of people with so many faces, of which so many are wrong."""
    people = np.repeat(list(wrong_by_person), [sizes[name] for name in wrong_by_person])
    wrong = np.concatenate([np.arange(sizes[name]) < k for name, k in wrong_by_person.items()])
    faces = pd.DataFrame(
        {
            "face_id": [f"f{i:04d}" for i in range(len(people))],
            "dataset": dataset,
            "identity": pd.array(people, dtype="string"),
        }
    )
    share = np.where(wrong, 0.2, 0.9)
    table = predictions.build(
        faces,
        Task("gender", "classes", ("male", "female")),
        truth=np.full(len(people), "female", dtype=object),
        output=np.column_stack([1 - share, share]),
        split="test",
    )
    return table, faces


@pytest.fixture
def crowd():
    """Forty people of two collections, one error in ten; one with 60 faces bears thirty errors."""
    wrong = {f"b:{i}": i % 2 for i in range(40)} | {"a:giant": 30}
    sizes = {name: 5 for name in wrong} | {"a:giant": 60}
    return of_people(wrong, sizes=sizes)


def test_figures_by_source_add_up_and_the_worst_comes_first(crowd):
    table, faces = crowd
    sources = influence.by_source(table, faces, metric="accuracy", n_boot=200)
    assert sources["source"].tolist() == ["a", "b"]
    assert sources["errors"].tolist() == [30, 20] and sources["n"].tolist() == [60, 200]
    assert sources["of_errors"].sum() == pytest.approx(1) == sources["of_faces"].sum()
    assert sources["value"].tolist() == [0.5, 0.9]


def test_one_person_who_bears_the_errors_is_named_with_the_figure_without(crowd):
    table, faces = crowd
    units = influence.by_unit(table, metric="accuracy", n_boot=200)
    first = units.iloc[0]
    assert (first["unit"], first["n"], first["errors"]) == ("a:giant", 60, 30)
    assert first["of_errors"] == pytest.approx(0.6) and first["of_variance"] > 0.9
    assert first["without"] == pytest.approx(0.9)
    overall = metrics.summary(table, names=["accuracy"], n_boot=200).iloc[0]
    assert first["high"] - first["low"] < overall["high"] - overall["low"]
    sources = influence.by_source(table, faces, metric="accuracy", n_boot=200)
    texts = influence.describe(table, sources, units, overall)
    assert "a 0.500" in texts[0] and "a:giant: 60 of the test faces" in texts[1] and "0.900" in texts[1]


def test_data_sets_are_sources_where_identities_name_none():
    table, faces = of_people({"ann": 1, "bob": 0, "eve": 3}, sizes={"ann": 4, "bob": 4, "eve": 4})
    assert influence.by_source(table, faces, metric="accuracy", n_boot=50).empty
    faces["dataset"] = ["one"] * 8 + ["two"] * 4
    sources = influence.by_source(table, faces, metric="accuracy", n_boot=50)
    assert sources["source"].tolist() == ["two", "one"]


def test_numbers_are_weighed_by_their_absolute_error():
    n = 60
    faces = pd.DataFrame(
        {
            "face_id": [f"f{i}" for i in range(n)],
            "dataset": "toy",
            "identity": pd.array(["old"] * 10 + [f"p{i}" for i in range(n - 10)], dtype="string"),
        }
    )
    error = np.where(np.arange(n) < 10, 20.0, 2.0)
    truth = np.full(n, 40.0)
    table = predictions.build(
        faces, Task("age", "number", unit="years"), truth=truth, output=truth + error, split="test"
    )
    units = influence.by_unit(table, metric="mae", n_boot=100)
    assert units["unit"].tolist() == ["old"] and units["without"].iloc[0] == pytest.approx(2)
    assert units["errors"].iloc[0] == pytest.approx(200)


def test_nobody_is_named_where_everybody_is_right_or_alone():
    table, _ = of_people({f"p{i}": 0 for i in range(30)}, sizes={f"p{i}": 2 for i in range(30)})
    assert influence.by_unit(table, metric="accuracy", n_boot=50).empty
    table, _ = of_people({f"p{i}": i % 2 for i in range(30)}, sizes={f"p{i}": 1 for i in range(30)})
    assert influence.by_unit(table, metric="accuracy", n_boot=50).empty

"""The ledger of looks: nothing is lost, one model is counted once, and the bound is the simulated one."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import predictions
from faceworkbook.reports import looks
from faceworkbook.reports.looks import Look
from faceworkbook.tasks import CLASSES, Task

TASK = Task("gender", CLASSES, ("male", "female"))


def table(seed=0, *, subset="test", n=40):
    rng = np.random.default_rng(seed)
    faces = pd.DataFrame({"face_id": [f"f{i}" for i in range(n)], "identity": pd.NA})
    share = rng.random(n)
    return predictions.build(faces, TASK, truth=["male", "female"] * (n // 2), output=share, split=subset)


def look(place, seed=0, **changed):
    return looks.make(table(seed, **changed), data="d", model="m", place=place)


def test_a_look_says_who_with_which_model_when_and_which_figure(tmp_path):
    place = tmp_path / "results" / "demo" / "03_classifier"
    made = look(place)
    looks.append(made, tmp_path / "results")
    (read,), damaged = looks.read(tmp_path / "results")
    assert read == made and damaged == 0
    assert (read.experiment, read.step, read.label, read.metric, read.n) == (
        "demo",
        "03_classifier",
        "gender",
        "accuracy",
        40,
    )
    right = table()
    assert read.value == pytest.approx((right["truth"] == right["predicted"]).mean())
    assert read.user and read.when


def test_rows_that_are_no_test_rows_are_no_look(tmp_path):
    assert look(tmp_path / "e" / "s", subset="validation") is None


def test_the_same_outputs_are_one_model_whatever_run_they_are_of(tmp_path):
    for place, seed in (("a/03", 0), ("b/03", 0), ("b/04", 0), ("b/03", 1)):
        looks.append(look(tmp_path / place, seed), tmp_path)
    of = looks.count(tmp_path, data="d", label="gender")
    assert (of.readings, of.models) == (4, 2)
    assert looks.count(tmp_path, data="other", label="gender").readings == 0
    assert looks.count(tmp_path, data="d", label="age").readings == 0


WRITER = """
import sys
from faceworkbook.reports import looks
for i in range(40):
    looks.append(looks.Look("d", "gender", f"{sys.argv[2]}-{i}", "m" * 3000, "e", "s", "accuracy", .5, 9), sys.argv[1])
"""


def test_two_runs_at_once_lose_no_line(tmp_path):
    runs = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "abc"]
    assert [run.wait(timeout=300) for run in runs] == [0, 0, 0]
    of = looks.count(tmp_path, data="d", label="gender")
    assert (of.readings, of.models, of.damaged) == (120, 120, 0)


def test_a_line_that_was_cut_off_is_counted_and_costs_no_other(tmp_path):
    made = look(tmp_path / "e" / "s")
    looks.append(made, tmp_path)
    path = tmp_path / looks.NAME
    path.write_bytes(path.read_bytes() + b'{"data": "d", "la')
    looks.append(made, tmp_path)
    read, damaged = looks.read(tmp_path)
    assert read == [made, made] and damaged == 1
    figure = pd.Series({"metric": "accuracy", "low": 0.8, "high": 0.9})
    assert "1 lines of the ledger cannot be read" in looks.describe(
        looks.count(tmp_path, data="d", label="gender"), figure
    )


def test_the_ledger_is_only_appended_to(tmp_path):
    looks.append(look(tmp_path / "e" / "s"), tmp_path)
    before = (tmp_path / looks.NAME).read_bytes()
    looks.append(look(tmp_path / "e" / "s", 1), tmp_path)
    after = (tmp_path / looks.NAME).read_bytes()
    assert after.startswith(before) and [json.loads(line)["n"] for line in after.splitlines()] == [40, 40]


@pytest.mark.parametrize(("n", "expected"), [(1, 0.0), (2, 0.5642), (3, 0.8463), (10, 1.5388), (100, 2.5076)])
def test_the_expected_maximum_is_that_of_normal_draws(n, expected):
    """Tables of order statistics (Harter 1961)."""
    assert looks.expected_maximum(n) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_the_bound_holds_for_equally_good_models_that_err_on_the_same_faces(shared):
    """The best of eight models of accuracy .9 on 400 faces, a share of which is right or wrong for all."""
    rng = np.random.default_rng(0)
    n, models, simulations = 400, 8, 3000
    common = rng.random((simulations, 1, n)) < 0.9
    own = rng.random((simulations, models, n)) < 0.9
    same = rng.random((simulations, 1, n)) < shared
    best = np.where(same, common, own).mean(axis=2).max(axis=1).mean()
    reach = 1.96 * np.sqrt(0.9 * 0.1 / n)
    bound = looks.flattery(models, 0.9 - reach, 0.9 + reach)
    assert best - 0.9 <= bound + 0.001
    if shared == 0:
        assert best - 0.9 == pytest.approx(bound, abs=0.002)


def test_in_words(tmp_path):
    figure = pd.Series({"metric": "accuracy", "low": 0.88, "high": 0.92})
    one = looks.Looks(1, 1, "2026-01-02T03:04:05+00:00", 0)
    assert "once, of one model; nothing was chosen" in looks.describe(one, figure)
    several = looks.describe(looks.Looks(12, 8, "2026-01-02T03:04:05+00:00", 0), figure)
    assert (
        "12 times, of 8 different models since 2026-01-02" in several
        and "by up to 0.015 of accuracy" in several
    )
    assert "an upper bound" in several
    unknown = looks.describe(looks.Looks(3, 2, "2026-01-02T03:04:05+00:00", 0), figure.replace(0.88, np.nan))
    assert "nan" not in unknown and "as the figure has no interval" in unknown


def test_a_look_is_plain_json():
    assert set(Look.__dataclass_fields__) >= {
        "data",
        "label",
        "model",
        "user",
        "when",
        "metric",
        "value",
        "plan",
    }


def test_test_rows_without_a_fingerprint_are_known_by_their_faces_and_truth(tmp_path):
    place = tmp_path / "e" / "s"
    first, again, other = (
        looks.make(table(seed, n=n), data="", model="m", place=place)
        for seed, n in ((0, 40), (1, 40), (0, 30))
    )
    assert first.data == again.data != other.data


def test_a_line_that_is_nested_too_deep_is_a_damaged_one(tmp_path):
    (tmp_path / looks.NAME).write_text("[" * 100_000 + "\n")
    assert looks.read(tmp_path) == ([], 1)

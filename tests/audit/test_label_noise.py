"""How noisy labels are, by copies of one picture."""

import numpy as np
import pytest

from faceworkbook import audit
from faceworkbook import faces as face_table


def test_planted_noise_is_measured():
    rng = np.random.default_rng(0)
    n = 2000
    groups = np.append(np.repeat(np.arange(n), 2), [-1] * 10)
    true = np.repeat(rng.integers(0, 2, n), 2)
    wrong = rng.random(2 * n) < 0.1
    gender = np.append(np.where(true ^ wrong, "male", "female"), ["male"] * 10)
    age = np.append(np.repeat(rng.uniform(10, 80, n), 2) + rng.normal(0, 2, 2 * n), np.full(10, 40.0))
    faces = face_table.build(
        {"image": [f"{i}.jpg" for i in range(2 * n + 10)], "gender": gender, "age": age}, dataset="made"
    )
    noise = audit.label_noise(faces, groups).set_index("label")
    row = noise.loc["gender"]
    # Two labels contradict where one of them alone is wrong: 2 * .1 * .9.
    assert row["groups"] == n and row["share"] == pytest.approx(0.18, abs=0.02)
    assert row["low"] < row["share"] < row["high"]
    assert row["error"] == pytest.approx(0.1, abs=0.015)
    ages = noise.loc["age"]
    assert ages["limit"] == pytest.approx(1.96 * 2 * np.sqrt(2), rel=0.1)
    assert ages["tolerance"] == pytest.approx(ages["limit"], rel=0.1)
    assert ages["share"] == pytest.approx(0.05, abs=0.02)


def test_a_set_without_copies_shows_no_noise():
    faces = face_table.build({"image": ["a.jpg", "b.jpg"], "gender": ["male", "female"]}, dataset="made")
    assert audit.label_noise(faces, np.array([-1, -1])).empty

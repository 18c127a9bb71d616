from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from faceworkbook.evaluation import same_person


def people(n_people=60, pictures=5, *, spread=0.6, seed=0, dim=32, noise_seed=None):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_people, dim))
    noise = np.random.default_rng(seed + 1 if noise_seed is None else noise_seed)
    matrix = np.repeat(centres, pictures, axis=0) + spread * noise.normal(size=(n_people * pictures, dim))
    names = pd.Series(np.repeat([f"p{i}" for i in range(n_people)], pictures), dtype="string")
    return matrix.astype(np.float32), names


def test_separation_is_the_area_under_the_curve_of_each_picture_averaged_over_people():
    matrix, names = people(20, 4, spread=1.5)
    measured = same_person.measure(matrix, names)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    similar = unit @ unit.T
    areas = []
    for row in range(len(matrix)):
        others = np.arange(len(matrix)) != row
        areas.append(roc_auc_score((names == names[row])[others], similar[row][others]))
    expected = pd.Series(areas).groupby(names.to_numpy()).mean().mean()
    assert measured.figure("separation").value == pytest.approx(expected, abs=1e-6)
    assert measured.n_people == 20 and measured.n_pictures == 80


def test_exchanged_names_separate_nothing():
    measured = same_person.measure(*people(spread=1.0))
    assert measured.figure("null").value == pytest.approx(0.5, abs=0.03)
    assert measured.figure("separation").value > 0.7


def test_people_whose_pictures_were_pulled_together_stand_out_beside_people_never_seen():
    seen, unseen = (same_person.measure(*people(spread=s, seed=i)) for i, s in enumerate((0.5, 1.2)))
    table = same_person.compare({"web": seen, "own": unseen}, unseen="own").set_index(["dataset", "measure"])
    row = table.loc[("web", "within")]
    assert row["difference"] > 0 and row["difference_low"] > 0 and row["p"] < 0.001
    assert np.isnan(table.loc[("own", "within"), "p"])


def test_the_difference_alarms_seldom_where_both_sets_are_alike():
    alarms = 0
    for seed in range(60):
        one = same_person.measure(*people(30, 3, spread=1.2, seed=2 * seed))
        other = same_person.measure(*people(30, 3, spread=1.2, seed=2 * seed + 1001))
        table = same_person.compare({"a": one, "b": other}, unseen="b").query("dataset == 'a'")
        alarms += (table.set_index("measure")["p"]["within"]) < 0.05
    assert alarms <= 9  # of 60 at 5 %: more has a probability below .002


def test_a_copy_is_no_second_picture_of_its_person():
    matrix, names = people(15, 2, spread=2.0)
    matrix, names = np.repeat(matrix, 2, axis=0), names.repeat(2).reset_index(drop=True)
    copies = pd.Series(np.repeat(np.arange(30), 2)).astype("string")
    with_copies = same_person.measure(matrix, names)
    without = same_person.measure(matrix, names, copies=copies)
    assert without.n_pictures == 30
    assert without.figure("within").value < with_copies.figure("within").value - 0.1


def test_too_few_people_with_two_pictures_are_no_measurement():
    matrix, names = people(9, 3)
    assert same_person.measure(matrix, names) is None
    matrix, names = people(40, 1)
    assert same_person.measure(matrix, names) is None
    assert same_person.measure(matrix, pd.Series([pd.NA] * 40, dtype="string")) is None

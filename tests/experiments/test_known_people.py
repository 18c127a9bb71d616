from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from faceworkbook.experiments import known_people
from faceworkbook.experiments.prepared import PreparedData


def a_set(n_people, *, pictures=3, seed=0):
    rng = np.random.default_rng(seed)
    n = n_people * pictures
    matrix = np.repeat(rng.normal(size=(n_people, 16)), pictures, axis=0) + rng.normal(size=(n, 16))
    identity = pd.Series(np.repeat([f"{seed}-{i}" for i in range(n_people)], pictures), dtype="string")
    faces = pd.DataFrame({"identity": identity, "copy_group": pd.Series([pd.NA] * n, dtype="string")})
    return PreparedData(faces, None, None, matrix.astype(np.float32), np.full(n, -1))


def test_sets_with_too_few_people_are_named_and_the_others_measured():
    table, few = known_people.measure({"many": a_set(30), "few": a_set(4, seed=1)})
    assert few == ["few"] and set(table["dataset"]) == {"many"}
    assert table["p"].isna().all()


def test_the_yardstick_must_be_one_of_the_sets_and_have_people():
    with pytest.raises(ValueError, match="never_published='own'; allowed are the experiments many"):
        known_people.measure({"many": a_set(30)}, never_published="own")
    with pytest.raises(ValueError, match="fewer than 10 people"):
        known_people.measure({"many": a_set(30), "few": a_set(4, seed=1)}, never_published="few")


def test_each_other_set_is_compared_with_the_yardstick():
    table, _ = known_people.measure({"a": a_set(30), "own": a_set(30, seed=1)}, never_published="own")
    assert table.query("dataset == 'a'")["p"].notna().all()
    assert table.query("dataset == 'own'")["p"].isna().all()


def test_a_long_block_that_knows_nobody_does_not_hide_one_that_does():
    data = a_set(30)
    noise = 1000 * np.random.default_rng(7).normal(size=data.matrix.shape).astype(np.float32)
    joined = replace(data, matrix=np.hstack([noise, data.matrix]), dims=(16, 16))

    def separation(own):
        return known_people.measure({"own": own})[0].set_index("measure")["value"]["separation"]

    assert separation(joined) > 0.65 > 0.6 > separation(replace(joined, dims=(32,)))

"""Groups join through shared rows, and leakage is counted as a person would count it."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import row_groups

numbers = st.lists(st.integers(-1, 6), min_size=12, max_size=12).map(np.array)


def by_hand(one, two):
    """Group rows by walking from row to row."""
    tied = lambda a, b: any(g[a] == g[b] != -1 for g in (one, two))  # noqa: E731
    left, groups = set(range(len(one))), []
    while left:
        reached, todo = set(), [left.pop()]
        while todo:
            row = todo.pop()
            reached.add(row)
            near = {other for other in left if tied(row, other)}
            left -= near
            todo += near
        groups.append(frozenset(reached))
    return {group for group in groups if len(group) > 1}


@given(numbers, numbers)
def test_joined_groups_are_those_of_a_walk(one, two):
    joined = row_groups.join(one, two)
    rows = {frozenset(np.flatnonzero(joined == g)) for g in set(joined) - {row_groups.ALONE}}
    assert rows == by_hand(one, two)
    assert sorted(set(joined) - {-1}) == list(range(len(rows)))


@given(numbers)
def test_whole_groups_number_every_row(groups):
    whole = row_groups.whole(groups)
    assert (whole >= 0).all()
    for a in range(len(groups)):
        for b in range(len(groups)):
            assert (whole[a] == whole[b]) == (a == b or groups[a] == groups[b] != -1)


def test_rows_that_are_alone_contradict_nobody():
    values = pd.Series(["m", "f", "m", "f", None, "f"])
    rows = row_groups.contradictions(values, np.array([0, 0, -1, -1, 1, 1]))
    assert rows.tolist() == [True, True, False, False, False, False]


def test_leakage_counts_persons_and_pictures_apart():
    identity = pd.Series(["a", "a", "b", None, None, "c"], dtype="string")
    copies = np.array([-1, -1, -1, 0, 0, -1])
    fitted = np.array([True, False, False, True, False, False])
    counts = row_groups.measure_leakage(identity, copies, fitted=fitted, test=~fitted)
    assert counts == {
        "test_rows": 4,
        "same_person": 1,
        "same_picture": 1,
        "leaked": 2,
        "unknown_person": 1,
    }

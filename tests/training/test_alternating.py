"""Which rows stand in which batch: in proportion, balanced, in turn."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceworkbook.training.batches import Alternating, Joint, Stage, cut, mix
from faceworkbook.training.schedules import rate, staircase


def stages(*sizes):
    starts = np.cumsum([0, *sizes])
    return tuple(
        Stage(f"set{n}", np.arange(a, b), (f"task{n}",))
        for n, (a, b) in enumerate(itertools.pairwise(starts))
    )


def batches_of(plan, epoch=0, seed=0):
    return list(plan.batches(epoch, np.random.default_rng([seed, epoch])))


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_proportional_mixing_takes_each_row_once_and_every_stretch_in_proportion(sizes, seed):
    groups = [stage.rows for stage in stages(*sizes)]
    rows = mix(groups, mixing="proportional", rng=np.random.default_rng(seed))
    assert sorted(rows) == list(range(sum(sizes)))
    for group in groups:
        seen = np.cumsum(np.isin(rows, group))
        expected = np.arange(1, len(rows) + 1) * len(group) / len(rows)
        assert np.abs(seen - expected).max() <= len(groups)


def test_balanced_mixing_takes_as_many_of_each_and_repeats_none_early():
    small, large = np.arange(10), np.arange(10, 200)
    rows = mix([small, large], mixing="balanced", rng=np.random.default_rng(0))
    assert len(rows) == 200
    drawn_small = rows[rows < 10]
    assert len(drawn_small) == 100
    np.testing.assert_array_equal(np.bincount(drawn_small), 10)
    assert len(np.unique(rows[rows >= 10])) == 100


def test_joint_batches_hold_each_set_in_its_share():
    plan = Joint(stages(300, 100), 40)
    shares = [np.mean(batch.rows < 300) for batch in batches_of(plan)]
    assert min(shares) >= 0.7 and max(shares) <= 0.8
    assert all(batch.tasks == ("task0", "task1") for batch in batches_of(plan))


def test_epochs_take_turns():
    plan = Alternating(stages(50, 30), 20)
    for epoch, (low, high, task) in enumerate([(0, 50, "task0"), (50, 80, "task1"), (0, 50, "task0")]):
        batches = batches_of(plan, epoch)
        assert sorted(np.concatenate([b.rows for b in batches])) == list(range(low, high))
        assert {b.tasks for b in batches} == {(task,)}


def test_batches_take_turns_until_each_set_is_used_up():
    batches = batches_of(Alternating(stages(60, 20), 20, turn="batch"))
    assert [b.tasks[0] for b in batches] == ["task0", "task1", "task0", "task0"]
    assert sorted(np.concatenate([b.rows for b in batches])) == list(range(80))


@settings(deadline=None)
@given(n=st.integers(1, 500), size=st.integers(1, 100))
def test_no_row_is_dropped_and_no_batch_is_tiny(n, size):
    batches = cut(np.arange(n), size)
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(n))
    lengths = {len(rows) for rows in batches}
    assert max(lengths) <= size and max(lengths) - min(lengths) <= 1


def test_an_epoch_s_batches_depend_on_seed_and_epoch_alone():
    plan = Joint(stages(100, 50), 16)
    first, again, other = (batches_of(plan, epoch)[0].rows for epoch in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Joint((), 8), "at least one stage"),
        (lambda: Joint(stages(4, 0), 8), r"stages \['set1'\] have no training rows"),
        (lambda: Joint(stages(4), 0), "batch_size=0; allowed is 1 or more"),
        (lambda: Joint(stages(4), 8, mixing="even"), "mixing='even'; allowed are"),
        (lambda: Alternating(stages(4), 8, turn="row"), "turn='row'; allowed are"),
        (lambda: staircase(1.0, factor=1.5), "decay factor=1.5; allowed is"),
        (lambda: staircase(1.0, factor=0.5, every=0), "decay every=0 epochs; allowed is"),
    ],
)
def test_wrong_plans_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_staircase_falls_once_every_so_many_epochs():
    stairs = staircase(1.0, factor=0.1, every=3)
    rates = [rate(stairs, epoch) for epoch in range(7)]
    np.testing.assert_allclose(rates, [1, 1, 1, 0.1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_mixing_by_temperature_lies_between_proportional_and_balanced():
    small, large = np.arange(100), 100 + np.arange(900)
    shares = {}
    for temperature in (1.0, 2.0, 1e9):
        rows = mix(
            [small, large], mixing="temperature", temperature=temperature, rng=np.random.default_rng(0)
        )
        assert len(rows) == 1000
        shares[temperature] = int((rows < 100).sum())
    # 100 ** .5 : 900 ** .5 is 1 : 3.
    assert shares == {1.0: 100, 2.0: 250, 1e9: 500}
    assert Joint((Stage("a", small, ("x",)),), 8, "temperature", 3.0).identity()["temperature"] == 3.0
    with pytest.raises(ValueError, match=r"temperature=0.5 of the mixing; allowed is 1 or more"):
        Joint((Stage("a", small, ("x",)),), 8, "temperature", 0.5)

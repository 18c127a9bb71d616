"""A light version of benchmarks/coverage_and_size.py: seeded, with the tolerance that so few runs need."""

import made_predictions as made
import numpy as np
import pytest

from faceworkbook.evaluation import groups, metrics, predictions, pseudo_replication, significance
from faceworkbook.tasks import Task

RUNS = 100
# 100 runs of a 95 % interval: fewer than 88 hits have a chance of 1 in 1,000.
FEWEST = 0.88


def people_table(rng, people, faces_a_person):
    """Two classes; the faces of one person share most of what makes them hard."""
    who = np.repeat(np.arange(people), faces_a_person)
    female = rng.integers(0, 2, people)[who]
    score = 1.2 * (2 * female - 1) + rng.normal(size=people)[who] + 0.7 * rng.normal(size=len(who))
    share = 1 / (1 + np.exp(-1.6 * score))
    faces = made.faces_table(len(who)).assign(identity=[f"p{w}" for w in who])
    return predictions.build(
        faces, Task("gender", classes=("male", "female")), truth=np.array(["male", "female"], dtype=object)[female],
        output=share, split="test",
    )  # fmt: skip


def test_intervals_over_people_cover_and_intervals_over_faces_do_not():
    names = ("accuracy", "macro_f1", "auc", "log_loss")
    everybody = metrics.rows_of(people_table(np.random.default_rng(99), 60_000, 1))
    truth = {name: metrics.pick(name, everybody.task).value(everybody) for name in names}
    hits = dict.fromkeys(names, 0) | {"as faces": 0}
    for seed in range(RUNS):
        table = people_table(np.random.default_rng(seed), 60, 6)
        result = metrics.summary(table, names=names, n_boot=200, seed=seed).set_index("metric")
        for name in names:
            hits[name] += result.loc[name, "low"] <= truth[name] <= result.loc[name, "high"]
        careless = metrics.summary(table.assign(identity=None), names=["accuracy"]).iloc[0]
        hits["as faces"] += careless["low"] <= truth["accuracy"] <= careless["high"]
    covered = {name: count / RUNS for name, count in hits.items()}
    assert covered.pop("as faces") < 0.8
    assert min(covered.values()) >= FEWEST


def centroid_score(x, y, test):
    """Accuracy of the nearest centroid: the cheapest learner there is."""
    middle = [x[~test & (y == label)].mean(axis=0) for label in (0, 1)]
    distance = np.column_stack([((x[test] - m) ** 2).sum(axis=1) for m in middle])
    return np.mean(distance.argmin(axis=1) == y[test])


def test_corrected_t_over_folds_keeps_its_level_and_the_naive_one_does_not():
    alarms = {"corrected": 0, "naive": 0}
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        y = np.tile([0, 1], 60)
        x = rng.normal(size=(120, 8)) + 0.5 * (2 * y - 1)[:, None]
        d = []
        for _ in range(5):
            fold = rng.permutation(120) % 5
            for k in range(5):
                d.append(centroid_score(x[:, :4], y, fold == k) - centroid_score(x[:, 4:], y, fold == k))
        alarms["corrected"] += significance.nadeau_bengio(np.array(d), n_train=96, n_test=24).p < 0.05
        alarms["naive"] += pseudo_replication.naive_paired_t(np.array(d)).p < 0.05
    assert alarms["corrected"] / RUNS < 0.12
    assert alarms["naive"] / RUNS > 0.25


@pytest.mark.parametrize("faces_a_person", [1, 4])
def test_gaps_between_groups_that_do_not_differ_are_put_down_to_chance(faces_a_person):
    alarms = outside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        table = people_table(rng, 300, faces_a_person)
        table["group"] = np.repeat(rng.choice(list("abc"), 300), faces_a_person)
        gap = groups.gaps(table, "group", names=["accuracy"], n_boot=200, seed=seed).iloc[0]
        alarms += gap["p"] < 0.05
        outside += gap["low"] > 0
    # Binomial with 40 runs at 5 %: 7 or more have a chance of 1 in 300.
    assert alarms <= 6
    assert outside <= 6

"""Designs in which nothing differs, and where a group is picked: what tests and intervals make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

from benchmarks import simulated_faces as simulated
from benchmarks.simulated_faces import Classes, People, equal, lognormal, signal_for
from faceworkbook.evaluation import (
    calibration,
    comparison,
    groups,
    metrics,
    paired_proportions,
    predictions,
    pseudo_replication,
    significance,
)
from faceworkbook.experiments import mitigation
from faceworkbook.tasks import NUMBER, Task

# Where a run costs milliseconds, and where it costs more.
MANY, FEW = 2000, 400
N_BOOT = 600
MARKED = "marked"  # beside p values by test: whether the tables say that a few large errors make a figure


def paired(people: People, model: Classes, metric: str, seed: int) -> dict[str, float]:
    """p values of two equally good models on one test set, by the test that the design asks for."""
    rng = np.random.default_rng(seed)
    made = model.draw(rng, people.sizes(rng))
    rows = {f"m{i}": one for i, one in enumerate(made)}
    of = metrics.pick(metric, made[0].task)
    results = comparison.pairs_of_rows(rows, of, seed=seed, n_boot=N_BOOT)
    chosen = next(result for _, _, result in results if result.valid)
    return {f"{metric}: {chosen.test}": chosen.p}


def together(people: People, model: Classes, metric: str, seed: int) -> dict[str, float]:
    """p of three equally good models together."""
    rng = np.random.default_rng(seed)
    rows = {f"m{i}": one for i, one in enumerate(model.draw(rng, people.sizes(rng)))}
    of = metrics.pick(metric, next(iter(rows.values())).task)
    return {r.test: r.p for r in comparison.tests_of_all(rows, of, seed=seed, n_boot=N_BOOT)}


def table_of(people_of_groups: dict[str, np.ndarray], draw: Callable, rng) -> pd.DataFrame:
    """Predictions of groups of people below each other: `draw` makes the rows of a group by its name."""
    each = []
    for name, sizes in people_of_groups.items():
        rows = draw(name, sizes)
        who = [f"{name}{unit}" for unit in rows.units]
        identity = who if len(who) > len(sizes) else [pd.NA] * len(who)
        faces = pd.DataFrame({"face_id": [f"{name}{i}" for i in range(len(who))], "identity": identity})
        names = np.array(rows.classes, dtype=object)
        output = rows.probabilities if rows.classes else rows.predicted
        truth = names[rows.truth] if rows.classes else rows.truth
        table = predictions.build(
            faces.astype({"identity": "string"}), rows.task, truth=truth, output=output, split="test"
        )
        each.append(table.assign(group=name))
    joined = pd.concat(each, ignore_index=True)
    joined.attrs = dict(each[0].attrs)
    return joined


def alarms_of_groups(table: pd.DataFrame, metric: str, seed: int, *, group: str = "a") -> dict[str, float]:
    """p of one group against the rest, of the largest gap, and of all groups (Holm); and `MARKED`."""
    rest = groups.against_rest(table, "group", metric=metric, n_boot=N_BOOT, seed=seed).set_index("group")
    gap = groups.gaps(table, "group", names=[metric], n_boot=N_BOOT, seed=seed).iloc[0]
    p = {f"{metric}: group against the rest": rest.loc[group, "p"], f"{metric}: largest gap": gap["p"]}
    p |= {MARKED: float(rest["few_decide"].any())}
    if len(rest) > 2:
        p[f"{metric}: groups against the rest, Holm"] = rest["p_holm"].min()
    return p


def equal_groups(sizes: dict[str, People], seed: int, *, model=simulated.TWO_CLASSES[1]) -> dict[str, float]:
    """Groups that are served equally: accuracy, and odds."""
    rng = np.random.default_rng(seed)
    people = {name: of.sizes(rng) for name, of in sizes.items()}
    table = table_of(people, lambda name, own: model.draw(rng, own)[0], rng)
    p = alarms_of_groups(table, "accuracy", seed)
    odds = groups.odds(table, "group", n_boot=N_BOOT, seed=seed).set_index("measure")["p"]
    return p | {f"odds: {name}": odds[name] for name in ("equalised odds", "equal opportunity")}


def equal_mae(kind: str, n: int, rest: int, seed: int) -> dict[str, float]:
    """Groups of equal mean absolute error whose errors spread differently."""
    rng = np.random.default_rng(seed)
    draws = {
        "Laplace": lambda size: rng.laplace(size=size),
        "gross errors": lambda size: (
            rng.normal(size=size) * np.where(rng.random(size) < 0.05, 10, 1) / 1.45 / 0.798
        ),
        "constant": lambda size: rng.choice([-1, 1], size) * (1 + 0.1 * rng.normal(size=size)),
        "normal": lambda size: rng.normal(size=size) / 0.7979,
    }

    def draw(name, sizes):
        truth = rng.uniform(0, 90, len(sizes))
        error = 4 * draws[kind if name == "a" else "normal"](len(sizes))
        return simulated.rows_from(
            Task("age", NUMBER, unit="years"), np.arange(len(sizes)), truth, truth + error, np.zeros((len(sizes), 0)),
        )  # fmt: skip

    table = table_of({"a": np.ones(n, int), "b": np.ones(rest, int)}, draw, rng)
    return alarms_of_groups(table, "mae", seed)


def equal_balanced(n: int, rest: int, seed: int) -> dict[str, float]:
    """Groups of equal recall of each class (.95 and .75) whose classes are mixed differently."""
    rng = np.random.default_rng(seed)

    def draw(name, sizes):
        truth = (rng.random(len(sizes)) < (0.2 if name == "a" else 0.5)).astype(int)
        right = rng.random(len(sizes)) < np.where(truth == 1, 0.75, 0.95)
        predicted = np.where(right, truth, 1 - truth)
        share = np.where(predicted == 1, 0.9, 0.1)
        task = Task("label", classes=("c0", "c1"))
        return simulated.rows_from(
            task, np.arange(len(sizes)), truth, predicted, np.column_stack([1 - share, share])
        )

    table = table_of({"a": np.ones(n, int), "b": np.ones(rest, int)}, draw, rng)
    return alarms_of_groups(table, "balanced_accuracy", seed)


def idle_mitigation(seed: int) -> dict[str, float]:
    """p of a mitigation that does nothing, for the group that was worst before, and for everybody."""
    rng = np.random.default_rng(seed)
    model = Classes("", signal_for(0.92), models=2)
    people = {name: np.ones(200, int) for name in "abcdef"}
    tables = {}
    drawn = {name: model.draw(rng, own) for name, own in people.items()}
    for i, name in enumerate(("before", "nothing")):
        table = table_of(people, lambda group, own, i=i: drawn[group][i], rng)
        split = np.where(np.arange(len(table)) % 5 < 2, "validation", "test")
        tables[name] = table.assign(split=split)
    got = mitigation.compare_with_before(tables, "group", metric="accuracy", n_boot=N_BOOT, seed=seed).iloc[1]
    return {
        "change of the group that was worst before": got["worst_before_change_p"],
        "change of all faces": got["overall_change_p"],
    }


def calibrated(people: People, seed: int) -> dict[str, float]:
    """p of the test of calibration where probabilities are right."""
    rng = np.random.default_rng(seed)
    sizes = people.sizes(rng)
    who = np.repeat(np.arange(len(sizes)), sizes)
    # Whether the faces of a person are right goes together, and each probability is right on average.
    share = rng.uniform(0.05, 0.95, len(who))
    own = rng.normal(size=len(sizes))[who] * np.sqrt(simulated.PERSON)
    latent = own + rng.normal(size=len(who)) * np.sqrt(1 - simulated.PERSON)
    truth = (stats.norm.cdf(latent) < share).astype(int)
    faces = pd.DataFrame(
        {
            "face_id": np.arange(len(who)).astype(str),
            "identity": pd.array([f"p{w}" if len(who) > len(sizes) else pd.NA for w in who], "string"),
        }
    )
    task = Task("label", classes=("c0", "c1"))
    table = predictions.build(
        faces, task, truth=np.array(["c0", "c1"], dtype=object)[truth], output=np.column_stack([1 - share, share]),
        split="test",
    )  # fmt: skip
    return {"calibration": calibration.summary(table, n_boot=N_BOOT, seed=seed).iloc[0]["p_calibrated"]}


def folds(seed: int, *, repeats: int = 5, splits: int = 5, n: int = 300) -> dict[str, float]:
    """p values over repeated folds: the same learner on two sets of equally good features."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 10)) + 0.45 * (2 * y - 1)[:, None]
    d = []
    for repeat in range(repeats):
        cut = StratifiedKFold(splits, shuffle=True, random_state=seed * 100 + repeat)
        for train, test in cut.split(x, y):
            score = [
                LinearDiscriminantAnalysis()
                .fit(x[train][:, columns], y[train])
                .score(x[test][:, columns], y[test])
                for columns in (slice(0, 5), slice(5, 10))
            ]
            d.append(score[0] - score[1])
    d = np.array(d)
    if splits == 2:
        return {"5x2cv F": significance.five_by_two_f(d.reshape(5, 2)).p}
    n_test = n // splits
    return {
        "Nadeau-Bengio corrected t": significance.nadeau_bengio(d, n_train=n - n_test, n_test=n_test).p,
        "paired t over folds (shown as invalid)": pseudo_replication.naive_paired_t(d).p,
    }


def independent(seed: int) -> dict[str, float]:
    """p values of independent runs with unequal spread."""
    rng = np.random.default_rng(seed)
    return {"Welch's t": significance.welch(rng.normal(0.9, 0.01, 6), rng.normal(0.9, 0.03, 9)).p}


def size_designs() -> Iterator[tuple[str, Callable[[int], dict], int]]:
    """Every design without a difference: name, function of the seed to p values by test, simulations."""
    two = Classes("2 classes, accuracy 0.955", signal_for(0.955), models=2)
    for people in (equal(1500), equal(300, 4), equal(30, 10), lognormal(140), simulated.as_in("adience")):
        for metric in ("accuracy", "balanced_accuracy", "auc", "log_loss"):
            yield (
                f"two models; {people.name}",
                lambda s, p=people, m=metric: paired(p, two, m, s),
                MANY if len(people.sizes(np.random.default_rng(0))) < 1000 else FEW,
            )
    three = Classes("", signal_for(0.9), models=3)
    for people in (equal(600), equal(150, 4), lognormal(140)):
        yield f"three models; {people.name}", lambda s, p=people: together(p, three, "accuracy", s), MANY
    few_pictures = {"a": equal(60, 2), "b": lognormal(140)}
    yield "small group of people with few pictures", lambda s: equal_groups(few_pictures, s), FEW
    for n in (30, 100, 1000):
        sizes = {"a": equal(n), "b": equal(3000)}
        yield f"groups of {n} and 3,000 faces", lambda s, z=sizes: equal_groups(z, s), FEW
    for count in (4, 8):
        sizes = {name: equal(150) for name in "abcdefgh"[:count]}
        yield f"{count} groups of 150 faces", lambda s, z=sizes: equal_groups(z, s), FEW
    people_groups = dict(zip("abcd", (lognormal(k) for k in (80, 80, 120, 200)), strict=True))
    yield "4 groups of 80 to 200 people, 1 to 300 pictures", lambda s: equal_groups(people_groups, s), FEW
    for kind, n, rest in (
        ("Laplace", 100, 900),
        ("gross errors", 100, 900),
        ("constant", 60, 640),
        ("constant", 640, 60),
    ):
        yield (
            f"equal MAE: {kind} ({n}) against normal ({rest})",
            lambda s, k=kind, n=n, r=rest: equal_mae(k, n, r, s),
            FEW,
        )
    for n, rest in ((100, 900), (300, 300)):
        yield (
            f"equal recalls, other class mix: {n} against {rest}",
            lambda s, n=n, r=rest: equal_balanced(n, r, s),
            FEW,
        )
    yield "a mitigation that does nothing; 6 groups of 200 faces", idle_mitigation, FEW
    for people in (equal(600), lognormal(140), equal(80, 4)):
        yield f"calibrated probabilities; {people.name}", lambda s, p=people: calibrated(p, s), FEW
    yield "5 x 5 folds of 300", folds, FEW
    yield "5 x 2 folds of 300", lambda s: folds(s, splits=2), MANY
    yield "6 and 9 runs", independent, MANY


def worst_of(count: int, n: int, accuracy: float, seed: int) -> bool:
    """Whether the interval of the group that looks worst holds the accuracy that all groups have."""
    rng = np.random.default_rng(seed)
    model = Classes("", signal_for(accuracy))
    people = {f"g{i}": np.ones(n, int) for i in range(count)}
    table = table_of(people, lambda name, own: model.draw(rng, own)[0], rng)
    gap = groups.gaps(table, "group", names=["accuracy"], n_boot=50, seed=seed).iloc[0]
    return bool(gap["worst_value_low"] <= accuracy <= gap["worst_value_high"])


def paired_shares(n: int, difference: float, discordant: float, seed: int) -> bool:
    """Whether McNemar's interval holds the difference of two accuracies on the same faces."""
    rng = np.random.default_rng(seed)
    only_a, only_b = (discordant + difference) / 2, (discordant - difference) / 2
    a, b, _ = rng.multinomial(n, [only_a, only_b, 1 - only_a - only_b])
    low, high = paired_proportions.paired_proportions_interval(int(a), int(b), n)
    return low <= difference <= high

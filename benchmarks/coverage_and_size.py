"""Measure the coverage of the 95 % intervals and the size of the tests at 5 %.

    python -m benchmarks.coverage_and_size --simulations 1000

Every figure is a share of simulations with its Wilson interval; coverage should be .95 within .02,
the size of a test .05 within .015.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

from faceworkbook.evaluation import (
    comparison,
    groups,
    intervals,
    metrics,
    predictions,
    pseudo_replication,
    significance,
)
from faceworkbook.tasks import NUMBER, Task

SIMULATIONS = 1000
N_BOOT = 600
LARGE = 200_000


def people_of(rng: np.random.Generator, people: int, faces_a_person: int):
    """Person of each face, and a table with or without identities."""
    who = np.repeat(np.arange(people), faces_a_person)
    identity = [f"p{w}" for w in who] if faces_a_person > 1 else [pd.NA] * people
    table = pd.DataFrame(
        {"face_id": np.arange(len(who)).astype(str), "identity": pd.array(identity, "string")}
    )
    return who, table


def class_table(rng, *, people: int, faces_a_person: int = 1, classes: int = 2, signal=1.5, models: int = 1):
    """Predictions of equally good models; the faces of a person share some of what makes them hard."""
    who, faces = people_of(rng, people, faces_a_person)
    truth = rng.integers(0, classes, people)[who]
    names = [f"c{k}" for k in range(classes)]
    hard = rng.normal(size=(people, classes))[who] * 0.6
    tables = []
    for _ in range(models):
        own = rng.normal(size=(people, classes))[who] * 0.4 + rng.normal(size=(len(who), classes)) * 0.7
        logits = hard + own
        logits[np.arange(len(who)), truth] += signal
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        tables.append(
            predictions.build(
                faces, Task("label", classes=names), truth=np.array(names, dtype=object)[truth],
                output=shares, split="test",
            )
        )  # fmt: skip
    return tables


def number_table(rng, *, people: int, faces_a_person: int = 1):
    """Ages with errors that the faces of a person partly share."""
    who, faces = people_of(rng, people, faces_a_person)
    truth = rng.uniform(0, 90, people)[who]
    error = 1 + 4 * rng.normal(size=people)[who] + 5 * rng.normal(size=len(who))
    return [predictions.build(faces, Task("age", NUMBER), truth=truth, output=truth + error, split="test")]


def coverage(simulations: int) -> Iterator[dict]:
    """Share of intervals that hold the population's value."""
    designs = {
        "2 classes, 300 faces": (class_table, {"people": 300}),
        "2 classes, 80 people x 4": (class_table, {"people": 80, "faces_a_person": 4}),
        "5 classes, 500 faces": (class_table, {"people": 500, "classes": 5}),
        "5 classes, 150 people x 4": (class_table, {"people": 150, "faces_a_person": 4, "classes": 5}),
        "ages, 300 faces": (number_table, {"people": 300}),
        "ages, 100 people x 4": (number_table, {"people": 100, "faces_a_person": 4}),
    }
    for design, (make, options) in designs.items():
        (population,) = make(np.random.default_rng(999), **(options | {"people": LARGE, "faces_a_person": 1}))
        rows = metrics.rows_of(population)
        truth = {n: metrics.pick(n, rows.task).value(rows) for n in metrics.default_names(rows.task)}
        hits = dict.fromkeys(truth, 0)
        for seed in range(simulations):
            (table,) = make(np.random.default_rng(seed), **options)
            summary = metrics.summary(table, seed=seed, n_boot=N_BOOT).set_index("metric")
            for name, value in truth.items():
                hits[name] += summary.loc[name, "low"] <= value <= summary.loc[name, "high"]
        for name, count in hits.items():
            yield {
                "what": "coverage",
                "of": name,
                "design": design,
                "share": count / simulations,
                "n": simulations,
            }


def count_alarms(
    design: str, simulations: int, of: Callable[[np.random.Generator, int], dict]
) -> Iterator[dict]:
    """Share of simulations without a difference in which each test has p < .05."""
    alarms: dict[str, list] = {}
    for seed in range(simulations):
        for test, p in of(np.random.default_rng(seed), seed).items():
            alarms.setdefault(test, []).append(p < significance.ALPHA)
    for test, seen in alarms.items():
        yield {"what": "size", "of": test, "design": design, "share": np.mean(seen), "n": len(seen)}


def paired(
    rng, seed: int, *, metric: str = "accuracy", people: int = 1500, faces_a_person: int = 1, models: int = 2
):
    """p values of the tests on one test set."""
    made = class_table(rng, people=people, faces_a_person=faces_a_person, models=models)
    runs = {f"m{i}": table for i, table in enumerate(made)}
    rows = {name: metrics.rows_of(table) for name, table in runs.items()}
    chosen = metrics.pick(metric, next(iter(rows.values())).task)
    pairs = comparison.pairs_of_rows(rows, chosen, seed=seed, n_boot=N_BOOT)
    p = {result.test + ("" if result.valid else " (invalid here)"): result.p for _, _, result in pairs[:2]}
    if models > 2:
        together = comparison.tests_of_all(rows, chosen, seed=seed, n_boot=N_BOOT)
        p = {result.test: result.p for result in together}
        tests = pd.DataFrame([(r.test, r.p) for _, _, r in pairs if r.valid], columns=["test", "p"])
        p |= {
            f"{test}, Holm over {len(t)} pairs": significance.holm(t["p"]).min()
            for test, t in tests.groupby("test")
        }
    return p


def folds(rng, seed: int, *, repeats: int = 5, splits: int = 5, n: int = 300):
    """p values over repeated folds: the same learner on two sets of equally good features."""
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 10)) + 0.45 * (2 * y - 1)[:, None]
    d = []
    for repeat in range(repeats):
        for train, test in StratifiedKFold(splits, shuffle=True, random_state=seed * 100 + repeat).split(
            x, y
        ):
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
        "paired t over folds (invalid)": pseudo_replication.naive_paired_t(d).p,
    }


def independent(rng, seed: int):
    """p values of independent runs with unequal spread."""
    return {"Welch's t": significance.welch(rng.normal(0.9, 0.01, 6), rng.normal(0.9, 0.03, 9)).p}


def grouped(rng, seed: int, *, people: int = 900, faces_a_person: int = 1):
    """p values by group where no group differs, and whether the gaps' intervals hold the truth (0)."""
    (table,) = class_table(rng, people=people, faces_a_person=faces_a_person)
    group = rng.choice(list("abcd"), people, p=[0.4, 0.3, 0.2, 0.1])
    table["group"] = np.repeat(group, faces_a_person)
    rest = groups.against_rest(table, "group", n_boot=N_BOOT, seed=seed)
    gap = groups.gaps(table, "group", names=["accuracy", "log_loss"], n_boot=N_BOOT, seed=seed).set_index(
        "metric"
    )
    odds = groups.odds(table, "group", n_boot=N_BOOT, seed=seed).set_index("measure")
    return {
        "group against rest": rest["p"].iloc[2],
        "groups against rest, Holm over 4": rest["p_holm"].min(),
        "gap of accuracy": gap.loc["accuracy", "p"],
        "gap of log loss": gap.loc["log_loss", "p"],
        "equalised odds": odds.loc["equalised odds", "p"],
        "interval of group - rest leaves out 0": 0.0
        if rest["low"].iloc[2] > 0 or rest["high"].iloc[2] < 0
        else 1.0,
        "simultaneous interval of gap leaves out 0": 0.0 if gap.loc["accuracy", "low"] > 0 else 1.0,
    }


def sizes(simulations: int) -> Iterator[dict]:
    """Size of every test."""
    few = max(simulations // 2, 50)
    designs = {
        "1,500 faces": (paired, {}, simulations),
        "300 people x 4": (paired, {"people": 300, "faces_a_person": 4}, simulations),
        "1,500 faces, three models": (paired, {"models": 3}, simulations),
        "300 people x 4, three models": (paired, {"people": 300, "faces_a_person": 4, "models": 3}, few),
        "AUC, 600 faces": (paired, {"metric": "auc", "people": 600}, simulations),
        "AUC, 150 people x 4": (paired, {"metric": "auc", "people": 150, "faces_a_person": 4}, simulations),
        "macro F1, 600 faces": (paired, {"metric": "macro_f1", "people": 600}, simulations),
        "log loss, 600 faces": (paired, {"metric": "log_loss", "people": 600}, simulations),
        "5 x 5 folds of 300": (folds, {}, simulations),
        "5 x 2 folds of 300": (folds, {"splits": 2}, simulations),
        "6 and 9 runs": (independent, {}, simulations * 5),
        "4 groups of 900 faces": (grouped, {}, few),
        "4 groups of 300 people x 3": (grouped, {"people": 300, "faces_a_person": 3}, few),
    }
    for design, (of, options, count) in designs.items():
        yield from count_alarms(
            design, count, lambda rng, seed, of=of, options=options: of(rng, seed, **options)
        )


def main() -> None:
    """Print one row a figure, as soon as it is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, help="made-up data sets a design")
    parser.add_argument("--only", choices=["coverage", "size"], help="measure one of the two only")
    options = parser.parse_args()
    print(f"{'what':9} {'of':48} {'design':30} {'share':>6}  95 % interval   simulations")
    for what, rows in {"size": sizes, "coverage": coverage}.items():
        if options.only not in (None, what):
            continue
        for row in rows(options.simulations):
            low, high = intervals.wilson(round(row["share"] * row["n"]), row["n"])
            print(
                f"{row['what']:9} {row['of']:48} {row['design']:30} {row['share']:6.3f}  "
                f"[{low:.3f}, {high:.3f}]  {row['n']:6d}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()

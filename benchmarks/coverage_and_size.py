"""Measure the coverage of the 95 % intervals and the size of the tests at 5 %, with faces as they come.

    python -m benchmarks.coverage_and_size --write

Every figure is a share of simulations with its Wilson interval. Intervals are guaranteed to cover .935 to .965 and
tests to raise a false alarm in .035 to .065, where there are 30 people and 25 effective ones or more. What does not
hold is named in the table, docs/how_intervals_were_checked.md, which every report links to.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks import simulated_faces as simulated
from benchmarks.null_designs import FEW, MANY, MARKED, paired_shares, size_designs, worst_of
from benchmarks.simulated_faces import Classes, Numbers, People
from faceworkbook.evaluation import intervals, metrics, significance
from faceworkbook.evaluation.figures import ENOUGH_FREEDOM, ENOUGH_UNITS

RESULTS, PARTS = Path(__file__).parent / "results", ("size", "coverage")
PAGE = Path(__file__).parents[1] / "docs/how_intervals_were_checked.md"
GUARANTEED = {"coverage": (0.935, 0.965), "size": (0.035, 0.065)}
LARGE = 400_000
CHUNK = 50


# --------------------------------------------------------------------------- coverage of intervals


def coverage_designs() -> Iterator[tuple[str, People, Classes | Numbers, bool]]:
    """Every combination of people and model: name, people, model, whether there are 30 people."""
    for people in simulated.PEOPLE:
        for model in (*simulated.CLASSIFIERS, *simulated.NUMBERS):
            yield people.name, people, model, True
    for people in simulated.FEW_PEOPLE:
        for model in (simulated.TWO_CLASSES[1], simulated.NUMBERS[0]):
            yield people.name, people, model, False


def true_values(model: Classes | Numbers) -> dict[str, float]:
    """Each metric in a population of independent faces."""
    (rows,) = model.draw(np.random.default_rng(999), np.ones(LARGE, dtype=int))
    return {name: metrics.pick(name, rows.task).value(rows) for name in metrics.default_names(rows.task)}


def cover(people: People, model: Classes | Numbers, truth: dict[str, float], seeds: range) -> pd.DataFrame:
    """Whether each metric's interval holds the population's value: one row a simulation and metric."""
    records = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        (rows,) = model.draw(rng, people.sizes(rng))
        for name, value in truth.items():
            made = metrics.figure(metrics.pick(name, rows.task), rows)
            low, high = made.interval()
            if np.isfinite([low, high]).all():
                doubt = metrics.doubt(made, metrics.pick(name, rows.task))
                records.append((name, low <= value <= high, made.effective, bool(doubt)))
    return pd.DataFrame(records, columns=["of", "hit", "effective", "marked"])


def coverage(simulations: int) -> Iterator[dict]:
    """Share of intervals that hold the population's value, by design and metric."""
    truths: dict[str, dict] = {}
    for design, people, model, guaranteed in coverage_designs():
        truth = truths.setdefault(model.name, true_values(model))
        # r2 is of the truth in the sample, and of each sample another one.
        truth.pop("r2", None)
        seen = _in_parallel(lambda seeds, p=people, m=model, t=truth: cover(p, m, t, seeds), simulations)
        for name, own in seen.groupby("of", sort=False):
            enough = guaranteed and own["effective"].median() >= ENOUGH_UNITS
            row = _row("coverage", f"{design}; {model.name}", name, own["hit"], guaranteed=enough)
            yield row | {"marked": bool(own["marked"].mean() > 0.5)}


def sizes(simulations: float) -> Iterator[dict]:
    """Share of simulations without a difference in which each test has p < .05."""
    for design, of, count in size_designs():
        runs = max(round(count * simulations / MANY), CHUNK)
        seen = _in_parallel(lambda seeds, of=of: _p_values(of, seeds), runs)
        marked = bool(seen.loc[seen["of"] == MARKED, "p"].mean() > 0.5)
        for test, p in seen[seen["of"] != MARKED].groupby("of", sort=False)["p"]:
            row = _row(
                "size", design, test, p.dropna() < significance.ALPHA, guaranteed="invalid" not in test
            )
            yield row | {"marked": marked}


def _p_values(of: Callable[[int], dict], seeds: range) -> pd.DataFrame:
    records = [(test, p) for seed in seeds for test, p in of(seed).items()]
    return pd.DataFrame(records, columns=["of", "p"])


def other_intervals(simulations: int) -> Iterator[dict]:
    """Coverage of the interval of a picked group, and of a difference of paired shares."""
    for count, n, accuracy in ((5, 100, 0.95), (8, 150, 0.95), (10, 60, 0.90)):
        hits = _in_parallel(
            lambda seeds, c=count, n=n, a=accuracy: pd.DataFrame(
                {"hit": [worst_of(c, n, a, s) for s in seeds]}
            ),
            min(simulations, FEW),
        )["hit"]
        # Intervals for all groups together cover more than .95 by design.
        yield _row(
            "coverage",
            f"worst of {count} equal groups of {n} at {accuracy}",
            "accuracy",
            hits,
            guaranteed=False,
        )
    for n, difference, discordant in ((300, 0.02, 0.06), (1000, 0.02, 0.05), (200, 0.03, 0.05)):
        hits = [paired_shares(n, difference, discordant, seed) for seed in range(simulations)]
        design = f"two models; {n} faces, difference {difference}, discordant {discordant}"
        yield _row("coverage", design, "difference of accuracies", pd.Series(hits), guaranteed=True)


# --------------------------------------------------------------------------- running and writing


def _in_parallel(of: Callable[[range], pd.DataFrame], simulations: int) -> pd.DataFrame:
    chunks = [range(start, min(start + CHUNK, simulations)) for start in range(0, simulations, CHUNK)]
    return pd.concat(Parallel(n_jobs=-1)(delayed(of)(chunk) for chunk in chunks), ignore_index=True)


def _row(what: str, design: str, of: str, hits: pd.Series, *, guaranteed: bool) -> dict:
    n, share = len(hits), float(np.mean(hits)) if len(hits) else np.nan
    low, high = (float(end) for end in intervals.wilson(share * n, n))
    least, most = GUARANTEED[what]
    holds = least <= share <= most
    verdict = (
        ("holds" if holds else "too low" if share < least else "too high") if guaranteed else "not judged"
    )
    return {
        "what": what, "design": design, "of": of, "share": share, "low": low, "high": high, "n": n,
        "verdict": verdict,
    }  # fmt: skip


def write_page(rows: pd.DataFrame) -> None:
    """Write docs/how_intervals_were_checked.md."""
    guaranteed = rows[rows["verdict"] != "not judged"]
    fails = guaranteed[guaranteed["verdict"] != "holds"]
    careful = (fails["what"] == "coverage") == (fails["verdict"] == "too high")
    lines = [
        "# How these intervals were checked",
        "",
        "`python -m benchmarks.coverage_and_size --write` draws data whose truth is known, again and again, and counts how often a",
        "95 % interval holds the truth (wanted .95) and how often a test at 5 % sees a difference that is not there (wanted .05).",
        "People have as many pictures as in real data sets (`benchmarks/cluster_sizes.json`), their errors go together",
        f"(a share of {simulated.PERSON} of a score's variance is the person's own), and groups differ in size, spread and class mix.",
        "",
        "The bar: intervals cover .935 to .965 and tests alarm in .035 to .065 wherever there are 30 people and 25 effective ones",
        "((sum n)^2 / sum n^2 of their numbers of pictures). Below that the method column of a report says that there are too few.",
        "",
        f"{len(guaranteed) - len(fails)} of {len(guaranteed)} figures hold, {careful.sum()} are more careful than they should be (intervals cover more, tests",
        f"alarm less), and {(~careful).sum()} are less. **These are not to be relied on as far as the others.** Those that are",
        f"marked say so in the method column of a report too: with fewer than {ENOUGH_FREEDOM} degrees of freedom, log loss, Brier score,",
        "errors of numbers and areas under the curve hang on a few large errors or a few low ranks; a share of fewer faces than that",
        "takes few values. Tables of groups name those whose figure a few large errors make.",
        "",
        *_markdown(fails[~careful].sort_values(["what", "share"])),
        "",
    ]
    for what, title in (("coverage", "Coverage of 95 % intervals"), ("size", "False alarms of tests at 5 %")):
        lines += [f"## {title}", "", *_markdown(rows[rows["what"] == what]), ""]
    PAGE.write_text("\n".join(lines))


def _markdown(rows: pd.DataFrame) -> list[str]:
    lines = ["| design | of | share [95 % interval] | simulations | |", "|---|---|---|---|---|"]
    return lines + [
        f"| {r.design} | {r.of.replace('_', ' ')} | {r.share:.3f} [{r.low:.3f}, {r.high:.3f}] | {r.n:,} | {r.verdict}{', marked' * (r.marked is True)} |"
        for r in rows.itertuples()
    ]


def measure(simulations: int, what: str) -> pd.DataFrame:
    """Run the designs of one part and print one row a figure, as soon as it is there; keep them in RESULTS."""
    rows = []
    for of in {"size": [sizes], "coverage": [other_intervals, coverage]}[what]:
        for row in of(simulations):
            print(
                f"{row['what']:9} {row['design']:60} {row['of']:44} {row['share']:.3f} "
                f"[{row['low']:.3f}, {row['high']:.3f}] {row['n']:6d} {row['verdict']}"
                f"{', marked' * row.get('marked', False)}", flush=True,
            )  # fmt: skip
            rows.append(row)
    RESULTS.mkdir(exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(RESULTS / f"{what}.csv", index=False)
    return table


def main() -> None:
    """Print one row a figure; with --write also the page in docs/."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=MANY, help="made-up data sets a design")
    parser.add_argument(
        "--only", choices=PARTS, help="measure one of the two only, and keep the other's figures"
    )
    parser.add_argument(
        "--write", action="store_true", help=f"write {PAGE.name} from the figures that are there"
    )
    options = parser.parse_args()
    for what in PARTS if options.only is None else (options.only,):
        measure(options.simulations, what)
    if options.write:
        write_page(pd.concat([pd.read_csv(RESULTS / f"{what}.csv") for what in PARTS]))


if __name__ == "__main__":
    main()

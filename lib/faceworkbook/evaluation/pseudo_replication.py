"""Tests that are not to be relied on, and how often each test raises a false alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.paired_proportions import mcnemar
from faceworkbook.evaluation.significance import ALPHA, Result, paired_t, t_over_folds
from faceworkbook.evaluation.standard_errors import error_of_sum


def naive_paired_t(differences: np.ndarray) -> Result:
    """Plain paired t test over folds, marked invalid: overlapping training sets count as independent."""
    assumes = "folds are independent, which repeated folds are not"
    return replace(t_over_folds("paired t over folds (naive)", differences, 0.0, assumes), valid=False)


def t_over_evaluations(
    right_a: np.ndarray,
    right_b: np.ndarray,
    *,
    evaluations: int = 50,
    share: float = 0.5,
    seed: int = 0,
) -> Result:
    """Run a t test over repeated evaluations of two fixed models: pseudo-replication, not to be relied on.

    One fitted model is evaluated again and again on random samples of one test set, and the repeats
    are fed to a t test as if they were new experiments. More repeats make p as small as one likes,
    whatever the truth.

    Parameters
    ----------
    evaluations : int
        Repeats of each model.
    share : float in 0..1
        Share of the test rows in each evaluation.

    Returns
    -------
    Result
        With ``valid`` False.
    """
    rng = np.random.default_rng(seed)
    n, size = len(right_a), max(1, round(share * len(right_a)))
    # A random subset without replacement holds a hypergeometric number of the faces that are right.
    a, b = (
        rng.hypergeometric(int(right.sum()), n - int(right.sum()), size, evaluations) / size
        for right in (np.asarray(right_a, dtype=int), np.asarray(right_b, dtype=int))
    )
    test = stats.ttest_ind(a, b)
    low, high = test.confidence_interval(1 - ALPHA)
    spread = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    return Result(
        test="t over repeated evaluations (pseudo-replication)",
        difference=float(a.mean() - b.mean()),
        low=float(low),
        high=float(high),
        statistic=float(test.statistic),
        p=float(test.pvalue),
        effect=float((a.mean() - b.mean()) / spread) if spread else 0.0,
        effect_name="Cohen's d",
        n=2 * evaluations,
        counted="evaluations",
        assumes="evaluations are independent, which they are not",
        valid=False,
    )


def false_alarms(
    *,
    simulations: int = 400,
    n: int = 1000,
    accuracy: float = 0.9,
    agreement: float = 0.5,
    evaluations: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Count how often each test sees a difference between two models that are equally good.

    Parameters
    ----------
    simulations : int
        Number of made-up test sets.
    n : int
        Faces in each.
    accuracy : float in 0..1
        Of both models, on the population.
    agreement : float in 0..1
        Share of faces on which both do the same.

    Returns
    -------
    pandas.DataFrame
        test, alarms (share of simulations with p < .05), low, high (Wilson), simulations, valid.
    """
    rng, faces = np.random.default_rng(seed), np.arange(n)
    alarms: dict[tuple[str, bool], int] = {}
    for run in range(simulations):
        a, b = _equally_good(rng, n, accuracy, agreement)
        gap = a.astype(float) - b.astype(float)
        results = (
            mcnemar(a, b),
            paired_t(gap.mean(), error_of_sum((gap - gap.mean()) / n, faces, faces), n, counted="faces"),
            t_over_evaluations(a, b, evaluations=evaluations, seed=run),
        )
        for result in results:
            key = (result.test, result.valid)
            alarms[key] = alarms.get(key, 0) + (result.p < ALPHA)
    table = pd.DataFrame(
        [{"test": test, "alarms": count / simulations, "valid": ok} for (test, ok), count in alarms.items()]
    )
    low, high = intervals.wilson(list(alarms.values()), simulations)
    return table.assign(low=low, high=high, simulations=simulations)[
        ["test", "alarms", "low", "high", "simulations", "valid"]
    ]


def _equally_good(rng: np.random.Generator, n: int, accuracy: float, agreement: float):
    a, b = rng.random(n) < accuracy, rng.random(n) < accuracy
    return a, np.where(rng.random(n) < agreement, a, b)

"""From the results of tests to a table of pairs with one verdict each, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook.evaluation.metrics import Metric
from faceworkbook.evaluation.significance import ALPHA, Result, holm

POWER = 0.8
DIFFER, NO_DIFFERENCE, INVALID = "differ", "no significant difference", "not to be relied on"
CHOSEN, OTHER = "chosen", "other"
COLUMNS = (
    "first", "second", "role", "test", "difference", "low", "high", "p", "p_holm", "effect", "effect_name", "n",
    "counted", "faces_needed", "verdict", "sentence",
)  # fmt: skip


def make_pairs_table(
    results: Sequence[tuple[str, str, Result]], metric: Metric, *, n_faces: int | None = None
) -> pd.DataFrame:
    """Make the table of pairs of models and tests.

    Parameters
    ----------
    results : sequence of (first, second, Result)
        The first valid result of a pair is the one that its design asks for.
    n_faces : int, optional
        Test faces behind the results; without, no number of faces needed is given.

    Returns
    -------
    pandas.DataFrame
        See `faceworkbook.evaluation.comparison.Comparison`.
    """
    table = pd.DataFrame([{"first": a, "second": b, **asdict(result)} for a, b, result in results])
    valid = table[table["valid"]]
    chosen = ~valid.duplicated(["first", "second"])
    table["role"] = np.where(table.index.isin(chosen.index[chosen]), CHOSEN, OTHER)
    table["p_holm"] = np.nan
    for _, same in valid.groupby("test"):
        table.loc[same.index, "p_holm"] = holm(same["p"])
    table["faces_needed"] = [_needed(result, n_faces) for _, _, result in results]
    table["verdict"] = np.select(
        [~table["valid"], table["role"] == OTHER, table["p_holm"] < ALPHA],
        [INVALID, "", DIFFER],
        NO_DIFFERENCE,
    )
    table["sentence"] = [_sentence(row, metric) for row in table.itertuples()]
    return table[list(COLUMNS)]


def make_overall_table(results: Sequence[Result], metric: Metric) -> pd.DataFrame:
    """Make the table of tests of all models together; empty where there is none."""
    table = pd.DataFrame([asdict(r) for r in results])
    if table.empty:
        return table
    table["sentence"] = [
        f"{r.test}: "
        + ("the models differ" if r.p < ALPHA else "no significant difference between the models")
        + f" by {metric.name} taken together (p {format_p(r.p)}, {r.n:,} {r.counted})."
        + ("" if r.p < ALPHA else " Read the pairs below with that in mind.")
        for r in results
    ]
    return table[["test", "statistic", "p", "effect", "effect_name", "n", "counted", "sentence"]]


def faces_needed(
    difference: float, error: float, *, n: int, alpha: float = ALPHA, power: float = POWER
) -> float:
    """Count the test faces that would show a difference of this size, were it the true one.

    Parameters
    ----------
    difference : float
        Observed difference of any metric.
    error : float
        Its standard error on `n` test faces; people who repeat are in it, so the answer assumes as
        many faces a person.

    Returns
    -------
    float
        n (z_alpha + z_power)^2 error^2 / difference^2, rounded up; infinite for no difference.
    """
    if difference == 0 or not np.isfinite(error):
        return np.inf
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    return float(np.ceil(n * (z * error / difference) ** 2))


def format_p(p: float) -> str:
    """Write a p value: '= .031', '< .001'."""
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".", 1)


def format_interval(low: float, high: float) -> str:
    """Write an interval of a difference: '95 % interval -0.0120 to +0.0310'."""
    return f"95 % interval {low:+.4f} to {high:+.4f}" if np.isfinite([low, high]).all() else "no interval"


def _needed(result: Result, n_faces: int | None) -> float:
    if n_faces is None or result.counted in ("folds", "runs"):
        return np.nan
    reach = stats.norm.ppf(1 - ALPHA / 2)
    return faces_needed(result.difference, (result.high - result.low) / (2 * reach), n=n_faces)


def _sentence(row, metric: Metric) -> str:
    if row.verdict == INVALID:
        return (
            f"{row.first} and {row.second}: {row.test} would give p {format_p(row.p)}; "
            f"not to be relied on, for it takes for granted that {row.assumes}."
        )
    if row.verdict == "":
        return ""
    interval = format_interval(row.low, row.high)
    tested = f"{row.test}, p {format_p(row.p)}, Holm {format_p(row.p_holm)}, {row.n:,} {row.counted}"
    if row.verdict == DIFFER:
        return (
            f"{row.first} is {_direction(row.difference, metric)} than {row.second}: {metric.name} "
            f"{row.difference:+.4f} ({interval}; {tested})."
        )
    needed = (
        f" About {row.faces_needed:,.0f} test faces would show a difference of this size in {POWER:.0%} of trials."
        if np.isfinite(row.faces_needed)
        else ""
    )
    return (
        f"{row.first} and {row.second}: no significant difference ({interval}) in {metric.name}, "
        f"{row.difference:+.4f} ({tested}).{needed}"
    )


def _direction(difference: float, metric: Metric) -> str:
    if metric.better == "zero":
        return "higher" if difference > 0 else "lower"
    return "better" if (difference > 0) == (metric.better == "higher") else "worse"

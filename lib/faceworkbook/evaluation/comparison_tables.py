"""Tables and sentences of a comparison."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook.evaluation import significance
from faceworkbook.evaluation.metrics import Metric, Rows
from faceworkbook.evaluation.significance import ALPHA, Result

POWER = 0.8


def faces_needed(difference: float, error: float, *, n: int, alpha: float = ALPHA, power: float = POWER):
    """Return how many test faces would show a difference of this size, were it the true one.

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


def make_pairs_table(results, metric: Metric, rows: dict[str, Rows]) -> pd.DataFrame:
    table = pd.DataFrame([{"first": a, "second": b, **asdict(result)} for a, b, result in results])
    table["p_holm"] = np.nan
    for _, same in table[table["valid"]].groupby("test"):
        table.loc[same.index, "p_holm"] = significance.holm(same["p"])
    table["faces_needed"] = [_needed(result, rows.get(a)) for a, _, result in results]
    table["verdict"] = np.where(table["p_holm"] < ALPHA, "differ", "no significant difference")
    table.loc[~table["valid"], "verdict"] = "not to be relied on"
    table["sentence"] = [_pair_sentence(row, metric) for row in table.itertuples()]
    return table[
        ["first", "second", "test", "difference", "low", "high", "p", "p_holm", "effect", "effect_name",
         "n", "counted", "faces_needed", "verdict", "sentence"]
    ]  # fmt: skip


def _needed(result: Result, rows: Rows | None) -> float:
    if rows is None or result.counted in ("folds", "runs"):
        return np.nan
    reach = stats.norm.ppf(1 - ALPHA / 2)
    return faces_needed(result.difference, (result.high - result.low) / (2 * reach), n=rows.n_faces)


def make_overall_table(results: list[Result], metric: Metric) -> pd.DataFrame:
    table = pd.DataFrame([asdict(r) for r in results])
    if table.empty:
        return table
    table["sentence"] = [
        f"{r.test}: the models {'differ' if r.p < ALPHA else 'show no significant difference'} by {metric.name} taken "
        f"together (p {format_p(r.p)}, {r.n:,} {r.counted})."
        + ("" if r.p < ALPHA else " Read the pairs below with that in mind.")
        for r in results
    ]
    return table[["test", "statistic", "p", "effect", "effect_name", "n", "counted", "sentence"]]


def _pair_sentence(row, metric: Metric) -> str:
    if row.verdict == "not to be relied on":
        return (
            f"{row.first} and {row.second}: {row.test} would say p {format_p(row.p)}; "
            f"not to be relied on, for it takes for granted that {row.assumes}."
        )
    figures = (
        f"{metric.name} {row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f}; {row.test}, "
        f"p {format_p(row.p)}, Holm {format_p(row.p_holm)}, {row.n:,} {row.counted})"
    )
    if row.verdict == "differ":
        return f"{row.first} is {_direction(row.difference, metric)} than {row.second}: {figures}."
    needed = (
        f" About {row.faces_needed:,.0f} test faces would show a difference of this size in "
        f"{POWER:.0%} of trials."
        if np.isfinite(row.faces_needed)
        else ""
    )
    return f"{row.first} and {row.second} show no significant difference: {figures}.{needed}"


def _direction(difference: float, metric: Metric) -> str:
    if metric.better == "zero":
        return "higher" if difference > 0 else "lower"
    return "better" if (difference > 0) == (metric.better == "higher") else "worse"


def format_p(p: float) -> str:
    """A p value in words: '= .031', '< .001'."""
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".", 1)

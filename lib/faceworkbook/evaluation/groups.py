"""For whom a model fails: every metric by group, with n and intervals, gaps, and a test of chance.

A group is a label that annotators gave (or an age band), or a pair of labels. Groups are cut by
fairlearn's `MetricFrame`; intervals and tests draw people, not images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals, metrics, significance
from faceworkbook.evaluation.group_attributes import (
    AGE_EDGES,
    EVERYONE,
    SMALL,
    Attribute,
    Cut,
    GroupsError,
    age_bands,
    attach,
    choose_attributes,
    cut,
    describe_attribute,
    levels,
    make_metric_frame,
    pairs_of,
)
from faceworkbook.evaluation.metrics import Metric
from faceworkbook.evaluation.odds import odds
from faceworkbook.evaluation.shuffled_groups import Shuffled, shuffle_labels, statistic_on_blocks

__all__ = [
    "AGE_EDGES",
    "EVERYONE",
    "SMALL",
    "Attribute",
    "GroupsError",
    "against_rest",
    "age_bands",
    "attach",
    "by_group",
    "choose_attributes",
    "cut",
    "describe_attribute",
    "difference_interval",
    "gaps",
    "levels",
    "odds",
    "pairs_of",
    "ratio_interval",
]


def by_group(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    names: Sequence[str] | None = None,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Every metric in every group, with its 95 % interval.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions with attributes, see `attach`.
    attribute : str or pair of str
    names : sequence of str, optional
        Metrics; by default all that apply.
    small : int
        Groups with fewer faces are marked.

    Returns
    -------
    pandas.DataFrame
        attribute, group, metric, value, low, high, n, n_identities, small, method. An empty group
        has n 0 and NaN.
    """
    pieces = cut(table, attribute, subset=subset)
    chosen = [metrics.pick(n, pieces.rows.task) for n in names or metrics.default_names(pieces.rows.task)]
    frame = make_metric_frame(pieces, chosen)
    records = []
    for code, group in enumerate(pieces.names):
        rows = pieces.of(code)
        for metric in chosen:
            _, low, high, method = metrics.estimate(metric, rows, seed=seed, n_boot=n_boot)
            records.append(
                {
                    "attribute": describe_attribute(attribute),
                    "group": describe_attribute(group),
                    "metric": metric.name,
                    "value": frame.loc[describe_attribute(group), metric.name],
                    "low": low,
                    "high": high,
                    "n": len(rows.units),
                    "n_identities": len(np.unique(rows.units)) if rows.by_identity else pd.NA,
                    "small": len(rows.units) < small,
                    "method": method,
                }
            )
    return pd.DataFrame(records).astype({"n_identities": "Int64"})


def against_rest(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    metric: str = "accuracy",
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Each group against all other rows: is it served worse, beyond what the null distribution allows?

    Returns
    -------
    pandas.DataFrame
        group, value, rest, difference, low, high, p, p_holm, n, small, verdict ('worse', 'better',
        'no significant difference', 'too small'). The interval combines those of the group and the rest
        (Newcombe's for shares; Zou and Donner 2008); p is that of a permutation of group labels
        over people; Holm over the groups that are not small.
    """
    pieces = cut(table, attribute, subset=subset)
    chosen = metrics.pick(metric, pieces.rows.task)
    shuffled = shuffle_labels(pieces, seed=seed, n_boot=n_boot)
    records = []
    for code, group in enumerate(pieces.names):
        inside = pieces.codes == code
        pair = [
            metrics.estimate(chosen, pieces.rows.take(side), seed=seed, n_boot=n_boot)[:3]
            for side in (inside, ~inside)
        ]
        low, high = difference_interval(*pair)
        records.append(
            {
                "group": describe_attribute(group),
                "value": pair[0][0],
                "rest": pair[1][0],
                "difference": pair[0][0] - pair[1][0],
                "low": low,
                "high": high,
                "p": _p_of_group(chosen, pieces, code, shuffled),
                "n": int(inside.sum()),
                "small": int(inside.sum()) < small,
            }
        )
    return _with_verdicts(pd.DataFrame(records), chosen)


def gaps(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    names: Sequence[str] | None = None,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Largest gap and ratio between groups, the worst group, and the gap that chance alone makes.

    Returns
    -------
    pandas.DataFrame
        attribute, metric, worst, worst_value, best, best_value, gap, low, high, ratio, ratio_low,
        ratio_high, null_mean (mean gap when group labels are shuffled over people), p (share of
        shuffles with such a gap), groups, left_out (small groups). Intervals hold for all pairs of
        groups together (Bonferroni), because worst and best were picked after looking.
    """
    pieces = cut(table, attribute, subset=subset)
    sizes = pieces.sizes()
    used = np.flatnonzero(sizes >= small)
    left_out = [describe_attribute(pieces.names[g]) for g in np.flatnonzero(sizes < small)]
    shuffled = shuffle_labels(pieces, seed=seed, n_boot=n_boot)
    records = []
    for name in names or metrics.default_names(pieces.rows.task):
        metric = metrics.pick(name, pieces.rows.task)
        record = _gap_record(metric, pieces, used, shuffled, seed=seed, n_boot=n_boot)
        records.append(
            {"attribute": describe_attribute(attribute), **record, "left_out": ", ".join(left_out)}
        )
    return pd.DataFrame(records)


def difference_interval(first, second) -> tuple[float, float]:
    """Interval of first - second from the (value, low, high) of each, independent (Zou and Donner 2008)."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return (
        a - b - float(np.hypot(a - a_low, b_high - b)),
        a - b + float(np.hypot(a_high - a, b - b_low)),
    )


def ratio_interval(first, second) -> tuple[float, float]:
    """Interval of first / second from the (value, low, high) of each, on the log scale; NaN where <= 0."""
    values = np.array([first, second], dtype=float)
    if not (values > 0).all():
        return np.nan, np.nan
    low, high = difference_interval(*np.log(values))
    return float(np.exp(low)), float(np.exp(high))


def _p_of_group(metric: Metric, pieces: Cut, code: int, shuffled: Shuffled) -> float:
    inside = pieces.codes == code
    if not inside.any() or inside.all():
        return np.nan
    statistic = statistic_on_blocks(metric, pieces, shuffled)

    def difference(member: np.ndarray) -> np.ndarray:
        return statistic(member.astype(np.float32)) - statistic((~member).astype(np.float32))

    own = np.zeros((1, shuffled.codes.shape[1]), dtype=bool)
    own[0, shuffled.block_of_row[inside]] = True
    observed = difference(own)[0]
    if not np.isfinite(observed):
        return np.nan
    chance = difference(shuffled.codes == code)
    chance = chance[np.isfinite(chance)]
    # Shuffles that tie with what was observed, up to single precision, count as such a difference.
    return float((np.sum(np.abs(chance) >= abs(observed) * (1 - 1e-5)) + 1) / (len(chance) + 1))


def _with_verdicts(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    table["p_holm"] = np.nan
    tested = ~table["small"] & table["p"].notna()
    table.loc[tested, "p_holm"] = significance.holm(table.loc[tested, "p"])
    worse = table["difference"] < 0 if metric.better == "higher" else table["difference"] > 0
    seen = table["p_holm"] < significance.ALPHA
    table["verdict"] = np.select(
        [table["small"], seen & worse, seen], ["too small", "worse", "better"], "no significant difference"
    )
    return table[
        ["group", "value", "rest", "difference", "low", "high", "p", "p_holm", "n", "small", "verdict"]
    ]


def _gap_record(metric: Metric, pieces: Cut, used: np.ndarray, shuffled: Shuffled, *, seed: int, n_boot: int):
    empty = dict.fromkeys(("worst", "best"), "") | dict.fromkeys(
        ("worst_value", "best_value", "gap", "low", "high", "ratio", "ratio_low", "ratio_high",
         "null_mean", "p"), np.nan,
    )  # fmt: skip
    pairs = max(len(used) * (len(used) - 1) // 2, 1)
    level = 1 - (1 - intervals.CONFIDENCE) / pairs
    each = {
        g: metrics.estimate(metric, pieces.of(g), seed=seed, n_boot=n_boot, confidence=level)[:3]
        for g in used
    }
    known = [g for g in used if np.isfinite(each[g][0])]
    if len(known) < 2:
        return {"metric": metric.name, **empty, "groups": len(known)}
    ranked = sorted(known, key=lambda g: _goodness(each[g][0], metric))
    worst, best = ranked[0], ranked[-1]
    bottom, top = sorted((worst, best), key=lambda g: each[g][0])
    low, high = difference_interval(each[top], each[bottom])
    ratio_low, ratio_high = ratio_interval(each[bottom], each[top])
    chance = _gaps_null_mean(metric, pieces, known, shuffled)
    gap = each[top][0] - each[bottom][0]
    return {
        "metric": metric.name,
        "worst": describe_attribute(pieces.names[worst]),
        "worst_value": each[worst][0],
        "best": describe_attribute(pieces.names[best]),
        "best_value": each[best][0],
        "gap": gap,
        "low": max(low, 0.0),
        "high": high,
        "ratio": each[bottom][0] / each[top][0] if each[top][0] > 0 else np.nan,
        "ratio_low": ratio_low,
        "ratio_high": min(ratio_high, 1.0) if np.isfinite(ratio_high) else np.nan,
        "null_mean": float(np.nanmean(chance)),
        "p": float((np.sum(chance >= gap * (1 - 1e-5)) + 1) / (len(chance) + 1)),
        "groups": len(known),
    }


def _goodness(value: float, metric: Metric) -> float:
    return {"higher": value, "lower": -value, "zero": -abs(value)}[metric.better]


def _gaps_null_mean(metric: Metric, pieces: Cut, known: Sequence[int], shuffled: Shuffled) -> np.ndarray:
    statistic = statistic_on_blocks(metric, pieces, shuffled)
    each = np.column_stack([statistic((shuffled.codes == g).astype(np.float32)) for g in known])
    return each.max(axis=1) - each.min(axis=1)

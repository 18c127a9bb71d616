"""For whom a model fails: every metric by group, with n and intervals, gaps, and tests of them.

A group is a label that annotators gave (or an age band), or a pair of labels. Groups are cut by
fairlearn's `MetricFrame`; intervals and tests count people, not images. The tests ask whether a metric is
equal between groups whose spreads, class mixes and numbers of pictures may differ: shuffled group labels would
ask whether the groups are alike in all of that, and raised up to 45 % of false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from faceworkbook.evaluation import equality, figures, intervals, metrics, significance
from faceworkbook.evaluation.figures import Figure, difference_interval, ratio_interval
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
from faceworkbook.evaluation.odds import odds, odds_by_label

__all__ = [
    "AGE_EDGES",
    "EVERYONE",
    "SMALL",
    "Attribute",
    "GroupsError",
    "adjust",
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
    "odds_by_label",
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
        Groups with fewer different pictures are marked.

    Returns
    -------
    pandas.DataFrame
        attribute, group, metric, value, low, high, n, n_pictures, n_identities, small, method. An empty group
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
                    "n_pictures": rows.n_pictures,
                    "n_identities": len(np.unique(rows.units)) if rows.by_identity else pd.NA,
                    "small": rows.n_pictures < small,
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
        group, value, rest, difference, low, high, p, p_holm, n, small, few_decide (a few large errors make the
        group's figure: in simulations one test in nine alarmed at 5 %), verdict ('worse', 'better',
        'no significant difference', 'too small'). The interval combines those of the group and the rest
        (Newcombe 1998; Zou and Donner 2008), with their correlation where the same people are in both; p belongs
        to it: below .05 where the interval leaves 0 out. Holm over the groups that are not small.
    """
    pieces = cut(table, attribute, subset=subset)
    chosen = metrics.pick(metric, pieces.rows.task)
    records = []
    for code, group in enumerate(pieces.names):
        inside = pieces.codes == code
        pair = [
            _figure(chosen, pieces.rows.take(side), pieces, seed=seed, n_boot=n_boot)
            for side in (inside, ~inside)
        ]
        low, high = figures.difference_interval(*pair)
        records.append(
            {
                "group": describe_attribute(group),
                "value": pair[0].value,
                "rest": pair[1].value,
                "difference": pair[0].value - pair[1].value,
                "low": low,
                "high": high,
                "p": figures.p_of_difference(*pair),
                "n": int(inside.sum()),
                "small": pieces.rows.take(inside).n_pictures < small,
                "few_decide": metrics.few_decide(pair[0], chosen),
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
    """Return the largest gap and ratio between groups, the worst group, and the gap of equally served groups.

    Returns
    -------
    pandas.DataFrame
        attribute, metric, worst, worst_value, worst_value_low, worst_value_high, worst_shrunk, best, best_value,
        gap, low, high, ratio, ratio_low, ratio_high, null_mean (mean gap of groups that are served equally, with
        the errors of these), p (share of draws of such groups in which some pair stands as far apart, in standard
        errors), groups, few_decide (groups whose figures a few large errors make, see `against_rest`), left_out
        (small groups). Worst and best are picked after looking, so intervals hold for all
        groups (worst) or all pairs of groups together (Bonferroni); `worst_shrunk` is drawn towards the mean of the groups by as much as chance spreads them
        (DerSimonian and Laird 1986).
    """
    pieces = cut(table, attribute, subset=subset)
    sizes = pieces.n_pictures()
    used = np.flatnonzero(sizes >= small)
    left_out = [describe_attribute(pieces.names[g]) for g in np.flatnonzero(sizes < small)]
    records = []
    for name in names or metrics.default_names(pieces.rows.task):
        metric = metrics.pick(name, pieces.rows.task)
        record = _gap_record(metric, pieces, used, seed=seed, n_boot=n_boot)
        records.append(
            {"attribute": describe_attribute(attribute), **record, "left_out": ", ".join(left_out)}
        )
    return pd.DataFrame(records)


def adjust(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``p_holm`` over the rows of a table of gaps (several attributes), after ``p``."""
    known = table["p"].notna()
    adjusted = pd.Series(np.nan, index=table.index)
    adjusted[known] = significance.holm(table.loc[known, "p"])
    table = table.drop(columns="p_holm", errors="ignore")
    table.insert(table.columns.get_loc("p") + 1, "p_holm", adjusted)
    return table


def _figure(metric: Metric, rows: metrics.Rows, pieces: Cut, *, seed: int, n_boot: int) -> Figure:
    n_units = int(pieces.rows.units.max()) + 1
    return metrics.figure(metric, rows, n_units=n_units, seed=seed, n_boot=n_boot)


def _with_verdicts(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    table["p_holm"] = np.nan
    tested = ~table["small"] & table["p"].notna()
    table.loc[tested, "p_holm"] = significance.holm(table.loc[tested, "p"])
    inside, outside = (table[side].map(lambda value: _goodness(value, metric)) for side in ("value", "rest"))
    worse = inside < outside
    seen = table["p_holm"] < significance.ALPHA
    table["verdict"] = np.select(
        [table["small"], seen & worse, seen], ["too small", "worse", "better"], "no significant difference"
    )
    return table[
        [
            "group",
            "value",
            "rest",
            "difference",
            "low",
            "high",
            "p",
            "p_holm",
            "n",
            "small",
            "few_decide",
            "verdict",
        ]
    ]


def _gap_record(metric: Metric, pieces: Cut, used: np.ndarray, *, seed: int, n_boot: int) -> dict:
    empty = dict.fromkeys(("worst", "best"), "") | dict.fromkeys(
        ("worst_value", "worst_value_low", "worst_value_high", "worst_shrunk", "best_value", "gap", "low", "high",
         "ratio", "ratio_low", "ratio_high", "null_mean", "p"), np.nan,
    )  # fmt: skip
    each = {g: _figure(metric, pieces.of(g), pieces, seed=seed, n_boot=n_boot) for g in used}
    known = [g for g in used if np.isfinite(each[g].value)]
    if len(known) < 2:
        return {"metric": metric.name, **empty, "groups": len(known), "few_decide": ""}
    ranked = sorted(known, key=lambda g: _goodness(each[g].value, metric))
    worst, best = ranked[0], ranked[-1]
    bottom, top = (each[g] for g in sorted((worst, best), key=lambda g: each[g].value))
    of_pairs = equality.simultaneous(len(known) * (len(known) - 1) // 2)
    low, high = figures.difference_interval(top, bottom, confidence=of_pairs)
    ratio_low, ratio_high = figures.ratio_interval(bottom, top, confidence=of_pairs)
    worst_value_low, worst_value_high = each[worst].interval(equality.simultaneous(len(known)))
    tested = equality.compare_all([[each[g] for g in known]], n_draws=n_boot, seed=seed)
    return {
        "metric": metric.name,
        "worst": describe_attribute(pieces.names[worst]),
        "worst_value": each[worst].value,
        "worst_value_low": worst_value_low,
        "worst_value_high": worst_value_high,
        "worst_shrunk": equality.shrink([each[g] for g in ranked])[0],
        "best": describe_attribute(pieces.names[best]),
        "best_value": each[best].value,
        "gap": top.value - bottom.value,
        "low": max(low, 0.0),
        "high": high,
        "ratio": bottom.value / top.value if top.value > 0 else np.nan,
        "ratio_low": ratio_low,
        "ratio_high": min(ratio_high, 1.0) if np.isfinite(ratio_high) else np.nan,
        "null_mean": tested.null_mean,
        "p": tested.p,
        "groups": len(known),
        "few_decide": ", ".join(
            describe_attribute(pieces.names[g]) for g in known if metrics.few_decide(each[g], metric)
        ),
    }


def describe_few(gaps: pd.DataFrame) -> list[str]:
    """Say of which groups a few large errors make the figure, one sentence an attribute; see `gaps`."""
    return [
        f"{row.attribute}: a few large errors make the {row.metric.replace('_', ' ')} of {row.few_decide}. Tests of such "
        "groups alarm up to twice as often as they should."
        for row in gaps.itertuples()
        if getattr(row, "few_decide", "")  # a table that was written before there was this column
    ]


def _goodness(value: float, metric: Metric) -> float:
    return {"higher": value, "lower": -value, "zero": -abs(value)}[metric.better]

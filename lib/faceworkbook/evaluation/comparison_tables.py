"""From the results of tests to a table of pairs with one verdict each, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from faceworkbook.evaluation import equivalence
from faceworkbook.evaluation.equivalence import BEYOND, EQUIVALENT, NO_MARGIN, POWER, UNDECIDED
from faceworkbook.evaluation.metrics import Metric
from faceworkbook.evaluation.significance import ALPHA, FEWEST_UNITS, NADEAU_BENGIO, Result, holm

DIFFER, NO_DIFFERENCE, INVALID = "differ", "no significant difference", "not to be relied on"
TOO_FEW = "too few to judge"
CHOSEN, OTHER = "chosen", "other"
COLUMNS = (
    "first", "second", "role", "test", "difference", "low", "high", "low_90", "high_90", "p", "p_holm", "effect", "effect_name", "n",
    "counted", "verdict", "relevance", "probability_better", "probability_equivalent", "probability_worse",
    "detectable", "faces_needed", "units_needed", "sentence",
)  # fmt: skip


@dataclass(frozen=True)
class PairOptions:
    """What a table of pairs is made with.

    Attributes
    ----------
    margin : float
        Smallest difference that matters, 0 for none.
    n_faces : int or None
        Faces behind the results; without, no number of faces needed is given.
    """

    margin: float = 0.0
    n_faces: int | None = None


def make_pairs_table(
    results: Sequence[tuple[str, str, Result]], metric: Metric, options: PairOptions | None = None
) -> pd.DataFrame:
    """Make the table of pairs of models and tests.

    Parameters
    ----------
    results : sequence of (first, second, Result)
        The first valid result of a pair is the one that its design asks for.
    options : PairOptions, optional

    Returns
    -------
    pandas.DataFrame
        See `faceworkbook.evaluation.comparison.Comparison`.
    """
    options = options or PairOptions()
    table = pd.DataFrame([{"first": a, "second": b, **asdict(result)} for a, b, result in results])
    valid = table[table["valid"]]
    chosen = ~valid.duplicated(["first", "second"])
    table["role"] = np.where(table.index.isin(chosen.index[chosen]), CHOSEN, OTHER)
    table["p_holm"] = np.nan
    for _, same in valid[valid["p"].notna()].groupby("test"):
        table.loc[same.index, "p_holm"] = holm(same["p"])
    table["verdict"] = np.select(
        [~table["valid"], table["role"] == OTHER, table["p"].isna(), table["p_holm"] < ALPHA],
        [INVALID, "", TOO_FEW, DIFFER],
        NO_DIFFERENCE,
    )
    judged = [_against_margin(result, metric, options) for _, _, result in results]
    table = table.join(pd.DataFrame(judged, index=table.index))
    # A difference that Holm's adjustment does not leave standing is not beyond a margin either.
    table.loc[(table["relevance"] == BEYOND) & (table["verdict"] != DIFFER), "relevance"] = UNDECIDED
    table.loc[(table["role"] == OTHER) | (table["verdict"] == TOO_FEW), "relevance"] = NO_MARGIN
    table["sentence"] = [_sentence(row, metric, options) for row in table.itertuples()]
    return table[list(COLUMNS)]


def _against_margin(result: Result, metric: Metric, options: PairOptions) -> dict:
    """Judge one result against the margin, and say what would decide."""
    margin, error = options.margin, equivalence.standard_error(result)
    record = {"relevance": equivalence.judge(result, margin), "detectable": equivalence.detectable(error)}
    record |= dict.fromkeys(("probability_better", "probability_equivalent", "probability_worse"), np.nan)
    record |= {"faces_needed": np.nan, "units_needed": np.nan}
    if margin and options.n_faces is not None:
        record["faces_needed"] = equivalence.faces_needed(margin, error, n=options.n_faces)
        if result.counted != "folds":
            record["units_needed"] = equivalence.faces_needed(margin, error, n=result.n)
    if margin and result.test == NADEAU_BENGIO:
        posterior = equivalence.correlated_t(result, margin)
        ends = [posterior.higher, posterior.lower]
        better, worse = ends[::-1] if metric.better == "lower" else ends
        record |= {"probability_better": better, "probability_equivalent": posterior.within}
        record |= {"probability_worse": worse}
    return record


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


def format_p(p: float) -> str:
    """Write a p value: '= .031', '< .001'."""
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".", 1)


def format_interval(low: float, high: float) -> str:
    """Write an interval of a difference: '95 % interval -0.0120 to +0.0310'."""
    return f"95 % interval {low:+.4f} to {high:+.4f}" if np.isfinite([low, high]).all() else "no interval"


def _sentence(row, metric: Metric, options: PairOptions) -> str:
    if row.verdict == INVALID:
        return (
            f"{row.first} and {row.second}: {row.test} would give p {format_p(row.p)}; "
            f"not to be relied on, for it takes for granted that {row.assumes}."
        )
    if row.verdict == "":
        return ""
    if row.verdict == TOO_FEW:
        return (
            f"{row.first} and {row.second}: {metric.name} differs by {row.difference:+.4f} on these rows, but "
            f"{row.n:,} {row.counted} are too few to judge by; {FEWEST_UNITS} are the least."
        )
    # Over folds a posterior decides; elsewhere two one-sided tests, which are the 90 % interval.
    by_posterior = np.isfinite(row.probability_equivalent)
    inside = "" if by_posterior else f" (90 % interval {row.low_90:+.4f} to {row.high_90:+.4f})"
    interval = format_interval(row.low, row.high)
    tested = f"{row.test}, p {format_p(row.p)}, Holm {format_p(row.p_holm)}, {row.n:,} {row.counted}"
    if by_posterior:
        tested += (
            f"; probability of a difference below the margin {row.probability_equivalent:.2f}, of one beyond it "
            f"{row.probability_better:.2f} for and {row.probability_worse:.2f} against {row.first}"
        )
    margin, decide = f"the margin of {options.margin:g}", _what_decides(row)
    if row.verdict == DIFFER:
        direction = f"{row.first} is {_direction(row.difference, metric)} than {row.second}"
        figures = f"{metric.name} {row.difference:+.4f} ({interval}; {tested})."
        return {
            BEYOND: f"{direction} by at least {margin}: {figures}",
            EQUIVALENT: f"{direction}, yet equivalent within {margin}{inside}: {figures}",
            UNDECIDED: f"{direction}: {figures} Whether by {margin} is undecided{decide}.",
            NO_MARGIN: f"{direction}: {figures}",
        }[row.relevance]
    figures = f"no significant difference ({interval}) in {metric.name}, {row.difference:+.4f} ({tested})"
    return {
        EQUIVALENT: f"{row.first} and {row.second} are equivalent within {margin}{inside}: {figures}.",
        UNDECIDED: f"{row.first} and {row.second}: {figures}; undecided at {margin}{decide}.",
        NO_MARGIN: f"{row.first} and {row.second}: {figures}.{_what_would_show(row)}",
    }[row.relevance]


def _what_decides(row) -> str:
    if not np.isfinite(row.faces_needed):
        return ""
    faces = f"{row.faces_needed:,.0f} {'' if row.counted == 'folds' else 'test '}faces"
    units = {"identities": "people", "pictures": "different pictures"}.get(row.counted)
    if units:
        faces += f" ({row.units_needed:,.0f} {units})"
    return f": about {faces} would decide ({POWER:.0%} power)"


def _what_would_show(row) -> str:
    if not np.isfinite(row.detectable):
        return ""
    return (
        f" A true difference of {row.detectable:.4g} would show on such test rows in {POWER:.0%} of trials."
    )


def _direction(difference: float, metric: Metric) -> str:
    if metric.better == "zero":
        return "higher" if difference > 0 else "lower"
    return "better" if (difference > 0) == (metric.better == "higher") else "worse"

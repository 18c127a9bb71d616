"""Equalised odds, equal opportunity and demographic parity between groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.group_attributes import (
    SMALL,
    Attribute,
    Cut,
    cut,
    describe_attribute,
    keep_groups,
)
from faceworkbook.evaluation.intervals import wilson
from faceworkbook.evaluation.rows import need_exclusive
from faceworkbook.evaluation.standard_errors import error_of_sum

_MEASURES = ("equalised odds", "equal opportunity", "demographic parity")


def odds(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = SMALL,
) -> pd.DataFrame:
    """Equalised-odds, equal-opportunity and demographic-parity differences between groups.

    Returns
    -------
    pandas.DataFrame
        measure, value, low, high, null_mean, p, groups, left_out. With more than two classes each
        class is taken against the rest, and the largest difference counts. Differences are
        largest minus smallest, so they are above 0 without any difference: read them beside `null_mean`, the
        mean of groups that are served equally with the errors of these. p is the share of such draws that are
        as large; the interval reaches as far as their 95 % quantile, so it holds for all groups and classes
        together. People are drawn, each with a normal weight (wild bootstrap; Wu 1986).
    """
    pieces = cut(table, attribute, subset=subset)
    need_exclusive(pieces.rows, "odds by group")
    sizes = pieces.sizes()
    used = np.flatnonzero(sizes >= small)
    figures = dict.fromkeys(("value", "low", "high", "null_mean", "p"), np.full(len(_MEASURES), np.nan))
    if len(used) > 1:
        figures = _odds_figures(keep_groups(pieces, used), seed=seed, n_boot=n_boot)
    left_out = ", ".join(describe_attribute(pieces.names[g]) for g in np.flatnonzero(sizes < small))
    return pd.DataFrame({"measure": _MEASURES, **figures, "groups": len(used), "left_out": left_out})


def _odds_figures(kept: Cut, *, seed: int, n_boot: int) -> dict[str, np.ndarray]:
    n_groups, k = len(kept.names), len(kept.rows.classes)
    counts = np.zeros((1, n_groups, k, k))
    np.add.at(counts[0], (kept.codes, kept.rows.truth, kept.rows.predicted), 1)
    rates = _rates(counts)
    value = _measures(*rates)[0]
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n_boot, kept.rows.n_units))
    drawn = [_draw_deviations(kept, rate[0], of, weights, rng) for rate, of in zip(rates, _OF, strict=True)]
    null = _measures(*drawn)
    reach = np.nanquantile(null, 0.95, axis=0)
    return {
        "value": value,
        "low": np.maximum(value - reach, 0),
        "high": np.minimum(value + reach, 1),
        "null_mean": np.nanmean(null, axis=0),
        "p": ((null >= value - 1e-12).sum(axis=0) + 1) / (len(null) + 1),
    }


# Which rows a rate is a share of: those of the class, those of other classes, all.
_OF = (np.equal, np.not_equal, lambda truth, k: np.ones(len(truth), dtype=bool))


def _draw_deviations(kept: Cut, rate: np.ndarray, of, weights: np.ndarray, rng) -> np.ndarray:
    """Draw how far rates (groups, classes) may be from the truth: ndarray of shape (b, groups, classes)."""
    rows = kept.rows
    drawn = np.full((len(weights), *rate.shape), np.nan)
    for g, k in np.ndindex(*rate.shape):
        own = (kept.codes == g) & of(rows.truth, k)
        if not own.any():
            continue
        contributions = ((rows.predicted[own] == k) - rate[g, k]) / own.sum()
        made = error_of_sum(contributions, rows.units[own], rows.pictures[own], n_units=rows.n_units)
        sums = made.by_unit
        size = np.linalg.norm(sums)
        if made.error > 0 and size > 0:
            drawn[:, g, k] = weights @ sums * (made.error / size)
        else:
            # Nothing varies, or one person: as much as Wilson's interval allows.
            low, high = wilson(rate[g, k] * made.effective, made.effective)
            drawn[:, g, k] = rng.normal(size=len(weights)) * float(high - low) / (2 * 1.96)
    return drawn


def _rates(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From counts (b, groups, truth, predicted) to hit rate, false alarm rate, chosen: (b, groups, classes) each."""
    true, predicted, all_rows = totals.sum(axis=3), totals.sum(axis=2), totals.sum(axis=(2, 3))[..., None]
    hits = np.diagonal(totals, axis1=2, axis2=3)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit_rate = hits / true
        wrong = (predicted - hits) / (all_rows - true)
        chosen = predicted / all_rows
    return hit_rate, wrong, chosen


def _measures(hit_rate: np.ndarray, wrong: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """From rates (b, groups, classes) to equalised odds, equal opportunity, demographic parity: (b, 3)."""
    # Of two classes, equal opportunity looks at the second alone, as fairlearn's functions do.
    opportunity = _spread(hit_rate[..., 1:] if hit_rate.shape[-1] == 2 else hit_rate)
    odds_apart = np.maximum(_spread(hit_rate), _spread(wrong))
    return np.column_stack([odds_apart, opportunity, _spread(chosen)])


def _spread(rates: np.ndarray) -> np.ndarray:
    """Largest difference between groups, then over classes: (b, groups, classes) to (b,)."""
    top = np.where(np.isfinite(rates), rates, -np.inf).max(axis=1)
    bottom = np.where(np.isfinite(rates), rates, np.inf).min(axis=1)
    return (top - bottom).max(axis=-1)

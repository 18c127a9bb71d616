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
from faceworkbook.evaluation.rows import need_exclusive
from faceworkbook.evaluation.shuffled_groups import shuffle_labels

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
        largest minus smallest, so they are above 0 without any difference: read them beside `null_mean`.
        The interval is a percentile bootstrap by person, shifted down by that bias.
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
    cell_of_row = kept.rows.truth * k + kept.rows.predicted
    counts = np.zeros((kept.rows.n_units, n_groups * k * k))
    np.add.at(counts, (kept.rows.units, kept.codes * k * k + cell_of_row), 1)

    def differences(totals: np.ndarray) -> np.ndarray:
        return _odds_differences(totals.reshape(-1, n_groups, k, k))

    value = differences(counts.sum(axis=0))[0]
    totals, n_units = counts.astype(np.float32), kept.rows.n_units
    drawn = intervals.resample(lambda w: differences(w @ totals), n_units, n_boot=n_boot, seed=seed)
    chance = _odds_null_mean(kept, cell_of_row, n_groups, k, differences, seed=seed, n_boot=n_boot)
    bias = np.nanmean(drawn, axis=0) - value
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0) - np.maximum(bias, 0)
    return {
        "value": value,
        "low": np.maximum(low, 0),
        "high": np.maximum(high, value),
        "null_mean": np.nanmean(chance, axis=0),
        "p": ((chance >= value - 1e-12).sum(axis=0) + 1) / (len(chance) + 1),
    }


def _odds_differences(totals: np.ndarray) -> np.ndarray:
    """From counts (b, groups, truth, predicted) to equalised odds, equal opportunity, parity: (b, 3)."""
    true, predicted, all_rows = totals.sum(axis=3), totals.sum(axis=2), totals.sum(axis=(2, 3))[..., None]
    hits = np.diagonal(totals, axis1=2, axis2=3)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit_rate = hits / true
        wrong = (predicted - hits) / (all_rows - true)
        chosen = predicted / all_rows
    # Of two classes, equal opportunity looks at the second alone, as fairlearn's functions do.
    opportunity = _spread(hit_rate[..., 1:] if totals.shape[-1] == 2 else hit_rate)
    odds_apart = np.maximum(_spread(hit_rate), _spread(wrong))
    return np.column_stack([odds_apart, opportunity, _spread(chosen)])


def _spread(rates: np.ndarray) -> np.ndarray:
    """Largest difference between groups, then over classes: (b, groups, classes) to (b,)."""
    top = np.where(np.isfinite(rates), rates, -np.inf).max(axis=1)
    bottom = np.where(np.isfinite(rates), rates, np.inf).min(axis=1)
    return (top - bottom).max(axis=-1)


def _odds_null_mean(
    kept: Cut, cell: np.ndarray, n_groups: int, k: int, differences, *, seed: int, n_boot: int
):
    shuffled = shuffle_labels(kept, seed=seed, n_boot=n_boot)
    counts = np.zeros((shuffled.codes.shape[1], k * k), dtype=np.float32)
    np.add.at(counts, (shuffled.block_of_row, cell), 1)
    totals = [(shuffled.codes == g).astype(np.float32) @ counts for g in range(n_groups)]
    return differences(np.stack(totals, axis=1))

"""Models that were trained with several seeds and tested on the same rows: both the rows and the seeds vary.

A seed is drawn as a face is, so that the verdict is about the procedure and not about the fits that happen to be at
hand. The variance of a mean over seeds is that over people, of what each person adds in the mean of the seeds, plus
that between seeds over their number (two crossed factors, as for readers and cases in Gallas 2006). What people and
seeds have in common is in both, so that the sum is too large rather than too small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import (
    comparison,
    equivalence,
    intervals,
    metric_definitions,
    metrics,
    significance,
)
from faceworkbook.evaluation.aligned_runs import require_same_rows
from faceworkbook.evaluation.comparison import Comparison
from faceworkbook.evaluation.comparison_tables import PairOptions, make_pairs_table
from faceworkbook.evaluation.figures import COLUMNS, Figure
from faceworkbook.evaluation.metrics import FunctionMetric, Metric, Rows
from faceworkbook.evaluation.significance import FEWEST_UNITS, Result
from faceworkbook.evaluation.standard_errors import SumError, error_of_sum

TEST = "paired t over people and seeds"
RUN_COLUMNS = ["run", *COLUMNS, "method", "seeds", "sd_seeds"]
Fits = Mapping[str, Sequence[pd.DataFrame]]


def compare(
    fits: Fits,
    *,
    metric: str,
    margin: float | None = None,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
) -> Comparison:
    """Compare settings whose fits, one a seed, predict the same rows.

    One fit each is `comparison.compare`: the design asks for another test there.

    Parameters
    ----------
    fits : mapping of str to sequence of pandas.DataFrame
        Predictions by the name of the setting, one table a seed.
    metric, margin, subset, seed, n_boot
        See `comparison.compare`.

    Returns
    -------
    Comparison
        `runs` has the columns seeds and sd_seeds (standard deviation between seeds) too; no `overall`.

    Raises
    ------
    ComparisonError
        Fits whose test rows, labels, people or class orders differ.
    """
    if all(len(tables) == 1 for tables in fits.values()):
        single = {name: tables[0] for name, tables in fits.items()}
        compared = comparison.compare(
            single, metric=metric, margin=margin, subset=subset, seed=seed, n_boot=n_boot
        )
        return _with_seeds(compared)
    rows = _read(fits, subset)
    first = next(iter(rows.values()))[0]
    of = metrics.pick(metric, first.task)
    if isinstance(of, FunctionMetric):
        raise comparison.ComparisonError(
            f"{metric} is a function of one's own, which has no interval over seeds; choose a built-in metric"
        )
    margin = equivalence.margin_of(of, margin)
    results = [(a, b, _test(rows[a], rows[b], of)) for a, b in combinations(rows, 2)]
    return Comparison(
        metric,
        pd.DataFrame([_summarise(name, own, of) for name, own in rows.items()])[RUN_COLUMNS],
        pd.DataFrame(),
        make_pairs_table(results, of, PairOptions(margin=margin)) if results else pd.DataFrame(),
        margin,
    )


def summarise(fits: Fits, *, metric: str, subset: str = "test") -> pd.DataFrame:
    """Return the mean over seeds of each setting with its interval, as in `Comparison.runs`; see `compare`."""
    rows = _read(fits, subset)
    records = [_summarise(name, own, metrics.pick(metric, own[0].task)) for name, own in rows.items()]
    return pd.DataFrame(records)[RUN_COLUMNS]


def margin_of(metric: str) -> float:
    """Return the smallest difference that matters where none is given, see `equivalence.margin_of`."""
    of = metrics.find(metric)
    return equivalence.margin_of(of) if of else 0.0


def compare_splits(
    values: Mapping[str, Mapping[str, float]],
    *,
    metric: str,
    n_train: float,
    n_test: float,
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare settings over several random splits, on each of which all of them were trained and tested.

    Parameters
    ----------
    values : mapping of str to mapping of str to float
        The metric by setting and split; splits that a setting lacks leave its pairs.
    n_train, n_test : float
        Mean number of rows that a fit trains on and is tested on.

    Returns
    -------
    pandas.DataFrame
        See `comparison.Comparison`; pairs by the Nadeau-Bengio corrected t, for training rows overlap.
    """
    of = metrics.find(metric)
    if of is None:
        raise ValueError(f"metric={metric!r} is not known; allowed are {metric_definitions.names()}")
    results = []
    for a, b in combinations(values, 2):
        common = [split for split in values[a] if split in values[b]]
        if len(common) < 2:
            continue
        d = np.array([values[a][split] - values[b][split] for split in common])
        tested = significance.nadeau_bengio(d, n_train=n_train, n_test=n_test)
        results.append((a, b, tested.within(of.difference_bounds)))
    options = PairOptions(margin=equivalence.margin_of(of, margin))
    return make_pairs_table(results, of, options) if results else pd.DataFrame()


def _with_seeds(compared: Comparison) -> Comparison:
    runs = compared.runs.assign(seeds=1, sd_seeds=np.nan)
    return Comparison(compared.metric, runs, compared.overall, compared.pairs, compared.margin)


def _read(fits: Fits, subset: str) -> dict[str, list[Rows]]:
    flat = {
        name if len(own) == 1 else f"{name}, fit {number}": table
        for name, own in fits.items()
        for number, table in enumerate(own, 1)
    }
    if len(flat) > 1:
        flat = require_same_rows(flat, subset=subset)
    else:
        flat = {name: table[table["split"] == subset] for name, table in flat.items()}
    rows = iter(metrics.rows_of(table, subset=None) for table in flat.values())
    return {name: [next(rows) for _ in own] for name, own in fits.items()}


def _summarise(name: str, rows: Sequence[Rows], metric: Metric) -> dict:
    """Return the mean over seeds with its interval, as a row of `Comparison.runs`."""
    values = np.array([metric.value(own) for own in rows])
    first, spread = rows[0], float(values.std(ddof=1)) if len(rows) > 1 else np.nan
    record = {
        "run": name,
        "seeds": len(rows),
        "sd_seeds": spread,
        "n": first.n_faces,
        "n_pictures": first.n_pictures,
        "n_identities": first.n_units if first.by_identity else None,
    }
    if len(rows) == 1:
        value, low, high, method = metrics.estimate(metric, first)
        return record | {"value": value, "low": low, "high": high, "method": method}
    made = _error_of_means(rows, [], metric)
    error, freedom = _add(made, values.var(ddof=1) / len(rows), len(rows) - 1)
    mean = float(values.mean())
    low, high = Figure(mean, error, freedom, bounds=metric.bounds).interval()
    method = f"t over {first.n_units:,} {first.counted} and {len(rows)} seeds"
    return record | {"value": mean, "low": low, "high": high, "method": method}


def _test(one: Sequence[Rows], two: Sequence[Rows], metric: Metric) -> Result:
    """Test the difference of two means over seeds, on the rows that all fits predict."""
    values = [np.array([metric.value(rows) for rows in each]) for each in (one, two)]
    difference = float(values[0].mean() - values[1].mean())
    first = one[0]
    counted = f"{first.counted} and {len(one)} + {len(two)} seeds"
    if first.n_units < FEWEST_UNITS:
        return significance.refused(TEST, difference, first.n_units, counted)
    between, freedom_of_seeds = _between_seeds(*values)
    error, freedom = _add(_error_of_means(one, two, metric), between, freedom_of_seeds)
    if not np.isfinite([difference, error]).all():
        raise ValueError(
            "the metric is not defined on these rows (a class without rows?); choose another metric"
        )
    figures = (
        significance.t_figures(difference, error, freedom)
        if error > 1e-9
        else significance.alike_figures(difference, first.n_units, bounds=metric.difference_bounds)
    )
    made = significance.result_of_units(TEST, difference, figures, n=first.n_units, counted=counted)
    return made.within(metric.difference_bounds)


def _between_seeds(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the variance of a difference of means that seeds make, and its degrees of freedom (Welch).

    A setting of a single fit is taken to vary as the other one does.
    """
    n = np.array([len(first), len(second)], dtype=float)
    own = [values.var(ddof=1) if len(values) > 1 else None for values in (first, second)]
    known = [variance for variance in own if variance is not None]
    if not known:
        return 0.0, np.inf
    each = np.array([known[0] if variance is None else variance for variance in own]) / n
    if len(known) == 1:
        return float(each.sum()), float(max(n) - 1)
    if not each.any():
        return 0.0, np.inf
    return float(each.sum()), float(each.sum() ** 2 / (each**2 / (n - 1)).sum())


def _error_of_means(first: Sequence[Rows], second: Sequence[Rows], metric: Metric) -> SumError:
    """Return the error over people of a difference of two means over seeds (of one mean without a second)."""
    rows = [*first, *second]
    shares = [1 / len(first)] * len(first) + [-1 / max(len(second), 1)] * len(second)
    contributions = [share * metric.contributions(own)[:, 0] for share, own in zip(shares, rows, strict=True)]
    faces = np.unique(np.concatenate([own.face_id for own in rows]), return_inverse=True)[1]
    truth = np.concatenate([own.truth for own in rows])
    return error_of_sum(
        np.concatenate(contributions),
        np.concatenate([own.units for own in rows]),
        faces,
        strata=truth if rows[0].task.is_exclusive else None,
    )


def _add(made: SumError, between: float, freedom: float) -> tuple[float, float]:
    """Return the error of people and seeds together, and its degrees of freedom (Satterthwaite)."""
    over_people = made.error**2
    total = over_people + between
    if not total > 0:
        return float(np.sqrt(total)), made.freedom
    shares = over_people**2 / made.freedom + (between**2 / freedom if between else 0.0)
    return float(np.sqrt(total)), float(total**2 / shares)

"""Ways of training several tasks, compared: repeated over seeds, tested on the same faces, corrected intervals."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics, predictions, significance


def predict(fitted: Sequence, pool, rows: np.ndarray, *, repeat: int = 0) -> dict:
    """A table of predictions a task, on those of `rows` (test rows) that have the task's label.

    Parameters
    ----------
    fitted : sequence of training.multitask.Fitted
    pool : training.multi_dataset.Pool
    rows : ndarray of int
    repeat : int
        Stands in the tables.
    """
    from faceworkbook.models import multitask

    tables = {}
    for one in fitted:
        for task in one.net.heads:
            known = rows[pool.targets[task.name].known[rows]]
            said = multitask.predict(one.net, pool.matrix, rows=known)[task.name]
            tables[task.name] = _table(said, task, pool, known, repeat)
    return tables


def _table(said: np.ndarray, task, pool, rows: np.ndarray, repeat: int) -> pd.DataFrame:
    labels = pool.targets[task.name]
    return predictions.build(
        pool.faces.iloc[rows],
        labels.task,
        truth=labels.truth[rows],
        output=said,
        split="test",
        repeat=repeat,
    )


@dataclass(frozen=True, eq=False)
class Repeats:
    """What repeating all ways over seeds gave.

    Attributes
    ----------
    tables : dict of (way, task) to DataFrame
        Predictions on the test rows of every seed, ``repeat`` counts the seeds.
    values : pandas.DataFrame
        task, way, repeat, metric, value, n (test rows), n_train (training rows with the label), labels (how
        many of those were not hidden), seconds (training of all nets of the way), constant (the metric of
        always saying the training rows' most frequent class, or their median).
    fitted : dict of way to list of training.multitask.Fitted
        Of the last seed.
    """

    tables: dict[tuple[str, str], pd.DataFrame]
    values: pd.DataFrame
    fitted: dict[str, list]


def repeat(
    ways: Sequence,
    pool,
    *,
    seeds: Sequence[int],
    settings,
    heads: Mapping,
    hidden: Mapping[str, float] | None = None,
    test: float = 0.25,
    validation: float = 0.15,
    **options,
) -> Repeats:
    """Train every way once a seed; a seed draws the split, the initial weights and the batches.

    Parameters
    ----------
    ways : sequence of training.ways.Way
    pool : training.multi_dataset.Pool
    settings : training.multitask.Settings
    heads : mapping
        Options of `classifiers.multitask.build`.
    hidden : mapping of task to share, optional
        Labels that training and validation rows lose; test rows keep theirs.
    **options
        Further ones of `training.ways.train`.
    """
    from faceworkbook.experiments import multi_dataset
    from faceworkbook.experiments.strategies import train

    tables: dict[tuple[str, str], list] = {}
    rows, fitted = [], {}
    for number, seed in enumerate(seeds):
        parts = multi_dataset.split(pool, seed=seed, test=test, validation=validation)
        seen = _hide(pool, parts, hidden or {}, seed)
        for way in ways:
            own = {"settings": replace(settings, seed=seed), "heads": {**heads, "seed": seed}}
            started = time.perf_counter()
            fitted[way.name] = train(way, seen, parts, **own, **options)
            seconds = time.perf_counter() - started
            for task, table in predict(fitted[way.name], pool, parts.test, repeat=number).items():
                tables.setdefault((way.name, task), []).append(table)
                counts = [int(of.targets[task].known[parts.train].sum()) for of in (pool, seen)]
                figure = _figure(table)
                constant = _constant(pool.targets[task], parts)
                rows.append((task, way.name, number, *figure, *counts, seconds, constant))
    columns = ["task", "way", "repeat", "metric", "value", "n", "n_train", "labels", "seconds", "constant"]
    joined = {key: pd.concat(made, ignore_index=True) for key, made in tables.items()}
    return Repeats(joined, pd.DataFrame(rows, columns=columns), fitted)


def _hide(pool, parts, hidden: Mapping[str, float], seed: int):
    from faceworkbook.experiments import multi_dataset

    rows = np.concatenate([parts.train, parts.validation])
    for task, share in hidden.items():
        pool = multi_dataset.hide(pool, task, share=share, rows=rows, seed=seed)
    return pool


def _constant(target, parts) -> float:
    train, test = (rows[target.known[rows]] for rows in (parts.train, parts.test))
    if not (target.task.is_number or target.task.class_values):
        return float((target.codes[test] == np.bincount(target.codes[train]).argmax()).mean())
    train, test = (target.values[rows] for rows in (train, test))
    return float(np.abs(test - np.median(train)).mean())


def _figure(table: pd.DataFrame) -> tuple[str, float, int]:
    rows = metrics.rows_of(table, subset=None)
    headline = predictions.task_of(table).headline
    return headline, float(metrics.pick(headline, rows.task).value(rows)), len(table)


def summarise(found: Repeats, *, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The figure of every way on each task, mean over the repeats.

    Returns
    -------
    pandas.DataFrame
        task, metric, way, value, low, high (95 %: people drawn with replacement, faces where people are
        unknown; a face of several repeats is drawn with all of them), sd (over repeats), n (test faces a
        repeat), labels (training labels a repeat), repeats, seconds (training, a repeat), constant (what always
        the same answer would reach).
    """
    rows = []
    for (task, metric, way), own in found.values.groupby(["task", "metric", "way"], sort=False):
        [made] = metrics.summary(
            found.tables[way, task], names=[metric], n_boot=n_boot, seed=seed
        ).itertuples()
        means = own[["n", "labels"]].mean().round().astype(int)
        rows.append(
            {
                "task": task,
                "metric": metric,
                "way": way,
                "value": own["value"].mean(),
                "low": made.low,
                "high": made.high,
                "sd": own["value"].std(),
                **means,
                "repeats": len(own),
                "seconds": own["seconds"].mean(),
                "constant": own["constant"].mean(),
            }
        )
    return pd.DataFrame(rows)


def compare(values: pd.DataFrame) -> pd.DataFrame:
    """Every pair of ways on each task: difference, corrected interval and p, Holm over the pairs of a task.

    Each repeat is another split and other initial weights, and the rows of the repeats overlap, so the t
    test is Nadeau and Bengio's; a plain paired t would be too sure. How much they overlap follows from the
    parts' shares: labels that were hidden from training count as training rows here.

    Parameters
    ----------
    values : pandas.DataFrame
        Of `Repeats`; with one repeat there is nothing to compare, and the table is empty.
    """
    found = []
    for task, own in values.groupby("task", sort=False):
        wide = own.pivot_table(index="repeat", columns="way", values="value", sort=False)
        pairs = combinations(wide.columns, 2) if len(wide) > 1 else ()
        rows = [_pair(task, a, b, wide, own) for a, b in pairs]
        adjusted = significance.holm([row["p"] for row in rows])
        found += [{**row, "p_holm": p} for row, p in zip(rows, adjusted, strict=True)]
    columns = ["task", "metric", "first", "second", "difference", "low", "high", "p", "p_holm", "repeats"]
    return pd.DataFrame(found, columns=columns)


def _pair(task: str, a: str, b: str, wide: pd.DataFrame, own: pd.DataFrame) -> dict:
    sizes = {name: round(own[name].mean()) for name in ("n_train", "n")}
    result = significance.nadeau_bengio(
        (wide[a] - wide[b]).to_numpy(), n_train=sizes["n_train"], n_test=sizes["n"]
    )
    return {
        "task": task,
        "metric": own["metric"].iloc[0],
        "first": a,
        "second": b,
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "repeats": len(wide),
    }


def tell(differences: pd.DataFrame, *, at_most: int = 6) -> list[str]:
    """The rows of `compare` in words: what is told apart, which is better, and by how much.

    More than `at_most` pairs that show no significant difference are counted instead of listed.
    """
    apart = (differences["low"] > 0) | (differences["high"] < 0)
    if (~apart).sum() <= at_most:
        return [_tell(row) for row in differences.itertuples()]
    rest = f"{(~apart).sum()} of {len(apart)} differences show no significant difference: their intervals hold 0."
    return [*(_tell(row) for row in differences[apart].itertuples()), rest]


def _tell(row) -> str:
    figures = f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
    start = f"{row.task}, {row.metric.replace('_', ' ')}: {row.first} minus {row.second} {figures}"
    if row.low <= 0 <= row.high:
        return f"{start}: not told apart, the interval holds 0."
    higher = row.metric == "accuracy"
    better = row.first if (row.difference > 0) == higher else row.second
    kept = "" if row.p_holm < 0.05 else f", but not after Holm's adjustment (p = {row.p_holm:.2f})"
    return f"{start}: {better} is better, the interval excludes 0{kept}."

"""Training strategies compared: repeated over seeds, tested on the same faces, corrected intervals."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics, predictions, significance
from faceworkbook.experiments import multi_dataset
from faceworkbook.experiments.multi_dataset import MultiDataset, MultiSplit
from faceworkbook.experiments.strategies import Options, Strategy, check_loss, count_balance, predict, train

if TYPE_CHECKING:  # it imports Keras
    from faceworkbook.models.multitask import MultitaskNet

VALUES = ["task", "strategy", "repeat", "metric", "value", "n", "n_train", "labels", "seconds", "constant"]
SUBSETS = ("train", "validation")  # whose figures stand beside those of the test rows
MOST_ROWS = 2000  # of a subset that are predicted for that
PAIRS = ["task", "metric", "first", "second", "difference", "low", "high", "p", "p_holm", "repeats"]


@dataclass(frozen=True)
class Shares:
    """Shares of the faces that test and that validate, and of each task's labels that training never sees."""

    test: float = 0.25
    validation: float = 0.15
    hidden: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Repeats:
    """What repeating all strategies over seeds gave.

    Attributes
    ----------
    tables : dict of (strategy, task) to DataFrame
        Predictions on the test rows of every seed, ``repeat`` counts the seeds.
    values : pandas.DataFrame
        task, strategy, repeat, metric, value, n (test rows), n_train (training rows with the label), labels
        (how many of those were not hidden), seconds (training of all nets of the strategy), constant (the
        metric of always answering the training rows' most frequent class, or their median), train, validation
        (the metric on at most `MOST_ROWS` of those rows).
    fitted : dict of strategy to list of training.multitask.Fitted
        Of the last seed.
    subsets : pandas.DataFrame
        repeat, train, validation, test (faces), leaked (test faces that show a person or picture of the other
        rows), contradicting, repeated (excluded faces); see `multi_dataset.MultiSplit`.
    seen : ndarray of int
        Training and validation rows of the last seed.
    balance : pandas.DataFrame
        Training rows of the first seed before and after they were evened out; see `strategies.count_balance`.
    """

    tables: dict[tuple[str, str], pd.DataFrame]
    values: pd.DataFrame
    fitted: dict[str, list]
    subsets: pd.DataFrame
    seen: np.ndarray
    balance: pd.DataFrame = field(default_factory=pd.DataFrame)


def repeat(
    strategies: Sequence[Strategy],
    multi: MultiDataset,
    options: Options,
    *,
    seeds: Sequence[int],
    shares: Shares | None = None,
) -> Repeats:
    """Train by every strategy once a seed; a seed draws the split, the initial weights and the batches.

    Test rows keep the labels that `shares` hides.

    Raises
    ------
    ValueError
        Before anything is trained: a strategy that comes twice, or whose loss does not fit the tasks.
    """
    _check(strategies, multi)
    shares = shares or Shares()
    tables: dict[tuple[str, str], list] = {}
    rows, subsets, fitted, balance = [], [], {}, pd.DataFrame()
    for number, seed in enumerate(seeds):
        split = multi_dataset.split(multi, seed=seed, test=shares.test, validation=shares.validation)
        subsets.append({"repeat": number, **split.counts()})
        seen = _hide(multi, split, shares.hidden, seed)
        if not number:
            balance = count_balance(seen, split, options.with_seed(seed))
        for strategy in strategies:
            started = time.perf_counter()
            fitted[strategy.name] = train(strategy, seen, split, options.with_seed(seed))
            seconds = time.perf_counter() - started
            beside = _score_subsets(fitted[strategy.name], seen, split, seed)
            for task, table in predict(fitted[strategy.name], multi, split.test, repeat=number).items():
                tables.setdefault((strategy.name, task), []).append(table)
                counts = [int(of.labels[task].known[split.train].sum()) for of in (multi, seen)]
                constant = _score_constant(multi.labels[task], split)
                figures = (*counts, seconds, constant, *(each.get(task, np.nan) for each in beside))
                rows.append((task, strategy.name, number, *_score(table), *figures))
    joined = {key: predictions.join(each) for key, each in tables.items()}
    values, seen = pd.DataFrame(rows, columns=[*VALUES, *SUBSETS]), np.r_[split.train, split.validation]
    return Repeats(joined, values, fitted, pd.DataFrame(subsets), seen, balance)


def name_nets(repeats: Repeats) -> dict[str, MultitaskNet]:
    """Return the nets of the last seed by the name of their file: model_STRATEGY_TASKS.keras."""
    return {
        f"model_{strategy}_{'+'.join(head.name for head in one.net.heads)}.keras": one.net
        for strategy, fitted in repeats.fitted.items()
        for one in fitted
    }


def tested_rows(multi: MultiDataset, *, seeds: Sequence[int], shares: Shares | None = None) -> np.ndarray:
    """Return the rows that `repeat` tests with any of these seeds, each once."""
    shares = shares or Shares()
    given = {"test": shares.test, "validation": shares.validation}
    return np.unique(np.concatenate([multi_dataset.split(multi, seed=s, **given).test for s in seeds]))


def _check(strategies: Sequence[Strategy], multi: MultiDataset) -> None:
    names = [strategy.name for strategy in strategies]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"strategies hold {names}, of which {twice} come twice; name each once")
    for strategy in strategies:
        check_loss(strategy, multi.labels)


def _score_subsets(fitted: list, multi: MultiDataset, split: MultiSplit, seed: int) -> list[dict[str, float]]:
    """Return the metric of each task on training and on validation rows."""
    rng = np.random.default_rng(seed)
    drawn = [np.sort(rng.permutation(getattr(split, subset))[:MOST_ROWS]) for subset in SUBSETS]
    return [
        {task: _score(table)[1] for task, table in predict(fitted, multi, rows).items()} for rows in drawn
    ]


def _hide(multi: MultiDataset, split: MultiSplit, hidden: Mapping[str, float], seed: int) -> MultiDataset:
    rows = np.concatenate([split.train, split.validation])
    for task, share in hidden.items():
        multi = multi_dataset.hide(multi, task, share=share, rows=rows, seed=seed)
    return multi


def _score_constant(labels, split: MultiSplit) -> float:
    train, test = (rows[labels.known[rows]] for rows in (split.train, split.test))
    if not (labels.task.is_number or labels.task.class_values):
        return float((labels.codes[test] == np.bincount(labels.codes[train]).argmax()).mean())
    return float(np.abs(labels.values[test] - np.median(labels.values[train])).mean())


def _score(table: pd.DataFrame) -> tuple[str, float, int]:
    rows = metrics.rows_of(table, subset=None)
    headline = predictions.task_of(table).headline
    return headline, float(metrics.pick(headline, rows.task).value(rows)), len(table)


def summarise(repeats: Repeats, *, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Return the figure of every strategy on each task, mean over the repeats.

    Returns
    -------
    pandas.DataFrame
        task, metric, strategy, value, low, high (95 %: people drawn with replacement, faces where people are
        unknown; a face of several repeats is drawn with all of them), sd (over repeats), n (test faces a
        repeat), labels (training labels a repeat), repeats, seconds (training, a repeat), constant (what always
        the same answer would reach), train, validation (the figure on those rows).
    """
    rows = []
    for (task, metric, strategy), own in repeats.values.groupby(["task", "metric", "strategy"], sort=False):
        table = repeats.tables[strategy, task]
        ends = metrics.summary(table, names=[metric], n_boot=n_boot, seed=seed).iloc[0]
        rows.append(
            {
                "task": task,
                "metric": metric,
                "strategy": strategy,
                "value": own["value"].mean(),
                "low": ends["low"],
                "high": ends["high"],
                "sd": own["value"].std(),
                **own[["n", "labels"]].mean().round().astype(int),
                "repeats": len(own),
                **own[["seconds", "constant", *SUBSETS]].mean(),
            }
        )
    return pd.DataFrame(rows)


def compare(values: pd.DataFrame) -> pd.DataFrame:
    """Compare every pair of strategies on each task: difference, corrected interval and p, Holm over the pairs.

    Each repeat is another split and other initial weights, and the rows of the repeats overlap, so the t
    test is Nadeau and Bengio's; a plain paired t would be too sure. How much they overlap follows from the
    subsets' shares: labels that were hidden from training count as training rows here.

    Parameters
    ----------
    values : pandas.DataFrame
        Of `Repeats`; with one repeat there is nothing to compare, and the table is empty.
    """
    pairs = []
    for _, own in values.groupby("task", sort=False):
        wide = own.pivot_table(index="repeat", columns="strategy", values="value", sort=False)
        names = combinations(wide.columns, 2) if len(wide) > 1 else ()
        rows = [_compare_pair(first, second, wide, own) for first, second in names]
        adjusted = significance.holm([row["p"] for row in rows])
        pairs += [{**row, "p_holm": p} for row, p in zip(rows, adjusted, strict=True)]
    return pd.DataFrame(pairs, columns=PAIRS)


def _compare_pair(first: str, second: str, wide: pd.DataFrame, own: pd.DataFrame) -> dict:
    result = significance.nadeau_bengio(
        (wide[first] - wide[second]).to_numpy(),
        n_train=round(own["n_train"].mean()),
        n_test=round(own["n"].mean()),
    )
    return {
        "task": own["task"].iloc[0],
        "metric": own["metric"].iloc[0],
        "first": first,
        "second": second,
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "repeats": len(wide),
    }


def describe_differences(differences: pd.DataFrame, *, at_most: int = 6) -> list[str]:
    """Return the rows of `compare` in words: which strategy is better, and by how much.

    More than `at_most` pairs without a significant difference are counted instead of listed.
    """
    apart = differences["p_holm"] < significance.ALPHA
    if (~apart).sum() <= at_most:
        return [_describe_difference(row) for row in differences.itertuples()]
    rest = f"{(~apart).sum()} of {len(apart)} differences are not significant by Holm's adjusted p."
    return [*(_describe_difference(row) for row in differences[apart].itertuples()), rest]


def _describe_difference(row) -> str:
    start = (
        f"{row.task}, {row.metric.replace('_', ' ')}: {row.first} minus {row.second} {row.difference:+.3f}"
    )
    interval = f"95 % interval {row.low:+.3f} to {row.high:+.3f}"
    if row.p_holm >= significance.ALPHA:
        adjusted = "" if row.low <= 0 <= row.high else f"; after Holm's adjustment p = {row.p_holm:.2f}"
        return f"{start}, no significant difference ({interval}{adjusted})."
    better = row.first if (row.difference > 0) == (row.metric == "accuracy") else row.second
    return f"{start}, {better} is better ({interval})."

"""Which directions of the descriptor matter to a fitted classifier.

Descriptors are redundant: hundreds of directions carry the same thing, so that no single one looks
important. The number of directions that is enough is a better measure than the rank of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation.predictions import outputs_of
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.experiments.scoring import score

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
FIRST_LAYERS = ("dense1", "output")


def rank(fitted, data: PreparedData) -> pd.DataFrame:
    """Rank the directions of the descriptor, largest first.

    Parameters
    ----------
    fitted : faceworkbook.training.Fitted, or any object with ``predict(matrix)``
        A net is ranked by the weights of its first layer on standardised descriptors: for a linear model they
        are the model, for an MLP they bound what a direction can do. A model without such a layer is ranked
        by each direction's F statistic on the training rows.

    Returns
    -------
    pandas.DataFrame
        direction, weight (Euclidean norm over units, or F), and for a linear model of two classes or a
        number ``signed``.
    """
    kernel = _first_kernel(fitted)
    if kernel is None:
        return _sort(pd.DataFrame({"weight": _f_statistics(data)}))
    table = pd.DataFrame({"weight": np.linalg.norm(kernel, axis=1)})
    return _sort(table.assign(signed=kernel[:, 0]) if kernel.shape[1] == 1 else table)


def permutation(
    fitted,
    data: PreparedData,
    *,
    directions: Sequence[int] | None = None,
    metric: str | None = None,
    repeats: int = 5,
    seed: int = 0,
    n_boot: int = 500,
) -> pd.DataFrame:
    """Measure what is lost on the test rows when one direction is shuffled over them (Breiman 2001).

    Parameters
    ----------
    directions : sequence of int, optional
        The first 20 of `rank` where None.
    metric : str, optional
        log_loss, or mae for numbers, where None.

    Returns
    -------
    pandas.DataFrame
        direction, change (metric shuffled minus whole, mean over repeats), low, high (95 %, paired by person), sd
        (over repeats), metric, n.
    """
    name = metric or ("mae" if data.labels.task.is_number else "log_loss")
    chosen = rank(fitted, data)["direction"][:20] if directions is None else directions
    x = np.array(data.matrix[data.split.test], dtype=np.float32)
    whole = _statistic(fitted, x, data, name)
    n_units = metrics.rows_of(_score(fitted, x, data, name)[0]).n_units
    rng = np.random.default_rng(seed)
    records = []
    for direction in chosen:
        column, each = x[:, direction].copy(), []
        for _ in range(repeats):
            x[:, direction] = rng.permutation(column)
            each.append(_statistic(fitted, x, data, name))
        x[:, direction] = column
        everybody = np.ones((1, n_units))
        changes = [float(one(everybody)[0] - whole(everybody)[0]) for one in each]
        lost = intervals.bootstrap(
            lambda weights, each=each: np.mean([one(weights) for one in each], axis=0) - whole(weights),
            n_units,
            n_boot=n_boot,
            seed=seed,
        )
        sd = np.std(changes, ddof=1) if repeats > 1 else np.nan
        records.append((int(direction), lost.value[0], lost.low[0], lost.high[0], sd))
    table = pd.DataFrame(records, columns=["direction", "change", "low", "high", "sd"])
    table = table.assign(metric=name, n=len(x))
    return table.sort_values("change", key=np.abs, ascending=False, ignore_index=True)


def keep_best(
    fitted,
    data: PreparedData,
    *,
    order: Sequence[int] | None = None,
    counts: Sequence[int] = COUNTS,
    n_boot: int = 500,
) -> pd.DataFrame:
    """Measure the headline on the test rows when all but the first directions stand at their training mean.

    Parameters
    ----------
    order : sequence of int, optional
        That of `rank` where None.

    Returns
    -------
    pandas.DataFrame
        n_directions, metric, value, low, high (95 %), n; the last row has all directions.
    """
    name = data.labels.task.headline
    order = rank(fitted, data)["direction"].to_numpy() if order is None else np.asarray(order)
    x = np.asarray(data.matrix[data.split.test], dtype=np.float32)
    mean = np.asarray(data.matrix[data.split.train], dtype=np.float32).mean(axis=0)
    rows = []
    for count in sorted({*(c for c in counts if c < x.shape[1]), x.shape[1]}):
        kept = np.tile(mean, (len(x), 1))
        kept[:, order[:count]] = x[:, order[:count]]
        table, _ = _score(fitted, kept, data, name)
        rows.append(metrics.summary(table, names=[name], n_boot=n_boot).assign(n_directions=count))
    return pd.concat(rows, ignore_index=True)[["n_directions", "metric", "value", "low", "high", "n"]]


def _score(fitted, x: np.ndarray, data: PreparedData, metric: str):
    rows = data.split.test
    output = outputs_of(fitted, x, data.labels.task)
    return score(output, data.labels.take(rows), data.faces.iloc[rows], metric=metric)


def _statistic(fitted, x: np.ndarray, data: PreparedData, metric: str):
    rows = metrics.rows_of(_score(fitted, x, data, metric)[0])
    return metrics.pick(metric, rows.task).statistic(rows)


def _sort(table: pd.DataFrame) -> pd.DataFrame:
    table.insert(0, "direction", np.arange(len(table)))
    return table.sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def _first_kernel(fitted) -> np.ndarray | None:
    layers = {layer.name: layer for layer in getattr(getattr(fitted, "model", None), "layers", ())}
    named = [layers[name] for name in FIRST_LAYERS if name in layers]
    return np.asarray(named[0].get_weights()[0]) if named else None


def _f_statistics(data: PreparedData) -> np.ndarray:
    from sklearn.feature_selection import f_classif, f_regression

    rows = data.split.train
    is_number = data.labels.task.is_number
    truth = (data.labels.values if is_number else data.labels.codes)[rows]
    return np.nan_to_num((f_regression if is_number else f_classif)(data.matrix[rows], truth)[0])

"""Which directions of the descriptor matter to a fitted classifier.

Descriptors are redundant: hundreds of directions carry the same thing, so that no single one looks
important. The number of directions that is enough says more than the rank of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics
from faceworkbook.experiments.learning_curve import score

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def weights(fitted) -> pd.DataFrame:
    """Size of the first layer's weights by direction, on standardised descriptors.

    For the logistic reference they are the model; for a dense net they bound what a direction can do.

    Returns
    -------
    pandas.DataFrame
        direction, weight (Euclidean norm over units), and for a linear model of two classes or a
        number ``signed``; largest first.
    """
    kernel = _first_kernel(fitted)
    table = pd.DataFrame({"direction": np.arange(len(kernel)), "weight": np.linalg.norm(kernel, axis=1)})
    if kernel.shape[1] == 1:
        table["signed"] = kernel[:, 0]
    return table.sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def permutation(
    fitted,
    matrix: np.ndarray,
    target,
    faces: pd.DataFrame,
    *,
    directions: Sequence[int] | None = None,
    metric: str | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Loss of the metric when one direction is shuffled over the faces (Breiman 2001).

    Parameters
    ----------
    matrix, target, faces
        Of the same faces, none of them trained on.
    directions : sequence of int, optional
        The 20 with the largest weights where None.
    metric : str, optional
        log_loss, or mae for numbers, where None.

    Returns
    -------
    pandas.DataFrame
        direction, change (metric shuffled minus whole, mean over repeats), sd (over repeats), metric, n.
    """
    name = metric or ("mae" if target.task.is_number else "log_loss")
    chosen = weights(fitted)["direction"][:20] if directions is None else directions
    x = np.array(matrix, dtype=np.float32)
    whole = score(fitted.predict(x), target, faces, name=name)[1]
    rng = np.random.default_rng(seed)
    records = []
    for direction in chosen:
        column, changes = x[:, direction].copy(), []
        for _ in range(repeats):
            x[:, direction] = rng.permutation(column)
            changes.append(score(fitted.predict(x), target, faces, name=name)[1] - whole)
        x[:, direction] = column
        records.append((int(direction), np.mean(changes), np.std(changes, ddof=1) if repeats > 1 else np.nan))
    table = pd.DataFrame(records, columns=["direction", "change", "sd"]).assign(metric=name, n=len(x))
    return table.sort_values("change", key=np.abs, ascending=False, ignore_index=True)


def keep_best(
    fitted,
    matrix: np.ndarray,
    target,
    faces: pd.DataFrame,
    *,
    order: Sequence[int] | None = None,
    counts: Sequence[int] = COUNTS,
    metric: str | None = None,
    n_boot: int = 500,
) -> pd.DataFrame:
    """The metric when all but the first directions of `order` stand at their training mean.

    Returns
    -------
    pandas.DataFrame
        n_directions, metric, value, low, high (95 %), n; the last row has all directions.
    """
    name = metric or target.task.headline
    order = weights(fitted)["direction"].to_numpy() if order is None else np.asarray(order)
    x = np.asarray(matrix, dtype=np.float32)
    mean = np.ravel(np.asarray(fitted.model.get_layer("standardise").mean))
    records = []
    for count in sorted({*(c for c in counts if c < x.shape[1]), x.shape[1]}):
        kept = np.tile(mean, (len(x), 1)).astype(np.float32)
        kept[:, order[:count]] = x[:, order[:count]]
        table = score(fitted.predict(kept), target, faces, name=name)[0]
        found = metrics.summary(table, names=[name], n_boot=n_boot)
        records.append(found[["metric", "value", "low", "high", "n"]].assign(n_directions=count))
    made = pd.concat(records, ignore_index=True)
    return made[["n_directions", "metric", "value", "low", "high", "n"]]


def _first_kernel(fitted) -> np.ndarray:
    for layer in fitted.model.layers:
        if layer.name in ("dense1", "output"):
            return np.asarray(layer.get_weights()[0])
    raise ValueError("this model has no dense layer called 'dense1' or 'output'; was it fitted here?")

"""Fit the MLP, or the linear reference, on one split."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from faceworkbook import tasks
from faceworkbook.models import linear, mlp
from faceworkbook.training import balancing, batched
from faceworkbook.training.fitted import Fitted

# Above any number of repeats, each of which adds 1 to the seed.
STEP_OF_MEMBERS = 1000


def fit_mlp(
    matrix: np.ndarray,
    labels: tasks.Labels,
    split,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = False,
    **options,
) -> Fitted:
    """Fit an MLP, or several whose answers are averaged; keep the epoch with the lowest validation loss.

    Parameters
    ----------
    matrix : ndarray of shape (n, d), float32, may be memory-mapped
        Descriptors of the n faces of `labels`; only training and validation rows are read.
    labels : Labels
    split : Split
        Any object with index arrays ``train`` and ``validation``.
    seed : int
        Of initial weights, batches and dropout: the same seed gives the same weights.
    folder : path, optional
        The model is saved there, and what is returned has been read from there again.
    **options
        ``members``: MLPs of different seeds, trained as one program, whose mean answers (1: one MLP; the history is the
        first one's). Fields of `batched.Settings`: widths, dropout, input_dropout, epochs, batch_size,
        learning_rate, weight_decay, balance, patience; and ``start`` (`Fitted`), the MLP that it begins with:
        standardisation and hidden layers, and the output layer where the task is the same. Defaults by kind of task:
        `batched.defaults`. ``widths=(64,), input_dropout=0.3`` does better on 1024 directions.

    Returns
    -------
    Fitted
    """
    start, members = options.pop("start", None), check_members(options.pop("members", 1))
    chosen = batched.with_settings(batched.defaults(labels.task), **options)
    seeds = seeds_of_members(seed, members)
    stack = fit_stack(start, matrix, labels, [split] * members, chosen, seeds=seeds, progress=progress)
    history = stack.history[stack.history["model"] == 0].drop(columns="model").reset_index(drop=True)
    settings = {
        "classifier": "mlp",
        "seed": int(seed),
        "best_epoch": int(stack.best_epoch[0]),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "options": {
            **asdict(chosen),
            "widths": list(chosen.widths),
            **({"members": members} if members > 1 else {}),
        },
    }
    if start is not None:
        settings["start"] = start.describe()
    model = mlp.average([stack.model(i) for i in range(members)])
    fitted = Fitted(model, labels.task, history, settings)
    return fitted if folder is None else Fitted.load(fitted.save(folder))


def fit_stack(
    start: Fitted | None, matrix, labels, splits, chosen: batched.Settings, **options
) -> batched.Stack:
    """Train one MLP a split as one program, from random weights or from those of `start`; see `batched.fit`."""
    if start is None:
        return batched.fit(matrix, labels, splits, chosen, **options)
    options.pop("progress", None)
    return batched.fit_from(
        batched.Start.of_model(start.model, start.task), matrix, labels, splits, chosen, **options
    )


def check_members(members: int) -> int:
    """Return a number of members; ValueError where it is none."""
    if not isinstance(members, int | np.integer) or isinstance(members, bool) or members < 1:
        raise ValueError(f"members={members!r}; allowed are whole numbers of 1 or more, such as 5")
    return int(members)


def seeds_of_members(seed: int, members: int) -> list[int]:
    """Return the seeds of MLPs that answer together; the first is that of a single one."""
    return [seed + STEP_OF_MEMBERS * member for member in range(members)]


def fit_linear(
    matrix: np.ndarray,
    labels: tasks.Labels,
    split,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    balance: str = "none",
    strengths: tuple[float, ...] | None = None,
) -> Fitted:
    """Fit the reference: logistic regression, or ridge for numbers, on standardised descriptors.

    Parameters
    ----------
    matrix, labels, split, folder
        As for `fit_mlp`.
    seed : int
        The fit has no randomness; which rows are repeated once more than others follows from it.
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        See `faceworkbook.training.balancing`.
    strengths : tuple of float, optional
        Values of C (of alpha, for ridge) among which validation rows choose.

    Returns
    -------
    Fitted
        Its ``settings['strength']`` is the one chosen.
    """
    batched.check_rows(matrix, labels, [split])
    n_train, weight = len(split.train), balancing.weights(labels, split.train, balance)
    split = balancing.repeat(labels, split, balance, seed=seed)
    own = weight[split.train] if balance in balancing.WEIGHTS else None
    x = np.asarray(matrix[split.train], dtype=np.float32)
    mean, spread = batched.moments(x)
    held = (np.asarray(matrix[split.validation], dtype=np.float32) - mean) / spread
    x = (x - mean) / spread
    offset, scale = 0.0, 1.0
    if labels.task.is_number:
        values = labels.values[split.train]
        offset, scale = values.mean(), values.std() or 1.0
        y = (labels.values - offset) / scale
        sets = (x, y[split.train]), (held, y[split.validation])
        weights = linear.fit_number(*sets, alphas=strengths or linear.ALPHAS, weight=own)
    else:
        weights = linear.fit_classes(
            (x, labels.codes[split.train]),
            (held, labels.codes[split.validation]),
            n_classes=len(labels.classes),
            weight=own,
            strengths=strengths or linear.STRENGTHS,
        )
    options = {"balance": balance}
    if strengths is not None:
        options["strengths"] = list(strengths)
    settings = {
        "classifier": "linear",
        "model": "ridge regression" if labels.task.is_number else "logistic regression",
        "seed": int(seed),
        "strength": weights.chosen,
        "n_train": n_train,
        "n_validation": len(split.validation),
        "options": options,
    }
    model = _linear_model(weights, labels, mean, spread, float(offset), float(scale))
    fitted = Fitted(model, labels.task, weights.history, settings)
    return fitted if folder is None else Fitted.load(fitted.save(folder))


def _linear_model(weights: linear.Linear, labels, mean, spread, offset: float, scale: float):
    model = mlp.build(
        labels.task,
        mean=mean,
        variance=np.square(spread),
        widths=(),
        dropout=0.0,
        unit=(offset, scale),
    )
    mlp.set_weights(model, [weights.kernel], [weights.bias])
    return model

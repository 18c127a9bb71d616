"""What all models of a stack read: one copy of the descriptors, labels, weights and rows of each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from faceworkbook import tasks
from faceworkbook.files import hash_values
from faceworkbook.training import balancing
from faceworkbook.training.batched.settings import Settings, TrainingError

if TYPE_CHECKING:
    from faceworkbook.training.batched.starting import Start


@dataclass(frozen=True)
class Data:
    """What all models of a stack read. `x` is (n_used, d), standardised by a common mean and spread.

    ``z = x * inverse + shift`` is the standardised input of model m; it is folded into the weights.
    """

    x: tf.Tensor
    y: tf.Tensor  # (m, n_used[, n_labels]): codes, or numbers standardised by each model's training rows
    row_weights: tf.Tensor  # (m, n_used), 1 for validation rows
    train: list[np.ndarray]
    validation: list[np.ndarray]
    centre: np.ndarray
    spread: np.ndarray
    inverse: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    task: tasks.Task
    fingerprint: str
    start: Start | None = None  # whose weights the models begin with

    @classmethod
    def make(cls, matrix, labels: tasks.Labels, splits, settings: Sequence[Settings]) -> Data:
        used = np.unique(np.concatenate([np.concatenate([s.train, s.validation]) for s in splits]))
        used = used.astype(np.int64)
        labels = labels.take(used)
        train = [np.searchsorted(used, s.train) for s in splits]
        validation = [np.searchsorted(used, s.validation) for s in splits]
        x = np.ascontiguousarray(matrix[used], dtype=np.float32)
        if not np.isfinite(x).all():
            bad = int((~np.isfinite(x)).any(axis=1).sum())
            raise TrainingError(f"{bad} of {len(x)} descriptors hold NaN or infinity; extract them again")
        balances = [own.balance for own in settings]
        weights = np.stack(
            [balancing.weights(labels, rows, balance) for rows, balance in zip(train, balances, strict=True)]
        )
        weighed = [weights] if set(balances) & set(balancing.WEIGHTS) else []
        fingerprint = hash_values(x, used, labels.codes, labels.values, *train, b"|", *validation, *weighed)
        centre, spread = moments(x[np.unique(np.concatenate(train))])
        x -= centre
        x /= spread
        shift, inverse = _own_moments(x, train)
        y, offset, scale = _truths(labels, train)
        return cls(
            x=tf.constant(x),
            y=tf.constant(y),
            row_weights=tf.constant(weights),
            train=train,
            validation=validation,
            centre=centre,
            spread=spread,
            inverse=inverse,
            shift=shift,
            offset=offset,
            scale=scale,
            task=labels.task,
            fingerprint=fingerprint,
        )


def check_rows(matrix, labels: tasks.Labels, splits: Sequence) -> None:
    """Raise `TrainingError` where rows, labels and splits do not fit together."""
    if len(matrix) != len(labels):
        raise TrainingError(
            f"{len(matrix)} descriptors and {len(labels)} labels; they must be of the same faces"
        )
    for number, split in enumerate(splits):
        name = f"split {number}" if len(splits) > 1 else "the split"
        if not len(split.train):
            raise TrainingError(f"{name} has no training row")
        rows = np.concatenate([split.train, split.validation])
        if rows.min() < 0 or rows.max() >= len(labels):
            raise TrainingError(f"{name} names row {rows.max()}; the table has rows 0..{len(labels) - 1}")
        unknown = int((~labels.known[rows]).sum())
        if unknown:
            raise TrainingError(
                f"{unknown} training or validation rows of {name} have no '{labels.name}'; "
                "make the split with that label"
            )
        if not labels.task.is_number and (np.ptp(labels.codes[split.train], axis=0) == 0).all():
            raise TrainingError(f"the training rows of {name} hold one class of '{labels.name}' only")


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation by column, float32; a constant column gets deviation 1."""
    mean = x.mean(axis=0, dtype=np.float64)
    spread = x.std(axis=0, dtype=np.float64)
    flat = spread <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean.astype(np.float32), np.where(flat, 1.0, spread).astype(np.float32)


def _own_moments(x: np.ndarray, train: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    # One product of indicators with the rows instead of a copy of the rows for every model.
    member = np.zeros((len(train), len(x)), np.float32)
    for m, rows in enumerate(train):
        np.add.at(member[m], rows, 1.0 / len(rows))  # a row may stand there several times
    mean = member @ x
    variance = member @ np.square(x) - np.square(mean)
    spread = np.sqrt(np.where(variance > 1e-8, variance, 1.0))
    return (-mean / spread)[:, None, :], (1.0 / spread)[:, :, None]


def _truths(labels: tasks.Labels, train: list[np.ndarray]):
    m = len(train)
    if not labels.task.is_number:
        codes = labels.codes.astype(np.float32)
        return np.broadcast_to(codes, (m, *codes.shape)), np.zeros(m), np.ones(m)
    offset = np.array([labels.values[rows].mean() for rows in train])
    scale = np.array([labels.values[rows].std() or 1.0 for rows in train])
    values = (labels.values[None] - offset[:, None]) / scale[:, None]
    return values.astype(np.float32), offset, scale

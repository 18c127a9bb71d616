"""Losses and rates over the rows whose label is known: sum(value * m) / sum(m), never over all rows.

NumPy and TensorFlow alike through keras.ops; targets are distributions over classes, so that one-hot
labels, distilled targets and pseudo-labels take the same way.
"""

from __future__ import annotations

from keras import ops


def mean(values, mask):
    """sum(values * mask) / sum(mask), and 0 where no row is known (never NaN).

    Parameters
    ----------
    values, mask : tensors of shape (batch,), float32
        mask is 1 where the label is known, else 0.
    """
    # where, not a product alone: a NaN in a row without label must not spoil the others.
    total = ops.sum(ops.where(mask > 0, values, ops.zeros_like(values)) * mask)
    return total / ops.maximum(ops.sum(mask), _smallest(mask))


def _smallest(mask):
    # sum(mask) is a count, or 0; any number up to 1 leaves a count as it is and makes 0 / 0 a 0.
    return ops.cast(1e-6, mask.dtype)


def cross_entropy(target, logits):
    """-sum(target * log softmax(logits)) over the class axis, shape (batch,).

    `target`, shape (batch, n_classes), need not add up to 1: a weighted one-hot target weighs its row.
    """
    return -ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1)


def squared_error(target, prediction):
    """(target - prediction) ** 2 over the last axis, shape (batch,)."""
    return ops.sum(ops.square(target - prediction), axis=-1)


def hits(target, logits):
    """1 where the largest logit stands at the target's largest class, else 0; shape (batch,)."""
    return ops.cast(ops.argmax(logits, axis=-1) == ops.argmax(target, axis=-1), "float32")

"""Losses and rates of the heads over the rows whose label is known, never over all rows.

A loss is sum(m * loss) / n over the n rows with m > 0: m is 1 for a known label, or its weight, as in Keras.

Targets are distributions over classes, so that one-hot labels, distilled targets and pseudo-labels are treated
alike. NumPy and TensorFlow alike through keras.ops.
"""

from __future__ import annotations

from keras import ops

from faceworkbook.models import ordinal
from faceworkbook.models.multitask import Head
from faceworkbook.training import ordinal_losses

ABSOLUTE, SQUARED = "absolute", "squared"


def mean(values, mask):
    """Return sum(values * mask) / sum(mask), and 0 where no row is known (never NaN).

    Parameters
    ----------
    values, mask : tensors of shape (batch,), float32
        mask is 1 where the label is known, else 0.
    """
    total, count = sums(values, mask)
    return total / at_least_some(count)


def sums(values, mask):
    """Return sum(values * mask) and sum(mask)."""
    # where, not a product alone: a NaN in a row without label must not spoil the others.
    return ops.sum(ops.where(mask > 0, values, ops.zeros_like(values)) * mask), ops.sum(mask)


def count(mask):
    """Return how many rows are known, whatever they weigh."""
    return ops.sum(ops.cast(mask > 0, mask.dtype))


def at_least_some(count):
    """Return a count as a divisor: any number up to 1 leaves a count as it is and makes 0 / 0 a 0."""
    return ops.maximum(count, ops.cast(1e-6, count.dtype))


def measure(head: Head, output, target, mask, *, number_loss: str = SQUARED):
    """Return the sums of loss (weighted by the mask) and of rate over the known rows, and their number, shape (3,).

    The rate is a hit (classes), the share of right yes/no labels, or the absolute error in the number's unit.
    """
    losses, rates = row_losses(head, output, target, number_loss=number_loss)
    rate, n = sums(rates, ops.cast(mask > 0, mask.dtype))
    return ops.stack([sums(losses, mask)[0], rate, n])


def row_losses(head: Head, output, target, *, number_loss: str = SQUARED):
    """Return the loss and the rate of each row, (batch,) both, from logits (or numbers) and targets."""
    output = ops.cast(output, "float32")
    if head.is_number:
        distance = ops.abs(target - output)[:, 0]
        return distance if number_loss == ABSOLUTE else ops.square(distance), distance * head.scale
    if head.task.is_multilabel:
        return binary_cross_entropy(target, output), ops.mean(
            ops.cast((output > 0) == (target > 0.5), "float32"), axis=-1
        )
    loss = ordinal_losses.LOSSES.get(head.loss)
    losses = cross_entropy(target, output) if loss is None else loss(head, target, output)
    return losses, hits(target, ordinal.class_logits(head.loss, output))


def cross_entropy(target, logits):
    """Return -sum(target * log softmax(logits)) over the class axis, shape (batch,).

    `target`, shape (batch, n_classes), need not add up to 1: a weighted one-hot target weighs its row.
    """
    return -ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1)


def binary_cross_entropy(target, logits):
    """Return the mean cross-entropy of several yes/no labels, shape (batch,)."""
    return ops.mean(ops.softplus(logits) - target * logits, axis=-1)


def hits(target, logits):
    """Return 1 where the largest logit stands at the target's largest class, else 0; shape (batch,)."""
    return ops.cast(ops.argmax(logits, axis=-1) == ops.argmax(target, axis=-1), "float32")

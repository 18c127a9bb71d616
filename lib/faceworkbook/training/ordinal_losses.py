"""Losses of classes that have an order, such as single years: what is missed by a year costs less than by ten.

Each takes a head, targets (shares of classes, shape (batch, n_classes)) and logits of the same shape (OR-CNN: of one
column less), and returns the loss of each row, shape (batch,). y_k is the number of class k: its year, or its place where classes stand for no
number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from keras import ops

from faceworkbook.models import ordinal
from faceworkbook.models.multitask import Head

SIGMA = 2.0  # of DLDL-v2's label distribution, in years
EXPECTATION_WEIGHT = 1.0  # lambda of DLDL-v2
MEAN_WEIGHT, VARIANCE_WEIGHT = 0.2, 0.05  # lambda_1, lambda_2 of the mean-variance loss
_TINY = 1e-7


def numbers_of(head: Head) -> np.ndarray:
    """Return y, shape (n_classes,), float32."""
    return np.asarray(head.task.class_values or range(head.width), np.float32)


def dldl_v2(head: Head, target, logits):
    """Return KL(p, p_hat) + |sum p_hat y - y_true|, p a normal distribution around the true number.

    Gao, Zhou, Wu, Geng, "Age estimation using expectation of label distribution learning", IJCAI 2018: equations 1,
    5 and 7, sigma 2, lambda 1.
    """
    y = numbers_of(head)
    around = np.exp(-((y[:, None] - y[None, :]) ** 2) / (2 * SIGMA**2))
    wanted = ops.matmul(target, around / around.sum(axis=1, keepdims=True))
    own = ops.sum(wanted * ops.log(ops.maximum(wanted, _TINY)), axis=-1)
    missed = ops.abs(_expectation(ops.softmax(logits), y) - _expectation(target, y))
    return own + _cross_entropy(wanted, logits) + EXPECTATION_WEIGHT * missed


def sord(head: Head, target, logits):
    """Return the cross-entropy to softmax(-(y_k - y_true)^2) (squared distance).

    Diaz, Marathe, "Soft labels for ordinal regression", CVPR 2019: equation 2.
    """
    y = numbers_of(head)
    close = np.exp(-((y[:, None] - y[None, :]) ** 2))
    return _cross_entropy(ops.matmul(target, close / close.sum(axis=1, keepdims=True)), logits)


def mean_variance(head: Head, target, logits):
    """Return cross-entropy + 0.2 (m - y_true)^2 / 2 + 0.05 v, m and v the mean and variance of the distribution.

    Pan, Han, Shan, Chen, "Mean-variance loss for deep age estimation from a face", CVPR 2018: equations 3, 5 and 7.
    """
    y = numbers_of(head)
    shares = ops.softmax(logits)
    mean = _expectation(shares, y)
    variance = ops.sum(shares * ops.square(y - ops.expand_dims(mean, -1)), axis=-1)
    missed = ops.square(mean - _expectation(target, y)) / 2
    return _cross_entropy(target, logits) + MEAN_WEIGHT * missed + VARIANCE_WEIGHT * variance


def coral(head: Head, target, logits):
    """Return the sum over thresholds k of the cross-entropy of 'y > k'; its last layer is `ordinal.OrderedLogits`.

    Cao, Mirjalili, Raschka 2020: equation 4, all weights 1.
    """
    above = _above(head)
    wanted, log_shares = ops.matmul(target, above), ops.log_softmax(logits)
    over, under = _log_sums(log_shares, above), _log_sums(log_shares, 1 - above)
    return -ops.sum(wanted * over + (1 - wanted) * under, axis=-1)


def or_cnn(head: Head, target, logits):
    """Return the sum over thresholds k of the cross-entropy of 'y > k', each answered by an output of its own.

    Niu, Zhou, Wang, Gao, Hua, "Ordinal regression with multiple output CNN for age estimation", CVPR 2016; all weights 1.
    """
    wanted = ops.matmul(target, _above(head))
    return -ops.sum(wanted * ops.log_sigmoid(logits) + (1 - wanted) * ops.log_sigmoid(-logits), axis=-1)


def _above(head: Head) -> np.ndarray:
    """Return which classes lie above each threshold, (n_classes, n_classes - 1), of 0 and 1."""
    return np.tril(np.ones((head.width, head.width)), -1)[:, :-1].astype(np.float32)


def _log_sums(log_shares, chosen: np.ndarray):
    """Return log(shares @ chosen), `chosen` of 0 and 1, shape (n_classes, m)."""
    # Not the logarithm of a sum: shares that float32 rounds to 0 would leave a row that is far off without a gradient.
    return ops.logsumexp(ops.where(chosen > 0, log_shares[:, :, None], -1e30), axis=1)


def _expectation(shares, numbers: np.ndarray):
    return ops.sum(shares * numbers, axis=-1)


def _cross_entropy(target, logits):
    return -ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1)


LOSSES: dict[str, Callable] = {
    ordinal.DLDL_V2: dldl_v2,
    ordinal.SORD: sord,
    ordinal.MEAN_VARIANCE: mean_variance,
    ordinal.CORAL: coral,
    ordinal.OR_CNN: or_cnn,
}

"""The reference of every report: regularised logistic regression, and ridge for numbers.

The strength of regularisation is chosen on validation rows. What is learned becomes an MLP without
hidden layers, so that it is saved and used like the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from faceworkbook import linear
from faceworkbook.threads import one_thread

# The inverse of regularisation, on standardised descriptors of some hundred to thousand directions.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
ALPHAS = (10.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)
MAX_ITER = 300
_ABSENT = -30.0


@dataclass(frozen=True)
class Linear:
    """Weights of a linear classifier on standardised descriptors.

    Attributes
    ----------
    kernel : ndarray of shape (d, n_outputs)
    bias : ndarray of shape (n_outputs,)
    chosen : float
        The strength (C of logistic regression, alpha of ridge) with the least validation loss; of several
        yes/no labels the median.
    history : pandas.DataFrame
        One row a strength: ``strength``, ``loss``, ``val_loss``.
    """

    kernel: np.ndarray
    bias: np.ndarray
    chosen: float
    history: pd.DataFrame


@one_thread()
def fit_classes(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    n_classes: int,
    weight: np.ndarray | None = None,
    strengths=STRENGTHS,
) -> Linear:
    """Fit logistic regression by L-BFGS, warm-started from the strongest regularisation to the weakest.

    Parameters
    ----------
    train, validation : (ndarray of shape (n, d), ndarray of shape (n,) or (n, n_classes))
        Standardised descriptors (float32) and codes (0..n_classes-1), or several yes/no labels a row, which
        are learned one by one. Without validation rows the loss of the training rows stands in.
    weight : ndarray of shape (n,), optional
        Of the training rows.
    """
    (x, codes), (_, held) = train, validation
    if codes.ndim == 2:
        options = {"n_classes": 2, "weight": weight, "strengths": strengths}
        each = [
            fit_classes((x, own), (validation[0], other), **options)
            if np.ptp(own)
            else _constant(x.shape[1], own[0])
            for own, other in zip(codes.T, held.T, strict=True)
        ]
        return _join(each)
    model = linear.estimator(1.0, is_number=False, max_iter=MAX_ITER, warm_start=True)
    rows, learned = [], []
    for strength in sorted(strengths):
        with linear.unconverged_is_no_news():
            model.set_params(C=strength).fit(x, codes, sample_weight=weight)
        learned.append(_all_classes(model, n_classes))
        rows.append(
            (
                strength,
                _log_loss(learned[-1], x, codes, n_classes),
                _log_loss(learned[-1], *validation, n_classes),
            )
        )
    return _best(rows, learned)


def _constant(width: int, code: int) -> Linear:
    """Return the model of a label that all training rows have, or none has."""
    bias = np.array([-_ABSENT if code else _ABSENT], np.float32)
    history = pd.DataFrame(columns=["strength", "loss", "val_loss"], dtype=float)
    return Linear(np.zeros((width, 1), np.float32), bias, np.nan, history)


def _join(each: list[Linear]) -> Linear:
    history = pd.concat([one.history for one in each], ignore_index=True)
    mean = history.groupby("strength", as_index=False)[["loss", "val_loss"]].mean()
    kernel, bias = np.hstack([one.kernel for one in each]), np.concatenate([one.bias for one in each])
    return Linear(kernel, bias, float(np.nanmedian([one.chosen for one in each])), mean)


def fit_number(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    alphas=ALPHAS,
    weight: np.ndarray | None = None,
) -> Linear:
    """Fit ridge regression on a standardised number; losses are mean squared errors. See `fit_classes`."""
    rows, learned = [], []
    for alpha in sorted(alphas, reverse=True):
        model = linear.estimator(alpha, is_number=True).fit(*train, sample_weight=weight)
        learned.append((model.coef_.reshape(-1, 1), np.atleast_1d(model.intercept_)))
        rows.append((alpha, _squared(*learned[-1], *train), _squared(*learned[-1], *validation)))
    return _best(rows, learned)


def _all_classes(model: LogisticRegression, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias with a column a class (one for two); classes without a training row get a low bias."""
    seen = model.classes_.astype(int)
    if n_classes == 2:
        return model.coef_.T.copy(), model.intercept_.copy()
    kernel, bias = np.zeros((model.coef_.shape[1], n_classes)), np.full(n_classes, _ABSENT)
    if len(seen) == 2:
        kernel[:, seen[1]], bias[seen] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        kernel[:, seen], bias[seen] = model.coef_.T, model.intercept_
    return kernel, bias


def _log_loss(learned, x, codes, n_classes: int) -> float:
    if not len(codes):
        return np.nan
    logits = x @ learned[0] + learned[1]
    if n_classes == 2:
        logits = np.hstack([np.zeros_like(logits), logits])
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return log_loss(codes, shifted / shifted.sum(axis=1, keepdims=True), labels=np.arange(n_classes))


def _squared(kernel, bias, x, values) -> float:
    return float(np.mean((x @ kernel[:, 0] + bias[0] - values) ** 2)) if len(values) else np.nan


def _best(rows: list, learned: list) -> Linear:
    history = pd.DataFrame(rows, columns=["strength", "loss", "val_loss"])
    judged = history["val_loss"].where(history["val_loss"].notna(), history["loss"])
    best = int(judged.to_numpy().argmin())
    kernel, bias = learned[best]
    return Linear(kernel.astype(np.float32), bias.astype(np.float32), float(rows[best][0]), history)

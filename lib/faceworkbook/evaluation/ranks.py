"""The area under the ROC curve under many weightings at once, and what each row contributes to it."""

from __future__ import annotations

import numpy as np
from scipy import sparse, stats

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.rows import Rows, mean_known, members

# Resamples that are ranked at once: keeps the working set small enough for a processor's cache.
_CHUNK = 250


def auc_terms(rows: Rows) -> np.ndarray:
    """Score and membership of each class; of the second alone where there are two."""
    member = members(rows, rows.truth)
    if rows.task.is_binary:
        return np.column_stack([rows.probabilities[:, 1], member[:, 1]])
    return np.concatenate([rows.probabilities, member], axis=1)


def _known_classes(terms: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Score and membership (bool) of each class that some rows bear and others do not."""
    scores, member = np.split(terms, 2, axis=1)
    return [(s, m > 0) for s, m in zip(scores.T, member.T, strict=True) if 0 < m.sum() < len(m)]


def auc_contributions(terms: np.ndarray) -> np.ndarray:
    """What each row contributes to the deviation of the mean AUC, ndarray of shape (n,); zeros where undefined."""
    each = [auc_components(positive, score)[1] for score, positive in _known_classes(terms)]
    return np.mean(each, axis=0) if each else np.zeros(len(terms))


def weighted_auc(terms: np.ndarray, units: np.ndarray, n_units: int) -> intervals.Statistic:
    """Mean over classes of the AUC of one against the rest, as a function of weights."""
    pairs = [_ladder(score, positive, units, n_units) for score, positive in _known_classes(terms)]

    def on_chunk(weights: np.ndarray) -> np.ndarray:
        columns = np.ascontiguousarray(weights.T)
        each = [_auc_on(*pair, columns) for pair in pairs] or [np.full(len(weights), np.nan)]
        return mean_known(np.column_stack(each))

    return lambda weights: np.concatenate(
        [on_chunk(weights[start : start + _CHUNK]) for start in range(0, len(weights), _CHUNK)]
    )


def _ladder(
    score: np.ndarray, positive: np.ndarray, units: np.ndarray, n_units: int
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Sparse counts (steps x units): positives on each step of the score, negatives newly below it.

    A step is a distinct score of a positive row. A negative that ties with a step is half below it,
    and wholly below the next.
    """
    steps, step_of = np.unique(score[positive], return_inverse=True)
    shape = (len(steps) + 1, n_units)
    above = sparse.coo_array((np.ones(len(step_of)), (step_of, units[positive])), shape=shape)
    others = score[~positive]
    halves = np.concatenate([np.searchsorted(steps, others, side) for side in ("left", "right")])
    weight = np.full(len(halves), 0.5)
    below = sparse.coo_array((weight, (halves, np.tile(units[~positive], 2))), shape=shape)
    return above.tocsr(), below.tocsr()


def _auc_on(above: sparse.csr_array, below: sparse.csr_array, weights: np.ndarray) -> np.ndarray:
    """Share of pairs in which the positive row scores higher; `weights` are (n_units, b)."""
    positives = above.astype(weights.dtype) @ weights
    passed = np.cumsum(below.astype(weights.dtype) @ weights, axis=0)
    pairs = (positives * passed).sum(axis=0, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pairs / (positives.sum(axis=0, dtype=np.float64) * passed[-1])


def auc_components(positive: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute an AUC, and what each row contributes to its deviation.

    Returns
    -------
    area : float, range 0..1
    shares : ndarray of shape (n,)
        (placement - area) / number of rows of that class; they add up to 0.
    """
    score = np.asarray(score, dtype=float)
    m, n = int(positive.sum()), int((~positive).sum())
    overall = stats.rankdata(score)
    above = (overall[positive] - stats.rankdata(score[positive])) / n
    below = 1 - (overall[~positive] - stats.rankdata(score[~positive])) / m
    area = float(above.mean())
    shares = np.empty(len(score))
    shares[positive], shares[~positive] = (above - area) / m, (below - area) / n
    return area, shares

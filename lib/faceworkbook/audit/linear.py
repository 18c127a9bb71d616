"""Probabilities of rows from a linear model that saw none of their group."""

from __future__ import annotations

import numpy as np

from faceworkbook import linear


def out_of_fold(
    x: np.ndarray, codes: np.ndarray, groups: np.ndarray, *, n_folds: int, seed: int
) -> np.ndarray:
    """Probabilities of each row from a model that saw no row of its group.

    Parameters
    ----------
    x : ndarray of shape (n, d), float
    codes : ndarray of shape (n,), int, 0..n_classes-1
    groups : ndarray of shape (n,), int
        Rows that belong together (a person, copies of a picture).

    Returns
    -------
    ndarray of shape (n, n_classes), float64
        Rows add up to 1.
    """
    from sklearn.model_selection import GroupKFold

    probabilities = np.zeros((len(codes), codes.max() + 1))
    folds = GroupKFold(n_folds, shuffle=True, random_state=seed).split(x, codes, groups)
    for train, test in folds:
        model = linear.fit(x[train], codes[train])
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(x[test])
    return probabilities

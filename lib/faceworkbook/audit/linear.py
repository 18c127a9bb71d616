"""The plain classifier that the audit probes labels with: logistic regression on descriptors.

scikit-learn is imported where it is used: a split needs the audit's groups, and none of this.
"""

from __future__ import annotations

import warnings

import numpy as np

STRENGTH = 1e-3  # C of the logistic regression on standardised descriptors
ALPHA = 1000.0  # of the ridge regression


def fit(x: np.ndarray, labels: np.ndarray):
    """Standardise and fit: classes by logistic regression, numbers by ridge regression.

    Parameters
    ----------
    x : ndarray of shape (n, d), float
    labels : ndarray of shape (n,)
        Names, or floats.

    Returns
    -------
    sklearn.pipeline.Pipeline
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    numbers = np.issubdtype(np.asarray(labels).dtype, np.floating)
    model = Ridge(alpha=ALPHA) if numbers else LogisticRegression(C=STRENGTH, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), model).fit(x, labels)


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
        model = fit(x[train], codes[train])
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(x[test])
    return probabilities

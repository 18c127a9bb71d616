"""The plain classifier of the house: logistic regression, or ridge for numbers, on standardised descriptors.

The audit probes labels with it, the linear reference searches its strength, mitigations weigh its rows.
scikit-learn is imported where it is used: reading a table needs none of it.
"""

from __future__ import annotations

import warnings

import numpy as np

from faceworkbook.threads import one_thread

STRENGTH = 1e-3  # C of the logistic regression
ALPHA = 1000.0  # of the ridge regression


def estimator(strength: float, *, is_number: bool, **options):
    """Return the unfitted estimator: C is `strength` for classes, alpha is `strength` for numbers.

    `options` are further ones of scikit-learn's LogisticRegression (or Ridge).
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    if is_number:
        return Ridge(alpha=strength, **options)
    return LogisticRegression(C=strength, **{"max_iter": 200, "tol": 1e-3, **options})


@one_thread()
def fit(x: np.ndarray, labels: np.ndarray, *, strength: float | None = None, sample_weight=None, **options):
    """Standardise and fit: classes by logistic regression, numbers by ridge regression.

    Parameters
    ----------
    x : ndarray of shape (n, d), float
    labels : ndarray of shape (n,)
        Names, codes, or floats.
    strength : float, optional
        C or alpha; `STRENGTH` and `ALPHA` by default.
    sample_weight : ndarray of shape (n,), optional
        Of the rows in the loss; standardisation does not know it.

    Returns
    -------
    sklearn.pipeline.Pipeline
    """
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    is_number = np.issubdtype(np.asarray(labels).dtype, np.floating)
    model = estimator(strength or (ALPHA if is_number else STRENGTH), is_number=is_number, **options)
    steps = Pipeline([("standardise", StandardScaler()), ("linear", model)])
    with unconverged_is_no_news():
        return steps.fit(x, labels, linear__sample_weight=sample_weight)


def unconverged_is_no_news() -> warnings.catch_warnings:
    """Return a context without scikit-learn's warnings of slow convergence.

    Weakly regularised and slow to converge is not what wins on validation rows.
    """
    from sklearn.exceptions import ConvergenceWarning

    return warnings.catch_warnings(action="ignore", category=ConvergenceWarning)

"""Accuracy on the faces that a model decides when the least sure ones are left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from faceworkbook.evaluation import intervals, metrics
from faceworkbook.evaluation.metrics import Rows
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.probabilities import (
    confidence_of,
    estimate_share,
    mean_statistic,
    rows_with_classes,
)

SHARES = (0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


def risk_coverage(
    predictions: pd.DataFrame,
    *,
    subset: str = "test",
    chosen_on: str = "validation",
    left_to_a_person: Sequence[float] = SHARES,
    uncertainty: np.ndarray | None = None,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
) -> pd.DataFrame:
    """Compute the accuracy on the rest when the least sure faces are left to a person.

    The limit of doubt for each share is chosen on the rows of `chosen_on`, and judged on those of `subset`. Rows that
    are equally sure are decided together, in whatever order they stand.

    Parameters
    ----------
    subset, chosen_on : str
        Rows that are judged, and rows that the limits are chosen on.
    left_to_a_person : sequence of float, 0 or more and below 1
        Shares of the rows of `chosen_on` that are to be left.
    uncertainty : ndarray of shape (n_rows,), optional
        Of all rows of the table, higher is less sure; by default 1 - probability of the prediction.

    Returns
    -------
    pandas.DataFrame
        asked (share), threshold (largest doubt that is still decided; infinite where none is to be left),
        left_to_a_person (share of the judged rows), left_to_a_person_low and _high, accuracy (of the decided), low,
        high (95 %), n (faces decided).

    Raises
    ------
    PredictionsError
        No rows of `chosen_on`, or doubts of another shape.
    """
    if not len(left_to_a_person) or min(left_to_a_person) < 0 or max(left_to_a_person) >= 1:
        raise PredictionsError(
            f"left_to_a_person={tuple(left_to_a_person)}; allowed are shares of 0 or more and below 1"
        )
    rows, doubt = _read(predictions, subset, uncertainty)
    ordered = np.sort(_read(predictions, chosen_on, uncertainty)[1])
    records = []
    for share in sorted(left_to_a_person):
        # At least the share that is asked for is decided; all where none is left, whatever the judged rows hold.
        limit = ordered[max(1, round((1 - share) * len(ordered))) - 1] if share else np.inf
        decided = doubt <= limit
        value, low, high, _ = metrics.estimate(metrics.ACCURACY, rows.take(decided), seed=seed, n_boot=n_boot)
        left = left_low = left_high = 0.0
        if share:
            left, left_low, left_high = estimate_share(rows, ~decided, seed=seed, n_boot=n_boot)
        records.append(
            {
                "asked": share,
                "threshold": limit,
                "left_to_a_person": left,
                "left_to_a_person_low": left_low,
                "left_to_a_person_high": left_high,
                "accuracy": value,
                "low": low,
                "high": high,
                "n": int(decided.sum()),
            }
        )
    return pd.DataFrame(records)


def summarise_risk_coverage(
    predictions: pd.DataFrame,
    *,
    subset: str = "test",
    uncertainty: np.ndarray | None = None,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
) -> pd.DataFrame:
    """Return the area under the risk-coverage curve (AURC) beside the error of all faces, with 95 % intervals.

    Returns
    -------
    pandas.DataFrame
        metric ('error', 'aurc', 'gain': error less AURC, what the order of doubt is worth), value, low, high, n.
    """
    rows, doubt = _read(predictions, subset, uncertainty)
    area, wrong = area_under_risk_coverage(rows, doubt), mean_statistic((~rows.right).astype(float), rows)

    def statistics(weights: np.ndarray) -> np.ndarray:
        error, aurc = np.ravel(wrong(weights)), area(weights)
        return np.column_stack([error, aurc, error - aurc])

    estimated = intervals.bootstrap(statistics, rows.n_units, n_boot=n_boot, seed=seed)
    table = pd.DataFrame(
        {
            "metric": ["error", "aurc", "gain"],
            "value": estimated.value,
            "low": estimated.low,
            "high": estimated.high,
        }
    )
    # The error is a share, and has the interval of one.
    accuracy, low, high, _ = metrics.estimate(metrics.ACCURACY, rows, seed=seed, n_boot=n_boot)
    table.loc[0, ["value", "low", "high"]] = 1 - accuracy, 1 - high, 1 - low
    if not (~rows.right).any():  # no resample shows an error, and yet one may be seen
        table.loc[1, ["low", "high"]] = 0.0, 1 - low
    return table.assign(n=rows.n_faces)


def _read(predictions: pd.DataFrame, subset: str, uncertainty: np.ndarray | None) -> tuple[Rows, np.ndarray]:
    rows = rows_with_classes(predictions, subset)
    if uncertainty is None:
        return rows, 1 - confidence_of(rows)
    doubt = np.asarray(uncertainty, dtype=float)
    if doubt.shape != (len(predictions),):
        raise PredictionsError(
            f"uncertainty has shape {doubt.shape}, expected ({len(predictions)},): one a row of the table"
        )
    return rows, doubt[(predictions["split"] == subset).to_numpy()]


def area_under_risk_coverage(rows: Rows, doubt: np.ndarray) -> intervals.Statistic:
    """Return the mean error over all coverages (lower is better) as a function of weights.

    Rows that are equally sure count as in the mean over all orders among them. Where D rows with R errors are surer
    than W rows with E errors, the mean risk after the j-th of these is (R + j E / W) / (D + j); its sum over j is
    E + (R - D E / W) (psi(D + W + 1) - psi(D + 1)).
    """
    order = np.argsort(doubt, kind="stable")
    wrong, units = (~rows.right)[order].astype(float), rows.units[order]
    starts = np.flatnonzero(np.diff(doubt[order], prepend=-np.inf))

    def value(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, units].astype(float)
        size = np.add.reduceat(drawn, starts, axis=1)
        errors = np.add.reduceat(drawn * wrong, starts, axis=1)
        surer, errors_surer = (np.cumsum(each, axis=1) - each for each in (size, errors))
        rate = np.divide(errors, size, out=np.zeros_like(size), where=size > 0)
        steps = special.digamma(surer + size + 1) - special.digamma(surer + 1)
        return (errors + (errors_surer - surer * rate) * steps).sum(axis=1) / size.sum(axis=1)

    return value

"""Monte-Carlo dropout (Gal and Ghahramani 2016) beside the plain probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.evaluation import bootstrap_tests, comparison, metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.probabilities import (
    confidence_of,
    entropy_of,
    rows_with_classes,
    with_probabilities,
)
from faceworkbook.evaluation.risk_coverage import area_under_risk_coverage


@dataclass(frozen=True)
class Dropout:
    """What Monte-Carlo dropout adds to the plain probability.

    Attributes
    ----------
    predictions : pandas.DataFrame
        The table with the mean of the sampled probabilities.
    entropy : ndarray of shape (n,), nats
        Of the mean.
    disagreement : ndarray of shape (n,), nats
        Mutual information: entropy of the mean less the mean entropy (Gal and Ghahramani 2016).
    table : pandas.DataFrame
        metric, plain, dropout, difference (dropout - plain), low, high, p, verdict ('helps', 'harms',
        'no significant difference').
    """

    predictions: pd.DataFrame
    entropy: np.ndarray
    disagreement: np.ndarray
    table: pd.DataFrame


def monte_carlo(
    predictions: pd.DataFrame,
    sampled: np.ndarray,
    *,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = 500,
) -> Dropout:
    """Compare Monte-Carlo dropout with the plain probability on the same rows.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The plain ones.
    sampled : ndarray of shape (n_samples, n, n_classes), range 0..1
        Probabilities with dropout switched on, for the rows of `subset` in their order.

    Returns
    -------
    Dropout
        Accuracy, log loss and Brier score by the test that the design asks for; risk_coverage compares the area
        under the risk-coverage curve, ranked by entropy of the mean and by 1 - plain probability.
    """
    rows_with_classes(predictions, subset)
    plain = predictions[predictions["split"] == subset]
    shares = tables.probabilities(plain)
    sampled = np.asarray(sampled, dtype=float)
    if sampled.ndim != 3 or sampled.shape[1:] != shares.shape:
        raise PredictionsError(
            f"sampled has shape {sampled.shape}, expected (n_samples, {len(shares)}, {shares.shape[1]})"
        )
    mean = sampled.mean(axis=0)
    entropy = entropy_of(mean)
    disagreement = entropy - entropy_of(sampled).mean(axis=0)
    classes = np.asarray(tables.class_names(plain), dtype=object)
    averaged = with_probabilities(plain, mean).assign(predicted=classes[mean.argmax(axis=1)])
    return Dropout(
        predictions=averaged,
        entropy=entropy,
        disagreement=disagreement,
        table=_dropout_table(plain, averaged, entropy, subset=subset, seed=seed, n_boot=n_boot),
    )


def _dropout_table(plain, averaged, entropy, *, subset: str, seed: int, n_boot: int) -> pd.DataFrame:
    runs = {"dropout": averaged, "plain": plain}
    records = []
    for name in ("accuracy", "log_loss", "brier"):
        compared = comparison.compare(runs, metric=name, subset=subset, seed=seed, n_boot=n_boot)
        pair = compared.chosen.iloc[0]
        value = compared.runs.set_index("run")["value"]
        records.append((name, value["plain"], value["dropout"], pair.difference, pair.low, pair.high, pair.p))
    with_dropout, without = (metrics.rows_of(t, subset=None) for t in (averaged, plain))
    areas = [
        area_under_risk_coverage(with_dropout, entropy),
        area_under_risk_coverage(without, 1 - confidence_of(without)),
    ]
    area = bootstrap_tests.paired_bootstrap(
        lambda w: areas[0](w) - areas[1](w), without.n_units, seed=seed, n_boot=n_boot, bounds=(-1, 1)
    )
    whole = np.ones((1, without.n_units))
    records.append(
        (
            "risk_coverage",
            areas[1](whole)[0],
            areas[0](whole)[0],
            area.difference,
            area.low,
            area.high,
            area.p,
        )
    )
    columns = ["metric", "plain", "dropout", "difference", "low", "high", "p"]
    table = pd.DataFrame(records, columns=columns)
    better = np.where(table["metric"] == "accuracy", table["low"] > 0, table["high"] < 0)
    worse = np.where(table["metric"] == "accuracy", table["high"] < 0, table["low"] > 0)
    return table.assign(verdict=np.select([better, worse], ["helps", "harms"], "no significant difference"))

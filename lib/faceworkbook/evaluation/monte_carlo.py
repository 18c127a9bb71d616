"""Monte-Carlo dropout (Gal and Ghahramani 2016) beside the plain probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.evaluation import bootstrap_tests, comparison, metrics, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.evaluation.probabilities import (
    confidence_of,
    entropy_of,
    rows_with_classes,
    with_probabilities,
)
from faceworkbook.evaluation.risk_coverage import area_under_risk_coverage, summarise_risk_coverage


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
        metric, plain and dropout with their intervals, difference (dropout - plain), low, high, p, p_holm
        (adjusted over the metrics), verdict ('helps', 'harms', 'no significant difference', by p_holm).
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
    runs, settings = {"dropout": averaged, "plain": plain}, {"seed": seed, "n_boot": n_boot}
    records = []
    for name in ("accuracy", "log_loss", "brier"):
        compared = comparison.compare(runs, metric=name, subset=subset, **settings)
        pair = compared.chosen.iloc[0]
        figures = compared.runs.set_index("run")
        records.append({"metric": name, **_figures(figures.loc["plain"], figures.loc["dropout"], pair)})
    records.append({"metric": "risk_coverage", **_compare_areas(plain, averaged, entropy, settings)})
    table = pd.DataFrame(records)
    adjusted = significance.holm(table["p"])
    higher = np.where(table["metric"] == "accuracy", 1, -1) * table["difference"] > 0
    verdict = np.where(higher, "helps", "harms")
    same = "no significant difference"
    return table.assign(p_holm=adjusted, verdict=np.where(adjusted < significance.ALPHA, verdict, same))


def _compare_areas(plain, averaged, entropy, settings: dict) -> dict:
    with_dropout, without = (metrics.rows_of(t, subset=None) for t in (averaged, plain))
    areas = [
        area_under_risk_coverage(with_dropout, entropy),
        area_under_risk_coverage(without, 1 - confidence_of(without)),
    ]
    difference = bootstrap_tests.paired_bootstrap(
        lambda w: areas[0](w) - areas[1](w), without.n_units, bounds=(-1, 1), **settings
    )
    before, after = [
        summarise_risk_coverage(table, uncertainty=doubt, subset=plain["split"].iloc[0], **settings)
        .set_index("metric")
        .loc["aurc"]
        for table, doubt in ((plain, None), (averaged, entropy))
    ]
    return _figures(before, after, difference)


def _figures(plain, dropout, pair) -> dict:
    return {
        "plain": plain["value"],
        "plain_low": plain["low"],
        "plain_high": plain["high"],
        "dropout": dropout["value"],
        "dropout_low": dropout["low"],
        "dropout_high": dropout["high"],
        "difference": pair.difference,
        "low": pair.low,
        "high": pair.high,
        "p": pair.p,
    }

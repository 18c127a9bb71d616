"""How sure a model is, and whether that can be relied on.

Reliability by bins, expected calibration error with the bias that it has at small n, temperature
scaling and isotonic regression fitted on validation rows, risk-coverage, conformal prediction sets,
and Monte-Carlo dropout beside the plain probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize
from sklearn.isotonic import IsotonicRegression

from faceworkbook.evaluation import calibration_error, figures, groups, intervals, metrics, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.conformal import Conformal
from faceworkbook.evaluation.groups import Attribute
from faceworkbook.evaluation.monte_carlo import Dropout, monte_carlo
from faceworkbook.evaluation.probabilities import (
    SMALLEST,
    confidence_of,
    entropy_of,
    rows_with_classes,
    softmax,
    with_probabilities,
)
from faceworkbook.evaluation.risk_coverage import (
    area_under_risk_coverage,
    risk_coverage,
    summarise_risk_coverage,
)

__all__ = [
    "METHODS",
    "Conformal",
    "Dropout",
    "Isotonic",
    "Temperature",
    "area_under_risk_coverage",
    "by_group",
    "confidence_of",
    "entropy_of",
    "monte_carlo",
    "recalibrate",
    "reliability",
    "risk_coverage",
    "summarise_risk_coverage",
    "summary",
]

BINS = 10


def reliability(
    predictions: pd.DataFrame, *, subset: str = "test", bins: int = BINS, seed: int = 0
) -> pd.DataFrame:
    """Confidence against accuracy, in bins with equally many rows.

    Returns
    -------
    pandas.DataFrame
        confidence (mean probability of the predicted class, 0..1), accuracy, low, high (Wilson, or a
        bootstrap by person), n, one row a bin.
    """
    rows = rows_with_classes(predictions, subset)
    sure = confidence_of(rows)
    bin_of = calibration_error.bin_rows(sure, bins)
    records = []
    for number in range(bin_of.max() + 1):
        inside = rows.take(bin_of == number)
        value, low, high, _ = metrics.estimate(metrics.ACCURACY, inside, seed=seed)
        records.append(
            {"confidence": sure[bin_of == number].mean(), "accuracy": value, "low": low, "high": high,
             "n": len(inside.units)}
        )  # fmt: skip
    return pd.DataFrame(records)


def summary(
    predictions: pd.DataFrame,
    *,
    subset: str = "test",
    bins: int = BINS,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
) -> pd.DataFrame:
    """Calibration error, its small-sample bias, Brier score, log loss and over-confidence.

    Returns
    -------
    pandas.DataFrame
        One row: n, ece (expected calibration error of these rows, equally filled bins), ece_if_calibrated (what a
        perfectly calibrated model with these probabilities would show at this n), p_calibrated (share of such models
        with an error as large), ece_corrected (of the population, median-unbiased) with its interval, overconfidence
        (mean confidence - accuracy) with its interval, brier and log_loss with theirs. Faces of one person agree in
        all of them as much as they do in these rows.
    """
    rows = rows_with_classes(predictions, subset)
    sure, right = confidence_of(rows), rows.truth == rows.predicted
    error = calibration_error.measure(sure, right, rows.units, bins=bins, seed=seed)
    sureness = figures.figure_of_mean(sure - right, rows.units, rows.pictures, bounds=(-1.0, 1.0))
    low, high = sureness.interval()
    record = {
        "n": rows.n_faces,
        "ece": error.value,
        "ece_if_calibrated": error.null_mean,
        "p_calibrated": error.p,
        "ece_corrected": error.corrected,
        "ece_corrected_low": error.low,
        "ece_corrected_high": error.high,
        "overconfidence": sureness.value,
        "overconfidence_low": low,
        "overconfidence_high": high,
    }
    for metric in (metrics.BRIER, metrics.LOG_LOSS):
        value, low, high, _ = metrics.estimate(metric, rows, seed=seed, n_boot=n_boot)
        record |= {metric.name: value, f"{metric.name}_low": low, f"{metric.name}_high": high}
    return pd.DataFrame([record])


def by_group(
    table: pd.DataFrame,
    attribute: Attribute,
    *,
    subset: str = "test",
    bins: int = BINS,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = groups.SMALL,
) -> pd.DataFrame:
    """Return `summary` of every group, small ones marked; NaN where a group is empty.

    ``p_holm`` is ``p_calibrated`` adjusted by Holm over the groups.
    """
    pieces = groups.cut(table, attribute, subset=subset)
    chosen = table[table["split"] == subset]
    columns = [attribute] if isinstance(attribute, str) else list(attribute)
    names = chosen[columns].astype(str).agg(" x ".join, axis=1)
    records = []
    for group, n in zip(pieces.names, pieces.sizes(), strict=True):
        record = pd.DataFrame([{"n": 0}])
        if n:
            # Few rows carry few bins.
            filled = int(np.clip(n // 20, 2, bins))
            record = summary(
                chosen[names == groups.describe_attribute(group)],
                subset=subset,
                bins=filled,
                seed=seed,
                n_boot=n_boot,
            )
        records.append(record.assign(group=groups.describe_attribute(group), small=n < small))
    table = pd.concat(records, ignore_index=True)
    tested = table["n"] > 0
    table.loc[tested, "p_holm"] = significance.holm(table.loc[tested, "p_calibrated"])
    last = ["p_holm", "small"]
    return table[["group", *table.columns.drop(["group", *last]), *last]]


@dataclass(frozen=True)
class Temperature:
    """Temperature scaling (Guo et al. 2017): softmax(log p / temperature); above 1 is less sure."""

    temperature: float

    @classmethod
    def fit(cls, predictions: pd.DataFrame, *, subset: str = "validation") -> Temperature:
        """Choose the temperature with the lowest log loss on the rows of `subset`."""
        rows = rows_with_classes(predictions, subset)
        return cls(_lowest_loss(rows, np.ones(len(rows.truth))))

    @staticmethod
    def interval(
        predictions: pd.DataFrame, *, subset: str = "validation", seed: int = 0, n_boot: int = 200
    ) -> tuple[float, float]:
        """Return the 95 % interval of the temperature that `fit` chooses, by a bootstrap over people."""
        rows = rows_with_classes(predictions, subset)
        estimated = intervals.bootstrap(
            lambda weights: np.array([_lowest_loss(rows, row[rows.units]) for row in weights]),
            rows.n_units,
            n_boot=n_boot,
            seed=seed,
            method="percentile",
        )
        return float(estimated.low[0]), float(estimated.high[0])

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The table with scaled probabilities; what is predicted stays as it is."""
        logits = np.log(np.clip(tables.probabilities(predictions), SMALLEST, 1))
        return with_probabilities(predictions, softmax(logits / self.temperature))


@dataclass(frozen=True)
class Isotonic:
    """Isotonic regression of each class against the rest, divided by the sum (Zadrozny and Elkan 2002)."""

    maps: tuple[IsotonicRegression, ...]

    @classmethod
    def fit(cls, predictions: pd.DataFrame, *, subset: str = "validation") -> Isotonic:
        """Fit on the rows of `subset`."""
        rows = rows_with_classes(predictions, subset)
        maps = [
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
                rows.probabilities[:, code], rows.truth == code
            )
            for code in range(len(rows.classes))
        ]
        return cls(tuple(maps))

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The table with calibrated probabilities; what is predicted stays as it is."""
        shares = tables.probabilities(predictions)
        mapped = np.column_stack([m.predict(shares[:, code]) for code, m in enumerate(self.maps)])
        # No class is ever impossible: a step at 0 would make the log loss infinite.
        mapped = np.clip(mapped, 1e-3, None)
        return with_probabilities(predictions, mapped / mapped.sum(axis=1, keepdims=True))


def _lowest_loss(rows: metrics.Rows, weights: np.ndarray) -> float:
    """Return the temperature of the lowest weighted log loss."""
    logits = np.log(np.clip(rows.probabilities, SMALLEST, 1))

    def loss(log_temperature: float) -> float:
        shares = softmax(logits / np.exp(log_temperature))
        return -weights @ np.log(np.clip(shares[np.arange(len(shares)), rows.truth], SMALLEST, 1))

    table = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(table.x))


METHODS: dict[str, type[Temperature] | type[Isotonic]] = {"temperature": Temperature, "isotonic": Isotonic}


def recalibrate(predictions: pd.DataFrame, *, subset: str = "validation") -> dict[str, pd.DataFrame]:
    """'before', 'temperature' and 'isotonic': the table before and after each, fitted on `subset`."""
    return {"before": predictions} | {
        name: method.fit(predictions, subset=subset).apply(predictions) for name, method in METHODS.items()
    }

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

from faceworkbook.evaluation import groups, intervals, metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.conformal import Conformal
from faceworkbook.evaluation.groups import Attribute
from faceworkbook.evaluation.metrics import Rows
from faceworkbook.evaluation.monte_carlo import Dropout, monte_carlo
from faceworkbook.evaluation.probabilities import (
    SMALLEST,
    confidence_of,
    entropy_of,
    mean_statistic,
    rows_with_classes,
    softmax,
    with_probabilities,
)
from faceworkbook.evaluation.risk_coverage import area_under_risk_coverage, risk_coverage

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
    "summary",
]

BINS = 10
# Simulated data sets for the calibration error of a model that is perfectly calibrated.
_SIMULATIONS = 200


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
    bin_of = _bin_rows(sure, bins)
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
        One row: n, ece (expected calibration error, equally filled bins), ece_if_calibrated (what a
        perfectly calibrated model with these probabilities would show at this n), p_calibrated (share
        of such models with an error as large), ece_corrected (ece less that bias, not below 0),
        overconfidence (mean confidence - accuracy) with its interval, brier and log_loss with theirs.
    """
    rows = rows_with_classes(predictions, subset)
    sure, right = confidence_of(rows), rows.truth == rows.predicted
    bin_of = _bin_rows(sure, bins)
    error = _calibration_error(sure, right[None, :], bin_of)[0]
    chance = _error_if_calibrated(rows, sure, bin_of, seed=seed)
    sureness = intervals.bootstrap(mean_statistic(sure - right, rows), rows.n_units, n_boot=n_boot, seed=seed)
    record = {
        "n": rows.n_faces,
        "ece": error,
        "ece_if_calibrated": chance.mean(),
        "p_calibrated": float((np.sum(chance >= error) + 1) / (len(chance) + 1)),
        "ece_corrected": max(error - chance.mean(), 0.0),
        "overconfidence": sureness.value[0],
        "overconfidence_low": sureness.low[0],
        "overconfidence_high": sureness.high[0],
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
    """`summary` of every group, small ones marked; NaN where a group is empty."""
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
    return table[["group", *table.columns.drop(["group", "small"]), "small"]]


@dataclass(frozen=True)
class Temperature:
    """Temperature scaling (Guo et al. 2017): softmax(log p / temperature); above 1 is less sure."""

    temperature: float

    @classmethod
    def fit(cls, predictions: pd.DataFrame, *, subset: str = "validation") -> Temperature:
        """Choose the temperature with the lowest log loss on the rows of `subset`."""
        rows = rows_with_classes(predictions, subset)
        logits = np.log(np.clip(rows.probabilities, SMALLEST, 1))

        def loss(log_temperature: float) -> float:
            shares = softmax(logits / np.exp(log_temperature))
            return -np.log(np.clip(shares[np.arange(len(shares)), rows.truth], SMALLEST, 1)).mean()

        table = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
        return cls(float(np.exp(table.x)))

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


METHODS: dict[str, type[Temperature] | type[Isotonic]] = {"temperature": Temperature, "isotonic": Isotonic}


def recalibrate(predictions: pd.DataFrame, *, subset: str = "validation") -> dict[str, pd.DataFrame]:
    """'before', 'temperature' and 'isotonic': the table before and after each, fitted on `subset`."""
    return {"before": predictions} | {
        name: method.fit(predictions, subset=subset).apply(predictions) for name, method in METHODS.items()
    }


def _bin_rows(sure: np.ndarray, bins: int) -> np.ndarray:
    """Bins with equally many rows; equal confidences share a bin."""
    edges = np.unique(np.quantile(sure, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, sure, side="left"), return_inverse=True)[1]


def _calibration_error(sure: np.ndarray, right: np.ndarray, bin_of: np.ndarray) -> np.ndarray:
    """Sum over bins of share x |accuracy - confidence|; `right` is (b, n)."""
    member = np.eye(bin_of.max() + 1)[bin_of]
    return np.abs((right - sure) @ member).sum(axis=1) / len(sure)


def _error_if_calibrated(rows: Rows, sure: np.ndarray, bin_of: np.ndarray, *, seed: int) -> np.ndarray:
    """Errors of a model that is right exactly as often as it says.

    All faces of one person are right or wrong together only as far as their confidences allow, which is
    the most that people can agree.
    """
    rng = np.random.default_rng(seed)
    right = rng.random((_SIMULATIONS, rows.n_units))[:, rows.units] < sure
    return _calibration_error(sure, right, bin_of)

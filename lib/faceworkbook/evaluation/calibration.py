"""How sure a model is, and whether that can be relied on.

Reliability by bins, expected calibration error with the bias that it has at small n, temperature
scaling and isotonic regression fitted on validation rows, risk-coverage, conformal prediction sets,
and Monte-Carlo dropout beside the plain probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize, stats
from sklearn.isotonic import IsotonicRegression

from faceworkbook.evaluation import comparison, groups, intervals, metrics, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.groups import Attribute
from faceworkbook.evaluation.metrics import Rows
from faceworkbook.evaluation.predictions import PredictionsError

BINS = 10
# Simulated data sets for the calibration error of a model that is perfectly calibrated.
_SIMULATIONS = 200
_SMALLEST = 1e-12


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
    rows = _classes_of(predictions, subset)
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
    rows = _classes_of(predictions, subset)
    sure, right = confidence_of(rows), rows.truth == rows.predicted
    bin_of = _bin_rows(sure, bins)
    error = _calibration_error(sure, right[None, :], bin_of)[0]
    chance = _error_if_calibrated(rows, sure, bin_of, seed=seed)
    sureness = intervals.bootstrap(
        _mean_statistic(sure - right, rows), rows.n_units, n_boot=n_boot, seed=seed
    )
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
                chosen[names == groups.say(group)], subset=subset, bins=filled, seed=seed, n_boot=n_boot
            )
        records.append(record.assign(group=groups.say(group), small=n < small))
    found = pd.concat(records, ignore_index=True)
    return found[["group", *found.columns.drop(["group", "small"]), "small"]]


def confidence_of(rows: Rows) -> np.ndarray:
    """Probability of the predicted class, ndarray of shape (n,), range 0..1."""
    return rows.probabilities[np.arange(len(rows.predicted)), rows.predicted]


@dataclass(frozen=True)
class Temperature:
    """Temperature scaling (Guo et al. 2017): softmax(log p / temperature); above 1 is less sure."""

    temperature: float

    @classmethod
    def fit(cls, predictions: pd.DataFrame, *, subset: str = "validation") -> Temperature:
        """Choose the temperature with the lowest log loss on the rows of `subset`."""
        rows = _classes_of(predictions, subset)
        logits = np.log(np.clip(rows.probabilities, _SMALLEST, 1))

        def loss(log_temperature: float) -> float:
            shares = _softmax(logits / np.exp(log_temperature))
            return -np.log(np.clip(shares[np.arange(len(shares)), rows.truth], _SMALLEST, 1)).mean()

        found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
        return cls(float(np.exp(found.x)))

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The table with scaled probabilities; what is predicted stays as it is."""
        logits = np.log(np.clip(tables.probabilities(predictions), _SMALLEST, 1))
        return _with_probabilities(predictions, _softmax(logits / self.temperature))


@dataclass(frozen=True)
class Isotonic:
    """Isotonic regression of each class against the rest, divided by the sum (Zadrozny and Elkan 2002)."""

    maps: tuple[IsotonicRegression, ...]

    @classmethod
    def fit(cls, predictions: pd.DataFrame, *, subset: str = "validation") -> Isotonic:
        """Fit on the rows of `subset`."""
        rows = _classes_of(predictions, subset)
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
        return _with_probabilities(predictions, mapped / mapped.sum(axis=1, keepdims=True))


METHODS = {"temperature": Temperature, "isotonic": Isotonic}


def recalibrate(predictions: pd.DataFrame, *, subset: str = "validation") -> dict[str, pd.DataFrame]:
    """'before', 'temperature' and 'isotonic': the table before and after each, fitted on `subset`."""
    return {"before": predictions} | {
        name: method.fit(predictions, subset=subset).apply(predictions) for name, method in METHODS.items()
    }


def risk_coverage(
    predictions: pd.DataFrame,
    *,
    subset: str = "test",
    left_to_a_person=(0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
    uncertainty: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy on the rest when the least sure share of faces is left to a person.

    Parameters
    ----------
    uncertainty : ndarray of shape (n,), optional
        Of the rows of `subset`, higher is less sure; by default 1 - probability of the prediction.

    Returns
    -------
    pandas.DataFrame
        left_to_a_person (share), threshold (largest uncertainty that is still decided), accuracy, low,
        high, n (faces decided).
    """
    rows = _classes_of(predictions, subset)
    doubt = 1 - confidence_of(rows) if uncertainty is None else np.asarray(uncertainty, dtype=float)
    if doubt.shape != rows.truth.shape:
        raise PredictionsError(f"uncertainty has shape {doubt.shape}, expected {rows.truth.shape}")
    order = np.argsort(doubt, kind="stable")
    records = []
    for share in left_to_a_person:
        kept = order[: max(1, round((1 - share) * len(order)))]
        value, low, high, _ = metrics.estimate(metrics.ACCURACY, rows.take(kept), seed=seed)
        records.append(
            {"left_to_a_person": share, "threshold": doubt[kept[-1]], "accuracy": value, "low": low,
             "high": high, "n": len(kept)}
        )  # fmt: skip
    return pd.DataFrame(records)


def area_under_risk_coverage(rows: Rows, doubt: np.ndarray) -> intervals.Statistic:
    """Mean error over all coverages (lower is better), as a function of weights."""
    order = np.argsort(doubt, kind="stable")
    wrong, units = (rows.truth != rows.predicted)[order].astype(float), rows.units[order]

    def value(weights: np.ndarray) -> np.ndarray:
        areas = []
        for one in weights:
            w = one[units].astype(float)
            decided = np.cumsum(w)
            risk = np.divide(np.cumsum(w * wrong), decided, out=np.zeros_like(w), where=decided > 0)
            areas.append((risk * w).sum() / w.sum())
        return np.array(areas)

    return value


@dataclass(frozen=True)
class Conformal:
    """Prediction sets that hold the truth in a promised share of cases (split conformal).

    Attributes
    ----------
    promise : float
        Share of faces whose set is to hold the truth, such as .9.
    limits : mapping of str to float
        Largest 1 - p that still enters the set, by group; the key '' holds for groups that are not
        named.
    attribute : str or None
        Column of the groups.
    small : tuple of str
        Groups with too few validation rows for a limit of their own: every class enters their set.
    sizes : mapping of str to int
        Validation people (faces, where people are unknown) behind each limit.
    """

    promise: float
    limits: Mapping[str, float]
    attribute: str | None
    small: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        predictions: pd.DataFrame,
        *,
        promise: float = 0.9,
        attribute: str | None = None,
        subset: str = "validation",
    ) -> Conformal:
        """Choose limits on validation rows, one a group where `attribute` is given (Vovk 2012).

        The promise holds on average over validation and test faces that are exchangeable: people must
        not stand in both, and nothing may have been fitted or chosen on the validation rows.
        """
        if not 0 < promise < 1:
            raise PredictionsError(f"promise={promise}; allowed is between 0 and 1, such as 0.9")
        rows = _classes_of(predictions, subset)
        score = 1 - rows.probabilities[np.arange(len(rows.truth)), rows.truth]
        masks = {"": np.full(len(score), True)}
        if attribute is not None:
            labels = predictions.loc[predictions["split"] == subset, attribute]
            masks |= {n: (labels.astype(str) == n).to_numpy() for n in groups.levels(labels.dropna())}
        limits = {name: _conformal_limit(score[mask], promise) for name, mask in masks.items()}
        small = tuple(name for name, limit in limits.items() if np.isinf(limit))
        sizes = {name: len(np.unique(rows.units[mask])) for name, mask in masks.items()}
        return cls(promise, limits, attribute, small, sizes)

    def sets(self, predictions: pd.DataFrame) -> np.ndarray:
        """Which classes are in the set of each row: boolean ndarray of shape (n, n_classes)."""
        limit = np.full(len(predictions), self.limits[""])
        if self.attribute is not None:
            names = predictions[self.attribute].astype(str)
            limit = names.map(lambda name: self.limits.get(name, self.limits[""])).to_numpy(dtype=float)
        return 1 - tables.probabilities(predictions) <= limit[:, None] + 1e-12

    def check(
        self, predictions: pd.DataFrame, *, attribute: str | None = None, subset: str = "test", seed: int = 0
    ) -> pd.DataFrame:
        """Was the promise kept? Coverage by group with intervals.

        Returns
        -------
        pandas.DataFrame
            group, promise, coverage, low, high (of these test rows), mean_size (classes in a set),
            singletons (share of sets with one class), n, p (how often a kept promise looks as bad by the
            luck of validation and test faces), kept (p is at least .05; adjusted by Holm over the groups).
        """
        attribute = attribute or self.attribute
        chosen = predictions[predictions["split"] == subset]
        parts = {"all": np.full(len(chosen), True)}
        if attribute is not None:
            labels = chosen[attribute]
            parts |= {n: (labels.astype(str) == n).to_numpy() for n in groups.levels(labels.dropna())}
        rows, inside = metrics.rows_of(chosen, subset=None), self.sets(chosen)
        holds = inside[np.arange(len(rows.truth)), rows.truth]
        # A share of rows like accuracy is: right where the set holds the truth.
        as_hits = Rows(**{**vars(rows), "truth": np.ones(len(holds)), "predicted": holds.astype(float)})
        records = []
        for name, mask in parts.items():
            value, low, high, _ = metrics.estimate(metrics.ACCURACY, as_hits.take(mask), seed=seed)
            size, n_cases = inside[mask].sum(axis=1), len(np.unique(rows.units[mask]))
            records.append(
                {"group": name, "promise": self.promise, "coverage": value, "low": low, "high": high,
                 "mean_size": size.mean(), "singletons": (size == 1).mean(), "n": int(mask.sum()),
                 "p": self._chance(value, n_cases, self.sizes.get(name, self.sizes[""]))}
            )  # fmt: skip
        found = pd.DataFrame(records)
        adjusted = np.concatenate([found["p"][:1], significance.holm(found["p"][1:])])
        return found.assign(kept=adjusted >= significance.ALPHA)

    def _chance(self, coverage: float, n_test: int, n_validation: int) -> float:
        """How often so few sets hold the truth although the promise is kept.

        Over draws of validation and test cases their number is beta-binomial (Angelopoulos and Bates 2023).
        """
        rank = int(np.ceil((n_validation + 1) * self.promise))
        if rank > n_validation or not n_test:
            return 1.0
        return float(
            stats.betabinom.cdf(np.floor(coverage * n_test + 1e-9), n_test, rank, n_validation + 1 - rank)
        )


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
        'no difference seen').
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
        Accuracy, log loss and Brier score by the paired bootstrap; risk_coverage compares the area
        under the risk-coverage curve, ranked by entropy of the mean and by 1 - plain probability.
    """
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
    averaged = _with_probabilities(plain, mean).assign(predicted=classes[mean.argmax(axis=1)])
    return Dropout(
        averaged, entropy, disagreement,
        _dropout_table(plain, averaged, entropy, subset=subset, seed=seed, n_boot=n_boot),
    )  # fmt: skip


def entropy_of(shares: np.ndarray) -> np.ndarray:
    """Entropy over the last axis, in nats."""
    return -(shares * np.log(np.clip(shares, _SMALLEST, 1))).sum(axis=-1)


def _dropout_table(plain, averaged, entropy, *, subset: str, seed: int, n_boot: int) -> pd.DataFrame:
    runs = {"dropout": averaged, "plain": plain}
    records = []
    for name in ("accuracy", "log_loss", "brier"):
        found = comparison.compare(runs, metric=name, subset=subset, seed=seed, n_boot=n_boot)
        pair = found.pairs[found.pairs["test"] == "paired bootstrap"].iloc[0]
        value = found.runs.set_index("run")["value"]
        records.append((name, value["plain"], value["dropout"], pair.difference, pair.low, pair.high, pair.p))
    with_dropout, without = (metrics.rows_of(t, subset=None) for t in (averaged, plain))
    areas = [
        area_under_risk_coverage(with_dropout, entropy),
        area_under_risk_coverage(without, 1 - confidence_of(without)),
    ]
    found = significance.paired_bootstrap(
        lambda w: areas[0](w) - areas[1](w), without.n_units, seed=seed, n_boot=n_boot
    )
    whole = np.ones((1, without.n_units))
    records.append(
        (
            "risk_coverage",
            areas[1](whole)[0],
            areas[0](whole)[0],
            found.difference,
            found.low,
            found.high,
            found.p,
        )
    )
    columns = ["metric", "plain", "dropout", "difference", "low", "high", "p"]
    table = pd.DataFrame(records, columns=columns)
    better = np.where(table["metric"] == "accuracy", table["low"] > 0, table["high"] < 0)
    worse = np.where(table["metric"] == "accuracy", table["high"] < 0, table["low"] > 0)
    return table.assign(verdict=np.select([better, worse], ["helps", "harms"], "no difference seen"))


def _classes_of(predictions: pd.DataFrame, subset: str | None) -> Rows:
    rows = metrics.rows_of(predictions, subset=subset)
    if not rows.classes:
        raise PredictionsError("the table holds numbers; calibration needs columns 'p:NAME'")
    return rows


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


def _mean_statistic(values: np.ndarray, rows: Rows) -> intervals.Statistic:
    totals = np.column_stack([np.bincount(rows.units, weights=values), np.bincount(rows.units).astype(float)])

    def mean(weights: np.ndarray) -> np.ndarray:
        total, count = (weights @ totals).T
        return total / count

    return mean


def _with_probabilities(predictions: pd.DataFrame, shares: np.ndarray) -> pd.DataFrame:
    names = [tables.PROBABILITY + name for name in tables.class_names(predictions)]
    return predictions.assign(**dict(zip(names, shares.T, strict=True)))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _conformal_limit(score: np.ndarray, promise: float) -> float:
    rank = int(np.ceil((len(score) + 1) * promise))
    return float(np.sort(score)[rank - 1]) if rank <= len(score) else np.inf

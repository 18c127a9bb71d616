"""Metrics with intervals, computed from a table of predictions.

Every metric is a `Metric`: row by row terms that are added up and combined (accuracy, F1, log loss,
MAE ...), or ranks (AUC). Both can be computed under many weightings of the units at once, which is
what bootstrap intervals, paired comparisons and group gaps are made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from faceworkbook import faces
from faceworkbook.evaluation import intervals
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.predictions import PredictionsError

# Resamples that are ranked at once: keeps the working set small enough for a processor's cache.
_CHUNK = 250
_AGE_GROUP = re.compile(r"\d+\s*[-–]\s*\d+|more than \d+|\d+\+|\(\d+, ?\d+\)")


@dataclass(frozen=True)
class Rows:
    """The rows of one subset of a predictions table, as arrays.

    Attributes
    ----------
    face_id : ndarray of shape (n,)
    units : ndarray of shape (n,), int
        Resampling unit of each row (person, or face where the person is unknown).
    by_identity : bool
        Whether any unit is a person.
    classes : tuple of str
        Class names in order; empty for numbers.
    truth, predicted : ndarray of shape (n,)
        Codes into `classes`, or numbers.
    probabilities : ndarray of shape (n, n_classes), range 0..1
    """

    face_id: np.ndarray
    units: np.ndarray
    by_identity: bool
    classes: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def n_units(self) -> int:
        return int(self.units.max()) + 1 if len(self.units) else 0

    @property
    def n_faces(self) -> int:
        return len(np.unique(self.face_id))

    def take(self, chosen: np.ndarray) -> Rows:
        """The chosen rows (mask or positions); units keep their numbers."""
        return replace(
            self,
            **{
                name: getattr(self, name)[chosen]
                for name in ("face_id", "units", "truth", "predicted", "probabilities")
            },
        )


@dataclass(frozen=True)
class Metric:
    """One metric: its name, which way is better, and how it is computed.

    Attributes
    ----------
    name, meaning : str
    better : {'higher', 'lower', 'zero'}
    proportion : bool
        A plain share of rows, for which Wilson's interval holds where rows are independent.
    terms : callable, from `Rows` to ndarray of shape (n, k)
        What each row adds.
    combine : callable, from ndarray of shape (..., k) to (...)
        From the added terms to the metric; None for a metric of ranks (AUC).
    """

    name: str
    meaning: str
    better: str
    terms: Callable[[Rows], np.ndarray]
    combine: Callable[[np.ndarray], np.ndarray] | None
    proportion: bool = False

    def statistic(self, rows: Rows, *, n_units: int | None = None) -> intervals.Statistic:
        """The metric as a function of weights: (b, n_units) to (b,)."""
        n_units = rows.n_units if n_units is None else n_units
        terms = self.terms(rows)
        if self.combine is None:
            return _weighted_auc(terms, rows.units, n_units)
        present, inverse = np.unique(rows.units, return_inverse=True)
        totals = np.zeros((len(present), terms.shape[1]))
        np.add.at(totals, inverse, terms)
        return lambda weights: _ignore_empty(self.combine, weights[:, present] @ totals.astype(weights.dtype))

    def value(self, rows: Rows) -> float:
        """The metric on the rows as they are; NaN where it is undefined (no rows, a class missing)."""
        return float(self.statistic(rows)(np.ones((1, rows.n_units)))[0]) if len(rows.units) else np.nan


def rows_of(predictions: pd.DataFrame, *, subset: str | None = "test") -> Rows:
    """Read the rows of one subset ('train', 'validation', 'test'; None for all) into arrays.

    Raises
    ------
    PredictionsError
        No such rows, a row without truth, a truth that is no class of the table.
    """
    chosen = predictions if subset is None else predictions[predictions["split"] == subset]
    if chosen.empty:
        raise PredictionsError(
            f"no rows of subset {subset!r}; the table has {sorted(predictions['split'].unique())}"
        )
    unknown = chosen["truth"].isna() | chosen["predicted"].isna()
    if unknown.any():
        raise PredictionsError(
            f"{int(unknown.sum())} of {len(chosen)} rows of subset {subset!r} lack truth or prediction "
            f"(first: {chosen.loc[unknown, 'face_id'].iloc[0]!r}); leave them out and count them first"
        )
    classes = tuple(tables.class_names(chosen))
    truth, predicted = (_codes(chosen[column], classes) for column in ("truth", "predicted"))
    return Rows(
        face_id=chosen["face_id"].astype(str).to_numpy(),
        units=intervals.resampling_units(chosen),
        by_identity=bool(chosen["identity"].notna().any()),
        classes=classes,
        truth=truth,
        predicted=predicted,
        probabilities=tables.probabilities(chosen),
    )


def metrics_for(classes: Sequence[str]) -> dict[str, Metric]:
    """The metrics that apply to a table with these classes (none: numbers), by name, in report order."""
    if not classes:
        return {m.name: m for m in _NUMBER_METRICS}
    found = [ACCURACY, ERROR, BALANCED_ACCURACY, MACRO_F1]
    if len(classes) == 2:
        found.append(replace(F1, meaning=f"F1 of {classes[1]}"))
    found += [AUC, LOG_LOSS, BRIER]
    if are_years(classes):
        found += [RELAXED_AGE, EXPECTED_MAE]
    elif are_age_groups(classes):
        found.append(ONE_OFF)
    return {m.name: m for m in found}


def pick(name: str, classes: Sequence[str]) -> Metric:
    """One metric by name; ValueError that lists the allowed names."""
    allowed = metrics_for(classes)
    if name not in allowed:
        kind = f"classes {list(classes)[:6]}" if classes else "numbers"
        raise ValueError(f"metric={name!r} is not defined for {kind}; allowed are {list(allowed)}")
    return allowed[name]


def summary(
    predictions: pd.DataFrame,
    *,
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Every metric with its 95 % interval.

    Parameters
    ----------
    predictions : pandas.DataFrame
        See `faceworkbook.evaluation.predictions`.
    names : sequence of str, optional
        Metrics to compute; by default all that apply.

    Returns
    -------
    pandas.DataFrame
        metric, value, low, high, n (faces), n_identities (NA where none is known), method, meaning.
        Shares of independent faces get Wilson's interval, all else a bootstrap over people (over
        faces where people are unknown).
    """
    rows = rows_of(predictions, subset=subset)
    chosen = [pick(name, rows.classes) for name in names or default_names(rows)]
    statistics = [metric.statistic(rows) for metric in chosen]
    estimate = intervals.bootstrap(
        lambda weights: np.column_stack([s(weights) for s in statistics]),
        rows.n_units,
        n_boot=n_boot,
        seed=seed,
    )
    records = [
        _record(metric, rows, *figures)
        for metric, *figures in zip(chosen, estimate.value, estimate.low, estimate.high, strict=True)
    ]
    return pd.DataFrame(records).astype({"n_identities": "Int64"})


def summaries(models: dict[str, pd.DataFrame], **options) -> pd.DataFrame:
    """`summary` of several models' predictions below each other; the first column ``model`` names them."""
    parts = [summary(table, **options).assign(model=name) for name, table in models.items()]
    joined = pd.concat(parts, ignore_index=True)
    return joined[["model", *joined.columns.drop("model")]]


def per_class(
    predictions: pd.DataFrame, *, subset: str = "test", seed: int = 0, n_boot: int = intervals.N_BOOT
) -> pd.DataFrame:
    """Precision, recall and F1 of every class with 95 % intervals.

    Returns
    -------
    pandas.DataFrame
        class, support (rows of that truth), predicted (rows predicted so), and for each of precision,
        recall, f1 the value, ``_low`` and ``_high``; NaN where a class has no rows.
    """
    rows = _need_classes(rows_of(predictions, subset=subset))
    k = len(rows.classes)
    metric = Metric("per_class", "", "higher", _class_counts, _precision_recall_f1)
    estimate = intervals.bootstrap(metric.statistic(rows), rows.n_units, n_boot=n_boot, seed=seed)
    _, true, said = (counts.astype(int) for counts in np.split(_class_counts(rows).sum(axis=0), 3))
    table = pd.DataFrame({"class": rows.classes, "support": true, "predicted": said})
    for i, (name, of) in enumerate({"precision": said, "recall": true, "f1": None}.items()):
        part_of = slice(i * k, (i + 1) * k)
        low, high = estimate.low[part_of], estimate.high[part_of]
        if of is not None:
            low, high = _widen_shares(rows, estimate.value[part_of], of, low, high)
        table[name], table[f"{name}_low"], table[f"{name}_high"] = estimate.value[part_of], low, high
    return table


def confusion(predictions: pd.DataFrame, *, subset: str = "test") -> pd.DataFrame:
    """Counts of rows by truth (index) and prediction (columns), both in class order."""
    rows = _need_classes(rows_of(predictions, subset=subset))
    k = len(rows.classes)
    counts = np.bincount(rows.truth * k + rows.predicted, minlength=k * k).reshape(k, k)
    return pd.DataFrame(
        counts, index=pd.Index(rows.classes, name="truth"), columns=pd.Index(rows.classes, name="predicted")
    )


def expectation(predictions: pd.DataFrame) -> pd.DataFrame:
    """Read classes of single years as a number: the mean of the years under the probabilities.

    Returns
    -------
    pandas.DataFrame
        A predictions table of numbers (years), for `summary` and the plots of age errors.
    """
    classes = tables.class_names(predictions)
    if not are_years(classes):
        raise PredictionsError(f"classes {classes[:6]} are not single years; expected names such as '31'")
    years = np.array([float(name) for name in classes])
    kept = predictions[list(tables.KEYS)]
    return kept.assign(
        truth=pd.to_numeric(predictions["truth"]).astype(float),
        predicted=tables.probabilities(predictions) @ years,
    )


def are_years(classes: Sequence[str]) -> bool:
    """Whether the class names are single years of age, such as '31'."""
    return len(classes) > 2 and all(re.fullmatch(r"\d{1,3}(\.0)?", name) for name in classes)


def are_age_groups(classes: Sequence[str]) -> bool:
    """Whether the class names are ranges of age in order, such as '25-32' or 'more than 70'."""
    return len(classes) > 2 and all(_AGE_GROUP.fullmatch(name) for name in classes)


def bounds(name: str) -> tuple[float, float]:
    """Least and largest value that a metric can have; shares of faces lie in 0..1."""
    losses = ("mae", "rmse", "log_loss", "brier", EXPECTED_MAE.name)
    free = {"bias": (-np.inf, np.inf), "r2": (-np.inf, 1.0)} | dict.fromkeys(losses, (0.0, np.inf))
    return free.get(name, (0.0, 1.0))


def default_names(rows: Rows) -> list[str]:
    """Names of the metrics that a report shows for these rows."""
    names = list(metrics_for(rows.classes))
    # A yaw can be negative, an age cannot.
    signed = not rows.classes and rows.truth.min() < 0
    return [name for name in names if name != ERROR.name and not (signed and name == RELAXED_AGE.name)]


def _codes(labels: pd.Series, classes: tuple[str, ...]) -> np.ndarray:
    if not classes:
        return labels.to_numpy(dtype=float)
    names = labels.astype(str)
    codes = pd.Index(classes).get_indexer(names)
    if (codes < 0).any():
        strange = sorted(set(names[codes < 0]))
        raise PredictionsError(
            f"column {labels.name!r} holds {strange[:5]}, which are no classes of the table: {list(classes)}"
        )
    return codes


def _need_classes(rows: Rows) -> Rows:
    if not rows.classes:
        raise PredictionsError("the table holds numbers; per-class figures need columns 'p:NAME'")
    return rows


def estimate(
    metric: Metric,
    rows: Rows,
    *,
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    confidence: float = intervals.CONFIDENCE,
) -> tuple[float, float, float, str]:
    """One metric on these rows: value, low, high and how the interval was made; NaN without rows."""
    if not len(rows.units):
        return np.nan, np.nan, np.nan, "no rows"
    rows = replace(rows, units=np.unique(rows.units, return_inverse=True)[1])
    if metric.proportion and rows.n_units == len(rows.units):
        value = metric.value(rows)
        return _finish(metric, rows, value, np.nan, np.nan, confidence=confidence)
    found = intervals.bootstrap(
        metric.statistic(rows), rows.n_units, n_boot=n_boot, seed=seed, confidence=confidence
    )
    return _finish(metric, rows, found.value[0], found.low[0], found.high[0], confidence=confidence)


def _finish(metric: Metric, rows: Rows, value: float, low: float, high: float, *, confidence: float):
    """Replace a bootstrap interval by Wilson's where that one is right, and name the method."""
    unit = "identity" if rows.by_identity else "face"
    independent = rows.n_units == len(rows.units)
    if not metric.proportion or not (independent or np.isnan(low)):
        return value, low, high, f"bootstrap by {unit} (BCa)"
    # All right or all wrong: no resample differs, so people are counted as if each were one face.
    low, high = intervals.wilson(value * rows.n_units, rows.n_units, confidence=confidence)
    method = "Wilson" if independent else f"Wilson over {rows.n_units} {_plural(unit)}"
    return value, float(low), float(high), method


def _record(metric: Metric, rows: Rows, value: float, low: float, high: float) -> dict:
    value, low, high, method = _finish(metric, rows, value, low, high, confidence=intervals.CONFIDENCE)
    return {
        "metric": metric.name,
        "value": value,
        "low": low,
        "high": high,
        "n": rows.n_faces,
        "n_identities": rows.n_units if rows.by_identity else pd.NA,
        "method": method,
        "meaning": metric.meaning,
    }


def _plural(unit: str) -> str:
    return "identities" if unit == "identity" else "faces"


def _widen_shares(rows: Rows, share: np.ndarray, of: np.ndarray, low: np.ndarray, high: np.ndarray):
    """Wilson for independent faces; also where every resample agrees, over the units there are."""
    independent = rows.n_units == len(rows.units)
    faces_a_unit = len(rows.units) / rows.n_units
    n = of if independent else np.ceil(of / faces_a_unit)
    w_low, w_high = intervals.wilson(np.nan_to_num(share) * n, n)
    use = np.full(len(share), independent) | ~np.isfinite(low)
    return np.where(use, w_low, low), np.where(use, w_high, high)


def _ignore_empty(combine, totals: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return combine(totals)


def _share(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def _root_share(totals: np.ndarray) -> np.ndarray:
    return np.sqrt(_share(totals))


def _with_count(terms: np.ndarray) -> np.ndarray:
    return np.column_stack([np.asarray(terms, dtype=float), np.ones(len(terms))])


def _mean_of(of: Callable[[Rows], np.ndarray]) -> Callable[[Rows], np.ndarray]:
    return lambda rows: _with_count(of(rows))


def _class_counts(rows: Rows) -> np.ndarray:
    """Hits, truths and predictions, one column a class each: ndarray of shape (n, 3 * n_classes)."""
    eye = np.eye(len(rows.classes))
    true, said = eye[rows.truth], eye[rows.predicted]
    return np.concatenate([true * said, true, said], axis=1)


def _precision_recall_f1(totals: np.ndarray) -> np.ndarray:
    hit, true, said = np.split(totals, 3, axis=-1)
    return np.concatenate([hit / said, hit / true, 2 * hit / (true + said)], axis=-1)


def _mean_known(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)


def _mean_recall(totals: np.ndarray) -> np.ndarray:
    hit, true, _ = np.split(totals, 3, axis=-1)
    return _mean_known(hit / true)


def _mean_f1(totals: np.ndarray) -> np.ndarray:
    hit, true, said = np.split(totals, 3, axis=-1)
    return _mean_known(2 * hit / (true + said))


def _f1_of_second(totals: np.ndarray) -> np.ndarray:
    hit, true, said = (subset[..., 1] for subset in np.split(totals, 3, axis=-1))
    return 2 * hit / (true + said)


def _log_loss(rows: Rows) -> np.ndarray:
    smallest = np.finfo(np.float64).eps
    return -np.log(np.clip(rows.probabilities[np.arange(len(rows.truth)), rows.truth], smallest, 1))


def _brier(rows: Rows) -> np.ndarray:
    squares = ((rows.probabilities - np.eye(len(rows.classes))[rows.truth]) ** 2).sum(axis=1)
    return squares / 2 if len(rows.classes) == 2 else squares


def _auc_terms(rows: Rows) -> np.ndarray:
    """Score and membership of each class; of the second alone where there are two."""
    members = np.eye(len(rows.classes))[rows.truth]
    if len(rows.classes) == 2:
        return np.column_stack([rows.probabilities[:, 1], members[:, 1]])
    return np.concatenate([rows.probabilities, members], axis=1)


def _weighted_auc(terms: np.ndarray, units: np.ndarray, n_units: int) -> intervals.Statistic:
    """Mean over classes of the AUC of one against the rest, as a function of weights."""
    scores, members = np.split(terms, 2, axis=1)
    known = [j for j in range(scores.shape[1]) if 0 < members[:, j].sum() < len(members)]
    pairs = [_ladder(scores[:, j], members[:, j] > 0, units, n_units) for j in known]

    def on_chunk(weights: np.ndarray) -> np.ndarray:
        columns = np.ascontiguousarray(weights.T)
        each = [_auc_on(*pair, columns) for pair in pairs] or [np.full(len(weights), np.nan)]
        return _ignore_empty(_mean_known, np.column_stack(each))

    return lambda weights: np.concatenate(
        [on_chunk(weights[start : start + _CHUNK]) for start in range(0, len(weights), _CHUNK)]
    )


def _ladder(score: np.ndarray, positive: np.ndarray, units: np.ndarray, n_units: int):
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


def _error(rows: Rows) -> np.ndarray:
    return rows.predicted - rows.truth


def _r2_terms(rows: Rows) -> np.ndarray:
    centred = rows.truth - rows.truth.mean()
    return np.column_stack([_error(rows) ** 2, centred**2, centred, np.ones(len(centred))])


def _r2(totals: np.ndarray) -> np.ndarray:
    error, square, total, n = np.moveaxis(totals, -1, 0)
    return 1 - error / (square - total**2 / n)


def _years(rows: Rows) -> np.ndarray:
    return np.array([float(name) for name in rows.classes])


def _expected_years(rows: Rows) -> np.ndarray:
    return rows.probabilities @ _years(rows)


def _same_age_bin(rows: Rows) -> np.ndarray:
    truth = _years(rows)[rows.truth] if rows.classes else rows.truth
    predicted = _years(rows)[rows.predicted] if rows.classes else rows.predicted
    edges = faces.AGE_EDGES_ADIENCE[1:]
    return np.digitize(truth, edges) == np.digitize(predicted, edges)


def _share_metric(name: str, meaning: str, of: Callable[[Rows], np.ndarray]) -> Metric:
    return Metric(name, meaning, "higher", _mean_of(of), _share, proportion=True)


ACCURACY = _share_metric("accuracy", "share of faces predicted right", lambda r: r.truth == r.predicted)
ERROR = replace(
    _share_metric("error", "share of faces predicted wrong", lambda r: r.truth != r.predicted), better="lower"
)
ONE_OFF = _share_metric(
    "one_off", "share predicted in the right or a neighbouring group", lambda r: np.abs(_error(r)) <= 1
)
RELAXED_AGE = _share_metric(
    "relaxed_age", "share whose age falls into the same bin (3, 7, 13.5, 22.5, 35, 45.5, 56.5)", _same_age_bin
)
BALANCED_ACCURACY = Metric(
    "balanced_accuracy", "mean recall of the classes", "higher", _class_counts, _mean_recall
)
MACRO_F1 = Metric("macro_f1", "mean F1 of the classes", "higher", _class_counts, _mean_f1)
F1 = Metric("f1", "F1 of the second class", "higher", _class_counts, _f1_of_second)
AUC = Metric("auc", "area under the ROC curve (mean of one against the rest)", "higher", _auc_terms, None)
LOG_LOSS = Metric(
    "log_loss", "mean negative log probability of the truth", "lower", _mean_of(_log_loss), _share
)
BRIER = Metric("brier", "mean squared error of the probabilities", "lower", _mean_of(_brier), _share)
EXPECTED_MAE = Metric(
    "expected_mae",
    "mean absolute error of the expected age (years)",
    "lower",
    _mean_of(lambda r: np.abs(_expected_years(r) - _years(r)[r.truth])),
    _share,
)
_NUMBER_METRICS = (
    Metric("mae", "mean absolute error", "lower", _mean_of(lambda r: np.abs(_error(r))), _share),
    Metric("rmse", "root mean squared error", "lower", _mean_of(lambda r: _error(r) ** 2), _root_share),
    Metric("bias", "mean error (predicted - truth)", "zero", _mean_of(_error), _share),
    Metric("r2", "share of variance explained", "higher", _r2_terms, _r2),
    _share_metric("within_5", "share within 5", lambda r: np.abs(_error(r)) <= 5),
    _share_metric("within_10", "share within 10", lambda r: np.abs(_error(r)) <= 10),
    RELAXED_AGE,
)

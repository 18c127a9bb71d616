"""The metrics: what each row adds and how that becomes a figure, or ranks, or any function of one's own.

A `Metric` can be computed under many weightings of the resampling units at once; that is what bootstrap
intervals, paired comparisons and gaps between groups are made of.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from faceworkbook import faces
from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.ranks import auc_contributions, auc_terms, weighted_auc
from faceworkbook.evaluation.rows import Rows, mean_known, members
from faceworkbook.evaluation.standard_errors import effective_units
from faceworkbook.tasks import ORDERED, Task

GRADIENT_ROWS = 512  # totals that are moved at once, for the memory


@dataclass(frozen=True)
class Metric:
    """One metric: its name, which direction is better, and how it is computed.

    Attributes
    ----------
    name, meaning : str
    better : {'higher', 'lower', 'zero'}
    terms : callable, from `Rows` to ndarray of shape (n, k)
        What each row adds.
    combine : callable, from ndarray of shape (..., k) to (...), optional
        From the added terms to the metric; None for a metric of ranks (AUC).
    proportion : bool
        A share, for which Wilson's interval holds where rows are independent and each adds 0 or 1; also where no
        resample differs.
    bounds : (float, float)
        Least and largest value that it can have.
    """

    name: str
    meaning: str
    better: str
    terms: Callable[[Rows], np.ndarray]
    combine: Callable[[np.ndarray], np.ndarray] | None
    proportion: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def difference_bounds(self) -> tuple[float, float]:
        """Least and largest difference between two values."""
        low, high = self.bounds
        return low - high, high - low

    def statistic(self, rows: Rows, *, n_units: int | None = None) -> intervals.Statistic:
        """Return the metric as a function of weights: (b, n_units) to (b,)."""
        n_units = rows.n_units if n_units is None else n_units
        terms = self.terms(rows)
        if self.combine is None:
            return weighted_auc(terms, rows.units, n_units)
        present, inverse = np.unique(rows.units, return_inverse=True)
        totals = np.zeros((len(present), terms.shape[1]))
        np.add.at(totals, inverse, terms)
        return lambda weights: _ignore_empty(self.combine, weights[:, present] @ totals.astype(weights.dtype))

    def contributions(self, rows: Rows) -> np.ndarray:
        """Return what each row contributes to the deviation from the truth, ndarray of shape (n, n_figures).

        Linearised: terms times the gradient of `combine` at their totals.
        """
        terms = self.terms(rows)
        if self.combine is None:
            return auc_contributions(terms)[:, None]
        return linearise(terms, self.combine)[1]

    def wilson_count(self, rows: Rows) -> float:
        """Number of faces that Wilson's interval of a share counts; 0 where that interval does not hold.

        It holds where units are right or wrong as a whole and of one size, as independent faces are, and a set
        that was unpacked several times over. It holds too for pictures of which some have copies: these count as
        (sum m)^2 / sum m^2 pictures of m copies each (Kish 1965), which covers whatever copies have in common.
        """
        if not self.proportion or not len(rows.units):
            return 0.0
        sizes, right = np.bincount(rows.units), self.terms(rows)[:, 0]
        whole = (sizes == sizes[0]).all() and np.isin(np.bincount(rows.units, right), (0, sizes[0])).all()
        copied = rows.counted == "pictures" and np.isin(right, (0, 1)).all()
        return effective_units(rows.units, np.arange(len(rows.units))) if whole or copied else 0.0

    def value(self, rows: Rows) -> float:
        """Return the metric on the rows as they are; NaN where it is undefined (no rows, a class missing)."""
        return float(self.statistic(rows)(np.ones((1, rows.n_units)))[0]) if len(rows.units) else np.nan


@dataclass(frozen=True, kw_only=True)
class FunctionMetric(Metric):
    """A metric of one's own: any function of truth, prediction and probabilities, computed on each resample."""

    function: Callable[..., float]

    def statistic(self, rows: Rows, *, n_units: int | None = None) -> intervals.Statistic:
        """Return the metric as a function of weights; rows are repeated as often as their unit was drawn."""
        columns = [names_of(values, rows.task) for values in (rows.truth, rows.predicted)]
        if _takes_probabilities(self.function):
            columns.append(rows.probabilities)

        def value(weights: np.ndarray) -> float:
            drawn = np.repeat(np.arange(len(rows.units)), np.round(weights[rows.units]).astype(int))
            return float(self.function(*(column[drawn] for column in columns))) if len(drawn) else np.nan

        return lambda weights: np.array([value(row) for row in weights])


def _takes_probabilities(function: Callable) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some functions that are written in C show no signature
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters.values() if p.kind in positional and p.default is p.empty]
    return len(needed) > 2 or "probabilities" in parameters


def _has_its_inputs(metric: Metric, task: Task) -> bool:
    return task.has_probabilities or not (
        isinstance(metric, FunctionMetric) and _takes_probabilities(metric.function)
    )


def names_of(values: np.ndarray, task: Task) -> np.ndarray:
    """Return class names of codes; numbers, and the 0 and 1 of several labels, stay as they are."""
    return np.asarray(task.classes, dtype=object)[values] if task.is_exclusive else values


_REGISTERED: dict[str, tuple[Metric, Callable[[Task], bool]]] = {}


def register(
    name: str,
    function: Callable | Metric,
    *,
    better: str = "higher",
    bounds: tuple[float, float] = (0.0, 1.0),
    applies: Callable[[Task], bool] | None = None,
) -> None:
    """Make a metric of one's own known by name to every summary, comparison and group table.

    Parameters
    ----------
    name : str
        None of the built-in ones; a metric that was registered by it before is replaced.
    function : callable or Metric
        From truth and prediction to a number, as scikit-learn's metrics are: class names or numbers of shape (n,),
        or 0 and 1 of shape (n, n_labels). It is handed probabilities (n, n_classes) too where it has a third
        argument, or one named ``probabilities``. It is called once a resample; a `Metric` made of sums is quicker.
    better : {'higher', 'lower', 'zero'}
    bounds : (float, float)
        Least and largest value.
    applies : callable, optional
        From a `Task` to whether the metric is defined for it; all tasks where None.
    """
    if better not in ("higher", "lower", "zero"):
        raise ValueError(f"better={better!r}; allowed are 'higher', 'lower' and 'zero'")
    if name in {metric.name for metric in _BUILT_IN}:
        raise ValueError(f"metric {name!r} is built in; register yours by another name")
    if isinstance(function, Metric):
        metric = replace(function, name=name)
    else:
        metric = FunctionMetric(
            name=name,
            meaning=name.replace("_", " "),
            better=better,
            terms=lambda rows: rows.truth,
            combine=None,
            bounds=bounds,
            function=function,
        )
    _REGISTERED[name] = (metric, applies or (lambda task: True))


def metrics_for(task: Task) -> dict[str, Metric]:
    """Return the metrics that apply to a task, by name, in report order; those of one's own last."""
    own = [m for m, applies in _REGISTERED.values() if applies(task) and _has_its_inputs(m, task)]
    return {metric.name: metric for metric in [*built_in_metrics(task), *own]}


def built_in_metrics(task: Task) -> list[Metric]:
    """Return the metrics of a task that are not registered, in report order."""
    if task.is_number:
        return [*_NUMBER_METRICS, *([RELAXED_AGE] if task.unit == "years" else [])]
    if task.is_multilabel:
        return [*_MULTILABEL_METRICS]
    metrics = [ACCURACY, ERROR, BALANCED_ACCURACY, MACRO_F1]
    if task.is_binary:
        metrics.append(replace(F1, meaning=f"F1 of {task.classes[1]}"))
    if task.has_probabilities:
        metrics += [AUC, LOG_LOSS, BRIER]
    if task.class_values and task.has_probabilities:
        metrics += [RELAXED_AGE, EXPECTED_MAE] if task.unit == "years" else [EXPECTED_MAE]
    elif task.kind == ORDERED and len(task.classes) > 2:
        metrics.append(ONE_OFF)
    return metrics


def pick(name: str, task: Task) -> Metric:
    """Return one metric by name; ValueError that lists the allowed names."""
    allowed = metrics_for(task)
    if name not in allowed:
        without = "" if task.has_probabilities else " without probabilities"
        what = f"classes {list(task.classes)[:6]}{without}" if task.classes else "numbers"
        raise ValueError(f"metric={name!r} is not defined for {what}; allowed are {list(allowed)}")
    return allowed[name]


def names() -> list[str]:
    """Return the names of all metrics, whatever task they are for."""
    return [metric.name for metric in (*_BUILT_IN, *(metric for metric, _ in _REGISTERED.values()))]


def find(name: str) -> Metric | None:
    """Return the metric of that name, whatever task it is for; None where there is none."""
    known = [*_BUILT_IN, *(metric for metric, _ in _REGISTERED.values())]
    return next((metric for metric in known if metric.name == name), None)


def bounds(name: str) -> tuple[float, float]:
    """Return the least and largest value that a metric can have; shares of faces lie in 0..1."""
    metric = find(name)
    return metric.bounds if metric else (-np.inf, np.inf)


# --------------------------------------------------------------------------- terms and how they combine


def linearise(terms: np.ndarray, combine: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Return what the totals of terms combine to, and what each row contributes to it.

    Parameters
    ----------
    terms : ndarray of shape (n, t), float
    combine : callable
        From totals (..., t) to figures.

    Returns
    -------
    values : ndarray
    contributions : ndarray of shape (n, n_figures)
        Terms times the gradient of `combine` at their totals.
    """
    totals = terms.sum(axis=0)
    step = 1e-6 * np.maximum(np.abs(totals), 1.0)
    gradients = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(0, len(totals), GRADIENT_ROWS):
            moved = np.zeros((min(GRADIENT_ROWS, len(totals) - start), len(totals)))
            moved[np.arange(len(moved)), start + np.arange(len(moved))] = step[start : start + len(moved)]
            change = combine(totals + moved) - combine(totals - moved)
            gradients.append(change.reshape(len(moved), -1))
        values = combine(totals)
    gradient = np.concatenate(gradients) / (2 * step[:, None])
    # A class that no row bears or is predicted: nothing is added, and 0 / 0 has no gradient.
    gradient[~terms.any(axis=0)] = 0
    return values, terms @ gradient


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


def class_counts(rows: Rows) -> np.ndarray:
    """Hits, truths and predictions, one column a class each: ndarray of shape (n, 3 * n_classes)."""
    true, predicted = members(rows, rows.truth), members(rows, rows.predicted)
    return np.concatenate([true * predicted, true, predicted], axis=1)


def precision_recall_f1(totals: np.ndarray) -> np.ndarray:
    hit, true, predicted = np.split(totals, 3, axis=-1)
    return np.concatenate([hit / predicted, hit / true, 2 * hit / (true + predicted)], axis=-1)


def _mean_recall(totals: np.ndarray) -> np.ndarray:
    hit, true, _ = np.split(totals, 3, axis=-1)
    return mean_known(hit / true)


def _mean_f1(totals: np.ndarray) -> np.ndarray:
    hit, true, predicted = np.split(totals, 3, axis=-1)
    return mean_known(2 * hit / (true + predicted))


def _f1_of_second(totals: np.ndarray) -> np.ndarray:
    hit, true, predicted = (subset[..., 1] for subset in np.split(totals, 3, axis=-1))
    return 2 * hit / (true + predicted)


def _log_loss(rows: Rows) -> np.ndarray:
    smallest = np.finfo(np.float64).eps
    if rows.task.is_multilabel:
        right = np.where(rows.truth == 1, rows.probabilities, 1 - rows.probabilities)
        return -np.log(np.clip(right, smallest, 1)).mean(axis=1)
    return -np.log(np.clip(rows.probabilities[np.arange(len(rows.truth)), rows.truth], smallest, 1))


def _brier(rows: Rows) -> np.ndarray:
    if rows.task.is_multilabel:
        return ((rows.probabilities - rows.truth) ** 2).mean(axis=1)
    squares = ((rows.probabilities - np.eye(len(rows.classes))[rows.truth]) ** 2).sum(axis=1)
    return squares / 2 if len(rows.classes) == 2 else squares


def _error(rows: Rows) -> np.ndarray:
    return rows.predicted - rows.truth


def _r2_terms(rows: Rows) -> np.ndarray:
    centred = rows.truth - rows.truth.mean()
    return np.column_stack([_error(rows) ** 2, centred**2, centred, np.ones(len(centred))])


def _r2(totals: np.ndarray) -> np.ndarray:
    error, square, total, n = np.moveaxis(totals, -1, 0)
    return 1 - error / (square - total**2 / n)


def _years(rows: Rows) -> np.ndarray:
    return np.array(rows.task.class_values)


def _expected_years(rows: Rows) -> np.ndarray:
    return rows.probabilities @ _years(rows)


def _same_age_bin(rows: Rows) -> np.ndarray:
    truth = _years(rows)[rows.truth] if rows.classes else rows.truth
    predicted = _years(rows)[rows.predicted] if rows.classes else rows.predicted
    edges = faces.AGE_EDGES_ADIENCE[1:]
    return np.digitize(truth, edges) == np.digitize(predicted, edges)


def _share_metric(name: str, meaning: str, of: Callable[[Rows], np.ndarray]) -> Metric:
    return Metric(name, meaning, "higher", _mean_of(of), _share, proportion=True)


INF = float("inf")
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
    "balanced_accuracy", "mean recall of the classes", "higher", class_counts, _mean_recall
)
MACRO_F1 = Metric("macro_f1", "mean F1 of the classes", "higher", class_counts, _mean_f1)
F1 = Metric("f1", "F1 of the second class", "higher", class_counts, _f1_of_second)
AUC = Metric("auc", "area under the ROC curve (mean of one against the rest)", "higher", auc_terms, None)
LOG_LOSS = Metric(
    "log_loss",
    "mean negative log probability of the truth",
    "lower",
    _mean_of(_log_loss),
    _share,
    bounds=(0, INF),
)
BRIER = Metric(
    "brier", "mean squared error of the probabilities", "lower", _mean_of(_brier), _share, bounds=(0, 2)
)
EXPECTED_MAE = Metric(
    "expected_mae",
    "mean absolute error of the number expected under the probabilities",
    "lower",
    _mean_of(lambda r: np.abs(_expected_years(r) - _years(r)[r.truth])),
    _share,
    bounds=(0, INF),
)
_CLASS_METRICS = (
    ACCURACY, ERROR, BALANCED_ACCURACY, MACRO_F1, F1, AUC, LOG_LOSS, BRIER, RELAXED_AGE, EXPECTED_MAE, ONE_OFF,
)  # fmt: skip
_MULTILABEL_METRICS = (
    Metric(
        "accuracy",
        "share of labels predicted right (mean over labels)",
        "higher",
        _mean_of(lambda r: (r.truth == r.predicted).mean(axis=1)),
        _share,
        proportion=True,
    ),
    Metric(
        "error",
        "share of labels predicted wrong (mean over labels)",
        "lower",
        _mean_of(lambda r: (r.truth != r.predicted).mean(axis=1)),
        _share,
        proportion=True,
    ),
    _share_metric("exact_match", "share of faces with all labels right", lambda r: r.right),
    replace(MACRO_F1, meaning="mean F1 of 'yes' over the labels"),
    replace(AUC, meaning="mean area under the ROC curve over the labels"),
    replace(LOG_LOSS, meaning="mean log loss over the labels"),
    replace(BRIER, meaning="mean squared error of the probabilities over the labels"),
)
_NUMBER_METRICS = (
    Metric(
        "mae", "mean absolute error", "lower", _mean_of(lambda r: np.abs(_error(r))), _share, bounds=(0, INF)
    ),
    Metric(
        "rmse",
        "root mean squared error",
        "lower",
        _mean_of(lambda r: _error(r) ** 2),
        _root_share,
        bounds=(0, INF),
    ),
    Metric("bias", "mean error (predicted - truth)", "zero", _mean_of(_error), _share, bounds=(-INF, INF)),
    Metric("r2", "share of variance explained", "higher", _r2_terms, _r2, bounds=(-INF, 1)),
    _share_metric("within_5", "share within 5", lambda r: np.abs(_error(r)) <= 5),
    _share_metric("within_10", "share within 10", lambda r: np.abs(_error(r)) <= 10),
)
_BUILT_IN = (*_CLASS_METRICS, *_NUMBER_METRICS, *_MULTILABEL_METRICS)

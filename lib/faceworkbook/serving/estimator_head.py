"""Write a fitted estimator of scikit-learn as a `Head`: its arrays and steps that numpy evaluates, nothing pickled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from faceworkbook.serving.head import INPUT, Head, HeadError
from faceworkbook.serving.keras_head import Steps
from faceworkbook.tasks import Task

ABSENT = -1e4  # the logit of a class that no training row had: its probability is 0
CHECKED = 64  # rows on which the steps must give what the estimator gives
TOLERANCE = 1e-3


def translate(estimator, task: Task, matrix: np.ndarray, expected: np.ndarray) -> Head:
    """Return the steps of a fitted estimator, or of a Pipeline that ends in one.

    Parameters
    ----------
    estimator
        See `TRANSFORMERS` and `PREDICTORS`.
    task : Task
    matrix : ndarray of shape (n, d)
        Descriptors of a few faces.
    expected : ndarray
        What the estimator predicts of them, as `Task.decode` returns it.

    Raises
    ------
    HeadError
        An estimator that has no translation, or steps that give something else than it does.
    """
    steps = Steps({})
    *before, last = [step for _, step in estimator.steps] if _name(estimator) == "Pipeline" else [estimator]
    x = [INPUT]
    for transformer in before:
        if transformer is None or transformer == "passthrough":
            continue
        x = _one_of(TRANSFORMERS, transformer, estimator)(steps, x, transformer)
    (output,) = _one_of(PREDICTORS, last, estimator)(steps, x, last, task)
    head = Head(int(matrix.shape[1]), tuple(steps.made), {task.name: output}, steps.arrays)
    made = task.decode(head.run(np.asarray(matrix, np.float32))[task.name])
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    worst = float(np.abs(made - expected).max(initial=0)) / scale
    if worst > TOLERANCE:
        raise HeadError(
            f"{_name(last)}, written as arrays, gives other answers than it does itself (by {worst:.1e} at worst, "
            f"{TOLERANCE:.0e} are allowed); {_ADVICE}"
        )
    return head


_ADVICE = "for a predictor take classifier='mlp', 'linear' or 'kernel'"


def _name(estimator) -> str:
    return type(estimator).__name__


def _one_of(known: dict[str, Callable], estimator, whole) -> Callable:
    if _name(estimator) not in known or not type(estimator).__module__.startswith("sklearn."):
        among = "steps before the last" if known is TRANSFORMERS else "estimators"
        raise HeadError(
            f"{_name(estimator)} has no translation into plain arrays, and nothing is pickled; {among} that have one: "
            f"{', '.join(sorted(known))}. {_ADVICE[0].upper()}{_ADVICE[1:]}"
        )
    return known[_name(estimator)]


# --------------------------------------------------------------------------- what comes before


def _standardise(steps: Steps, x: list[str], scaler) -> list[str]:
    factor = 1 / scaler.scale_ if scaler.with_std else np.ones(scaler.n_features_in_)
    shift = -scaler.mean_ * factor if scaler.with_mean else np.zeros(scaler.n_features_in_)
    return steps.add("scale", x, (factor, shift))


def _robust(steps: Steps, x: list[str], scaler) -> list[str]:
    factor = 1 / scaler.scale_ if scaler.with_scaling else np.ones(scaler.n_features_in_)
    shift = -scaler.center_ * factor if scaler.with_centering else np.zeros(scaler.n_features_in_)
    return steps.add("scale", x, (factor, shift))


def _min_max(steps: Steps, x: list[str], scaler) -> list[str]:
    made = steps.add("scale", x, (scaler.scale_, scaler.min_))
    if not scaler.clip:
        return made
    low, high = scaler.feature_range
    return steps.add("clip", made, (np.array([low]), np.array([high])))


def _max_abs(steps: Steps, x: list[str], scaler) -> list[str]:
    return steps.add("scale", x, (1 / scaler.scale_, np.zeros(scaler.n_features_in_)))


def _pca(steps: Steps, x: list[str], pca) -> list[str]:
    kernel = pca.components_.T.astype(np.float64)
    if pca.whiten:
        kernel = kernel / np.sqrt(np.maximum(pca.explained_variance_, np.finfo(np.float64).eps))
    return steps.add("dense", x, (kernel, -pca.mean_ @ kernel))


def _nystroem(steps: Steps, x: list[str], mapped) -> list[str]:
    if mapped.kernel != "rbf":
        raise HeadError(f"Nystroem(kernel={mapped.kernel!r}) has no translation; take kernel='rbf'")
    gamma = 1 / mapped.n_features_in_ if mapped.gamma is None else mapped.gamma
    made = steps.add("gaussian", x, (mapped.components_, np.array([gamma])))
    return steps.add("dense", made, (mapped.normalization_.T, np.zeros(len(mapped.normalization_))))


TRANSFORMERS: dict[str, Callable] = {
    "StandardScaler": _standardise,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "PCA": _pca,
    "Nystroem": _nystroem,
}


# --------------------------------------------------------------------------- what predicts


def _number(steps: Steps, x: list[str], model, task: Task) -> list[str]:
    kernel = np.reshape(model.coef_, (1, -1)).T
    return steps.add("dense", x, (kernel, np.reshape(model.intercept_, (1,))))


def _classes(steps: Steps, x: list[str], model, task: Task) -> list[str]:
    kernel, bias = model.coef_.T, np.reshape(model.intercept_, (-1,))
    if kernel.shape[1] == 1:  # of two classes the second's; a soft-max over 0 and it is its sigmoid
        kernel = np.hstack([np.zeros_like(kernel), kernel])
        bias = np.array([0.0, bias[0]])
    return _softmax(steps, x, kernel, bias, places=_places(model.classes_, task), task=task)


def _places(classes: Sequence, task: Task) -> list[int]:
    """Return the places of an estimator's classes, which are codes or names, among those of the task."""
    names = [one if isinstance(one, str) else task.classes[int(one)] for one in classes]
    return [task.classes.index(name) for name in names]


def _softmax(steps: Steps, x: list[str], kernel, bias, *, places: list[int], task: Task) -> list[str]:
    whole, offset = np.zeros((len(kernel), len(task.classes))), np.full(len(task.classes), ABSENT)
    whole[:, places], offset[places] = kernel, bias
    return steps.add("activation", steps.add("dense", x, (whole, offset)), activation="softmax")


def _labels(steps: Steps, x: list[str], model, task: Task) -> list[str]:
    each = model.estimators_
    constant = [task.classes[at] for at, one in enumerate(each) if _name(one) == "_ConstantPredictor"]
    if constant:
        raise HeadError(
            f"{', '.join(constant)}: all training rows say the same, so that {_name(model)} learns nothing; leave out "
            "such labels"
        )
    if any(_name(one) not in _SOFTMAX or len(one.coef_) != 1 for one in each):
        raise HeadError(
            f"{_name(model)} of {_name(each[0])} has no translation into plain arrays; take LogisticRegression in it"
        )
    kernel = np.column_stack([one.coef_[0] for one in each])
    bias = np.array([float(np.ravel(one.intercept_)[0]) for one in each])
    return steps.add("activation", steps.add("dense", x, (kernel, bias)), activation="sigmoid")


_ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def _perceptron(steps: Steps, x: list[str], model, task: Task) -> list[str]:
    *hidden, (kernel, bias) = zip(model.coefs_, model.intercepts_, strict=True)
    for pair in hidden:
        x = steps.add("dense", x, pair)
        x = steps.add("activation", x, activation=_ACTIVATIONS[model.activation])
    if task.is_number:
        return steps.add("dense", x, (kernel, bias))
    if task.is_multilabel:
        return steps.add("activation", steps.add("dense", x, (kernel, bias)), activation="sigmoid")
    if kernel.shape[1] == 1:
        kernel, bias = np.hstack([np.zeros_like(kernel), kernel]), np.array([0.0, bias[0]])
    return _softmax(steps, x, kernel, bias, places=_places(model.classes_, task), task=task)


_SOFTMAX = ("LinearDiscriminantAnalysis", "LogisticRegression", "LogisticRegressionCV")
_LINEAR = (
    "ElasticNet",
    "HuberRegressor",
    "Lasso",
    "LassoCV",
    "LinearRegression",
    "LinearSVR",
    "Ridge",
    "RidgeCV",
)
PREDICTORS: dict[str, Callable] = {
    **dict.fromkeys(_LINEAR, _number),
    **dict.fromkeys(_SOFTMAX, _classes),
    **dict.fromkeys(("MultiOutputClassifier", "OneVsRestClassifier"), _labels),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), _perceptron),
}

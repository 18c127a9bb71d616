"""An estimator of scikit-learn as arrays that numpy evaluates, or the reason why there are none."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from faceworkbook.serving import estimator_head
from faceworkbook.serving.head import Head, HeadError
from faceworkbook.tasks import CLASSES, MULTILABEL, NUMBER, Task
from faceworkbook.training.fitted import estimator_outputs

rng = np.random.default_rng(0)
X = (rng.normal(size=(240, 12)) * rng.uniform(0.5, 9, 12) + 3).astype(np.float32)
Z = (X - X.mean(axis=0)) / X.std(axis=0)
COLOUR = Task("colour", CLASSES, ("red", "green", "blue", "grey"))
GENDER = Task("gender", CLASSES, ("male", "female"))
AGE = Task("age", NUMBER, unit="years")
SIGNS = Task("a+b", MULTILABEL, ("a", "b"))
TARGETS = {
    "colour": np.array([0, 1, 3])[(Z[:, :3] + rng.normal(size=(240, 3))).argmax(axis=1)],  # nobody is blue
    "gender": (Z[:, 0] + rng.normal(size=240) > 0).astype(int),
    "age": 40 + 9 * Z[:, 1] + rng.normal(size=240),
    "a+b": (Z[:, :2] + rng.normal(size=(240, 2)) > 0).astype(int),
}
NET = {"hidden_layer_sizes": (9, 5), "max_iter": 60, "random_state": 0}
WRITTEN = [
    (LogisticRegression(max_iter=400), COLOUR),
    (LogisticRegression(max_iter=400), GENDER),
    (make_pipeline(StandardScaler(), LogisticRegression()), COLOUR),
    (
        make_pipeline(
            "passthrough", StandardScaler(with_mean=False), PCA(6, whiten=True), LogisticRegression()
        ),
        GENDER,
    ),
    (make_pipeline(RobustScaler(), Nystroem(n_components=40, random_state=0), LogisticRegression()), COLOUR),
    (LinearDiscriminantAnalysis(), COLOUR),
    (LinearDiscriminantAnalysis(), GENDER),
    (Ridge(), AGE),
    (make_pipeline(MinMaxScaler(clip=True), LinearRegression()), AGE),
    (make_pipeline(MaxAbsScaler(), MLPRegressor(**NET)), AGE),
    (make_pipeline(StandardScaler(), MLPClassifier(**NET, activation="tanh")), COLOUR),
    (make_pipeline(StandardScaler(), MLPClassifier(**NET)), GENDER),
    (make_pipeline(StandardScaler(), MLPClassifier(**NET, activation="logistic")), SIGNS),
    (make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression())), SIGNS),
    (make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression())), SIGNS),
]


def _fit(estimator, task):
    estimator.fit(X, TARGETS[task.name])
    return estimator, lambda rows: task.decode(estimator_outputs(estimator, rows, task))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "task"), WRITTEN, ids=lambda one: getattr(one, "name", None))
def test_steps_give_what_the_estimator_gives_and_outlive_a_file(estimator, task):
    fitted, predict = _fit(estimator, task)
    few = X[: estimator_head.CHECKED]
    head = estimator_head.translate(fitted, task, few, predict(few))
    again = Head.from_record(json.loads(json.dumps(head.to_record())), head.arrays)
    made, expected = task.decode(again.run(X)[task.name]), predict(X)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(made / scale, expected / scale, atol=1e-4)
    if task is COLOUR:
        assert not made[:, 2].any(), "a class that nobody had has no probability"


class Own(LogisticRegression):
    """An estimator of one's own with the name of none."""


@pytest.mark.parametrize(
    ("estimator", "task", "message"),
    [
        (RandomForestClassifier(5), GENDER, "RandomForestClassifier has no translation into plain arrays"),
        (make_pipeline(Nystroem(kernel="cosine"), Ridge()), AGE, "take kernel='rbf'"),
        (
            Own(max_iter=400),
            GENDER,
            "Own has no translation .* estimators that have one: .*LogisticRegression",
        ),
        (MultiOutputClassifier(RandomForestClassifier(3)), SIGNS, "take LogisticRegression in it"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(estimator, task, message):
    fitted, predict = _fit(estimator, task)
    with pytest.raises(HeadError, match=message):
        estimator_head.translate(fitted, task, X[:8], predict(X[:8]))


def test_steps_that_give_something_else_are_refused():
    fitted, predict = _fit(LogisticRegression(max_iter=400), GENDER)
    with pytest.raises(HeadError, match="gives other answers than it does itself"):
        estimator_head.translate(fitted, GENDER, X[:8], 1 - predict(X[:8]))


def test_a_label_of_one_value_alone_is_named():
    same = np.stack([TARGETS["a+b"][:, 0], np.zeros(len(X), int)], axis=1)
    fitted = OneVsRestClassifier(LogisticRegression())
    with warnings.catch_warnings(action="ignore"):
        fitted.fit(X, same)
    with pytest.raises(HeadError, match=r"^b: all training rows say the same"):
        estimator_head.translate(fitted, SIGNS, X[:8], fitted.predict_proba(X[:8]))

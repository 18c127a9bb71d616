"""The best constant answer: chosen on validation rows, the same for every face."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import comparison, metrics, predictions
from faceworkbook.evaluation.constant import constant_predictions
from faceworkbook.tasks import Task

N = 40
FACES = pd.DataFrame(
    {"face_id": [f"f{i}" for i in range(N)], "identity": pd.array([pd.NA] * N, dtype="string")}
)
SPLIT = np.repeat(["validation", "test"], N // 2)


def build(task, truth, output):
    return predictions.build(FACES, task, truth=truth, output=output, split=SPLIT)


@pytest.mark.parametrize("has_probabilities", [True, False])
def test_classes_are_answered_by_the_most_frequent_of_the_validation_rows(has_probabilities):
    task = Task("mood", classes=("a", "b", "c"), has_probabilities=has_probabilities)
    truth = np.array((["b"] * 14 + ["a"] * 6) + ["c"] * 10 + ["b"] * 10, object)
    given = build(task, truth, np.eye(3)[np.arange(N) % 3] if has_probabilities else truth)
    made = constant_predictions(given)
    assert set(made["predicted"]) == {"b"} and made["truth"].tolist() == truth.tolist()
    assert metrics.summary(made, names=["accuracy"])["value"].iloc[0] == 0.5
    if has_probabilities:
        assert predictions.probabilities(made)[0] == pytest.approx([0.3, 0.7, 0])
        assert comparison.compare({"own": given, "constant": made}, n_boot=100).chosen is not None


def test_numbers_are_answered_by_the_median_and_labels_by_their_shares():
    number = build(Task("age", "number"), np.arange(N, dtype=float), np.zeros(N))
    assert set(constant_predictions(number)["predicted"]) == {9.5}
    several = build(Task("hat+beard", "multilabel", ("hat", "beard")), ["hat"] * N, np.full((N, 2), 0.2))
    assert set(constant_predictions(several)["predicted"]) == {"hat"}

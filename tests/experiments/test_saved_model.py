"""A saved model on another data set: what trained or chose it is excluded, classes are its own."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from faceworkbook import faces
from faceworkbook.experiments import external_predictions
from faceworkbook.experiments.external_predictions import Source
from faceworkbook.experiments.external_table import ExternalError
from faceworkbook.tasks import CLASSES, Task

TASK = Task("gender", CLASSES, ("male", "female"))
FITTED = SimpleNamespace(task=TASK, predict=lambda matrix: np.column_stack([1 - matrix[:, 0], matrix[:, 0]]))


def describe(asked):
    kept = asked[asked["image"] != "e.png"]
    return SimpleNamespace(
        face_id=kept["face_id"].to_numpy(), matrix=np.linspace(0.1, 0.9, len(kept))[:, None]
    )


def put(root, seeds):
    root.mkdir()
    for name, seed in seeds.items():
        pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(root / name), cv2.resize(pixels, (60, 60), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def sets(tmp_path):
    """A set that trained (1.png to 4.png; 4.png is of the test rows) and one to judge, which shares pictures and a person."""
    put(tmp_path / "trained", {f"{i}.png": i for i in range(1, 5)})
    put(tmp_path / "other", {"a.png": 1, "b.png": 11, "c.png": 12, "d.png": 4, "e.png": 13, "f.png": 14})
    trained = faces.build(
        {
            "image": [f"{i}.png" for i in range(1, 5)],
            "gender": ["male", "female"] * 2,
            "identity": ["p1", "p2", "p3", "p4"],
        },
        dataset="trained",
    )
    judged = faces.build(
        {
            "image": [f"{c}.png" for c in "abcdef"],
            "gender": ["male", "female", "male", "male", "female", None],
            "identity": ["q1", "p2", "q3", "q4", "q5", "q6"],
        },
        dataset="other",
    )

    split = SimpleNamespace(train=np.array([0, 1]), validation=np.array([2]), test=np.array([3]))
    return SimpleNamespace(faces=trained, split=split), Source("other", tmp_path / "other", judged), tmp_path


def test_copies_and_people_of_training_and_validation_are_excluded_with_a_reason(sets):
    trained, source, root = sets
    judged = external_predictions.predict(FITTED, describe, source, trained, root / "trained")
    assert judged.table["face_id"].tolist() == ["other:c.png", "other:d.png"]
    assert dict(zip(judged.excluded["name"], judged.excluded["reason"], strict=True)) == {
        "a.png": external_predictions.SHARED,
        "b.png": external_predictions.SHARED,
        "e.png": external_predictions.NO_DESCRIPTOR,
        "f.png": external_predictions.NO_LABEL,
    }
    assert judged.table["p:female"].tolist() == pytest.approx([0.1, 0.9])
    assert judged.is_own and judged.task == TASK


def test_faces_of_classes_that_the_model_does_not_have_are_excluded(sets):
    trained, source, root = sets
    fitted = SimpleNamespace(task=Task("gender", CLASSES, ("male", "other")), predict=FITTED.predict)
    judged = external_predictions.predict(fitted, describe, source, trained, root / "trained")
    assert set(judged.table["truth"]) == {"male"}
    assert "other:b.png" not in set(judged.table["face_id"])


def test_a_set_of_nothing_but_training_faces_is_refused_with_the_counts(sets):
    trained, _, root = sets
    own = Source("trained", root / "trained", trained.faces.iloc[:3])
    with pytest.raises(ExternalError, match=r"no face of 'trained' is left to judge.*3"):
        external_predictions.predict(FITTED, describe, own, trained, root / "trained")

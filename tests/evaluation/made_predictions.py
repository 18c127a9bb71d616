"""Small tables of predictions that the tests of this folder share."""

import numpy as np
import pandas as pd

from faceworkbook.evaluation import predictions
from faceworkbook.tasks import Task


def faces_table(n, *, people=None):
    identity = [f"p{i % people}" for i in range(n)] if people else [pd.NA] * n
    return pd.DataFrame(
        {"face_id": [f"f{i:05d}" for i in range(n)], "identity": pd.array(identity, dtype="string")}
    )


def class_predictions(
    n=400, *, classes=("male", "female"), people=None, signal=1.5, seed=0, truth=None, kind="classes"
):
    class_values = [float(name) for name in classes] if kind == "ordered" else ()
    unit = "years" if class_values else ""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(classes), n) if truth is None else np.asarray(truth)
    logits = rng.normal(size=(n, len(classes)))
    logits[np.arange(n), codes] += signal
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return predictions.build(
        faces_table(n, people=people),
        Task("label", kind, tuple(classes), unit=unit, class_values=class_values),
        truth=np.array(classes, dtype=object)[codes],
        output=shares,
        split="test",
    )


def number_predictions(n=300, *, people=None, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 90, n)
    return predictions.build(
        faces_table(n, people=people),
        Task("age", "number", unit="years"),
        truth=truth,
        output=truth + rng.normal(1, 6, n),
        split="test",
    )

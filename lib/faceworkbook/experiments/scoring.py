"""One metric of some faces."""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics, predictions
from faceworkbook.tasks import Labels


def score(
    output: np.ndarray, labels: Labels, faces: pd.DataFrame, *, metric: str
) -> tuple[pd.DataFrame, float]:
    """Return the table of predictions of some faces (as test rows), and one metric of it.

    Parameters
    ----------
    output : ndarray of shape (n, n_classes) in 0..1, or (n,) of numbers
    labels, faces
        Of the same n faces.
    """
    table = predictions.build(faces, labels.task, truth=labels.truth, output=output, split="test")
    rows = metrics.rows_of(table)
    return table, metrics.pick(metric, rows.task).value(rows)

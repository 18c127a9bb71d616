"""The best constant answer: what a model must beat before it reads anything off a face."""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook.evaluation import predictions as tables


def constant_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the same rows, all answered alike: by the shares of the classes, or the median, of the validation rows.

    Parameters
    ----------
    predictions : pandas.DataFrame
        With validation and test rows; without validation rows the test rows' own shares are taken, which flatters
        the constant answer.
    """
    task = tables.task_of(predictions)
    chosen_on = predictions[predictions["split"] == "validation"]
    truth = (chosen_on if len(chosen_on) else predictions)["truth"]
    n = len(predictions)
    if task.is_number:
        output = np.full(n, truth.astype(float).median())
    elif task.is_multilabel:
        shares = [
            truth.map(lambda text, name=name: name in str(text).split(tables.PLUS)).mean()
            for name in task.classes
        ]
        output = np.tile(shares, (n, 1))
    elif task.has_probabilities:
        counts = truth.astype(str).value_counts().reindex(task.classes, fill_value=0).to_numpy(float)
        output = np.tile(counts / counts.sum(), (n, 1))
    else:
        output = np.full(n, truth.astype(str).mode().iloc[0], dtype=object)
    return tables.build(
        predictions,
        task,
        truth=predictions["truth"].to_numpy(),
        output=output,
        split=predictions["split"].to_numpy(),
    )

"""The picture of errors that fits a task."""

from __future__ import annotations

import pandas as pd

from faceworkbook.evaluation import metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.plots.confusion import ConfusionDisplay
from faceworkbook.plots.number_error import NumberErrorDisplay
from faceworkbook.plots.per_label import PerLabelDisplay


def show_errors(
    predictions: pd.DataFrame, *, subset: str = "test", seed: int = 0
) -> ConfusionDisplay | NumberErrorDisplay | PerLabelDisplay:
    """Draw the errors of a table of predictions.

    Returns
    -------
    ConfusionDisplay, NumberErrorDisplay or PerLabelDisplay
        Of classes, of numbers (and of classes that stand for numbers, read as their mean), of several yes/no
        labels.
    """
    task = tables.task_of(predictions)
    if task.is_multilabel:
        return PerLabelDisplay.from_predictions(predictions, subset=subset, seed=seed).plot()
    if not (task.is_number or task.class_values):
        return ConfusionDisplay.from_predictions(predictions, subset=subset).plot()
    numbers = predictions if task.is_number else metrics.expectation(predictions)
    return NumberErrorDisplay.from_predictions(numbers, unit=task.unit, subset=subset, seed=seed).plot()

"""The table of predictions: one row a face (and repeat), truth, and one probability a class.

Columns: ``face_id``, ``identity`` (NA where unknown), ``part`` ('train', 'validation', 'test'),
``repeat`` and ``fold`` (integers, 0 where there is one run), ``truth``, ``predicted``, and for
classes ``p:NAME`` in class order (rows add up to 1), for numbers nothing more. Class names travel
in the column names, so that nobody downstream guesses an order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

PROBABILITY = "p:"
KEYS = ("face_id", "identity", "part", "repeat", "fold", "truth", "predicted")


class PredictionsError(ValueError):
    """A table of predictions that breaks its contract."""


def build(
    faces: pd.DataFrame,
    *,
    truth,
    part,
    probabilities: np.ndarray | None = None,
    classes: list[str] | None = None,
    values: np.ndarray | None = None,
    repeat: int = 0,
    fold: int = 0,
) -> pd.DataFrame:
    """Make a table of predictions.

    Parameters
    ----------
    faces : pandas.DataFrame
        Rows of the face table, in the order of the predictions.
    truth : array-like of shape (n,)
        Class names, or numbers where `values` is given.
    part : str or array-like of shape (n,)
        'train', 'validation' or 'test'.
    probabilities : ndarray of shape (n, n_classes), range 0..1, optional
        In the order of `classes`.
    values : ndarray of shape (n,), optional
        Predicted numbers (years, degrees); instead of `probabilities`.
    """
    if (probabilities is None) == (values is None):
        raise PredictionsError("give either probabilities (with classes) or values")
    table = pd.DataFrame(
        {
            "face_id": faces["face_id"].to_numpy(),
            "identity": faces["identity"].to_numpy(),
            "part": part,
            "repeat": repeat,
            "fold": fold,
            "truth": np.asarray(truth),
        }
    )
    if values is not None:
        return table.assign(predicted=np.asarray(values, dtype=float))
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != (len(faces), len(classes)):
        raise PredictionsError(
            f"probabilities have shape {probabilities.shape}, expected {(len(faces), len(classes))}"
        )
    columns = pd.DataFrame(probabilities, columns=[PROBABILITY + c for c in classes])
    table["predicted"] = np.asarray(classes, dtype=object)[probabilities.argmax(axis=1)]
    return pd.concat([table, columns], axis=1)


def of(fitted, matrix: np.ndarray, faces: pd.DataFrame, target, split, **keys) -> pd.DataFrame:
    """Predict the validation and test rows of `split`.

    Parameters
    ----------
    fitted : faceworkbook.training.Fitted
    matrix : ndarray of shape (n, d)
        Descriptors, row by row those of `faces`.
    target : faceworkbook.classifiers.targets.Target
    split : faceworkbook.splits.Split
    **keys
        ``repeat`` and ``fold``.
    """
    rows = np.concatenate([split.validation, split.test])
    part = np.repeat(["validation", "test"], [len(split.validation), len(split.test)])
    output = fitted.predict(matrix[rows])
    if target.kind == "number":
        return build(faces.iloc[rows], truth=target.values[rows], part=part, values=output, **keys)
    classes = list(fitted.classes)
    truth = np.asarray(target.classes, dtype=object)[target.codes[rows]]
    return build(faces.iloc[rows], truth=truth, part=part, probabilities=output, classes=classes, **keys)


def average(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean of several models' probabilities (or numbers) on the same rows, as one table.

    Raises
    ------
    PredictionsError
        The tables hold other rows, or other columns.
    """
    first = parts[0]
    keys = [key for key in KEYS if key != "predicted"]
    for other in parts[1:]:
        if list(other.columns) != list(first.columns) or not first[keys].equals(other[keys]):
            raise PredictionsError("only predictions of the same rows and classes, in one order, have a mean")
    classes = class_names(first)
    columns = [PROBABILITY + name for name in classes] or ["predicted"]
    mean = np.mean([part[columns].to_numpy(dtype=float) for part in parts], axis=0)
    table = first.assign(**dict(zip(columns, mean.T, strict=True)))
    return (
        table.assign(predicted=np.asarray(classes, dtype=object)[mean.argmax(axis=1)]) if classes else table
    )


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Class names in order; empty for a table of numbers."""
    return [c.removeprefix(PROBABILITY) for c in predictions.columns if c.startswith(PROBABILITY)]


def probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """Probabilities, ndarray of shape (n, n_classes), float64, in the order of `class_names`."""
    return predictions[[PROBABILITY + c for c in class_names(predictions)]].to_numpy(dtype=float)


def write(predictions: pd.DataFrame, path: str | Path) -> Path:
    """Write as parquet, beside and renamed."""
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    predictions.to_parquet(beside, index=False)
    return beside.replace(path)


def read(path: str | Path) -> pd.DataFrame:
    """Read what `write` wrote; `PredictionsError` where columns are missing."""
    table = pd.read_parquet(path)
    missing = [key for key in KEYS if key not in table]
    if missing:
        raise PredictionsError(f"{path} lacks the columns {missing}; was it written by this workbook?")
    return table

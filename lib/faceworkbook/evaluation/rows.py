"""The rows of a table of predictions as arrays: what every metric is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.predictions import PredictionsError
from faceworkbook.tasks import PLUS, Task


@dataclass(frozen=True)
class Rows:
    """The rows of one subset of a predictions table, as arrays.

    Attributes
    ----------
    task : Task
    face_id : ndarray of shape (n,)
    units : ndarray of shape (n,), int
        Resampling unit of each row (person, or face where the person is unknown).
    by_identity : bool
        Whether any unit is a person.
    truth, predicted : ndarray of shape (n,)
        Codes into the task's classes, or numbers; (n, n_classes) of 0 and 1 for a multi-label task.
    probabilities : ndarray of shape (n, n_classes), range 0..1
    """

    task: Task
    face_id: np.ndarray
    units: np.ndarray
    by_identity: bool
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def classes(self) -> tuple[str, ...]:
        """The task's classes; empty for numbers."""
        return self.task.classes

    @property
    def n_units(self) -> int:
        """Number of resampling units, counted by the largest."""
        return int(self.units.max()) + 1 if len(self.units) else 0

    @property
    def n_faces(self) -> int:
        """Number of different faces."""
        return len(np.unique(self.face_id))

    def take(self, chosen: np.ndarray) -> Rows:
        """Return the chosen rows (mask or positions); units keep their numbers."""
        arrays = ("face_id", "units", "truth", "predicted", "probabilities")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


def rows_of(predictions: pd.DataFrame, *, subset: str | None = "test") -> Rows:
    """Read the rows of one subset ('train', 'validation', 'test'; None for all) into arrays.

    Raises
    ------
    PredictionsError
        No such rows, a row without truth, a truth that is no class of the table, NaN probabilities.
    """
    chosen = predictions if subset is None else predictions[predictions["split"] == subset]
    if chosen.empty:
        raise PredictionsError(
            f"no rows of subset {subset!r}; the table has {sorted(predictions['split'].unique())}"
        )
    unknown = chosen["truth"].isna() | chosen["predicted"].isna()
    if unknown.any():
        raise PredictionsError(
            f"{int(unknown.sum())} of {len(chosen)} rows of subset {subset!r} lack truth or prediction "
            f"(first: {chosen.loc[unknown, 'face_id'].iloc[0]!r}); leave them out and count them first"
        )
    task = tables.task_of(predictions)
    shares = tables.probabilities(chosen)
    if not np.isfinite(shares).all():
        raise PredictionsError(
            f"{int((~np.isfinite(shares)).any(axis=1).sum())} of {len(chosen)} rows of subset {subset!r} hold NaN "
            "probabilities; predict them again"
        )
    truth, predicted = (_codes(chosen[column], task) for column in ("truth", "predicted"))
    return Rows(
        task=task,
        face_id=chosen["face_id"].astype(str).to_numpy(),
        units=intervals.resampling_units(chosen),
        by_identity=bool(chosen["identity"].notna().any()),
        truth=truth,
        predicted=predicted,
        probabilities=shares,
    )


def _codes(labels: pd.Series, task: Task) -> np.ndarray:
    if task.is_number:
        return labels.to_numpy(dtype=float)
    if task.is_multilabel:
        present = [set(str(text).split(PLUS)) for text in labels]
        return np.array([[name in names for name in task.classes] for names in present], dtype=int)
    names = labels.astype(str)
    codes = pd.Index(task.classes).get_indexer(names)
    if (codes < 0).any():
        strange = sorted(set(names[codes < 0]))
        raise PredictionsError(
            f"column {labels.name!r} holds {strange[:5]}, which are no classes of the table: {list(task.classes)}"
        )
    return codes


def need_exclusive(rows: Rows) -> Rows:
    """Return rows whose task has exclusive classes, or raise `PredictionsError`."""
    if rows.task.is_number:
        raise PredictionsError("the table holds numbers; per-class figures need columns 'p:NAME'")
    if rows.task.is_multilabel:
        raise PredictionsError(
            f"'{rows.task.name}' is several yes/no labels; take one of them with predictions.of_label(table, NAME)"
        )
    return rows

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
        Resampling unit of each row (person, or different picture where the person is unknown).
    pictures : ndarray of shape (n,), int
        Number of the picture that each row shows; copies have one.
    by_identity : bool
        Whether any unit is a person.
    truth, predicted : ndarray of shape (n,)
        Codes into the task's classes, or numbers; (n, n_classes) of 0 and 1 for a multi-label task.
    probabilities : ndarray of shape (n, n_classes), range 0..1
        No columns for numbers, and for a model that gives none.
    """

    task: Task
    face_id: np.ndarray
    units: np.ndarray
    pictures: np.ndarray
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

    @property
    def n_pictures(self) -> int:
        """Number of different pictures: copies of one picture count once."""
        return len(np.unique(self.pictures))

    @property
    def independent(self) -> bool:
        """Whether each row is a unit of its own."""
        return self.n_units == len(self.units)

    @property
    def counted(self) -> str:
        """What a resample draws, in the plural: 'identities', 'pictures' (there are copies) or 'faces'."""
        if self.by_identity:
            return "identities"
        return "pictures" if self.n_pictures < self.n_faces else "faces"

    @property
    def right(self) -> np.ndarray:
        """Whether each face is predicted right (every label of it), bool (n,)."""
        right = self.truth == self.predicted
        return right.all(axis=1) if self.task.is_multilabel else right

    def take(self, chosen: np.ndarray) -> Rows:
        """Return the chosen rows (mask or positions); units keep their numbers."""
        arrays = ("face_id", "units", "pictures", "truth", "predicted", "probabilities")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


def rows_of(predictions: pd.DataFrame, *, subset: str | None = "test") -> Rows:
    """Read the rows of one subset ('train', 'validation', 'test'; None for all) into arrays.

    Raises
    ------
    PredictionsError
        No such rows, a row without truth or prediction, a truth that is no class of the table, NaN.
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
    truth, predicted = (_codes(chosen[column], task) for column in ("truth", "predicted"))
    infinite = ~np.isfinite(np.column_stack([truth, predicted, shares])).all(axis=1)
    if infinite.any():
        raise PredictionsError(
            f"{int(infinite.sum())} of {len(chosen)} rows of subset {subset!r} hold NaN or infinite values "
            f"(first: {chosen.loc[infinite, 'face_id'].iloc[0]!r}); predict these faces again"
        )
    return Rows(
        task=task,
        face_id=chosen["face_id"].astype(str).to_numpy(),
        units=intervals.resampling_units(chosen),
        pictures=intervals.number_pictures(chosen),
        by_identity=bool(chosen["identity"].notna().any()),
        truth=truth,
        predicted=predicted,
        probabilities=shares,
    )


def _codes(labels: pd.Series, task: Task) -> np.ndarray:
    if task.is_number:
        return labels.to_numpy(dtype=float)
    names = [set(str(text).split(PLUS)) - {"none"} if task.is_multilabel else {str(text)} for text in labels]
    strange = sorted(set().union(*names) - set(task.classes))
    if strange:
        raise PredictionsError(
            f"column {labels.name!r} holds {strange[:5]}, which are no classes of the table: {list(task.classes)}"
        )
    if task.is_multilabel:
        return np.array([[name in present for name in task.classes] for present in names], dtype=int)
    return pd.Index(task.classes).get_indexer(labels.astype(str))


def need_exclusive(rows: Rows, what: str) -> Rows:
    """Return rows whose task has exclusive classes, or raise `PredictionsError`."""
    if rows.task.is_number:
        raise PredictionsError(f"the table holds numbers; {what} needs classes, in columns 'p:NAME'")
    if rows.task.is_multilabel:
        raise PredictionsError(
            f"'{rows.task.name}' is several yes/no labels; {what} takes one of them: "
            f"predictions.of_label(table, {rows.classes[0]!r})"
        )
    return rows


def members(rows: Rows, values: np.ndarray) -> np.ndarray:
    """Membership of each class, 0 or 1: ndarray of shape (n, n_classes)."""
    return values.astype(float) if rows.task.is_multilabel else np.eye(len(rows.classes))[values]


def mean_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)

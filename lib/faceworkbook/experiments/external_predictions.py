"""Judge anybody's model: its predictions matched with the faces of a data set, or a saved model's own.

What does not match is excluded with a reason, on both sides: rows of the file, and faces of the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import row_groups, tasks
from faceworkbook.descriptors.matching import match_rows
from faceworkbook.evaluation import predictions as tables
from faceworkbook.experiments import external_file, external_table, overlap
from faceworkbook.experiments.external_file import FACE, IMAGE, Answers, Columns
from faceworkbook.experiments.external_table import ExternalError
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.faces import COPY_GROUP
from faceworkbook.tasks import Labels, Task

FILE, DATASET = "file", "data set"
REPEATED, CONTRARY = "repeated with the same answer", "repeated with another answer"
REPEATED_SILENT = "repeated without an answer"
NO_ANSWER, NO_LABEL = "no answer", "the data set knows no label"
NO_ROW, SHARED = "the file has no row of it", "its picture or person trained or chose the model"
MOST_RELABELLED = 0.1  # share of faces whose label may have been corrected since
OTHER_CLASS, NO_DESCRIPTOR = "its label is none of the model's classes", "the picture cannot be read"


@dataclass(frozen=True)
class Source:
    """A data set, as a referee needs it: name, folder, face table."""

    name: str
    root: Path
    faces: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Judged:
    """A model's predictions on the faces of a data set that it is judged by.

    Attributes
    ----------
    name : str
        Of the file or the model.
    faces : pandas.DataFrame
        Rows of the face table, one a prediction.
    table : pandas.DataFrame
        Predictions, all of them of the subset 'test'.
    excluded : pandas.DataFrame
        side ('file' or 'data set'), name, reason.
    notices : tuple of str
    n_rows : int
        Rows of the file; faces of the data set for a saved model.
    is_own : bool
        Whether it is a saved model of this workbook, whose training faces are known and excluded.
    """

    name: str
    faces: pd.DataFrame
    table: pd.DataFrame
    excluded: pd.DataFrame
    notices: tuple[str, ...] = ()
    n_rows: int = 0
    is_own: bool = False

    @property
    def task(self) -> Task:
        """What was predicted."""
        return tables.task_of(self.table)

    def count(self, reason: str) -> int:
        """Count the rows that were excluded for one reason."""
        return int((self.excluded["reason"] == reason).sum())


@dataclass(frozen=True)
class Reading:
    """How a file is read: the label, their columns (``NAME=COLUMN``) and words (``WORD=CLASS``)."""

    label: str = ""
    columns: Sequence[str] = ()
    values: Sequence[str] = ()


def read(path: str | Path, source: Source, reading: Reading = Reading()) -> Judged:  # noqa: B008
    """Read a file of predictions and match its rows with the faces of a data set.

    Parameters
    ----------
    path : str or Path
        See `external_table.read_table`.
    source : Source
    reading : Reading

    Raises
    ------
    ExternalError
        What cannot be read or understood, or a file of which no row is a face of the data set.
    """
    table = external_table.read_table(path)
    label = reading.label or external_file.guess_label(table, face_table.label_columns(source.faces), path)
    labels = tasks.read_labels(source.faces, label)
    if labels.task.is_multilabel:
        raise ExternalError(f"'{label}' is several yes/no labels; judge them one by one with --label")
    given = external_file.read_given(reading.columns, "--column")
    columns = external_file.find_columns(table, labels.task, given, path)
    values = external_file.read_given(reading.values, "--value")
    answers = external_file.read_answers(table, columns, labels.task, values, path)
    rows, reasons = match_rows(table[columns.key], source.faces, source.root, by=columns.by)
    if (rows < 0).all():
        raise ExternalError(
            f"none of the {len(table):,} rows of {path} is a face of '{source.name}' in {source.root}: the first is "
            f"{table[columns.key].iloc[0]!r} (column {columns.key!r}), the set's "
            f"{source.faces[columns.by].iloc[0]!r}; another column is given with --column {columns.by}=COLUMN or "
            f"{IMAGE if columns.by == FACE else FACE}=COLUMN"
        )
    _require_same_truth(table, labels, rows, path)
    reasons = _judge_rows(rows, reasons, answers, labels)
    judged = _build(Path(path).stem, source, labels, answers, rows, reasons == "")
    excluded = _excluded(table, columns, reasons, source.faces, rows)
    return replace(judged, excluded=excluded, notices=answers.notices, n_rows=len(table))


def _require_same_truth(table: pd.DataFrame, labels: Labels, rows: np.ndarray, path: str | Path) -> None:
    """Refuse predictions of this workbook whose faces bear other labels here: another set of the same names."""
    if external_table.TRUTH not in table:
        return
    matched = np.flatnonzero((rows >= 0) & labels.known[rows])
    theirs, ours = table[external_table.TRUTH].to_numpy()[matched], labels.truth[rows[matched]]
    other = ~np.isclose(theirs.astype(float), ours) if labels.task.is_number else theirs.astype(str) != ours
    if other.sum() > MOST_RELABELLED * len(other):
        raise ExternalError(
            f"{path} was made on other labels: {int(other.sum()):,} of {len(matched):,} of its faces bear another "
            f"'{labels.task.name}' in this data set; name the data set that it was made on with --dataset and --root"
        )


def _judge_rows(rows: np.ndarray, reasons: np.ndarray, answers: Answers, labels: Labels) -> np.ndarray:
    """Return why a row is excluded, '' where it is judged."""
    reasons = reasons.copy()
    matched = np.flatnonzero(reasons == "")
    reasons[matched[~labels.known[rows[matched]]]] = NO_LABEL
    silent = pd.isna(answers.predicted)
    if answers.shares is not None:
        silent |= ~np.isfinite(answers.shares).all(axis=1)
    silent &= reasons == ""
    reasons[silent] = NO_ANSWER
    judged = np.flatnonzero(reasons == "")
    # A face is without an answer once, and only where no other row answers it.
    again = pd.Series(rows).where(silent).duplicated().to_numpy() | np.isin(rows, rows[judged])
    reasons[silent & again] = REPEATED_SILENT
    stated = pd.DataFrame({"face": rows[judged], "answer": answers.predicted[judged]})
    if answers.shares is not None:
        stated = stated.join(pd.DataFrame(answers.shares[judged].round(9)))
    repeated = stated.duplicated().to_numpy()
    contrary = stated.drop_duplicates()["face"].duplicated(keep=False)
    contrary = stated["face"].isin(stated["face"].loc[contrary.index[contrary]]).to_numpy()
    reasons[judged[repeated]], reasons[judged[contrary]] = REPEATED, CONTRARY
    return reasons


def _build(
    name: str, source: Source, labels: Labels, answers: Answers, rows: np.ndarray, kept: np.ndarray
) -> Judged:
    if not kept.any():
        raise ExternalError(f"no row of {name} has both an answer and a label in '{source.name}'")
    at, task = rows[kept], labels.task
    faces = source.faces.iloc[at].reset_index(drop=True)
    named = answers.predicted[kept]
    if task.is_number:
        output = named.astype(float)
    elif answers.shares is None:
        task, output = replace(task, has_probabilities=False, class_values=()), named
    else:
        output = answers.shares[kept]
    table = tables.build(faces, task, truth=labels.truth[at], output=output, split="test")
    if not task.is_number:
        table["predicted"] = named
    return Judged(name, faces, table, pd.DataFrame())


def _excluded(
    table: pd.DataFrame, columns: Columns, reasons: np.ndarray, faces: pd.DataFrame, rows: np.ndarray
) -> pd.DataFrame:
    gone = reasons != ""
    theirs = pd.DataFrame({"name": table[columns.key].astype(str)[gone], "reason": reasons[gone]})
    left = np.setdiff1d(np.arange(len(faces)), rows)
    ours = pd.DataFrame({"name": faces[columns.by].astype(str).iloc[left], "reason": NO_ROW})
    return pd.concat([theirs.assign(side=FILE), ours.assign(side=DATASET)], ignore_index=True)[
        ["side", "name", "reason"]
    ]


def with_copies(judged: Judged, groups: np.ndarray) -> Judged:
    """Return the same, with the group of each face among copies of pictures: they are one unit of intervals.

    Parameters
    ----------
    groups : ndarray of shape (n,), int
        -1 where a face is alone.
    """
    names = row_groups.name_groups(judged.faces["face_id"], groups)
    faces = judged.faces.assign(**{COPY_GROUP: names.to_numpy()})
    table = judged.table.assign(**{COPY_GROUP: names.to_numpy()})
    table.attrs = dict(judged.table.attrs)
    return replace(judged, faces=faces, table=table)


def on_common_faces(first: Judged, second: Judged) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables on the faces that both judge, in one order, with the copies that the first one knows.

    Raises
    ------
    ExternalError
        There is no such face.
    """
    common = first.table["face_id"][first.table["face_id"].isin(second.table["face_id"])]
    if common.empty:
        raise ExternalError(f"{first.name} and {second.name} have no judged face in common")
    one, two = (_rows_of(judged.table, common) for judged in (first, second))
    if COPY_GROUP in one:
        two[COPY_GROUP] = one[COPY_GROUP]
    return one, two


def _rows_of(table: pd.DataFrame, face_id: pd.Series) -> pd.DataFrame:
    rows = table.set_index("face_id", drop=False).loc[face_id].reset_index(drop=True)
    rows.attrs = dict(table.attrs)
    return rows


# --------------------------------------------------------------------------- a saved model of this workbook


def predict(fitted, describe: Callable, source: Source, trained: PreparedData, trained_root: Path) -> Judged:
    """Let a saved model predict another data set, without what it was trained on.

    Faces whose picture (or a copy of it) or person stands among the training and validation faces are excluded.

    Parameters
    ----------
    fitted : faceworkbook.training.Fitted
    describe : callable
        ``(faces)`` to their descriptors (``face_id``, ``matrix``), by the networks that those of `trained` came from.
    source : Source
        The data set that is predicted.
    trained : PreparedData
        What the model was fitted on.
    trained_root : Path
        Folder of those pictures.
    """
    task, faces = fitted.task, source.faces
    labels = _labels_for(faces, task)
    fitted_rows = trained.faces.iloc[np.concatenate([trained.split.train, trained.split.validation])]
    both = overlap.find({"own": faces, "fitted": fitted_rows}, {"own": source.root, "fitted": trained_root})
    every, others = np.arange(len(faces)), np.arange(len(fitted_rows))
    reasons = np.full(len(faces), "", dtype=object)
    reasons[~labels.known] = OTHER_CLASS
    reasons[tasks.read_labels(faces, task.name).truth == None] = NO_LABEL  # noqa: E711
    reasons[both.shared("own", every, "fitted", others)] = SHARED
    if (reasons != "").all():
        raise ExternalError(
            f"no face of '{source.name}' is left to judge: {pd.Series(reasons).value_counts().to_dict()}"
        )
    described = describe(faces[reasons == ""])
    reasons[(reasons == "") & ~faces["face_id"].isin(described.face_id).to_numpy()] = NO_DESCRIPTOR
    kept = reasons == ""
    chosen = faces[kept].reset_index(drop=True)
    place = pd.Index(described.face_id).get_indexer(chosen["face_id"])
    output = fitted.predict(described.matrix[place])
    table = tables.build(chosen, task, truth=labels.truth[kept], output=output, split="test")
    excluded = pd.DataFrame({"side": DATASET, "name": faces["image"].astype(str), "reason": reasons})[~kept]
    return Judged("model", chosen, table, excluded.reset_index(drop=True), n_rows=len(faces), is_own=True)


def _labels_for(faces: pd.DataFrame, task: Task) -> Labels:
    """Read a data set's labels in the classes of a model that was trained on another set."""
    own = tasks.read_labels(faces, task.name)
    if own.task.kind != task.kind:
        raise ExternalError(f"'{task.name}' is {own.task.kind} here, the model learned {task.kind}")
    if task.is_number:
        return own
    place = np.array(
        [*(task.classes.index(c) if c in task.classes else tasks.MISSING for c in own.classes), tasks.MISSING]
    )
    return Labels(task, place[own.codes], own.values)

"""What is learned: one task, with the labels of the faces that it is learned from.

A `Task` knows its name, kind, classes and unit, and what follows from them: the metric that is named first,
the outputs, activation and loss of a network, how raw outputs become probabilities or numbers. `Labels` are
one task's labels of n faces. Nobody else asks what kind of label something is.

Any column of the face table can be a task. Several yes/no columns make one: ``"glasses+smile"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table

CLASSES, ORDERED, NUMBER, MULTILABEL = "classes", "ordered", "number", "multilabel"
KINDS = (CLASSES, ORDERED, NUMBER, MULTILABEL)
MISSING = -1
PLUS = "+"  # joins the names of the yes/no columns of a multi-label task
NO, YES = face_table.NO, face_table.YES
MAX_CLASSES = face_table.MAX_CLASSES
_RESERVED = {
    "face_id",
    "dataset",
    "image",
    "identity",
    "split",
    "fold",
    *face_table.BOX,
    *face_table.NOT_LABELS,
}

_UNITS = {"age": "years", "age_years": "years", **dict.fromkeys(face_table.POSE, "degrees")}
_TITLES = {"age_years": "age", "age_group": "age group"}

# Bins of yaw in degrees (arXiv 2003.06746), half-open as there, so that each yaw has one bin.
YAW_EDGES = (-60.0, -10.0, 10.0, 60.0)
YAW_BINS = ("<= -60", "(-60, -10]", "(-10, 10)", "[10, 60)", ">= 60")


class TaskError(ValueError):
    """A label that cannot be learned from this table; the text says what is there instead."""


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes
    ----------
    name : str
        A column of the face table, a derived label such as 'age_years', or names joined by '+'.
    kind : {'classes', 'ordered', 'number', 'multilabel'}
        'ordered' classes have an order (age groups, single years); 'multilabel' is several yes/no labels.
    classes : tuple of str
        Names in the order of the outputs; of a multi-label task its columns; empty for a number.
    unit : str
        'years', 'degrees' or ''.
    class_values : tuple of float
        The number that each class stands for (single years); such a task is read as its expectation.
    has_probabilities : bool
        False where a model names a class and no more; what needs probabilities is then not defined.
    """

    name: str
    kind: str = CLASSES
    classes: tuple[str, ...] = ()
    unit: str = ""
    class_values: tuple[float, ...] = ()
    has_probabilities: bool = True

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "class_values", tuple(float(v) for v in self.class_values))
        if self.kind not in KINDS:
            raise TaskError(f"kind={self.kind!r} of task '{self.name}'; allowed are {list(KINDS)}")
        if self.is_number == bool(self.classes):
            raise TaskError(f"task '{self.name}' is of kind {self.kind!r} and has classes {self.classes}")
        if self.class_values and len(self.class_values) != len(self.classes):
            n = len(self.class_values)
            raise TaskError(f"task '{self.name}' has {len(self.classes)} classes, {n} values")

    @property
    def is_number(self) -> bool:
        """Whether a number is learned."""
        return self.kind == NUMBER

    @property
    def is_multilabel(self) -> bool:
        """Whether several yes/no labels are learned at once."""
        return self.kind == MULTILABEL

    @property
    def is_exclusive(self) -> bool:
        """Whether each face is of one class, so that probabilities add up to 1."""
        return self.kind in (CLASSES, ORDERED)

    @property
    def is_binary(self) -> bool:
        """Whether there are two exclusive classes; a network has one sigmoid output for the second."""
        return self.is_exclusive and len(self.classes) == 2

    @property
    def title(self) -> str:
        """The name as a reader says it."""
        return _TITLES.get(self.name, self.name.replace("_", " ").replace(PLUS, ", "))

    @property
    def headline(self) -> str:
        """The metric by which models of this task are judged first."""
        if self.is_number:
            return "mae"
        return "expected_mae" if self.class_values and self.has_probabilities else "accuracy"

    @property
    def n_outputs(self) -> int:
        """Outputs of a network's last layer."""
        return 1 if self.is_number or self.is_binary else len(self.classes)

    @property
    def activation(self) -> str:
        """Activation of a network's last layer."""
        if self.is_number:
            return "linear"
        return "sigmoid" if self.is_binary or self.is_multilabel else "softmax"

    @property
    def loss(self) -> str:
        """Keras's name of the loss, on probabilities (``from_logits`` is False) or on the number."""
        if self.is_number:
            return "mean_squared_error"
        return "sparse_categorical_crossentropy" if self.activation == "softmax" else "binary_crossentropy"

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Turn what a model puts out into probabilities or numbers.

        Parameters
        ----------
        output : ndarray of shape (n, n_outputs), (n, n_classes) or (n,)
            Probabilities (the sigmoid of the second class alone counts), or numbers in the task's unit.

        Returns
        -------
        ndarray of shape (n, n_classes) in 0..1, or (n,) of numbers; float64
            Rows of exclusive classes add up to 1.

        Raises
        ------
        TaskError
            Another shape, NaN, or values that are no probabilities.
        """
        output = np.asarray(output, dtype=np.float64)
        output = output[:, None] if output.ndim == 1 else output
        if not np.isfinite(output).all():
            bad = int((~np.isfinite(output)).any(axis=1).sum())
            raise TaskError(
                f"{bad} of {len(output)} outputs for '{self.name}' are NaN or infinite; fit the model again"
            )
        if self.is_number and output.shape[1] == 1:
            return output[:, 0]
        if self.is_binary and output.shape[1] == 1:
            output = np.hstack([1 - output, output])
        if output.shape[1] != len(self.classes) or self.is_number:
            raise TaskError(
                f"outputs for '{self.name}' have shape {output.shape}; expected one column "
                + ("with the number" if self.is_number else f"for each of {len(self.classes)} classes")
            )
        if output.size and (output.min() < -1e-6 or output.max() > 1 + 1e-3):
            raise TaskError(
                f"outputs for '{self.name}' lie in {output.min():.3g}..{output.max():.3g}; probabilities lie in 0..1 "
                "(end the network in a sigmoid or soft-max)"
            )
        output = np.clip(output, 0, 1)
        return output / output.sum(axis=1, keepdims=True) if self.is_exclusive else output

    def keep(self, classes: Sequence[str]) -> Task:
        """Return the task with some of its classes, in the order given."""
        place = [self.classes.index(name) for name in classes]
        values = tuple(self.class_values[i] for i in place) if self.class_values else ()
        return replace(self, classes=tuple(classes), class_values=values)

    def to_record(self) -> dict:
        """Return plain values that JSON knows; `Task.from_record` reads them."""
        return asdict(self) | {"classes": list(self.classes), "class_values": list(self.class_values)}

    @classmethod
    def from_record(cls, record: dict) -> Task:
        """Read what `to_record` wrote."""
        try:
            return cls(**record)
        except (TypeError, AttributeError, ValueError) as error:
            raise TaskError(f"{record!r} describes no task ({error})") from error


@dataclass(frozen=True, eq=False)
class Labels:
    """One task's labels of n faces.

    Attributes
    ----------
    task : Task
    codes : ndarray of shape (n,), int64, or (n, n_classes) for a multi-label task
        Index into the task's classes, -1 where unknown (all -1 for numbers); 0 or 1 a yes/no label.
    values : ndarray of shape (n,), float64
        Numbers in the task's unit, NaN where unknown; all NaN for classes that stand for no number.

    Notes
    -----
    Labels are what annotators saw, or what a file says: not what people are.
    """

    task: Task
    codes: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The task's classes."""
        return self.task.classes

    @property
    def known(self) -> np.ndarray:
        """Which faces bear the label, bool (n,); all of them for a multi-label task."""
        if self.task.is_number:
            return ~np.isnan(self.values)
        return (self.codes != MISSING).all(axis=1) if self.task.is_multilabel else self.codes != MISSING

    @property
    def truth(self) -> np.ndarray:
        """Labels as a table of predictions wants them, shape (n,): numbers, or names with None where unknown."""
        if self.task.is_number:
            return self.values
        if self.task.is_multilabel:
            names = np.array([join_names(self.classes, row == 1) for row in self.codes], dtype=object)
            return np.where(self.known, names, None)
        return np.array([*self.classes, None], dtype=object)[self.codes]

    def take(self, rows) -> Labels:
        """Return the labels of some faces; the task stays as it is."""
        return Labels(self.task, self.codes[rows], self.values[rows])

    def hide(self, rows) -> Labels:
        """Return the labels with those of `rows` unknown."""
        codes, values = self.codes.copy(), self.values.copy()
        codes[rows], values[rows] = MISSING, np.nan
        return Labels(self.task, codes, values)

    def counts(self) -> pd.Series:
        """Count faces by class (by yes for a multi-label task); for numbers the known ones."""
        if self.task.is_number:
            return pd.Series({self.name: int(self.known.sum())}, name="faces")
        known = self.codes[self.known]
        each = (
            known.sum(axis=0) if self.task.is_multilabel else np.bincount(known, minlength=len(self.classes))
        )
        return pd.Series(each, index=list(self.classes), name="faces")


def join_names(classes: Sequence[str], present: np.ndarray) -> str:
    """Name the yes labels of one face, such as 'glasses+smile'; 'none' where all are no."""
    return PLUS.join(name for name, is_there in zip(classes, present, strict=True) if is_there) or "none"


# --------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class _Derived:
    read: Callable[[pd.DataFrame], Labels]
    column: str


_DERIVED: dict[str, _Derived] = {}


def register(name: str, read: Callable[[pd.DataFrame], Labels], *, column: str) -> None:
    """Make a label that is computed from the face table known by `name`.

    Parameters
    ----------
    name : str
        An identifier that is no column of the face table.
    read : callable
        From the face table (n rows) to `Labels` of n faces; see `labels_of_classes`, `labels_of_numbers`.
    column : str
        The column that it is computed from; splits are stratified by it.
    """
    if not name.isidentifier():
        raise TaskError(f"name={name!r}; a label's name has letters, digits and underscores")
    _DERIVED[name] = _Derived(read, column)


def read_labels(faces: pd.DataFrame, name: str) -> Labels:
    """Read the labels `name` of a face table.

    Parameters
    ----------
    faces : pandas.DataFrame
        Face table of n rows.
    name : str
        Any label column: categories, texts with few values and yes/no become classes, numbers a number.
        'age_group' is made from `age` where it is missing; 'age_years' are single years as classes, read as
        their expectation; 'pose' is five bins of yaw; 'a+b' several yes/no columns at once; and whatever was
        registered.

    Raises
    ------
    TaskError
        An unknown name, or a label that fewer than two different faces bear.
    """
    if name in _DERIVED and name not in faces:
        return _DERIVED[name].read(faces)
    if PLUS in name:
        return _multilabel(faces, name)
    known = face_table.label_columns(faces)
    if name == "age_group":
        return _of_column(_age_groups(faces), name, faces)
    if name not in faces or name in _RESERVED:
        raise TaskError(_unknown(faces, name, known))
    return _of_column(faces[name], name, faces)


def source_columns(faces: pd.DataFrame, name: str) -> list[str]:
    """Columns of the face table that the label `name` is read from."""
    if name in _DERIVED and name not in faces:
        return [_DERIVED[name].column]
    if name == "age_group" and faces["age_group"].isna().all():
        return ["age"]
    return name.split(PLUS)


def labels_of_classes(
    labels, *, name: str, classes: Sequence[str] | None = None, ordered: bool = False
) -> Labels:
    """Make labels out of any sequence of class names; None, NaN and NA are unknown.

    `classes` gives the order (alphabetical where None); those that do not occur are dropped.
    """
    labels = pd.Series(labels, dtype=object).reset_index(drop=True)
    order = sorted(set(labels.dropna())) if classes is None else list(classes)
    wrong = sorted(set(labels.dropna()) - set(order))
    if wrong:
        raise TaskError(f"labels of '{name}' hold {wrong[:5]}, which are not among classes={order}")
    return _coded(pd.Series(pd.Categorical(labels, categories=order, ordered=ordered)), name)


def labels_of_numbers(values, *, name: str, unit: str | None = None) -> Labels:
    """Make labels out of any sequence of numbers; NaN is unknown."""
    values = pd.Series(values).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    if len(np.unique(values[~np.isnan(values)])) < 2:
        raise TaskError(f"'{name}' holds fewer than two different numbers; there is nothing to learn")
    task = Task(name, NUMBER, unit=_UNITS.get(name, "") if unit is None else unit)
    return Labels(task, np.full(len(values), MISSING, np.int64), values)


def _of_column(values: pd.Series, name: str, faces: pd.DataFrame) -> Labels:
    if values.nunique() < 2:
        raise TaskError(_too_few(values.dropna().unique(), name, faces))
    if pd.api.types.is_bool_dtype(values.dtype):
        words = values.astype(object).map({True: YES, False: NO})
        return labels_of_classes(words, name=name, classes=(NO, YES))
    if pd.api.types.is_numeric_dtype(values.dtype):
        return labels_of_numbers(values, name=name)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _coded(values, name)
    if values.nunique() > MAX_CLASSES:
        raise TaskError(
            f"column '{name}' holds {values.nunique():,} different texts; at most {MAX_CLASSES} can be classes"
        )
    return labels_of_classes(values, name=name)


def _coded(labels: pd.Series, name: str) -> Labels:
    labels = labels.cat.remove_unused_categories()
    if len(labels.cat.categories) < 2:
        raise TaskError(f"'{name}' holds fewer than two classes; nothing can be learned from it")
    codes = labels.cat.codes.to_numpy(dtype=np.int64)
    kind = ORDERED if labels.cat.ordered else CLASSES
    task = Task(name, kind, tuple(str(c) for c in labels.cat.categories))
    return Labels(task, codes, np.full(len(codes), np.nan))


def _multilabel(faces: pd.DataFrame, name: str) -> Labels:
    columns = name.split(PLUS)
    each = [read_labels(faces, column) for column in columns]
    wrong = {one.name: list(one.classes) for one in each if set(one.classes) != {NO, YES}}
    if wrong or len(set(columns)) < len(columns):
        raise TaskError(
            f"label '{name}' joins yes/no columns; these are none (or stand twice): {wrong or columns}. Columns "
            f"of this table: {face_table.label_columns(faces)}"
        )
    codes = np.column_stack([one.codes for one in each])
    return Labels(Task(name, MULTILABEL, tuple(columns)), codes, np.full(len(codes), np.nan))


def _age_groups(faces: pd.DataFrame) -> pd.Series:
    groups = faces["age_group"]
    if set(groups.cat.categories) != set(face_table.AGE_GROUPS_ADIENCE):
        return groups
    derived = face_table.age_to_group(faces["age"])
    return groups.where(groups.notna(), derived)


def _ages(faces: pd.DataFrame) -> Labels:
    number = _of_column(faces["age"], "age", faces)
    years = np.round(number.values[number.known]).astype(int)
    occurring, codes = np.unique(years, return_inverse=True)
    all_codes = number.codes.copy()
    all_codes[number.known] = codes
    classes = tuple(str(y) for y in occurring)
    return Labels(Task("age_years", ORDERED, classes, "years", tuple(occurring)), all_codes, number.values)


def _yaw_bins(faces: pd.DataFrame) -> Labels:
    yaw = faces["yaw"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return labels_of_classes(name_yaw_bins(yaw), name="pose", classes=YAW_BINS)


def name_yaw_bins(yaw: np.ndarray) -> np.ndarray:
    """Name the five bins (arXiv 2003.06746) of yaw in degrees; None where yaw is NaN."""
    low, left, right, high = YAW_EDGES
    conditions = [yaw <= low, yaw <= left, yaw < right, yaw < high, yaw >= high]
    return np.select(conditions, np.array(YAW_BINS, dtype=object)[:, None], default=None)


def _unknown(faces: pd.DataFrame, name: str, known: list[str]) -> str:
    state = f"column '{name}' holds no known value" if name in faces else f"label {name!r} is unknown"
    return f"{state}; labels of this table: {[*known, *_DERIVED]}, or yes/no columns joined by '{PLUS}'"


def _too_few(values, name: str, faces: pd.DataFrame) -> str:
    held = f"only {values[0]!r}" if len(values) else "no known value"
    other = [column for column in face_table.label_columns(faces) if column != name]
    return f"column '{name}' holds {held}; a label needs two different ones. Labels of this table: {other}"


register("age_years", _ages, column="age")
register("pose", _yaw_bins, column="yaw")

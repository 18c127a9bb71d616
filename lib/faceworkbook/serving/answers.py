"""What a predictor answers about a face for one task: class, calibrated probability, set, number, and how often it is right.

Nothing here is about who somebody is: classes are annotators' words, numbers an annotator's or file's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from faceworkbook.serving.checks import PredictorError, check_kind, check_number, check_text
from faceworkbook.tasks import Task, join_names

SMALLEST = 1e-12
MAX_CLASSES, MAX_CELLS = 1000, 5000
JOIN = " | "  # between the classes of a set
FIGURES = ("accuracy", "mae")


@dataclass(frozen=True)
class Cell:
    """How good answers were for measured faces of one kind.

    Attributes
    ----------
    like : dict of str to str
        Of which kind: ``predicted`` (the class that is answered), ``pose``, ``size``, or another task's name with its
        predicted class. Empty: all measured faces.
    value, low, high : float
        Accuracy (mean absolute error of a number), and the ends of its 95 % interval (NaN where there is none).
    n, people : int
        Faces, and different people (0 where nobody is known).
    """

    like: dict
    value: float
    low: float
    high: float
    n: int
    people: int = 0

    def describe(self) -> str:
        """Return of which kind the faces are, in words."""
        words = [
            value if name in ("pose", "size") else f"{name} {value}" for name, value in self.like.items()
        ]
        return ", ".join(words) or "all measured faces"


def log_odds(shares: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)), finite for 0 and 1."""
    return np.log(np.clip(shares, SMALLEST, 1)) - np.log(np.clip(1 - shares, SMALLEST, 1))


@dataclass(frozen=True, eq=False)
class Answering:
    """What is known of one task's answers.

    Attributes
    ----------
    task : Task
    temperature : float
        Of temperature scaling (Guo et al. 2017); 1 where nothing was calibrated.
    coverage : float
        Share of faces whose set (or interval) is to hold the truth; 0 where there are no sets.
    limits : dict of str to float
        Largest 1 - p with which a class enters the set, by class, so that the coverage holds among the faces of
        each (Vovk 2012); inf for a class with too few validation faces, which enters every set.
    common_limit : float
        The one limit for all classes.
    group_limits : dict of str to dict
        Limits by group of an attribute, for those who know a face's group.
    bands : tuple of (float, float)
        Of a number: up to which predicted value, and how far the interval reaches to each side.
    cells : tuple of Cell
    label_temperatures : dict of str to float
        Of several yes/no labels, each by itself.
    """

    task: Task
    temperature: float = 1.0
    coverage: float = 0.0
    limits: Mapping[str, float] = field(default_factory=dict)
    common_limit: float = np.inf
    group_limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    bands: tuple[tuple[float, float], ...] = ()
    cells: tuple[Cell, ...] = ()
    label_temperatures: Mapping[str, float] = field(default_factory=dict)
    _known: dict = field(default_factory=dict, repr=False)

    @property
    def is_value(self) -> bool:
        """Whether the answer is a number: the task is one, or its classes stand for numbers."""
        return self.task.is_number or bool(self.task.class_values)

    def calibrate(self, decoded: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities (n, n_classes) of what `Task.decode` gives; others are returned as they are."""
        if self.label_temperatures:
            return 1 / (1 + np.exp(-log_odds(decoded) / self.temperatures))
        if not self.task.is_exclusive or self.temperature == 1:
            return decoded
        logits = np.log(np.clip(decoded, SMALLEST, 1)) / self.temperature
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    @property
    def temperatures(self) -> np.ndarray:
        """Temperature of each yes/no label, (n_labels,); 1 where a label was not calibrated."""
        return np.array([self.label_temperatures.get(name, 1.0) for name in self.task.classes])

    def sets(self, shares: np.ndarray) -> np.ndarray:
        """Return which classes are in each face's set, bool (n, n_classes), from calibrated probabilities."""
        limits = np.array([self.limits.get(name, np.inf) for name in self.task.classes])
        return 1 - shares <= limits + 1e-12

    def reach(self, values: np.ndarray) -> np.ndarray:
        """Return how far the interval of each predicted number reaches to each side, (n,)."""
        upto, reach = np.array(self.bands, dtype=float).T
        return reach[np.minimum(np.searchsorted(upto, values), len(reach) - 1)]

    def values(self, shares: np.ndarray) -> np.ndarray:
        """Return the predicted number of each face, (n,): for classes their mean under the probabilities."""
        return shares if self.task.is_number else shares @ np.array(self.task.class_values)

    def predicted(self, shares: np.ndarray) -> list[str]:
        """Return the predicted class of each face; of yes/no labels those that are yes."""
        if self.task.is_multilabel:
            return [join_names(self.task.classes, row >= 0.5) for row in shares]
        return [self.task.classes[code] for code in shares.argmax(axis=1)]

    def cell_of(self, face: Mapping[str, str]) -> Cell | None:
        """Return what was measured of the faces most like this one; of several kinds the least accurate."""
        kind = tuple(sorted(face.items()))
        if kind not in self._known:
            fitting = [cell for cell in self.cells if all(face.get(k) == v for k, v in cell.like.items())]
            worse = 1 if not self.is_value else -1
            best = min(fitting, key=lambda cell: (-len(cell.like), worse * cell.value), default=None)
            self._known[kind] = best
        return self._known[kind]

    def to_record(self) -> dict:
        """Return plain values; inf is written as null."""
        # A predictor without several labels is written as it was before they were calibrated.
        own = {"label_temperatures": dict(self.label_temperatures)} if self.label_temperatures else {}
        return {
            **own,
            "task": self.task.to_record(),
            "temperature": self.temperature,
            "coverage": self.coverage,
            "limits": _finite(self.limits),
            "common_limit": _none_for_inf(self.common_limit),
            "group_limits": {name: _finite(limits) for name, limits in self.group_limits.items()},
            "bands": [[_none_for_inf(upto), _none_for_inf(reach)] for upto, reach in self.bands],
            "cells": [{k: _none_for_inf(v) for k, v in asdict(cell).items()} for cell in self.cells],
        }

    @classmethod
    def from_record(cls, record: Mapping) -> Answering:
        """Read what `to_record` wrote; every value is checked."""
        values = dict(check_kind(record, dict, "a task"))
        values.pop("_known", None)
        task = read_task(values.pop("task", None))
        values["bands"] = tuple((_inf_for_none(u), _inf_for_none(r)) for u, r in values.get("bands", ()))
        values["cells"] = tuple(
            map(_read_cell, check_kind(values.get("cells", []), list, "cells")[:MAX_CELLS])
        )
        values["limits"] = _read_limits(values.get("limits", {}))
        groups = check_kind(values.get("group_limits", {}), dict, "group_limits")
        values["group_limits"] = {str(name): _read_limits(limits) for name, limits in groups.items()}
        values["common_limit"] = _inf_for_none(values.get("common_limit"))
        made = cls(task, **values)
        check_number(made.temperature, f"{task.name}.temperature", low=0.01, high=100)
        for name, own in check_kind(made.label_temperatures, dict, "label_temperatures").items():
            check_number(own, f"{task.name}.label_temperatures.{name}", low=0.01, high=100)
        check_number(made.coverage, f"{task.name}.coverage", low=0, high=1)
        for upto, reach in made.bands:
            if not (isinstance(upto, float) and isinstance(reach, float) and reach >= 0):
                raise PredictorError(f"{task.name}.bands holds {upto!r}, {reach!r}; expected numbers")
        return made


def read_task(record) -> Task:
    """Read a `Task` from a file, its names within bounds."""
    task = Task.from_record(check_kind(record, dict, "task"))
    if len(task.classes) > MAX_CLASSES or len(set(task.classes)) < len(task.classes):
        raise PredictorError(
            f"a task has {len(task.classes)} classes; allowed are {MAX_CLASSES} different ones"
        )
    for text in (task.name, task.unit, *task.classes):
        check_text(text, "a name of the task", length=200)
    for value in task.class_values:
        check_number(value, "a value of a class", low=-1e9, high=1e9)
    return task


def _finite(limits: Mapping[str, float]) -> dict:
    return {name: _none_for_inf(limit) for name, limit in limits.items()}


def _none_for_inf(value):
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _inf_for_none(value) -> float:
    return np.inf if value is None else check_number(value, "a limit", low=-1e12, high=1e12)


def _read_limits(limits) -> dict[str, float]:
    return {str(name): _inf_for_none(limit) for name, limit in check_kind(limits, dict, "limits").items()}


def _read_cell(record) -> Cell:
    cell = Cell(**check_kind(record, dict, "a cell"))
    ends = [
        np.nan if v is None else check_number(v, "a cell", low=0, high=1e9) for v in (cell.low, cell.high)
    ]
    like = {
        check_text(k, "a cell"): check_text(v, "a cell")
        for k, v in check_kind(cell.like, dict, "like").items()
    }
    check_number(cell.value, "a cell", low=0, high=1e9)
    for count in (cell.n, cell.people):
        check_number(count, "a cell", low=0, high=1e12)
    return replace(cell, like=like, low=ends[0], high=ends[1])


def make_columns(
    answering: Sequence[Answering], outputs: Mapping[str, np.ndarray], bands: Sequence[Mapping[str, str]]
) -> pd.DataFrame:
    """Return the columns of all tasks' answers, one row a face.

    Parameters
    ----------
    answering : sequence of Answering
    outputs : dict of str to ndarray
        What the head puts out, by task; see `Task.decode`.
    bands : sequence of n dicts
        ``pose`` and ``size`` of each face, where they are known.
    """
    shares = {one.task.name: one.calibrate(one.task.decode(outputs[one.task.name])) for one in answering}
    named = {one.task.name: one.predicted(shares[one.task.name]) for one in answering if not one.is_value}
    columns: dict[str, object] = {}
    for one in answering:
        name = one.task.name
        columns |= _columns_of(one, shares[name])
        cells = [one.cell_of(_describe_face(name, named, band, i)) for i, band in enumerate(bands)]
        columns |= _cell_columns(name, cells, is_value=one.is_value)
    return pd.DataFrame(columns, index=range(len(bands)))


def _describe_face(task: str, named: Mapping[str, list], band: Mapping[str, str], row: int) -> dict:
    others = {name: values[row] for name, values in named.items() if name != task}
    own = {"predicted": named[task][row]} if task in named else {}
    return {**others, **own, **band}


def _columns_of(one: Answering, shares: np.ndarray) -> dict:
    name, columns = one.task.name, {}
    if one.is_value:
        values = one.values(shares)
        reach = one.reach(values) if one.bands else np.full(len(values), np.nan)
        columns = {name: values, f"{name}_low": values - reach, f"{name}_high": values + reach}
    else:
        columns = {name: one.predicted(shares)}
        if one.task.is_exclusive:
            columns[f"{name}_probability"] = shares.max(axis=1)
            columns[f"{name}_set"] = _name_sets(one, shares)
    if one.task.is_multilabel or (one.task.is_exclusive and not one.task.class_values):
        columns |= {f"p:{name}={c}": shares[:, code] for code, c in enumerate(one.task.classes)}
    return columns


def _name_sets(one: Answering, shares: np.ndarray) -> list[str]:
    if not one.limits:
        return [""] * len(shares)
    names = np.array(one.task.classes, dtype=object)
    return [JOIN.join(names[inside]) for inside in one.sets(shares)]


def _cell_columns(name: str, cells: Sequence[Cell | None], *, is_value: bool) -> dict:
    what = f"{name}_{'error' if is_value else 'accuracy'}_here"
    return {
        what: [cell.value if cell else np.nan for cell in cells],
        f"{what}_low": [cell.low if cell else np.nan for cell in cells],
        f"{what}_high": [cell.high if cell else np.nan for cell in cells],
        f"{what}_n": [cell.n if cell else 0 for cell in cells],
        f"{what}_like": [cell.describe() if cell else "" for cell in cells],
    }

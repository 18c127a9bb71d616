"""What a search of hyper-parameters draws from: ranges and choices by classifier, as plain tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from faceworkbook import tasks


class SpaceError(ValueError):
    """A range or a choice that nothing can be drawn from; the text says what to change."""


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included.

    Attributes
    ----------
    low, high : float
    log : bool
        Drawn uniformly on a logarithmic scale.
    whole : bool
        Whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self):
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        if not finite or self.low > self.high or (self.log and self.low <= 0):
            raise SpaceError(
                f"Range({self.low}, {self.high}, log={self.log}); allowed are finite bounds with low <= high, "
                "above 0 on a logarithmic scale"
            )

    def distribution(self):
        """Return the range as Optuna knows it."""
        from optuna import distributions

        if self.whole:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)

    def decode(self, value):
        """Return what was drawn as a classifier takes it."""
        return value

    def describe(self) -> str:
        """Return the range in words."""
        kind = "whole numbers" if self.whole else "logarithmic" if self.log else "uniform"
        return f"{self.low:g} to {self.high:g}, {kind}"


@dataclass(frozen=True)
class Choice:
    """One of several values: numbers, texts, true and false, or tuples of numbers (layers)."""

    values: tuple

    def __post_init__(self):
        values = tuple(tuple(value) if isinstance(value, list) else value for value in self.values)
        object.__setattr__(self, "values", values)
        if not self.values:
            raise SpaceError("Choice(()) has nothing to choose from; give one value or more")

    def distribution(self):
        """Return the choice as Optuna knows it; tuples as text."""
        from optuna import distributions

        return distributions.CategoricalDistribution([_plain(value) for value in self.values])

    def decode(self, value):
        """Return what was drawn as a classifier takes it."""
        return next(own for own in self.values if _plain(own) == value)

    def describe(self) -> str:
        """Return the choices in words."""
        return " | ".join(str(_plain(value)) for value in self.values)


Space = Mapping[str, Range | Choice]


def _plain(value):
    return json.dumps(list(value)) if isinstance(value, tuple | list) else value


_RATE, _DECAY = Range(1e-4, 1e-1, log=True), Range(1e-6, 1e-1, log=True)
# Which options of a classifier take a list of what it is to try itself: a search gives it one value at a time.
LISTS = {
    "linear": {"strength": "strengths"},
    "kernel": {"landmarks": "landmarks", "width": "widths", "alpha": "alphas"},
}


def of(
    classifier: str, task: tasks.Task, *, blocks: Sequence[int] = (), n_labels: int = 1
) -> dict[str, Range | Choice]:
    """Return the space of a classifier.

    Parameters
    ----------
    classifier : {'mlp', 'residual_mlp', 'linear', 'kernel', 'multitask', 'fine_tune'}
        That of 'residual_mlp' has the ranges of arXiv 2108.08186.
    task : Task
        Classes can weigh by how rare they are, numbers cannot.
    blocks : sequence of int
        Widths of the blocks that stand side by side in the descriptors: 'kernel' chooses among several, as it does
        in 03_classifier.
    n_labels : int
        Labels that are learned together: the losses of several can weigh alike, or by what is learned of them.

    Raises
    ------
    SpaceError
        A classifier that has no space of its own.
    """
    if classifier not in _SPACES:
        raise SpaceError(
            f"classifier={classifier!r} has no space; there is one for {sorted(_SPACES)}; give a space of your own"
        )
    space = dict(_SPACES[classifier])
    if classifier == "linear" and task.is_number:
        space["strength"] = Range(1.0, 1e5, log=True)
    if classifier == "kernel" and len(blocks) > 1:
        space["blocks"] = Choice((tuple(blocks),))
    if n_labels > 1:
        space["task_weights"] = Choice(("equal", "uncertainty"))
    if classifier == "fine_tune" and task.is_exclusive:
        space["label_smoothing"] = Choice((0.0, 0.05, 0.1))
    if task.is_exclusive:
        space["balance"] = Choice(("none", "class_weights"))
    return space


_SPACES: dict[str, Space] = {
    "mlp": {
        "widths": Choice(((16,), (64,), (16, 16), (64, 32))),
        "dropout": Range(0.0, 0.6),
        "input_dropout": Range(0.0, 0.5),
        "learning_rate": _RATE,
        "weight_decay": _DECAY,
        "gamma": Range(0.8, 1.0),
    },
    "residual_mlp": {
        "residuals": Range(0, 5, whole=True),
        "groups": Range(0, 5, whole=True),
        "batch_size": Choice((128, 256, 512)),
        "learning_rate": Range(1e-6, 1e-1, log=True),
        "weight_decay": _DECAY,
        "gamma": Range(1e-6, 1.0, log=True),
    },
    "linear": {"strength": Range(1e-5, 1.0, log=True)},
    "kernel": {
        "landmarks": Choice((500, 1000, 2000)),
        "width": Range(0.2, 5.0, log=True),
        "alpha": Range(0.01, 10.0, log=True),
    },
    "multitask": {
        "heads": Choice(("linear", "bottleneck", "stitch")),
        "hidden": Choice(((), (128,), (256,), (256, 128))),
        "batch_norm": Choice((True, False)),
        "dropout": Range(0.0, 0.6),
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "decay_factor": Range(0.1, 1.0),
        "weight_decay": _DECAY,
        "batch_size": Choice((64, 128, 256)),
    },
    "fine_tune": {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "trunk": Range(1e-3, 1.0, log=True),
        "schedule": Choice(("cosine", "constant")),
        "weight_decay": Range(1e-6, 1e-2, log=True),
        "hidden": Choice(((), (64,), (256,))),
        "dropout": Range(0.0, 0.6),
        "batch_size": Choice((32, 64, 128)),
        "flip": Choice((0.0, 0.5)),
    },
}


def options(classifier: str, space: Space, drawn: Mapping) -> dict:
    """Return what was drawn as options of `faceworkbook.training.fit`."""
    lists = LISTS.get(classifier, {})
    values = {name: space[name].decode(value) for name, value in drawn.items()}
    return {lists.get(name, name): [value] if name in lists else value for name, value in values.items()}


def table(space: Space) -> pd.DataFrame:
    """Return one row a hyper-parameter, with what it is drawn from in words."""
    rows = [(name, one.describe()) for name, one in space.items()]
    return pd.DataFrame(rows, columns=["hyper-parameter", "drawn from"])

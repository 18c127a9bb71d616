"""How the losses of several tasks become one: fixed weights, or weights learned from uncertainty."""

from __future__ import annotations

import keras
from keras import ops

UNCERTAINTY = "uncertainty"
WEIGHTS = "weights"


class EqualWeights:
    """The plain sum of the losses."""

    variables: tuple = ()

    def total(self, losses: dict):
        """Return the sum of scalar losses, by task."""
        return sum(losses.values())

    def values(self) -> dict[str, float]:
        """Return nothing: no weight was chosen."""
        return {}


class FixedWeights:
    """sum(weight * loss); a task that is not named weighs 1."""

    def __init__(self, tasks, weights: dict[str, float]):
        unknown = sorted(set(weights) - {task.name for task in tasks})
        if unknown:
            raise ValueError(f"task weights name {unknown}; the tasks are {[t.name for t in tasks]}")
        negative = {name: weight for name, weight in weights.items() if not weight >= 0}
        if negative:
            raise ValueError(f"task weights {negative}; allowed is 0 or more")
        self._weights = {task.name: float(weights.get(task.name, 1.0)) for task in tasks}
        self.variables: list = []

    def total(self, losses: dict):
        """Return the weighted sum of scalar losses, by task."""
        return sum(self._weights[name] * loss for name, loss in losses.items())

    def values(self) -> dict[str, float]:
        """Return the weights, by task."""
        return dict(self._weights)


class UncertaintyWeights:
    """Weights learned from each task's homoscedastic uncertainty.

    With s = log sigma^2 a task: exp(-s) * loss + s / 2 for classes, exp(-s) / 2 * loss + s / 2 for a number
    (Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018).  `total` is
    given the tasks that have a label in the batch, so the s of the others does not drift.
    """

    def __init__(self, tasks):
        self._numbers = {task.name: task.is_number for task in tasks}
        self._log_variances = {
            task.name: keras.Variable(0.0, name=f"log_variance_{task.name}") for task in tasks
        }
        self.variables = list(self._log_variances.values())

    def total(self, losses: dict):
        """Return the weighted sum of scalar losses, by task."""
        return sum(self._term(name, loss) for name, loss in losses.items())

    def _term(self, name: str, loss):
        s = self._log_variances[name]
        factor = 0.5 if self._numbers[name] else 1.0
        return factor * ops.exp(-s) * loss + 0.5 * s

    def values(self) -> dict[str, float]:
        """Return the current weights, by task."""
        return {
            name: float(ops.exp(-s)) * (0.5 if self._numbers[name] else 1.0)
            for name, s in self._log_variances.items()
        }


def make(tasks, task_weights: dict[str, float] | str):
    """Return `UncertaintyWeights` for 'uncertainty', else `FixedWeights` with those weights."""
    if task_weights == UNCERTAINTY:
        return UncertaintyWeights(tasks)
    if isinstance(task_weights, str):
        raise ValueError(f"task_weights={task_weights!r}; allowed are 'uncertainty' or a weight a task")
    return FixedWeights(tasks, task_weights)

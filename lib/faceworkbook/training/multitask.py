"""Train several tasks on one trunk from arrays: single, joint or in turn, with labels missing.

`fit` sees training and validation rows and nothing else: the best epoch is chosen on validation rows, and
test rows stay with the caller, who reads them once with `models.multitask.predict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from faceworkbook.files import hash_values
from faceworkbook.models.multitask import MultitaskNet
from faceworkbook.tasks import Labels
from faceworkbook.training import checkpoint, loop, param_groups, targets, weighting
from faceworkbook.training.ahead import make_ahead
from faceworkbook.training.batches import Alternating, Joint
from faceworkbook.training.filling import Filling, Planned
from faceworkbook.training.loop import Batch, Fitted, Learner
from faceworkbook.training.param_groups import ParamGroup
from faceworkbook.training.pseudo_labels import Fill

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Settings(loop.Settings):
    """How to train on descriptors; the fields of `loop.Settings`, and these.

    Attributes
    ----------
    task_weights : dict of str to float, or 'uncertainty'
        Fixed weights of the losses (1 where a task is not named), or learned (Kendall 2018).
    frozen_epochs : dict of str to int
        Epochs at the start during which a parameter group stays as it is; its batch norm then uses its
        stored statistics.
    fill : Fill
        What stands for missing labels; nothing by default.
    xla : bool
        Compile the step with XLA: faster on a GPU, slower on a processor.

    Notes
    -----
    Parameter groups are 'trunk', 'shared', 'weights' (learned task weights) and the tasks' names.
    """

    task_weights: dict | str = field(default_factory=dict)
    frozen_epochs: dict = field(default_factory=dict)
    fill: Fill = field(default_factory=Fill)
    xla: bool = False


def fit(
    net: MultitaskNet,
    x,
    labels: Mapping[str, Labels],
    *,
    plan: Joint | Alternating,
    validation: np.ndarray,
    settings: Settings,
    folder: str | Path | None = None,
) -> Fitted:
    """Train `net` in place and leave it with its best epoch's weights.

    Parameters
    ----------
    net : MultitaskNet
    x : ndarray of shape (n, ...)
        What the trunk takes, all data sets below each other; may be memory-mapped.
    labels : dict of str to Labels
        One a task, n labels each, most of them perhaps missing.
    plan : Joint or Alternating
        Training rows, in which order. `Joint` with one task is single-task training.
    validation : ndarray of int
        Rows that choose the best epoch; none of them may be a training row.
    settings : Settings
    folder : path, optional
        See `loop.fit`.

    Raises
    ------
    ValueError
        Rows in both training and validation, a task without any label there, unknown parameter groups.
    CheckpointError
        The folder holds a checkpoint of another run, or a damaged one.
    """
    validation = np.asarray(validation)
    targets.check(net, labels, {"train": _train_rows(plan), "validation": validation})
    weights = weighting.make(net.heads, settings.task_weights)
    groups, options = _param_groups(net, weights, settings), loop.StepOptions(xla=settings.xla)
    learner = Learner(net, groups, settings, weights=weights, options=options)
    train = _train_rows(plan)
    made = {
        head.name: targets.Targets(
            head, labels[head.name], weights=targets.weigh(labels[head.name], train, settings.balance)
        )
        for head in net.heads
    }
    filling = Filling(net, made, plan, settings.fill, validation)
    return loop.fit(learner, _Rows(x, filling, validation, settings), settings, folder=folder)


def _param_groups(net: MultitaskNet, weights, settings: Settings) -> list[ParamGroup]:
    layers = net.layers_by_group()
    allowed = [*layers, weighting.WEIGHTS]
    param_groups.check_names(settings.lr_multipliers, allowed=allowed, parameter="lr_multipliers")
    param_groups.check_names(settings.frozen_epochs, allowed=list(layers), parameter="frozen_epochs")
    multipliers = {name: settings.lr_multipliers.get(name, 1.0) for name in allowed}
    frozen = {name: frozenset(range(settings.frozen_epochs.get(name, 0))) for name in layers}
    return [
        *(
            ParamGroup(name, tuple(own), multipliers[name], frozen_epochs=frozen[name])
            for name, own in layers.items()
        ),
        ParamGroup(weighting.WEIGHTS, (), multipliers[weighting.WEIGHTS], extra=tuple(weights.variables)),
    ]


def _train_rows(plan: Joint | Alternating) -> np.ndarray:
    return np.unique(np.concatenate([stage.rows for stage in plan.stages]))


@dataclass
class _Rows(Planned):
    """Batches out of an array, in the order of a plan, with missing labels filled by the current net."""

    x: np.ndarray
    filling: Filling
    rows: np.ndarray  # of validation
    settings: Settings

    def train(self, epoch: int) -> Iterator[Batch]:
        return make_ahead(self._train(epoch))

    def _train(self, epoch: int) -> Iterator[Batch]:
        rng, filling = np.random.default_rng([self.settings.seed, epoch]), self.filling
        filling.renew(epoch, self.x, seed=int(rng.integers(2**31)))
        for batch in filling.plan.batches(epoch, rng):
            taken = {n: filling.take(n, batch.rows, counts=n in batch.tasks) for n in filling.targets}
            present = {name: (values, mask) for name, (values, mask) in taken.items() if mask.any()}
            yield Batch(tf.convert_to_tensor(np.asarray(self.x[batch.rows])), present)

    def validation(self) -> Iterator[Batch]:
        for rows in np.array_split(self.rows, -(-len(self.rows) // EVALUATION_BATCH)):
            taken = {name: targets.take(rows) for name, targets in self.filling.targets.items()}
            yield Batch(tf.convert_to_tensor(np.asarray(self.x[rows])), taken)

    def identity(self) -> dict:
        train, made = self.filling.rows, self.filling.targets
        return {
            "descriptors": checkpoint.fingerprint_rows(self.x, np.concatenate([train, self.rows])),
            "labels": {name: targets.fingerprint for name, targets in made.items()},
            "train": self.filling.plan.identity(),
            "validation": hash_values(self.rows),
        }

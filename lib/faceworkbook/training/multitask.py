"""Train several tasks on one trunk: single, joint or in turn, with labels missing, resumable.

`fit` sees training and validation rows and nothing else: the best epoch is chosen on validation rows, and
test rows stay with the caller, who reads them once with `classifiers.multitask.predict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import xxhash
from tqdm.auto import tqdm

from faceworkbook.models.multitask import Head, MultitaskNet, forward
from faceworkbook.tasks import Labels
from faceworkbook.training import checkpoint, masked, pseudo_labels, weighting
from faceworkbook.training.batches import Alternating, Batch, Joint
from faceworkbook.training.param_groups import ParamGroupOptimizers
from faceworkbook.training.pseudo_labels import Fill
from faceworkbook.training.schedules import Staircase


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    epochs : int
    learning_rate : float
    multipliers : dict of str to float
        Of the learning rate, by part: 'trunk', 'shared', 'weights' (learned task weights) or a task's name.
    decay : Staircase
        Fall of every part's learning rate.
    weight_decay : float
        Of kernels, decoupled from the gradient.
    task_weights : dict of str to float, or 'uncertainty'
        Fixed weights (1 where a task is not named), or learned (Kendall 2018).
    frozen_epochs : dict of str to int
        Epochs at the start during which a part stays as it is, by part; its batch norm then uses its
        stored statistics.
    patience : int
        Epochs without a better validation loss before training ends; 0 never ends it early.
    seed : int
        Of batches and mixtures (initial weights and dropout were seeded when the net was built).
    """

    epochs: int = 30
    learning_rate: float = 1e-3
    multipliers: dict = field(default_factory=dict)
    decay: Staircase = field(default_factory=Staircase)
    weight_decay: float = 1e-4
    task_weights: dict | str = field(default_factory=dict)
    frozen_epochs: dict = field(default_factory=dict)
    patience: int = 0
    seed: int = 0

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}; allowed is 1 or more")
        for name in ("learning_rate", "weight_decay", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}; allowed is 0 or more")


@dataclass(frozen=True)
class Fitted:
    """A trained net.

    Attributes
    ----------
    net : MultitaskNet
        With the weights of the best epoch by validation loss.
    history : pandas.DataFrame
        One row an epoch: ``epoch``, ``stages``, ``loss``, ``TASK_loss``, ``TASK_rate`` (share of hits;
        absolute error in the task's unit for numbers) over training batches, the same with ``validation_``
        before it, learning rates ``rate:PART`` and task weights ``weight:TASK``.
    best_epoch : int
    """

    net: MultitaskNet
    history: pd.DataFrame
    best_epoch: int


def fit(
    net: MultitaskNet,
    x,
    targets: Mapping[str, Labels],
    *,
    plan: Joint | Alternating,
    validation: np.ndarray,
    settings: Settings,
    fill: Fill | None = None,
    state: str | Path | None = None,
    progress: bool = True,
) -> Fitted:
    """Train `net` in place and leave it with its best epoch's weights.

    Parameters
    ----------
    net : MultitaskNet
    x : ndarray of shape (n, ...)
        What the trunk takes, all data sets below each other; may be memory-mapped.
    targets : dict of str to Labels
        One a task, n labels each, most of them perhaps missing.
    plan : Joint or Alternating
        Training rows, in which order.  `Joint` with one task is single-task training.
    validation : ndarray of int
        Rows that choose the best epoch; none of them may be a training row.
    settings : Settings
    fill : Fill, optional
        What stands for missing labels; nothing by default.
    state : path, optional
        File written after each epoch (.npz).  Where it exists, training goes on from it, to the weights
        that an uninterrupted run would have had.
    progress : bool
        Show a bar.

    Returns
    -------
    Fitted

    Raises
    ------
    ValueError
        Rows in both training and validation, a task without any label there, unknown parts.
    CheckpointError
        `state` belongs to another run.
    """
    fill = fill or Fill()
    _check_rows(net, targets, plan, validation)
    run = _Run(net, x, targets, settings)
    saved = _Saved(run, plan, fill, validation, state)
    first = saved.resume()
    epochs = tqdm(
        range(first, settings.epochs),
        initial=first,
        total=settings.epochs,
        unit="epoch",
        disable=not progress,
    )
    for epoch in epochs:
        if saved.is_over(epoch):
            break
        row = run.train_epoch(epoch, plan, fill)
        row |= run.measure(validation)
        saved.add(epoch, row)
        epochs.set_postfix(loss=row["loss"], validation_loss=row["validation_loss"])
    checkpoint.assign(net.model.weights, saved.best_weights)
    return Fitted(net, pd.DataFrame(saved.history), saved.best_epoch)


def _check_rows(net: MultitaskNet, targets: Mapping[str, Labels], plan, validation: np.ndarray) -> None:
    train = np.unique(np.concatenate([stage.rows for stage in plan.stages]))
    both = np.intersect1d(train, validation)
    if len(both):
        raise ValueError(f"{len(both)} rows are both training and validation rows; they must be disjoint")
    for task in net.heads:
        if task.name not in targets:
            raise ValueError(f"targets hold {list(targets)}; the net also has the task '{task.name}'")
        for name, rows in {"training": train, "validation": np.asarray(validation)}.items():
            if not len(rows) or not targets[task.name].known[rows].any():
                raise ValueError(
                    f"no {name} row has a label for task '{task.name}' ({len(rows)} {name} rows in all); "
                    "look at the split, or leave the task out"
                )


class _Labels:
    """Targets as arrays: a distribution over classes (or a standardised number) a row, and which are known."""

    def __init__(self, task: Head, target: Labels):
        self.known = target.known
        self.truth = np.zeros((len(target), task.width), np.float32)
        if task.is_number:
            values = target.values[self.known]
            self.truth[self.known, 0] = (values - task.mean) / task.scale
        else:
            self.truth[np.flatnonzero(self.known), target.codes[self.known]] = 1.0
        self.filled = np.zeros(len(target), bool)
        self.fill = np.zeros_like(self.truth)

    def take(self, rows: np.ndarray, *, counts: bool) -> tuple[np.ndarray, np.ndarray]:
        """Targets and mask of `rows`; labels count only where `counts`, else what was filled in."""
        known = self.known[rows] & counts
        mask = known | self.filled[rows]
        return np.where(known[:, None], self.truth[rows], self.fill[rows]), mask.astype(np.float32)

    def take_truth(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets and mask of `rows` by their labels alone."""
        return self.truth[rows], self.known[rows].astype(np.float32)


class _Run:
    """What one training run holds: the net, its optimisers, its labels, its compiled steps."""

    def __init__(self, net: MultitaskNet, x, targets: Mapping[str, Labels], settings: Settings):
        self.net, self.x, self.settings = net, x, settings
        self.labels = {task.name: _Labels(task, targets[task.name]) for task in net.heads}
        self.weights = weighting.make(net.heads, settings.task_weights)
        self.layers = net.layers_by_part()
        unknown = sorted(set(settings.frozen_epochs) - set(self.layers))
        if unknown:
            raise ValueError(f"frozen_epochs names {unknown}; the parts are {list(self.layers)}")
        variables = {part: _trainable(layers) for part, layers in self.layers.items()}
        self.optimisers = ParamGroupOptimizers(
            variables | {weighting.WEIGHTS: list(self.weights.variables)},
            learning_rate=settings.learning_rate,
            multipliers=settings.multipliers,
            weight_decay=settings.weight_decay,
        )
        self._trained_layers = {part: _trainable_layers(layers) for part, layers in self.layers.items()}
        self._steps: dict = {}

    @property
    def variables(self) -> list:
        """Everything that training changes, dropout's generators included."""
        return [*self.net.model.variables, *self.weights.variables, *self.optimisers.state]

    def train_epoch(self, epoch: int, plan, fill: Fill) -> dict:
        """Train one epoch; its row of the history."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        frozen = {part for part, epochs in self.settings.frozen_epochs.items() if epoch < epochs}
        self._freeze(frozen)
        rates = self.optimisers.start_epoch(self.settings.decay, epoch)
        self._fill(plan, fill, epoch, seed=int(rng.integers(2**31)))
        sums = _Sums(self.net.heads)
        for batch in plan.batches(epoch, rng):
            if measured := self._step_on(batch, frozen):
                sums.add(measured, len(batch.rows))
        self._freeze(set())
        return {
            "epoch": epoch,
            "stages": "+".join(stage.name for stage in plan.current(epoch)),
            **sums.means(),
            **{f"rate:{part}": 0.0 if part in frozen else rate for part, rate in rates.items()},
            **{f"weight:{name}": value for name, value in self.weights.values().items()},
        }

    def _freeze(self, parts: set[str]) -> None:
        for part, layers in self._trained_layers.items():
            for layer in layers:
                layer.trainable = part not in parts

    def _step_on(self, batch: Batch, frozen: set[str]) -> dict:
        taken = {
            name: labels.take(batch.rows, counts=name in batch.tasks) for name, labels in self.labels.items()
        }
        # A head without any target stays where it is: a step of momentum and decay alone would only harm it.
        present = tuple(name for name, (_, mask) in taken.items() if mask.any())
        if not present:
            return {}
        idle = set(taken) - set(present) | frozen
        parts = tuple(part for part in self.optimisers.variables_of if part not in idle)
        if (present, parts) not in self._steps:
            self._steps[present, parts] = self._compile(present, parts)
        return self._steps[present, parts](
            tf.convert_to_tensor(np.asarray(self.x[batch.rows])), {name: taken[name] for name in present}
        )

    def _compile(self, present: tuple[str, ...], parts: tuple[str, ...]):
        tasks = [task for task in self.net.heads if task.name in present]
        # Without the idle heads: their batch norm must not take in rows that say nothing about their task.
        model = keras.Model(self.net.model.input, {name: self.net.model.output[name] for name in present})

        @tf.function(reduce_retracing=True)
        def step(x, taken):
            with tf.GradientTape() as tape:
                outputs = model(x, training=True)
                measured = {
                    task.name: _measure(task, outputs[task.name], *taken[task.name]) for task in tasks
                }
                losses = {name: m["loss"] for name, m in measured.items()}
                total = self.weights.total(losses) + sum(model.losses)
            variables = self.optimisers.trainable(parts)
            gradients = tape.gradient(
                total, [v.value for v in variables], unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            self.optimisers.apply(gradients, parts)
            return {"total": total, "tasks": measured}

        return step

    def _fill(self, plan, fill: Fill, epoch: int, *, seed: int) -> None:
        for labels in self.labels.values():
            labels.filled[:] = False
        if fill.method == "naive" or epoch < fill.first_epoch:
            return
        train = np.unique(np.concatenate([stage.rows for stage in plan.stages]))
        logits = forward(self.net.model, self.x, rows=train)
        features = forward(self.net.features, self.x, rows=train) if fill.selectors else logits
        for position, task in enumerate(self.net.heads):
            missing = _missing(plan.current(epoch), task.name, self.labels[task.name].known, train)
            made = _make_targets(
                fill,
                task,
                logits[task.name][missing],
                features[task.name][missing],
                features[task.name][self.labels[task.name].known[train]],
                seed=seed + position,
            )
            self.labels[task.name].fill[train[missing]] = made
            self.labels[task.name].filled[train[missing]] = True

    def measure(self, rows: np.ndarray) -> dict:
        """Losses and rates on `rows`, named 'validation_...'; only true labels count."""
        outputs = forward(self.net.model, self.x, rows=rows)
        row, total = {}, 0.0
        for task in self.net.heads:
            target, mask = self.labels[task.name].take_truth(rows)
            measured = _measure(task, outputs[task.name], target, mask)
            row[f"validation_{task.name}_loss"] = float(measured["loss"])
            row[f"validation_{task.name}_rate"] = float(measured["rate"])
            total += float(measured["loss"])
        return {"validation_loss": total / len(self.net.heads), **row}


def _trainable(layers: list[keras.layers.Layer]) -> list:
    return [variable for layer in layers for variable in layer.trainable_weights]


def _trainable_layers(layers: list[keras.layers.Layer]) -> list[keras.layers.Layer]:
    return [layer for layer in layers if layer.trainable and layer.trainable_weights]


def _missing(stages, name: str, known: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Which of the training rows take part now without a label that counts for the task; bool array."""
    out = np.zeros(len(known), bool)
    for stage in stages:
        out[stage.rows] |= ~known[stage.rows] if name in stage.tasks else True
    return out[train]


def _make_targets(fill: Fill, task: Head, logits, features, labelled, *, seed: int) -> np.ndarray:
    if task.is_number:
        return logits
    return pseudo_labels.targets(fill, logits, features, labelled, seed=seed)


def _measure(task: Head, output, target, mask) -> dict:
    if task.is_number:
        losses = masked.squared_error(target, output)
        rates = keras.ops.sqrt(losses) * task.scale
    else:
        losses = masked.cross_entropy(target, output)
        rates = masked.hits(target, output)
    return {
        "loss": masked.mean(losses, mask),
        "rate": masked.mean(rates, mask),
        "count": keras.ops.sum(mask),
    }


class _Sums:
    """Means over an epoch, each task's weighted with how many targets its batches held."""

    def __init__(self, tasks: tuple[Head, ...]):
        self._names = [task.name for task in tasks]
        self._steps: list[tuple[dict, int]] = []

    def add(self, measured: dict, rows: int) -> None:
        # Read at the epoch's end: asking each step for its figures would make the next one wait.
        self._steps.append((measured, rows))

    def means(self) -> dict:
        totals = [(float(measured["total"]), rows) for measured, rows in self._steps]
        row = {"loss": _weighted_mean(totals)}
        for name in self._names:
            steps = [m["tasks"][name] for m, _ in self._steps if name in m["tasks"]]
            for figure in ("loss", "rate"):
                row[f"{name}_{figure}"] = _weighted_mean(
                    [(float(m[figure]), float(m["count"])) for m in steps]
                )
        return row


def _weighted_mean(pairs: list[tuple[float, float]]) -> float:
    weight = sum(count for _, count in pairs)
    return sum(value * count for value, count in pairs) / weight if weight else np.nan


class _Saved:
    """History and best weights of a run, and the file that they are kept in."""

    def __init__(self, run: _Run, plan, fill: Fill, validation: np.ndarray, path: str | Path | None):
        self._run, self._path = run, None if path is None else Path(path)
        self._identity = _identity(run, plan, fill, validation)
        self.history: list[dict] = []
        self.best_epoch, self.best_weights = -1, []

    def resume(self) -> int:
        """Read the file where there is one; the first epoch to train."""
        if self._path is None or not self._path.exists():
            return 0
        arrays, record = checkpoint.read(self._path)
        checkpoint.check(self._path, found=record["identity"], expected=self._identity)
        checkpoint.assign(self._run.variables, arrays["state"])
        self.history, self.best_epoch = record["history"], record["best_epoch"]
        self.best_weights = arrays["best"]
        return len(self.history)

    def is_over(self, epoch: int) -> bool:
        """Whether patience has run out before `epoch`."""
        patience = self._run.settings.patience
        return patience > 0 and epoch - 1 - self.best_epoch >= patience and self.best_epoch >= 0

    def add(self, epoch: int, row: dict) -> None:
        """Take in an epoch: remember its weights if they are the best, and write everything down."""
        losses = [earlier["validation_loss"] for earlier in self.history]
        if not losses or row["validation_loss"] < min(losses):
            self.best_epoch = epoch
            self.best_weights = _values(self._run.net.model.weights)
        self.history.append(row)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.write(
                self._path,
                arrays={"state": _values(self._run.variables), "best": self.best_weights},
                record={
                    "identity": self._identity,
                    "history": self.history,
                    "best_epoch": self.best_epoch,
                },
            )


def _values(variables: list) -> list[np.ndarray]:
    return [variable.value.numpy().copy() for variable in variables]


def _identity(run: _Run, plan, fill: Fill, validation: np.ndarray) -> dict:
    """What must be the same for a run to go on; epochs and patience may grow."""
    settings = {k: v for k, v in asdict(run.settings).items() if k not in ("epochs", "patience")}
    return {
        "settings": settings,
        "fill": asdict(fill) | {"selectors": list(fill.selectors)},
        "tasks": [head.to_record() for head in run.net.heads],
        "plan": _plan_identity(plan),
        "validation": _digest(validation),
        "labels": {name: _digest(labels.truth) for name, labels in run.labels.items()},
        "layers": [layer.name for layer in run.net.model.layers],
    }


def _plan_identity(plan) -> dict:
    stages = [[s.name, list(s.tasks), _digest(s.rows)] for s in plan.stages]
    others = {k: v for k, v in vars(plan).items() if k != "stages"}
    return {"kind": type(plan).__name__, "stages": stages, **others}


def _digest(array: np.ndarray) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).tobytes())

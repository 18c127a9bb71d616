"""The one training loop: epochs, best weights, checkpoints, logs, patience. Read it from top to bottom.

What differs between trainings is where a batch comes from (`Examples`) and which layers move (`ParamGroup`).
Multi-task training on descriptors and fine-tuning on pictures are thin on top of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm.auto import tqdm

from faceworkbook.models.multitask import MultitaskNet
from faceworkbook.training import balancing, checkpoint, logs, masked, schedules, weighting
from faceworkbook.training.averaging import WeightAverage
from faceworkbook.training.param_groups import ParamGroup, ParamGroupOptimizers

CHECKPOINT = "checkpoint.npz"
# Fields of settings that may change when a run is gone on with: they do not change an epoch.
FREE = ("epochs", "patience", "progress", "precompute", "watch")


@dataclass(frozen=True)
class Settings:
    """How to train any network with heads.

    Attributes
    ----------
    epochs : int
        At most.
    learning_rate : float, keras.optimizers.schedules.LearningRateSchedule or schedules.Plateau
        A schedule is asked once an epoch, with the epoch's number from 0; see `schedules`.
    lr_multipliers : dict of str to float
        Of the learning rate, by parameter group; 1 where a group is not named, 0 never moves it.
    weight_decay : float
        Of kernels, decoupled from the gradient.
    patience : int
        Epochs without a lower validation loss before training ends; 0 never ends it early.
    seed : int
        Of batches and whatever else is drawn (initial weights and dropout were seeded with the net).
    progress : bool
        Show a bar.
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        How training rows are evened out, see `balancing`. With 'class_weights' each task of exclusive classes has
        weights of its own; other tasks have none.
    ema : float, 0 up to below 1
        Decay of the weights' moving average, which is judged and kept in their place; 0 for none. See `averaging`.
    watch : callable, optional
        Asked before each epoch but the first: from the history so far to whether training goes on.
    """

    epochs: int = 30
    learning_rate: Any = 1e-3
    lr_multipliers: dict = field(default_factory=dict)
    weight_decay: float = 1e-4
    patience: int = 0
    seed: int = 0
    progress: bool = True
    balance: str = balancing.NONE
    ema: float = 0.0
    watch: Callable[[pd.DataFrame], bool] | None = None

    def __post_init__(self):
        balancing.check(self.balance)
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs}; allowed is 1 or more")
        for name in ("learning_rate", "weight_decay", "patience"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= 0:
                raise ValueError(f"{name}={value}; allowed is 0 or more")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema={self.ema}; allowed is 0 up to below 1")

    def identity(self) -> dict:
        """Return what must be the same for a run to be gone on with, in plain types."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in FREE}
        return {name: _plain(value) for name, value in values.items()}


def _plain(value):
    if callable(value):
        return {"schedule": type(value).__name__, **value.get_config()}
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


@dataclass(frozen=True)
class Batch:
    """Rows of one step.

    Attributes
    ----------
    x : tensor, first axis = rows
    targets : dict of task to (targets of shape (n, width), mask of shape (n,)), float32
        Of the heads that learn from these rows; others stand still.
    """

    x: Any
    targets: Mapping[str, tuple]


class Examples(Protocol):
    """Where batches come from."""

    def n_batches(self, epoch: int) -> int:
        """Return the number of training batches of an epoch."""

    def train(self, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch; they depend on the seed and the epoch alone."""

    def validation(self) -> Iterator[Batch]:
        """Yield all validation rows, as they are."""

    def columns(self, epoch: int) -> dict:
        """Return what is to stand in the history of an epoch that is over, beside losses and rates."""

    def identity(self) -> dict:
        """Return fingerprints of what is trained on, by name."""


@dataclass(frozen=True)
class Fitted:
    """A trained net.

    Attributes
    ----------
    net : MultitaskNet
        With the weights of the best epoch by validation loss.
    history : pandas.DataFrame
        One row an epoch: ``epoch``, ``loss`` (what is minimised), ``TASK_loss``, ``TASK_rate`` (see
        `masked.measure`) over training batches, the same with ``validation_`` before it, learning rates
        ``rate:GROUP`` and learned task weights ``weight:TASK``.
    best_epoch : int
        From 0.
    """

    net: MultitaskNet
    history: pd.DataFrame
    best_epoch: int


def fit(learner: Learner, examples: Examples, settings: Settings, *, folder: str | Path | None) -> Fitted:
    """Train the learner's net in place and leave it with its best epoch's weights.

    Parameters
    ----------
    folder : path or None
        For the checkpoint of each epoch, ``history.csv`` and TensorBoard's files. Where it holds a checkpoint
        of the same run, training goes on from it, to the weights of an uninterrupted run.

    Raises
    ------
    CheckpointError
        The checkpoint there is damaged, or of another run: other data, labels, settings or first weights.
    """
    net, folder = learner.net, None if folder is None else Path(folder)
    identity = {} if folder is None else _identity(learner, examples, settings)
    history, best_epoch, best_weights = _resume(learner, identity, folder)
    counts = [examples.n_batches(epoch) for epoch in range(settings.epochs)]
    done = len(history)
    if folder is not None and history:  # a kill after the checkpoint left them without the last epoch
        logs.write_csv(folder / logs.HISTORY, history)
        logs.write_tensorboard(folder / logs.TENSORBOARD, history[-1:])
    with tqdm(
        total=sum(counts), initial=sum(counts[:done]), unit="batch", disable=not settings.progress
    ) as bar:
        for epoch in range(done, settings.epochs):
            if _has_ended(settings, history, best_epoch):
                break
            losses = [earlier["validation_loss"] for earlier in history]
            rate = schedules.rate(settings.learning_rate, epoch, losses)
            trained = learner.train_epoch(examples, epoch, rate, bar.update)
            row = {"epoch": epoch, **examples.columns(epoch), **trained}
            with learner.averaged():
                row |= learner.evaluate(examples)
                if not history or row["validation_loss"] < min(losses):
                    best_epoch, best_weights = epoch, checkpoint.values_of(net.model.weights)
            history.append(row)
            bar.set_postfix(epoch=epoch, loss=row["loss"], validation_loss=row["validation_loss"])
            if folder is not None:
                arrays = {"state": checkpoint.values_of(learner.state), "best": best_weights}
                record = {"history": history, "best_epoch": best_epoch}
                checkpoint.write(folder / CHECKPOINT, identity=identity, arrays=arrays, record=record)
                logs.write_csv(folder / logs.HISTORY, history)
                logs.write_tensorboard(folder / logs.TENSORBOARD, [row])
    checkpoint.assign(net.model.weights, best_weights)
    return Fitted(net, pd.DataFrame(history), best_epoch)


def _has_ended(settings: Settings, history: list[dict], best_epoch: int) -> bool:
    """Whether patience has run out, or whoever watches has seen enough."""
    if settings.patience and best_epoch >= 0 and len(history) - 1 - best_epoch >= settings.patience:
        return True
    return bool(history) and settings.watch is not None and not settings.watch(pd.DataFrame(history))


def _resume(learner: Learner, identity: dict, folder: Path | None) -> tuple[list[dict], int, list]:
    """Read the checkpoint where there is one: history, best epoch and its weights."""
    if folder is None or not (folder / CHECKPOINT).exists():
        return [], -1, []
    arrays, record = checkpoint.read(
        folder / CHECKPOINT, identity=identity, groups=("state", "best"), keys=("history", "best_epoch")
    )
    if [a.shape for a in arrays["best"]] != [tuple(w.shape) for w in learner.net.model.weights]:
        raise checkpoint.CheckpointError(
            f"{folder / CHECKPOINT}: its best weights do not fit this net; {checkpoint.ADVICE}"
        )
    checkpoint.assign(learner.state, arrays["state"])
    return record["history"], record["best_epoch"], arrays["best"]


def _identity(learner: Learner, examples: Examples, settings: Settings) -> dict:
    model = learner.net.model
    return {
        "settings": settings.identity(),
        "tasks": {head.name: head.to_record() for head in learner.net.heads},
        # Dropout, the momentum of batch norm and the precision stand in no weight.
        "layers": {layer.name: {**layer.get_config(), "trainable": None} for layer in model.layers},
        "first weights": checkpoint.fingerprint_weights(model.weights),
        **examples.identity(),
    }


@dataclass(frozen=True)
class StepOptions:
    """How a step is computed.

    Attributes
    ----------
    number_loss : {'squared', 'absolute'}
        Of numbers, in units of their standard deviation.
    accumulate : int
        Pieces that a batch is computed in; their gradients add up to that of the whole batch.
    xla : bool
        Compile the step with XLA.
    """

    number_loss: str = masked.SQUARED
    accumulate: int = 1
    xla: bool = False


class Learner:
    """A net, its parameter groups with their optimisers, and how a batch becomes a step.

    Parameters
    ----------
    net : MultitaskNet
    groups : sequence of ParamGroup
        Every layer with weights stands in one.
    settings : Settings
    weights : task weights of `weighting`, optional
        Each task weighs 1 by default.
    options : StepOptions
    model : keras.Model, optional
        What batches are fed to, with the net's outputs; the net's model by default.
    """

    def __init__(
        self,
        net: MultitaskNet,
        groups: Sequence[ParamGroup],
        settings: Settings,
        *,
        weights=None,
        options: StepOptions = StepOptions(),  # noqa: B008 (frozen)
        model: keras.Model | None = None,
    ):
        self.net, self.groups, self._options = net, list(groups), options
        self._model = model or net.model
        self._weights = weights or weighting.EqualWeights()
        self._optimizers = ParamGroupOptimizers(self.groups, weight_decay=settings.weight_decay)
        self._movable = {
            g.name: [layer for layer in g.layers if layer.trainable and layer.trainable_weights]
            for g in self.groups
        }
        moving = self._moving(net.model.weights)
        self._average = WeightAverage(moving, settings.ema) if settings.ema else None
        self._steps: dict = {}

    @property
    def state(self) -> list:
        """All that training changes: weights, batch statistics, dropout's generators, optimiser states, averages."""
        changing = self._moving(self.net.model.variables)
        averages = [] if self._average is None else self._average.state
        return [*changing, *self._weights.variables, *self._optimizers.state, *averages]

    def _moving(self, variables: Sequence) -> list:
        still = {id(v) for g in self.groups if g.frozen for layer in g.layers for v in layer.weights}
        return [v for v in variables if id(v) not in still]

    def averaged(self) -> AbstractContextManager:
        """Put the weights that are judged and kept into the net, for the length of a ``with``."""
        return nullcontext() if self._average is None else self._average.in_place()

    def train_epoch(
        self, examples: Examples, epoch: int, learning_rate: float, after_batch: Callable = lambda: None
    ) -> dict:
        """Take one step a batch; return losses, rates and learning rates."""
        frozen = {g.name for g in self.groups if g.is_frozen(epoch)}
        rates = self._optimizers.set_rate(learning_rate)
        measured = []
        self._freeze(frozen)
        for batch in examples.train(epoch):
            if batch.targets:
                step = self._step(tuple(batch.targets), frozen)
                measured.append((step(batch.x, dict(batch.targets)), len(batch.x)))
            after_batch()
        self._freeze(set())
        return {
            **self._means(measured),
            **{f"rate:{name}": 0.0 if name in frozen else rate for name, rate in rates.items()},
            **{f"weight:{name}": value for name, value in self._weights.values().items()},
        }

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Take one step with a batch at a learning rate; return the loss that it minimises."""
        self._optimizers.set_rate(learning_rate)
        frozen = {g.name for g in self.groups if g.is_frozen(0)}
        self._freeze(frozen)
        total, _ = self._step(tuple(batch.targets), frozen)(batch.x, dict(batch.targets))
        self._freeze(set())
        return float(total)

    def _freeze(self, names: set[str]) -> None:
        for name, layers in self._movable.items():
            for layer in layers:
                layer.trainable = name not in names

    def _step(self, present: tuple[str, ...], frozen: set[str]):
        # A head without any target stays where it is: a step of momentum and decay alone would only harm it.
        idle = {head.name for head in self.net.heads} - set(present)
        groups = tuple(name for name in self._optimizers.names if name not in idle | frozen)
        if (present, groups) not in self._steps:
            self._steps[present, groups] = self._compile(present, groups)
        return self._steps[present, groups]

    def _compile(self, present: tuple[str, ...], groups: tuple[str, ...]):
        heads, model, options = [self.net.head(name) for name in present], self._model, self._options
        if len(present) < len(self.net.heads):
            # Without the idle heads: their batch norm must not take in rows that say nothing about their task.
            model = keras.Model(model.input, {name: model.output[name] for name in present})
        values = [variable.value for variable in self._optimizers.variables(groups)]

        def differentiate(x, targets, counts):
            with tf.GradientTape() as tape:
                measured = self._measure(heads, model(x, training=True), targets)
                losses = {name: measured[name][0] / counts[name] for name in present}
                total = self._weights.total(losses) + sum(model.losses) / options.accumulate
            return tape.gradient(total, values, unconnected_gradients="zero"), (total, measured)

        def move(gradients):
            self._optimizers.apply(gradients, groups)
            if self._average is not None:
                self._average.update()

        def whole(x, targets):
            gradients, measured = differentiate(x, targets, _counts(targets))
            move(gradients)
            return measured

        def in_pieces(x, targets):
            counts, added = _counts(targets), None
            for rows in np.array_split(np.arange(len(x)), min(options.accumulate, len(x))):
                piece = slice(rows[0], rows[-1] + 1)
                own = {name: (target[piece], mask[piece]) for name, (target, mask) in targets.items()}
                result = differentiate(x[piece], own, counts)
                added = result if added is None else tf.nest.map_structure(tf.add, added, result)
            move(added[0])
            return added[1]

        # One graph is traced sooner than one with two more inside.
        if options.accumulate == 1 and not options.xla:
            return _trace(whole)
        differentiate = _trace(differentiate, jit_compile=options.xla)
        move = _trace(move)
        step = in_pieces if options.accumulate > 1 else _trace(whole)
        return _explain_xla(step) if options.xla else step

    def _measure(self, heads, outputs, targets) -> dict:
        number_loss = self._options.number_loss
        return {
            h.name: masked.measure(h, outputs[h.name], *targets[h.name], number_loss=number_loss)
            for h in heads
        }

    def evaluate(self, examples: Examples) -> dict:
        """Return losses and rates on the validation rows, named 'validation_...'; the loss is the tasks' sum."""
        if "evaluate" not in self._steps:
            heads, model = self.net.heads, self._model

            def evaluate(x, targets):
                return self._measure(heads, model(x, training=False), targets)

            self._steps["evaluate"] = _trace(evaluate)
        measured = [
            ((0.0, self._steps["evaluate"](b.x, dict(b.targets))), len(b.x)) for b in examples.validation()
        ]
        row = self._means(measured)
        row["loss"] = sum(row[f"{head.name}_loss"] for head in self.net.heads)
        return {f"validation_{name}": value for name, value in row.items()}

    def _means(self, measured: list) -> dict:
        """Turn the sums of an epoch's batches into means over the rows whose label is known."""
        # Read at the epoch's end: asking each step for its figures would make the next one wait.
        n_rows = sum(rows for _, rows in measured)
        row = {"loss": sum(float(total) * rows for (total, _), rows in measured) / max(n_rows, 1)}
        for head in self.net.heads:
            sums = [np.asarray(m[head.name], float) for (_, m), _ in measured if head.name in m]
            loss, rate, count = np.sum(sums, axis=0) if sums else (0.0, 0.0, 0.0)
            row[f"{head.name}_loss"] = float(loss / count) if count else np.nan
            row[f"{head.name}_rate"] = float(rate / count) if count else np.nan
        return row


def _trace(function: Callable, **options):
    # Nothing here branches on a tensor: looking for that in every function that is called takes a tenth of tracing.
    return tf.function(function, reduce_retracing=True, autograph=False, **options)


def _explain_xla(step: Callable) -> Callable:
    """Return a step that says in a sentence what of it XLA cannot compile."""

    def run(*given):
        try:
            return step(*given)
        except tf.errors.UnimplementedError as error:
            reasons = [line.strip() for line in error.message.splitlines() if "implement" in line]
            raise ValueError(
                f"xla=true: TensorFlow's XLA cannot compile a step of this network ({(reasons or [error.message])[0]}); give "
                "xla=false, or reproducible=false where it is a deterministic one that is missing"
            ) from error

    return run


def _counts(targets: Mapping[str, tuple]) -> dict:
    return {name: masked.at_least_some(masked.count(mask)) for name, (_, mask) in targets.items()}

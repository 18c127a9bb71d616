"""Train one MLP a split, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm.auto import tqdm

from faceworkbook import tasks
from faceworkbook.training import balancing
from faceworkbook.training.batched.data import Data, check_rows
from faceworkbook.training.batched.program import compile_program
from faceworkbook.training.batched.settings import Settings, TrainingError
from faceworkbook.training.batched.stack import Stack
from faceworkbook.training.batched.starting import Start
from faceworkbook.training.batched.state import Checkpoint, State

# Dropout draws by step number; epochs start far apart, whatever the number of batches of other models.
STEPS_APART = 2**24
SAVE_EVERY = 10  # epochs between checkpoints


def fit(
    matrix: np.ndarray,
    labels: tasks.Labels,
    splits: Sequence,
    settings: Settings | Sequence[Settings],
    *,
    seeds: Sequence[int],
    folder: str | Path | None = None,
    progress: bool = False,
) -> Stack:
    """Train one model a split, all at once.

    Parameters
    ----------
    matrix : ndarray of shape (n, d), float32, may be memory-mapped
        Only training and validation rows are read.
    labels : Labels of n faces
    splits : sequence of m objects with index arrays ``train``, ``validation``
        Training rows may differ in number. Without validation rows a model keeps its last epoch.
    settings : Settings, or a sequence of m of them
        Of all models, or of each. What is in `Settings.shape` is common to all.
    seeds : sequence of m int
        Of initial weights, order of batches and dropout.
    folder : path, optional
        A checkpoint is kept there every `SAVE_EVERY` epochs; a run that was stopped goes on from it
        and ends with the same weights. Finished stacks are kept there too and read again.
    progress : bool
        Show a bar with epochs and models still training.

    Raises
    ------
    TrainingError
        Rows without label, descriptors that are not finite, training rows of one class, or none;
        settings of several shapes.
    CheckpointError
        The checkpoint in the folder is damaged.
    """
    return _train(Training.start(matrix, labels, splits, settings, seeds=seeds, folder=folder), progress)


def fit_from(
    start: Start,
    matrix: np.ndarray,
    labels: tasks.Labels,
    splits: Sequence,
    settings: Settings | Sequence[Settings],
    *,
    seeds: Sequence[int],
    folder: str | Path | None = None,
) -> Stack:
    """Train models that begin with the weights of `start`; see `fit`.

    Raises
    ------
    TrainingError
        As `fit`; the models to start from have other layers, or read other descriptors.
    """
    given = {"seeds": seeds, "folder": folder, "begin": start}
    return _train(Training.start(matrix, labels, splits, settings, **given), progress=False)


def _train(training: Training, progress: bool) -> Stack:
    with tqdm(total=training.epochs, unit="epoch", disable=not progress, initial=training.epoch) as bar:
        while training.goes_on:
            training.step()
            bar.update()
            bar.set_postfix(training=len(training.alive))
    return training.finish()


class Training:
    """The training of a stack, an epoch a step; what leads it may stop models between two epochs."""

    def __init__(self, data: Data, settings: tuple[Settings, ...], seeds: tuple[int, ...], store: Checkpoint):
        self._data, self._settings, self._seeds, self._store = data, settings, seeds, store
        self._state = store.load(State.start(data, settings, seeds))

    @classmethod
    def start(
        cls, matrix, labels: tasks.Labels, splits, settings, *, seeds, folder=None, begin: Start | None = None
    ) -> Training:
        """Return the training before its first epoch, or where it was stopped; see `fit` and `fit_from`."""
        seeds = tuple(int(s) for s in seeds)
        if len(seeds) != len(splits) or not splits:
            raise TrainingError(f"{len(splits)} splits and {len(seeds)} seeds; give one seed a split")
        settings = _each(settings, len(splits))
        check_rows(matrix, labels, splits)
        rows = zip(splits, settings, seeds, strict=True)
        splits = [balancing.repeat(labels, split, own.balance, seed=seed) for split, own, seed in rows]
        data = Data.make(matrix, labels, splits, settings)
        if begin is not None:
            begin.check(settings[0], labels.task, matrix.shape[1])
            data = begin.repeat(len(splits)).place(data)
        return cls(data, settings, seeds, Checkpoint(folder, data, settings, seeds))

    @property
    def epoch(self) -> int:
        """Number of epochs that are over."""
        return self._state.epoch

    @property
    def epochs(self) -> int:
        """Number of epochs at most."""
        return max(own.epochs for own in self._settings)

    @property
    def alive(self) -> np.ndarray:
        """Numbers of the models that still train."""
        return self._state.alive

    @property
    def goes_on(self) -> bool:
        """Whether there is a model to train."""
        return self.epoch < self.epochs and len(self.alive) > 0

    @property
    def history(self) -> pd.DataFrame:
        """A row a model and epoch, see `Stack.history`."""
        metric = "mae" if self._data.task.is_number else "accuracy"
        columns = ["model", "epoch", "loss", "val_loss", metric, f"val_{metric}"]
        table = pd.DataFrame(self._state.history, columns=columns)
        return table.sort_values(["model", "epoch"], ignore_index=True)

    def step(self) -> None:
        """Train all models that are alive for an epoch; stop those that have waited too long."""
        _epoch(self._data, self._state, self._settings, self._seeds)
        if self.epoch % SAVE_EVERY == 0:
            self._store.save(self._state)

    def stop(self, models) -> None:
        """Train these models no further; their best epoch so far counts."""
        self._state.keep(~np.isin(self.alive, models))

    def finish(self) -> Stack:
        """Keep the state in the folder, and return the models as they are."""
        self._store.save(self._state)
        return _finish(self._data, self._state, self._settings, self._seeds, self.history)


def _each(settings: Settings | Sequence[Settings], n: int) -> tuple[Settings, ...]:
    """Return the settings of each model, of one shape."""
    each = (settings,) * n if isinstance(settings, Settings) else tuple(settings)
    if len(each) != n:
        raise TrainingError(f"{n} splits and {len(each)} settings; give one for all, or one a split")
    shapes = sorted({own.shape for own in each})
    if len(shapes) > 1:
        raise TrainingError(
            f"settings of several shapes (widths, batch_size, lr_multipliers, ordinal_loss, dtype_policy): {shapes}; fit those of one shape at a time"
        )
    return each


def _epoch(data: Data, state: State, settings: Sequence[Settings], seeds) -> None:
    own = [seeds[m] for m in state.alive]
    alive = [settings[m] for m in state.alive]
    batches = _batches([data.train[m] for m in state.alive], own, state.epoch, alive[0].batch_size)
    drops = np.array([[s.input_dropout, s.dropout] for s in alive], np.float32).T
    task = data.task
    dropping = tuple(bool(rates.any()) for rates in drops)
    program = compile_program(
        task.loss,
        task.n_outputs,
        len(alive[0].widths),
        dropping,
        alive[0].multipliers(task),
        head=alive[0].ordinal_head(task),
        dtype_policy=alive[0].dtype_policy,
    )
    fixed = (
        data.x,
        tf.gather(data.y, state.alive),
        tf.gather(data.row_weights, state.alive),
        data.inverse[state.alive],
        data.shift[state.alive],
    )
    draws = (tf.constant(own, tf.int64), tf.constant(state.epoch * STEPS_APART, tf.int64), tf.constant(drops))
    rates = [[s.learning_rate * s.gamma**state.epoch, s.weight_decay] for s in alive]
    rates = tf.constant(np.array(rates, np.float32).T)
    adam = (state.params, state.m, state.v, state.steps)
    state.params, state.m, state.v, state.steps, loss, metric = _numpy(
        program.train(fixed, batches, draws, rates, adam)
    )
    held = _blocks([data.validation[m] for m in state.alive])
    val_loss, val_metric = _numpy(program.score(fixed, held, state.params))
    state.epoch += 1
    _note(data, state, settings, np.stack([loss, val_loss, metric, val_metric], axis=1))


def _note(data: Data, state: State, settings: Sequence[Settings], figures: np.ndarray) -> None:
    """Write down the epoch, keep what is best, drop models that have waited too long."""
    held = np.array([len(data.validation[m]) > 0 for m in state.alive], bool)
    better = ~held | (figures[:, 1] < state.best_loss[state.alive])
    winners = state.alive[better]
    for best, now in zip(state.best, state.params, strict=True):
        best[winners] = now[better]
    state.best_loss[winners], state.best_epoch[winners] = figures[better, 1], state.epoch
    units = np.array([1, 1, 0, 0]) if not data.task.is_number else None
    for row, m in zip(figures, state.alive, strict=True):
        scaled = row if units is not None else row * [1, 1, data.scale[m], data.scale[m]]
        state.history.append((int(m), state.epoch, *scaled.tolist()))
    waited = state.epoch - state.best_epoch[state.alive]
    patience, last = np.array([(settings[m].patience, settings[m].epochs) for m in state.alive]).T
    state.keep((waited < patience) & (state.epoch < last))


def _batches(train: list[np.ndarray], seeds, epoch: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows by step, (steps, m, batch), in each model's own order; 0 in the mask where there is none."""
    steps = max(-(-len(rows) // batch_size) for rows in train)
    order = np.zeros((len(train), steps * batch_size), np.int32)
    mask = np.zeros((len(train), steps * batch_size), np.float32)
    for m, (rows, seed) in enumerate(zip(train, seeds, strict=True)):
        order[m, : len(rows)] = np.random.default_rng([seed, 1, epoch]).permutation(rows)
        mask[m, : len(rows)] = 1
    by_step = (len(train), steps, batch_size)
    return (
        np.ascontiguousarray(order.reshape(by_step).swapaxes(0, 1)),
        np.ascontiguousarray(mask.reshape(by_step).swapaxes(0, 1)),
    )


def _blocks(rows: list[np.ndarray], size: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Validation rows by block, (blocks, m, size), and their mask."""
    longest = max(max((len(r) for r in rows), default=0), 1)
    blocks = -(-longest // size)
    order = np.zeros((len(rows), blocks * size), np.int32)
    mask = np.zeros((len(rows), blocks * size), np.float32)
    for m, own in enumerate(rows):
        order[m, : len(own)], mask[m, : len(own)] = own, 1
    by_block = (len(rows), blocks, size)
    return order.reshape(by_block).swapaxes(0, 1), mask.reshape(by_block).swapaxes(0, 1)


def _numpy(values):
    return tf.nest.map_structure(lambda t: t.numpy(), values)


def _finish(data: Data, state: State, settings, seeds, history: pd.DataFrame) -> Stack:
    own_spread = 1.0 / data.inverse[:, :, 0]
    own_mean = -data.shift[:, 0, :] * own_spread
    return Stack(
        kernels=state.best[0::2],
        biases=state.best[1::2],
        mean=data.centre + data.spread * own_mean,
        variance=np.square(data.spread * own_spread),
        offset=data.offset,
        scale=data.scale,
        best_epoch=state.best_epoch,
        history=history,
        task=data.task,
        settings=tuple(settings),
        seeds=tuple(seeds),
    )

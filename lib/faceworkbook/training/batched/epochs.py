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
from faceworkbook.training.batched.state import Checkpoint, State

# Dropout draws by step number; epochs start far apart, whatever the number of batches of other models.
STEPS_APART = 2**24
SAVE_EVERY = 10  # epochs between checkpoints


def fit(
    matrix: np.ndarray,
    labels: tasks.Labels,
    splits: Sequence,
    settings: Settings,
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
    settings : Settings
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
        Rows without label, descriptors that are not finite, training rows of one class, or none.
    CheckpointError
        The checkpoint in the folder is damaged.
    """
    seeds = tuple(int(s) for s in seeds)
    if len(seeds) != len(splits) or not splits:
        raise TrainingError(f"{len(splits)} splits and {len(seeds)} seeds; give one seed a split")
    check_rows(matrix, labels, splits)
    rows = zip(splits, seeds, strict=True)
    splits = [balancing.repeat(labels, split, settings.balance, seed=seed) for split, seed in rows]
    data = Data.make(matrix, labels, splits, settings)
    store = Checkpoint(folder, data, settings, seeds)
    state = store.load(State.start(data, settings, seeds))
    with tqdm(total=settings.epochs, unit="epoch", disable=not progress, initial=state.epoch) as bar:
        while state.epoch < settings.epochs and len(state.alive):
            _epoch(data, state, settings, seeds)
            bar.update()
            bar.set_postfix(training=len(state.alive))
            if state.epoch % SAVE_EVERY == 0:
                store.save(state)
    store.save(state)
    return _finish(data, state, settings, seeds)


def _epoch(data: Data, state: State, settings: Settings, seeds) -> None:
    own = [seeds[m] for m in state.alive]
    batches = _batches([data.train[m] for m in state.alive], own, state.epoch, settings.batch_size)
    dropping = (settings.input_dropout > 0, settings.dropout > 0)
    task = data.task
    program = compile_program(task.loss, task.n_outputs, len(settings.widths), dropping)
    fixed = (
        data.x,
        tf.gather(data.y, state.alive),
        tf.gather(data.row_weights, state.alive),
        data.inverse[state.alive],
        data.shift[state.alive],
    )
    drops = tf.constant([settings.input_dropout, settings.dropout], tf.float32)
    draws = (tf.constant(own, tf.int64), tf.constant(state.epoch * STEPS_APART, tf.int64), drops)
    rates = tf.constant([settings.learning_rate, settings.weight_decay], tf.float32)
    adam = (state.params, state.m, state.v, state.steps)
    state.params, state.m, state.v, state.steps, loss, metric = _numpy(
        program.train(fixed, batches, draws, rates, adam)
    )
    held = _blocks([data.validation[m] for m in state.alive])
    val_loss, val_metric = _numpy(program.score(fixed, held, state.params))
    state.epoch += 1
    _note(data, state, settings, np.stack([loss, val_loss, metric, val_metric], axis=1))


def _note(data: Data, state: State, settings: Settings, figures: np.ndarray) -> None:
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
    state.keep(waited < settings.patience)


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


def _finish(data: Data, state: State, settings: Settings, seeds) -> Stack:
    metric = "mae" if data.task.is_number else "accuracy"
    columns = ["model", "epoch", "loss", "val_loss", metric, f"val_{metric}"]
    history = pd.DataFrame(state.history, columns=columns)
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
        history=history.sort_values(["model", "epoch"], ignore_index=True),
        task=data.task,
        settings=settings,
        seeds=tuple(seeds),
    )

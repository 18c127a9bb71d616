"""Many dense classifiers trained as one program.

All models share one copy of the descriptors and one shape; their weights are stacked along a
leading axis, so that a step of all of them is one gather and a few batched matrix products instead
of many small ones, and an epoch is one call. What a model learns depends on its own rows, seed and
settings alone: trained in company or by itself, it gets the same weights (up to rounding).

Optimiser: Adam (Kingma and Ba 2015) with decoupled weight decay of kernels (Loshchilov and Hutter
2019), with Keras's defaults. Each model has its own standardisation, early stopping and best epoch.
"""

from __future__ import annotations

import functools
import itertools
import json
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
import xxhash
from tqdm.auto import tqdm

from faceworkbook import tasks
from faceworkbook.models import mlp

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7
BLOCK = 4096
# Dropout draws by step number; epochs start far apart, whatever the number of batches of other models.
STEPS_APART = 2**24
CLASS_WEIGHTS = ("none", "balanced")


class TrainingError(ValueError):
    """Rows, labels or settings that nothing can be learned from; the text says what to change."""


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of a dense classifier.

    Attributes
    ----------
    widths : tuple of int
        Hidden layers.
    dropout, input_dropout : float, 0..1
        Share of hidden units, and of descriptor directions, that are dropped in training.
    epochs, patience : int
        At most so many epochs; stop after `patience` epochs without a lower validation loss.
    batch_size : int
    learning_rate, weight_decay : float
    class_weights : {'none', 'balanced'}
        'balanced' weighs classes by the inverse of their frequency among the training rows.
    """

    widths: tuple[int, ...] = (16, 16)
    dropout: float = 0.4
    input_dropout: float = 0.0
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    class_weights: str = "none"
    patience: int = 8

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(int(w) for w in self.widths))
        mlp.check(widths=self.widths, dropout=self.dropout)
        if not 0 <= self.input_dropout < 1:
            raise ValueError(f"input_dropout={self.input_dropout}; allowed is 0 <= input_dropout < 1")
        for name in ("epochs", "batch_size", "patience"):
            if int(getattr(self, name)) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; allowed are whole numbers of 1 or more")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"learning_rate={self.learning_rate}, weight_decay={self.weight_decay}; "
                "allowed are numbers above 0 and of 0 or more"
            )
        if self.class_weights not in CLASS_WEIGHTS:
            raise ValueError(f"class_weights={self.class_weights!r}; allowed are {list(CLASS_WEIGHTS)}")


def defaults(task: tasks.Task) -> Settings:
    """Two hidden layers of 16 for classes; for numbers little hidden dropout and more of the input.

    On a number, 40 % dropout of 16 units costs a year and more of the mean error.
    """
    return Settings(dropout=0.1, input_dropout=0.3) if task.is_number else Settings()


@dataclass(frozen=True)
class Stack:
    """Trained models with a leading axis of length m.

    Attributes
    ----------
    kernels, biases : list of ndarray, (m, inputs, outputs) and (m, 1, outputs), float32
        Best epoch of each model, on its standardised descriptors.
    mean, variance : ndarray of shape (m, d)
        Of each model's training rows.
    offset, scale : ndarray of shape (m,)
        Of a number: value = offset + scale * output; 0 and 1 for classes.
    best_epoch : ndarray of shape (m,), int
        From 1.
    history : pandas.DataFrame
        Columns model, epoch, loss, val_loss and accuracy, val_accuracy (numbers: mae, val_mae).
    task, settings, seeds
    """

    kernels: list[np.ndarray]
    biases: list[np.ndarray]
    mean: np.ndarray
    variance: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    best_epoch: np.ndarray
    history: pd.DataFrame
    task: tasks.Task
    settings: Settings
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.mean)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Predict the same faces with every model.

        Parameters
        ----------
        matrix : ndarray of shape (n, d), raw descriptors

        Returns
        -------
        ndarray of shape (m, n, n_classes) of probabilities, or (m, n) of numbers; float32
        """
        centre = self.mean.mean(axis=0)
        spread = np.sqrt(self.variance)
        kernels, biases = list(self.kernels), list(self.biases)
        biases[0] = biases[0] + np.matmul(((centre - self.mean) / spread)[:, None, :], kernels[0])
        kernels[0] = kernels[0] / spread[:, :, None]
        parts = [
            _outputs(tf.constant(_block(matrix, start) - centre), kernels, biases, self.task)
            for start in range(0, max(len(matrix), 1), BLOCK)
        ]
        out = np.concatenate(parts, axis=1)
        if self.task.is_number:
            return (
                self.offset[:, None].astype(np.float32) + self.scale[:, None].astype(np.float32) * out[..., 0]
            )
        return out

    def model(self, i: int):
        """Model number `i` as a Keras model, standardisation inside."""
        made = mlp.build(
            self.task,
            mean=self.mean[i],
            variance=self.variance[i],
            widths=self.settings.widths,
            dropout=self.settings.dropout,
            unit=(float(self.offset[i]), float(self.scale[i])),
            seed=self.seeds[i],
        )
        mlp.set_weights(made, [k[i] for k in self.kernels], [b[i, 0] for b in self.biases])
        return made


def fit(
    matrix: np.ndarray,
    target: tasks.Labels,
    splits: Sequence,
    settings: Settings,
    *,
    seeds: Sequence[int],
    folder: str | Path | None = None,
    save_every: int = 10,
    progress: bool = False,
) -> Stack:
    """Train one model a split, all at once.

    Parameters
    ----------
    matrix : ndarray of shape (n, d), float32, may be memory-mapped
        Only training and validation rows are read.
    target : Labels of n faces
    splits : sequence of m objects with index arrays ``train``, ``validation``
        Training parts may differ in size. Without validation rows a model keeps its last epoch.
    settings : Settings
    seeds : sequence of m int
        Of initial weights, order of batches and dropout.
    folder : path, optional
        A checkpoint is kept there every `save_every` epochs; a run that was stopped goes on from it
        and ends with the same weights. Finished stacks are kept there too and read again.
    progress : bool
        Show a bar with epochs and models still training.

    Raises
    ------
    TrainingError
        Rows without label, descriptors that are not finite, a training part of one class, an empty one.
    """
    seeds = tuple(int(s) for s in seeds)
    if len(seeds) != len(splits) or not splits:
        raise TrainingError(f"{len(splits)} splits and {len(seeds)} seeds; give one seed a split")
    data = _Data.make(matrix, target, splits, settings)
    store = _Checkpoint.at(folder, data, settings, seeds)
    state = store.load() or _State.start(data, settings, seeds)
    with tqdm(total=settings.epochs, unit="epoch", disable=not progress, initial=state.epoch) as bar:
        while state.epoch < settings.epochs and len(state.alive):
            _epoch(data, state, settings, seeds)
            bar.update()
            bar.set_postfix(training=len(state.alive))
            if state.epoch % save_every == 0:
                store.save(state)
    store.save(state)
    return _finish(data, state, settings, seeds)


# --------------------------------------------------------------------------- data


@dataclass(frozen=True)
class _Data:
    """What all models read. `x` is (n_used, d), standardised by a common mean and spread.

    ``z = x * inverse + shift`` is the standardised input of model m; it is folded into the weights.
    """

    x: tf.Tensor
    y: tf.Tensor  # (m, n_used): codes, or numbers standardised by each model's training rows
    row_weights: tf.Tensor  # (m, n_used) by class
    train: list[np.ndarray]
    validation: list[np.ndarray]
    centre: np.ndarray
    spread: np.ndarray
    inverse: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    task: tasks.Task
    fingerprint: str

    @classmethod
    def make(cls, matrix, target, splits, settings: Settings) -> _Data:
        used = np.unique(np.concatenate([np.concatenate([s.train, s.validation]) for s in splits]))
        used = used.astype(np.int64)
        check_rows(matrix, target, splits)
        train = [np.searchsorted(used, s.train) for s in splits]
        validation = [np.searchsorted(used, s.validation) for s in splits]
        x = np.ascontiguousarray(matrix[used], dtype=np.float32)
        if not np.isfinite(x).all():
            bad = int((~np.isfinite(x)).any(axis=1).sum())
            raise TrainingError(f"{bad} of {len(x)} descriptors hold NaN or infinity; extract them again")
        fingerprint = _fingerprint(x, target.take(used), train, validation)
        centre, spread = moments(x[np.unique(np.concatenate(train))])
        x -= centre
        x /= spread
        shift, inverse = _own_moments(x, train)
        y, offset, scale = _truths(target.take(used), train)
        weights = _class_weights(target.take(used), train, settings.class_weights)
        return cls(
            tf.constant(x),
            tf.constant(y),
            tf.constant(weights),
            train,
            validation,
            centre,
            spread,
            inverse,
            shift,
            offset,
            scale,
            target.task,
            fingerprint,
        )


def check_rows(matrix, target: tasks.Labels, splits: Sequence) -> None:
    """Raise `TrainingError` where rows, labels and splits do not fit together."""
    if len(matrix) != len(target):
        raise TrainingError(
            f"{len(matrix)} descriptors and {len(target)} labels; they must be of the same faces"
        )
    for number, split in enumerate(splits):
        name = f"split {number}" if len(splits) > 1 else "the split"
        if not len(split.train):
            raise TrainingError(f"{name} has no training row")
        rows = np.concatenate([split.train, split.validation])
        if rows.min() < 0 or rows.max() >= len(target):
            raise TrainingError(f"{name} names row {rows.max()}; the table has rows 0..{len(target) - 1}")
        unknown = int((~target.known[rows]).sum())
        if unknown:
            raise TrainingError(
                f"{unknown} training or validation rows of {name} have no '{target.name}'; "
                "make the split with that label"
            )
        if not target.task.is_number and len(np.unique(target.codes[split.train])) < 2:
            raise TrainingError(f"the training rows of {name} hold one class of '{target.name}' only")


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation by column, float32; a constant column gets deviation 1."""
    mean = x.mean(axis=0, dtype=np.float64)
    spread = x.std(axis=0, dtype=np.float64)
    flat = spread <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean.astype(np.float32), np.where(flat, 1.0, spread).astype(np.float32)


def _own_moments(x: np.ndarray, train: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    # One product of indicators with the rows instead of a copy of the rows for every model.
    member = np.zeros((len(train), len(x)), np.float32)
    for m, rows in enumerate(train):
        member[m, rows] = 1.0 / len(rows)
    mean = member @ x
    variance = member @ np.square(x) - np.square(mean)
    spread = np.sqrt(np.where(variance > 1e-8, variance, 1.0))
    return (-mean / spread)[:, None, :], (1.0 / spread)[:, :, None]


def _truths(target: tasks.Labels, train: list[np.ndarray]):
    m = len(train)
    if not target.task.is_number:
        return np.tile(target.codes.astype(np.float32), (m, 1)), np.zeros(m), np.ones(m)
    offset = np.array([target.values[rows].mean() for rows in train])
    scale = np.array([target.values[rows].std() or 1.0 for rows in train])
    values = (target.values[None] - offset[:, None]) / scale[:, None]
    return values.astype(np.float32), offset, scale


def _class_weights(target: tasks.Labels, train: list[np.ndarray], how: str) -> np.ndarray:
    weights = np.ones((len(train), len(target)), np.float32)
    if how == "balanced" and not target.task.is_number:
        for m, rows in enumerate(train):
            weights[m] = balanced(target.codes, rows, len(target.classes))[target.codes]
    return weights


def balanced(codes: np.ndarray, rows: np.ndarray, n_classes: int) -> np.ndarray:
    """Weight a class: n / (classes present * n of the class) over `rows`; ndarray (n_classes,)."""
    counts = np.bincount(codes[rows], minlength=n_classes)
    present = counts > 0
    return np.where(present, len(rows) / (present.sum() * np.maximum(counts, 1)), 1.0).astype(np.float32)


def _fingerprint(x, target: tasks.Labels, train, validation) -> str:
    digest = xxhash.xxh3_128()
    digest.update(x)
    digest.update(target.codes)
    digest.update(np.nan_to_num(target.values))
    for rows in (*train, *validation):
        digest.update(np.asarray(rows, np.int64))
        digest.update(b"|")
    return digest.hexdigest()


# --------------------------------------------------------------------------- state


@dataclass
class _State:
    """Where training stands. Lists of arrays have a leading axis over `alive`, best ones over all models."""

    epoch: int
    alive: np.ndarray
    params: list[np.ndarray]
    first: list[np.ndarray]
    second: list[np.ndarray]
    steps: np.ndarray
    best: list[np.ndarray]
    best_loss: np.ndarray
    best_epoch: np.ndarray
    history: list[tuple]

    @classmethod
    def start(cls, data: _Data, settings: Settings, seeds) -> _State:
        params = _initial(data, settings, seeds)
        m = len(seeds)
        return cls(
            0,
            np.arange(m),
            params,
            [np.zeros_like(p) for p in params],
            [np.zeros_like(p) for p in params],
            np.zeros(m, np.float32),
            [p.copy() for p in params],
            np.full(m, np.inf),
            np.zeros(m, int),
            [],
        )

    def keep(self, going: np.ndarray) -> None:
        """Drop the models that have stopped."""
        self.alive, self.steps = self.alive[going], self.steps[going]
        for name in ("params", "first", "second"):
            setattr(self, name, [p[going] for p in getattr(self, name)])


def _initial(data: _Data, settings: Settings, seeds) -> list[np.ndarray]:
    """Kernels and biases by turns: Glorot uniform (Glorot and Bengio 2010) by each model's seed."""
    sizes = [data.x.shape[1], *settings.widths, data.task.n_outputs]
    generators = [np.random.default_rng([seed, 0]) for seed in seeds]
    params = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        limit = np.sqrt(6 / (fan_in + fan_out))
        drawn = [g.uniform(-limit, limit, (fan_in, fan_out)) for g in generators]
        params += [np.stack(drawn).astype(np.float32), np.zeros((len(seeds), 1, fan_out), np.float32)]
    return params


class _Checkpoint:
    """The state of one stack in a folder; does nothing without a folder."""

    def __init__(self, path: Path | None):
        self.path = path

    @classmethod
    def at(cls, folder, data: _Data, settings: Settings, seeds) -> _Checkpoint:
        if folder is None:
            return cls(None)
        Path(folder).mkdir(parents=True, exist_ok=True)
        recipe = json.dumps([data.fingerprint, asdict(settings), seeds, data.task.to_record()])
        return cls(Path(folder) / f"stack-{xxhash.xxh3_64_hexdigest(recipe)}.npz")

    def save(self, state: _State) -> None:
        if self.path is None:
            return
        arrays = {
            f"{name}{i}": array
            for name in ("params", "first", "second", "best")
            for i, array in enumerate(getattr(state, name))
        }
        for name in ("alive", "steps", "best_loss", "best_epoch"):
            arrays[name] = getattr(state, name)
        beside = self.path.with_name(self.path.name + ".part")
        with beside.open("wb") as file:
            np.savez(file, epoch=state.epoch, history=np.array(state.history, float), **arrays)
        beside.replace(self.path)

    def load(self) -> _State | None:
        if self.path is None or not self.path.exists():
            return None
        try:
            return self._read()
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
            warnings.warn(f"{self.path} is damaged ({error}); training starts anew", stacklevel=2)
            return None

    def _read(self) -> _State:
        with np.load(self.path, allow_pickle=False) as saved:
            n = sum(name.startswith("params") for name in saved.files)
            lists = {
                name: [saved[f"{name}{i}"] for i in range(n)]
                for name in ("params", "first", "second", "best")
            }
            single = {name: saved[name] for name in ("alive", "steps", "best_loss", "best_epoch")}
            history = [(int(r[0]), int(r[1]), *r[2:].tolist()) for r in saved["history"].reshape(-1, 6)]
            return _State(epoch=int(saved["epoch"]), history=history, **lists, **single)


# --------------------------------------------------------------------------- an epoch


def _epoch(data: _Data, state: _State, settings: Settings, seeds) -> None:
    own = [seeds[m] for m in state.alive]
    rows, mask = _batches([data.train[m] for m in state.alive], own, state.epoch, settings.batch_size)
    dropping = (settings.input_dropout > 0, settings.dropout > 0)
    program = _program(data.task.loss, data.task.n_outputs, len(settings.widths), dropping)
    fixed = (
        data.x,
        tf.gather(data.y, state.alive),
        tf.gather(data.row_weights, state.alive),
        data.inverse[state.alive],
        data.shift[state.alive],
    )
    drops = tf.constant([settings.input_dropout, settings.dropout], tf.float32)
    new = program.train(
        *fixed,
        rows,
        mask,
        tf.constant(own, tf.int64),
        tf.constant(state.epoch * STEPS_APART, tf.int64),
        drops,
        tf.constant([settings.learning_rate, settings.weight_decay], tf.float32),
        state.params,
        state.first,
        state.second,
        state.steps,
    )
    state.params, state.first, state.second, state.steps, loss, metric = _numpy(new)
    held_rows, held_mask = _blocks([data.validation[m] for m in state.alive])
    val_loss, val_metric = _numpy(program.score(*fixed, held_rows, held_mask, state.params))
    state.epoch += 1
    _note(data, state, settings, np.stack([loss, val_loss, metric, val_metric], axis=1))


def _note(data: _Data, state: _State, settings: Settings, figures: np.ndarray) -> None:
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


@dataclass(frozen=True)
class _Program:
    train: tf.types.experimental.PolymorphicFunction
    score: tf.types.experimental.PolymorphicFunction


@functools.lru_cache(maxsize=32)
def _program(loss: str, n_outputs: int, n_hidden: int, dropping: tuple[bool, bool]) -> _Program:
    """The compiled epoch for nets of this depth; all sizes are free, so it is traced once.

    `dropping` says whether input and hidden units are dropped at all: what is not, is not in the program.
    """
    losses = _row_losses(loss)
    hits = _row_metric(loss)
    of = tf.TensorSpec
    params = [of((None, None, None)) for _ in range(2 * (n_hidden + 1))]
    fixed = [
        of((None, None)),
        of((None, None)),
        of((None, None)),
        of((None, None, 1)),
        of((None, 1, None)),
        of((None, None, None), tf.int32),
        of((None, None, None)),
    ]

    @tf.function(
        input_signature=[
            *fixed,
            of((None,), tf.int64),
            of((), tf.int64),
            of((2,)),
            of((2,)),
            params,
            params,
            params,
            of((None,)),
        ]
    )
    def train(
        x, y, weights, inverse, shift, rows, mask, seeds, step0, drops, rates, params, first, second, steps
    ):
        drops = [rate if used else None for rate, used in zip(tf.unstack(drops), dropping, strict=True)]
        sums = tf.zeros((3, tf.shape(seeds)[0]))
        for i in tf.range(tf.shape(rows)[0]):
            truth = tf.gather(y, rows[i], batch_dims=1)
            weight = tf.gather(weights, rows[i], batch_dims=1) * mask[i]
            count = tf.reduce_sum(mask[i], axis=1)
            with tf.GradientTape() as tape:
                tape.watch(params)
                z = _forward(
                    tf.gather(x, rows[i]), params, inverse, shift, drops, seeds, step0 + tf.cast(i, tf.int64)
                )
                each = losses(truth, z) * weight
                loss = tf.reduce_sum(each, axis=1) / tf.maximum(count, 1.0)
            gradients = tape.gradient(loss, params)
            moved = count > 0
            steps = steps + tf.cast(moved, tf.float32)
            params, first, second = _adam(params, gradients, first, second, steps, moved, rates)
            sums += tf.stack([loss * count, tf.reduce_sum(hits(truth, z) * mask[i], axis=1), count])
        return params, first, second, steps, sums[0] / sums[2], sums[1] / sums[2]

    @tf.function(input_signature=[*fixed, params])
    def score(x, y, weights, inverse, shift, rows, mask, params):
        sums = tf.zeros((3, tf.shape(y)[0]))
        for i in tf.range(tf.shape(rows)[0]):
            truth = tf.gather(y, rows[i], batch_dims=1)
            z = _forward(tf.gather(x, rows[i]), params, inverse, shift)
            weight = tf.gather(weights, rows[i], batch_dims=1) * mask[i]
            sums += tf.stack(
                [
                    tf.reduce_sum(losses(truth, z) * weight, axis=1),
                    tf.reduce_sum(hits(truth, z) * mask[i], axis=1),
                    tf.reduce_sum(mask[i], axis=1),
                ]
            )
        return sums[0] / sums[2], sums[1] / sums[2]

    return _Program(train, score)


def _forward(x, params, inverse, shift, drops=(None, None), seeds=None, step=None):
    """Logits (m, batch, outputs) of rows (m, batch, d); `drops` are rates, None where nothing is dropped."""
    kernels, biases = params[0::2], params[1::2]
    n_hidden = len(kernels) - 1
    # Standardisation by each model's own moments, folded into its first layer.
    kept = 1.0
    if drops[0] is not None:
        x, kept = _drop_input(x, -shift * tf.transpose(1.0 / inverse, [0, 2, 1]), drops[0], seeds, step)
    z = tf.matmul(x, kernels[0] * (inverse / kept)) + biases[0] + tf.matmul(shift / kept, kernels[0])
    for layer in range(n_hidden):
        z = tf.nn.relu(z)
        if drops[1] is not None and mlp.has_dropout(layer, n_hidden):
            z = _drop(z, drops[1], seeds, step, layer + 1)
        z = tf.matmul(z, kernels[layer + 1]) + biases[layer + 1]
    return z


def _drop_input(x, mean, rate, seeds, step):
    """Rows with some directions at their mean (zero once standardised), and the share that is kept."""
    stays, kept = _pattern(tf.shape(x)[1:], rate, seeds, step, 0)
    return tf.where(stays, x, mean), kept


def _drop(z, rate, seeds, step, layer: int):
    """Inverted dropout (Srivastava et al. 2014) of a hidden layer."""
    stays, kept = _pattern(tf.shape(z)[1:], rate, seeds, step, layer)
    return tf.where(stays, z, 0.0) / kept


def _pattern(shape, rate, seeds, step, layer: int):
    """What stays, bool (m, *shape), by each model's seed, the step and the layer alone; and its share.

    One random byte a unit: the rate is rounded to a multiple of 1/256.
    """
    limit = tf.round(rate * 256.0)
    words = (tf.reduce_prod(shape) + 3) // 4

    def draw(seed):
        drawn = tf.random.stateless_uniform(
            (words,), tf.stack([seed * 64 + layer, step]), minval=None, maxval=None, dtype=tf.int32
        )
        octets = tf.reshape(tf.bitcast(drawn, tf.uint8), (-1,))[: tf.reduce_prod(shape)]
        return tf.reshape(octets >= tf.cast(limit, tf.uint8), shape)

    return tf.map_fn(draw, seeds, fn_output_signature=tf.bool), 1.0 - limit / 256.0


def _adam(params, gradients, first, second, steps, moved, rates):
    at = tf.reshape(steps, (-1, 1, 1))
    size = rates[0] * tf.sqrt(1 - BETA2**at) / (1 - BETA1**at)
    new = [
        _adam_one(p, g, m, v, size, rates[0] * rates[1] if number % 2 == 0 else 0.0)
        for number, (p, g, m, v) in enumerate(zip(params, gradients, first, second, strict=True))
    ]
    new = tuple([list(part) for part in zip(*new, strict=True)])
    # A model that has no rows left in this epoch stands still.
    which = tf.reshape(moved, (-1, 1, 1))
    old = (list(params), list(first), list(second))
    return tf.cond(
        tf.reduce_all(moved),
        lambda: new,
        lambda: tf.nest.map_structure(lambda n, o: tf.where(which, n, o), new, old),
    )


def _adam_one(p, g, m, v, size, decay):
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * tf.square(g)
    return p - size * m / (tf.sqrt(v) + EPSILON) - decay * p, m, v


def _row_losses(loss: str):
    """Loss by row from logits: (m, batch) truths and (m, batch, outputs) to (m, batch)."""
    if loss == "mean_squared_error":
        return lambda truth, z: tf.square(z[..., 0] - truth)
    if loss == "binary_crossentropy":
        return lambda truth, z: tf.nn.sigmoid_cross_entropy_with_logits(truth, z[..., 0])
    return lambda truth, z: tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(truth, tf.int32), z)


def _row_metric(loss: str):
    """Hit (classes) or absolute error (numbers) by row."""
    if loss == "mean_squared_error":
        return lambda truth, z: tf.abs(z[..., 0] - truth)
    if loss == "binary_crossentropy":
        return lambda truth, z: tf.cast((z[..., 0] > 0) == (truth > 0.5), tf.float32)
    return lambda truth, z: tf.cast(tf.argmax(z, axis=-1) == tf.cast(truth, tf.int64), tf.float32)


# --------------------------------------------------------------------------- the end


def _finish(data: _Data, state: _State, settings: Settings, seeds) -> Stack:
    metric = "mae" if data.task.is_number else "accuracy"
    columns = ["model", "epoch", "loss", "val_loss", metric, f"val_{metric}"]
    history = pd.DataFrame(state.history, columns=columns)
    own_spread = 1.0 / data.inverse[:, :, 0]
    own_mean = -data.shift[:, 0, :] * own_spread
    return Stack(
        state.best[0::2],
        state.best[1::2],
        data.centre + data.spread * own_mean,
        np.square(data.spread * own_spread),
        data.offset,
        data.scale,
        state.best_epoch,
        history.sort_values(["model", "epoch"], ignore_index=True),
        data.task,
        settings,
        tuple(seeds),
    )


def _block(matrix: np.ndarray, start: int) -> np.ndarray:
    return np.asarray(matrix[start : start + BLOCK], dtype=np.float32)


def _outputs(x, kernels, biases, task: tasks.Task) -> np.ndarray:
    z = x[None]
    for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        z = tf.matmul(tf.nn.relu(z) if layer else z, kernel) + bias
    if task.activation == "linear":
        return z.numpy()
    if task.activation == "softmax":
        return tf.nn.softmax(z).numpy()
    p = tf.sigmoid(z).numpy()
    return np.concatenate([1 - p, p], axis=-1) if task.is_binary else p


def with_settings(settings: Settings, **changes) -> Settings:
    """`settings` with some of them changed; ValueError for one that does not exist."""
    allowed = sorted(asdict(settings))
    wrong = sorted(set(changes) - set(allowed))
    if wrong:
        raise ValueError(f"no such setting: {wrong}; allowed are {allowed}")
    return replace(settings, **changes)

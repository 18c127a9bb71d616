"""Fine-tune a network on pictures: frozen parts, learning rates by part, gradual unfreezing, resumable.

`fit` sees training and validation rows and nothing else. Training rows alone are augmented; the best
epoch is chosen on validation rows; test rows stay with the caller, who reads them once with `predict`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import xxhash
from tqdm.auto import tqdm

from faceworkbook import images
from faceworkbook.models import multitask
from faceworkbook.models.multitask import Head
from faceworkbook.tasks import Labels
from faceworkbook.training import augment, checkpoint, cutting, logs, masked
from faceworkbook.training.augment import Augmentation
from faceworkbook.training.cutting import Network
from faceworkbook.training.multitask import Fitted
from faceworkbook.training.param_groups import ParamGroupOptimizers
from faceworkbook.training.pictures import Mirrored, Prepared, order, stream
from faceworkbook.training.schedules import Staircase

CHECKPOINT, HISTORY = "checkpoint.npz", "history.csv"
NUMBER_LOSSES = ("squared", "absolute")
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Cosine:
    """The learning rate rises over `warmup` epochs, then falls as half a cosine to `floor` at `epochs`."""

    epochs: int
    warmup: int = 0
    floor: float = 0.01

    def rate(self, start: float, epoch: int) -> float:
        """Learning rate of `epoch` (from 0), where `start` is the highest."""
        if epoch < self.warmup:
            return start * (epoch + 1) / (self.warmup + 1)
        gone = min(1.0, (epoch - self.warmup) / max(1, self.epochs - self.warmup))
        return start * (self.floor + (1 - self.floor) * 0.5 * (1 + np.cos(np.pi * gone)))


@dataclass(frozen=True)
class Settings:
    """How to fine-tune.

    Attributes
    ----------
    epochs, batch_size : int
    learning_rate : float
    decay : Cosine or Staircase
    rates : dict of str to float
        Multipliers of the learning rate: 'trunk', 'shared', a task, or a trunk layer (it and all
        before it).
    freeze : str, optional
        Trunk layer; it and all before it never change, and its batch norm uses its stored statistics.
    unfreeze : tuple of (epoch, layer or None)
        From that epoch on only what lies up to the layer is frozen (None: nothing but `freeze`).
    weight_decay : float
        Of kernels, decoupled from the gradient.
    label_smoothing : float, 0..1
        Share of each class target that is spread evenly; training rows only.
    number_loss : {'squared', 'absolute'}
        Of numbers, in units of their standard deviation (in their own unit with the head 'own').
    augmentation : Augmentation
        Of training pictures; nothing by default.
    accumulate : int
        Pieces that a batch is computed in; their gradients add up to that of the whole batch.
    xla : bool
        Compile the step with XLA: faster on a GPU, slower on a processor.
    patience : int
        Epochs without a better validation loss before training ends; 0 never ends it early.
    seed : int
        Of batches and augmentation.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    decay: Cosine | Staircase = field(default_factory=Staircase)
    rates: dict = field(default_factory=dict)
    freeze: str | None = None
    unfreeze: tuple = ()
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    number_loss: str = "squared"
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(0, 0, 0, 0, 0, 0))
    accumulate: int = 1
    xla: bool = False
    patience: int = 0
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; allowed is 1 or more")
        for name in ("learning_rate", "weight_decay", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}; allowed is 0 or more")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}; allowed is 0 up to below 1")
        if self.number_loss not in NUMBER_LOSSES:
            raise ValueError(f"number_loss={self.number_loss!r}; allowed are {list(NUMBER_LOSSES)}")

    def frozen_upto(self, epoch: int) -> str | None:
        """The layer up to which the trunk is frozen in `epoch`."""
        reached = [layer for start, layer in sorted(self.unfreeze, key=lambda s: s[0]) if start <= epoch]
        return (reached[-1] if reached else None) or self.freeze


def parse_stages(texts: list[str]) -> tuple[tuple[int, str | None], ...]:
    """``["0: conv_pw_13_relu", "3:"]`` as `Settings.unfreeze` wants it; no layer means none is frozen.

    Raises
    ------
    ValueError
        A text that does not start with an epoch and a colon.
    """
    stages = []
    for text in texts:
        epoch, colon, layer = text.partition(":")
        if not colon or not epoch.strip().isdigit():
            raise ValueError(
                f"unfreeze holds {text!r}; expected 'EPOCH: LAYER', such as '0: conv_pw_13_relu'"
            )
        stages.append((int(epoch), layer.strip() or None))
    return tuple(stages)


def describe_parts(network: Network, settings: Settings) -> pd.DataFrame:
    """The parts of a network: layers, weights, learning rate, and the epoch in which each starts to learn."""
    rows = []
    for part in _parts(network, settings):
        layers = [network.net.model.get_layer(name) for name in part.layers]
        free = [e for e in range(settings.epochs) if settings.frozen_upto(e) not in part.within]
        rows.append(
            {
                "split": part.name,
                "layers": len(layers),
                "weights": sum(layer.count_params() for layer in layers),
                "learning rate": settings.learning_rate * part.rate if free else 0.0,
                "from epoch": free[0] if free else "never",
            }
        )
    return pd.DataFrame(rows)


def _parts(network: Network, settings: Settings) -> list[cutting.Part]:
    boundaries = {settings.freeze, *(layer for _, layer in settings.unfreeze)} - {None}
    return cutting.divide(network, boundaries=boundaries, rates=settings.rates)


def make_reproducible(seed: int) -> None:
    """Same seed, same machine, same bits: seed every generator and make TensorFlow deterministic.

    Holds for the whole process and costs some speed.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fit(
    network: Network,
    source,
    targets: Mapping[str, Labels],
    *,
    split,
    settings: Settings,
    soft: Mapping[str, np.ndarray] | None = None,
    precompute: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Fitted:
    """Train `network` in place and leave it with its best epoch's weights.

    Parameters
    ----------
    network : Network
        From ``cutting.assemble``.
    source : PixelFiles, PixelArray or PixelShards
        n pictures, as ``network.preprocessing`` wants them.
    targets : dict of str to Labels
        One a task, n labels each, some perhaps missing (they are masked).
    split : Split
        Any object with index arrays ``train`` and ``validation``.
    settings : Settings
    soft : dict of str to ndarray of shape (n, n_classes), optional
        Probabilities to learn instead of one class, such as the share of votes.
    precompute : str, optional
        A layer within what is frozen: its output is computed once for all rows (and once more for their
        mirror images, where pictures are mirrored) and training runs from there. Mirroring is the only
        augmentation that goes with it.
    folder : path, optional
        For the checkpoint of each epoch, ``history.csv`` and TensorBoard's files. Where it holds a
        checkpoint of the same run, training goes on from it, to the same weights.
    progress : bool
        Show a bar with rate and remaining time.

    Returns
    -------
    Fitted

    Raises
    ------
    ValueError
        Unknown layers or parts, overlapping rows, a task without labels, unfit `precompute`.
    CheckpointError
        The folder belongs to another run.
    """
    _check(network, source, targets, split)
    folder = None if folder is None else Path(folder)
    labels = {
        task.name: _Labels(task, targets[task.name], (soft or {}).get(task.name), settings)
        for task in network.net.heads
    }
    run = _Run(network, source, labels, settings)
    saved = _Saved(run, split, folder)
    first = saved.resume()
    if precompute is not None and first < settings.epochs:
        run.precompute(precompute, np.concatenate([split.train, split.validation]), folder, progress)
    steps = len(order(split.train, batch_size=settings.batch_size, seed=0, epoch=0))
    bar = tqdm(total=settings.epochs * steps, initial=first * steps, unit="batch", disable=not progress)
    for epoch in range(first, settings.epochs):
        if saved.is_over(epoch):
            break
        row = {"epoch": epoch, **run.train_epoch(epoch, split.train, bar), **run.measure(split.validation)}
        saved.add(row)
        bar.set_postfix(epoch=epoch, loss=row["loss"], validation_loss=row["validation_loss"])
    bar.close()
    run.forget_activations()
    checkpoint.assign(network.net.model.weights, saved.best_weights)
    return Fitted(network.net, pd.DataFrame(saved.history), saved.best_epoch)


def predict(network: Network, source, *, rows: np.ndarray, mirrored: bool = False) -> dict[str, np.ndarray]:
    """What the network says of `rows`; see ``classifiers.multitask.predict``. Every row is answered.

    Parameters
    ----------
    mirrored : bool
        Mean of the answers to each picture and to its mirror image (yaw and roll turned back).
    """
    said = multitask.predict(network.net, Prepared(source), rows=rows, batch_size=EVALUATION_BATCH)
    if not mirrored:
        return said
    other = multitask.predict(network.net, Prepared(Mirrored(source)), rows=rows, batch_size=EVALUATION_BATCH)
    turned = np.zeros(len(rows), augment.DRAWN)
    turned["mirror"] = True
    return {name: (said[name] + augment.adjust(name, other[name], turned)) / 2 for name in said}


@dataclass(frozen=True, eq=False)
class Reader:
    """What a network said of some pictures for one task, read by row number like a fitted classifier.

    ``evaluation.predictions.of(reader, numpy.arange(n), ...)`` makes the table of predictions.

    Attributes
    ----------
    classes : tuple of str
        Order of the probabilities; empty for numbers.
    rows : ndarray of shape (m,), int, ascending
    answers : ndarray of shape (m, n_classes) or (m,)
    """

    classes: tuple[str, ...]
    rows: np.ndarray
    answers: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities (n, n_classes), or numbers (n,), of the pictures with these row numbers."""
        unknown = np.setdiff1d(rows, self.rows)
        if len(unknown):
            raise ValueError(
                f"{len(unknown)} of {len(rows)} rows were not read; read them with read_rows first"
            )
        return self.answers[np.searchsorted(self.rows, rows)]


def read_rows(network: Network, source, *, rows: np.ndarray, mirrored: bool = False) -> dict[str, Reader]:
    """Let the network read `rows` once, for all of its tasks; a `Reader` a task, see `predict`."""
    rows = np.unique(rows)
    said = predict(network, source, rows=rows, mirrored=mirrored)
    return {name: Reader(network.net.head(name).classes, rows, said[name]) for name in said}


def vote_shares(faces: pd.DataFrame, target: Labels) -> np.ndarray:
    """Share of the votes for each class, to be learned instead of one class; shape (n, n_classes).

    A single vote counts as none, as in the official reader of FER+.

    Raises
    ------
    ValueError
        The face table has no ``votes_*`` column for a class.
    """
    columns = [f"votes_{name}" for name in target.classes]
    missing = [column for column in columns if column not in faces]
    if missing:
        raise ValueError(f"the face table lacks {missing}; learn from labels, or take a data set with votes")
    votes = faces[columns].to_numpy(dtype=float)
    votes = np.where(votes > 1, votes, 0)
    alone = (votes.sum(axis=1) == 0) & target.known
    votes[alone, target.codes[alone]] = 1
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)


def curves(history: pd.DataFrame, task: Head) -> pd.DataFrame:
    """The history of one task as ``plots.learning_curve`` reads it: loss, accuracy or mae, and val_ of each."""
    rate = "mae" if task.is_number else "accuracy"
    names = {f"{task.name}_loss": "loss", f"{task.name}_rate": rate}
    wanted = {"epoch": "epoch"} | {
        f"{before}{name}": f"{after}{new}"
        for before, after in (("", ""), ("validation_", "val_"))
        for name, new in names.items()
    }
    return history[list(wanted)].rename(columns=wanted)


def save(network: Network, folder: str | Path) -> Path:
    """Write ``model.keras`` (probabilities and numbers in their units, by task) and ``model.json``.

    The record holds what a reader of the model needs: preprocessing, class names, where the trunk is from.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "part-model.keras"
    multitask.serving_model(network.net).save(beside)
    beside.replace(folder / "model.keras")
    record = network.origin | {"tasks": [head.to_record() for head in network.net.heads]}
    text = folder / "model.json.part"
    text.write_text(json.dumps(record, indent=1))
    text.replace(folder / "model.json")
    return folder


def _check(network: Network, source, targets, split) -> None:
    if source.preprocessing != network.preprocessing:
        raise ValueError(
            f"the pictures are prepared as {source.preprocessing}, {network.backbone} wants "
            f"{network.preprocessing}; read them with the network's own preprocessing"
        )
    both = np.intersect1d(split.train, split.validation)
    if len(both):
        raise ValueError(f"{len(both)} rows are both training and validation rows; they must be disjoint")
    for task in network.net.heads:
        if task.name not in targets:
            raise ValueError(f"targets hold {list(targets)}; the network also has the task '{task.name}'")
        if len(targets[task.name]) != len(source):
            raise ValueError(
                f"target '{task.name}' has {len(targets[task.name])} labels for {len(source)} pictures"
            )
        for part in ("train", "validation"):
            rows = getattr(split, part)
            if not targets[task.name].known[rows].any():
                raise ValueError(f"no {part} row (of {len(rows)}) has a label for task '{task.name}'")


class _Labels:
    """Targets of one task: class probabilities or a standardised number a row, and which are known."""

    def __init__(self, task: Head, target: Labels, soft: np.ndarray | None, settings: Settings):
        self._task, self._smoothing = task, settings.label_smoothing
        self.known = target.known
        if task.is_number:
            self._values = np.where(self.known, target.values, 0.0)
        elif soft is None:
            self._values = np.zeros((len(target), task.width), np.float32)
            self._values[np.flatnonzero(self.known), target.codes[self.known]] = 1
        else:
            self._values = _shares(task, soft, self.known)

    def take(self, rows: np.ndarray, drawn: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Targets (n, width) and mask (n,) of `rows`, float32; `drawn` where they are training rows."""
        mask = self.known[rows].astype(np.float32)
        return self._target(self._values[rows], drawn).astype(np.float32), mask

    def _target(self, values: np.ndarray, drawn: np.ndarray | None) -> np.ndarray:
        task = self._task
        if task.is_number:
            changed = values if drawn is None else augment.adjust(task.name, values, drawn)
            return (changed[:, None] - task.mean) / task.scale
        smoothing = 0.0 if drawn is None else self._smoothing
        return (1 - smoothing) * values + smoothing / task.width

    def digest(self) -> str:
        return _digest(self._values) + _digest(self.known)


def _shares(task: Head, soft: np.ndarray, known: np.ndarray) -> np.ndarray:
    if soft.shape != (len(known), task.width):
        raise ValueError(
            f"soft targets of '{task.name}' have shape {soft.shape}, expected {(len(known), task.width)}, "
            f"in the order {task.classes}"
        )
    total = soft.sum(axis=1, keepdims=True)
    if not (total[known] > 0).all() or (soft[known] < 0).any():
        raise ValueError(f"soft targets of '{task.name}' hold rows without any share, or negative ones")
    return (soft / np.where(total > 0, total, 1)).astype(np.float32)


class _Run:
    """The network, its parts and their optimisers, and how a batch becomes a step."""

    def __init__(self, network: Network, source, labels: dict[str, _Labels], settings: Settings):
        self.network, self.labels, self.settings = network, labels, settings
        self._source, self._activations = source, None
        self._model = network.net.model
        self.parts = _parts(network, settings)
        movable = [part for part in self.parts if settings.freeze not in part.within]
        # Variables are listed while all layers are trainable: a frozen layer would hide its own.
        self._freeze(frozenset())
        layer = network.net.model.get_layer
        variables = {p.name: [v for n in p.layers for v in layer(n).trainable_weights] for p in movable}
        self.optimisers = ParamGroupOptimizers(
            variables,
            learning_rate=settings.learning_rate,
            multipliers={p.name: p.rate for p in movable},
            weight_decay=settings.weight_decay,
        )
        self._steps: dict = {}

    @property
    def variables(self) -> list:
        """All that training changes: weights, batch statistics, dropout's seeds, optimiser states."""
        still = {n for p in self.parts if self.settings.freeze in p.within for n in p.layers}
        fixed = {id(v) for n in still for v in self.network.net.model.get_layer(n).weights}
        return [v for v in self.network.net.model.variables if id(v) not in fixed] + self.optimisers.state

    def precompute(self, layer: str, rows: np.ndarray, folder: Path | None, progress: bool) -> None:
        """Compute the output of `layer` for `rows` once; training and validation go on from it."""
        settings, whole = self.settings, self.network.net.model
        mirror = settings.augmentation.mirror
        if not replace(settings.augmentation, mirror=0.0).is_nothing:
            raise ValueError(
                "precompute keeps each picture and its mirror image, so mirror is the only augmentation that "
                f"goes with it; got {settings.augmentation}"
            )
        if not cutting.layers_upto(whole, layer) <= cutting.layers_upto(whole, settings.freeze):
            raise ValueError(
                f"precompute={layer!r} changes in training; freeze the network up to it or beyond "
                f"(freeze={settings.freeze!r})"
            )
        self._model = cutting.beyond(whole, layer)
        file = None if folder is None else folder / "activations.npy"
        sources = [self._source, Mirrored(self._source)][: 2 if mirror else 1]
        self._activations = _Activations(cutting.upto(whole, layer), sources, rows, file, progress)

    def forget_activations(self) -> None:
        """Free what `precompute` has taken, on disk too."""
        if self._activations is not None:
            self._activations.remove()
            self._activations = None

    def _load(self, rows: np.ndarray, epoch: int | None) -> tuple[np.ndarray, ...]:
        """Input, then target and mask of each task; augmented where `epoch` is given."""
        drawn = None
        if epoch is not None:
            drawn = augment.draw(self.settings.augmentation, rows, seed=self.settings.seed, epoch=epoch)
        pairs = [labels.take(rows, drawn) for labels in self.labels.values()]
        return (self._input(rows, drawn), *(array for pair in pairs for array in pair))

    def _input(self, rows: np.ndarray, drawn: np.ndarray | None) -> np.ndarray:
        if self._activations is not None:
            return self._activations.take(rows, None if drawn is None else drawn["mirror"])
        pixels = self._source.take(rows)
        if drawn is not None and not self.settings.augmentation.is_nothing:
            pixels = augment.apply(pixels, drawn)
        return images.network_input(pixels, self._source.preprocessing)

    def train_epoch(self, epoch: int, rows: np.ndarray, bar) -> dict:
        """One pass over the training rows; losses, rates and learning rates of it."""
        settings = self.settings
        rates = self.optimisers.start_epoch(settings.decay, epoch)
        upto = settings.frozen_upto(epoch)
        step = self._step_for(upto)
        batches = order(rows, batch_size=settings.batch_size, seed=settings.seed, epoch=epoch)
        sums = _Sums(self.network.net.heads)
        for arrays in stream(batches, lambda chosen: self._load(chosen, epoch)):
            sums.add(step(*arrays))
            bar.update()
        frozen = {p.name for p in self.parts if upto in p.within}
        shown = {f"rate:{part}": 0.0 if part in frozen else rate for part, rate in rates.items()}
        return {**sums.means(), **shown}

    def _step_for(self, upto: str | None):
        frozen = frozenset(p.name for p in self.parts if upto is not None and upto in p.within)
        if frozen not in self._steps:
            self._freeze(frozen)
            self._steps[frozen] = self._compile(frozen)
        return self._steps[frozen]

    def _freeze(self, frozen: frozenset[str]) -> None:
        for part in self.parts:
            for name in part.layers:
                self.network.net.model.get_layer(name).trainable = part.name not in frozen

    def _compile(self, frozen: frozenset[str]):
        active = [part for part in self.optimisers.variables_of if part not in frozen]
        variables = self.optimisers.trainable(active)
        values, pieces = [v.value for v in variables], self.settings.accumulate

        @tf.function(reduce_retracing=True, jit_compile=self.settings.xla)
        def differentiate(x, taken, totals):
            with tf.GradientTape() as tape:
                measured = self._measure(self._model(x, training=True), taken)
                losses = [m[0] / t for m, t in zip(measured, totals, strict=True)]
                total = tf.add_n(losses) + sum(self._model.losses) / pieces
            return tape.gradient(total, values, unconnected_gradients="zero"), measured

        @tf.function(reduce_retracing=True)
        def move(gradients):
            self.optimisers.apply(gradients, active)

        def step(x, *labels):
            totals = [tf.maximum(tf.reduce_sum(mask), 1e-6) for mask in labels[1::2]]
            gradients, measured = None, None
            for piece in np.array_split(np.arange(len(x)), min(pieces, len(x))):
                part = slice(piece[0], piece[-1] + 1)
                found, sums = differentiate(x[part], [array[part] for array in labels], totals)
                gradients = found if gradients is None else _add(gradients, found)
                measured = sums if measured is None else _add(measured, sums)
            move(gradients)
            return measured

        return step

    def _measure(self, outputs: dict, labels) -> list:
        """For each task the sums of loss, rate and mask over the rows, shape (3,)."""
        pairs = zip(labels[::2], labels[1::2], strict=True)
        return [
            _sums(task, outputs[task.name], target, mask, self.settings.number_loss)
            for task, (target, mask) in zip(self.network.net.heads, pairs, strict=True)
        ]

    def measure(self, rows: np.ndarray) -> dict:
        """Losses and rates on `rows`, never augmented, named 'validation_...'."""
        sums = _Sums(self.network.net.heads)
        batches = np.array_split(rows, -(-len(rows) // EVALUATION_BATCH))
        for x, *labels in stream(batches, lambda chosen: self._load(chosen, None)):
            sums.add(self._evaluate(x, labels))
        return {f"validation_{name}": value for name, value in sums.means().items()}

    def _evaluate(self, x, labels):
        if "evaluate" not in self._steps:
            model = self._model
            self._steps["evaluate"] = tf.function(
                lambda x, labels: self._measure(model(x, training=False), labels), reduce_retracing=True
            )
        return self._steps["evaluate"](x, labels)


def _add(first: list, second: list) -> list:
    return [a + b for a, b in zip(first, second, strict=True)]


def _sums(task: Head, output, target, mask, number_loss: str):
    output = tf.cast(output, tf.float32)
    if not task.is_number:
        losses, rates = masked.cross_entropy(target, output), masked.hits(target, output)
    else:
        distance = tf.abs(target - output)[:, 0]
        losses = distance if number_loss == "absolute" else tf.square(distance)
        rates = distance * task.scale
    known = mask > 0
    return tf.stack(
        [tf.reduce_sum(tf.where(known, value, 0.0)) for value in (losses, rates, tf.ones_like(losses))]
    )


class _Sums:
    """Sums over an epoch, each task's by itself, turned into means over the rows whose label is known."""

    def __init__(self, tasks: tuple[Head, ...]):
        self._tasks, self._sums = tasks, np.zeros((len(tasks), 3))

    def add(self, measured) -> None:
        self._sums += np.stack([np.asarray(m) for m in measured])

    def means(self) -> dict:
        counts = np.maximum(self._sums[:, 2], 1)
        loss, rate = self._sums[:, 0] / counts, self._sums[:, 1] / counts
        row = {"loss": float(loss.sum())}
        for i, task in enumerate(self._tasks):
            row |= {f"{task.name}_loss": float(loss[i]), f"{task.name}_rate": float(rate[i])}
        return row


class _Activations:
    """The output of a frozen layer for some rows, float32, in memory or in a file of the run folder."""

    def __init__(
        self, model: keras.Model, sources: list, rows: np.ndarray, file: Path | None, progress: bool
    ):
        rows = np.unique(rows)
        self._file = file
        self._place = np.full(len(sources[0]), -1)
        self._place[rows] = np.arange(len(rows))
        self._values = _room((len(sources), len(rows), *model.output.shape[1:]), file)
        forward = tf.function(model, reduce_retracing=True)
        bar = tqdm(total=len(rows) * len(sources), unit="face", desc="frozen layers", disable=not progress)
        for values, pictures in zip(self._values, map(Prepared, sources), strict=True):
            for chosen in np.array_split(rows, -(-len(rows) // EVALUATION_BATCH)):
                values[self._place[chosen]] = forward(pictures[chosen], training=False).numpy()
                bar.update(len(chosen))
        bar.close()

    def take(self, rows: np.ndarray, mirrored: np.ndarray | None) -> np.ndarray:
        """Activations of `rows`, of the mirror image where `mirrored` (bool, by row)."""
        side = 0 if mirrored is None else np.asarray(mirrored, int)
        return np.asarray(self._values[side, self._place[rows]])

    def remove(self) -> None:
        """Delete the file, where there is one."""
        self._values = None
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _room(shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    if file is None:
        return np.empty(shape, np.float32)
    file.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)


class _Saved:
    """History and best weights of a run, and the folder that they are kept in."""

    def __init__(self, run: _Run, split, folder: Path | None):
        self._run, self._folder = run, folder
        self._identity = _identity(run, split)
        self.history: list[dict] = []
        self.best_epoch, self.best_weights = -1, []

    def resume(self) -> int:
        """Read the checkpoint where there is one; the first epoch to train."""
        if self._folder is None or not (self._folder / CHECKPOINT).exists():
            return 0
        path = self._folder / CHECKPOINT
        arrays, record = checkpoint.read(path)
        checkpoint.check(path, found=record["identity"], expected=self._identity)
        checkpoint.assign(self._run.variables, arrays["state"])
        self.history, self.best_epoch = record["history"], record["best_epoch"]
        self.best_weights = arrays["best"]
        return len(self.history)

    def is_over(self, epoch: int) -> bool:
        """Whether patience has run out before `epoch`."""
        patience = self._run.settings.patience
        return patience > 0 and self.best_epoch >= 0 and epoch - 1 - self.best_epoch >= patience

    def add(self, row: dict) -> None:
        """Take in an epoch: remember its weights if they are the best, and write everything down."""
        losses = [earlier["validation_loss"] for earlier in self.history]
        if not losses or row["validation_loss"] < min(losses):
            self.best_epoch = row["epoch"]
            self.best_weights = _values(self._run.network.net.model.weights)
        self.history.append(row)
        if self._folder is not None:
            self._write()

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write(
            self._folder / CHECKPOINT,
            arrays={"state": _values(self._run.variables), "best": self.best_weights},
            record={"identity": self._identity, "history": self.history, "best_epoch": self.best_epoch},
        )
        logs.write_csv(self._folder / HISTORY, self.history)
        logs.write_tensorboard(self._folder / "tensorboard", self.history[-1])


def _values(variables: list) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _identity(run: _Run, split) -> dict:
    """What must be the same for a run to go on; patience and the number of epochs may grow."""
    settings = {k: v for k, v in asdict(run.settings).items() if k not in ("epochs", "patience")}
    settings["unfreeze"] = [list(stage) for stage in run.settings.unfreeze]
    return {
        "settings": settings,
        "network": run.network.origin,
        "tasks": [head.to_record() for head in run.network.net.heads],
        "layers": [layer.name for layer in run.network.net.model.layers],
        "rows": {part: _digest(np.asarray(getattr(split, part))) for part in ("train", "validation")},
        "labels": {name: labels.digest() for name, labels in run.labels.items()},
    }


def _digest(array: np.ndarray) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).tobytes())

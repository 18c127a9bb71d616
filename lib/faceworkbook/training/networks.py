"""Networks with heads as classifiers of one label: on descriptors with further labels beside it, or on pictures.

`faceworkbook.training.fit` and a search take them in place of a classifier's name. Their options bear the names, and
have the defaults, of the parameters of 09_multitask and 10_fine_tune.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from faceworkbook.backbones import Backbone
from faceworkbook.backbones.base import UNTRAINED
from faceworkbook.files import hash_values
from faceworkbook.images import Preprocessing
from faceworkbook.models import multitask as models
from faceworkbook.tasks import Labels, Task
from faceworkbook.training import (
    balancing,
    cutting,
    fine_tune,
    loop,
    multitask,
    precomputing,
    schedules,
)
from faceworkbook.training.augment import Augmentation
from faceworkbook.training.batched import TrainingError
from faceworkbook.training.batches import Joint, Stage

EQUAL, UNCERTAINTY = "equal", "uncertainty"


@dataclass(frozen=True)
class MultitaskOptions:
    """Options of `Multitask`, by the names of 09_multitask's parameters."""

    heads: str = "linear"
    hidden: tuple[int, ...] = (256,)
    batch_norm: bool = True
    dropout: float = 0.5
    learning_rate: float = 0.0005
    decay_factor: float = 1.0
    decay_every: int = 10
    weight_decay: float = 0.01
    batch_size: int = 128
    task_weights: str = EQUAL
    balance: str = "none"
    epochs: int = 15
    patience: int = 0


@dataclass(frozen=True)
class FineTuneOptions:
    """Options of `FineTune`, by the names of 10_fine_tune's parameters; `trunk` is the entry of ``lr_multipliers``."""

    freeze: str = ""
    precompute: str = ""
    epochs: int = 10
    learning_rate: float = 0.001
    trunk: float = 0.1
    batch_size: int = 64
    head: str = "linear"
    pool: str = "average"
    hidden: tuple[int, ...] = ()
    batch_norm: bool = True
    bn_momentum: float = 0.0
    dropout: float = 0.5
    schedule: str = "cosine"
    task_weights: str = EQUAL
    patience: int = 0
    weight_decay: float = 0.0001
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    balance: str = "none"
    flip: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    light: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A trained network, as what reads one label.

    Attributes
    ----------
    network : MultitaskNet, or cutting.Network
    task : Task
    history : pandas.DataFrame
        One row an epoch from 1: loss, val_loss, accuracy, val_accuracy (or mae) of the label, and the same validation
        figure of each further label, such as ``val:race``.
    settings : dict
    """

    network: object
    task: Task
    history: pd.DataFrame
    settings: dict

    def predict(self, inputs) -> np.ndarray:
        """Predict all rows of descriptors or pictures: probabilities (n, n_classes), or numbers (n,)."""
        of = fine_tune.predict if isinstance(self.network, cutting.Network) else models.predict
        return of(self.network, inputs, rows=np.arange(len(inputs)))[self.task.name]


@dataclass(frozen=True, eq=False)
class Multitask:
    """Nets of several labels on descriptors.

    Attributes
    ----------
    others : mapping of str to Labels
        Learned together with the label, of the same faces; missing ones are masked.
    """

    others: Mapping[str, Labels] = field(default_factory=dict)
    name = "multitask"

    def fit_split(self, matrix, labels: Labels, split, *, seed=0, folder=None, watch=None, **options):
        """Fit the training rows of a split; see `faceworkbook.training.fit`.

        Parameters
        ----------
        folder : path, optional
            For the checkpoint of each epoch: a fit that was stopped goes on from there.
        watch : callable, optional
            From the history so far to whether training goes on.
        **options
            Fields of `MultitaskOptions`.
        """
        chosen, learned = _read(MultitaskOptions, options, self.name), _together(labels, self.others)
        heads = [models.make_head(own, rows=split.train) for own in learned.values()]
        shape = {"head": chosen.heads, "hidden": tuple(chosen.hidden)}
        net = models.build(
            matrix.shape[1],
            heads,
            standardise=models.standardiser(matrix, rows=split.train),
            seed=seed,
            batch_norm=chosen.batch_norm,
            dropout=chosen.dropout,
            **shape,
        )
        rows = balancing.repeat_together(list(learned.values()), split.train, chosen.balance, seed=seed)
        rate = {"factor": chosen.decay_factor, "every": chosen.decay_every}
        fitted = multitask.fit(
            net,
            matrix,
            learned,
            plan=Joint((Stage("all", rows, tuple(learned)),), chosen.batch_size),
            validation=split.validation,
            settings=multitask.Settings(
                learning_rate=schedules.staircase(chosen.learning_rate, **rate),
                **_common(chosen, labels.task, seed, watch),
            ),
            folder=folder,
        )
        return _wrap(self, fitted, labels.task, chosen, seed)

    def identity(self, rows: np.ndarray) -> dict:
        """Return what the trained nets depend on beside the label, its rows and the options."""
        return {"others": _fingerprints(self.others, rows)}


@dataclass(frozen=True, eq=False)
class FineTune:
    """Networks that are trained on pictures.

    Attributes
    ----------
    start : Backbone
    others : mapping of str to Labels
        Learned together with the label.
    reproducible : bool
        See `fine_tune.make_reproducible`.
    """

    start: Backbone
    others: Mapping[str, Labels] = field(default_factory=dict)
    reproducible: bool = True
    name = "fine_tune"
    _activations: dict = field(default_factory=dict, repr=False)

    def fit_split(self, matrix, labels: Labels, split, *, seed=0, folder=None, watch=None, **options):
        """Fit the training rows of a split; see `Multitask.fit_split`.

        Parameters
        ----------
        matrix : PictureRows
        **options
            Fields of `FineTuneOptions`.
        """
        chosen, learned = _read(FineTuneOptions, options, self.name), _together(labels, self.others)
        if self.reproducible:
            fine_tune.make_reproducible(seed)
        network = cutting.assemble(
            self.start,
            [models.make_head(own, rows=split.train) for own in learned.values()],
            head=chosen.head,
            pool=chosen.pool,
            hidden=tuple(chosen.hidden),
            batch_norm=chosen.batch_norm,
            dropout=chosen.dropout,
            trunk_momentum=chosen.bn_momentum,
            seed=seed,
        )
        moves = (chosen.flip, chosen.rotate, chosen.shift, chosen.zoom, chosen.light, chosen.blur)
        own = ("batch_size", "label_smoothing", "mixup", "ema")
        settings = fine_tune.Settings(
            learning_rate=schedules.named(chosen.schedule, chosen.learning_rate, epochs=chosen.epochs),
            lr_multipliers={models.TRUNK: chosen.trunk},
            freeze=chosen.freeze or None,
            precompute=chosen.precompute or None,
            augmentation=Augmentation(*moves),
            **{name: getattr(chosen, name) for name in own},
            **_common(chosen, labels.task, seed, watch),
        )
        network = self._activated(network, matrix, settings)
        fitted = fine_tune.fit(network, matrix, learned, split=split, settings=settings, folder=folder)
        return _wrap(self, fitted, labels.task, chosen, seed, network=network)

    def identity(self, rows: np.ndarray) -> dict:
        """Return what the trained networks depend on beside the label, its rows and the options."""
        start = {"name": self.start.name, "tap": self.start.tap, "weights": self.start.fingerprint}
        return {"others": _fingerprints(self.others, rows), **start}

    def _activated(self, network: cutting.Network, pictures, settings) -> cutting.Network:
        """Let all networks that are frozen up to the same layer share what it makes of the pictures."""
        layer = settings.precompute
        if layer is None or self.start.fingerprint == UNTRAINED:
            return network
        key = (layer, bool(settings.augmentation.mirror), id(getattr(pictures, "source", pictures)))
        if key not in self._activations:
            precomputing.check(network, settings)
            every = np.arange(len(pictures))
            self._activations[key] = precomputing.compute(network, pictures, every, settings, None)
        return replace(network, activations=self._activations[key])

    def __getstate__(self) -> dict:
        """Leave what frozen layers made behind: another process makes it anew."""
        return {**self.__dict__, "_activations": {}}


@dataclass(frozen=True, eq=False)
class PictureRows:
    """Pictures that are chosen by ``pictures[rows]``, as rows of descriptors are.

    Attributes
    ----------
    source : PixelFiles, PixelArray or PixelShards
    rows : ndarray of int, optional
        Of the source; all where None.
    """

    source: object
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.source) if self.rows is None else len(self.rows)

    def __getitem__(self, rows) -> PictureRows:
        return PictureRows(self.source, self._of(np.asarray(rows)))

    @property
    def preprocessing(self) -> Preprocessing:
        """Return that of the source."""
        return self.source.preprocessing

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the pixels of `rows`, ndarray of shape (n, height, width, 3), uint8, RGB."""
        return self.source.take(self._of(rows))

    def fingerprint(self, rows: np.ndarray) -> str:
        """Return the hash of the pictures of `rows`."""
        return self.source.fingerprint(self._of(rows))

    def _of(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.rows is None else self.rows[rows]


def _read(kind: type, options: Mapping, name: str):
    allowed = sorted(kind.__dataclass_fields__)
    wrong = sorted(set(options) - set(allowed))
    if wrong:
        raise ValueError(f"{name} has no option {wrong}; allowed are {allowed}")
    chosen = kind(**options)
    if chosen.task_weights not in (EQUAL, UNCERTAINTY):
        raise ValueError(f"task_weights={chosen.task_weights!r}; allowed are {[EQUAL, UNCERTAINTY]}")
    return chosen


def _together(labels: Labels, others: Mapping[str, Labels]) -> dict[str, Labels]:
    if labels.name in others:
        raise TrainingError(f"'{labels.name}' is learned already; leave it out of the further labels")
    wrong = {name: len(own) for name, own in others.items() if len(own) != len(labels)}
    if wrong:
        raise TrainingError(f"{len(labels)} labels and {wrong} further ones; they must be of the same faces")
    return {labels.name: labels, **others}


def _common(chosen, task: Task, seed: int, watch) -> dict:
    """Return the fields of `loop.Settings` that both kinds share."""
    return {
        "epochs": chosen.epochs,
        "weight_decay": chosen.weight_decay,
        "patience": chosen.patience,
        "balance": chosen.balance,
        "task_weights": {} if chosen.task_weights == EQUAL else chosen.task_weights,
        "seed": seed,
        "progress": False,
        "watch": None if watch is None else lambda history: watch(_history(history, task)),
    }


def _history(history: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return the history of the one loop as that of a classifier of `task`."""
    figure = "mae" if task.is_number else "accuracy"
    columns = {"loss": "loss", f"{task.name}_rate": figure}
    columns |= {f"validation_{name}": f"val_{new}" for name, new in columns.items()}
    others = [c for c in history if c.startswith("validation_") and c.endswith("_rate") and c not in columns]
    columns |= {name: f"val:{name.removeprefix('validation_').removesuffix('_rate')}" for name in others}
    made = history[list(columns)].rename(columns=columns)
    made.insert(0, "epoch", history["epoch"] + 1)
    return made


def _wrap(kind, fitted: loop.Fitted, task: Task, chosen, seed: int, *, network=None) -> FittedNetwork:
    settings = {
        "classifier": kind.name,
        "seed": int(seed),
        "options": asdict(chosen),
        "best_epoch": fitted.best_epoch + 1,
    }
    return FittedNetwork(network or fitted.net, task, _history(fitted.history, task), settings)


def _fingerprints(others: Mapping[str, Labels], rows: np.ndarray) -> dict:
    """Return a hash of each further label; of its groups too, which training may even out."""
    return {
        name: hash_values(
            own.task.to_record(),
            own.codes[rows],
            own.values[rows],
            *([own.groups[rows].tolist()] if hasattr(own, "groups") else []),
        )
        for name, own in others.items()
    }

"""Strategies for training several tasks: single, joint, alternating, with missing labels filled or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from faceworkbook.backbones.base import UNTRAINED
from faceworkbook.evaluation import predictions
from faceworkbook.experiments.multi_dataset import MultiDataset, MultiSplit, make_stages
from faceworkbook.tasks import ORDERED, Labels
from faceworkbook.training import balancing
from faceworkbook.training.batches import Alternating, Joint
from faceworkbook.training.pseudo_labels import METHODS, Fill

if TYPE_CHECKING:  # they import Keras
    from faceworkbook.backbones import Backbone
    from faceworkbook.training import fine_tune
    from faceworkbook.training.multitask import Fitted, Settings
    from faceworkbook.training.starting import SavedNet

TRAININGS = ("single", "joint", "alternating")
SINGLE = TRAININGS[0]
LOSS = "+"  # stands before the loss of ordered classes, as in 'single+coral'
CROSS_ENTROPY = "cross_entropy"


@dataclass(frozen=True)
class Strategy:
    """'single', 'joint' or 'alternating' training, what stands for missing labels, and the loss of ordered classes."""

    training: str
    fill: Fill
    ordinal_loss: str = CROSS_ENTROPY

    @property
    def name(self) -> str:
        """Such as 'joint-pseudo' or 'single+coral'."""
        training = self.training if self.training == SINGLE else f"{self.training}-{self.fill.method}"
        return training if self.ordinal_loss == CROSS_ENTROPY else f"{training}{LOSS}{self.ordinal_loss}"


@dataclass(frozen=True)
class TrainedNetwork:
    """The network that is trained on pictures; see `faceworkbook.training.cutting.assemble`.

    Attributes
    ----------
    backbone : Backbone
    cut : str, optional
    also : tuple of str
    precision : {'float32', 'mixed_bfloat16'}
    trunk_momentum : float
    shared : dict
        What a frozen layer made of the pictures, for all nets that read them; filled as it is needed.
    """

    backbone: Backbone
    cut: str | None = None
    also: tuple[str, ...] = ()
    precision: str = "float32"
    trunk_momentum: float = 0.0
    shared: dict = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Options:
    """How every strategy is trained.

    Attributes
    ----------
    settings : faceworkbook.training.multitask.Settings, or faceworkbook.training.fine_tune.Settings
        Those of fine-tuning where a network is trained.
    heads : mapping
        Options of `faceworkbook.models.multitask.build`, its seed among them.
    batch_size : int
    mixing : {'proportional', 'balanced', 'temperature'}
        How joint batches mix the data sets.
    mixing_temperature : float
        Of mixing 'temperature', see `faceworkbook.training.batches.Joint`.
    turn : {'epoch', 'batch'}
        What is taken in turn.
    folder : path, optional
        For checkpoints and logs, one folder a net.
    network : TrainedNetwork, optional
        Trained on pictures, which the data sets then hold; where None, nets are trained on descriptors.
    start_single : bool
        Whether nets of several tasks start from that of one task, trained first: the task with the most training
        labels. The heads of the others start fresh, for they belong to other trunks.
    start : faceworkbook.training.starting.SavedNet, optional
        What every net begins with: its layers, and the heads of the same tasks.
    """

    settings: Settings | fine_tune.Settings
    heads: Mapping = field(default_factory=dict)
    batch_size: int = 128
    mixing: str = "proportional"
    mixing_temperature: float = 2.0
    turn: str = "epoch"
    folder: Path | None = None
    network: TrainedNetwork | None = None
    start_single: bool = False
    start: SavedNet | None = None

    def with_seed(self, seed: int) -> Options:
        """Return the options with a seed for initial weights and batches."""
        return replace(self, settings=replace(self.settings, seed=seed), heads={**self.heads, "seed": seed})


def parse(text: str, fill: Fill, ordinal_loss: str = CROSS_ENTROPY) -> Strategy:
    """Read 'single', 'joint', 'alternating-pseudo', 'single+coral' and so on; `fill` gives the settings of the filling,

    `ordinal_loss` the loss of ordered classes where the text names none.
    """
    how, _, loss = text.partition(LOSS)
    training, _, method = how.partition("-")
    method = method or "naive"
    if training not in TRAININGS or method not in METHODS:
        raise ValueError(
            f"strategy {text!r}; allowed are {list(TRAININGS)}, joint or alternating followed by "
            f"{['-' + method for method in METHODS]}, and each by '{LOSS}' and a loss of ordered classes"
        )
    return Strategy(training, replace(fill, method=method), loss or ordinal_loss)


def train(strategy: Strategy, multi: MultiDataset, split: MultiSplit, options: Options) -> list[Fitted]:
    """Train by `strategy`: one net, or one a task for 'single'."""
    tasks = list(multi.labels)
    check_loss(strategy, multi.labels)
    groups = [[name] for name in tasks] if strategy.training == SINGLE else [tasks]
    return [_train(strategy, multi, split, names, options) for names in groups]


def check_loss(strategy: Strategy, labels: Mapping[str, Labels]) -> None:
    """Raise ValueError where the strategy names a loss that there is not, or one of ordered classes and no task has any."""
    from faceworkbook.models import ordinal

    if strategy.ordinal_loss not in ordinal.LOSSES:
        raise ValueError(
            f"strategy {strategy.name!r} names the loss {strategy.ordinal_loss!r}; allowed are {list(ordinal.LOSSES)}"
        )
    kinds = {name: own.task.kind for name, own in labels.items()}
    if strategy.ordinal_loss != CROSS_ENTROPY and ORDERED not in kinds.values():
        raise ValueError(
            f"strategy {strategy.name!r} names a loss of ordered classes, and the tasks are {kinds}; learn age_years "
            "or age_group"
        )


def predict(
    fitted: Sequence[Fitted], multi: MultiDataset, rows: np.ndarray, *, repeat: int = 0
) -> dict[str, pd.DataFrame]:
    """Return a table of predictions a task, of those `rows` (test rows) that bear its label."""
    from faceworkbook.models import multitask

    tables = {}
    for one in fitted:
        for name in (head.name for head in one.net.heads):
            labels = multi.labels[name]
            known = rows[labels.known[rows]]
            tables[name] = predictions.build(
                multi.faces.iloc[known],
                labels.task,
                truth=labels.truth[known],
                output=multitask.predict(one.net, multi.inputs, rows=known)[name],
                split="test",
                repeat=repeat,
            )
    return tables


def count_balance(multi: MultiDataset, split: MultiSplit, options: Options) -> pd.DataFrame:
    """Return the training rows of each stage before and after they are evened out; see `balancing.tables`."""
    how, seed = options.settings.balance, options.settings.seed
    made = [
        balancing.tables(
            {task: multi.labels[task] for task in stage.tasks}, stage.rows, how, seed=seed
        ).assign(stage=stage.name)
        for stage in make_stages(multi, split.train, list(multi.labels))
    ]
    joined = pd.concat(made, ignore_index=True)
    return joined[["stage", *joined.columns.drop("stage")]]


def _even_out(stages, multi: MultiDataset, options: Options) -> tuple:
    """Repeat the rows of each stage where training rows are oversampled: by groups, or by the stage's own tasks."""
    how, seed = options.settings.balance, options.settings.seed
    return tuple(
        replace(
            stage,
            rows=balancing.repeat_together(
                [multi.labels[task] for task in stage.tasks], stage.rows, how, seed=seed
            ),
        )
        for stage in stages
    )


def _train(strategy: Strategy, multi: MultiDataset, split, names: list[str], options: Options) -> Fitted:
    from faceworkbook.models import multitask
    from faceworkbook.training import schedules

    stages = _even_out(make_stages(multi, split.train, names), multi, options)
    rows = np.unique(np.concatenate([stage.rows for stage in stages]))
    loss = {"ordinal_loss": strategy.ordinal_loss}
    heads = [multitask.make_head(multi.labels[name], rows=rows, **loss) for name in names]
    if options.start is not None:
        heads = options.start.adapt(heads)
    settings = replace(_settings_of(names, multi, options.settings), fill=strategy.fill)
    plan: Joint | Alternating
    if strategy.training == "alternating":
        plan = Alternating(stages, options.batch_size, options.turn)
        # One turn of each stage goes through the rows that one epoch of the others does.
        turns = len(stages) if options.turn == "epoch" else 1
        settings = replace(settings, epochs=settings.epochs * turns)
        if options.network is not None:
            settings = replace(settings, learning_rate=schedules.slower(settings.learning_rate, turns))
    else:
        plan = Joint(stages, options.batch_size, options.mixing, options.mixing_temperature)
    name = f"{strategy.name}-{'+'.join(names)}-{settings.seed}"
    net, fit = _build(heads, multi, rows, options)
    if options.start_single and len(names) > 1:
        first = max(names, key=lambda task: multi.labels[task].known[rows].sum())
        alone = replace(strategy, training=SINGLE, fill=replace(strategy.fill, method="naive"))
        multitask.start_from(net, _train(alone, multi, split, [first], options).net)
    return fit(
        labels=multi.labels,
        plan=plan,
        validation=split.validation,
        settings=settings,
        folder=None if options.folder is None else options.folder / name,
    )


def _settings_of(names: list[str], multi: MultiDataset, settings):
    """Return the settings without what they say of the heads of other tasks."""
    others = set(multi.labels) - set(names)
    own = {}
    for parameter in ("lr_multipliers", "frozen_epochs", "task_weights"):
        if isinstance(values := getattr(settings, parameter), Mapping):
            own[parameter] = {name: value for name, value in values.items() if name not in others}
    return replace(settings, **own)


def _build(heads: Sequence, multi: MultiDataset, rows: np.ndarray, options: Options):
    """Return a net with fresh heads, on descriptors or on pictures, and the function that fits it."""
    from faceworkbook.models import multitask
    from faceworkbook.training import cutting, fine_tune, precomputing
    from faceworkbook.training.multitask import fit

    if options.network is None:
        scale = None if options.start is None else options.start.standardise
        scale = scale or multitask.standardiser(multi.matrix, rows=rows)
        net = multitask.build(multi.matrix.shape[1], list(heads), standardise=scale, **options.heads)
        if options.start is not None:
            options.start.hand_to(net)
        return net, partial(fit, net, multi.matrix)
    trained = options.network
    given = {name: value for name, value in vars(trained).items() if name not in ("backbone", "shared")}
    network = cutting.assemble(trained.backbone, list(heads), **given, **options.heads)
    if options.start is not None:
        options.start.hand_to(network.net)
    layer = options.settings.precompute
    # Fresh weights differ from net to net; those of a file, or of a start, are the same below the layer.
    if layer and (trained.backbone.fingerprint != UNTRAINED or options.start is not None):
        if layer not in trained.shared:
            every = np.arange(len(multi.faces))
            given = (network, multi.pixels, every, options.settings, options.folder)
            trained.shared[layer] = precomputing.compute(*given)
        network = replace(network, activations=trained.shared[layer])
    return network.net, partial(fine_tune.fit_plan, network, multi.pixels)

"""Strategies for training several tasks: single, joint, alternating, with missing labels filled or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from faceworkbook.evaluation import predictions
from faceworkbook.experiments.multi_dataset import MultiDataset, MultiSplit, make_stages
from faceworkbook.training import balancing
from faceworkbook.training.batches import Alternating, Joint
from faceworkbook.training.pseudo_labels import METHODS, Fill

if TYPE_CHECKING:  # they import Keras
    from faceworkbook.training.multitask import Fitted, Settings

TRAININGS = ("single", "joint", "alternating")


@dataclass(frozen=True)
class Strategy:
    """'single', 'joint' or 'alternating' training, and what stands for missing labels."""

    training: str
    fill: Fill

    @property
    def name(self) -> str:
        """Such as 'joint-pseudo'."""
        return self.training if self.training == "single" else f"{self.training}-{self.fill.method}"


@dataclass(frozen=True)
class Options:
    """How every strategy is trained.

    Attributes
    ----------
    settings : faceworkbook.training.multitask.Settings
    heads : mapping
        Options of `faceworkbook.models.multitask.build`, its seed among them.
    batch_size : int
    mixing : {'proportional', 'balanced'}
        How joint batches mix the data sets.
    turn : {'epoch', 'batch'}
        What is taken in turn.
    folder : path, optional
        For checkpoints and logs, one folder a net.
    """

    settings: Settings
    heads: Mapping = field(default_factory=dict)
    batch_size: int = 128
    mixing: str = "proportional"
    turn: str = "epoch"
    folder: Path | None = None

    def with_seed(self, seed: int) -> Options:
        """Return the options with a seed for initial weights and batches."""
        return replace(self, settings=replace(self.settings, seed=seed), heads={**self.heads, "seed": seed})


def parse(text: str, fill: Fill) -> Strategy:
    """Read 'single', 'joint', 'alternating-pseudo' and so on; `fill` gives the settings of the filling."""
    training, _, method = text.partition("-")
    method = method or "naive"
    if training not in TRAININGS or method not in METHODS:
        raise ValueError(
            f"strategy {text!r}; allowed are {list(TRAININGS)}, and joint or alternating followed by "
            f"{['-' + method for method in METHODS]}"
        )
    return Strategy(training, replace(fill, method=method))


def train(strategy: Strategy, multi: MultiDataset, split: MultiSplit, options: Options) -> list[Fitted]:
    """Train by `strategy`: one net, or one a task for 'single'."""
    tasks = list(multi.labels)
    groups = [[name] for name in tasks] if strategy.training == "single" else [tasks]
    return [_train(strategy, multi, split, names, options) for names in groups]


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
                output=multitask.predict(one.net, multi.matrix, rows=known)[name],
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
    from faceworkbook.training.multitask import fit

    stages = _even_out(make_stages(multi, split.train, names), multi, options)
    rows = np.unique(np.concatenate([stage.rows for stage in stages]))
    net = multitask.build(
        multi.matrix.shape[1],
        [multitask.make_head(multi.labels[name], rows=rows) for name in names],
        standardise=multitask.standardiser(multi.matrix, rows=rows),
        **options.heads,
    )
    settings = options.settings
    if strategy.training == "alternating":
        plan = Alternating(stages, options.batch_size, options.turn)
        # One turn of each stage goes through the rows that one epoch of the others does.
        turns = len(stages) if options.turn == "epoch" else 1
        settings = replace(settings, epochs=settings.epochs * turns)
    else:
        plan = Joint(stages, options.batch_size, options.mixing)
    name = f"{strategy.name}-{'+'.join(names)}-{settings.seed}"
    return fit(
        net,
        multi.matrix,
        multi.labels,
        plan=plan,
        validation=split.validation,
        settings=replace(settings, fill=strategy.fill),
        folder=None if options.folder is None else options.folder / name,
    )

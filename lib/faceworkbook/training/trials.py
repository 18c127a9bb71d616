"""Train the trials of a search: those of one architecture as one program, others one after another."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import files, tasks
from faceworkbook.training import batched, classifiers
from faceworkbook.training.checkpoint import CheckpointError
from faceworkbook.training.fitted import figures_of
from faceworkbook.training.halving import Halving, join

COMPLETE, PRUNED, DIVERGED = "complete", "pruned", "diverged"
LOSS, METRIC = "loss", "metric"
WITH_EPOCHS = ("mlp", "residual_mlp")
HISTORY = "trial-{}.json"


@dataclass(frozen=True, eq=False)
class Goal:
    """What all trials of a search are trained on and judged by.

    Attributes
    ----------
    matrix, labels, split
        Validation rows judge; test rows are not read. For networks on pictures, `networks.PictureRows` stand for the
        matrix.
    epochs, patience : int
        As of `batched.Settings`.
    choose_by : {'metric', 'loss'}
        The figure of validation rows at the epoch with their least loss: accuracy (mean absolute error of numbers),
        or that loss itself.
    halving : Halving or None
    seed : int
        The same for all trials: they differ by their settings alone.
    """

    matrix: np.ndarray
    labels: tasks.Labels
    split: object
    epochs: int = 60
    patience: int = 8
    choose_by: str = METRIC
    halving: Halving | None = None
    seed: int = 0

    def __post_init__(self):
        if self.choose_by not in (LOSS, METRIC):
            raise ValueError(f"choose_by={self.choose_by!r}; allowed are {[METRIC, LOSS]}")
        if not len(self.split.validation):
            raise batched.TrainingError(
                "the split has no validation row, and a search chooses on validation rows; make a split with some"
            )

    @property
    def column(self) -> str:
        """The column of a history that trials are judged by."""
        if self.choose_by == LOSS:
            return "val_loss"
        return "val_mae" if self.labels.task.is_number else "val_accuracy"

    @property
    def sign(self) -> int:
        """1 where a higher value is better, else -1."""
        return 1 if self.column == "val_accuracy" else -1

    def value(self, history: pd.DataFrame, epoch: int | None = None) -> float:
        """Return the value of a trial after `epoch` epochs (all where None); NaN where it has diverged."""
        seen = history if epoch is None else history[history["epoch"] <= epoch]
        losses = seen["val_loss"].to_numpy(float)
        if not np.isfinite(losses).any():
            return math.nan
        return float(
            seen[self.column].to_numpy(float)[np.nanargmin(np.where(np.isinf(losses), np.nan, losses))]
        )

    def has_waited(self, history: pd.DataFrame) -> bool:
        """Whether a trial has had its epochs, or its patience has run out."""
        losses = history["val_loss"].to_numpy(float)
        last = len(losses) - 1
        best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else -1
        return last + 1 >= self.epochs or last - best >= self.patience


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes
    ----------
    state : {'complete', 'pruned', 'diverged'}
    value : float
        On validation rows, NaN where it has diverged.
    rungs : mapping of int to float
        Its value at each epoch at which it was judged.
    figures : mapping
        Epochs trained, the best epoch, and the history's figures there.
    history : pandas.DataFrame or None
    """

    state: str
    value: float
    rungs: Mapping[int, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    history: pd.DataFrame | None = field(default=None, compare=False, repr=False)


def train(
    classifier,
    goal: Goal,
    drawn: Sequence[Mapping],
    *,
    known: Mapping[int, Sequence[float]],
    folder: str | Path | None = None,
) -> list[Outcome]:
    """Train the trials of one round.

    Parameters
    ----------
    classifier : str, or one of `networks`
        MLPs of one shape are trained as one program, others one after another.
    goal : Goal
    drawn : sequence of mappings
        Options of each trial's fit.
    known : mapping of int to sequence of float
        Values of earlier trials by the epoch at which they were judged.
    folder : path, optional
        For checkpoints, and the histories of those that have ended; a round that was stopped goes on from there.

    Returns
    -------
    list of Outcome, in the order of `drawn`
    """
    places = range(len(drawn))
    goal = settle(goal, classifier)
    if classifier == "mlp":
        settings = [_settings(goal, options) for options in drawn]
        by_shape: dict[tuple, list[int]] = {}
        for place, own in zip(places, settings, strict=True):
            by_shape.setdefault(own.shape, []).append(place)
        groups = list(by_shape.values())
    else:
        groups = [[place] for place in places]
    outcomes: dict[int, Outcome] = {}
    for group in groups:
        before = join(known, _values_by_epoch(outcomes.values()))
        judged = Judgement(goal, group, before)
        if classifier == "mlp":
            histories = _train_together(goal, [settings[p] for p in group], judged, folder)
        else:
            histories = [
                train_once(classifier, goal, drawn[group[0]], judged.watch, folder=folder, place=group[0])
            ]
        outcomes |= dict(zip(group, map(judged.outcome, group, histories), strict=True))
    return [outcomes[place] for place in places]


class Judgement:
    """Which trials of a group go on, from their histories alone."""

    def __init__(self, goal: Goal, group: Sequence[int], known: Mapping[int, Sequence[float]]):
        self._goal, self._known = goal, known
        halving = goal.halving
        self._rungs = {place: halving.rungs(place, goal.epochs) if halving else [] for place in group}
        self._group = list(group)

    def is_due(self, epoch: int) -> bool:
        """Whether any trial is judged after `epoch`."""
        return any(epoch in rungs for rungs in self._rungs.values())

    def losers(self, histories: Sequence[pd.DataFrame], epoch: int) -> list[int]:
        """Return numbers within the group of those that stop after `epoch`, beside all that have come so far."""
        goal = self._goal
        there = {
            number: goal.sign * goal.value(history, epoch)
            for number, history in enumerate(histories)
            if epoch in self._rungs[self._group[number]] and self._reached(history, epoch)
        }
        lost = []
        for number, value in there.items():
            others = [goal.sign * v for v in self._known.get(epoch, ())]
            others += [v for n, v in there.items() if n != number]
            if not goal.halving.goes_on(value, others):
                lost.append(number)
        return lost

    def watch(self, history: pd.DataFrame) -> bool:
        """Whether a trial that trains by itself goes on."""
        return not self.losers([history], int(history["epoch"].max()))

    def outcome(self, place: int, history: pd.DataFrame) -> Outcome:
        """Return what became of the trial at `place`."""
        goal, last = self._goal, int(history["epoch"].max())
        value = goal.value(history)
        rungs = {
            rung: goal.value(history, rung) for rung in self._rungs[place] if self._reached(history, rung)
        }
        if math.isnan(value):
            return Outcome(DIVERGED, value, {}, {"epochs": last}, history)
        at = history["val_loss"].astype(float).idxmin()
        best = {name: float(v) for name, v in history.loc[at].items() if name not in ("model", "epoch")}
        figures = {"epochs": last, "best_epoch": int(history.loc[at, "epoch"]), **best}
        is_whole = goal.has_waited(history) or last not in self._rungs[place]
        return Outcome(COMPLETE if is_whole else PRUNED, value, rungs, figures, history)

    def _reached(self, history: pd.DataFrame, epoch: int) -> bool:
        """Whether a trial was there at an epoch, or had ended by itself before it."""
        return history["epoch"].max() >= epoch or self._goal.has_waited(history)


def _values_by_epoch(outcomes) -> dict[int, list[float]]:
    by_epoch: dict[int, list[float]] = {}
    for outcome in outcomes:
        for epoch, value in outcome.rungs.items():
            by_epoch.setdefault(epoch, []).append(value)
    return by_epoch


def _settings(goal: Goal, options: Mapping) -> batched.Settings:
    plain = batched.with_settings(
        batched.defaults(goal.labels.task), epochs=goal.epochs, patience=goal.patience
    )
    return batched.with_settings(plain, **options)


def name_of(classifier) -> str:
    """Return what a classifier is known by: its name, or that of one of `networks`."""
    return classifier if isinstance(classifier, str) else classifier.name


def has_epochs(classifier) -> bool:
    """Whether a classifier trains epoch by epoch, so that it can be stopped."""
    return classifier in WITH_EPOCHS or hasattr(classifier, "fit_split")


def settle(goal: Goal, classifier) -> Goal:
    """Return the goal without halving where trials have no epochs."""
    return goal if has_epochs(classifier) else replace(goal, halving=None)


def _train_together(goal: Goal, settings, judged: Judgement, folder) -> list[pd.DataFrame]:
    n = len(settings)
    training = batched.Training.start(
        goal.matrix, goal.labels, [goal.split] * n, settings, seeds=[goal.seed] * n, folder=folder
    )
    while training.goes_on:
        # Before the step, so that a run that goes on from a checkpoint is judged there too.
        if judged.is_due(training.epoch):
            training.stop(judged.losers(_by_model(training.history), training.epoch))
        if training.goes_on:
            training.step()
    training.finish()
    return _by_model(training.history)


def _by_model(history: pd.DataFrame) -> list[pd.DataFrame]:
    return [table for _, table in history.groupby("model", sort=True)]


def train_once(
    classifier, goal: Goal, options: Mapping, watch: Callable, *, folder: str | Path | None, place: int
) -> pd.DataFrame:
    """Train one trial and keep its history in `folder`, or read that where it has ended already; see `train_one`."""
    if folder is None:
        return train_one(classifier, goal, options, watch)
    path = Path(folder) / HISTORY.format(place)
    if not path.exists():
        own = Path(folder) / path.stem
        history = train_one(classifier, goal, options, watch, folder=own)
        files.write_json(path, {"history": history.to_dict("records")})
        shutil.rmtree(own, ignore_errors=True)
    advice = "delete it; the trial is trained again"
    return pd.DataFrame(files.read_json(path, CheckpointError, advice=advice)["history"])


def train_one(
    classifier,
    goal: Goal,
    options: Mapping,
    watch: Callable[[pd.DataFrame], bool],
    *,
    folder: Path | None = None,
) -> pd.DataFrame:
    """Train one trial by itself; return its history.

    Parameters
    ----------
    watch : callable
        From the history so far, a row an epoch, to whether the trial goes on.
    folder : path, optional
        Networks keep a checkpoint there, and go on from it.
    """
    if classifier == "mlp":
        settings = _settings(goal, options)
        training = batched.Training.start(goal.matrix, goal.labels, [goal.split], settings, seeds=[goal.seed])
        while training.goes_on:
            training.step()
            if not watch(training.history):
                training.stop([0])
        return training.history
    given = dict(options)
    if has_epochs(classifier):
        given |= {"epochs": goal.epochs, "patience": goal.patience, "watch": watch}
    if hasattr(classifier, "fit_split"):
        given["folder"] = folder
    fitted = classifiers.fit(classifier, goal.matrix, goal.labels, goal.split, seed=goal.seed, **given)
    if "epoch" in fitted.history:
        return fitted.history
    return figures_of(fitted, goal.matrix, goal.labels, goal.split)

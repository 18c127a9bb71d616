"""Trials on Ray Tune, a process each, stopped by its ASHA: for what does not train as one program."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from faceworkbook.training.trials import WITH_EPOCHS, Goal, Judgement, Outcome, train_one

NO_RAY = "Ray Tune is not installed; install the extra: pip install 'faceworkbook[ray]'"
EPOCH = "epoch"


def train(
    classifier: str,
    goal: Goal,
    drawn: Sequence[Mapping],
    *,
    known: Mapping[int, Sequence[float]] | None = None,
    folder: str | Path | None = None,
) -> list[Outcome]:
    """Train the trials of a round on Ray; see `faceworkbook.training.trials.train`.

    Ray's ASHA judges the trials of this round beside each other as they come: which ones stop depends on which
    were fast.

    Raises
    ------
    RuntimeError
        A trial has failed; the text is that of the first failure.
    """
    with _quiet():
        try:
            import ray
            from ray import tune
            from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
        except ImportError as error:
            raise ImportError(f"{NO_RAY} ({error})") from error
        if not ray.is_initialized():
            address = "auto" if os.environ.get("RAY_ADDRESS") else None
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        halving = goal.halving if classifier in WITH_EPOCHS else None
        scheduler = FIFOScheduler()
        if halving is not None:
            scheduler = ASHAScheduler(
                time_attr=EPOCH,
                metric=goal.column,
                mode="max" if goal.sign == 1 else "min",
                max_t=goal.epochs,
                grace_period=min(halving.first, goal.epochs),
                reduction_factor=halving.factor,
                brackets=halving.brackets,
            )
        with tempfile.TemporaryDirectory() as own:
            tuner = tune.Tuner(
                tune.with_parameters(_Trial(classifier, list(drawn)), goal=goal),
                param_space={"place": tune.grid_search(list(range(len(drawn))))},
                tune_config=tune.TuneConfig(scheduler=scheduler),
                run_config=tune.RunConfig(storage_path=str(folder or own), name="ray", verbose=0),
            )
            results = tuner.fit()
            if results.errors:
                raise RuntimeError(f"a trial on Ray has failed: {results.errors[0]}")
            histories = {one.metrics["config"]["place"]: _history(one.metrics_dataframe) for one in results}
    judged = Judgement(goal, range(len(drawn)), known or {})
    return [judged.outcome(place, histories[place]) for place in range(len(drawn))]


class _Trial:
    """What one process does: train a trial, report each epoch."""

    def __init__(self, classifier: str, drawn: list[Mapping]):
        self._classifier, self._drawn = classifier, drawn

    def __call__(self, config: dict, goal: Goal) -> None:
        from ray import tune

        def watch(history: pd.DataFrame) -> bool:
            tune.report({name: float(value) for name, value in history.iloc[-1].items()})
            return True

        history = train_one(self._classifier, goal, self._drawn[config["place"]], watch)
        if self._classifier not in WITH_EPOCHS:
            watch(history)


def _history(reported: pd.DataFrame) -> pd.DataFrame:
    columns = [c for c in reported if c in (EPOCH, "loss", "accuracy", "mae") or c.startswith("val_")]
    return reported[columns].astype({EPOCH: int})


@contextlib.contextmanager
def _quiet():
    """Keep Ray's notices out of notebooks."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

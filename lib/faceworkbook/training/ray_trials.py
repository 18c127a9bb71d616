"""Trials of a search as tasks of a Ray cluster: for what does not train as one program, or outgrows a machine.

These are plain tasks beside the search's own journal, not Ray Tune: the same space, proposals, table and
checkpoints as without a cluster, and a search may go on with or without one. An actor judges each trial when it gets
there, beside those that have come so far (ASHA, Li et al. 2020): which ones stop depends on which were fast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from faceworkbook import ray_cluster
from faceworkbook.training import trials
from faceworkbook.training.halving import Umpire
from faceworkbook.training.trials import Goal, Judgement, Outcome

RETRIES = 2  # of a trial whose machine goes down
# One core a trial: TensorFlow would take all of a machine's for each.
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")}


def train(
    classifier,
    goal: Goal,
    drawn: Sequence[Mapping],
    *,
    known: Mapping[int, Sequence[float]],
    folder: str | Path | None = None,
) -> list[Outcome]:
    """Train the trials of a round, a task each; see `faceworkbook.training.trials.train`.

    The folder must be visible to all machines under the same path. A trial has one core, and a whole GPU where the
    cluster has any.
    """
    goal = trials.settle(goal, classifier)
    place = None if folder is None else Path(folder).resolve()
    with ray_cluster.connected(ImportError, "cluster='ray'") as ray:
        signs = {"sign": goal.sign, "halving": goal.halving}
        umpire = (
            ray.remote(Umpire).options(num_cpus=0).remote({k: list(v) for k, v in known.items()}, **signs)
        )
        wanted = {"num_cpus": 1, "num_gpus": 1 if ray.cluster_resources().get("GPU") else 0}
        task = ray.remote(_train_task).options(
            **wanted, max_retries=RETRIES, runtime_env={"env_vars": THREADS}
        )
        shared = ray.put((classifier, goal))
        running = [task.remote(shared, umpire, number, dict(own), place) for number, own in enumerate(drawn)]
        histories = ray.get(running)
    judged = Judgement(goal, range(len(drawn)), known)
    return [judged.outcome(number, history) for number, history in enumerate(histories)]


def _train_task(shared: tuple, umpire, number: int, options: dict, folder: Path | None) -> pd.DataFrame:
    import ray

    classifier, goal = shared
    rungs = goal.halving.rungs(number, goal.epochs) if goal.halving else []

    def watch(history: pd.DataFrame) -> bool:
        epoch = int(history["epoch"].max())
        if epoch not in rungs:
            return True
        value = goal.value(history, epoch)
        return not math.isnan(value) and ray.get(umpire.judge.remote(number, epoch, value))

    history = trials.train_once(classifier, goal, options, watch, folder=folder, place=number)
    ended = Judgement(goal, [number], {}).outcome(number, history)
    ray.get(umpire.note.remote(number, ended.rungs))
    return history

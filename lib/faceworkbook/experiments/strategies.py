"""The ways of training several tasks, side by side: single, joint, in turn, with missing labels filled or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceworkbook.experiments.multi_dataset import MultiDataset, Parts, stages
from faceworkbook.models import multitask
from faceworkbook.training.batches import Alternating, Joint
from faceworkbook.training.multitask import Fitted, Settings, fit
from faceworkbook.training.pseudo_labels import METHODS, Fill

TRAININGS = ("single", "joint", "alternating")


@dataclass(frozen=True)
class Way:
    """One way of training: 'single', 'joint' or 'alternating', and what stands for missing labels."""

    training: str
    fill: Fill

    @property
    def name(self) -> str:
        return self.training if self.training == "single" else f"{self.training}-{self.fill.method}"


def parse(text: str, fill: Fill) -> Way:
    """'single', 'joint', 'alternating-pseudo' and so on; `fill` gives the settings of the filling."""
    training, _, method = text.partition("-")
    method = method or "naive"
    if training not in TRAININGS or method not in METHODS:
        raise ValueError(
            f"way {text!r}; allowed are {list(TRAININGS)}, and joint or alternating followed by "
            f"{['-' + method for method in METHODS]}"
        )
    return Way(training, replace(fill, method=method))


def train(
    way: Way,
    pool: MultiDataset,
    parts: Parts,
    *,
    settings: Settings,
    heads: Mapping,
    batch_size: int = 128,
    mixing: str = "proportional",
    turn: str = "epoch",
    folder: Path | None = None,
    progress: bool = True,
) -> list[Fitted]:
    """Train `way`; one net, or one a task for 'single'.

    Parameters
    ----------
    heads : mapping
        Options of `classifiers.multitask.build`, its seed among them.
    folder : path, optional
        For checkpoints and logs, one folder a net.
    """
    groups = [[name] for name in pool.targets] if way.training == "single" else [list(pool.targets)]
    options = {"batch_size": batch_size, "mixing": mixing, "turn": turn, "progress": progress}
    return [_train(way, pool, parts, group, settings, heads, folder, **options) for group in groups]


def _train(way, pool, parts, names, settings, heads, folder, *, batch_size, mixing, turn, progress) -> Fitted:
    made = stages(pool, parts.train, names)
    rows = np.unique(np.concatenate([stage.rows for stage in made]))
    tasks = [multitask.make_head(pool.targets[name], rows=rows) for name in names]
    net = multitask.build(
        pool.matrix.shape[1],
        tasks,
        standardise=multitask.standardiser(pool.matrix, rows=rows),
        **heads,
    )
    if way.training == "alternating":
        plan = Alternating(made, batch_size, turn)
        # One turn of each stage goes through the rows that one epoch of the others does.
        settings = replace(settings, epochs=settings.epochs * (len(made) if turn == "epoch" else 1))
    else:
        plan = Joint(made, batch_size, mixing)
    own = None if folder is None else folder / f"{way.name}-{'+'.join(names)}-{settings.seed}"
    return fit(
        net,
        pool.matrix,
        pool.targets,
        plan=plan,
        validation=parts.validation,
        settings=replace(settings, fill=way.fill, progress=progress),
        folder=own,
    )

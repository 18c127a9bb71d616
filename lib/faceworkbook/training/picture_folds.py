"""Networks on pictures over repeated folds: one fit a split, read by the tables of `evaluation.cross_validation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.tasks import Labels
from faceworkbook.training import fine_tune
from faceworkbook.training.fine_tune import Settings
from faceworkbook.training.folds import FoldFits
from faceworkbook.training.loop import CHECKPOINT


@dataclass(frozen=True)
class PictureTask:
    """What every fold trains on.

    Attributes
    ----------
    source : PixelFiles, PixelArray or PixelShards
        n pictures.
    labels : mapping of task to Labels
    soft : mapping of task to ndarray of shape (n, n_classes)
        Shares to learn instead of one class; see `fine_tune.fit`.
    """

    source: object
    labels: Mapping[str, Labels]
    soft: Mapping[str, np.ndarray]


def fit_folds(
    make_network: Callable,
    data: PictureTask,
    splits: Sequence,
    *,
    settings: Settings,
    folder: str | Path,
    mirrored: bool = False,
) -> dict[str, FoldFits]:
    """Train a fresh network for each split.

    Parameters
    ----------
    make_network : callable
        ``(train, seed)`` to a `cutting.Network` with fresh heads; `train` are the split's training rows.
    splits : sequence of Split
        With ``repeat`` and ``fold``; repeats add their number to the seed.
    folder : path
        A folder for each fit lies in it: a run that was killed goes on with the fit that it was in, to the same weights.
    mirrored : bool
        See `fine_tune.predict`.

    Returns
    -------
    dict of task to FoldFits
    """
    outputs: dict[str, list] = {name: [] for name in data.labels}
    histories = []
    for split in splits:
        keys = {"repeat": getattr(split, "repeat", 0), "fold": getattr(split, "fold", 0)}
        own = replace(settings, seed=settings.seed + keys["repeat"])
        network = make_network(split.train, own.seed)
        place = Path(folder) / f"repeat-{keys['repeat']}-fold-{keys['fold']}"
        given = {"soft": data.soft, "folder": place}
        fitted = fine_tune.fit(network, data.source, data.labels, split=split, settings=own, **given)
        histories.append(fitted.history.assign(**keys))
        used = [split.train, split.validation, split.test, getattr(split, "contradicting", ())]
        rows = np.concatenate([np.asarray(of, dtype=np.int64) for of in used])
        for name, made in fine_tune.read_rows(network, data.source, rows=rows, mirrored=mirrored).items():
            outputs[name].append(made.astype(np.float32))
    history = pd.concat(histories, ignore_index=True)
    return {
        name: FoldFits(own, tuple(splits), np.stack(outputs[name]), history, "fine-tuned", {})
        for name, own in data.labels.items()
    }


def remove_checkpoints(folder: str | Path) -> None:
    """Delete what only a killed run needs."""
    for path in Path(folder).glob(f"*/{CHECKPOINT}"):
        path.unlink()

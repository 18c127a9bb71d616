"""The cross-data-set table: train on one set, test on every other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd

from faceworkbook import tasks
from faceworkbook.evaluation import metrics
from faceworkbook.experiments.learning_curve import score
from faceworkbook.experiments.prepared import PreparedData


def measure(
    sets: Mapping[str, PreparedData],
    *,
    fit: Callable | None = None,
    metric: str | None = None,
    seed: int = 0,
    n_boot: int = 2000,
) -> pd.DataFrame:
    """Train on the training rows of each set, test on the test rows of all.

    Only classes that all sets have are used; faces of others are left out and counted.

    Parameters
    ----------
    sets : mapping of name to PreparedData, two or more
    fit : callable, optional
        ``(matrix, target, split, seed=...)`` to an object with ``predict``; `fit_mlp` where None.

    Returns
    -------
    pandas.DataFrame
        trained_on, tested_on, metric, value, low, high (95 %), n_train, n_test, left_out (test faces
        of classes that not all sets have).

    Raises
    ------
    ValueError
        Fewer than two sets, descriptors of different widths, different labels, fewer than two common
        classes.
    """
    from faceworkbook.training.single import fit_mlp

    common = _agree(sets)
    first = next(iter(sets.values())).labels
    name = metric or first.task.headline
    kept = {key: _restrict(data, common) for key, data in sets.items()}
    records = []
    for trained, source in kept.items():
        fitted = (fit or fit_mlp)(source.matrix, source.labels, source.split, seed=seed)
        for tested, aim in kept.items():
            left_out = len(sets[tested].split.test) - len(aim.split.test)
            record = _test(fitted, aim, name, n_boot, seed)
            n_train = len(source.split.train)
            records.append(
                {
                    "trained_on": trained,
                    "tested_on": tested,
                    **record,
                    "n_train": n_train,
                    "left_out": left_out,
                }
            )
    columns = ["trained_on", "tested_on", "metric", "value", "low", "high", "n_train", "n_test", "left_out"]
    return pd.DataFrame(records)[columns]


def _agree(sets: Mapping[str, PreparedData]) -> tuple[str, ...]:
    if len(sets) < 2:
        raise ValueError(f"{len(sets)} data set given ({list(sets)}); the table needs two or more")
    kinds = {(m.labels.name, m.labels.task.kind) for m in sets.values()}
    widths = {key: m.matrix.shape[1] for key, m in sets.items()}
    if len(kinds) > 1:
        raise ValueError(f"the sets have different targets: {sorted(kinds)}; make the same one of each")
    if len(set(widths.values())) > 1:
        raise ValueError(f"descriptors have different widths: {widths}; use one network and tap")
    first, *others = [m.labels for m in sets.values()]
    common = tuple(c for c in first.classes if all(c in other.classes for other in others))
    if not first.task.is_number and len(common) < 2:
        held = {key: m.labels.classes for key, m in sets.items()}
        raise ValueError(f"the sets have fewer than two classes in common: {held}")
    return common


def _restrict(data: PreparedData, common: tuple[str, ...]) -> PreparedData:
    target = data.labels
    if target.task.is_number:
        return data
    place = np.array([common.index(c) if c in common else tasks.MISSING for c in (*target.classes, None)])
    same = tasks.Labels(target.task.keep(common), place[target.codes].astype(np.int64), target.values)
    rows = {part: getattr(data.split, part) for part in ("train", "validation", "test")}
    split = SimpleNamespace(**{part: r[same.known[r]] for part, r in rows.items()})
    return replace(data, labels=same, split=split)


def _test(fitted, aim: PreparedData, name: str, n_boot: int, seed: int) -> dict:
    rows = aim.split.test
    output = fitted.predict(aim.matrix[rows])
    table, _ = score(output, aim.labels.take(rows), aim.faces.iloc[rows], name=name)
    found = metrics.summary(table, names=[name], n_boot=n_boot, seed=seed).iloc[0]
    return {
        "metric": name,
        "value": found["value"],
        "low": found["low"],
        "high": found["high"],
        "n_test": len(rows),
    }

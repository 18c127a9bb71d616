"""How accuracy grows with the number of training faces, and with the number of people they show."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd

from faceworkbook.evaluation import metrics
from faceworkbook.evaluation import predictions as tables

FACES, PEOPLE = "faces", "identities"
SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


def draw_parts(
    train: np.ndarray,
    identity: pd.Series,
    *,
    shares: Sequence[float] = SHARES,
    repeats: int = 5,
    by: str = FACES,
    seed: int = 0,
) -> list[SimpleNamespace]:
    """Random parts of the training rows, growing: within a repeat each part holds the smaller ones.

    Parameters
    ----------
    train : ndarray of training rows
    identity : pandas.Series
        Of all faces; each face of an unknown person counts as a person of its own.
    shares : sequence of float, 0..1
        Of the faces, or of the people.
    by : {'faces', 'identities'}
        'identities' takes all training faces of the people it draws.

    Returns
    -------
    list of objects with ``rows``, ``share``, ``repeat``, ``n_identities``
    """
    if by not in (FACES, PEOPLE):
        raise ValueError(f"by={by!r}; allowed are {[FACES, PEOPLE]}")
    if not shares or min(shares) <= 0 or max(shares) > 1:
        raise ValueError(f"shares={tuple(shares)}; allowed are numbers above 0 and up to 1")
    names = identity.astype("string").fillna(
        pd.Series(np.arange(len(identity)), identity.index).astype("string") + "?"
    )
    person = pd.factorize(names.iloc[train])[0]
    parts = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        rank = rng.permutation(len(train) if by == FACES else person.max() + 1)
        rank = rank if by == FACES else rank[person]
        for share in sorted(shares):
            chosen = rank < max(round(share * (rank.max() + 1)), 1)
            count = len(np.unique(person[chosen]))
            parts.append(SimpleNamespace(rows=train[chosen], share=share, repeat=repeat, n_identities=count))
    return parts


def measure(
    matrix: np.ndarray,
    target,
    faces: pd.DataFrame,
    split,
    *,
    shares: Sequence[float] = SHARES,
    repeats: int = 5,
    by: str = FACES,
    metric: str | None = None,
    seed: int = 0,
    classifier="dense",
    progress: bool = False,
    **settings,
) -> pd.DataFrame:
    """Train on growing parts of the training rows, always with the same validation and test rows.

    Parts of which some class is missing altogether (one class left) are passed over.

    Returns
    -------
    pandas.DataFrame
        by, share, repeat, n_train, n_identities, n_test, metric, value: one row a fit. `metric` is
        accuracy, or mae for numbers, where it is not given.
    """
    from faceworkbook.training.folds import fit_folds

    parts = draw_parts(split.train, faces["identity"], shares=shares, repeats=repeats, by=by, seed=seed)
    parts = [part for part in parts if _can_teach(target, part.rows)]
    splits = [
        SimpleNamespace(train=p.rows, validation=split.validation, test=split.test, repeat=p.repeat, fold=i)
        for i, p in enumerate(parts)
    ]
    fits = fit_folds(matrix, target, splits, classifier=classifier, seed=seed, progress=progress, **settings)
    name = metric or ("mae" if target.kind == "number" else "accuracy")
    records = [
        {
            "by": by,
            "share": part.share,
            "repeat": part.repeat,
            "n_train": len(part.rows),
            "n_identities": part.n_identities,
            "n_test": len(split.test),
            "metric": name,
            "value": _value(name, output[split.test], target.take(split.test), faces.iloc[split.test]),
        }
        for part, output in zip(parts, fits.outputs, strict=True)
    ]
    return pd.DataFrame(records)


def summary(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean over draws with their standard deviation and range, one row a size."""
    grouped = measured.groupby(["by", "share", "metric"])
    return grouped.agg(
        n_train=("n_train", "mean"),
        n_identities=("n_identities", "mean"),
        mean=("value", "mean"),
        sd=("value", "std"),
        least=("value", "min"),
        most=("value", "max"),
        draws=("value", "size"),
    ).reset_index()


def score(output: np.ndarray, target, faces: pd.DataFrame, *, name: str) -> tuple[pd.DataFrame, float]:
    """The table of predictions of some faces (part 'test'), and one metric of it."""
    output = np.asarray(output, dtype=np.float64)
    if target.kind == "number":
        table = tables.build(faces, truth=target.truth, part="test", values=output)
    else:
        p = output / output.sum(axis=1, keepdims=True)
        table = tables.build(
            faces, truth=target.truth, part="test", probabilities=p, classes=list(target.classes)
        )
    rows = metrics.rows_of(table)
    return table, metrics.pick(name, rows.classes).value(rows)


def _value(name: str, output, target, faces) -> float:
    return score(output, target, faces, name=name)[1]


def _can_teach(target, rows: np.ndarray) -> bool:
    return target.kind == "number" or len(np.unique(target.codes[rows])) > 1

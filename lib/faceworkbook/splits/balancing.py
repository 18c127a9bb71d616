"""Even out classes among the training rows of a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.splits.split import Split, SplitError
from faceworkbook.splits.strata import check_labels, stratum_names

BALANCINGS = ("none", "oversample", "weights")


@dataclass(frozen=True, eq=False)
class Balance:
    """Training rows as they are shown to a model in one epoch.

    Attributes
    ----------
    rows : ndarray of int64
        Positions in the face table, shuffled; a row stands several times where it is oversampled.
    weights : ndarray of float64
        Weight of each entry in the loss; the mean is 1.
    seeds : ndarray of uint32
        One an entry. Whoever augments does so with the seed of every entry, originals included:
        drawn without a look at the label, so that traces of augmentation say nothing about it.
    """

    rows: np.ndarray
    weights: np.ndarray
    seeds: np.ndarray


def balance(
    split: Split, faces: pd.DataFrame, *, by: str, method: str = "none", strength: float = 1.0, seed: int = 0
) -> Balance:
    """Even out the classes of `by` among the training rows; other rows are never touched.

    Parameters
    ----------
    split : Split
    faces : pandas.DataFrame
        The table that `split` was made for.
    by : str
        Label column to balance by, such as 'race'; rows without it count as a class of their own.
    method : {'none', 'oversample', 'weights'}
        'oversample' repeats rows of the smaller classes, 'weights' weighs them in the loss.
    strength : float in 0..1
        0 leaves the classes as they are, 1 makes them equal; between, in geometric proportion.
    seed : int

    Returns
    -------
    Balance

    Raises
    ------
    SplitError
        Unknown method or column, or a strength out of range.
    """
    if method not in BALANCINGS:
        raise SplitError(f"method={method!r}; allowed are {list(BALANCINGS)}")
    if not 0 <= strength <= 1:
        raise SplitError(f"strength={strength}; allowed is 0..1")
    check_labels(faces, (by,))
    rng = np.random.default_rng(seed)
    names = stratum_names(faces[by].iloc[split.train]).fillna("(none)")
    codes, sizes = np.unique(names.to_numpy(dtype=str), return_inverse=True, return_counts=True)[1:]
    factor = (sizes.max() / sizes) ** strength
    rows, weights = split.train, np.ones(len(split.train))
    if method == "weights":
        weights = factor[codes] / factor[codes].mean()
    elif method == "oversample":
        rows = np.concatenate([_repeat(split.train[codes == c], factor[c], rng) for c in range(len(sizes))])
        weights = np.ones(len(rows))
    order = rng.permutation(len(rows))
    seeds = rng.integers(0, 2**32, len(rows), dtype=np.uint32)
    return Balance(rows[order], weights[order], seeds)


def _repeat(rows: np.ndarray, factor: float, rng) -> np.ndarray:
    wanted = round(len(rows) * factor)
    whole, rest = divmod(wanted, len(rows))
    return np.concatenate([np.tile(rows, whole), rng.choice(rows, rest, replace=False)])

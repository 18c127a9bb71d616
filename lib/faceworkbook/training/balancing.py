"""Even out training rows: by weights of classes, by weights of rows, or by repeating rows."""

from __future__ import annotations

import numpy as np
import pandas as pd


def class_weights(codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Weigh classes by the inverse of their frequency: n / (classes present * n of the class).

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Of the training rows.

    Returns
    -------
    ndarray of shape (n_classes,), float32
        1 for a class that is not there.
    """
    counts = np.bincount(codes, minlength=n_classes)
    present = counts > 0
    return np.where(present, len(codes) / (present.sum() * np.maximum(counts, 1)), 1.0).astype(np.float32)


def reweigh(labels: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return weights that make label and group independent (Kamiran and Calders 2012).

    Parameters
    ----------
    labels, group : array-like of shape (n,)
        Of the training rows.

    Returns
    -------
    ndarray of shape (n,), mean 1
        P(group) P(label) / P(group, label).
    """
    joint = pd.DataFrame({"label": np.asarray(labels, dtype=str), "group": np.asarray(group, dtype=str)})
    n = len(joint)
    size = {
        name: joint.groupby(keys)["label"].transform("size").to_numpy()
        for name, keys in (("label", ["label"]), ("group", ["group"]), ("both", ["label", "group"]))
    }
    return size["label"] * size["group"] / (n * size["both"])


def balance(labels: np.ndarray, group: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return positions that repeat training rows until every label has as many rows in each group.

    Returns
    -------
    ndarray of int
        Every row once, then rows drawn with replacement from the cells that are short.
    """
    cells = pd.Series(list(zip(np.asarray(labels, dtype=str), np.asarray(group, dtype=str), strict=True)))
    members = cells.groupby(cells).indices
    rng = np.random.default_rng(seed)
    extra = []
    for (label, _), rows in sorted(members.items()):
        wanted = max(len(other) for (name, _), other in members.items() if name == label)
        extra.append(rng.choice(rows, wanted - len(rows)))
    return np.concatenate([np.arange(len(cells)), *extra]).astype(int)

"""Even out training rows: by weights of classes or groups, or by repeating rows; validation and test rows never.

On descriptors a repeated row is the same row again, so `OVERSAMPLE` does what whole-numbered weights would do. On
pictures (`faceworkbook.training.fine_tune`) each repetition is augmented anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.tasks import Labels

NONE, CLASS_WEIGHTS, GROUP_WEIGHTS, OVERSAMPLE = "none", "class_weights", "group_weights", "oversample"
WEIGHTS = (CLASS_WEIGHTS, GROUP_WEIGHTS)
BALANCES = (NONE, CLASS_WEIGHTS, GROUP_WEIGHTS, OVERSAMPLE)
UNKNOWN = ""  # group of a face whose group nobody knows: it weighs 1 and is not repeated
PLUS = "+"


class BalanceError(ValueError):
    """Labels or groups that cannot be evened out as asked; the text says what to change."""


@dataclass(frozen=True, eq=False)
class GroupedLabels(Labels):
    """Labels whose faces have a group that balancing evens out.

    Attributes
    ----------
    groups : ndarray of shape (n,) of str
        `UNKNOWN` where a face has none.
    """

    groups: np.ndarray

    def take(self, rows) -> GroupedLabels:
        """Return the labels of some faces, with their groups."""
        return GroupedLabels(self.task, self.codes[rows], self.values[rows], self.groups[rows])

    def hide(self, rows) -> GroupedLabels:
        """Return the labels with those of `rows` unknown; the groups stay."""
        hidden = super().hide(rows)
        return GroupedLabels(hidden.task, hidden.codes, hidden.values, self.groups)


@dataclass(frozen=True)
class Rows:
    """Rows that a model is fitted on; training rows may stand there several times."""

    train: np.ndarray
    validation: np.ndarray


def group(labels: Labels, faces: pd.DataFrame, balance_by: str) -> Labels:
    """Give labels the groups that balancing evens out.

    Parameters
    ----------
    labels : Labels of n faces
    faces : pandas.DataFrame of n rows
    balance_by : str
        A column of classes, or several joined by '+', whose combinations are groups; empty for none.

    Raises
    ------
    BalanceError
        A column that the table does not have, or one of numbers.
    """
    if not balance_by:
        return labels
    columns = [name.strip() for name in balance_by.split(PLUS)]
    missing = [name for name in columns if name not in faces]
    numbers = [name for name in columns if name in faces and pd.api.types.is_float_dtype(faces[name].dtype)]
    if missing or numbers:
        raise BalanceError(
            f"balance_by={balance_by!r}: {missing or numbers} {'are no columns' if missing else 'hold numbers'}; "
            f"name columns of classes, one or several joined by '{PLUS}', such as 'race' or 'gender{PLUS}race'"
        )
    known = faces[columns].notna().all(axis=1).to_numpy()
    names = (
        faces[columns]
        .astype(object)
        .fillna("")
        .astype(str)
        .agg(f" {PLUS} ".join, axis=1)
        .to_numpy(dtype=object)
    )
    return GroupedLabels(
        labels.task, labels.codes, labels.values, np.where(known, names, UNKNOWN).astype(object)
    )


def check(balance: str) -> None:
    """Raise `BalanceError` for a balance that is none of `BALANCES`."""
    if balance not in BALANCES:
        raise BalanceError(f"balance={balance!r}; allowed are {list(BALANCES)}")


def cells(labels: Labels, balance: str) -> np.ndarray:
    """Return what is evened out: the class or group of each face, (n,) of str, `UNKNOWN` where there is none.

    Raises
    ------
    BalanceError
        Classes of a number or of several labels a face, or groups that were not given.
    """
    check(balance)
    groups = getattr(labels, "groups", None)
    if groups is not None and balance != CLASS_WEIGHTS:
        return groups
    if balance == GROUP_WEIGHTS:
        raise BalanceError(
            "balance='group_weights' evens out groups: name their column in balance_by, such as 'race'"
        )
    if not labels.task.is_exclusive:
        kind = "a number" if labels.task.is_number else "several labels a face"
        raise BalanceError(
            f"balance={balance!r} goes by the one class of a face, and '{labels.name}' is {kind}; use "
            "balance='group_weights' or 'oversample' with balance_by, or 'none'"
        )
    return np.array([*labels.classes, UNKNOWN], dtype=object)[labels.codes]


def weights(labels: Labels, train: np.ndarray, balance: str) -> np.ndarray:
    """Return the weight of each face's loss, (n,) float32: 1 for all but training rows.

    Parameters
    ----------
    labels : Labels of n faces
    train : ndarray of int
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        Each class (or group) of the training rows gets the same sum of weights: rows / (classes * rows of the
        class), the mean is 1. Repeated rows need no weight.
    """
    made = np.ones(len(labels), np.float32)
    if balance in WEIGHTS:
        own = cells(labels, balance)[train]
        names, codes = np.unique(own[own != UNKNOWN], return_inverse=True)
        made[np.asarray(train)[own != UNKNOWN]] = class_weights(codes, len(names))[codes]
    return made


def repeat(labels: Labels, split, balance: str, *, seed: int = 0) -> Rows:
    """Return the rows to fit on, training rows repeated where `balance` is 'oversample'.

    Every class (or group) of the training rows comes as often as the most frequent one: each of its rows as often
    as the others, give or take one, drawn by `seed`. No row is left out.
    """
    check(balance)
    train, validation = np.asarray(split.train), np.asarray(split.validation)
    if balance != OVERSAMPLE:
        return Rows(train, validation)
    return Rows(repeat_rows(cells(labels, balance), train, seed=seed), validation)


def repeat_rows(names: np.ndarray, train: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return `train` and, after it, the rows that bring every name as often as the most frequent one."""
    own, rng = np.asarray(names)[train], np.random.default_rng([seed, 2])
    known, counts = np.unique(own[own != UNKNOWN], return_counts=True)
    extra = [np.empty(0, train.dtype)]
    for name, n in zip(known, counts, strict=True):
        rows, wanted = train[own == name], counts.max() - n
        extra += [rows] * (wanted // n) + [rng.permutation(rows)[: wanted % n]]
    return np.concatenate([train, *extra])


def joint_cells(labels: Sequence[Labels]) -> np.ndarray:
    """Return what several tasks of the same n faces even out together, (n,) of str.

    Their groups where they have some, else the combinations of their classes; of tasks without exclusive classes
    there are none.

    Raises
    ------
    BalanceError
        No groups, and no task of exclusive classes.
    """
    if getattr(labels[0], "groups", None) is not None:
        return labels[0].groups
    classes = [own for own in labels if own.task.is_exclusive] or [labels[0]]
    each = [cells(own, OVERSAMPLE) for own in classes]
    known = np.all([names != UNKNOWN for names in each], axis=0)
    joined = np.array([f" {PLUS} ".join(names) for names in zip(*each, strict=True)], dtype=object)
    return np.where(known, joined, UNKNOWN)


def repeat_together(
    labels: Sequence[Labels], train: np.ndarray, balance: str, *, seed: int = 0
) -> np.ndarray:
    """Return the training rows of several tasks, repeated where `balance` is 'oversample'; see `repeat`."""
    check(balance)
    train = np.asarray(train)
    return train if balance != OVERSAMPLE else repeat_rows(joint_cells(labels), train, seed=seed)


def fitting(labels: Labels, balance: str) -> str:
    """Return `balance` where it can even out these labels, else 'none': for one task among several."""
    grouped, exclusive = getattr(labels, "groups", None) is not None, labels.task.is_exclusive
    fits = {CLASS_WEIGHTS: exclusive, GROUP_WEIGHTS: grouped, OVERSAMPLE: exclusive or grouped}
    return balance if fits.get(balance) else NONE


def table(labels: Labels, split, balance: str, *, seed: int = 0) -> pd.DataFrame:
    """Return the training rows by class or group, before and after.

    Returns
    -------
    pandas.DataFrame
        group, faces, share (before), after (rows with repetitions, or the sum of weights), share_after, weight (of a
        row, or how often it comes on average); no row where nothing is evened out.
    """
    train = np.asarray(split.train)
    if balance == NONE:
        return _count(np.empty(0, object), np.empty(0), train[:0], train[:0])
    weight = weights(labels, train, balance)
    return _count(cells(labels, balance), weight, train, repeat(labels, split, balance, seed=seed).train)


def tables(labels: Mapping[str, Labels], train: np.ndarray, balance: str, *, seed: int = 0) -> pd.DataFrame:
    """Return `table` for several tasks of the same faces: ``task`` first, 'all' where rows are repeated for all."""
    train, n = np.asarray(train), len(next(iter(labels.values())))
    if balance == OVERSAMPLE:
        names = joint_cells(list(labels.values()))
        repeated = repeat_rows(names, train, seed=seed)
        made = [_count(names, np.ones(n), train, repeated).assign(task="all")]
    else:
        rows = {name: Rows(train[own.known[train]], train[:0]) for name, own in labels.items()}
        made = [
            table(own, rows[name], fitting(own, balance)).assign(task=name) for name, own in labels.items()
        ]
    joined = pd.concat(made, ignore_index=True)
    return joined[["task", *joined.columns.drop("task")]]


def _count(names: np.ndarray, weight: np.ndarray, train: np.ndarray, repeated: np.ndarray) -> pd.DataFrame:
    counts = pd.Series(names[train], dtype=object).value_counts().sort_index()
    after = pd.Series(weight[repeated]).groupby(names[repeated]).sum()
    rows = [(name or "unknown", int(n), float(after[name])) for name, n in counts.items()]
    made = pd.DataFrame(rows, columns=["group", "faces", "after"])
    made.insert(2, "share", made["faces"] / made["faces"].sum())
    return made.assign(share_after=made["after"] / made["after"].sum(), weight=made["after"] / made["faces"])


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

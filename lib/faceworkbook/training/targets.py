"""What the heads of a net are to put out for each row, and which rows are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from faceworkbook.files import hash_values
from faceworkbook.models.multitask import Head, MultitaskNet
from faceworkbook.models.ordinal import CROSS_ENTROPY
from faceworkbook.tasks import Labels
from faceworkbook.training import augment, balancing


class Targets:
    """What one head is to put out: shares of classes, yes/no labels, or a standardised number a row.

    Parameters
    ----------
    head : Head
    labels : Labels of n rows
    soft : ndarray of shape (n, n_classes), optional
        Shares to learn instead of one class, such as those of votes.
    weights : ndarray of shape (n,), optional
        Of each row's loss, above 0; see `balancing.weights`.
    """

    def __init__(
        self,
        head: Head,
        labels: Labels,
        soft: np.ndarray | None = None,
        *,
        weights: np.ndarray | None = None,
    ):
        self.head, self.known, self._weights = head, labels.known, weights
        if head.is_number:
            self._values = np.where(self.known, labels.values, 0.0)[:, None]
        elif head.task.is_multilabel:
            self._values = np.where(self.known[:, None], labels.codes, 0).astype(np.float32)
        elif soft is None:
            self._values = np.zeros((len(labels), head.width), np.float32)
            self._values[np.flatnonzero(self.known), labels.codes[self.known]] = 1
        else:
            self._values = _shares(head, soft, self.known)

    def take(
        self, rows: np.ndarray, drawn: np.ndarray | None = None, *, smoothing: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets (n, width) and the mask (n,) of `rows`, float32; a known row's mask is its weight.

        Parameters
        ----------
        drawn : ndarray of dtype ``augment.DRAWN``, optional
            How the pictures of the rows were changed: pose turns with them.
        smoothing : float, 0..1
            Share of each class target that is spread evenly; not where the loss knows an order, for it would move the
            true number towards the middle.
        """
        values, head, mask = self._values[rows], self.head, self.known[rows]
        if drawn is not None and not head.is_number:
            values = augment.adjust_classes(head.name, head.classes, values, drawn)
            mask = mask & (values.any(axis=1) | head.task.is_multilabel)
        if head.is_number:
            turned = values if drawn is None else augment.adjust(head.name, values[:, 0], drawn)[:, None]
            values = (turned - head.mean) / head.scale
        elif smoothing and head.loss == CROSS_ENTROPY:
            values = (1 - smoothing) * values + smoothing / (2 if head.task.is_multilabel else head.width)
        weighed = mask if self._weights is None else mask * self._weights[rows]
        return np.where(mask[:, None], values, 0).astype(np.float32), weighed.astype(np.float32)

    @property
    def fingerprint(self) -> str:
        """Hash of all targets, of which are known, and of what they weigh."""
        return hash_values(self._values, self.known, *([] if self._weights is None else [self._weights]))


def weigh(labels: Labels, train: np.ndarray, balance: str) -> np.ndarray | None:
    """Return the weights of the rows of one task, see `balancing.weights`; None where all weigh the same.

    Only training rows that bear the label are counted. 'class_weights' are for tasks of exclusive classes alone.
    """
    if balance not in balancing.WEIGHTS or (
        balance == balancing.CLASS_WEIGHTS and not labels.task.is_exclusive
    ):
        return None
    return balancing.weights(labels, train[labels.known[train]], balance)


def _shares(head: Head, soft: np.ndarray, known: np.ndarray) -> np.ndarray:
    if soft.shape != (len(known), head.width):
        raise ValueError(
            f"soft targets of '{head.name}' have shape {soft.shape}, expected {(len(known), head.width)}, "
            f"in the order {head.classes}"
        )
    total = soft.sum(axis=1, keepdims=True)
    if not (total[known] > 0).all() or (soft[known] < 0).any():
        raise ValueError(
            f"soft targets of '{head.name}' hold rows without any share, or negative ones; give shares of 0 and more, "
            "and leave rows without any unknown"
        )
    return (soft / np.where(total > 0, total, 1)).astype(np.float32)


def check(net: MultitaskNet, labels: Mapping[str, Labels], rows: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError where the rows of the subsets overlap, or hold no label for a head.

    Parameters
    ----------
    rows : mapping of subset ('train', 'validation') to ndarray of int
    """
    both = np.intersect1d(rows["train"], rows["validation"])
    if len(both):
        raise ValueError(f"{len(both)} rows are both training and validation rows; they must be disjoint")
    for head in net.heads:
        if head.name not in labels:
            raise ValueError(f"labels hold {list(labels)}; the net also has the task '{head.name}'")
        for subset, own in rows.items():
            if not len(own) or not labels[head.name].known[own].any():
                raise ValueError(
                    f"no {subset} row (of {len(own)}) has a label for task '{head.name}'; look at the split, "
                    "or leave the task out"
                )

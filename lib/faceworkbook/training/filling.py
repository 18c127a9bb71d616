"""What stands for the labels that a row of several data sets does not have, made anew each epoch by the net itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from faceworkbook.models import ordinal
from faceworkbook.models.multitask import Head, MultitaskNet, forward
from faceworkbook.training import augment, pseudo_labels
from faceworkbook.training.batches import Alternating, Joint
from faceworkbook.training.pseudo_labels import FIXED, LEARNED, NAIVE, PSEUDO, Fill
from faceworkbook.training.targets import Targets


@dataclass
class Filling:
    """Targets of the rows of a plan: labels where they count, else what the net at the epoch's start puts there.

    Attributes
    ----------
    net : MultitaskNet
    targets : dict of task to Targets
    plan : Joint or Alternating
    fill : Fill
    validation : ndarray of int
        Rows whose labels say what a pseudo-label is worth, where that is learned.
    filled : dict of task to ndarray of shape (n, width)
        Of this epoch; NaN where nothing is filled in.
    learned : dict of task to float
        Weight of the pseudo-labels in this epoch, where it is learned.
    """

    net: MultitaskNet
    targets: Mapping[str, Targets]
    plan: Joint | Alternating
    fill: Fill
    validation: np.ndarray
    filled: dict[str, np.ndarray] = field(default_factory=dict)
    learned: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> np.ndarray:
        """Training rows, each once, ascending."""
        return np.unique(np.concatenate([stage.rows for stage in self.plan.stages]))

    def take(
        self,
        name: str,
        rows: np.ndarray,
        *,
        counts: bool,
        drawn: np.ndarray | None = None,
        smoothing: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return targets (n, width) and mask (n,) of `rows`, float32, for one task.

        Parameters
        ----------
        counts : bool
            Whether the task's labels count in this batch.
        drawn, smoothing
            See `Targets.take`; what is filled in is not smoothed.
        """
        target = self.targets[name]
        values, mask = target.take(rows, drawn, smoothing=smoothing)
        if not counts:
            mask = np.zeros_like(mask)
        if name in self.filled:
            filled = self.filled[name][rows]
            use = (mask == 0) & ~np.isnan(filled[:, 0])
            turned = filled if drawn is None else _turn(target.head, filled, drawn)
            if not target.head.is_number:
                use &= turned.any(axis=1) | target.head.task.is_multilabel
            values, mask = np.where(use[:, None], turned, values), np.where(use, 1, mask)
        return values.astype(np.float32), mask.astype(np.float32)

    def renew(self, epoch: int, x, *, seed: int, cut: Callable = lambda model: model) -> None:
        """Fill the missing labels of the rows that `epoch` uses, by the net as it is now.

        Parameters
        ----------
        x : array-like, first axis = rows
            What the net takes; ``x[rows]`` are its inputs.
        seed : int
            Of the mixtures of the distribution selector.
        cut : callable, optional
            From a model that begins with pictures to the one that `x` is fed to; as it is by default.
        """
        self.filled, self.learned = {}, {}
        if self.fill.method == NAIVE or epoch < self.fill.first_epoch:
            return
        train, stages = self.rows, self.plan.current(epoch)
        by_rank = self.fill.selection not in (FIXED, LEARNED)
        selected = self.fill.method == PSEUDO and self.fill.selectors and by_rank
        model = cut(self.net.model)
        logits = self._logits(model, x, train)
        features = forward(cut(self.net.features), x, rows=train) if selected else logits
        if self.fill.method == PSEUDO and self.fill.selection == LEARNED:
            self.learned = self._learn_weights(self._logits(model, x, self.validation))
        for position, head in enumerate(self.net.heads):
            name, known = head.name, self.targets[head.name].known
            missing = _missing(stages, name, known, train)
            self.filled[name] = np.full((len(known), head.width), np.nan, np.float32)
            self.filled[name][train[missing]] = _make_targets(
                self.fill,
                head,
                logits[name][missing],
                features[name][missing],
                features[name][known[train]],
                seed=seed + position,
                learned=self.learned.get(name),
            )

    def _logits(self, model, x, rows: np.ndarray) -> dict[str, np.ndarray]:
        outputs = forward(model, x, rows=rows)
        return {h.name: np.asarray(ordinal.class_logits(h.loss, outputs[h.name])) for h in self.net.heads}

    def _learn_weights(self, logits: Mapping[str, np.ndarray]) -> dict[str, float]:
        learned = {}
        for head in self.net.heads:
            if head.is_number or head.task.is_multilabel:
                continue
            shares, mask = self.targets[head.name].take(self.validation)
            known = mask > 0
            learned[head.name] = pseudo_labels.learn_weight(
                logits[head.name][known], shares[known].argmax(axis=1), temperature=self.fill.temperature
            )
        return learned


class Planned:
    """Epochs of training in the order of a plan; who inherits it has a `filling`."""

    filling: Filling

    def n_batches(self, epoch: int) -> int:
        """Return the number of training batches of an epoch."""
        return self.filling.plan.n_batches(epoch)

    def columns(self, epoch: int) -> dict:
        """Return the stages of an epoch, and what pseudo-labels weighed in it where that is learned, for the history."""
        stages = "+".join(stage.name for stage in self.filling.plan.current(epoch))
        return {"stages": stages} | {f"pseudo:{task}": w for task, w in self.filling.learned.items()}


def _turn(head: Head, values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Turn what was filled in with the picture; numbers are in units of the head."""
    if not head.is_number:
        return augment.adjust_classes(head.name, head.classes, values, drawn)
    turned = augment.adjust(head.name, values[:, 0] * head.scale + head.mean, drawn)
    return ((turned - head.mean) / head.scale)[:, None]


def _missing(stages, name: str, known: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Which of the training rows are used now without a label that counts for the task; bool array."""
    out = np.zeros(len(known), bool)
    for stage in stages:
        out[stage.rows] |= ~known[stage.rows] if name in stage.tasks else True
    return out[train]


def _make_targets(
    fill: Fill, head: Head, logits, features, labelled, *, seed: int, learned: float | None
) -> np.ndarray:
    if head.is_number:
        return logits
    if head.task.is_multilabel:
        return 1 / (1 + np.exp(-logits / fill.temperature))
    return pseudo_labels.targets(fill, logits, features, labelled, seed=seed, learned=learned)

"""Batches of decoded and augmented pictures, or of what a frozen layer makes of them: by a split, or by a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import tensorflow as tf

from faceworkbook import images
from faceworkbook.files import hash_values
from faceworkbook.training import augment, checkpoint, masked
from faceworkbook.training.activations import Activations
from faceworkbook.training.batches import cut, shuffle
from faceworkbook.training.cutting import Network, beyond
from faceworkbook.training.filling import Filling, Planned
from faceworkbook.training.loop import Batch
from faceworkbook.training.pictures import EVALUATION_BATCH, Prepared, stream
from faceworkbook.training.targets import Targets

MIXUP = 3  # what its generator's seed ends in, so that it draws other numbers than batches do


@dataclass
class Pictures:
    """Batches of a split: all training rows, shuffled by seed and epoch.

    Attributes
    ----------
    network : Network
    source : PixelFiles, PixelArray or PixelShards
    targets : dict of task to Targets
    split : Split
        Any object with index arrays ``train`` and ``validation``.
    settings : fine_tune.Settings
    rows : ndarray of int
        Training rows, some perhaps several times.
    activations : Activations, optional
        What a frozen layer makes of the pictures; training begins there.
    """

    network: Network
    source: object
    targets: dict[str, Targets]
    split: object
    settings: object
    rows: np.ndarray
    activations: Activations | None = None

    def n_batches(self, epoch: int) -> int:
        return -(-len(self.rows) // self.settings.batch_size)

    def columns(self, epoch: int) -> dict:
        return {}

    def train(self, epoch: int) -> Iterator[Batch]:
        of_epoch = {"seed": self.settings.seed, "epoch": epoch}
        places = shuffle(np.arange(len(self.rows)), batch_size=self.settings.batch_size, **of_epoch)
        times = _times(self.rows)

        def load(place):
            chosen = self.rows[place]
            drawn = augment.draw(self.settings.augmentation, chosen, repetition=times[place], **of_epoch)
            smoothing = self.settings.label_smoothing
            taken = [t.take(chosen, drawn, smoothing=smoothing) for t in self.targets.values()]
            return self.input(chosen, drawn), *(array for pair in taken for array in pair)

        yield from self._mixed(self._batches(places, load), epoch)

    def validation(self) -> Iterator[Batch]:
        def load(chosen):
            taken = [t.take(chosen) for t in self.targets.values()]
            return self.input(chosen, None), *(array for pair in taken for array in pair)

        yield from self._batches(cut(np.asarray(self.split.validation), EVALUATION_BATCH), load)

    def identity(self) -> dict:
        rows = {subset: np.asarray(getattr(self.split, subset)) for subset in ("train", "validation")}
        return {
            "network": self.network.origin,
            "pictures": checkpoint.fingerprint_rows(self.source, np.concatenate(list(rows.values()))),
            "labels": {name: targets.fingerprint for name, targets in self.targets.items()},
            "train": hash_values(self.rows),
            "validation": hash_values(rows["validation"]),
        }

    def input(self, rows: np.ndarray, drawn: np.ndarray | None) -> np.ndarray:
        """Return what the network, or what lies beyond its frozen layer, is fed for some rows."""
        if self.activations is not None:
            return self.activations.take(rows, None if drawn is None else drawn["mirror"])
        pixels = self.source.take(rows)
        if drawn is not None and not self.settings.augmentation.is_nothing:
            pixels = augment.apply(pixels, drawn)
        return images.network_input(pixels, self.source.preprocessing)

    def _batches(self, rows: list[np.ndarray], load) -> Iterator[Batch]:
        for x, *arrays in stream(rows, load):
            pairs = zip(self.targets, arrays[::2], arrays[1::2], strict=True)
            yield Batch(x, {name: (values, mask) for name, values, mask in pairs})

    def _mixed(self, batches: Iterator[Batch], epoch: int) -> Iterator[Batch]:
        """Yield training batches as they are trained on: mixed if asked, without tasks that nobody has a label of."""
        alpha = self.settings.mixup
        rng = np.random.default_rng([self.settings.seed, epoch, MIXUP])
        for batch in batches:
            made = mix_batch(batch, share=rng.beta(alpha, alpha), rng=rng) if alpha else batch
            yield Batch(made.x, {name: pair for name, pair in made.targets.items() if np.any(pair[1])})


@dataclass
class PlannedPictures(Planned, Pictures):
    """Batches of several data sets in the order of a plan, missing labels filled by the current net."""

    filling: Filling = field(kw_only=True)

    def train(self, epoch: int) -> Iterator[Batch]:
        rng, filling = np.random.default_rng([self.settings.seed, epoch]), self.filling
        self._renew(epoch, seed=int(rng.integers(2**31)))
        planned = list(filling.plan.batches(epoch, rng))
        rows = np.concatenate([batch.rows for batch in planned])
        times = _times(rows)
        number = np.repeat(np.arange(len(planned)), [len(batch.rows) for batch in planned])
        of_epoch = {"seed": self.settings.seed, "epoch": epoch}

        def load(place):
            chosen, tasks = rows[place], planned[number[place[0]]].tasks
            drawn = augment.draw(self.settings.augmentation, chosen, repetition=times[place], **of_epoch)
            options = {"drawn": drawn, "smoothing": self.settings.label_smoothing}
            taken = [filling.take(name, chosen, counts=name in tasks, **options) for name in filling.targets]
            return self.input(chosen, drawn), *(array for pair in taken for array in pair)

        places = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(number)) + 1)
        yield from self._mixed(self._batches(places, load), epoch)

    def identity(self) -> dict:
        return super().identity() | {"train": self.filling.plan.identity()}

    def _renew(self, epoch: int, *, seed: int) -> None:
        if self.activations is None:
            self.filling.renew(epoch, Prepared(self.source), seed=seed)
            return
        layer, x = self.settings.precompute, _Straight(self.activations)
        self.filling.renew(epoch, x, seed=seed, cut=lambda model: beyond(model, layer))


@dataclass(frozen=True)
class _Straight:
    """``activations[rows]`` of pictures that are not mirrored, as of an array."""

    activations: Activations

    def __getitem__(self, rows) -> np.ndarray:
        return self.activations.take(np.asarray(rows), None)


def _times(rows: np.ndarray) -> np.ndarray:
    """Count which time each row comes, from 0."""
    return pd.Series(rows).groupby(rows).cumcount().to_numpy()


def mix_batch(batch: Batch, *, share: float, rng: np.random.Generator) -> Batch:
    """Mix each row of a batch with another one: share of itself, 1 - share of the other.

    Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018. A task's target is mixed
    of the rows that have one, and weighs as much as they have in the picture: the cross-entropy of a batch is `share`
    of the mean over the rows with the label, and 1 - `share` of the mean over the others with it.

    Parameters
    ----------
    share : float, 0..1
    """
    other = rng.permutation(len(batch.x))
    x = share * batch.x + (1 - share) * tf.gather(batch.x, other)
    targets = {}
    for name, (values, mask) in batch.targets.items():
        own, theirs = share * mask, (1 - share) * tf.gather(mask, other)
        weight = own + theirs
        mixed = own[:, None] * values + theirs[:, None] * tf.gather(values, other)
        # More pictures hold some of a label than rows bore it; losses are divided by their number, see `masked`.
        more = masked.count(weight) / masked.at_least_some(masked.count(mask))
        targets[name] = (tf.math.divide_no_nan(mixed, weight[:, None]), weight * more)
    return Batch(x, targets)

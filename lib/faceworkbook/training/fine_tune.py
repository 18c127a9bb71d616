"""Fine-tune a network on pictures: frozen layers, learning rates by group, gradual unfreezing.

`fit` sees training and validation rows and nothing else. Training rows alone are augmented; the best
epoch is chosen on validation rows; test rows stay with the caller, who reads them once with `read_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from faceworkbook import images
from faceworkbook.files import hash_values, open_beside, write_json
from faceworkbook.models import multitask
from faceworkbook.models.multitask import Head
from faceworkbook.tasks import Labels
from faceworkbook.training import augment, balancing, checkpoint, cutting, loop, masked, schedules, targets
from faceworkbook.training.activations import Activations
from faceworkbook.training.augment import Augmentation
from faceworkbook.training.batches import shuffle
from faceworkbook.training.cutting import Network
from faceworkbook.training.loop import Batch, Fitted, Learner, StepOptions
from faceworkbook.training.param_groups import ParamGroup
from faceworkbook.training.pictures import EVALUATION_BATCH, Mirrored, Prepared, stream

NUMBER_LOSSES = (masked.SQUARED, masked.ABSOLUTE)


@dataclass(frozen=True)
class Settings(loop.Settings):
    """How to fine-tune; the fields of `loop.Settings`, and these.

    Attributes
    ----------
    batch_size : int
    freeze : str, optional
        Trunk layer; it and all before it never change, and its batch norm uses its stored statistics.
    unfreeze : tuple of (epoch, layer or None)
        From that epoch on only what lies up to the layer is frozen (None: nothing but `freeze`).
    precompute : str, optional
        A layer within what is frozen: its output is computed once for all rows (and once more for their
        mirror images, where pictures are mirrored) and training runs from there. Mirroring is the only
        augmentation that goes with it.
    label_smoothing : float, 0..1
        Share of each class target that is spread evenly; training rows only.
    number_loss : {'squared', 'absolute'}
        Of numbers, in units of their standard deviation (in their own unit with the head 'own').
    augmentation : Augmentation
        Of training pictures; nothing by default.
    accumulate : int
        Pieces that a batch is computed in; their gradients add up to that of the whole batch.
    xla : bool
        Compile the step with XLA: faster on a GPU, slower on a processor.

    Notes
    -----
    Parameter groups are 'trunk', 'shared', the tasks' names, or a trunk layer (it and all before it).
    """

    epochs: int = 20
    batch_size: int = 64
    freeze: str | None = None
    unfreeze: tuple = ()
    precompute: str | None = None
    label_smoothing: float = 0.0
    number_loss: str = masked.SQUARED
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(0, 0, 0, 0, 0, 0))
    accumulate: int = 1
    xla: bool = False

    def __post_init__(self):
        super().__post_init__()
        for name in ("batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; allowed is 1 or more")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}; allowed is 0 up to below 1")
        if self.number_loss not in NUMBER_LOSSES:
            raise ValueError(f"number_loss={self.number_loss!r}; allowed are {list(NUMBER_LOSSES)}")

    def frozen_upto(self, epoch: int) -> str | None:
        """Return the layer up to which the trunk is frozen in `epoch`."""
        reached = [layer for start, layer in sorted(self.unfreeze, key=lambda s: s[0]) if start <= epoch]
        return (reached[-1] if reached else None) or self.freeze


def parse_stages(texts: list[str]) -> tuple[tuple[int, str | None], ...]:
    """Read ``["0: conv_pw_13_relu", "3:"]`` as `Settings.unfreeze` wants it; no layer means none is frozen.

    Raises
    ------
    ValueError
        A text that does not start with an epoch and a colon.
    """
    stages = []
    for text in texts:
        epoch, colon, layer = text.partition(":")
        if not colon or not epoch.strip().isdigit():
            raise ValueError(
                f"unfreeze holds {text!r}; expected 'EPOCH: LAYER', such as '0: conv_pw_13_relu'"
            )
        stages.append((int(epoch), layer.strip() or None))
    return tuple(stages)


def describe_param_groups(network: Network, settings: Settings) -> pd.DataFrame:
    """Return the parameter groups of a network: layers, weights, highest learning rate, first epoch of learning."""
    epochs = range(settings.epochs)
    highest = max(schedules.rate(settings.learning_rate, epoch) for epoch in epochs)
    rows = []
    for group in param_groups(network, settings):
        free = [epoch for epoch in epochs if not group.is_frozen(epoch)]
        rows.append(
            {
                "group": group.name,
                "layers": len(group.layers),
                "weights": sum(layer.count_params() for layer in group.layers),
                "learning rate": highest * group.lr_multiplier if free else 0.0,
                "from epoch": free[0] if free else "never",
            }
        )
    return pd.DataFrame(rows)


def param_groups(network: Network, settings: Settings) -> list[ParamGroup]:
    """Return the parameter groups that `settings` make of a network, from input to heads."""
    boundaries = {settings.freeze, *(layer for _, layer in settings.unfreeze)} - {None}
    divided = cutting.divide(network, boundaries=boundaries, lr_multipliers=settings.lr_multipliers)
    frozen = [settings.frozen_upto(epoch) for epoch in range(settings.epochs)]
    return [
        replace(
            group,
            frozen=settings.freeze in within,
            frozen_epochs=frozenset(epoch for epoch, layer in enumerate(frozen) if layer in within),
        )
        for group, within in divided
    ]


def make_reproducible(seed: int) -> None:
    """Seed every generator and make TensorFlow deterministic: same seed, same machine, same bits.

    Holds for the whole process and costs some speed.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fit(
    network: Network,
    source,
    labels: Mapping[str, Labels],
    *,
    split,
    settings: Settings,
    soft: Mapping[str, np.ndarray] | None = None,
    folder: str | Path | None = None,
) -> Fitted:
    """Train `network` in place and leave it with its best epoch's weights.

    Parameters
    ----------
    network : Network
        From ``cutting.assemble``.
    source : PixelFiles, PixelArray or PixelShards
        n pictures, as ``network.preprocessing`` wants them.
    labels : dict of str to Labels
        One a task, n labels each, some perhaps missing (they are masked).
    split : Split
        Any object with index arrays ``train`` and ``validation``.
    settings : Settings
    soft : dict of str to ndarray of shape (n, n_classes), optional
        Probabilities to learn instead of one class, such as the share of votes.
    folder : path, optional
        See `loop.fit`.

    Raises
    ------
    ValueError
        Unknown layers or groups, overlapping rows, a task without labels, unfit `precompute`.
    CheckpointError
        The folder holds a checkpoint of another run, or a damaged one.
    """
    _check(network, source, labels, split)
    made = {
        head.name: targets.Targets(
            head,
            labels[head.name],
            (soft or {}).get(head.name),
            weights=targets.weigh(labels[head.name], split.train, settings.balance),
        )
        for head in network.net.heads
    }
    rows = balancing.repeat_together(list(labels.values()), split.train, settings.balance, seed=settings.seed)
    pictures = _Pictures(network, source, made, split, settings, rows)
    model = None
    if settings.precompute is not None:
        _check_precompute(network, settings)
        model = cutting.beyond(network.net.model, settings.precompute)
        pictures.activations = _activations(network, source, split, settings, folder)
    options = StepOptions(settings.number_loss, settings.accumulate, settings.xla)
    learner = Learner(network.net, param_groups(network, settings), settings, options=options, model=model)
    try:
        return loop.fit(learner, pictures, settings, folder=folder)
    finally:
        if pictures.activations is not None:
            pictures.activations.remove()


def _check(network: Network, source, labels: Mapping[str, Labels], split) -> None:
    if source.preprocessing != network.preprocessing:
        raise ValueError(
            f"the pictures are prepared as {source.preprocessing}, {network.backbone} wants "
            f"{network.preprocessing}; read them with the network's own preprocessing"
        )
    wrong = {name: len(of) for name, of in labels.items() if len(of) != len(source)}
    if wrong:
        raise ValueError(
            f"{len(source)} pictures and labels of {wrong} faces; they must be of the same faces"
        )
    targets.check(network.net, labels, {"train": split.train, "validation": split.validation})


def _check_precompute(network: Network, settings: Settings) -> None:
    if not replace(settings.augmentation, mirror=0.0).is_nothing:
        raise ValueError(
            "precompute keeps each picture and its mirror image, so mirror is the only augmentation that "
            f"goes with it; got {settings.augmentation}"
        )
    frozen = cutting.layers_upto(network.net.model, settings.freeze)
    if not cutting.layers_upto(network.net.model, settings.precompute) <= frozen:
        raise ValueError(
            f"precompute={settings.precompute!r} changes in training; freeze the network up to it or beyond "
            f"(freeze={settings.freeze!r})"
        )


def _activations(network: Network, source, split, settings: Settings, folder) -> Activations:
    sources = [source, Mirrored(source)] if settings.augmentation.mirror else [source]
    return Activations(
        cutting.upto(network.net.model, settings.precompute),
        sources,
        np.concatenate([split.train, split.validation]),
        file=None if folder is None else Path(folder) / "activations.npy",
        progress=settings.progress,
    )


@dataclass
class _Pictures:
    """Batches of decoded and augmented pictures, or of what a frozen layer makes of them."""

    network: Network
    source: object
    targets: dict[str, targets.Targets]
    split: object
    settings: Settings
    rows: np.ndarray  # training rows, some perhaps several times
    activations: Activations | None = None

    def n_batches(self, epoch: int) -> int:
        return -(-len(self.rows) // self.settings.batch_size)

    def columns(self, epoch: int) -> dict:
        return {}

    def train(self, epoch: int) -> Iterator[Batch]:
        settings, smoothing = self.settings, self.settings.label_smoothing
        of_epoch = {"seed": settings.seed, "epoch": epoch}
        places = shuffle(np.arange(len(self.rows)), batch_size=settings.batch_size, **of_epoch)
        times = pd.Series(self.rows).groupby(self.rows).cumcount().to_numpy()

        def load(place):
            chosen = self.rows[place]
            drawn = augment.draw(settings.augmentation, chosen, repetition=times[place], **of_epoch)
            taken = [t.take(chosen, drawn, smoothing=smoothing) for t in self.targets.values()]
            return self._input(chosen, drawn), *(array for pair in taken for array in pair)

        for batch in self._batches(places, load):
            present = {name: pair for name, pair in batch.targets.items() if np.any(pair[1])}
            yield Batch(batch.x, present)

    def validation(self) -> Iterator[Batch]:
        def load(chosen):
            taken = [t.take(chosen) for t in self.targets.values()]
            return self._input(chosen, None), *(array for pair in taken for array in pair)

        rows = self.split.validation
        yield from self._batches(np.array_split(rows, -(-len(rows) // EVALUATION_BATCH)), load)

    def identity(self) -> dict:
        rows = {subset: np.asarray(getattr(self.split, subset)) for subset in ("train", "validation")}
        return {
            "network": self.network.origin,
            "pictures": checkpoint.fingerprint_rows(self.source, np.concatenate(list(rows.values()))),
            "labels": {name: targets.fingerprint for name, targets in self.targets.items()},
            "train": hash_values(self.rows),
            "validation": hash_values(rows["validation"]),
        }

    def _batches(self, rows: list[np.ndarray], load) -> Iterator[Batch]:
        for x, *arrays in stream(rows, load):
            pairs = zip(self.targets, arrays[::2], arrays[1::2], strict=True)
            yield Batch(x, {name: (values, mask) for name, values, mask in pairs})

    def _input(self, rows: np.ndarray, drawn: np.ndarray | None) -> np.ndarray:
        if self.activations is not None:
            return self.activations.take(rows, None if drawn is None else drawn["mirror"])
        pixels = self.source.take(rows)
        if drawn is not None and not self.settings.augmentation.is_nothing:
            pixels = augment.apply(pixels, drawn)
        return images.network_input(pixels, self.source.preprocessing)


def predict(network: Network, source, *, rows: np.ndarray, mirrored: bool = False) -> dict[str, np.ndarray]:
    """Predict `rows`; see ``models.multitask.predict``.

    Parameters
    ----------
    mirrored : bool
        Mean of the predictions for each picture and for its mirror image (yaw and roll turned back).
    """
    straight = multitask.predict(network.net, Prepared(source), rows=rows, batch_size=EVALUATION_BATCH)
    if not mirrored:
        return straight
    other = multitask.predict(network.net, Prepared(Mirrored(source)), rows=rows, batch_size=EVALUATION_BATCH)
    turned = np.zeros(len(rows), augment.DRAWN)
    turned["mirror"] = True
    return {n: (straight[n] + augment.adjust(n, other[n], turned)) / 2 for n in straight}


def read_rows(network: Network, source, *, rows: np.ndarray, mirrored: bool = False) -> dict[str, np.ndarray]:
    """Predict `rows` once, for all tasks, in arrays with a row for every picture of `source`.

    Returns
    -------
    dict of str to ndarray of shape (n, n_classes) or (n,)
        NaN in the other rows; ``evaluation.predictions.predict`` takes such arrays.
    """
    rows = np.unique(rows)
    made = {}
    for name, values in predict(network, source, rows=rows, mirrored=mirrored).items():
        made[name] = np.full((len(source), *values.shape[1:]), np.nan)
        made[name][rows] = values
    return made


def vote_shares(faces: pd.DataFrame, labels: Labels) -> np.ndarray:
    """Return the share of the votes for each class, to be learned instead of one class; shape (n, n_classes).

    A single vote counts as none, as in the official reader of FER+.

    Raises
    ------
    ValueError
        The face table has no ``votes_*`` column for a class.
    """
    columns = [f"votes_{name}" for name in labels.classes]
    missing = [column for column in columns if column not in faces]
    if missing:
        raise ValueError(f"the face table lacks {missing}; learn from labels, or take a data set with votes")
    votes = faces[columns].to_numpy(dtype=float)
    votes = np.where(votes > 1, votes, 0)
    alone = (votes.sum(axis=1) == 0) & labels.known
    votes[alone, labels.codes[alone]] = 1
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)


def curves(history: pd.DataFrame, head: Head) -> pd.DataFrame:
    """Return one task's history as ``plots.training_history`` reads it: loss, accuracy or mae, and val_ of each."""
    rate = "mae" if head.is_number else "accuracy"
    names = {f"{head.name}_loss": "loss", f"{head.name}_rate": rate}
    wanted = {"epoch": "epoch"} | {
        f"{before}{name}": f"{after}{new}"
        for before, after in (("", ""), ("validation_", "val_"))
        for name, new in names.items()
    }
    return history[list(wanted)].rename(columns=wanted)


def save(network: Network, folder: str | Path) -> Path:
    """Write ``model.keras`` (probabilities and numbers in their units, by task) and ``model.json``.

    The record holds what a reader of the model needs: preprocessing, class names, where the trunk is from.
    """
    folder = Path(folder)
    with open_beside(folder / "model.keras") as beside:
        multitask.serving_model(network.net).save(beside)
    tasks = [head.to_record() for head in network.net.heads]
    write_json(folder / "model.json", network.origin | {"tasks": tasks})
    return folder

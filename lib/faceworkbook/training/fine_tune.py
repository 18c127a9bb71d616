"""Fine-tune a network on pictures: frozen layers, learning rates by group, gradual unfreezing.

`fit` sees training and validation rows and nothing else. Training rows alone are augmented; the best
epoch is chosen on validation rows; test rows stay with the caller, who reads them once with `read_rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from faceworkbook.files import open_beside, write_json
from faceworkbook.models import multitask
from faceworkbook.models.multitask import TRUNK, Head
from faceworkbook.tasks import Labels
from faceworkbook.training import (
    augment,
    balancing,
    cutting,
    loop,
    masked,
    param_groups,
    precomputing,
    schedules,
    targets,
    weighting,
)
from faceworkbook.training.augment import Augmentation
from faceworkbook.training.batches import Alternating, Joint
from faceworkbook.training.cutting import Network
from faceworkbook.training.filling import Filling
from faceworkbook.training.loop import Fitted, Learner, StepOptions
from faceworkbook.training.lr_range import LrRange, run_range_test
from faceworkbook.training.param_groups import ParamGroup
from faceworkbook.training.picture_batches import Pictures, PlannedPictures
from faceworkbook.training.pictures import EVALUATION_BATCH, Mirrored, Prepared
from faceworkbook.training.pseudo_labels import Fill

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
        Share of each class target that is spread evenly; training rows and cross-entropy only.
    number_loss : {'squared', 'absolute'}
        Of numbers, in units of their standard deviation (in their own unit with the head 'own').
    augmentation : Augmentation
        Of training pictures; nothing by default.
    mixup : float, 0 or more
        alpha of the Beta distribution that draws how two training pictures are mixed, 0 for none; see
        `picture_batches.mix_batch`.
    task_weights : dict of str to float, or 'uncertainty'
        Fixed weights of the losses (1 where a task is not named), or learned (Kendall 2018).
    frozen_epochs : dict of str to int
        Epochs at the start during which 'trunk', 'shared' or a task's head stays as it is.
    fill : Fill
        What stands for missing labels where a plan says so (`fit_plan`); nothing by default.
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
    mixup: float = 0.0
    task_weights: dict | str = field(default_factory=dict)
    frozen_epochs: dict = field(default_factory=dict)
    fill: Fill = field(default_factory=Fill)
    accumulate: int = 1
    xla: bool = False

    def __post_init__(self):
        super().__post_init__()
        for name in ("batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; allowed is 1 or more")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}; allowed is 0 up to below 1")
        if not self.mixup >= 0:
            raise ValueError(f"mixup={self.mixup}; allowed is 0 (none) or more, such as 0.2")
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
    for group in make_param_groups(network, settings):
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


def make_param_groups(network: Network, settings: Settings) -> list[ParamGroup]:
    """Return the parameter groups that `settings` make of a network, from input to heads."""
    boundaries = {settings.freeze, *(layer for _, layer in settings.unfreeze)} - {None}
    multipliers = {n: value for n, value in settings.lr_multipliers.items() if n != weighting.WEIGHTS}
    divided = cutting.divide(network, boundaries=boundaries, lr_multipliers=multipliers)
    allowed = list(network.net.layers_by_group())
    param_groups.check_names(settings.frozen_epochs, allowed=allowed, parameter="frozen_epochs")
    frozen = [settings.frozen_upto(epoch) for epoch in range(settings.epochs)]
    made = []
    for group, within in divided:
        owner = TRUNK if set(network.trunk) >= {layer.name for layer in group.layers} else group.name
        first = range(settings.frozen_epochs.get(owner, 0))
        still = frozenset([*first, *(epoch for epoch, layer in enumerate(frozen) if layer in within)])
        made.append(replace(group, frozen=settings.freeze in within, frozen_epochs=still))
    return made


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
    return _fit(_pictures_of(network, source, labels, split, settings, soft), folder)


def find_rates(
    network: Network,
    source,
    labels: Mapping[str, Labels],
    *,
    split,
    settings: Settings,
    soft: Mapping[str, np.ndarray] | None = None,
) -> LrRange:
    """Run a range test on the network that `fit` would train with these arguments; it is left as it was."""
    pictures = _pictures_of(network, source, labels, split, settings, soft)
    learner = make_learner(network, settings)
    with precomputing.activated(pictures, folder=None):
        return run_range_test(learner, pictures)


def _pictures_of(network: Network, source, labels, split, settings: Settings, soft) -> Pictures:
    _check(network, source, labels, split)
    made = _make_targets(network, labels, soft or {}, split.train, settings)
    rows = balancing.repeat_together(list(labels.values()), split.train, settings.balance, seed=settings.seed)
    return Pictures(network, source, made, split, settings, rows)


def fit_plan(
    network: Network,
    source,
    labels: Mapping[str, Labels],
    *,
    plan: Joint | Alternating,
    validation: np.ndarray,
    settings: Settings,
    folder: str | Path | None = None,
) -> Fitted:
    """Train `network` on several data sets (or tasks) together or in turn; see `fit` and `multitask.fit`.

    Parameters
    ----------
    plan : Joint or Alternating
        Training rows, in which order; it has its own batch size.
    validation : ndarray of int
        Rows that choose the best epoch; none of them may be a training row.
    """
    rows = np.unique(np.concatenate([stage.rows for stage in plan.stages]))
    split = balancing.Rows(rows, np.asarray(validation))
    _check(network, source, labels, split)
    made = _make_targets(network, labels, {}, rows, settings)
    filling = Filling(network.net, made, plan, settings.fill, split.validation)
    return _fit(PlannedPictures(network, source, made, split, settings, rows, filling=filling), folder)


def _make_targets(network: Network, labels, soft, train: np.ndarray, settings: Settings) -> dict:
    return {
        head.name: targets.Targets(
            head,
            labels[head.name],
            soft.get(head.name),
            weights=targets.weigh(labels[head.name], train, settings.balance),
        )
        for head in network.net.heads
    }


def make_learner(network: Network, settings: Settings) -> Learner:
    """Return how a batch of pictures (of activations, where some are computed before) becomes a step."""
    model, groups, weights = None, make_param_groups(network, settings), None
    if settings.precompute is not None:
        precomputing.check(network, settings)
        model = cutting.beyond(network.net.model, settings.precompute)
    if settings.task_weights:
        weights = weighting.make(network.net.heads, settings.task_weights)
        multiplier = settings.lr_multipliers.get(weighting.WEIGHTS, 1.0)
        groups.append(ParamGroup(weighting.WEIGHTS, (), multiplier, extra=tuple(weights.variables)))
    options = StepOptions(settings.number_loss, settings.accumulate, settings.xla)
    return Learner(network.net, groups, settings, weights=weights, options=options, model=model)


def _fit(pictures: Pictures, folder) -> Fitted:
    learner = make_learner(pictures.network, pictures.settings)
    with precomputing.activated(pictures, folder):
        return loop.fit(learner, pictures, pictures.settings, folder=folder)


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
    return {
        head.name: _mean(head, straight[head.name], other[head.name], turned) for head in network.net.heads
    }


def _mean(head: Head, straight: np.ndarray, mirrored: np.ndarray, turned: np.ndarray) -> np.ndarray:
    if head.is_number:
        return (straight + augment.adjust(head.name, mirrored, turned)) / 2
    both = straight + augment.adjust_classes(head.name, head.classes, mirrored, turned)
    # Of a pose whose mirror image has no class here, the picture itself says all.
    return both / (both.sum(axis=1, keepdims=True) if head.name == "pose" else 2)


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

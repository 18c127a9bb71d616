"""Fit any list of splits with any classifier: MLPs as one program, others one after another.

Each fit sees its own training rows; its validation rows (chosen by the split, by person where
people are known) decide when it stops; its test rows are only predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import splits as splitting
from faceworkbook import tasks
from faceworkbook.files import hash_values
from faceworkbook.training import batched, checkpoint, classifiers, single


@dataclass(frozen=True, eq=False)
class FoldFits:
    """What the fits of all splits predict for every face.

    Attributes
    ----------
    labels : Labels
        Of n faces.
    splits : tuple of Split
        With ``repeat`` and ``fold``.
    outputs : ndarray of shape (n_splits, n, n_classes), or (n_splits, n) for numbers; float32
        Also for rows that are in no subset of a split.
    history : pandas.DataFrame
        Columns repeat, fold, and those of the classifier's history.
    classifier : str
    settings : dict
    stack : faceworkbook.training.batched.Stack or None
        The trained models, where they were trained as one program; the members of a split side by side.
    """

    labels: tasks.Labels
    splits: tuple
    outputs: np.ndarray
    history: pd.DataFrame
    classifier: str
    settings: dict = field(default_factory=dict)
    stack: object | None = None

    def __len__(self) -> int:
        return len(self.splits)


def plan(
    faces: pd.DataFrame,
    *,
    label: str,
    scheme: str = "identity",
    n_repeats: int = 5,
    seed: int = 0,
    keep_together=None,
    **shape,
) -> list[splitting.Split]:
    """Plan splits for repeated fits, whatever the data set has.

    Parameters
    ----------
    scheme : {'identity', 'official', 'random'}
        'identity': folds by person and copy. 'official': the set's folds; where it has one split instead,
        that split once a repeat, with other validation rows where it has none. 'random': face by face,
        careless on purpose.
    n_repeats, seed : int
    keep_together : optional
    **shape
        `n_folds` and `validation` of `faceworkbook.splits.FoldSizes`; the other parameters are those of `splits.folds`.
    """
    if scheme == "official" and faces["fold"].isna().all():
        n_validation = {name: value for name, value in shape.items() if name == "validation"}
        options = {"label": label, "scheme": scheme, "keep_together": keep_together, **n_validation}
        return [
            replace(splitting.make(faces, seed=seed + repeat, **options), repeat=repeat)
            for repeat in range(n_repeats)
        ]
    sizes = splitting.FoldSizes(n_repeats=n_repeats, **shape)
    options = {"label": label, "sizes": sizes, "seed": seed}
    if scheme == "random":
        nobody = faces.assign(identity=pd.array([pd.NA] * len(faces), dtype="string"))
        return [replace(split, name=scheme) for split in splitting.folds(nobody, **options)]
    return splitting.folds(faces, scheme=scheme, keep_together=keep_together, **options)


def fit_folds(
    matrix: np.ndarray,
    labels: tasks.Labels,
    splits: Sequence,
    *,
    classifier="mlp",
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = False,
    **options,
) -> FoldFits:
    """Fit one classifier a split.

    Parameters
    ----------
    matrix : ndarray of shape (n, d), float32, may be memory-mapped
    labels : Labels of n faces
    splits : sequence of Split
        Such as ``splits.folds(...)`` gives: five repeats of five folds, or official folds.
    classifier : str, callable, estimator or keras.Model
        See `classifiers.fit`.
    seed : int
        Each repeat adds its number, so that repeats differ in initial weights and batches too.
    folder : path, optional
        Checkpoints are kept there: a run that was stopped goes on and ends with the same result.
    progress : bool
    **options
        Of the classifier, see `classifiers.fit`; for 'mlp' ``members`` and fields of `batched.Settings`. ``start`` is the
        model that every fit begins with.

    Raises
    ------
    TrainingError
        Rows, labels and splits that do not fit together.
    CheckpointError
        A checkpoint in the folder is damaged.
    """
    splits = tuple(splits)
    seeds = [seed + getattr(split, "repeat", 0) for split in splits]
    if isinstance(classifier, str) and classifier == "mlp":
        start, members = options.pop("start", None), single.check_members(options.pop("members", 1))
        chosen = batched.with_settings(batched.defaults(labels.task), **options)
        every = [split for split in splits for _ in range(members)]
        of_members = [one for seed in seeds for one in single.seeds_of_members(seed, members)]
        stack = single.fit_stack(
            start, matrix, labels, every, chosen, seeds=of_members, folder=folder, progress=progress
        )
        by_model = [table.drop(columns="model") for _, table in stack.history.groupby("model", sort=True)]
        history = _concat(
            [_with_keys(t, split) for t, split in zip(by_model[::members], splits, strict=True)]
        )
        outputs = stack.predict(matrix)
        mean = outputs.reshape(len(splits), members, *outputs.shape[1:]).mean(axis=1)
        used = asdict(chosen) | ({"members": members} if members > 1 else {})
        return FoldFits(labels, splits, mean, history, "mlp", used, stack)
    fit, name = classifiers.resolve(classifier), classifiers.describe(classifier, labels.task)
    batched.check_rows(matrix, labels, splits)
    known_by = dict(options)
    if "start" in options:
        known_by["start"] = checkpoint.fingerprint_weights(options["start"].model.weights)
    keep = _Kept.at(folder, matrix, labels, [name, known_by])
    outputs, histories = [], []
    for split, own in zip(tqdm(splits, unit="fit", disable=not progress), seeds, strict=True):
        result = keep.load(split, own)
        if result is None:
            fitted = fit(matrix, labels, split, seed=own, **options)
            result = np.asarray(fitted.predict(matrix), np.float32), fitted.history
            keep.save(split, own, *result)
        outputs.append(result[0])
        histories.append(_with_keys(result[1], split))
    return FoldFits(labels, splits, np.stack(outputs), _concat(histories), name, known_by)


def _with_keys(history: pd.DataFrame, split) -> pd.DataFrame:
    return history.assign(repeat=getattr(split, "repeat", 0), fold=getattr(split, "fold", 0))


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    together = pd.concat(tables, ignore_index=True)
    first = ["repeat", "fold"]
    return together[first + [column for column in together if column not in first]]


def _groups(labels: tasks.Labels) -> list:
    groups = getattr(labels, "groups", None)
    return [] if groups is None else [groups.tolist()]


class _Kept:
    """Outputs of finished fits in a folder; does nothing without a folder."""

    def __init__(self, folder: Path | None, identity: dict):
        self._folder, self._identity = folder, identity

    @classmethod
    def at(cls, folder, matrix, labels: tasks.Labels, classifier: list) -> _Kept:
        if folder is None:
            return cls(None, {})
        identity = {
            "descriptors": checkpoint.fingerprint_rows(matrix, np.arange(len(matrix))),
            "labels": hash_values(labels.task.to_record(), labels.codes, labels.values, *_groups(labels)),
            "classifier": classifier,
        }
        return cls(Path(folder), identity)

    def load(self, split, seed: int) -> tuple[np.ndarray, pd.DataFrame] | None:
        identity, path = self._at(split, seed)
        if self._folder is None or not path.exists():
            return None
        arrays, record = checkpoint.read(path, identity=identity, groups=("output",), keys=("history",))
        return arrays["output"][0], pd.DataFrame(record["history"])

    def save(self, split, seed: int, output: np.ndarray, history: pd.DataFrame) -> None:
        if self._folder is not None:
            identity, path = self._at(split, seed)
            record = {"history": history.select_dtypes("number").to_dict("list")}
            checkpoint.write(path, identity=identity, arrays={"output": [output]}, record=record)

    def _at(self, split, seed: int) -> tuple[dict, Path]:
        rows = hash_values(np.asarray(split.train), np.asarray(split.validation))
        identity = {**self._identity, "split": rows, "seed": seed}
        return identity, (self._folder or Path()) / f"fit-{hash_values(identity)}.npz"

"""Fit any list of splits with any classifier: dense ones as one program, others one after another.

Each fit sees its own training rows; its validation rows (chosen by the split, by person where
people are known) decide when it stops; its test rows are only predicted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xxhash
from tqdm.auto import tqdm

from faceworkbook import splits as splitting
from faceworkbook import tasks
from faceworkbook.training import batched
from faceworkbook.training.single import fit_linear

CLASSIFIERS = ("mlp", "linear")


@dataclass(frozen=True, eq=False)
class FoldFits:
    """What the fits of all splits say of every face.

    Attributes
    ----------
    target : Labels
        Of n faces.
    splits : tuple of Split
        With ``repeat`` and ``fold``.
    outputs : ndarray of shape (n_splits, n, n_classes), or (n_splits, n) for numbers; float32
        Also for rows that are in no part of a split.
    history : pandas.DataFrame
        Columns repeat, fold, and those of the classifier's history.
    classifier : str
    settings : dict
    stack : faceworkbook.training.batched.Stack or None
        The trained models, where they were trained as one program.
    """

    target: tasks.Labels
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
    n_folds: int = 5,
    n_repeats: int = 5,
    seed: int = 0,
    validation: float = 0.15,
    keep_together=None,
) -> list[splitting.Split]:
    """Splits for repeated fits, whatever the data set has.

    Parameters
    ----------
    scheme : {'identity', 'official', 'random'}
        'identity': folds by person and copy. 'official': the set's folds; where it has parts instead,
        those parts once a repeat, with other validation rows where it has none. 'random': face by face,
        careless on purpose.

    The other parameters are those of `faceworkbook.splits.folds`.
    """
    shared = {"label": label, "validation": validation}
    if scheme == "official" and faces["fold"].isna().all():
        return [
            replace(
                splitting.make(faces, scheme=scheme, seed=seed + r, keep_together=keep_together, **shared),
                repeat=r,
            )
            for r in range(n_repeats)
        ]
    shared |= {"n_folds": n_folds, "n_repeats": n_repeats, "seed": seed}
    if scheme == "random":
        nobody = faces.assign(identity=pd.array([pd.NA] * len(faces), dtype="string"))
        return [replace(split, name=scheme) for split in splitting.folds(nobody, **shared)]
    return splitting.folds(faces, scheme=scheme, keep_together=keep_together, **shared)


def fit_folds(
    matrix: np.ndarray,
    target: tasks.Labels,
    splits: Sequence,
    *,
    classifier: str | Callable = "mlp",
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = False,
    **settings,
) -> FoldFits:
    """Fit one classifier a split.

    Parameters
    ----------
    matrix : ndarray of shape (n, d), float32, may be memory-mapped
    target : Labels of n faces
    splits : sequence of Split
        Such as ``splits.folds(...)`` gives: five repeats of five folds, or official folds.
    classifier : 'mlp', 'linear' or callable
        A callable takes ``(matrix, target, split, seed=..., **settings)`` and returns an object with
        ``predict(matrix)`` and, if it likes, ``history``.
    seed : int
        Each repeat adds its number, so that repeats differ in initial weights and batches too.
    folder : path, optional
        Checkpoints are kept there: a run that was stopped goes on and ends with the same result.
    progress : bool
    **settings
        Of the classifier: fields of `batched.Settings` for 'mlp', options of `fit_linear` or of
        the callable.

    Raises
    ------
    TrainingError
        Rows, labels and splits that do not fit together.
    """
    splits = tuple(splits)
    seeds = [seed + getattr(split, "repeat", 0) for split in splits]
    if classifier == "mlp":
        return _dense(matrix, target, splits, seeds, folder, progress, settings)
    fit = fit_linear if classifier == "linear" else classifier
    if not callable(fit):
        raise ValueError(
            f"classifier={classifier!r}; allowed are {list(CLASSIFIERS)} or a function that fits"
        )
    batched.check_rows(matrix, target, splits)
    name = classifier if isinstance(classifier, str) else f"{fit.__module__}.{fit.__qualname__}"
    keep = _Kept.at(folder, matrix, target, name, settings)
    outputs, histories = [], []
    for split, own in zip(tqdm(splits, unit="fit", disable=not progress), seeds, strict=True):
        output, history = keep.load(split, own) or keep.save(
            split, own, *_one(fit, matrix, target, split, own, settings)
        )
        outputs.append(output)
        histories.append(_with_keys(history, split))
    return FoldFits(target, splits, np.stack(outputs), _concat(histories), name, settings)


def _dense(matrix, target, splits, seeds, folder, progress: bool, settings: dict) -> FoldFits:
    chosen = batched.with_settings(batched.defaults(target.task), **settings)
    stack = batched.fit(matrix, target, splits, chosen, seeds=seeds, folder=folder, progress=progress)
    by_model = [table.drop(columns="model") for _, table in stack.history.groupby("model", sort=True)]
    history = _concat([_with_keys(table, split) for table, split in zip(by_model, splits, strict=True)])
    return FoldFits(target, splits, stack.predict(matrix), history, "mlp", asdict(chosen), stack)


def _one(fit, matrix, target, split, seed: int, settings: dict) -> tuple[np.ndarray, pd.DataFrame]:
    fitted = fit(matrix, target, split, seed=seed, **settings)
    return np.asarray(fitted.predict(matrix), np.float32), getattr(fitted, "history", pd.DataFrame())


def _with_keys(history: pd.DataFrame, split) -> pd.DataFrame:
    return history.assign(repeat=getattr(split, "repeat", 0), fold=getattr(split, "fold", 0))


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    together = pd.concat(tables, ignore_index=True)
    first = ["repeat", "fold"]
    return together[first + [column for column in together if column not in first]]


class _Kept:
    """Outputs of finished fits in a folder; does nothing without a folder."""

    def __init__(self, folder: Path | None, recipe: str):
        self.folder, self.recipe = folder, recipe

    @classmethod
    def at(cls, folder, matrix, target, name: str, settings: dict) -> _Kept:
        if folder is None:
            return cls(None, "")
        Path(folder).mkdir(parents=True, exist_ok=True)
        digest = xxhash.xxh3_128(np.ascontiguousarray(matrix))
        digest.update(target.codes)
        digest.update(np.nan_to_num(target.values))
        digest.update(json.dumps([name, target.task.to_record(), settings], default=str))
        return cls(Path(folder), digest.hexdigest())

    def path(self, split, seed: int) -> Path:
        digest = xxhash.xxh3_64(self.recipe + str(seed))
        digest.update(np.asarray(split.train, np.int64))
        digest.update(b"|")
        digest.update(np.asarray(split.validation, np.int64))
        return self.folder / f"fit-{digest.hexdigest()}.npz"

    def load(self, split, seed: int) -> tuple[np.ndarray, pd.DataFrame] | None:
        if self.folder is None or not self.path(split, seed).exists():
            return None
        with np.load(self.path(split, seed), allow_pickle=False) as saved:
            return saved["output"], pd.DataFrame(saved["history"], columns=saved["columns"].tolist())

    def save(self, split, seed: int, output: np.ndarray, history: pd.DataFrame):
        if self.folder is not None:
            numbers = history.select_dtypes("number")
            path = self.path(split, seed)
            beside = path.with_name(path.name + ".part")
            with beside.open("wb") as file:
                np.savez(
                    file, output=output, history=numbers.to_numpy(float), columns=np.array(list(numbers), str)
                )
            beside.replace(path)
        return output, history

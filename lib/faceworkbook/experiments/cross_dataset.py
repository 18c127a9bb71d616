"""The cross-data-set table: train on one set, test on every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd

from faceworkbook import tasks
from faceworkbook.evaluation import metrics
from faceworkbook.experiments.classifier import Classifier
from faceworkbook.experiments.overlap import Overlap
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.experiments.scoring import score
from faceworkbook.splits import SUBSETS

SHARED = "training faces show a person or picture of the test faces"
OTHER_CLASS = "test faces are of classes that not all sets have"
NOTHING_LEFT = "too few classes are left to train on"
OTHER_OUTPUTS = (
    "the network's outputs are not the classes that all sets have; train on all classes, or give a name"
)
COLUMNS = [
    "trained_on", "tested_on", "metric", "value", "low", "high", "n_train", "n_test", "excluded_train",
    "excluded_test", "reason",
]  # fmt: skip


def measure(
    sets: Mapping[str, PreparedData],
    overlap: Overlap,
    *,
    classifier: Classifier | None = None,
    metric: str | None = None,
    seed: int = 0,
    n_boot: int = 2000,
) -> pd.DataFrame:
    """Train on the training rows of each set, test on the test rows of all.

    Only classes that all sets have are used. Training and validation faces that show a person or picture of
    the tested set's test faces are excluded, and the classifier is fitted anew without them.

    Parameters
    ----------
    sets : mapping of name to PreparedData, two or more
    overlap : Overlap
        Of the same sets; see `faceworkbook.experiments.overlap.find`.
    classifier : Classifier, optional
        The experiment's own; an MLP of default settings where None.
    seed : int
        Of resamples, and of fits where the classifier has no seed of its own.

    Returns
    -------
    pandas.DataFrame
        trained_on, tested_on, metric, value, low, high (95 %; NaN where nothing is left to train on),
        n_train, n_test, excluded_train (training and validation faces), excluded_test, reason.

    Raises
    ------
    ValueError
        Fewer than two sets, descriptors of different widths, different labels, fewer than two common
        classes.
    """
    common = _find_common_classes(sets)
    trial = _Trial(sets, overlap, classifier or Classifier(), metric, seed, n_boot)
    records = [record for name in sets for record in _train_on(name, common, trial)]
    return pd.DataFrame(records)[COLUMNS]


@dataclass(frozen=True)
class _Trial:
    sets: Mapping[str, PreparedData]
    overlap: Overlap
    classifier: Classifier
    metric: str | None
    seed: int
    n_boot: int


def _find_common_classes(sets: Mapping[str, PreparedData]) -> set[str]:
    if len(sets) < 2:
        raise ValueError(f"{len(sets)} data set given ({list(sets)}); the table needs two or more")
    labels = {(data.labels.name, data.labels.task.kind) for data in sets.values()}
    widths = {name: data.matrix.shape[1] for name, data in sets.items()}
    if len(labels) > 1:
        raise ValueError(f"the sets have different labels: {sorted(labels)}; read the same one of each")
    if len(set(widths.values())) > 1:
        raise ValueError(f"descriptors have different widths: {widths}; use one network and tap")
    classes = {name: data.labels.classes for name, data in sets.items()}
    common = set.intersection(*map(set, classes.values()))
    if not next(iter(sets.values())).labels.task.is_number and len(common) < 2:
        raise ValueError(
            f"the sets have fewer than two classes in common: {classes}; choose another label, or sets that share its classes"
        )
    return common


def _train_on(name: str, common: set[str], trial: _Trial):
    # The order of the trained set's classes, so that on its own test faces it is the experiment's classifier.
    classes = [c for c in trial.sets[name].labels.classes if c in common]
    kept = {key: _keep_classes(data, classes) for key, data in trial.sets.items()}
    source, whole = kept[name], None
    for tested, aim in kept.items():
        split, n_excluded = _exclude_shared(source.split, name, tested, aim.split.test, trial.overlap)
        if not n_excluded:
            whole = whole or _fit(source, source.split, trial)
        fitted = _fit(source, split, trial) if n_excluded else whole
        lost = len(trial.sets[tested].split.test) - len(aim.split.test)
        yield {
            "trained_on": name,
            "tested_on": tested,
            **_test(fitted, aim, trial),
            "n_train": len(split.train),
            "excluded_train": n_excluded,
            "excluded_test": lost,
            "reason": _describe(n_excluded, lost, "" if fitted else _why_unfitted(source, trial)),
        }


def _exclude_shared(split, name: str, tested: str, test: np.ndarray, overlap: Overlap):
    """Return the split without rows that the tested set's test rows show too, and how many they are."""
    if tested == name:
        return split, 0
    rows = {subset: getattr(split, subset) for subset in ("train", "validation")}
    shared = {subset: overlap.shared(name, own, tested, test) for subset, own in rows.items()}
    left = {subset: np.setdiff1d(own, shared[subset]) for subset, own in rows.items()}
    return SimpleNamespace(**left, test=split.test), sum(map(len, shared.values()))


def _keep_classes(data: PreparedData, classes: list[str]) -> PreparedData:
    labels = data.labels
    if labels.task.is_number:
        return data
    place = np.array(
        [classes.index(c) if c in classes else tasks.MISSING for c in (*labels.classes, None)], np.int64
    )
    same = replace(labels, task=labels.task.keep(classes), codes=place[labels.codes])
    rows = {subset: getattr(data.split, subset) for subset in SUBSETS}
    return replace(
        data, labels=same, split=SimpleNamespace(**{k: own[same.known[own]] for k, own in rows.items()})
    )


def _fit(source: PreparedData, split, trial: _Trial):
    values = source.labels.values if source.labels.task.is_number else source.labels.codes
    if (
        len(np.unique(values[split.train])) < 2
        or not len(split.validation)
        or not _has_outputs(source, trial)
    ):
        return None
    return trial.classifier.fit(source.matrix, source.labels, split, seed=trial.seed)


def _has_outputs(source: PreparedData, trial: _Trial) -> bool:
    """Whether a network of the reader's own, whose width is fixed, has an output for each common class."""
    shape = getattr(trial.classifier.kind, "output_shape", None)
    task = source.labels.task
    return shape is None or shape[-1] in {task.n_outputs, max(len(task.classes), 1)}


def _why_unfitted(source: PreparedData, trial: _Trial) -> str:
    return NOTHING_LEFT if _has_outputs(source, trial) else OTHER_OUTPUTS


def _test(fitted, aim: PreparedData, trial: _Trial) -> dict:
    rows, metric = aim.split.test, trial.metric or aim.labels.task.headline
    record = {"metric": metric, "value": np.nan, "low": np.nan, "high": np.nan, "n_test": len(rows)}
    if fitted is None or not len(rows):
        return record
    table, _ = score(
        fitted.predict(aim.matrix[rows]), aim.labels.take(rows), aim.faces.iloc[rows], metric=metric
    )
    figures = metrics.summary(table, names=[metric], n_boot=trial.n_boot, seed=trial.seed).iloc[0]
    return record | figures[["value", "low", "high"]].to_dict()


def _describe(n_shared: int, n_lost: int, unfitted: str) -> str:
    reasons = [f"{n:,} {why}" for n, why in ((n_shared, SHARED), (n_lost, OTHER_CLASS)) if n]
    return "; ".join(reasons + [unfitted] * bool(unfitted))

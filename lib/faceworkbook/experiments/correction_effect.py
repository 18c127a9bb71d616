"""What corrected labels change: the same experiment with the labels of before and of after, on the same splits.

Corrections of training rows change the model, those of test rows change what a figure is measured against. Both
are kept apart: the models of before and after are judged by the corrected labels (the model's change), and the
model of before by the labels of before and of after (the labels' change).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from faceworkbook import tasks
from faceworkbook.evaluation import comparison, cross_validation
from faceworkbook.row_groups import ALONE
from faceworkbook.splits import SUBSETS, Split

MODEL, LABELS, BOTH = "model", "labels", "both"


@dataclass(frozen=True, eq=False)
class Relabelled:
    """Faces with their labels before and after corrections.

    Attributes
    ----------
    faces : pandas.DataFrame of n rows
        The faces after, in their order, then those that the corrections left out; their labels are those of after where
        known, else those of before.
    before, after : Labels of n faces
        Of one task; a face that was left out has no label after.
    """

    faces: pd.DataFrame
    before: tasks.Labels
    after: tasks.Labels

    @property
    def changed(self) -> np.ndarray:
        """Rows whose label differs, ndarray of int; a face that was left out is among them."""
        old, new = self.before, self.after
        codes = (old.codes != new.codes).reshape(len(old), -1).any(axis=1)
        both = ~(np.isnan(old.values) & np.isnan(new.values))
        return np.flatnonzero(codes | (both & (old.values != new.values)))

    def extend(self, groups: np.ndarray) -> np.ndarray:
        """Return groups of the faces after (such as copies) for all n faces; a face that was left out is alone."""
        return np.pad(groups, (0, len(self.faces) - len(groups)), constant_values=ALONE)


@dataclass(frozen=True, eq=False)
class CorrectionEffect:
    """What corrections changed in a figure.

    Attributes
    ----------
    label, metric : str
    changes : pandas.DataFrame
        change ('model', 'labels', 'both'), before, after, difference, low, high (95 %, paired by face, added up by
        person), p, n (test faces in common), n_units (people, or faces where people are unknown).
    rows : pandas.DataFrame
        One row a changed label: face_id, image, was, value, trains, chooses, tests (in how many splits), and what
        models that were not fitted on the face say: ``predicted before``, ``predicted after`` (of classes also ``p
        before`` and ``p after``, the probability of the new value).
    n_changed : dict of str to int
        Changed labels by subset, over all splits.
    """

    label: str
    metric: str
    changes: pd.DataFrame
    rows: pd.DataFrame
    n_changed: dict[str, int]

    def change(self, name: str) -> pd.Series:
        """Return the row of 'model', 'labels' or 'both'."""
        return self.changes.set_index("change").loc[name]

    def describe(self) -> list[str]:
        """Return a sentence about the model's change and one about the labels'."""
        name, words = self.metric.replace("_", " "), []
        model, labels = self.change(MODEL), self.change(LABELS)
        words.append(
            f"{len(self.rows):,} labels of {self.label} differ. Fitted on the corrected labels instead of the former "
            f"ones, the model's {name} on the corrected labels of {int(model['n']):,} test faces goes from "
            f"{model['before']:.4f} to {model['after']:.4f}: {_describe(model)}."
        )
        if not self.n_changed["test"]:
            return [
                *words,
                "No label of a test face was changed, so the figure is measured against the same truth.",
            ]
        words.append(
            f"The corrections of test faces change the truth: the model of before has {name} {labels['before']:.4f} by "
            f"the former labels and {labels['after']:.4f} by the corrected ones ({_describe(labels)})."
        )
        return words


def _describe(row: pd.Series) -> str:
    if np.isnan(row["low"]):
        return f"{row['difference']:+.4f}, on too few people to judge by"
    verdict = "" if row["p"] < 0.05 else "no significant difference, "
    return f"{verdict}{row['difference']:+.4f}, 95 % interval {row['low']:+.4f} to {row['high']:+.4f}"


def relabel(before: pd.DataFrame, after: pd.DataFrame, label: str, *, gone: Sequence[str] = ()) -> Relabelled:
    """Bring the face tables of before and after corrections together.

    Parameters
    ----------
    before, after : pandas.DataFrame
        Of one set; `after` may be drawn from it.
    label : str
        See `faceworkbook.tasks.read_labels`.
    gone : sequence of str
        face_id of the faces that the corrections left out: they have a label before and none after.
    """
    lost = before[before["face_id"].isin(gone)]
    former = before.set_index("face_id", drop=False).loc[after["face_id"]].reset_index(drop=True)
    columns = tasks.source_columns(after, label)
    hidden = lost.assign(**{name: pd.Series(pd.NA, lost.index).astype(lost[name].dtype) for name in columns})
    n = len(former) + len(lost)
    # Read as one table, so that both have the same classes.
    both = tasks.read_labels(pd.concat([former, lost, after, hidden], ignore_index=True), label)
    # A label that corrections made unknown still trains the model of before, so a split has to know it.
    known = after.reset_index(drop=True)
    known = known.assign(**{name: known[name].where(known[name].notna(), former[name]) for name in columns})
    faces = pd.concat([known, lost], ignore_index=True)
    return Relabelled(faces, both.take(slice(0, n)), both.take(slice(n, 2 * n)))


def measure(
    pair: Relabelled,
    matrix: np.ndarray,
    splits: Sequence[Split],
    *,
    classifier="linear",
    metric: str = "",
    seed: int = 0,
    **options,
) -> CorrectionEffect:
    """Fit on the labels of before and of after, and judge both on the test rows of the same splits.

    Parameters
    ----------
    pair : Relabelled
        Of n faces.
    matrix : ndarray of shape (n, d), float32
        Descriptors; faces with NaN take no part.
    splits : sequence of Split
        Of ``pair.faces``: one split, or folds. Each model trains on those rows whose label it knows.
    classifier : str, callable, estimator or keras.Model
        See `faceworkbook.training.fit`; 'linear' has no random start, so that labels alone make a difference.
    metric : str, optional
        The task's headline by default.
    seed : int
    **options
        Of the classifier.
    """
    from faceworkbook import training

    readable = np.isfinite(matrix).all(axis=1)
    fits = {}
    for name, labels in (("before", pair.before), ("after", pair.after)):
        own = [_restrict(split, readable & labels.known) for split in splits]
        fits[name] = training.fit_folds(matrix, labels, own, classifier=classifier, seed=seed, **options)
    shared = [_restrict(split, readable & pair.before.known & pair.after.known) for split in splits]
    tested = {
        (model, truth): cross_validation.predictions(
            replace(fits[model], labels=labels, splits=tuple(shared)), pair.faces, subsets=("test",)
        )
        for model, truth, labels in (
            ("before", "before", pair.before), ("before", "after", pair.after), ("after", "after", pair.after),
        )
    }  # fmt: skip
    metric = metric or pair.after.task.headline
    changes = _measure_changes(
        tested["before", "before"],
        tested["before", "after"],
        tested["after", "after"],
        metric=metric,
        seed=seed,
    )
    n_changed = {
        subset: sum(int(np.isin(getattr(split, subset), pair.changed).sum()) for split in splits)
        for subset in SUBSETS
    }
    rows = _rows(pair, splits, fits, readable)
    return CorrectionEffect(pair.after.name, metric, changes, rows, n_changed)


def of_predictions(
    pair: Relabelled,
    before: pd.DataFrame,
    after: pd.DataFrame,
    *,
    subsets: pd.Series,
    metric: str = "",
    seed: int = 0,
) -> CorrectionEffect:
    """Measure what corrections changed between two runs from the predictions tables that each left.

    Parameters
    ----------
    pair : Relabelled
        Of the faces of both runs.
    before, after : pandas.DataFrame
        Predictions of the model that was fitted on the labels of before, and of after; test faces that both have are judged.
    subsets : pandas.Series
        Subset of each face in the run of after, by face_id; '' for none.
    metric, seed
        See `measure`.

    Raises
    ------
    PredictionsError, ComparisonError
        No test face in common, or other classes.
    """
    metric = metric or pair.after.task.headline
    tested = [table[table["split"] == "test"] for table in (before, after)]
    truth = tested[1].drop_duplicates("face_id").set_index("face_id")["truth"]
    relabelled = tested[0][tested[0]["face_id"].isin(truth.index)].copy()
    relabelled["truth"] = truth.reindex(relabelled["face_id"]).to_numpy()
    changes = _measure_changes(tested[0], relabelled, tested[1], metric=metric, seed=seed)
    changed = pair.changed
    rows = pair.faces[["face_id", "image"]].iloc[changed].reset_index(drop=True)
    rows = rows.assign(was=pair.before.truth[changed], value=pair.after.truth[changed])
    rows["subset"] = subsets.reindex(rows["face_id"]).fillna("").to_numpy()
    for name, table in zip(("before", "after"), tested, strict=True):
        predicted = table.drop_duplicates("face_id").set_index("face_id")["predicted"]
        rows[f"predicted {name}"] = predicted.reindex(rows["face_id"]).to_numpy()
    n_changed = {subset: int((rows["subset"] == subset).sum()) for subset in SUBSETS}
    return CorrectionEffect(pair.after.name, metric, changes, rows, n_changed)


def _measure_changes(
    old: pd.DataFrame, relabelled: pd.DataFrame, new: pd.DataFrame, *, metric: str, seed: int
) -> pd.DataFrame:
    """Compare the predictions of before, the same against the corrected truth, and those of after."""
    given = {"metric": metric, "seed": seed}
    return _table(
        {
            MODEL: comparison.paired_difference(new, relabelled, **given),
            LABELS: comparison.relabelled_difference(relabelled, old, **given),
            BOTH: comparison.relabelled_difference(new, old, **given),
        }
    )


def _restrict(split: Split, usable: np.ndarray) -> Split:
    return replace(
        split, **{subset: own[usable[own]] for subset in SUBSETS for own in [getattr(split, subset)]}
    )


def _table(changes: dict[str, dict]) -> pd.DataFrame:
    rows = [
        {"change": name, "before": made["second"], "after": made["first"]}
        | {key: made[key] for key in ("difference", "low", "high", "p", "n", "n_units")}
        for name, made in changes.items()
    ]
    return pd.DataFrame(rows)


def _rows(pair: Relabelled, splits: Sequence[Split], fits: dict, readable: np.ndarray) -> pd.DataFrame:
    """List the changed labels, with the mean output of the models that were not fitted on the face."""
    changed, task = pair.changed, pair.after.task
    subsets = np.stack([split.subset_of(len(pair.faces))[changed] for split in splits])
    table = pair.faces[["face_id", "image"]].iloc[changed].reset_index(drop=True)
    table = table.assign(was=pair.before.truth[changed], value=pair.after.truth[changed])
    for column, subset in (("trains", "train"), ("chooses", "validation"), ("tests", "test")):
        table[column] = (subsets == subset).sum(axis=0)
    held = (subsets == "test") & readable[changed]
    for name, fit in fits.items():
        output = fit.outputs[:, changed].astype(float)
        weights = held if task.is_number else held[..., None]
        with np.errstate(invalid="ignore"):
            mean = np.where(weights, output, 0.0).sum(axis=0) / weights.sum(axis=0)
        if task.is_number or task.is_multilabel:
            table[f"predicted {name}"] = list(mean.round(4)) if task.is_multilabel else mean
            continue
        best = np.array([*task.classes, None], dtype=object)
        table[f"predicted {name}"] = best[np.where(held.any(axis=0), np.nan_to_num(mean).argmax(axis=1), -1)]
        value = pair.after.codes[changed]
        p = mean[np.arange(len(mean)), value]
        table[f"p {name}"] = np.where(value == tasks.MISSING, np.nan, p)
    return table

"""Transfer: pre-train on other data sets and fine-tune on one, beside a random start and training on all together.

What a model was pre-trained on must not show the people or pictures that it is tested on. So every face of the
other sets that shares a picture, a near twin or a person with any face of the target is removed before anything
is trained, whichever fold tests that face; it is counted and listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import row_groups, tasks
from faceworkbook.evaluation import comparison, cross_validation, metrics
from faceworkbook.experiments import multi_dataset
from faceworkbook.experiments.multi_dataset import MultiDataset, MultiDatasetError

if TYPE_CHECKING:  # it imports Keras
    from faceworkbook.training.folds import FoldFits

RANDOM, PRE_TRAINED, TOGETHER = STRATEGIES = ("random start", "pre-trained", "all together")
AGE_8, AGE_101 = "age_8", "age_101"
YEARS = tuple(range(101))
# Middle of each group, years; that of the oldest as in arXiv 2108.08186.
MIDDLES = {
    **dict(zip(face_table.AGE_GROUPS_ADIENCE, (1, 5, 10, 17.5, 28.5, 40.5, 50.5, 80), strict=True)),
    **dict(zip(face_table.AGE_GROUPS_FAIRFACE[1:], (6, 14.5, 24.5, 34.5, 44.5, 54.5, 64.5, 75), strict=True)),
}
SAME_PICTURE, NEAR_TWIN, SAME_PERSON = "same picture", "near twin", "same person"
OTHER_PEOPLE = "other people of "
# What is judged: a label and a metric; the last is the relaxed accuracy of arXiv 2108.08186.
MEASURES = {"gender": ("accuracy",), AGE_8: ("accuracy", "one_off"), AGE_101: ("accuracy", "relaxed_age")}
PAIRS = ["task", "metric", "first", "second", "difference", "low", "high", "p", "p_holm", "repeats"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """The target and the other data sets, which show none of its people and pictures.

    Attributes
    ----------
    multi : MultiDataset
        All sets; of the others the faces that are left.
    target : str
    removed : pandas.DataFrame
        face_id, dataset, reason ('same picture', 'near twin' or 'same person'), shared_with (a face of the
        target, of those with the same picture where there is one): the faces of other sets that were removed.
    """

    multi: MultiDataset
    target: str
    removed: pd.DataFrame

    @property
    def others(self) -> list[str]:
        """Names of the other data sets."""
        return [name for name in self.multi.datasets if name != self.target]

    def rows(self, *, of_target: bool) -> np.ndarray:
        """Return the rows of the target, or those of the other sets."""
        return np.flatnonzero((self.multi.faces["dataset"] == self.target).to_numpy() == of_target)

    def shared(self) -> int:
        """Count the faces of other sets that show a person, picture or near twin of the target; none are left."""
        return len(_shared(self.multi, self.target))

    def count_removed(self) -> pd.DataFrame:
        """Count by data set and reason: dataset, faces (before), left, and removed faces by reason."""
        records = []
        for name in dict.fromkeys([*self.others, *self.removed["dataset"]]):
            gone = self.removed[self.removed["dataset"] == name]
            left = len(self.multi.rows_of(name))
            counts = {
                reason: int((gone["reason"] == reason).sum())
                for reason in (SAME_PICTURE, NEAR_TWIN, SAME_PERSON)
            }
            records.append({"dataset": name, "faces": left + len(gone), **counts, "left": left})
        return pd.DataFrame(records)


@dataclass(frozen=True)
class Options:
    """How the three strategies train.

    Attributes
    ----------
    settings : mapping
        Of every net, fields of `training.Settings`.
    fine_tuning : mapping
        What is different where a pre-trained net is fine-tuned: learning_rate, lr_multipliers, epochs ...
    scheme : {'official', 'identity'}
        Of the target's folds.
    n_repeats, n_folds : int
        Repeats differ by initial weights, batches and validation rows ('identity': also by folds).
    validation : float in 0..1
        Share of the training rows that chooses epochs.
    seed : int
    folder : path, optional
        For checkpoints: a run that was stopped goes on.
    """

    settings: Mapping = field(default_factory=dict)
    fine_tuning: Mapping = field(default_factory=dict)
    scheme: str = "official"
    n_repeats: int = 5
    n_folds: int = 5
    validation: float = 0.15
    seed: int = 0
    folder: Path | None = None


@dataclass(frozen=True, eq=False)
class Transfer:
    """What the three strategies reach on the target's test folds.

    Attributes
    ----------
    tables : dict of (strategy, label) to pandas.DataFrame
        Predictions, one row a face, repeat and fold.
    values : pandas.DataFrame
        task, strategy, repeat, metric, value, n: mean over the folds of a repeat, weighed by test faces.
    figures : pandas.DataFrame
        task, metric, strategy, value, low, high (95 %, corrected for overlapping training sets), sd_folds,
        sd_seeds, n (test faces of all folds).
    differences : pandas.DataFrame
        task, metric, first, second, difference, low, high, p, p_holm, repeats: Nadeau and Bengio's corrected t
        over the folds, Holm's p over the pairs of a figure.
    pre_training : pandas.DataFrame
        task, repeat, metric, value, n: the pre-trained nets on faces of the other sets that neither trained
        nor chose; n_train.
    sizes : pandas.DataFrame
        task, strategy, n_train, n_validation: rows of a fit, mean; of 'pre-trained' those of fine-tuning.
    """

    tables: dict[tuple[str, str], pd.DataFrame]
    values: pd.DataFrame
    figures: pd.DataFrame
    differences: pd.DataFrame
    pre_training: pd.DataFrame
    sizes: pd.DataFrame


# --------------------------------------------------------------------------- data


def read_from(labels: Sequence[str]) -> list[str]:
    """Return the labels of a face table that `labels` are made from; see `prepare`."""
    return list(dict.fromkeys("age_group" if name in (AGE_8, AGE_101) else name for name in labels))


def prepare(multi: MultiDataset, target: str, labels: Sequence[str]) -> Prepared:
    """Give all sets the same labels, and remove the faces of other sets that the target shows too.

    Parameters
    ----------
    multi : MultiDataset
        The target and others; with the target alone, half of its people stand for another set.
    target : str
        Name of the set that is fine-tuned on and tested.
    labels : sequence of str
        'age_8' (Adience's groups) and 'age_101' (single years) are made from ages in years, or from the middles
        of age groups; others are read as they are.

    Raises
    ------
    MultiDatasetError
        The target is none of the sets, or no face of another set is left.
    """
    if target not in multi.datasets:
        raise MultiDatasetError(f"target={target!r}; allowed is one of the data sets {multi.datasets}")
    multi, target = _with_other_people(multi, target)
    faces = multi.faces.assign(**_ages(multi.faces)) if {AGE_8, AGE_101} & set(labels) else multi.faces
    multi = replace(multi, faces=faces, labels={name: _read(faces, name) for name in labels})
    gone = _shared(multi, target)
    left = np.setdiff1d(np.arange(len(faces)), gone)
    prepared = Prepared(multi_dataset.take(multi, left), target, _list_removed(multi, target, gone))
    if not prepared.others:
        raise MultiDatasetError(
            f"all {len(gone):,} faces of the other sets show people or pictures of {target}; give a data set of others"
        )
    return prepared


def _with_other_people(multi: MultiDataset, target: str) -> tuple[MultiDataset, str]:
    """Call half of the people of a single data set another one."""
    if len(multi.datasets) > 1:
        return multi, target
    people = row_groups.whole(multi.groups)
    others = np.random.default_rng(0).permutation(np.unique(people))[: len(np.unique(people)) // 2]
    names = np.where(np.isin(people, others), f"{OTHER_PEOPLE}{target}", target)
    return replace(multi, faces=multi.faces.assign(dataset=names)), target


def _ages(faces: pd.DataFrame) -> dict[str, pd.Series]:
    """Return years (float, NA where unknown) and Adience's group of each face."""
    years = faces["age"].astype("Float64")
    years = years.fillna(faces["age_group"].astype(object).map(MIDDLES).astype("Float64"))
    return {AGE_101: years, AGE_8: face_table.age_to_group(years)}


def _read(faces: pd.DataFrame, name: str) -> tasks.Labels:
    if name != AGE_101:
        return tasks.read_labels(faces, name)
    # All years are classes, whether they occur or not, so that nets of every set have the same outputs.
    years = faces[AGE_101].to_numpy(dtype=float, na_value=np.nan)
    whole = np.clip(np.round(np.nan_to_num(years)), YEARS[0], YEARS[-1]).astype(np.int64)
    codes = np.where(np.isnan(years), tasks.MISSING, whole)
    task = tasks.Task(AGE_101, tasks.ORDERED, tuple(map(str, YEARS)), "years", YEARS)
    return tasks.Labels(task, codes, np.where(np.isnan(years), np.nan, whole))


def _shared(multi: MultiDataset, target: str) -> np.ndarray:
    """Rows of other sets whose picture, near twin or person the target has too."""
    own = (multi.faces["dataset"] == target).to_numpy()
    return np.flatnonzero(row_groups.leaked_rows(multi.groups, fitted=own, test=~own))


def _list_removed(multi: MultiDataset, target: str, rows: np.ndarray) -> pd.DataFrame:
    ids, names = multi.faces["face_id"].to_numpy(), multi.faces["dataset"].to_numpy()
    records = []
    for row in rows:
        reason, partner = SAME_PERSON, None
        for why, groups in (
            (SAME_PICTURE, multi.copies),
            (NEAR_TWIN, multi.twins),
            (SAME_PERSON, multi.groups),
        ):
            alike = (
                np.flatnonzero((groups == groups[row]) & (names == target))
                if groups[row] != row_groups.ALONE
                else []
            )
            if len(alike):
                reason, partner = why, ids[alike[0]]
                break
        records.append((ids[row], names[row], reason, partner))
    return pd.DataFrame(records, columns=["face_id", "dataset", "reason", "shared_with"])


# --------------------------------------------------------------------------- training


@dataclass(frozen=True)
class _Splits:
    """Rows of the whole table: of the target's folds, and of the other sets once a repeat."""

    local: list  # of the target's own table
    folds: list
    others: list


def run(prepared: Prepared, options: Options) -> Transfer:
    """Train by all three strategies, label by label, and compare them on the target's test folds.

    Raises
    ------
    MultiDatasetError
        The other sets show people or pictures of the target.
    """
    if prepared.shared():
        raise MultiDatasetError(
            f"{prepared.shared():,} faces of {prepared.others} show people or pictures of {prepared.target}, which is "
            "tested on; remove them first (transfer.prepare)"
        )
    labels = list(prepared.multi.labels)
    predicted, before, sizes = zip(*(_run(prepared, label, options) for label in labels), strict=True)
    judged = zip(*(_judge(label, of) for label, of in zip(labels, predicted, strict=True)), strict=True)
    tables = {
        (name, label): of[name] for label, of in zip(labels, predicted, strict=True) for name in STRATEGIES
    }
    return Transfer(tables, *(pd.concat(each, ignore_index=True) for each in (*judged, before, sizes)))


def _run(prepared: Prepared, label: str, options: Options):
    from faceworkbook.training import batched

    labels, matrix = prepared.multi.labels[label], prepared.multi.matrix
    rows, splits = prepared.rows(of_target=True), _plan(prepared, label, options)
    own = batched.with_settings(batched.defaults(labels.task), **options.settings)
    fine = batched.with_settings(own, **options.fine_tuning)
    repeats = [split.repeat for split in splits.folds]
    seeds = [options.seed + repeat for repeat in repeats]
    kept = {"seeds": seeds, "folder": options.folder}
    pre = batched.fit(matrix, labels, splits.others, own, seeds=sorted({*seeds}), folder=options.folder)
    start = batched.Start.of_stack(pre, repeats)
    together = [
        replace(fold, train=np.sort(np.concatenate([fold.train, splits.others[fold.repeat].train])))
        for fold in splits.folds
    ]
    stacks = {
        RANDOM: batched.fit(matrix, labels, splits.folds, own, **kept),
        PRE_TRAINED: batched.fit_from(start, matrix, labels, splits.folds, fine, **kept),
        TOGETHER: batched.fit(matrix, labels, together, own, **kept),
    }
    faces, local = prepared.multi.faces.iloc[rows].reset_index(drop=True), labels.take(rows)
    made = {name: _fits(stack, local, splits.local, matrix[rows]) for name, stack in stacks.items()}
    tables = {name: cross_validation.predictions(fits, faces) for name, fits in made.items()}
    sizes = [
        (label, name, np.mean([len(s.train) for s in of]), np.mean([len(s.validation) for s in of]))
        for name, of in ((RANDOM, splits.folds), (PRE_TRAINED, splits.folds), (TOGETHER, together))
    ]
    counted = pd.DataFrame(sizes, columns=["task", "strategy", "n_train", "n_validation"])
    return tables, _judge_pre_training(prepared, label, pre, splits.others), counted


def _plan(prepared: Prepared, label: str, options: Options) -> _Splits:
    from faceworkbook import training

    multi, rows = prepared.multi, prepared.rows(of_target=True)
    own = multi_dataset.take(multi, rows)
    local = training.plan(
        multi_dataset.with_joined_people(own),
        label=tasks.source_columns(own.faces, label),
        scheme=options.scheme,
        n_repeats=options.n_repeats,
        seed=options.seed,
        keep_together=own.copies,
        **({"n_folds": options.n_folds} if options.scheme == "identity" else {}),
        validation=options.validation,
    )
    folds = [
        replace(
            s,
            train=rows[s.train],
            validation=rows[s.validation],
            test=rows[s.test],
            contradicting=rows[s.contradicting],
        )
        for s in local
    ]
    away = prepared.rows(of_target=False)
    others = replace(multi_dataset.take(multi, away), labels={label: multi.labels[label].take(away)})
    drawn = [
        multi_dataset.split(others, seed=options.seed + repeat, test=0.1, validation=0.1)
        for repeat in range(options.n_repeats)
    ]
    return _Splits(
        local,
        folds,
        [replace(s, train=away[s.train], validation=away[s.validation], test=away[s.test]) for s in drawn],
    )


def _fits(stack, labels: tasks.Labels, splits: list, matrix: np.ndarray) -> FoldFits:
    from faceworkbook.training.folds import FoldFits

    return FoldFits(labels, tuple(splits), stack.predict(matrix), stack.history, "mlp")


# --------------------------------------------------------------------------- judging


def _measures(label: str, task: tasks.Task) -> tuple[str, ...]:
    return MEASURES.get(label, (task.headline,))


def _judge(label: str, predicted: dict[str, pd.DataFrame]):
    task = cross_validation.tables.task_of(predicted[RANDOM])
    values, figures, differences = [], [], []
    for metric in _measures(label, task):
        for name, table in predicted.items():
            scored = _score(table, metric)
            row = cross_validation.summary(scored).iloc[0]
            means = scored.groupby("repeat")[[f"test_{metric}", "n_test"]].apply(
                lambda own, metric=metric: np.average(own[f"test_{metric}"], weights=own["n_test"])
            )
            n = int(scored["n_test"].sum() / scored["repeat"].nunique())
            values += [(label, name, repeat, metric, value, n) for repeat, value in means.items()]
            figures.append(
                {
                    "task": label,
                    "metric": metric,
                    "strategy": name,
                    "value": row["mean"],
                    **row[["low", "high", "sd_folds", "sd_seeds"]],
                    "n": n,
                }
            )
        pairs = comparison.compare(predicted, metric=metric, margin=0.0, n_boot=200).chosen
        repeats = predicted[RANDOM]["repeat"].nunique()
        differences.append(pairs.assign(task=label, metric=metric, repeats=repeats)[PAIRS])
    values = pd.DataFrame(values, columns=["task", "strategy", "repeat", "metric", "value", "n"])
    return values, pd.DataFrame(figures), pd.concat(differences, ignore_index=True)


def _score(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Score every fit as `cross_validation.scores` does, from its predictions."""
    fits = comparison.fold_values(table, metric=metric)
    sizes = comparison.training_sizes(table).rename("n_train").reset_index()
    return fits.merge(sizes, on=["repeat", "fold"]).rename(columns={"value": f"test_{metric}", "n": "n_test"})


def _judge_pre_training(prepared: Prepared, label: str, stack, splits: list) -> pd.DataFrame:
    labels, records = prepared.multi.labels[label], []
    metric = _measures(label, labels.task)[-1]
    for repeat, split in enumerate(splits):
        test = split.test[labels.known[split.test]]
        output = stack.predict(prepared.multi.matrix[test])[repeat]
        table = cross_validation.tables.build(
            prepared.multi.faces.iloc[test],
            labels.task,
            truth=labels.truth[test],
            output=output,
            split="test",
        )
        value = metrics.pick(metric, labels.task).value(metrics.rows_of(table))
        records.append((label, repeat, metric, float(value), len(test), len(split.train)))
    return pd.DataFrame(records, columns=["task", "repeat", "metric", "value", "n", "n_train"])

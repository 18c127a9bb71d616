"""What to do about a group that is served worse: reweighing, balancing, thresholds, measured.

Weights and extra copies touch training rows only; thresholds are chosen on validation rows; every
remedy is shown as a before / after table with the overall and the worst group's figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from faceworkbook.evaluation import comparison, groups, intervals, metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.groups import Attribute, GroupsError
from faceworkbook.tasks import Task

MITIGATIONS = ("reweighing", "balancing", "thresholds", "equalised odds")
CONSTRAINTS = (
    "equalized_odds",
    "true_positive_rate_parity",
    "false_positive_rate_parity",
    "demographic_parity",
)


def reweigh(labels: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Weights that make label and group independent (Kamiran and Calders 2012).

    Parameters
    ----------
    labels, group : array-like of shape (n,)
        Of the training rows.

    Returns
    -------
    ndarray of shape (n,), mean 1
        P(group) P(label) / P(group, label).
    """
    joint = pd.DataFrame({"label": np.asarray(labels, dtype=str), "group": np.asarray(group, dtype=str)})
    n = len(joint)
    size = {
        name: joint.groupby(keys)["label"].transform("size").to_numpy()
        for name, keys in (("label", ["label"]), ("group", ["group"]), ("both", ["label", "group"]))
    }
    return size["label"] * size["group"] / (n * size["both"])


def balance(labels: np.ndarray, group: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Positions that repeat training rows until every label has as many rows in each group.

    Returns
    -------
    ndarray of int
        Every row once, then rows drawn with replacement from the cells that are short.
    """
    cells = pd.Series(list(zip(np.asarray(labels, dtype=str), np.asarray(group, dtype=str), strict=True)))
    members = cells.groupby(cells).indices
    rng = np.random.default_rng(seed)
    extra = []
    for (label, _), rows in sorted(members.items()):
        wanted = max(len(other) for (name, _), other in members.items() if name == label)
        extra.append(rng.choice(rows, wanted - len(rows)))
    return np.concatenate([np.arange(len(cells)), *extra]).astype(int)


def group_thresholds(table: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """Decide two classes with each group's own best threshold, chosen on validation rows.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions of two classes with `attribute` and rows of parts 'validation' and 'test'.

    Returns
    -------
    pandas.DataFrame
        The table with new ``predicted`` in the test rows; probabilities stay. Each threshold is the
        one with the highest balanced accuracy on the group's validation rows.

    Raises
    ------
    GroupsError
        Not two classes, no validation rows, or a test group without validation rows of both classes.
    """
    scored = _read_scores(table, attribute)
    threshold = {}
    for name in np.unique(scored.group[scored.validation]):
        rows = scored.validation & (scored.group == name)
        wrong, right, at = roc_curve(scored.truth[rows], scored.score[rows], drop_intermediate=False)
        threshold[name] = at[np.argmax(right - wrong)]
    own = np.array([threshold.get(name, np.nan) for name in scored.group])
    return _decide(table, scored, scored.score[scored.test] >= own[scored.test])


def equalise_odds(
    table: pd.DataFrame,
    attribute: str,
    *,
    constraint: str = "equalized_odds",
    objective: str = "balanced_accuracy_score",
    seed: int = 0,
) -> pd.DataFrame:
    """Decide two classes so that error rates are equal between groups on validation rows.

    Parameters
    ----------
    table : pandas.DataFrame
        As for `group_thresholds`.
    constraint : {'equalized_odds', 'true_positive_rate_parity', 'false_positive_rate_parity', 'demographic_parity'}
        What is to be equal (Hardt et al. 2016, fairlearn's ThresholdOptimizer).

    Returns
    -------
    pandas.DataFrame
        The table with new ``predicted`` in the test rows. Between two thresholds the method tosses a
        coin, with `seed`: groups are made equal by making the better served ones worse.
    """
    if constraint not in CONSTRAINTS:
        raise GroupsError(f"constraint={constraint!r}; allowed are {list(CONSTRAINTS)}")
    scored = _read_scores(table, attribute)
    optimiser = ThresholdOptimizer(
        estimator=_Given(), constraints=constraint, objective=objective, prefit=True,
        predict_method="predict_proba",
    )  # fmt: skip
    seen, test, column = scored.validation, scored.test, scored.score[:, None]
    optimiser.fit(column[seen], scored.truth[seen].astype(int), sensitive_features=scored.group[seen])
    said = optimiser.predict(column[test], sensitive_features=scored.group[test], random_state=seed)
    return _decide(table, scored, np.asarray(said, dtype=int))


def try_mitigations(
    matrix: np.ndarray,
    faces: pd.DataFrame,
    *,
    target: str,
    attribute: str,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    strength: float = 1e-3,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """Fit the logistic reference plainly and with each remedy, on the same rows.

    Parameters
    ----------
    matrix : ndarray of shape (n, d)
        Descriptors of `faces`.
    target, attribute : str
        Columns of labels; rows that lack either are left out.
    train, validation, test : ndarray of int
        Positions.
    strength : float
        C of the logistic regression on standardised descriptors.

    Returns
    -------
    dict of str to pandas.DataFrame
        'before', 'reweighing', 'balancing' and, where `why_no_thresholds` has nothing against it,
        'thresholds' and 'equalised odds': predictions of validation and test rows, with the attribute.
    """
    known = (faces[target].notna() & faces[attribute].notna()).to_numpy()
    train, validation, test = (np.asarray(rows)[known[rows]] for rows in (train, validation, test))
    labels, group = faces[target].astype(str).to_numpy(), faces[attribute].astype(str).to_numpy()
    copies = balance(labels[train], group[train], seed=seed)
    ways = {
        "before": (train, None),
        "reweighing": (train, reweigh(labels[train], group[train])),
        "balancing": (train[copies], None),
    }
    task = Task(target, classes=[name for name in groups.levels(faces[target]) if name in set(labels[train])])
    found = {}
    for name, (rows, weight) in ways.items():
        model = _fit_logistic(matrix[rows], labels[rows], weight, strength=strength)
        found[name] = _predict(model, matrix, faces, labels, task, validation, test).assign(
            **{attribute: np.concatenate([group[validation], group[test]])}
        )
    if not why_no_thresholds(found["before"], attribute):
        found["thresholds"] = group_thresholds(found["before"], attribute)
        found["equalised odds"] = equalise_odds(found["before"], attribute, seed=seed)
    return found


def why_no_thresholds(table: pd.DataFrame, attribute: str) -> str:
    """Why thresholds by group cannot be chosen from the validation rows; empty where they can."""
    try:
        _read_scores(table, attribute)
    except GroupsError as reason:
        return str(reason)
    return ""


def before_after(
    ways: Mapping[str, pd.DataFrame],
    attribute: Attribute,
    *,
    metric: str = "balanced_accuracy",
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = groups.SMALL,
) -> pd.DataFrame:
    """Overall and worst-group figures of each way beside those of the first, with paired intervals.

    Parameters
    ----------
    ways : mapping of str to pandas.DataFrame
        Predictions of the same rows with the attribute; the first is 'before'.

    Returns
    -------
    pandas.DataFrame
        way, overall, overall_low, overall_high, overall_change (with _low, _high), worst, worst_value,
        worst_value_low, worst_value_high, gap, gap_low, gap_high, gap_p, and target_change (with _low, _high):
        the paired change in the group that was worst before.
    """
    (first, before), *_ = ways.items()
    target = groups.gaps(
        before, attribute, names=[metric], subset=subset, seed=seed, n_boot=n_boot, small=small
    )
    worst_before = target["worst"].iloc[0]
    records = []
    for name, table in ways.items():
        overall = metrics.summary(table, subset=subset, names=[metric], seed=seed, n_boot=n_boot).iloc[0]
        gap = groups.gaps(
            table, attribute, names=[metric], subset=subset, seed=seed, n_boot=n_boot, small=small
        )
        each = groups.by_group(table, attribute, names=[metric], subset=subset, seed=seed, n_boot=n_boot)
        gap, each = gap.iloc[0], each.set_index("group")
        record = {
            "way": name, "overall": overall["value"], "overall_low": overall["low"],
            "overall_high": overall["high"], "worst": gap["worst"], "worst_value": gap["worst_value"],
            "worst_value_low": each["low"].get(gap["worst"], np.nan),
            "worst_value_high": each["high"].get(gap["worst"], np.nan),
            "gap": gap["gap"], "gap_low": gap["low"], "gap_high": gap["high"], "gap_p": gap["p"],
        }  # fmt: skip
        in_group = {key: _rows_of(t, attribute, worst_before) for key, t in ((first, before), (name, table))}
        for label, pair in (("overall", {first: before, name: table}), ("target", in_group)):
            change = _change(pair, metric, subset=subset, seed=seed, n_boot=n_boot)
            record |= {
                f"{label}_change{end}": value
                for end, value in zip(("", "_low", "_high"), change, strict=True)
            }
        records.append(record | {"target": worst_before})
    return pd.DataFrame(records)


def tell(changes: pd.DataFrame, metric: str = "balanced accuracy") -> list[str]:
    """One sentence a remedy: did it help the group that was worst before, and what did it cost overall?

    Parameters
    ----------
    changes : pandas.DataFrame
        Of `before_after`.
    """
    sentences = []
    for row in changes.iloc[1:].itertuples():
        target = _say_change(row.target_change, row.target_change_low, row.target_change_high)
        overall = _say_change(row.overall_change, row.overall_change_low, row.overall_change_high)
        sentences.append(
            f"{row.way}: {metric} of {row.target or 'no group'} {target}; of all faces {overall}"
        )
    return sentences


def _say_change(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "not known"
    seen = "no change seen" if low <= 0 <= high else "rises" if value > 0 else "falls"
    return f"{seen} ({value:+.3f} [{low:+.3f}, {high:+.3f}])"


class _Given(ClassifierMixin, BaseEstimator):
    """Hands on the probability that it is given, so that fairlearn can move its thresholds."""

    def fit(self, x, y):
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, x):
        return (np.asarray(x)[:, 0] > 0.5).astype(int)

    def predict_proba(self, x):
        second = np.asarray(x)[:, 0]
        return np.column_stack([1 - second, second])


@dataclass(frozen=True)
class _Scored:
    """Two-class scores with groups; `validation` and `test` are masks."""

    score: np.ndarray
    truth: np.ndarray
    group: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def _read_scores(table: pd.DataFrame, attribute: str) -> _Scored:
    classes = tables.class_names(table)
    if len(classes) != 2:
        raise GroupsError(f"thresholds by group need two classes, the table has {classes or 'numbers'}")
    known = table[attribute].notna().to_numpy()
    validation, test = (known & (table["split"] == part).to_numpy() for part in ("validation", "test"))
    _require_both_classes(table[validation], table[test], attribute)
    return _Scored(
        table[tables.PROBABILITY + classes[1]].to_numpy(dtype=float),
        (table["truth"] == classes[1]).to_numpy(dtype=bool),
        table[attribute].astype(str).to_numpy(dtype=object),
        validation,
        test,
    )


def _decide(table: pd.DataFrame, scored: _Scored, said: np.ndarray) -> pd.DataFrame:
    predicted = table["predicted"].to_numpy(dtype=object).copy()
    predicted[scored.test] = np.asarray(tables.class_names(table), dtype=object)[said.astype(int)]
    return table.assign(predicted=predicted)


def _require_both_classes(validation: pd.DataFrame, test: pd.DataFrame, attribute: str) -> None:
    if validation.empty:
        raise GroupsError("no validation rows with the attribute; thresholds must not be chosen on test rows")
    seen = validation.groupby(validation[attribute].astype(str))["truth"].nunique()
    lacking = sorted(set(test[attribute].astype(str)) - set(seen.index[seen == 2]))
    if lacking:
        raise GroupsError(
            f"{attribute} {lacking} lack validation rows of both classes; "
            "merge small groups or give more validation rows"
        )


def _fit_logistic(matrix: np.ndarray, labels: np.ndarray, weight, *, strength: float):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=400))
    return model.fit(matrix, labels, logisticregression__sample_weight=weight)


def _predict(model, matrix, faces, labels, task: Task, validation, test) -> pd.DataFrame:
    rows = np.concatenate([validation, test])
    return tables.build(
        faces.iloc[rows],
        task,
        truth=labels[rows].astype(object),
        output=tables.outputs_of(model, matrix[rows], task),
        split=np.repeat(["validation", "test"], [len(validation), len(test)]),
    )


def _rows_of(table: pd.DataFrame, attribute: Attribute, group: str) -> pd.DataFrame:
    columns = [attribute] if isinstance(attribute, str) else list(attribute)
    names = table[columns].astype(str).agg(" x ".join, axis=1)
    return table[names == group]


def _change(pair: dict, metric: str, *, subset: str, seed: int, n_boot: int) -> tuple[float, float, float]:
    """After minus before with its paired interval; zeros for the first way, NaN without a worst group."""
    if any(table.empty for table in pair.values()):
        return np.nan, np.nan, np.nan
    if len(pair) < 2:
        return 0.0, 0.0, 0.0
    before, after = pair
    found = comparison.compare({after: pair[after], before: pair[before]}, metric=metric, subset=subset,
                               seed=seed, n_boot=n_boot).pairs  # fmt: skip
    row = found[found["test"] == "paired bootstrap"].iloc[0]
    return row["difference"], row["low"], row["high"]

"""What to do about a group that is served worse: reweighing, balancing, thresholds, measured.

Weights and repeated rows touch training rows only; thresholds are chosen on validation rows; every mitigation
stands beside the figures before it, over all faces and in the worst group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import roc_curve

from faceworkbook import linear
from faceworkbook.evaluation import comparison, groups, intervals, metrics, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.groups import Attribute, GroupsError
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.splits import SUBSETS
from faceworkbook.training import balancing

MITIGATIONS = ("reweighing", "balancing", "thresholds", "equalised odds")
CONSTRAINTS = (
    "equalized_odds",
    "true_positive_rate_parity",
    "false_positive_rate_parity",
    "demographic_parity",
)


def group_thresholds(table: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """Decide two classes with each group's own best threshold, chosen on validation rows.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions of two classes with `attribute` and rows of the subsets 'validation' and 'test'.

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
    decided = optimiser.predict(column[test], sensitive_features=scored.group[test], random_state=seed)
    return _decide(table, scored, np.asarray(decided, dtype=int))


def try_mitigations(
    data: PreparedData, attribute: str, *, strength: float = 1e-3, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Fit logistic regression plainly and with each mitigation, on the same rows.

    Parameters
    ----------
    data : PreparedData
        Faces without the label or the attribute are left out.
    attribute : str
        Column of the face table.
    strength : float
        C of the logistic regression on standardised descriptors.

    Returns
    -------
    dict of str to pandas.DataFrame
        'before', 'reweighing', 'balancing' and, where `why_no_thresholds` has nothing against it,
        'thresholds' and 'equalised odds': predictions of validation and test rows, with the attribute.
    """
    known = data.labels.known & data.faces[attribute].notna().to_numpy()
    rows = {subset: own[known[own]] for subset in SUBSETS for own in [getattr(data.split, subset)]}
    truth, group = data.labels.truth, data.faces[attribute].astype("string").to_numpy(dtype=object)
    train = rows["train"]
    labels = truth[train].astype(str)
    repeated = train[balancing.balance(labels, group[train], seed=seed)]
    fits = {
        "before": (train, None),
        "reweighing": (train, balancing.reweigh(labels, group[train])),
        "balancing": (repeated, None),
    }
    present = set(labels)
    task = data.labels.task.keep([name for name in data.labels.classes if name in present])
    judged = np.concatenate([rows["validation"], rows["test"]])
    subset = np.repeat(["validation", "test"], [len(rows["validation"]), len(rows["test"])])
    tried = {}
    for name, (own, weight) in fits.items():
        model = linear.fit(
            data.matrix[own],
            truth[own].astype(str),
            strength=strength,
            sample_weight=weight,
            max_iter=400,
            tol=1e-4,
        )
        output = tables.outputs_of(model, data.matrix[judged], task)
        table = tables.build(data.faces.iloc[judged], task, truth=truth[judged], output=output, split=subset)
        tried[name] = table.assign(**{attribute: group[judged]})
    if not why_no_thresholds(tried["before"], attribute):
        tried["thresholds"] = group_thresholds(tried["before"], attribute)
        tried["equalised odds"] = equalise_odds(tried["before"], attribute, seed=seed)
    return tried


def why_no_thresholds(table: pd.DataFrame, attribute: str) -> str:
    """Return why thresholds by group cannot be chosen from the validation rows; empty where they can."""
    try:
        _read_scores(table, attribute)
    except GroupsError as reason:
        return str(reason)
    return ""


def compare_with_before(
    tried: Mapping[str, pd.DataFrame],
    attribute: Attribute,
    *,
    metric: str = "balanced_accuracy",
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
    small: int = groups.SMALL,
) -> pd.DataFrame:
    """Return overall and worst-group figures of each mitigation beside those before, with paired intervals.

    Parameters
    ----------
    tried : mapping of str to pandas.DataFrame
        Predictions of the same rows with the attribute; the first is 'before'.

    Returns
    -------
    pandas.DataFrame
        mitigation, overall, overall_low, overall_high, worst, worst_value, worst_value_low,
        worst_value_high (an interval that holds for all groups, for the worst is picked after looking), gap,
        gap_low, gap_high, gap_p, worst_before (the group that was worst before), picked_on ('validation', or the
        subset itself where the validation rows lack groups), and overall_change and worst_before_change (each
        with _low, _high, _p and _p_holm): paired changes to 'before', adjusted over the mitigations. A group that is picked for its bad figure does better on
        the next rows whatever is done, so it is picked on rows that the changes are not judged on.
    """
    options = {"subset": subset, "seed": seed, "n_boot": n_boot}
    before = next(iter(tried.values()))
    worst_before, picked_on = _pick_worst(before, attribute, metric=metric, subset=subset, small=small)
    records = []
    for name, table in tried.items():
        overall = metrics.summary(table, names=[metric], **options).iloc[0]
        gap = groups.gaps(table, attribute, names=[metric], small=small, **options).iloc[0]
        record = {
            "mitigation": name, "overall": overall["value"], "overall_low": overall["low"],
            "overall_high": overall["high"], "worst": gap["worst"], "worst_value": gap["worst_value"],
            "worst_value_low": gap["worst_value_low"], "worst_value_high": gap["worst_value_high"],
            "gap": gap["gap"], "gap_low": gap["low"], "gap_high": gap["high"], "gap_p": gap["p"],
            "worst_before": worst_before, "picked_on": picked_on,
        }  # fmt: skip
        inside = [_rows_of(one, attribute, worst_before) for one in (before, table)]
        for label, pair in (("overall", [before, table]), ("worst_before", inside)):
            moved = _change(*pair, metric=metric, **options)
            record |= {
                f"{label}_change": moved["difference"],
                f"{label}_change_low": moved["low"],
                f"{label}_change_high": moved["high"],
                f"{label}_change_p": moved["p"],
            }
        records.append(record)
    return _adjust(pd.DataFrame(records))


def _adjust(changes: pd.DataFrame) -> pd.DataFrame:
    """Add p values adjusted over the mitigations (Holm), for the first row is what the others are compared with."""
    for label in ("overall", "worst_before"):
        p = changes[f"{label}_change_p"].iloc[1:]
        changes[f"{label}_change_p_holm"] = np.nan
        changes.loc[p.index[p.notna()], f"{label}_change_p_holm"] = significance.holm(p.dropna())
    return changes


def _pick_worst(
    before: pd.DataFrame, attribute: Attribute, *, metric: str, subset: str, small: int
) -> tuple[str, str]:
    """Return the group that is served worst on the validation rows (else on `subset`), and the rows it shows on."""
    judged = set(groups.by_group(before, attribute, names=[metric], subset=subset, small=small)["group"])
    for rows in dict.fromkeys(("validation", subset)):
        if not (before["split"] == rows).any():
            continue
        worst = groups.gaps(before, attribute, names=[metric], subset=rows, small=small).iloc[0]["worst"]
        if worst in judged:
            return worst, rows
    return "", subset


def describe_changes(changes: pd.DataFrame, metric: str = "balanced accuracy") -> list[str]:
    """Return a sentence a mitigation: did it help the group that was worst before, and what did it cost?

    Parameters
    ----------
    changes : pandas.DataFrame
        Of `compare_with_before`.
    """
    return [
        f"{row.mitigation}: {metric} of {row.worst_before or 'no group'} "
        f"{_describe_change(row, 'worst_before')}; of all faces {_describe_change(row, 'overall')}"
        for row in changes.iloc[1:].itertuples()
    ]


def _describe_change(row, label: str) -> str:
    value, low, high, p = (
        getattr(row, f"{label}_change{end}", np.nan) for end in ("", "_low", "_high", "_p_holm")
    )
    if np.isnan(value):
        return "is not known"
    if np.isnan(low):
        return f"changes by {value:+.3f} on these rows, of too few people to judge by"
    verb = "shows no significant change" if not p < significance.ALPHA else "rises" if value > 0 else "falls"
    return f"{verb} ({value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})"


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
        raise GroupsError(
            f"thresholds by group need two classes, the table has {classes or 'numbers'}; choose another mitigation"
        )
    known = table[attribute].notna().to_numpy()
    validation, test = (known & (table["split"] == subset).to_numpy() for subset in ("validation", "test"))
    _require_both_classes(table[validation], table[test], attribute)
    return _Scored(
        table[tables.PROBABILITY + classes[1]].to_numpy(dtype=float),
        (table["truth"] == classes[1]).to_numpy(dtype=bool),
        table[attribute].astype(str).to_numpy(dtype=object),
        validation,
        test,
    )


def _decide(table: pd.DataFrame, scored: _Scored, second: np.ndarray) -> pd.DataFrame:
    predicted = table["predicted"].to_numpy(dtype=object).copy()
    predicted[scored.test] = np.asarray(tables.class_names(table), dtype=object)[second.astype(int)]
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


def _rows_of(table: pd.DataFrame, attribute: Attribute, group: str) -> pd.DataFrame:
    columns = [attribute] if isinstance(attribute, str) else list(attribute)
    names = table[columns].astype(str).agg(" x ".join, axis=1)
    return table[names == group]


def _change(before: pd.DataFrame, after: pd.DataFrame, **options) -> dict[str, float]:
    if before.empty:
        return dict.fromkeys(("difference", "low", "high", "p"), np.nan)
    return comparison.paired_difference(after, before, **options)

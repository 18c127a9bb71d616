"""Which of these models differ? Runs in (their predictions), a table of pairs and sentences out.

The design decides the test. One test set: Cochran's Q (or its bootstrap counterpart) where there are
three or more, then exact McNemar for accuracy on independent faces, DeLong for a binary AUC, and the
paired bootstrap by identity for any metric; Holm over the pairs of each test. Repeated folds: the Nadeau-Bengio corrected t, and the 5x2cv
F test where the folds are five times two. Independent runs: Welch. The tests themselves are in
`faceworkbook.evaluation.significance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.evaluation import intervals, metrics, roc_area, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation import pseudo_replication as pseudo
from faceworkbook.evaluation.aligned_runs import (
    ComparisonError,
    find_predictions,
    read_runs,
    require_same_rows,
)
from faceworkbook.evaluation.comparison_tables import (
    POWER,
    faces_needed,
    format_p,
    make_overall_table,
    make_pairs_table,
)
from faceworkbook.evaluation.metrics import Metric, Rows
from faceworkbook.evaluation.significance import Result

__all__ = [
    "POWER",
    "Comparison",
    "ComparisonError",
    "choose",
    "compare",
    "compare_independent",
    "faces_needed",
    "fold_values",
    "format_p",
    "paired_difference",
    "pairs_of_rows",
    "pseudo_replication",
    "read_runs",
    "require_same_rows",
    "tests_of_all",
    "values_of_runs",
]


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    Attributes
    ----------
    metric : str
    runs : pandas.DataFrame
        run, value, low, high, n, n_identities, method.
    overall : pandas.DataFrame
        The test of all runs together (no row where there are two).
    pairs : pandas.DataFrame
        One row a pair and test: first, second, test, difference, low, high, p, p_holm, effect,
        effect_name, n, counted, faces_needed, verdict ('differ', 'no significant difference', 'not to be relied
        on'), sentence.
    """

    metric: str
    runs: pd.DataFrame
    overall: pd.DataFrame
    pairs: pd.DataFrame

    def __str__(self) -> str:
        return "\n".join([*self.overall.get("sentence", []), *self.pairs["sentence"]])


def compare(
    runs: Mapping[str, pd.DataFrame],
    *,
    metric: str = "accuracy",
    subset: str = "test",
    seed: int = 0,
    n_boot: int = intervals.N_BOOT,
) -> Comparison:
    """Compare two or more runs on the same rows, by the test that their design asks for.

    Parameters
    ----------
    runs : mapping of str to pandas.DataFrame
        Predictions by the name of the run.
    metric : str
        Any metric of `faceworkbook.evaluation.metrics` that the tables allow.

    Raises
    ------
    ComparisonError
        Fewer than two runs, or runs whose test rows, labels, people or class orders differ.
    """
    aligned = require_same_rows(runs, subset=subset)
    rows = {name: metrics.rows_of(table, subset=None) for name, table in aligned.items()}
    chosen = metrics.pick(metric, next(iter(rows.values())).task)
    folds = next(iter(aligned.values()))[["repeat", "fold"]].drop_duplicates()
    if len(folds) > 1:
        results, overall = _pairs_of_folds(aligned, chosen), []
    else:
        results = pairs_of_rows(rows, chosen, seed=seed, n_boot=n_boot)
        overall = tests_of_all(rows, chosen, seed=seed, n_boot=n_boot) if len(rows) > 2 else []
    summaries = [
        metrics.summary(table, subset=subset, names=[metric], seed=seed, n_boot=n_boot).assign(run=name)
        for name, table in aligned.items()
    ]
    columns = ["run", "value", "low", "high", "n", "n_identities", "method"]
    return Comparison(
        metric,
        pd.concat(summaries, ignore_index=True)[columns],
        make_overall_table(overall, chosen),
        make_pairs_table(results, chosen, rows),
    )


def paired_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    metric: str = "accuracy",
    subset: str = "test",
    n_boot: int = intervals.N_BOOT,
    seed: int = 0,
) -> dict:
    """Compare two tables of predictions on the faces that both test.

    People (faces where people are unknown) are drawn with replacement, the same for both tables; a face of
    several repeats is drawn with all of them. See `significance.paired_bootstrap`.

    Returns
    -------
    dict
        metric, first, second (values on the common faces), difference, low, high (95 %), p, n (common faces),
        n_units (people or faces drawn).

    Raises
    ------
    PredictionsError
        No face in common.
    """
    tested = [table[table["split"] == subset] for table in (first, second)]
    common = set(tested[0]["face_id"]) & set(tested[1]["face_id"])
    if not common:
        raise tables.PredictionsError(f"the two tables have no face of subset {subset!r} in common")
    tested = [table[table["face_id"].isin(common)] for table in tested]
    units = np.split(intervals.resampling_units(pd.concat(tested)), [len(tested[0])])
    rows = [replace(metrics.rows_of(t, subset=None), units=u) for t, u in zip(tested, units, strict=True)]
    n_units = int(max(u.max() for u in units)) + 1
    chosen = metrics.pick(metric, rows[0].task)
    one, two = (chosen.statistic(r, n_units=n_units) for r in rows)
    result = significance.paired_bootstrap(_gap(one, two), n_units, seed=seed, n_boot=n_boot)
    everybody = np.ones((1, n_units))
    reach = chosen.bounds[1] - chosen.bounds[0]
    return {
        "metric": metric,
        "first": float(one(everybody)[0]),
        "second": float(two(everybody)[0]),
        "difference": result.difference,
        "low": max(result.low, -reach),
        "high": min(result.high, reach),
        "p": result.p,
        "n": len(common),
        "n_units": n_units,
    }


def choose(
    models: Mapping[str, pd.DataFrame], *, metric: str, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> pd.DataFrame:
    """Choose among models on the validation rows and show what each does on the test rows.

    Returns
    -------
    pandas.DataFrame
        model, metric, validation (the metric on validation rows), chosen (one True), value, low, high, n (test
        rows; the chosen model's figure is fair, for its test rows had no say in the choice).
    """
    options = {"names": [metric], "seed": seed, "n_boot": n_boot}
    table = metrics.summaries(models, subset="test", **options)
    held = [metrics.rows_of(table, subset="validation") for table in models.values()]
    of = metrics.pick(metric, held[0].task)
    table["validation"] = [of.value(rows) for rows in held]
    best = table["validation"].idxmin() if of.better == "lower" else table["validation"].idxmax()
    table["chosen"] = table.index == best
    return table[["model", "metric", "validation", "chosen", "value", "low", "high", "n"]]


def compare_independent(
    values: Mapping[str, Sequence[float]], *, metric: str = "accuracy", better: str | None = None
) -> pd.DataFrame:
    """Compare independent runs (own data and own seed each) by Welch's test, Holm over the pairs.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Values of the metric, one a run, by the model's name.
    better : {'higher', 'lower', 'zero'}, optional
        That of the metric of this name where None ('higher' for one that is not known).
    """
    results = [
        (a, b, significance.welch(np.asarray(values[a]), np.asarray(values[b])))
        for a, b in combinations(values, 2)
    ]
    known = metrics.find(metric)
    better = better or (known.better if known else "higher")
    named = Metric(metric, metric, better, lambda rows: rows.truth, None)
    return make_pairs_table(results, named, {})


def values_of_runs(
    runs: Sequence[str], *, metric: str = "accuracy", subset: str = "test", resolve=Path
) -> dict[str, list[float]]:
    """The metric of independent runs by model, for `compare_independent`.

    Parameters
    ----------
    runs : sequence of str
        ``"MODEL: FOLDER"``, a folder with ``predictions.parquet`` or a file of predictions; several
        runs bear the same model.
    resolve : callable, optional
        From the text of a folder to its path.
    """
    values: dict[str, list[float]] = {}
    for text in runs:
        model, colon, place = (piece.strip() for piece in text.partition(":"))
        if not (model and colon and place):
            raise ComparisonError(f'{text!r} is no independent run; expected "MODEL: FOLDER"')
        table = tables.read(find_predictions(Path(resolve(place))))
        rows = metrics.rows_of(table, subset=subset)
        values.setdefault(model, []).append(metrics.pick(metric, rows.task).value(rows))
    return values


def fold_values(predictions: pd.DataFrame, *, metric: str, subset: str | None = "test") -> pd.DataFrame:
    """The metric of every fit: a table of repeat, fold, n, value, rows_id (the same for the same test rows)."""
    chosen = predictions if subset is None else predictions[predictions["split"] == subset]
    records = []
    for (repeat, fold), table in chosen.groupby(["repeat", "fold"], sort=True):
        rows = metrics.rows_of(table, subset=None)
        value = metrics.pick(metric, rows.task).value(rows)
        name = significance.rows_id(table["face_id"])
        records.append({"repeat": repeat, "fold": fold, "n": len(table), "value": value, "rows_id": name})
    return pd.DataFrame(records)


def pairs_of_rows(
    rows: dict[str, Rows], metric: Metric, *, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> list[tuple[str, str, Result]]:
    """Every test that fits each pair of models on one test set; rows are aligned already."""
    statistics = {name: metric.statistic(subset) for name, subset in rows.items()}
    results = []
    for a, b in combinations(rows, 2):
        for result in _special_tests(rows[a], rows[b], metric):
            results.append((a, b, result))
        gap = _gap(statistics[a], statistics[b])
        paired = significance.paired_bootstrap(
            gap, rows[a].n_units, seed=seed, n_boot=n_boot, counted=_counted(rows[a])
        )
        results.append((a, b, paired))
    return results


def _special_tests(first: Rows, second: Rows, metric: Metric) -> list[Result]:
    """Tests made for this one metric; McNemar is marked invalid where people repeat."""
    if metric.name == "accuracy":
        return [replace(significance.mcnemar(_right(first), _right(second)), valid=_independent(first))]
    if metric.name == "auc" and len(first.classes) == 2:
        return [_delong(first, second)]
    return []


def _gap(first: intervals.Statistic, second: intervals.Statistic) -> intervals.Statistic:
    return lambda weights: first(weights) - second(weights)


def _delong(first: Rows, second: Rows) -> Result:
    units = None if _independent(first) else first.units
    return roc_area.delong(
        first.truth == 1, first.probabilities[:, 1], second.probabilities[:, 1], units=units
    )


def tests_of_all(
    rows: dict[str, Rows], metric: Metric, *, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> list[Result]:
    """The test of three or more models together on one test set; rows are aligned already."""
    first = next(iter(rows.values()))
    if metric.name == "accuracy" and _independent(first):
        return [significance.cochrans_q(np.column_stack([_right(subset) for subset in rows.values()]))]
    statistics = [metric.statistic(subset) for subset in rows.values()]
    return [
        significance.joint_bootstrap(
            lambda weights: np.column_stack([s(weights) for s in statistics]),
            first.n_units, seed=seed, n_boot=n_boot, counted=_counted(first),
        )
    ]  # fmt: skip


def _pairs_of_folds(runs: dict[str, pd.DataFrame], metric: Metric):
    values = {name: fold_values(table, metric=metric.name, subset=None) for name, table in runs.items()}
    table = next(iter(values.values()))
    n_test = table["n"].mean()
    # Within one repeat every face is tested once, and trains in the other folds.
    n_train = table.groupby("repeat")["n"].sum().mean() - n_test
    if n_train <= 0:
        raise ComparisonError(
            "every repeat has one fold only, so the training rows are unknown; "
            "compare repeated k-fold runs with two folds or more"
        )
    results = []
    for a, b in combinations(runs, 2):
        d = (values[a]["value"] - values[b]["value"]).to_numpy()
        # Repeats of official folds test the same rows again: they count once.
        apart = pd.Series(d).groupby(table["rows_id"].to_numpy()).mean().to_numpy()
        corrected = significance.nadeau_bengio(apart, n_train=round(n_train), n_test=round(n_test))
        results.append((a, b, corrected))
        if table.groupby("repeat").size().tolist() == [2] * 5:
            results.append((a, b, significance.five_by_two_f(d.reshape(5, 2))))
        results.append((a, b, pseudo.naive_paired_t(d)))
    return results


def _independent(rows: Rows) -> bool:
    return rows.n_units == len(rows.units)


def _counted(rows: Rows) -> str:
    return "identities" if rows.by_identity else "faces"


def _right(rows: Rows) -> np.ndarray:
    return rows.truth == rows.predicted


def pseudo_replication(
    runs: Mapping[str, pd.DataFrame], *, subset: str = "test", evaluations: int = 50, seed: int = 0
) -> Result:
    """What a t test over repeated evaluations of two fixed models would claim; `valid` is False."""
    a, b = (
        metrics.rows_of(t, subset=None) for t in list(require_same_rows(runs, subset=subset).values())[:2]
    )
    return pseudo.t_over_evaluations(_right(a), _right(b), evaluations=evaluations, seed=seed)

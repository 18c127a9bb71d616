"""Which of these models differ? Runs in (their predictions), a table of pairs and sentences out.

The design decides the test, before anything is looked at. One test set: exact McNemar for accuracy on
independent faces, DeLong for a binary AUC, a paired t over people for all else; Cochran's Q (or its
bootstrap counterpart) where there are three models or more. Repeated folds: the Nadeau-Bengio corrected t.
Independent runs: Welch. Further tests stand beside the chosen one, marked, and give no verdict. Holm over the pairs
of each test. A margin adds whether the difference matters (`faceworkbook.evaluation.equivalence`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.evaluation import (
    bootstrap_tests,
    equivalence,
    intervals,
    metrics,
    paired_proportions,
    roc_area,
    significance,
)
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation import pseudo_replication as pseudo
from faceworkbook.evaluation.aligned_runs import (
    ComparisonError,
    find_predictions,
    read_runs,
    require_same_rows,
)
from faceworkbook.evaluation.comparison_tables import (
    CHOSEN,
    PairOptions,
    format_p,
    make_overall_table,
    make_pairs_table,
)
from faceworkbook.evaluation.figures import COLUMNS
from faceworkbook.evaluation.fold_comparison import fold_values, pairs_of_folds, training_sizes
from faceworkbook.evaluation.metrics import FunctionMetric, Metric, Rows
from faceworkbook.evaluation.significance import FEWEST_UNITS, Result
from faceworkbook.evaluation.standard_errors import SumError, error_of_sum

__all__ = [
    "Comparison",
    "ComparisonError",
    "choose",
    "compare",
    "compare_independent",
    "fold_values",
    "format_p",
    "paired_difference",
    "pairs_of_rows",
    "pseudo_replication",
    "read_runs",
    "relabelled_difference",
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
        One row a pair and test: first, second, role ('chosen' for the one test that the design asks for, else
        'other'), test, difference, low, high, low_90, high_90, p, p_holm, effect, effect_name, n, counted, verdict ('differ', 'no
        significant difference' or 'too few to judge' of the chosen test; 'not to be relied on' where a test takes
        for granted what does not hold; else ''), relevance (of the chosen test: 'beyond the margin', 'equivalent
        within the margin', 'undecided'; '' without a margin), probability_better, probability_equivalent,
        probability_worse (of the first model, over folds), detectable (the smallest difference that such test
        rows show in 80 % of trials), faces_needed, units_needed (to decide at the margin), sentence.
    margin : float
        Smallest difference that matters, 0 for none.
    """

    metric: str
    runs: pd.DataFrame
    overall: pd.DataFrame
    pairs: pd.DataFrame
    margin: float = 0.0

    @property
    def chosen(self) -> pd.DataFrame:
        """The pairs by the one test that the design asks for."""
        return self.pairs[self.pairs["role"] == CHOSEN].reset_index(drop=True)

    def __str__(self) -> str:
        return "\n".join([*self.overall.get("sentence", []), *self.chosen["sentence"]])


def compare(
    runs: Mapping[str, pd.DataFrame],
    *,
    metric: str = "accuracy",
    margin: float | None = None,
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
    margin : float, optional
        Smallest difference that matters, in the metric's unit; 0 for none. By default that of
        `equivalence.margin_of`: 0.01 for figures in 0..1, none for others.

    Raises
    ------
    ComparisonError
        Fewer than two runs, or runs whose test rows, labels, people or class orders differ.
    """
    aligned = require_same_rows(runs, subset=subset)
    rows = {name: metrics.rows_of(table, subset=None) for name, table in aligned.items()}
    first = next(iter(rows.values()))
    *_, chosen = (metrics.pick(metric, own.task) for own in rows.values())
    margin = equivalence.margin_of(chosen, margin)
    folds = next(iter(aligned.values()))[["repeat", "fold"]].drop_duplicates()
    overall = []
    if len(folds) > 1:
        sizes = {name: training_sizes(table) for name, table in runs.items()}
        results = pairs_of_folds(aligned, chosen, sizes=sizes)
    else:
        results = pairs_of_rows(rows, chosen, seed=seed, n_boot=n_boot)
        overall = tests_of_all(rows, chosen, seed=seed, n_boot=n_boot) if len(rows) > 2 else []
    summaries = [
        metrics.summary(table, subset=subset, names=[metric], seed=seed, n_boot=n_boot).assign(run=name)
        for name, table in aligned.items()
    ]
    columns = ["run", *COLUMNS, "method"]
    return Comparison(
        metric=metric,
        runs=pd.concat(summaries, ignore_index=True)[columns],
        overall=make_overall_table(overall, chosen),
        pairs=make_pairs_table(results, chosen, PairOptions(margin=margin, n_faces=first.n_faces)),
        margin=margin,
    )


def paired_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    metric: str = "accuracy",
    margin: float | None = 0.0,
    subset: str = "test",
    n_boot: int = intervals.N_BOOT,
    seed: int = 0,
) -> dict:
    """Compare two tables of predictions on the faces that both test.

    Differences are added up by person (by face where people are unknown); a face of
    several repeats counts once. See `significance.paired_t`.

    Parameters
    ----------
    margin : float, optional
        Smallest difference that matters, 0 for none; None for the metric's own, as in `compare`.

    Returns
    -------
    dict
        metric, first, second (values on the common faces), difference, low, high (95 %, within what the metric
        allows; NaN for fewer than 10 people), p, n (common faces), n_units (people or faces drawn), margin, relevance
        (see `equivalence.judge`).

    Raises
    ------
    PredictionsError
        No face in common.
    """
    tested = _on_common_faces(first, second, subset)
    _require_same_truth(*tested)
    return _difference_of(*tested, metric=metric, margin=margin, n_boot=n_boot, seed=seed)


def relabelled_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    metric: str = "accuracy",
    subset: str = "test",
    n_boot: int = intervals.N_BOOT,
    seed: int = 0,
) -> dict:
    """Compare two tables on the faces that both test, where their truth may differ: labels were corrected in between.

    Parameters and return are those of `paired_difference`, without a margin. The difference holds what the labels
    changed beside what the models changed; with the same predictions in both tables it is the labels' alone.
    """
    tested = _on_common_faces(first, second, subset)
    _require_same_classes(*tested)
    return _difference_of(*tested, metric=metric, margin=0.0, n_boot=n_boot, seed=seed)


def _on_common_faces(first: pd.DataFrame, second: pd.DataFrame, subset: str) -> list[pd.DataFrame]:
    tested = [table[table["split"] == subset] for table in (first, second)]
    common = set(tested[0]["face_id"]) & set(tested[1]["face_id"])
    if not common:
        raise tables.PredictionsError(
            f"the two tables have no face of subset {subset!r} in common; compare runs on one split"
        )
    return [table[table["face_id"].isin(common)] for table in tested]


def _difference_of(
    first: pd.DataFrame, second: pd.DataFrame, *, metric: str, margin: float | None, n_boot: int, seed: int
) -> dict:
    tested = (first, second)
    units = np.split(intervals.resampling_units(pd.concat(tested)), [len(first)])
    one, two = (replace(metrics.rows_of(t, subset=None), units=u) for t, u in zip(tested, units, strict=True))
    of, n_units = metrics.pick(metric, one.task), int(max(u.max() for u in units)) + 1
    result = _paired(one, two, of, n_units, seed=seed, n_boot=n_boot)
    first_value, second_value = (of.value(rows) for rows in (one, two))
    return {
        "metric": metric,
        "first": first_value,
        "second": second_value,
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "n": first["face_id"].nunique(),
        "n_units": n_units,
        "margin": equivalence.margin_of(of, margin),
        "relevance": equivalence.judge(result, equivalence.margin_of(of, margin)),
    }


def _require_same_classes(first: pd.DataFrame, second: pd.DataFrame) -> None:
    classes = [tables.class_names(table) for table in (first, second)]
    if classes[0] != classes[1]:
        raise ComparisonError(
            f"classes of the first table are {classes[0]}, of the second {classes[1]}; compare tables of one task"
        )


def _require_same_truth(first: pd.DataFrame, second: pd.DataFrame) -> None:
    _require_same_classes(first, second)
    one, two = (
        t.drop_duplicates("face_id").set_index("face_id")["truth"].astype(object) for t in (first, second)
    )
    other = one != two.loc[one.index]
    if other.any():
        raise ComparisonError(
            f"{int(other.sum())} of {len(one)} faces have another truth in the second table (first: {other.idxmax()!r}); "
            "predict both on the same labels"
        )


def choose(
    models: Mapping[str, pd.DataFrame], *, metric: str, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> pd.DataFrame:
    """Choose among models on the validation rows and show what each does on the test rows.

    Returns
    -------
    pandas.DataFrame
        model, metric, validation (the metric on validation rows), chosen (one True), value, low, high, n (test
        rows; the chosen model's figure is fair, for its test rows had no part in the choice).
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
    values: Mapping[str, Sequence[float]],
    *,
    metric: str = "accuracy",
    better: str | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare independent runs (own data and own seed each) by Welch's test, Holm over the pairs.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Values of the metric, one a run, by the model's name.
    better : {'higher', 'lower', 'zero'}, optional
        That of the metric of this name where None ('higher' for one that is not known).
    margin : float, optional
        See `compare`.
    """
    results = [
        (a, b, significance.welch(np.asarray(values[a]), np.asarray(values[b])))
        for a, b in combinations(values, 2)
    ]
    known = metrics.find(metric) or replace(metrics.ACCURACY, name=metric, bounds=significance.UNBOUNDED)
    of = replace(known, better=better or known.better)
    options = PairOptions(margin=equivalence.margin_of(of, margin))
    return make_pairs_table([(a, b, r.within(of.difference_bounds)) for a, b, r in results], of, options)


def values_of_runs(
    runs: Sequence[str], *, metric: str = "accuracy", subset: str = "test", resolve=Path
) -> dict[str, list[float]]:
    """Compute the metric of independent runs by model, for `compare_independent`.

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


def pairs_of_rows(
    rows: dict[str, Rows], metric: Metric, *, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> list[tuple[str, str, Result]]:
    """Test each pair of models on one test set by every test that fits; rows are aligned already.

    The first valid result of a pair is that of the test that the design asks for; on fewer than ten people (or
    faces, where people are unknown) none is made.
    """
    results = []
    for a, b in combinations(rows, 2):
        one, two = rows[a], rows[b]
        if one.n_units >= FEWEST_UNITS:
            results += [(a, b, result) for result in _special_tests(one, two, metric)]
        results.append((a, b, _paired(one, two, metric, one.n_units, seed=seed, n_boot=n_boot)))
    return results


def _paired(one: Rows, two: Rows, metric: Metric, n_units: int, *, seed: int, n_boot: int) -> Result:
    """Test a difference over the units that both numbered alike; a metric of one's own by a bootstrap."""
    difference = metric.value(one) - metric.value(two)
    if n_units < FEWEST_UNITS:
        return significance.refused(significance.PAIRED, difference, n_units, one.counted)
    if isinstance(metric, FunctionMetric):
        first, second = (metric.statistic(rows, n_units=n_units) for rows in (one, two))
        return bootstrap_tests.paired_bootstrap(
            lambda weights: first(weights) - second(weights),
            n_units,
            seed=seed,
            n_boot=n_boot,
            counted=one.counted,
            bounds=metric.difference_bounds,
        )
    made = _error_of_difference(one, two, metric)
    return significance.paired_t(
        difference, made, n_units, counted=one.counted, bounds=metric.difference_bounds
    )


def _error_of_difference(one: Rows, two: Rows, metric: Metric) -> SumError:
    contributions = np.concatenate([metric.contributions(one)[:, 0], -metric.contributions(two)[:, 0]])
    faces = np.unique(np.concatenate([one.face_id, two.face_id]), return_inverse=True)[1]
    return error_of_sum(
        contributions,
        np.concatenate([one.units, two.units]),
        faces,
        strata=np.concatenate([one.truth, two.truth]) if one.task.is_exclusive else None,
    )


def _special_tests(first: Rows, second: Rows, metric: Metric) -> list[Result]:
    """Run the tests that are made for this one metric; McNemar is marked invalid where people repeat."""
    if metric.name == "accuracy" and first.task.is_exclusive:
        return [replace(paired_proportions.mcnemar(first.right, second.right), valid=first.independent)]
    if metric.name == "auc" and first.task.is_binary:
        units = None if first.independent else first.units
        scores = (first.probabilities[:, 1], second.probabilities[:, 1])
        tested = roc_area.delong(first.truth == 1, *scores, units=units)
        return [replace(tested, counted=first.counted, assumes=f"{first.counted} are independent")]
    return []


def tests_of_all(
    rows: dict[str, Rows], metric: Metric, *, seed: int = 0, n_boot: int = intervals.N_BOOT
) -> list[Result]:
    """Test three or more models together on one test set; rows are aligned already."""
    first = next(iter(rows.values()))
    if first.n_units < FEWEST_UNITS:
        return []
    if metric.name == "accuracy" and first.task.is_exclusive and first.independent:
        return [paired_proportions.cochrans_q(np.column_stack([subset.right for subset in rows.values()]))]
    statistics = [metric.statistic(subset) for subset in rows.values()]
    unequal = np.ptp(np.bincount(first.units)) > 0 and not isinstance(metric, FunctionMetric)
    others = list(rows.values())[1:] if unequal else []
    return [
        bootstrap_tests.joint_bootstrap(
            lambda weights: np.column_stack([s(weights) for s in statistics]),
            first.n_units,
            seed=seed,
            n_boot=n_boot,
            counted=first.counted,
            errors=[_error_of_difference(first, other, metric) for other in others],
        )
    ]


def pseudo_replication(
    runs: Mapping[str, pd.DataFrame], *, subset: str = "test", evaluations: int = 50, seed: int = 0
) -> Result:
    """Return what a t test over repeated evaluations of two fixed models would claim; `valid` is False."""
    a, b = (
        metrics.rows_of(t, subset=None) for t in list(require_same_rows(runs, subset=subset).values())[:2]
    )
    return pseudo.t_over_evaluations(a.right, b.right, evaluations=evaluations, seed=seed)

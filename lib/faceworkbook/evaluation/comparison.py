"""Which of these models differ? Runs in (their predictions), a table of pairs and sentences out.

The design decides the test. One test set: Cochran's Q (or its bootstrap counterpart) where there are
three or more, then exact McNemar for accuracy on independent faces, DeLong for a binary AUC, and the
paired bootstrap by identity for any metric; Holm over the pairs of each test. Repeated folds: the Nadeau-Bengio corrected t, and the 5x2cv
F test where the folds are five times two. Independent runs: Welch. The tests themselves are in
`faceworkbook.evaluation.significance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from faceworkbook.evaluation import intervals, metrics, significance
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.metrics import Metric, Rows
from faceworkbook.evaluation.significance import ALPHA, Result

POWER = 0.8


class ComparisonError(ValueError):
    """Runs that must not be compared, and in what they differ."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    metric : str
    runs : pandas.DataFrame
        run, value, low, high, n, n_identities, method.
    overall : pandas.DataFrame
        The test of all runs together (no row where there are two).
    pairs : pandas.DataFrame
        One row a pair and test: first, second, test, difference, low, high, p, p_holm, effect,
        effect_name, n, counted, faces_needed, verdict ('differ', 'not told apart', 'not to be relied
        on'), sentence.
    """

    metric: str
    runs: pd.DataFrame
    overall: pd.DataFrame
    pairs: pd.DataFrame

    def __str__(self) -> str:
        return "\n".join([*self.overall.get("sentence", []), *self.pairs["sentence"]])


def read_runs(places: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Read the predictions of runs, keyed by the shortest path that tells them apart.

    Parameters
    ----------
    places : sequence of path
        Run folders with ``predictions.parquet``, or files of predictions.

    Raises
    ------
    FileNotFoundError
        A folder without predictions, or no such file.
    ComparisonError
        The same place is given twice.
    """
    files = [_predictions_file(Path(place)) for place in places]
    if len({file.resolve() for file in files}) < len(files):
        raise ComparisonError(f"the same run is given twice: {[str(place) for place in places]}")
    parts = [_telling_parts(file) for file in files]
    length = 1
    while len({subset[-length:] for subset in parts}) < len(parts):
        length += 1
    return {"/".join(subset[-length:]): tables.read(file) for subset, file in zip(parts, files, strict=True)}


def _predictions_file(place: Path) -> Path:
    file = place if place.suffix == ".parquet" else place / "predictions.parquet"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; give the folder of a finished step, such as "
            "results/utkface_gender/03_classifier, or a file of predictions"
        )
    return file


def _telling_parts(file: Path) -> tuple[str, ...]:
    """Folders that name a run, and the file where it is not the usual one."""
    folders = file.resolve().parent.parts
    return folders if file.name == "predictions.parquet" else (*folders, file.stem)


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
        _overall_table(overall, chosen),
        _pairs_table(results, chosen, rows),
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
    found = metrics.summaries(models, subset="test", **options)
    held = [metrics.rows_of(table, subset="validation") for table in models.values()]
    of = metrics.pick(metric, held[0].task)
    found["validation"] = [of.value(rows) for rows in held]
    best = found["validation"].idxmin() if of.better == "lower" else found["validation"].idxmax()
    found["chosen"] = found.index == best
    return found[["model", "metric", "validation", "chosen", "value", "low", "high", "n"]]


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
    return _pairs_table(results, named, {})


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
    found: dict[str, list[float]] = {}
    for text in runs:
        model, colon, place = (piece.strip() for piece in text.partition(":"))
        if not (model and colon and place):
            raise ComparisonError(f'{text!r} is no independent run; expected "MODEL: FOLDER"')
        table = tables.read(_predictions_file(Path(resolve(place))))
        rows = metrics.rows_of(table, subset=subset)
        found.setdefault(model, []).append(metrics.pick(metric, rows.task).value(rows))
    return found


def fold_values(predictions: pd.DataFrame, *, metric: str, subset: str = "test") -> pd.DataFrame:
    """The metric of every fit: a table of repeat, fold, n, value, rows_id (the same for the same test rows)."""
    chosen = predictions if subset is None else predictions[predictions["split"] == subset]
    records = []
    for (repeat, fold), table in chosen.groupby(["repeat", "fold"], sort=True):
        rows = metrics.rows_of(table, subset=None)
        value = metrics.pick(metric, rows.task).value(rows)
        name = significance.rows_id(table["face_id"])
        records.append({"repeat": repeat, "fold": fold, "n": len(table), "value": value, "rows_id": name})
    return pd.DataFrame(records)


def require_same_rows(
    runs: Mapping[str, pd.DataFrame], *, subset: str | None = "test"
) -> dict[str, pd.DataFrame]:
    """Bring the runs' rows into one order, or refuse and say in what they differ.

    Returns
    -------
    dict of str to pandas.DataFrame
        The rows of `subset`, in the order of the first run.
    """
    if len(runs) < 2:
        raise ComparisonError(f"{len(runs)} run given ({list(runs)}); a comparison needs two or more")
    keys = ["face_id", "repeat", "fold"]
    chosen = {
        name: (table if subset is None else table[table["split"] == subset]).set_index(keys, drop=False)
        for name, table in runs.items()
    }
    (first, reference), *others = chosen.items()
    problems = [f"{name} has no rows of subset {subset!r}" for name, table in chosen.items() if table.empty]
    problems += [
        f"{name} has {int(table.index.duplicated().sum())} faces twice in one fold"
        for name, table in chosen.items()
        if table.index.has_duplicates
    ]
    for name, table in others if not problems else ():
        problems += _differences(first, reference, name, table)
    if problems:
        raise ComparisonError("these runs cannot be compared: " + "; ".join(problems))
    return {name: table.loc[reference.index].reset_index(drop=True) for name, table in chosen.items()}


def faces_needed(difference: float, error: float, *, n: int, alpha: float = ALPHA, power: float = POWER):
    """Test faces that would tell a difference of this size, were it the true one.

    Parameters
    ----------
    difference : float
        Observed difference of any metric.
    error : float
        Its standard error on `n` test faces; people who repeat are in it, so the answer assumes as
        many faces a person.

    Returns
    -------
    float
        n (z_alpha + z_power)^2 error^2 / difference^2, rounded up; infinite for no difference.
    """
    if difference == 0 or not np.isfinite(error):
        return np.inf
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    return float(np.ceil(n * (z * error / difference) ** 2))


def _differences(first: str, reference: pd.DataFrame, name: str, table: pd.DataFrame) -> list[str]:
    found = []
    classes, others = tables.class_names(reference), tables.class_names(table)
    if classes != others:
        found.append(f"classes of {first} are {classes or 'numbers'}, of {name} {others or 'numbers'}")
    for owner, mine, theirs in ((first, reference, table), (name, table, reference)):
        alone = mine.index.difference(theirs.index)
        if len(alone):
            found.append(
                f"{len(alone)} of {len(mine)} test rows only in {owner} (first: {_say_row(alone[0])})"
            )
    shared = reference.index.intersection(table.index)
    for column in ("truth", "identity"):
        mine, theirs = reference.loc[shared, column], table.loc[shared, column]
        same = (mine == theirs).fillna(False).to_numpy(dtype=bool) | (mine.isna() & theirs.isna()).to_numpy()
        if not same.all():
            at = shared[~same][0]
            found.append(
                f"{column} differs in {int((~same).sum())} rows (first: {_say_row(at)} is "
                f"{mine.loc[at]!r} in {first}, {theirs.loc[at]!r} in {name})"
            )
    return found


def _say_row(key: tuple) -> str:
    face, repeat, fold = key
    return f"{face!r}" if (repeat, fold) == (0, 0) else f"{face!r} in repeat {repeat}, fold {fold}"


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
    return significance.delong(
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
        results.append((a, b, significance.naive_paired_t(d)))
    return results


def _pairs_table(results, metric: Metric, rows: dict[str, Rows]) -> pd.DataFrame:
    table = pd.DataFrame([{"first": a, "second": b, **asdict(result)} for a, b, result in results])
    table["p_holm"] = np.nan
    for _, same in table[table["valid"]].groupby("test"):
        table.loc[same.index, "p_holm"] = significance.holm(same["p"])
    table["faces_needed"] = [_needed(result, rows.get(a)) for a, _, result in results]
    table["verdict"] = np.where(table["p_holm"] < ALPHA, "differ", "not told apart")
    table.loc[~table["valid"], "verdict"] = "not to be relied on"
    table["sentence"] = [_pair_sentence(row, metric) for row in table.itertuples()]
    return table[
        ["first", "second", "test", "difference", "low", "high", "p", "p_holm", "effect", "effect_name",
         "n", "counted", "faces_needed", "verdict", "sentence"]
    ]  # fmt: skip


def _needed(result: Result, rows: Rows | None) -> float:
    if rows is None or result.counted in ("folds", "runs"):
        return np.nan
    reach = stats.norm.ppf(1 - ALPHA / 2)
    return faces_needed(result.difference, (result.high - result.low) / (2 * reach), n=rows.n_faces)


def _overall_table(results: list[Result], metric: Metric) -> pd.DataFrame:
    table = pd.DataFrame([asdict(r) for r in results])
    if table.empty:
        return table
    table["sentence"] = [
        f"{r.test}: the models {'differ' if r.p < ALPHA else 'are not told apart'} by {metric.name} taken "
        f"together (p {say_p(r.p)}, {r.n:,} {r.counted})."
        + ("" if r.p < ALPHA else " Read the pairs below with that in mind.")
        for r in results
    ]
    return table[["test", "statistic", "p", "effect", "effect_name", "n", "counted", "sentence"]]


def _pair_sentence(row, metric: Metric) -> str:
    if row.verdict == "not to be relied on":
        return (
            f"{row.first} and {row.second}: {row.test} would say p {say_p(row.p)}; "
            f"not to be relied on, for it takes for granted that {row.assumes}."
        )
    figures = (
        f"{metric.name} {row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f}; {row.test}, "
        f"p {say_p(row.p)}, Holm {say_p(row.p_holm)}, {row.n:,} {row.counted})"
    )
    if row.verdict == "differ":
        return f"{row.first} is {_direction(row.difference, metric)} than {row.second}: {figures}."
    needed = (
        f" About {row.faces_needed:,.0f} test faces would tell a difference of this size in "
        f"{POWER:.0%} of trials."
        if np.isfinite(row.faces_needed)
        else ""
    )
    return f"{row.first} and {row.second} are not told apart: {figures}.{needed}"


def _direction(difference: float, metric: Metric) -> str:
    if metric.better == "zero":
        return "higher" if difference > 0 else "lower"
    return "better" if (difference > 0) == (metric.better == "higher") else "worse"


def say_p(p: float) -> str:
    """A p value in words: '= .031', '< .001'."""
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".", 1)


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
    return significance.t_over_evaluations(_right(a), _right(b), evaluations=evaluations, seed=seed)

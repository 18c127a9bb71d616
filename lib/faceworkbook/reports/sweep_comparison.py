"""What the points of a sweep show: settings beside each other, by the test that their rows allow.

A setting is what a point has besides its seeds. Settings on the same test rows are compared over people (and seeds);
settings that share several random splits by the corrected t test over splits; settings on other rows are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import files, project
from faceworkbook.evaluation import metrics, over_seeds
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.aligned_runs import ComparisonError
from faceworkbook.reports.sweeps import Point, Sweep, describe, is_replicate

MOST_SETTINGS = 30  # compared pair by pair
ONLY = "(the only setting)"
PREDICTIONS, STRATEGIES = "predictions.parquet", "values.parquet"


@dataclass(frozen=True, eq=False)
class Fit:
    """The predictions of one point: all, or those of a strategy on a task with one split.

    Attributes
    ----------
    point, setting, step : str
    rows : str
        By what its task and test rows are known.
    table : pandas.DataFrame
    n_train : int or None
    validation : float or None
        The headline on validation rows, where the table lacks them.
    """

    point: str
    setting: str
    step: str
    rows: str
    table: pd.DataFrame
    n_train: int | None
    validation: float | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Settings that may be compared with each other.

    Attributes
    ----------
    metric, design : str
        The design says in words which test is made, or why none is.
    settings : pandas.DataFrame
        setting, value, low, high, n, seeds, sd_seeds, method, validation, chosen (by validation rows).
    pairs : pandas.DataFrame
        See `faceworkbook.evaluation.comparison.Comparison`; may be empty.
    margin : float
    task : str
    """

    metric: str
    design: str
    settings: pd.DataFrame
    pairs: pd.DataFrame
    margin: float
    task: str


@dataclass
class Result:
    """The comparison of a sweep: groups of settings, metric and value of each point, and points without predictions.

    A point of several strategies and tasks has the value of the first of each, a mean over its splits.
    """

    groups: list[Group] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)


def compare(sweep: Sweep, results: str | Path, names: Sequence[str], *, n_boot: int = 2000) -> Result:
    """Compare the settings of a sweep.

    Parameters
    ----------
    names : sequence of str
        Points that are finished; the others are left out.
    """
    result, fits = Result(), []
    for point in sweep.points:
        if point.name not in names:
            continue
        try:
            fits += _read_fits(point, project.resolve(results) / point.name)
        except (ValueError, OSError) as error:
            result.without[point.name] = str(error)
    for own in _connected(fits):
        group = _compare_group(own, sweep.metric, n_boot)
        result.groups.append(group)
        of = metrics.pick(group.metric, tables.task_of(own[0].table))
        for point in dict.fromkeys(fit.point for fit in own if fit.point not in result.values):
            first = next(fit for fit in own if fit.point == point)
            each = [
                of.value(metrics.rows_of(fit.table))
                for fit in own
                if (fit.point, fit.setting) == (point, first.setting)
            ]
            result.metrics[point], result.values[point] = group.metric, float(np.mean(each))
    return result


def setting_of(point: Point) -> str:
    """Return what a point has besides its seeds, in words."""
    own = {key: value for key, value in point.swept.items() if not is_replicate(key)}
    return describe(own) or ONLY


def _read_fits(point: Point, folder: Path) -> list[Fit]:
    steps = [step.name for step in point.experiment.steps]
    for step in steps:
        if (folder / step / PREDICTIONS).is_file():
            return [_read_fit(point, folder / step)]
        if (folder / step / STRATEGIES).is_file():
            return _read_strategies(point, folder / step)
    raise ComparisonError(f"none of its steps ({', '.join(steps)}) writes {PREDICTIONS}")


def _read_fit(point: Point, place: Path) -> Fit:
    table = tables.read(place / PREDICTIONS)
    record = files.read_json(place / "metrics.json", ComparisonError, advice="run it again")
    n_train = record.get("n_train")
    n_train = n_train if type(n_train) is int else None
    return Fit(point.name, setting_of(point), place.name, _hash_rows(table), table, n_train)


def _read_strategies(point: Point, place: Path) -> list[Fit]:
    """Return a fit for each strategy, task and split of 09_multitask or 19_picture_tasks."""
    fits, values = [], files.read_parquet(place / STRATEGIES)
    several = values["strategy"].nunique() > 1
    setting = setting_of(point)
    for (strategy, task), own in values.groupby(["strategy", "task"], sort=False):
        table = tables.read(place / f"predictions_{strategy}_{task}.parquet")
        named = f"{setting}, {strategy}" if several and setting != ONLY else strategy if several else setting
        for row in own.itertuples():
            # Splits are known by their rows, whichever seed of a point drew them.
            each = table[table["repeat"] == row.repeat].assign(repeat=0)
            each.attrs = table.attrs
            held = getattr(row, "validation", None)
            fits.append(Fit(point.name, named, place.name, _hash_rows(each), each, int(row.n_train), held))
    return fits


def _hash_rows(table: pd.DataFrame) -> str:
    """Return by what a table's task and test rows are known."""
    tested = table[table["split"] == "test"]
    keys = ["face_id", "repeat", "fold", "truth"]
    row = tested[keys].astype(str).agg("|".join, axis=1).sort_values()
    return files.hash_values(
        tables.task_of(table).name, tables.class_names(table), row.to_numpy(dtype=object)
    )


def _connected(fits: Sequence[Fit]) -> list[list[Fit]]:
    """Return fits in groups: of one setting and task, or of settings that have test rows in common."""
    group_of: dict[str, int] = {}
    groups: list[list[Fit]] = []
    for fit in fits:
        keys = (f"setting {fit.setting} {tables.task_of(fit.table).name}", f"rows {fit.rows}")
        known = sorted({group_of[key] for key in keys if key in group_of})
        at = known[0] if known else len(groups)
        if not known:
            groups.append([])
        groups[at].append(fit)
        for other in known[1:]:
            groups[at] += groups[other]
            groups[other] = []
            group_of |= {key: at for key, place in group_of.items() if place == other}
        group_of |= dict.fromkeys(keys, at)
    order = {fit.point: at for at, fit in enumerate(fits)}
    return [sorted(group, key=lambda fit: order[fit.point]) for group in groups if group]


def _compare_group(fits: Sequence[Fit], metric: str, n_boot: int) -> Group:
    task = tables.task_of(fits[0].table)
    metric = metric or task.headline
    by_setting: dict[str, list[Fit]] = {}
    for fit in fits:
        by_setting.setdefault(fit.setting, []).append(fit)
    if len({fit.rows for fit in fits}) == 1:
        settings, pairs, margin, design = _on_one_test_set(by_setting, metric, n_boot)
    else:
        settings, pairs, margin, design = _over_splits(by_setting, metric)
    return Group(metric, design, _choose(settings, by_setting, metric), pairs, margin, task.name)


def _on_one_test_set(by_setting: dict[str, list[Fit]], metric: str, n_boot: int) -> tuple:
    own = {setting: [fit.table for fit in fits] for setting, fits in by_setting.items()}
    if 1 < len(own) <= MOST_SETTINGS:
        compared = over_seeds.compare(own, metric=metric, n_boot=n_boot)
        runs, pairs = compared.runs, compared.chosen
        seeds = int(runs["seeds"].max())
        counted = "people" if runs["n_identities"].notna().any() else "faces"
        if seeds > 1:
            design = f"The same test rows: paired tests over {counted} and seeds{_holm(pairs)}."
        elif all(table[["repeat", "fold"]].drop_duplicates().shape[0] > 1 for (table,) in own.values()):
            design = (
                "The same folds: corrected t test over them (Nadeau and Bengio 2003), which counts what other training "
                f"rows and seeds would change{_holm(pairs)}."
            )
        else:
            design = (
                f"The same test rows, one fit each: the paired test of the metric{_holm(pairs)}. "
                "How much another seed would change is in none of these figures; sweep seeds for that."
            )
        return runs.rename(columns={"run": "setting"}), pairs, compared.margin, design
    runs = pd.concat(
        [over_seeds.summarise({name: fits}, metric=metric) for name, fits in own.items()], ignore_index=True
    )
    design = (
        "One setting: nothing to compare."
        if len(own) == 1
        else f"{len(own)} settings are too many to compare pair by pair (at most {MOST_SETTINGS}): choose by the "
        "validation rows, and compare the few that matter in a sweep of their own."
    )
    return runs.rename(columns={"run": "setting"}), pd.DataFrame(), 0.0, design


def _holm(pairs: pd.DataFrame) -> str:
    return f", Holm over {len(pairs)} pairs" if len(pairs) > 1 else ""


def _over_splits(by_setting: dict[str, list[Fit]], metric: str) -> tuple:
    values: dict[str, dict[str, float]] = {}
    records, sizes = [], []
    for setting, fits in by_setting.items():
        each: dict[str, list[float]] = {}
        for fit in fits:
            rows = metrics.rows_of(fit.table)
            each.setdefault(fit.rows, []).append(metrics.pick(metric, rows.task).value(rows))
            sizes.append((fit.n_train, rows.n_faces))
        values[setting] = {split: float(np.mean(own)) for split, own in each.items()}
        own = np.array(list(values[setting].values()))
        records.append(
            {"setting": setting, "value": own.mean(), "low": np.nan, "high": np.nan, "n": sizes[-1][1],
             "seeds": len(fits), "sd_seeds": own.std(ddof=1) if len(own) > 1 else np.nan,
             "method": f"mean of {len(own)} splits, no interval of its own"}
        )  # fmt: skip
    known = [n_train for n_train, _ in sizes if n_train]
    pairs = pd.DataFrame()
    if known and len(values) <= MOST_SETTINGS:
        pairs = over_seeds.compare_splits(
            values, metric=metric, n_train=float(np.mean(known)), n_test=float(np.mean([n for _, n in sizes]))
        )
    design = (
        f"Several random splits, each with its own test rows: corrected t test over the splits that two settings "
        f"share (Nadeau and Bengio 2003){_holm(pairs)}."
        if len(pairs)
        else "Several random splits, each with its own test rows, and fewer than two that settings share: nothing is "
        "compared."
    )
    margin = over_seeds.margin_of(metric) if len(pairs) else 0.0
    return pd.DataFrame(records), pairs, margin, design


def _judge_validation(fit: Fit, metric: str) -> float | None:
    if (fit.table["split"] == "validation").any():
        rows = metrics.rows_of(fit.table, subset="validation")
        return metrics.pick(metric, rows.task).value(rows)
    return fit.validation if metric == tables.task_of(fit.table).headline else None


def _choose(settings: pd.DataFrame, by_setting: dict[str, list[Fit]], metric: str) -> pd.DataFrame:
    """Add the mean figure on validation rows, and which setting it chooses."""
    means = []
    for setting in settings["setting"]:
        known = [_judge_validation(fit, metric) for fit in by_setting[setting]]
        known = [value for value in known if value is not None]
        means.append(np.mean(known) if known else np.nan)
    settings = settings.assign(validation=means, chosen=False)
    known = settings["validation"].dropna()
    if len(known) == len(settings) > 1:
        of = metrics.find(metric)
        key = known.abs() if of.better == "zero" else known
        best = key.idxmax() if of.better == "higher" else key.idxmin()
        settings.loc[best, "chosen"] = True
    return settings

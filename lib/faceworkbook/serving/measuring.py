"""What a predictor knows about its own answers, from tables of predictions: calibration, limits, figures by kind of face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from faceworkbook.evaluation import calibration, intervals, metrics
from faceworkbook.evaluation import predictions as tables
from faceworkbook.evaluation.calibration import Conformal, Temperature
from faceworkbook.evaluation.figures import figure_of_mean, figure_of_share
from faceworkbook.evaluation.probabilities import estimate_share
from faceworkbook.evaluation.rows import Rows, rows_of
from faceworkbook.evaluation.standard_errors import error_of_sum
from faceworkbook.serving.answers import Answering, Cell

COVERAGE = 0.9
LEAST = 30  # faces of a kind whose figure is given, and faces that calibrate
BANDS = 4  # of a predicted number, each with an interval of its own width
_VALIDATION, _TEST = "validation", "test"
_TRUTH = "truth"


def calibrate(
    table: pd.DataFrame, *, coverage: float = COVERAGE, groups: Mapping[str, pd.Series] | None = None
) -> Answering:
    """Choose temperature and limits of one task on validation rows.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions. Without validation rows (each face was tested by a model that had not seen it) the test rows
        calibrate.
    coverage : float in 0..1
        Share of faces whose set or interval is to hold the truth.
    groups : mapping of str to Series, optional
        Group of each row by attribute, for limits by group beside those by class.
    """
    task = tables.task_of(table)
    subset = _VALIDATION if (table["split"] == _VALIDATION).any() else _TEST
    rows = table[table["split"] == subset]
    if task.is_number or task.class_values:
        if len(rows) < LEAST:
            return Answering(task)
        return Answering(task, coverage=coverage, bands=_choose_bands(rows, coverage))
    if not task.has_probabilities or len(rows) < LEAST:
        return Answering(task)
    if task.is_multilabel:
        fitted = {name: Temperature.fit(tables.of_label(table, name), subset=subset) for name in task.classes}
        return Answering(task, label_temperatures={name: one.temperature for name, one in fitted.items()})
    if not task.is_exclusive:
        return Answering(task)
    method = Temperature.fit(table, subset=subset)
    scaled = method.apply(table)
    by_class = Conformal.fit(scaled, coverage=coverage, attribute=_TRUTH, subset=subset)
    limits = {name: float(limit) for name, limit in by_class.limits.items() if name}
    by_group = {
        name: Conformal.fit(
            scaled.assign(**{name: of}), coverage=coverage, attribute=name, subset=subset
        ).limits
        for name, of in (groups or {}).items()
    }
    named = {n: {g: float(v) for g, v in own.items() if g} for n, own in by_group.items()}
    return Answering(task, method.temperature, coverage, limits, float(by_class.limits[""]), named)


def judge(table: pd.DataFrame, one: Answering, *, seed: int = 0) -> list[str]:
    """Return how calibrated one task's answers are on test rows, and whether its sets hold what they are to, in sentences.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions, uncalibrated; validation rows have calibrated `one`.
    one : Answering
    seed : int
    """
    title, rows = one.task.title, table[table["split"] == _TEST]
    if not len(rows) or not (table["split"] == _VALIDATION).any():
        return [
            f"{title}: the same faces calibrated and measured, so that calibration and coverage are not judged"
        ]
    if one.is_value and one.bands:
        values, errors = _values_and_errors(rows)
        return [f"{title}: intervals {_describe_share(errors <= one.reach(values), one.coverage, rows)}"]
    if one.label_temperatures:
        labels = [(name, tables.of_label(rows, name)) for name in one.task.classes]
        return [
            _describe_error(name, Temperature(one.label_temperatures[name]).apply(of), seed)
            for name, of in labels
        ]
    if not one.limits:
        return []
    scaled = Temperature(one.temperature).apply(rows)
    lines = [_describe_error(title, scaled, seed)]
    inside = one.sets(tables.probabilities(scaled))
    truth = pd.Index(one.task.classes).get_indexer(rows[_TRUTH].astype(str))
    holds = inside[np.arange(len(rows)), truth]
    size = inside.sum(axis=1).mean()
    lines.append(f"{title}: sets {_describe_share(holds, one.coverage, rows)}; {size:.2f} classes in a set")
    by_class = [
        f"{name} {_share_and_ends(holds[truth == code], rows[truth == code])}"
        for code, name in enumerate(one.task.classes)
        if (truth == code).any()
    ]
    return [*lines, f"{title}: coverage by class: {', '.join(by_class)}"]


def _describe_error(title: str, scaled: pd.DataFrame, seed: int) -> str:
    made = calibration.summary(scaled, seed=seed, n_boot=200).iloc[0]
    return (
        f"{title}: calibration error (ECE) {made['ece']:.3f} on {int(made['n']):,} test faces, in the population "
        f"{made['ece_corrected']:.3f} [{made['ece_corrected_low']:.3f}, {made['ece_corrected_high']:.3f}]"
    )


def _describe_share(holds: np.ndarray, coverage: float, rows: pd.DataFrame) -> str:
    return (
        f"hold the truth in {_share_and_ends(holds, rows)} of {len(rows):,} test faces ({coverage:.0%} asked)"
    )


def _share_and_ends(holds: np.ndarray, rows: pd.DataFrame) -> str:
    units, pictures = intervals.resampling_units(rows), intervals.number_pictures(rows)
    made = figure_of_share(
        float(holds.mean()), error_of_sum((holds - holds.mean()) / len(holds), units, pictures)
    )
    low, high = made.interval()
    return f"{made.value:.3f} [{low:.3f}, {high:.3f}]"


def _choose_bands(rows: pd.DataFrame, coverage: float) -> tuple[tuple[float, float], ...]:
    """Return how far intervals reach by predicted value: quantiles of the errors of validation faces (split conformal)."""
    values, errors = _values_and_errors(rows)
    n_bands = min(BANDS, max(1, len(values) // (2 * LEAST)))
    upto = np.append(np.quantile(values, np.arange(1, n_bands) / n_bands), np.inf)
    number = np.searchsorted(upto, values)
    return tuple((float(u), _quantile(errors[number == k], coverage)) for k, u in enumerate(upto))


def _quantile(errors: np.ndarray, coverage: float) -> float:
    rank = int(np.ceil((len(errors) + 1) * coverage))
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else np.inf


def _values_and_errors(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    task = tables.task_of(rows)
    if task.is_number:
        values, truth = rows["predicted"].to_numpy(dtype=float), rows[_TRUTH].to_numpy(dtype=float)
    else:
        values = tables.probabilities(rows) @ np.array(task.class_values)
        of_class = dict(zip(task.classes, task.class_values, strict=True))
        truth = rows[_TRUTH].map(of_class).to_numpy(dtype=float)
    return values, np.abs(values - truth)


def with_cells(
    answering: Sequence[Answering], predicted: Mapping[str, pd.DataFrame], bands: pd.DataFrame
) -> list[Answering]:
    """Add how good each task's answers were on test faces, by kind of face.

    Parameters
    ----------
    answering : sequence of Answering
    predicted : mapping of str to pandas.DataFrame
        Predictions by task.
    bands : pandas.DataFrame
        face_id, pose, size of test faces; see `framing.measure`.
    """
    named = {
        name: _first_repeat(table).set_index("face_id")["predicted"]
        for name, table in predicted.items()
        if not _is_value(table)
    }
    known = bands.drop_duplicates("face_id").set_index("face_id")
    return [
        replace(one, cells=tuple(_cells_of(one, predicted[one.task.name], named, known))) for one in answering
    ]


def _is_value(table: pd.DataFrame) -> bool:
    task = tables.task_of(table)
    return task.is_number or bool(task.class_values)


def _first_repeat(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["split"] == _TEST]
    return rows[rows["repeat"] == rows["repeat"].min()].drop_duplicates("face_id")


def _cells_of(one: Answering, table: pd.DataFrame, named: Mapping[str, pd.Series], bands: pd.DataFrame):
    rows = _first_repeat(table)
    rows.attrs = table.attrs
    if not len(rows):
        return
    ids, name = rows["face_id"], one.task.name
    kinds = {"predicted": named[name].reindex(ids)} if name in named else {}
    kinds |= {other: values.reindex(ids) for other, values in named.items() if other != name}
    kinds |= {column: bands[column].reindex(ids) for column in ("pose", "size")}
    measured = rows_of(rows, subset=None)
    pairs = [("predicted", other) for other in kinds if other != "predicted"] if "predicted" in kinds else []
    for chosen in [(), *((kind,) for kind in kinds), *pairs]:
        labels = [kinds[kind].to_numpy(dtype=object) for kind in chosen]
        for like in product(*(sorted({v for v in values if isinstance(v, str)}) for values in labels)):
            inside = np.ones(len(rows), bool)
            for values, value in zip(labels, like, strict=True):
                inside &= values == value
            if inside.sum() >= LEAST:
                yield _measure(dict(zip(chosen, like, strict=True)), rows[inside], measured.take(inside))


def _measure(like: dict, table: pd.DataFrame, rows: Rows) -> Cell:
    people = len(np.unique(rows.units)) if rows.by_identity else 0
    rows = replace(rows, units=np.unique(rows.units, return_inverse=True)[1])
    if _is_value(table):
        errors = _values_and_errors(table)[1]
        made = figure_of_mean(errors, rows.units, rows.pictures, bounds=(0.0, np.inf))
        return Cell(like, made.value, *map(float, made.interval()), len(table), people)
    share = (
        estimate_share(rows, rows.right)
        if rows.task.is_multilabel
        else metrics.estimate(metrics.ACCURACY, rows)
    )
    return Cell(like, *map(float, share[:3]), len(table), people)

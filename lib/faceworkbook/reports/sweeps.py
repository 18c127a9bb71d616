"""A sweep: one experiment at several points, a run folder each, from `sweep:` in its file or ``--set`` in a shell.

``grid`` crosses values, ``zip`` takes them side by side, ``list`` names points one by one, ``seeds`` repeats each
point. A key is a parameter's name (of all steps that take it) or STEP.NAME. Points that agree in a step share it, see
`faceworkbook.reports.sharing`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from faceworkbook.reports import experiments, values
from faceworkbook.reports import parameters as params
from faceworkbook.reports.experiments import Experiment, ExperimentError, shorten_value
from faceworkbook.reports.parameters import ParameterError

KEYS = {"grid", "zip", "list", "seeds", "metric"}
MOST_POINTS = 1000
LONGEST = 100  # characters of a folder's name
FOLDER = ".sweep"  # behind the experiment's name: the folder of the comparison
SEED = "seed"


@dataclass(frozen=True)
class Point:
    """One point of a sweep: its values by key, and the experiment that runs there."""

    swept: dict
    experiment: Experiment

    @property
    def name(self) -> str:
        """Name of the point's run folder."""
        return self.experiment.name


@dataclass(frozen=True)
class Sweep:
    """An experiment at several points.

    Attributes
    ----------
    name : str
        Points are called NAME.KEY-VALUE..., the comparison's folder NAME.sweep.
    title, question : str
    metric : str
        By which points are compared; empty: the one that the task is judged by first.
    points : tuple of Point
    """

    name: str
    title: str
    question: str
    metric: str
    points: tuple[Point, ...]

    @property
    def keys(self) -> list[str]:
        """What is swept, in the order of the file."""
        return list(dict.fromkeys(key for point in self.points for key in point.swept))

    @property
    def folder(self) -> str:
        """Name of the folder of the comparison."""
        return f"{self.name}{FOLDER}"


def parse_axis(text: str) -> tuple[str, list]:
    """Return key and values of ``NAME=VALUE,VALUE`` or ``STEP.NAME=VALUE,...`` from a command line."""
    key, equals, listed = text.partition("=")
    if not equals or not re.fullmatch(r"([\w-][\w.-]*\.)?[A-Za-z_]\w*", key) or not listed:
        raise ParameterError(
            f"--set {text!r} names no values; expected NAME=VALUE,VALUE or STEP.NAME=VALUE,VALUE, such as seed=0,1,2"
        )
    return key, params.split_values(listed)


def read(
    path: str | Path,
    axes: Sequence[tuple[str, list]] = (),
    *,
    given: dict | None = None,
    results: str | Path = "results",
    name: str = "",
) -> Sweep | None:
    """Read the sweep of an experiment and settle every parameter of every point, before anything runs.

    Parameters
    ----------
    path : str or Path
        See `experiments.read`.
    axes : sequence of (key, values)
        From the command line: further axes of the grid, or other values of one that the file has. A key of its zip
        or list replaces that whole.
    given : dict, optional
        Parameters from the command line, for all points.
    name : str
        Name of the sweep; empty: the file's.

    Returns
    -------
    Sweep or None
        None where neither file nor command line sweeps anything.

    Raises
    ------
    ExperimentError, ParameterError
        Unknown keys, two points that are alike, too many of them; what `experiments.read` refuses.
    """
    file = experiments.find(path)
    content = experiments.load(file)
    raw = content.get("sweep") or {}
    if not raw and not axes:
        return None
    own_name = name or str(content.get("name", file.stem))
    places = _expand(raw, axes, f"{path}, sweep")
    both = sorted({key for place in places for key in place if key != SEED} & set(given or {}))
    if both:
        raise ExperimentError(f"-p {both[0]} is swept too; give its values as --set {both[0]}=VALUE,VALUE")
    names = _name_points(own_name, places)
    options = {"given": given, "results": results}
    points, problems = [], []
    for called, swept in zip(names, places, strict=True):
        try:
            read = experiments.read(file, name=called, swept=swept, **options)
            points.append(Point(swept, replace(read, sweep=own_name)))
        except ParameterError as error:
            problems.append(re.sub(rf"^{re.escape(called)}: ", "", str(error)))
    values.refuse(list(dict.fromkeys(problems)), own_name)
    _refuse_same(points, f"{path}, sweep")
    return Sweep(
        own_name,
        str(content.get("title", own_name)),
        str(content.get("question", "")),
        str(raw.get("metric", "")),
        tuple(points),
    )


def _expand(raw: dict, axes: Sequence[tuple[str, list]], where: str) -> list[dict]:
    """Return the values of each point, by key."""
    unknown = sorted(set(map(str, raw)) - KEYS)
    if unknown:
        raise ExperimentError(
            f"{where}: unknown keys {shorten_value(unknown)}; allowed are {sorted(KEYS)}, such as "
            "{grid: {backbone: [a, b]}, seeds: 3}"
        )
    given = dict(axes)
    if len(given) < len(axes):
        raise ExperimentError("--set names one parameter twice; list all its values behind one sign")
    grid = _columns(raw.get("grid"), f"{where}: grid")
    beside = _columns(raw.get("zip"), f"{where}: zip")
    if len({len(listed) for listed in beside.values()}) > 1:
        lengths = {key: len(listed) for key, listed in beside.items()}
        raise ExperimentError(f"{where}: zip takes lists of one length, got {lengths}")
    rows = _rows(raw.get("list"), f"{where}: list")
    seeds = {SEED: _seeds(raw["seeds"], f"{where}: seeds")} if "seeds" in raw else {}
    beside = {} if given.keys() & beside.keys() else beside
    rows = [] if any(given.keys() & row.keys() for row in rows) else rows
    crossed = {**grid, **seeds, **given}
    zipped = [dict(zip(beside, row, strict=True)) for row in zip(*beside.values(), strict=True)] or [{}]
    n = len(zipped) * max(len(rows), 1)
    for listed in crossed.values():
        n *= len(listed)
    if n > MOST_POINTS:
        raise ExperimentError(f"{where}: {n:,} points; at most {MOST_POINTS:,} are run as one sweep")
    # What replicates a point changes fastest, so that the first points already say something about each setting.
    last = [key for key in crossed if is_replicate(key)]
    order = [key for key in crossed if key not in last] + last
    points = [
        {**row, **beside_row, **dict(zip(order, combination, strict=True))}
        for row in rows or [{}]
        for beside_row in zipped
        for combination in itertools.product(*(crossed[key] for key in order))
    ]
    _refuse_twins(points, where)
    return points


def is_replicate(key: str) -> bool:
    """Whether different values of this key repeat one setting: a seed of whatever step."""
    return key.rpartition(".")[2] == SEED


def _columns(raw, where: str) -> dict[str, list]:
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(v, list) and v for v in raw.values()):
        raise ExperimentError(
            f"{where} got {shorten_value(raw)}; it takes NAME: [VALUE, VALUE] pairs, such as dropout: [0.2, 0.4]"
        )
    return {str(key): listed for key, listed in raw.items()}


def _rows(raw, where: str) -> list[dict]:
    if raw is None:
        return []
    if not isinstance(raw, list) or not raw or not all(isinstance(row, dict) and row for row in raw):
        raise ExperimentError(
            f"{where} got {shorten_value(raw)}; it takes points, such as [{{dropout: 0.2, widths: [64]}}, {{dropout: 0.4}}]"
        )
    return [{str(key): value for key, value in row.items()} for row in raw]


def _seeds(raw, where: str) -> list[int]:
    if type(raw) is int and raw > 0:
        return list(range(raw))
    if isinstance(raw, list) and raw and all(type(seed) is int for seed in raw):
        return raw
    raise ExperimentError(f"{where} got {shorten_value(raw)}; it takes a number of seeds, or a list of them")


def _refuse_twins(points: list[dict], where: str) -> None:
    known: set[str] = set()
    for point in points:
        text = describe(point)
        if text in known:
            raise ExperimentError(f"{where}: the point {text} stands there twice; leave one of them out")
        known.add(text)


def _refuse_same(points: list[Point], where: str) -> None:
    """Refuse points whose steps all get the same, such as dropout 0 and 0.0: two settings that are one."""
    known: dict[str, Point] = {}
    for point in points:
        steps = [
            (step.name, {name: v for name, v in step.parameters.items() if name not in params.OF_PLACE})
            for step in point.experiment.steps
        ]
        other = known.setdefault(json.dumps(steps, sort_keys=True, default=str), point)
        if other is not point:
            raise ExperimentError(
                f"{where}: the points {describe(other.swept)} and {describe(point.swept)} run the same steps with the same "
                "values; leave one of them out"
            )


def describe(swept: dict) -> str:
    """Return the values of a point as one reads them: 'backbone mine, seed 3'."""
    return ", ".join(f"{key} {params.format_value(value) or 'none'}" for key, value in swept.items())


def _name_points(name: str, points: list[dict]) -> list[str]:
    """Return a folder's name for each point: NAME.KEY-VALUE..., cut and numbered by content where it is too long."""
    keys = list(dict.fromkeys(key for point in points for key in point))
    short = [key.rpartition(".")[2] for key in keys]
    called = {key: last if short.count(last) == 1 else key for key, last in zip(keys, short, strict=True)}
    names = [name_point(name, {called[key]: value for key, value in point.items()}) for point in points]
    folded = [each.casefold() for each in names]  # some file systems know no capitals
    return [
        _shorten(each, point) if len(each) > LONGEST or folded.count(each.casefold()) > 1 else each
        for each, point in zip(names, points, strict=True)
    ]


def name_point(name: str, values: dict) -> str:
    """Return NAME.KEY-VALUE.KEY-VALUE of the characters that a folder's name may have."""
    return ".".join([name, *(f"{key}-{_slug(value)}" for key, value in values.items())])


def _shorten(called: str, point: dict) -> str:
    digest = hashlib.sha256(describe(point).encode()).hexdigest()[:8]
    return f"{called[: LONGEST - len(digest) - 1]}-{digest}"


def _slug(value) -> str:
    text = "_".join(map(str, value)) if isinstance(value, list) else params.format_value(value)
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("_") or "none"

"""A finished run is kept: one with other parameters in its folder has to be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faceworkbook import project
from faceworkbook.reports import finished
from faceworkbook.reports.experiments import PATHS, Experiment
from faceworkbook.reports.parameters import format_value
from faceworkbook.reports.sweeps import name_point

SMOKE = "smoke"


class KeptError(ValueError):
    """A run that would replace a finished one with other parameters; the text names both and what to do."""


def differing(experiment: Experiment, folder: Path) -> dict[str, tuple]:
    """Return by STEP.NAME what the finished steps in `folder` were run with, and what they would be run with now.

    A smoke run is there to be replaced, and so is what was left unfinished: neither counts.
    """
    pairs = {}
    for step in experiment.steps:
        earlier = finished.made_with(folder / step.name)
        if earlier.get(SMOKE):
            continue
        pairs |= {
            f"{step.name}.{name}": (earlier[name], value)
            for name, value in step.parameters.items()
            if name in earlier and earlier[name] != value
        }
    return pairs


def check(many: Sequence[Experiment], results: str | Path) -> None:
    """Refuse experiments that would replace finished runs with other parameters.

    Raises
    ------
    KeptError
    """
    for experiment in many:
        folder = project.resolve(results) / experiment.name
        pairs = differing(experiment, folder)
        if pairs:
            raise KeptError(
                f"{project.shorten(folder)} holds a finished run with {_describe(pairs)}. Keep it and run this one beside "
                f"it: --name {_suggest(experiment, pairs)}; or replace it: --replace"
            )


def _describe(pairs: dict[str, tuple]) -> str:
    by_name: dict[str, tuple] = {}
    for key, values in pairs.items():
        by_name.setdefault(key.rpartition(".")[2], values)
    texts = [f"{name}={format_value(old)}, not {format_value(new)}" for name, (old, new) in by_name.items()]
    return "; ".join(texts[:3]) + (f" and {len(texts) - 3} more that differ" if len(texts) > 3 else "")


def _suggest(experiment: Experiment, pairs: dict[str, tuple]) -> str:
    if experiment.swept:
        return "ANOTHER_NAME"
    values = {key.rpartition(".")[2]: new for key, (_, new) in pairs.items()}
    values = {
        name: Path(new).stem if name in PATHS and isinstance(new, str) else new
        for name, new in values.items()
    }
    return name_point(experiment.name, dict(list(values.items())[:2]))

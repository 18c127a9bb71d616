"""The plan of a final experiment: written and hashed before any test row is read, and held to.

``final: true`` in an experiment seals its test rows: the notebooks, their parameters and the code are fixed first,
in ``results/EXPERIMENT/plan.json``. A step that is not in the plan, or has other parameters, is then refused; a
changed experiment is a new plan, and the page says how many there were before.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from faceworkbook import files
from faceworkbook.reports import finished
from faceworkbook.reports import parameters as params
from faceworkbook.reports.experiments import Experiment
from faceworkbook.reports.looks import Looks

NAME = "plan.json"


class PlanError(ValueError):
    """A step that departs from the sealed plan of its experiment."""


def seal(experiment: Experiment, folder: Path, *, code: str) -> None:
    """Write the plan of a final experiment; an unchanged one keeps its time, another experiment has none.

    Parameters
    ----------
    experiment : Experiment
    folder : Path
        ``results/EXPERIMENT``.
    code : str
        Hash of the library.
    """
    if not experiment.final:
        (folder / NAME).unlink(missing_ok=True)
        return
    steps = [
        {"name": step.name, "notebook": step.notebook.stem, "parameters": _planned(step.parameters)}
        for step in experiment.steps
    ]
    notebooks = [finished.hash_notebook(step.notebook) for step in experiment.steps]
    plan = files.hash_values(steps, notebooks, code)
    old = read(folder)
    if old.get("plan") == plan:
        return
    earlier = [*old.get("earlier", []), *([{key: old[key] for key in ("plan", "when")}] if old else [])]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"plan": plan, "when": when, "steps": steps, "code": code, "earlier": earlier}
    files.write_json(folder / NAME, record)


def _planned(parameters: dict) -> dict:
    return {name: value for name, value in parameters.items() if name not in params.OF_PLACE}


def read(folder: Path) -> dict:
    """Return plan, when, steps, code, earlier; empty where the experiment is not final."""
    if not (folder / NAME).is_file():
        return {}
    return files.read_json(folder / NAME, PlanError, advice="run the experiment again")


def hold_to(folder: Path, step: str, parameters: dict) -> None:
    """Refuse a step that the sealed plan does not have, or has with other parameters.

    Raises
    ------
    PlanError
    """
    plan = read(folder)
    if not plan:
        return
    advice = "the test rows are sealed by `final: true`. Change the experiment's file, which makes a new plan, or give another `out`"
    planned = [each["parameters"] for each in plan["steps"] if each["notebook"] == step]
    if not planned:
        known = [each["notebook"] for each in plan["steps"]]
        raise PlanError(f"{step} is not in the plan of {plan['when']} ({known}); {advice}")
    own = _planned(parameters)
    if own not in planned:
        name = next(name for name in own if own[name] != planned[0].get(name))
        raise PlanError(
            f"{step}: {name}={own[name]!r}, the plan of {plan['when']} has {planned[0].get(name)!r}; {advice}"
        )


def describe(plan: dict, before: Looks) -> str:
    """Return in words when the plan was written, and whether its test rows had been looked at before.

    Parameters
    ----------
    plan : dict
        See `read`.
    before : Looks
        Looks at the same test rows outside of this plan.
    """
    start = f"Final: the plan ({plan['plan'][:12]}) was written {plan['when'][:16].replace('T', ' ')} UTC, before it read a test row."
    if plan["earlier"]:
        start += f" It is plan number {len(plan['earlier']) + 1} of this experiment."
    if not before.readings:
        return f"{start} Nobody had looked at these test rows before."
    return (
        f"{start} BUT these test rows had been looked at {before.readings:,} times before, with {before.models:,} "
        f"different models, since {before.first[:10]}: they are no longer fresh."
    )

"""A bundle run again, and what came out of it beside what the bundle holds: the same, within rounding, or different and where."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import data_record, files, project
from faceworkbook.evaluation import predictions
from faceworkbook.reports import parameters as params
from faceworkbook.reports import run_records, runner, values
from faceworkbook.reports.bundles import Bundle, BundleError, classifier_steps, hash_sources
from faceworkbook.reports.experiments import Experiment, Step, name_step
from faceworkbook.reports.runs import FACES

SAME, ROUNDING, DIFFERENT = "same", "within rounding", "DIFFERENT"
OTHER_CODE = "other cells"  # of a notebook: worth knowing, and no verdict on what came out
TOLERANCE = 1e-4  # of probabilities and shares; of numbers, relative to their spread
_BLANK = {"store": ""}  # where a store lies is this machine's own affair


@dataclass(frozen=True)
class Finding:
    """One thing that was compared: how it stands, and what differs where."""

    what: str
    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.state}" + (f" ({self.detail})" if self.detail else "")


def run(bundle: Bundle, *, root: str, results: str | Path) -> list[Finding]:
    """Run the notebooks of a bundle again on the data set at `root`, and compare.

    The notebooks are those of this installation, never those in the zip.

    Parameters
    ----------
    bundle : Bundle
    root : str
        Folder of the data set.
    results : str or Path
        Folder for the results, one that no earlier run of this experiment stands in.

    Raises
    ------
    BundleError
        A step whose notebook is not here.
    ParameterError
        A parameter that this version does not have or allow.
    """
    experiment = to_experiment(bundle, root=root, results=results)
    if "corrections.csv" in bundle.content:
        place = project.resolve(results) / experiment.name / "corrections.csv"
        files.write_beside(place, bundle.content["corrections.csv"])
    values.refuse(values.check_steps(experiment.steps), experiment.name)
    findings = [
        Finding(
            f"notebook {step['name']}",
            OTHER_CODE,
            "than those that made the bundle; figures may differ for that",
        )
        for step, own in zip(bundle.record["steps"], experiment.steps, strict=True)
        if step["sources"] != hash_sources(own.notebook)
    ]
    runner.run(experiment, results=results, since=time.time())
    return [*findings, *compare(bundle, project.resolve(results) / experiment.name)]


def to_experiment(bundle: Bundle, *, root: str, results: str | Path) -> Experiment:
    """Return the experiment that a bundle was made of, on the data set at `root`."""
    name = str(bundle.record["name"])
    out = project.shorten(project.resolve(results) / name)
    steps, names = [], [step["name"] for step in bundle.record["steps"]]
    for described in bundle.record["steps"]:
        notebook = project.resolve(f"notebooks/{described['notebook']}.ipynb")
        if Path(described["notebook"]).name != described["notebook"] or not notebook.is_file():
            raise BundleError(
                f"{bundle.path}: no notebook {described['notebook']!r} is here; bundle and workbook do not fit"
            )
        allowed = params.read(notebook)
        given = {
            key: value for key, value in described["parameters"].items() if key not in params.OF_PLACE
        } | {key: value for key, value in _BLANK.items() if key in described["parameters"]}
        problems = params.unknown_names(given, set(allowed))
        values.refuse(problems, f"{bundle.path}, step {described['name']}")
        if "root" in given:
            given["root"] = root if described["name"] == FACES or FACES not in names else ""
        if given.get("corrections") and "corrections.csv" in bundle.content:
            given["corrections"] = project.shorten(project.resolve(results) / name / "corrections.csv")
        settled = {key: parameter.default for key, parameter in allowed.items()} | given
        place = {"out": out, "experiment": name, "step": name_step(described["name"], notebook)}
        settled |= {key: value for key, value in place.items() if key in allowed}
        steps.append(
            Step(
                described["name"],
                notebook,
                {key: allowed[key].check(value) for key, value in settled.items()},
            )
        )
    return Experiment(name, f"{name}, verified", "", {}, tuple(steps))


def judge(findings: list[Finding]) -> str:
    """Return the gravest state of what was compared; notebooks with other cells count for nothing."""
    states = {finding.state for finding in findings}
    return next((state for state in (DIFFERENT, ROUNDING) if state in states), SAME)


def compare(bundle: Bundle, folder: Path) -> list[Finding]:
    """Compare the run in `folder` with what the bundle holds of data, predictions and figures."""
    findings = [*_data(bundle, folder)]
    for step in classifier_steps(bundle):
        findings.append(_predictions(bundle.predictions(step), folder / step / "predictions.parquet", step))
    for step in bundle.record["steps"]:
        name = step["name"]
        was, now = bundle.values(name, "metrics").get("figures"), _figures_now(folder / name)
        if was:
            findings.append(_figures(was, now, name))
    return findings


def _data(bundle: Bundle, folder: Path):
    was = bundle.values(FACES, "data")
    if not was:
        return
    now = data_record.read(folder / FACES / data_record.NAME)
    differing = data_record.DataRecord(**was).differences(now)
    yield Finding(
        "data (faces, pictures, labels, split)", DIFFERENT if differing else SAME, ", ".join(differing)
    )


def _predictions(was: pd.DataFrame | None, path: Path, step: str) -> Finding:
    what = f"predictions of {step}"
    if was is None or not path.is_file():
        return Finding(what, DIFFERENT, "there are none now")
    keys, now = ["face_id", "split", "repeat", "fold"], predictions.read(path)
    was, now = (table.sort_values(keys).reset_index(drop=True) for table in (was, now))
    if not was[keys].astype(str).equals(now[keys].astype(str)):
        return Finding(what, DIFFERENT, f"other rows: {len(was):,} before, {len(now):,} now")
    numbers = [c for c in was if c.startswith(predictions.PROBABILITY)]
    if pd.api.types.is_numeric_dtype(was["predicted"]):
        numbers.append("predicted")
    other = (
        int((was["predicted"].astype(str) != now["predicted"].astype(str)).sum())
        if "predicted" not in numbers
        else 0
    )
    gap = np.abs(was[numbers].to_numpy(float) - now[numbers].to_numpy(float)).max(initial=0.0)
    scale = max(float(was[numbers].to_numpy(float).std()), 1.0) if "predicted" in numbers else 1.0
    if other or gap > TOLERANCE * scale:
        return Finding(
            what,
            DIFFERENT,
            f"{other:,} of {len(was):,} faces are answered otherwise; largest difference {gap:.2g}",
        )
    return Finding(
        what, ROUNDING if gap else SAME, f"largest difference {gap:.1g}" if gap else f"{len(was):,} rows"
    )


def _figures_now(folder: Path) -> list:
    return (run_records.read_record(folder / "metrics.json") or {}).get("figures") or []


def _figures(was: list, now: list, step: str) -> Finding:
    what = f"figures of {step}"
    first, second = ({_name(row): row.get("value") for row in rows} for rows in (was, now))
    lacking = sorted(first.keys() ^ second.keys())
    if lacking:
        return Finding(what, DIFFERENT, f"only in one of the two: {', '.join(lacking[:3])}")
    undefined = sorted(name for name in first if (first[name] is None) != (second[name] is None))
    if undefined:
        return Finding(what, DIFFERENT, f"undefined in one of the two: {', '.join(undefined[:3])}")
    gaps = {name: abs(value - second[name]) for name, value in first.items() if value is not None}
    worst = max(gaps, key=gaps.get, default="")
    if worst and gaps[worst] > TOLERANCE * max(abs(first[worst]), 1.0):
        return Finding(what, DIFFERENT, f"{worst} {first[worst]:.4f} before, {second[worst]:.4f} now")
    is_same = not worst or gaps[worst] == 0
    return Finding(what, SAME if is_same else ROUNDING, f"{len(gaps)} figures")


def _name(row: dict) -> str:
    names = (row.get(key) for key in ("task", "model", "run", "strategy", "metric"))
    return " ".join(str(name) for name in names if name)

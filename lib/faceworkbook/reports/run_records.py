"""What all runs say of themselves, one record a run: made from the run folders alone.

A record that is damaged or of another shape is named in its run's row; it never ends a run.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from faceworkbook import files
from faceworkbook.reports import finished, parameters
from faceworkbook.reports.parameters import format_value

FAILED_PAGE = "failed.html"
NOTES, COMPARISONS = "notes.json", "comparisons.json"
LONGEST = 600  # characters of a text on the page
ANSWERED_BY = ("05_report", "03_classifier")  # whose answer is the experiment's; else the last step's
MEASURED_BY = (
    "03_classifier",
    "10_fine_tune",
    "06_cross_validation",
)  # whose first figure leads; else the first step's
_TAG = re.compile(r"(?<!\S)#([\w-]+)")


@dataclass(frozen=True)
class Step:
    """One step's folder and what could be read of it; `damaged` names the records that could not."""

    folder: Path
    metrics: dict
    params: dict
    environment: dict
    done: dict
    answer: str
    damaged: tuple[str, ...]

    @property
    def started(self) -> str:
        """When the step began, to the minute."""
        return str(self.environment.get("started", ""))[:16].replace("T", " ")


@dataclass(frozen=True)
class RunRecord:
    """One run as the history shows it; texts are plain and not yet escaped.

    Attributes
    ----------
    figures : dict of str to dict
        ``value``, ``low``, ``high``, ``n`` (each a number or None) by 'STEP MODEL METRIC'.
    params : dict of str to str
        By 'STEP.NAME'.
    pages : list of (str, str)
        Title and link, relative to the results folder.
    data : str
        Fingerprint of the data and label, by which runs on the same test rows are known; empty where not known.
    """

    name: str
    question: str
    answer: str
    status: str
    started: str
    seconds: float
    dataset: str
    label: str
    network: str
    headline: str
    figures: dict
    params: dict
    notes: list[str]
    tags: list[str]
    pages: list[tuple[str, str]]
    commit: str
    seed: str
    data: str
    damaged: list[str]


def read_all(results: Path) -> list[RunRecord]:
    """Return the records of all runs in the folder `results`, ``EXPERIMENT/STEP/`` each, the latest first."""
    steps: dict[Path, list[Step]] = {}
    for path in sorted(
        {p.parent for name in ("environment", "metrics") for p in results.glob(f"*/*/{name}.json")}
    ):
        steps.setdefault(path.parent, []).append(_read_step(path))
    records = [_record(folder, own, results) for folder, own in steps.items()]
    return sorted(records, key=lambda record: record.started, reverse=True)


def read_record(path: Path) -> dict | None:
    """Return a JSON object; empty where there is none, None where it is damaged (a run was stopped, a foreign file)."""
    try:
        record = files.parse_json(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def answer_of(folder: Path) -> str:
    """Return the answer of the experiment in `folder`, in one sentence; empty where no step gives one."""
    records = {path.parent.name: read_record(path) or {} for path in sorted(folder.glob("*/answer.json"))}
    return _choose_answer({name: str(record.get("answer", "")) for name, record in records.items()})


def _choose_answer(answers: dict[str, str]) -> str:
    answers = {name: text for name, text in answers.items() if text}
    return next((answers[name] for name in ANSWERED_BY if name in answers), ["", *answers.values()][-1])


def _read_step(folder: Path) -> Step:
    records = {name: read_record(folder / f"{name}.json") for name in ("metrics", "params", "environment")}
    answer, done = read_record(folder / "answer.json"), read_record(folder / finished.DONE)
    damaged = tuple(f"{name}.json" for name, record in records.items() if record is None)
    metrics, params, environment = (record or {} for record in records.values())
    return Step(
        folder, metrics, params, environment, done or {}, str((answer or {}).get("answer", "")), damaged
    )


def trained_at(folder: Path) -> str:
    """Return when the classifier of the run in `folder` was fitted last, by which a kept comparison is still known to hold."""
    record = read_record(folder / "03_classifier" / "environment.json") or {}
    return str(record.get("started", ""))


def comparisons(results: Path) -> dict[str, str]:
    """Return the kept sentence of each pair of runs, 'NAME | NAME', whose classifiers are still those that were compared."""
    kept: dict[str, str] = {}
    for key, own in (read_record(results / COMPARISONS) or {}).items():
        if isinstance(own, dict) and own.get("of") == [
            trained_at(results / name) for name in key.split(" | ")
        ]:
            kept[key] = str(own.get("text", ""))[:LONGEST]
    return kept


def _record(folder: Path, steps: list[Step], results: Path) -> RunRecord:
    experiment = read_record(folder / "experiment.json")
    question = "experiment.json is damaged" if experiment is None else str(experiment.get("question", ""))
    params = {
        f"{s.folder.name}.{key}": value
        for s in steps
        for key, value in s.params.items()
        if key not in parameters.OF_PLACE
    }
    given: dict = {}
    for step in reversed(steps):
        given |= {key: value for key, value in step.params.items() if value not in ("", None, [])}
    figures = _figures(steps)
    notes = [
        str(note.get("text", ""))
        for note in _list((read_record(folder / NOTES) or {}).get("notes"))
        if isinstance(note, dict)
    ]
    leading = next(
        (key for step in MEASURED_BY for key in figures if key.startswith(f"{step} ")),
        next(iter(figures), ""),
    )
    made = next((s.environment for s in steps if s.folder.name in MEASURED_BY), steps[-1].environment)
    return RunRecord(
        name=folder.name,
        question=question[:LONGEST],
        answer=_choose_answer({step.folder.name: step.answer for step in steps})[:LONGEST],
        status=_status(steps),
        started=max((step.started for step in steps), default=""),
        seconds=sum(float(s.done["seconds"]) for s in steps if is_number(s.done.get("seconds"))),
        dataset=_datasets(given)[:LONGEST],
        label=_join(given.get("label") or given.get("labels") or given.get("tasks") or "")[:LONGEST],
        network=str(next((s.metrics["network"] for s in steps if s.metrics.get("network")), ""))[:LONGEST],
        headline=leading,
        figures=figures,
        params={
            key: format_value(value)[:LONGEST] if _is_plain(value) else str(value)[:LONGEST]
            for key, value in params.items()
        },
        notes=[note[:LONGEST] for note in notes],
        tags=sorted({tag for note in notes for tag in _TAG.findall(note)}),
        pages=_pages(folder, steps, results),
        commit=str(made.get("commit") or "")[:12],
        seed=str(made.get("seed", ""))[:20],
        data=_data(folder),
        damaged=[
            f"{s.folder.name}: {', '.join(s.damaged)} damaged; run the step again" for s in steps if s.damaged
        ],
    )


def _is_plain(value) -> bool:
    return isinstance(value, str | int | float | bool) or (
        isinstance(value, list) and all(map(_is_plain, value))
    )


def _join(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _status(steps: list[Step]) -> str:
    failed = [step.folder.name for step in steps if (step.folder / FAILED_PAGE).exists()]
    if failed:
        return f"failed in {failed[-1]}"
    again = [step.folder.name for step in steps if step.done and finished.was_run_again(step.folder)]
    if again:
        return f"{', '.join(again)} run again since, by hand"
    done = sum(bool(step.done) for step in steps)
    return (
        "finished" if done == len(steps) else f"{done} of {len(steps)} steps finished" if done else "by hand"
    )


def _figures(steps: list[Step]) -> dict:
    out: dict = {}
    for step in steps:
        metrics = step.metrics
        folds = [{**row, "model": f"folds ({row.get('n_fits', 'unknown')} fits)", "value": row.get("mean"), "n": row.get("n_test")}
                 for row in _list(metrics.get("folds")) if isinstance(row, dict)]  # fmt: skip
        for figure in [*_list(metrics.get("figures")), *folds]:
            if not isinstance(figure, dict):
                continue
            model = next(
                (figure[key] for key in ("model", "run", "strategy", "mitigation") if figure.get(key)), ""
            )
            names = (
                step.folder.name,
                figure.get("task", ""),
                model,
                figure.get("metric", metrics.get("metric", "")),
            )
            key = " ".join(str(name)[:80] for name in names if name)
            out[key] = {
                name: figure[name] if is_number(figure.get(name)) else None
                for name in ("value", "low", "high", "n")
            }
    return {key: figure for key, figure in out.items() if figure["value"] is not None}


def _pages(folder: Path, steps: list[Step], results: Path) -> list[tuple[str, str]]:
    paths = [folder / "report.html", *(step.folder / "report.html" for step in steps)]
    paths += [step.folder / name for name in ("model_card.html", FAILED_PAGE) for step in steps]
    return [_link(path, folder, results) for path in paths if path.exists()]


def _link(path: Path, folder: Path, results: Path) -> tuple[str, str]:
    name = "report" if path.parent == folder else path.parent.name
    name += {"model_card.html": " model card", FAILED_PAGE: " failed: the error"}.get(path.name, "")
    return name, quote(path.relative_to(results).as_posix()) + "#error" * (path.name == FAILED_PAGE)


def _data(folder: Path) -> str:
    record = read_record(folder / "03_classifier" / finished.DONE) and read_record(
        folder / "01_faces" / "metrics.json"
    )
    return str((record or {}).get("fingerprint", ""))[:32]


def _datasets(params: dict) -> str:
    if params.get("dataset"):
        return str(params["dataset"])
    return ", ".join(re.split(r"[:=]", str(name))[0].strip() for name in _list(params.get("sets")))


def _list(value) -> list:
    return value if isinstance(value, list) else []


def is_number(value) -> bool:
    """Whether a value of a foreign record is a number that a page can show; one of 400 digits is not."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and math.isfinite(value)
    )

"""``results/index.html``: all runs in one sortable table, made from the run folders alone.

A record that is damaged or of another shape becomes a marked row; it never ends a run.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from faceworkbook import files
from faceworkbook.reports.pages import escape, page

SORTING = """
for (const th of document.querySelectorAll("th")) th.addEventListener("click", () => {
  const table = th.closest("table"), at = [...th.parentNode.children].indexOf(th), body = table.tBodies[0];
  const up = th.getAttribute("aria-sort") !== "ascending";
  const key = row => { const c = row.children[at], v = c.dataset.value ?? c.textContent; return isNaN(v) || v === "" ? v : +v; };
  const order = (a, b) => (typeof a === "number" && typeof b === "number") ? a - b : String(a).localeCompare(String(b));
  for (const other of th.parentNode.children) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b))));
});
for (const th of document.querySelectorAll("th")) th.addEventListener("keydown", e => { if (e.key === "Enter") th.click(); });
"""
STYLE = "th{cursor:pointer}main{max-width:90rem;margin:0 auto}"
FAILED_PAGE = "failed.html"
FIGURES = {
    "experiment": "text", "step": "text", "data set": "text", "label": "text", "network": "text", "model": "text",
    "metric": "text", "value": "number", "95 % interval": "number", "n": "number", "started (UTC)": "number",
}  # fmt: skip
RUNS = {
    "experiment": "text",
    "question": "text",
    "answer": "text",
    "started (UTC)": "number",
    "pages": "text",
}
LONGEST = 600  # characters of a cell
ANSWERED_BY = ("05_report", "03_classifier")  # whose answer is the experiment's; else the last step's


@dataclass(frozen=True)
class _Step:
    """One step's folder and what could be read of it; `damaged` names the records that could not."""

    folder: Path
    metrics: dict
    params: dict
    environment: dict
    answer: str
    damaged: tuple[str, ...]

    @property
    def started(self) -> str:
        """When the step began, to the minute."""
        return str(self.environment.get("started", ""))[:16].replace("T", " ")


def write(results: Path) -> Path:
    """Write the page from the folders ``results/EXPERIMENT/STEP/``; returns its path."""
    steps: dict[Path, list[_Step]] = {}
    for path in sorted(
        {p.parent for name in ("environment", "metrics") for p in results.glob(f"*/*/{name}.json")}
    ):
        steps.setdefault(path.parent, []).append(_read_step(path))
    runs = [_run_row(folder, own, results) for folder, own in steps.items()]
    figures = [row for own in steps.values() for step in own for row in _figure_rows(step, own, results)]
    body = (
        f"<h1>All runs</h1>{_sweeps(results)}<p>A click on a heading sorts by it.</p>{_table(RUNS, runs)}"
        f"<h2>Figures</h2><p>{len(figures)} figures of test rows; folds: mean over repeated folds with the corrected "
        f"interval, n: faces of a test fold.</p>{_table(FIGURES, figures)}"
    )
    return files.write_beside(results / "index.html", page("All runs", body, style=STYLE, script=SORTING))


def _sweeps(results: Path) -> str:
    """Link the comparison of each sweep; empty where there is none."""
    items = []
    for path in sorted(results.glob("*/sweep.json")):
        record = _read_record(path) or {}
        link = escape(quote(f"{path.parent.name}/report.html"))
        answer = escape(str(record.get("answer", "sweep.json is damaged"))[:LONGEST])
        items.append(f'<li><a href="{link}">{escape(path.parent.name)}</a>: {answer}</li>')
    return (
        f"<p>Sweeps, several points of one experiment beside each other:</p><ul>{''.join(items)}</ul>"
        * bool(items)
    )


def _read_step(folder: Path) -> _Step:
    records = {name: _read_record(folder / f"{name}.json") for name in ("metrics", "params", "environment")}
    answer = _read_record(folder / "answer.json")
    damaged = tuple(f"{name}.json" for name, record in records.items() if record is None)
    metrics, params, environment = (record or {} for record in records.values())
    return _Step(folder, metrics, params, environment, str((answer or {}).get("answer", "")), damaged)


def _read_record(path: Path) -> dict | None:
    """A JSON object; empty where there is none, None where it is damaged (a run was stopped, a foreign file)."""
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _run_row(folder: Path, steps: list[_Step], results: Path) -> list[str]:
    """One experiment: question, answer and a link to every page that it has, model cards and errors too."""
    pages = [folder / "report.html", *(step.folder / "report.html" for step in steps)]
    pages += [step.folder / name for name in ("model_card.html", FAILED_PAGE) for step in steps]
    links = [_link(path, folder, results) for path in pages if path.exists()]
    links += [
        f'<span class="miss">{escape(s.folder.name)}: {escape(_damage(s))}</span>' for s in steps if s.damaged
    ]
    experiment = _read_record(folder / "experiment.json")
    question = "experiment.json is damaged" if experiment is None else experiment.get("question", "")
    answer = _choose_answer({step.folder.name: step.answer for step in steps})
    started = max((step.started for step in steps), default="")
    return [
        _cell(folder.name),
        _cell(question),
        _cell(answer),
        _moment(started),
        f'<td class="text">{" · ".join(links)}</td>',
    ]


def answer_of(folder: Path) -> str:
    """Return the answer of the experiment in `folder`, in one sentence; empty where no step gives one."""
    records = {path.parent.name: _read_record(path) or {} for path in sorted(folder.glob("*/answer.json"))}
    return _choose_answer({name: str(record.get("answer", "")) for name, record in records.items()})


def _choose_answer(answers: dict[str, str]) -> str:
    answers = {name: text for name, text in answers.items() if text}
    return next((answers[name] for name in ANSWERED_BY if name in answers), ["", *answers.values()][-1])


def _damage(step: _Step) -> str:
    return f"{', '.join(step.damaged)} damaged; run the step again"


def _link(path: Path, folder: Path, results: Path) -> str:
    name = "report" if path.parent == folder else path.parent.name
    name += {"model_card.html": " model card", FAILED_PAGE: " failed: the error"}.get(path.name, "")
    link = quote(path.relative_to(results).as_posix()) + "#error" * (path.name == FAILED_PAGE)
    return f'<a href="{escape(link)}">{escape(name)}</a>'


def _figure_rows(step: _Step, steps: list[_Step], results: Path) -> list[list[str]]:
    folder = step.folder.parent
    faces = next((s.params for s in steps if s.folder.name == "01_faces"), {})
    params = faces | step.params
    path = step.folder / "report.html"
    link = _link(path, folder, results) if path.exists() else escape(step.folder.name)
    start = [_cell(folder.name), f'<td class="text">{link}</td>', _cell(_datasets(params))]
    if step.damaged:
        rest = [_cell("")] * (len(FIGURES) - 5)
        return [[*start, f'<td class="text miss">{escape(_damage(step))}</td>', *rest, _moment(step.started)]]
    metrics = step.metrics
    figures = [f for f in _list(metrics.get("figures")) if isinstance(f, dict)]
    figures += [_of_folds(f) for f in _list(metrics.get("folds")) if isinstance(f, dict)]
    return [
        [*start, _cell(f.get("task", params.get("label", ""))), _cell(metrics.get("network", "")),
         _cell(f.get("model", f.get("run", f.get("strategy", f.get("mitigation", ""))))), _cell(f.get("metric", metrics.get("metric", ""))),
         _number(f.get("value")), _interval(f), _number(f.get("n"), digits=0), _moment(step.started)]
        for f in figures
    ]  # fmt: skip


def _datasets(params: dict) -> str:
    if params.get("dataset"):
        return str(params["dataset"])
    return ", ".join(re.split(r"[:=]", str(name))[0].strip() for name in _list(params.get("sets")))


def _of_folds(row: dict) -> dict:
    model = f"folds ({row.get('n_fits', 'unknown')} fits)"
    return {**row, "model": model, "value": row.get("mean"), "n": row.get("n_test")}


def _list(value) -> list:
    return value if isinstance(value, list) else []


def _table(columns: dict[str, str], rows: list[list[str]]) -> str:
    head = "".join(
        f'<th scope="col" class="{kind}" tabindex="0">{name}</th>' for name, kind in columns.items()
    )
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _moment(text: str) -> str:
    return f'<td class="number" data-value="{escape(text)}">{escape(text)}</td>'


def _cell(value) -> str:
    return f'<td class="text">{escape(str(value)[:LONGEST])}</td>'


def _number(value, *, digits: int = 3) -> str:
    if not _is_number(value):
        return '<td class="number">–</td>'
    return f'<td class="number" data-value="{value}">{value:,.{digits}f}</td>'


def _interval(figure: dict) -> str:
    low, high = figure.get("low"), figure.get("high")
    if not (_is_number(low) and _is_number(high)):
        return '<td class="number">–</td>'
    return f'<td class="number" data-value="{low}">{low:.3f} to {high:.3f}</td>'


def _is_number(value) -> bool:
    # An integer of 400 digits is none that a page can show.
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and math.isfinite(value)
    )

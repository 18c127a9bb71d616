"""``results/index.html``: all runs in one sortable table, made from the run folders alone."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

STYLE = Path(__file__).parent / "templates" / "report" / "style.css"
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
"""
FAILED_PAGE = "failed.html"
FIGURES = {
    "experiment": "text", "step": "text", "data set": "text", "label": "text", "network": "text", "model": "text",
    "metric": "text", "value": "number", "95 % interval": "number", "n": "number", "started (UTC)": "number",
}  # fmt: skip
RUNS = {"experiment": "text", "question": "text", "started (UTC)": "number", "pages": "text"}


def write(results: Path) -> Path:
    """Write the page from the folders ``results/EXPERIMENT/STEP/``; returns its path."""
    runs = [_run(folder, results) for folder in _experiments(results)]
    figures = [row for path in sorted(results.glob("*/*/metrics.json")) for row in _figures(path, results)]
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>All runs</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{STYLE.read_text()}th{{cursor:pointer}}main{{max-width:90rem;margin:0 auto}}</style></head><body><main>"
        f"<h1>All runs</h1><p>A click on a heading sorts by it.</p>{_table(RUNS, runs)}"
        f"<h2>Figures</h2><p>{len(figures)} figures of test rows; folds: mean over repeated folds with the corrected interval, "
        f"n: faces of a test fold.</p>{_table(FIGURES, figures)}"
        f"</main><script>{SORTING}</script></body></html>"
    )
    results.mkdir(parents=True, exist_ok=True)
    target = results / "index.html"
    beside = target.with_name("index.html.part")
    beside.write_text(page)
    return beside.replace(target)


def _table(columns: dict[str, str], rows: list[list[str]]) -> str:
    head = "".join(
        f'<th scope="col" class="{kind}" tabindex="0">{name}</th>' for name, kind in columns.items()
    )
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _experiments(results: Path) -> list[Path]:
    return sorted({path.parent.parent for path in results.glob("*/*/environment.json")})


def _run(folder: Path, results: Path) -> list[str]:
    """One experiment: its question and a link to every page that it has, model cards and errors too."""
    steps = sorted(path.parent for path in folder.glob("*/environment.json"))
    pages = [folder / "report.html", *(step / "report.html" for step in steps)]
    pages += [step / name for name in ("model_card.html", FAILED_PAGE) for step in steps]
    links = [_link(page, folder, results) for page in pages if page.exists()]
    started = max((_started(step) for step in steps), default="")
    asked = _record(folder / "experiment.json").get("question", "")
    return [_cell(folder.name), _cell(asked), _moment(started), f'<td class="text">{" · ".join(links)}</td>']


def _link(page: Path, folder: Path, results: Path) -> str:
    name = "report" if page.parent == folder else page.parent.name
    name += {"model_card.html": " model card", FAILED_PAGE: " failed: the error"}.get(page.name, "")
    link = page.relative_to(results).as_posix() + "#error" * (page.name == FAILED_PAGE)
    return f'<a href="{html.escape(link)}">{html.escape(name)}</a>'


def _figures(path: Path, results: Path) -> list[list[str]]:
    metrics, step, folder = _record(path), path.parent, path.parent.parent
    params = _record(folder / "01_faces" / "params.json") | _record(path.with_name("params.json"))
    made_of = params.get("dataset") or ", ".join(
        re.split(r"[:=]", str(name))[0].strip() for name in params.get("sets", [])
    )
    page = step / "report.html"
    link = _link(page, folder, results) if page.exists() else step.name
    start = [_cell(folder.name), f'<td class="text">{link}</td>', _cell(made_of)]
    folds = [_of_folds(fold) for fold in metrics.get("folds", [])]
    return [
        [*start, _cell(f.get("task", params.get("label", ""))), _cell(metrics.get("network", "")),
         _cell(f.get("model", f.get("run", f.get("strategy", f.get("way", ""))))), _cell(f.get("metric", metrics.get("metric", ""))),
         _number(f.get("value")), _interval(f), _number(f.get("n"), digits=0), _moment(_started(step))]
        for f in [*metrics.get("figures", []), *folds]
        if isinstance(f, dict)
    ]  # fmt: skip


def _moment(text: str) -> str:
    return f'<td class="number" data-value="{text}">{text}</td>'


def _of_folds(row: dict) -> dict:
    model = f"folds ({row['n_fits']} fits)"
    return {**row, "model": model, "value": row["mean"], "n": row["n_test"]}


def _started(step: Path) -> str:
    return _record(step / "environment.json").get("started", "")[:16].replace("T", " ")


def _record(path: Path) -> dict:
    """A JSON record; empty where there is none or a run was stopped while it wrote."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _cell(value) -> str:
    return f'<td class="text">{html.escape(str(value))}</td>'


def _number(value, *, digits: int = 3) -> str:
    if value is None or value != value:
        return '<td class="number">–</td>'
    return f'<td class="number" data-value="{value}">{value:,.{digits}f}</td>'


def _interval(figure: dict) -> str:
    low, high = figure.get("low"), figure.get("high")
    if low is None or low != low:
        return '<td class="number">–</td>'
    return f'<td class="number" data-value="{low}">{low:.3f} to {high:.3f}</td>'

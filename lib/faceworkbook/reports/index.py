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
COLUMNS = (
    "experiment",
    "step",
    "data set",
    "label",
    "network",
    "model",
    "metric",
    "value",
    "95 % interval",
    "n",
    "started",
    "page",
)


def write(results: Path) -> Path:
    """Write the page from every ``results/EXPERIMENT/STEP/metrics.json``; returns its path."""
    rows = [row for path in sorted(results.glob("*/*/metrics.json")) for row in _rows(path, results)]
    head = "".join(f'<th scope="col" tabindex="0">{name}</th>' for name in COLUMNS)
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>All runs</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text()}th{{cursor:pointer}}main{{max-width:90rem;margin:0 auto}}</style></head><body><main>"
        f"<h1>All runs</h1><p>{len(rows)} figures. A click on a heading sorts by it.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"</main><script>{SORTING}</script></body></html>"
    )
    results.mkdir(parents=True, exist_ok=True)
    target = results / "index.html"
    beside = target.with_name("index.html.part")
    beside.write_text(page)
    return beside.replace(target)


def _rows(path: Path, results: Path) -> list[list[str]]:
    try:
        metrics = json.loads(path.read_text())
        params = _record(path.with_name("params.json"))
        started = _record(path.with_name("environment.json")).get("started", "")
    except json.JSONDecodeError:
        return []
    folder = path.parent
    page = (folder / "report.html").relative_to(results).as_posix()
    link = f'<a href="{html.escape(page)}">page</a>' if (folder / "report.html").exists() else ""
    start = [
        folder.parent.name,
        folder.name,
        params.get("dataset", ""),
        params.get("label", ""),
        metrics.get("network", ""),
    ]
    return [
        [*map(_cell, start), *map(_cell, (f.get("model", ""), f["metric"])), _number(f.get("value")), _interval(f),
         _number(f.get("n"), digits=0), _cell(started), f"<td>{link}</td>"]
        for f in metrics.get("figures", [])
        if isinstance(f, dict) and "metric" in f
    ]  # fmt: skip


def _record(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def _cell(value) -> str:
    return f'<td class="text">{html.escape(re.sub(r"[+]00:00$", " UTC", str(value)))}</td>'


def _number(value, *, digits: int = 3) -> str:
    if value is None or value != value:
        return "<td>–</td>"
    return f'<td data-value="{value}">{value:,.{digits}f}</td>'


def _interval(figure: dict) -> str:
    low, high = figure.get("low"), figure.get("high")
    return (
        "<td>–</td>" if low is None or low != low else f'<td data-value="{low}">{low:.3f} to {high:.3f}</td>'
    )

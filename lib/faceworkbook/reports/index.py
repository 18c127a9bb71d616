"""``results/index.html``: all runs in one table to filter, and chosen ones beside each other.

Made from the run folders alone (`run_records`); the folder can be moved.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from urllib.parse import quote

from faceworkbook import files
from faceworkbook.reports import run_records
from faceworkbook.reports.pages import TEMPLATES, escape, page, to_json
from faceworkbook.reports.run_records import FAILED_PAGE, LONGEST, RunRecord, answer_of

LOCK = ".index.lock"
COLUMNS = {
    "run": "text", "status": "text", "started (UTC)": "text", "data set": "text", "label": "text", "network": "text",
    "first figure": "text", "answer": "text", "notes": "text", "pages": "text",
}  # fmt: skip
_FOLDER = TEMPLATES / "history"


def write(results: Path) -> Path:
    """Write the page from the folders ``results/EXPERIMENT/STEP/``; returns its path."""
    # Else a run that read them before another one ended could write after it, and leave it out.
    with files.hold(results / LOCK, "index.html: another run is writing it"):
        return files.write_beside(results / "index.html", _page(results))


def _page(results: Path) -> str:
    records = run_records.read_all(results)
    body = (
        f"<h1>All runs</h1>{_sweeps(results)}<div class='history'>{_table(records)}"
        f'<script type="application/json" class="runs">{to_json(_data(records, results))}</script></div>'
    )
    style, script = ((_FOLDER / f"history.{kind}").read_text() for kind in ("css", "js"))
    return page("All runs", body, style=style, script=script)


def _sweeps(results: Path) -> str:
    """Link the comparison of each sweep; empty where there is none."""
    items = []
    for path in sorted(results.glob("*/sweep.json")):
        record = run_records.read_record(path) or {}
        link = escape(quote(f"{path.parent.name}/report.html"))
        answer = escape(
            shorten(str(record.get("answer", "sweep.json is damaged")), LONGEST, placeholder=" ...")
        )
        items.append(f'<li><a href="{link}">{escape(path.parent.name)}</a>: {answer}</li>')
    listed = f"<ul>{''.join(items)}</ul>"
    return f"<p>Sweeps, several points of one experiment beside each other:</p>{listed}" if items else ""


def _table(records: list[RunRecord]) -> str:
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in COLUMNS.items())
    body = "".join(_row(number, record) for number, record in enumerate(records))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table of runs"><table class="runs">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(number: int, record: RunRecord) -> str:
    links = [f'<a href="{escape(link)}">{escape(name)}</a>' for name, link in record.pages]
    links += [f'<span class="miss">{escape(text)}</span>' for text in record.damaged]
    bad = ' miss"' if record.status.startswith("failed") else '"'
    cells = [
        f'<th scope="row" class="text">{_link(record)}</th>',
        f'<td class="text{bad} data-label="status">{escape(record.status)}</td>',
        *(
            f'<td class="text" data-label="{label}">{escape(text)}</td>'
            for label, text in (
                ("started", record.started),
                ("data set", record.dataset),
                ("label", record.label),
                ("network", record.network),
                ("figure", format_headline(record)),
                ("answer", record.answer),
                ("notes", "; ".join(record.notes)),
            )
        ),
        f'<td class="text" data-label="pages">{" · ".join(links)}</td>',
    ]
    return f'<tr data-run="{number}" title="{escape(record.question)}">{"".join(cells)}</tr>'


def _link(record: RunRecord) -> str:
    """Return the run's name, as a link to the first of its pages where it has any."""
    name = escape(record.name)
    return f'<a href="{escape(record.pages[0][1])}">{name}</a>' if record.pages else name


def format_headline(record: RunRecord) -> str:
    """Return a run's leading figure with its interval and n, as text; empty where it has none."""
    figure = record.figures.get(record.headline)
    return f"{record.headline.partition(' ')[2]} {format_figure(figure)}" if figure else ""


def format_figure(figure: dict) -> str:
    """Return ``0.942 [0.931, 0.951], n 600``, as far as it is known."""
    text = f"{figure['value']:,.3f}"
    if figure["low"] is not None and figure["high"] is not None:
        text += f" [{figure['low']:,.3f}, {figure['high']:,.3f}]"
    return text + (f", n {figure['n']:,.0f}" if figure["n"] is not None else "")


def _data(records: list[RunRecord], results: Path) -> dict:
    """Return what the script reads; parameters as codes of their values, as most runs share them."""
    names = dict.fromkeys(key for record in records for key in record.params)
    params = {}
    for name in names:
        values = [record.params.get(name) for record in records]
        known = {value: code for code, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
        params[name] = {"values": [*known], "codes": [known.get(value, -1) for value in values]}
    return {
        "runs": [
            {
                "name": record.name,
                "question": record.question,
                "commit": record.commit,
                "seed": record.seed,
                "seconds": round(record.seconds),
                "tags": record.tags,
                "data": f"{record.data} {record.label}" if record.data else "",
                "figures": {key: format_figure(figure) for key, figure in record.figures.items()},
                "value": (record.figures.get(record.headline) or {"value": None})["value"],
            }
            for record in records
        ],
        "params": params,
        "compared": run_records.comparisons(results),
    }


__all__ = ["FAILED_PAGE", "answer_of", "write"]

"""Run the benchmarks and write a report: ``python -m benchmarks [--quick] [NAME ...]``.

A benchmark is a module here with ``main(quick=False)`` that returns tables by title. A table whose
``attrs["plot"]`` names one of its numeric columns is drawn as bars too, and ``attrs["note"]`` stands below it.
The report is one offline page, ``benchmarks/results/report.html``.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import inspect
import io
import platform
import re
import time
from html import escape
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from faceworkbook.plots import style
from faceworkbook.threads import count_cores

HERE = Path(__file__).parent
STYLE = HERE.parent / "lib/faceworkbook/reports/templates/report/style.css"
RESULTS = HERE / "results"


def main() -> None:
    """Run the benchmarks that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="benchmarks to run; all where none is named")
    parser.add_argument("--quick", action="store_true", help="small inputs and few repeats")
    parser.add_argument("--out", type=Path, default=RESULTS / "report.html", help="the page to write")
    args = parser.parse_args()
    known = discover()
    unknown = sorted(set(args.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; expected of {', '.join(known)}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sections = []
    for name in args.names or known:
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        tables = known[name](quick=args.quick)
        sections.append(section(name, tables, seconds=time.perf_counter() - start))
        args.out.write_text(page(sections, quick=args.quick))
    print(args.out)


def discover() -> dict:
    """Return ``main`` of every module that takes `quick`, by the module's name."""
    programs = {}
    for path in sorted(HERE.glob("[a-z]*.py")):
        run = getattr(importlib.import_module(f"benchmarks.{path.stem}"), "main", None)
        if run is not None and "quick" in inspect.signature(run).parameters:
            programs[path.stem] = run
    return programs


def page(sections: list[str], *, quick: bool) -> str:
    """Return the whole report as HTML that loads nothing from outside."""
    cores = count_cores()
    machine = f"{processor()}, {cores} cores, Python {platform.python_version()}"
    warning = "<p>Small inputs and few repeats: a look at the page, no measurement.</p>" if quick else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Benchmarks</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{STYLE.read_text()}main{{max-width:72rem;margin:0 auto}}</style></head><body><main>"
        f"<h1>Benchmarks</h1><p>{time.strftime('%Y-%m-%d %H:%M')}; {escape(machine)}</p>{warning}"
        f"{''.join(sections)}</main></body></html>"
    )


def processor() -> str:
    """Return the processor's name."""
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1)
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def section(name: str, tables: dict[str, pd.DataFrame], *, seconds: float) -> str:
    """Return the HTML of one benchmark: what it measures, its tables and pictures."""
    text = (
        (importlib.import_module(f"benchmarks.{name}").__doc__ or "").strip().splitlines()[0].replace("`", "")
    )
    pieces = [f'<h2 id="{name}">{name}</h2><p>{escape(text)} ({seconds:.0f} s)</p>']
    for title, table in tables.items():
        print(f"\n{title}\n{table.to_string()}\n", flush=True)
        pieces.append(f"<h3>{escape(title)}</h3>")
        if table.size:
            pieces.append(as_html(table))
        if "note" in table.attrs:
            pieces.append(f"<p>{escape(table.attrs['note'])}</p>")
        if "plot" in table.attrs:
            pieces.append(draw(table))
    return "".join(pieces)


def as_html(table: pd.DataFrame) -> str:
    """Format a table as HTML, its index as columns, numbers with three significant figures."""
    flat = table.reset_index()
    kinds = ["number" if pd.api.types.is_numeric_dtype(flat[name]) else "text" for name in flat]
    format_each = [format_number if kind == "number" else str for kind in kinds]
    head = "".join(
        f'<th class="{k}" scope="col">{escape(str(c))}</th>' for c, k in zip(flat, kinds, strict=True)
    )
    rows = [
        "".join(
            f'<td class="{k}">{escape(f(v))}</td>' for v, k, f in zip(row, kinds, format_each, strict=True)
        )
        for row in flat.itertuples(index=False, name=None)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def format_number(value: float) -> str:
    """Format a number: whole from 100 on, else with three significant figures; a dash for NaN."""
    if pd.isna(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def draw(table: pd.DataFrame) -> str:
    """Draw bars of the column that the table names, as a picture inside the page."""
    column = table.attrs["plot"]
    labels = [", ".join(map(str, key)) if isinstance(key, tuple) else format_key(key) for key in table.index]
    with mpl.rc_context(style.SETTINGS):
        figure = Figure(figsize=(7, 1 + 0.3 * len(table)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(range(len(table)), table[column], color=style.COLORS[0])
        axes.bar_label(bars, [format_number(value) for value in table[column]], padding=3)
        axes.set(xlabel=column, yticks=range(len(table)), yticklabels=labels)
        axes.margins(x=0.12)
        axes.invert_yaxis()
        picture = io.BytesIO()
        figure.savefig(picture, dpi=130)
    values = "; ".join(
        f"{label}: {format_number(value)}" for label, value in zip(labels, table[column], strict=True)
    )
    data = base64.b64encode(picture.getvalue()).decode()
    return f'<figure><img alt="{escape(f"{column}. {values}")}" src="data:image/png;base64,{data}"></figure>'


def format_key(key) -> str:
    """Format an index entry."""
    return f"{key:,}" if isinstance(key, int) else str(key)


if __name__ == "__main__":
    main()

"""Run the benchmarks and write a report: ``python -m benchmarks [--quick] [NAME ...]``.

A benchmark is a module here with ``main(quick=False)`` that returns tables by title. A table whose
``attrs["plot"]`` names one of its numeric columns is drawn as bars too. The report is written to
``benchmarks/results/report.md``.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import platform
import re
import time
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main() -> None:
    """Run what the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="benchmarks to run; all where none is named")
    parser.add_argument("--quick", action="store_true", help="small inputs and few repeats")
    args = parser.parse_args()
    known = discover()
    unknown = sorted(set(args.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; expected of {', '.join(known)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    parts = [heading()]
    for name in args.names or known:
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        tables = known[name](quick=args.quick)
        parts.append(section(name, tables, seconds=time.perf_counter() - start))
        (RESULTS / "report.md").write_text("\n".join(parts))
    print(RESULTS / "report.md")


def discover() -> dict:
    """``main`` of every module that takes `quick`, by the module's name."""
    found = {}
    for path in sorted(HERE.glob("[a-z]*.py")):
        run = getattr(importlib.import_module(f"benchmarks.{path.stem}"), "main", None)
        if run is not None and "quick" in inspect.signature(run).parameters:
            found[path.stem] = run
    return found


def heading() -> str:
    """Title, day and machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{processor()}, {cores} cores, Python {platform.python_version()}"
    return f"# Benchmarks\n\n{time.strftime('%Y-%m-%d %H:%M')}; {machine}\n"


def processor() -> str:
    """The processor's name."""
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1)
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def section(name: str, tables: dict[str, pd.DataFrame], *, seconds: float) -> str:
    """Markdown of one benchmark: what it measures, its tables and pictures."""
    text = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").strip().splitlines()[0]
    lines = [f"## {name}", "", f"{text} ({seconds:.0f} s)", ""]
    for title, table in tables.items():
        print(f"\n{title}\n{table.to_string()}\n", flush=True)
        lines += [f"### {title}", "", markdown(table), ""]
        if "plot" in table.attrs:
            lines += [f"![{title}]({draw(name, title, table)})", ""]
    return "\n".join(lines)


def markdown(table: pd.DataFrame) -> str:
    """`table` with its index, as a Markdown table."""
    flat = table.reset_index()
    rows = [[str(column) for column in flat.columns], ["---"] * flat.shape[1]]
    rows += [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in flat.to_numpy(object)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw(name: str, title: str, table: pd.DataFrame) -> str:
    """Bars of the column that the table names; the picture's file name."""
    from matplotlib.figure import Figure

    column = table.attrs["plot"]
    labels = [" ".join(map(str, entry)) if isinstance(entry, tuple) else str(entry) for entry in table.index]
    figure = Figure(figsize=(7, 1 + 0.3 * len(table)), layout="constrained")
    axes = figure.subplots()
    axes.barh(labels[::-1], table[column].to_numpy()[::-1], color="#0072B2")
    axes.set(xlabel=column, title=title)
    file = f"{name}-{re.sub('[^a-z0-9]+', '-', title.lower())}.png"
    figure.savefig(RESULTS / file, dpi=120)
    return file


if __name__ == "__main__":
    main()

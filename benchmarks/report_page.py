"""A report's page of many faces, and the history of many runs, in a browser: size, first paint, filters and sorting.

    python -m benchmarks report_page [--quick]

The faces are the embedded ones over and over, their predictions and places on the map made up. Chromium opens the
page from a file; times are medians of `REPEATS`, from the event until the next frame is drawn.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import datasets
from faceworkbook.reports import index
from tests.support import face_pages
from tests.support.run_folders import write_runs

ROOT = Path(__file__).parents[1] / "data" / "synthetic"
FACES, RUNS, REPEATS = 10_000, 500, 5
BARS = {"size, MB": 6.0, "first paint, ms": 2000.0, "filter, ms": 100.0}
TIMED = """async ([selector, value]) => {
  const element = document.querySelector(selector), start = performance.now();
  if (element.tagName === "SELECT") { element.value = value; element.dispatchEvent(new Event("change")); } else element.click();
  await document.body.animate([], 1).ready;  // the next frame
  return performance.now() - start;
}"""
STEPS = {
    "filter": [("select[aria-label='race']", "0"), ("select[aria-label='race']", "")],
    "filter, errors": [("select[aria-label='rows']", "wrong"), ("select[aria-label='rows']", "")],
    "sort by probability": [
        (".face-browser th:nth-child(4) button", ""),
        (".face-browser th:nth-child(4) button", ""),
    ],
    "sort by file": [(".face-browser th:nth-last-child(2) button", "")],
    "colour by race": [
        ("select[aria-label='colour by']", "group:race"),
        ("select[aria-label='colour by']", "truth"),
    ],
}
HISTORY = {
    "filter": [("select[aria-label='data set']", "utkface"), ("select[aria-label='data set']", "")],
    "sort by run": [("th[data-title=status] button", ""), ("th[data-title='first figure'] button", "")],
    "compare": [(".history tbody tr:nth-child(1) input", ""), (".history tbody tr:nth-child(2) input", "")],
}


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Write the page, open it, and return its figures beside what they should not exceed."""
    n = 500 if quick else FACES
    with tempfile.TemporaryDirectory() as folder:
        page = write(Path(folder), n)
        rows = [("size, MB", page.stat().st_size / 1e6), *measure(page)]
        runs = 50 if quick else RUNS
        results = Path(folder) / "results"
        write_runs(results, runs)
        begun = time.perf_counter()
        page = index.write(results)
        written = ("written, ms", 1000 * (time.perf_counter() - begun))
        history = [("size, MB", page.stat().st_size / 1e6), written, *measure(page, HISTORY)]
    return {f"page of {n:,} faces": _table(rows), f"history of {runs:,} runs": _table(history)}


def _table(rows: list[tuple[str, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["what", "value"])
    table["at most"] = table["what"].map(BARS)
    table.attrs["note"] = f"median of {REPEATS}"
    print(table.to_string(index=False))
    return table


def write(folder: Path, n: int) -> Path:
    """Write a report's page with `n` faces into `folder`."""
    own = datasets.load("synthetic", ROOT).faces
    faces = own.iloc[np.resize(np.arange(len(own)), n)].reset_index(drop=True)
    faces["face_id"] = [f"{face}-{number}" for number, face in enumerate(faces["face_id"])]
    rows = face_pages.make_rows(faces, face_pages.predict(faces))
    return face_pages.write_faces(folder, rows, ROOT)


def measure(path: Path, steps: dict = STEPS) -> list[tuple[str, float]]:
    """Open the page and return what is measured, in milliseconds."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    out: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(REPEATS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri())
            page.wait_for_selector("main button", state="attached")
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            out.setdefault("first paint, ms", []).append(page.evaluate(paint))
            ready = "performance.getEntriesByType('navigation')[0].domComplete"
            out.setdefault("table and pictures read, ms", []).append(page.evaluate(ready))
            page.locator("main select").first.scroll_into_view_if_needed()
            page.wait_for_timeout(1000)
            for name, events in steps.items():
                for step in events:
                    out.setdefault(f"{name}, ms", []).append(page.evaluate(TIMED, list(step)))
            page.close()
        browser.close()
    return [(name, float(np.median(values))) for name, values in out.items()]

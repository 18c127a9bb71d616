"""A report's page of many faces in a browser: its size, when it is painted, how long filters and sorting take.

    python -m benchmarks report_page [--quick]

The faces are the embedded ones over and over, their predictions and places on the map made up. Chromium opens the
page from a file; times are medians of `REPEATS`, from the event until the next frame is drawn.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import datasets
from tests.support import face_pages

ROOT = Path(__file__).parents[1] / "data" / "synthetic"
FACES, REPEATS = 10_000, 5
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


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Write the page, open it, and return its figures beside what they should not exceed."""
    n = 500 if quick else FACES
    with tempfile.TemporaryDirectory() as folder:
        page = write(Path(folder), n)
        rows = [("size, MB", page.stat().st_size / 1e6), *measure(page)]
    table = pd.DataFrame(rows, columns=["what", "value"])
    table["at most"] = table["what"].map(BARS)
    table.attrs["note"] = f"{n:,} faces; median of {REPEATS}"
    print(table.to_string(index=False))
    return {f"page of {n:,} faces": table}


def write(folder: Path, n: int) -> Path:
    """Write a report's page with `n` faces into `folder`."""
    own = datasets.load("synthetic", ROOT).faces
    faces = own.iloc[np.resize(np.arange(len(own)), n)].reset_index(drop=True)
    faces["face_id"] = [f"{face}-{number}" for number, face in enumerate(faces["face_id"])]
    rows = face_pages.make_rows(faces, face_pages.predict(faces))
    return face_pages.write_faces(folder, rows, ROOT)


def measure(path: Path) -> list[tuple[str, float]]:
    """Open the page and return what is measured, in milliseconds."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    out: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(REPEATS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri())
            page.wait_for_selector(".face-browser .live tbody tr", state="attached")
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            out.setdefault("first paint, ms", []).append(page.evaluate(paint))
            ready = "performance.getEntriesByType('navigation')[0].domComplete"
            out.setdefault("table and pictures read, ms", []).append(page.evaluate(ready))
            page.locator(".face-browser").scroll_into_view_if_needed()
            page.wait_for_timeout(1000)
            for name, steps in STEPS.items():
                for step in steps:
                    out.setdefault(f"{name}, ms", []).append(page.evaluate(TIMED, list(step)))
            page.close()
        browser.close()
    return [(name, float(np.median(values))) for name, values in out.items()]

"""``workbook pdf``: a run's page as PDF, printed by a Chromium that is installed; none is fetched."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from faceworkbook import files, project
from faceworkbook.reports import history_command

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PATIENCE = 300  # seconds that the browser may take


class PdfError(ValueError):
    """A page that cannot be printed; the text says what is lacking."""


def add(commands) -> None:
    """Add the command to the sub-parsers of ``workbook``."""
    pdf = commands.add_parser("pdf", help="print a run's page as PDF, where a Chromium is installed")
    pdf.add_argument("page", help="a run's name or folder, or an HTML page")
    pdf.add_argument("output", type=Path, nargs="?", help="default: the page's name with .pdf, beside it")
    pdf.add_argument("--results", default="results", help="folder of the results (default: results)")
    pdf.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    page = Path(options.page)
    if page.suffix.lower() not in (".html", ".htm") or not page.is_file():
        page = history_command.find(options.page, options.results) / "report.html"
    print(project.shorten(write(page, options.output or page.with_suffix(".pdf"))))
    return 0


def write(page: Path, output: Path) -> Path:
    """Print the page to `output`; returns its path.

    Raises
    ------
    PdfError
        There is no such page, no Chromium, or it could not print.
    """
    if not page.is_file():
        raise PdfError(f"there is no page {project.shorten(page)}; run the experiment to its end first")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise PdfError(
            f"no Chromium is here (looked for {', '.join(BROWSERS)}); open {page.name} in a browser and print it there"
        )
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "page.pdf"
        # Chromium's sandbox does not start for root; the page is this workbook's own and loads nothing.
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command = [
            browser,
            "--headless=new",
            "--disable-gpu",
            *root,
            f"--user-data-dir={folder}/profile",
            "--no-pdf-header-footer",
        ]
        try:
            done = subprocess.run(
                [*command, f"--print-to-pdf={made}", page.resolve().as_uri()],
                capture_output=True, text=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise PdfError(f"{Path(browser).name} printed nothing within {PATIENCE} s; try again") from error
        if not made.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PdfError(f"{Path(browser).name} printed nothing ({last[:200]})")
        return files.write_beside(output, made.read_bytes())

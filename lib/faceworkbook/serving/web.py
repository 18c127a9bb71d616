"""The page of the server: one file, nothing loaded from outside; drop photos, use the camera, see answers."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path

from faceworkbook.reports import pages
from faceworkbook.serving import records
from faceworkbook.serving.predictor import Predictor

_PAGE = Path(__file__).parent / "page"


@functools.cache
def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def make_page(predictor: Predictor) -> str:
    """Return the page for one predictor; what comes from its folder is escaped."""
    described = records.describe_predictor(predictor)
    tasks = ", ".join(task["name"].replace("_", " ") for task in described["tasks"])
    texts = {
        "@TITLE@": pages.escape(described["title"] or "Face attributes"),
        "@TASKS@": pages.escape(tasks),
        "@ABOUT@": pages.escape(records.ABOUT),
        "@CARD@": pages.render_markdown(predictor.card) if predictor.card else "",
    }
    html = _read("page.html")
    for place, text in texts.items():
        html = html.replace(place, text)
    # Last, so that nothing in them is replaced.
    return html.replace("@STYLE@", pages.stylesheet() + _read("page.css")).replace(
        "@SCRIPT@", _read("page.js")
    )


def page_policy() -> str:
    """Return the content security policy: the one script, this server, pictures and camera of the browser itself."""
    digest = base64.b64encode(hashlib.sha256(_read("page.js").encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src blob: data:; "
        "media-src blob: mediastream:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

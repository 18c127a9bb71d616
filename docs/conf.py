"""How Sphinx builds these pages: ``make site`` writes docs/_build/index.html, and loads nothing from a network."""

from __future__ import annotations

import os
import re
from pathlib import Path

import faceworkbook

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

project = "faceworkbook"
author = "the faceworkbook authors"
version = release = faceworkbook.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "README.md"]  # README.md lists the pages for who reads them as files
html_theme = "furo"
html_static_path, html_js_files = ["static"], ["readable.js"]
html_title = f"faceworkbook {release}"

nb_execution_mode = "off"  # the report was run before it was committed
suppress_warnings = ["misc.highlighting_failure"]  # of the notebook's own progress lines

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the sections of a docstring name them
napoleon_numpy_docstring, napoleon_google_docstring = True, False
napoleon_use_ivar = True

LINK = re.compile(r"\[([^\]\[\"\n]+)\]\(([^)\"\n:#]+)(#[^)\"\n]*)?\)")
CONTRIBUTING = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def name_outward_links(app, docname: str, source: list[str]) -> None:
    """Write links to files outside of docs/, which the built pages do not have, as the names of these files."""
    text = source[0]
    if docname == "extending":
        text = CONTRIBUTING.read_text(encoding="utf-8")
        text = LINK.sub(lambda link: f"[{link[1]}](../{link[2]})", text).replace("](../docs/", "](")
    source[0] = LINK.sub(lambda link: _name(*link.groups()), text)


def _name(label: str, path: str, heading: str | None) -> str:
    is_outward = path.startswith("../")
    return f"{label} ({path.removeprefix('../')})" if is_outward else f"[{label}]({path}{heading or ''})"


def setup(app) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("source-read", name_outward_links)

"""A notebook as one offline HTML page: contents, folded code, figures with alt text."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from pygments.formatters import HtmlFormatter

TEMPLATES = Path(__file__).parent / "templates"
TOC = "<!--contents-->"
_HEADING = re.compile(r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)
_NOISE = re.compile(
    r"^(WARNING: All log messages before absl|[IWE]\d{4} |\d{4}-\d\d-\d\d .*: [IW] tensorflow/)"
)


class TidyStreams(Preprocessor):
    """Keeps the last state of each progress bar and drops start-up chatter of native libraries."""

    def preprocess_cell(self, cell, resources, index):
        """See `nbconvert.preprocessors.Preprocessor`."""
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = tidy(output.text)
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
        return cell, resources


def tidy(text: str) -> str:
    """`text` as a terminal would show it at the end, without start-up chatter."""
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join(line for line in shown if not _NOISE.match(line))


def export(notebook: str | Path, html: str | Path, *, title: str | None = None) -> Path:
    """Write `notebook` as the page `html`; returns its path.

    The page loads nothing from outside. Code is folded; a failed cell stands open.
    """
    content = nbformat.read(notebook, as_version=4)
    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        preprocessors=[TidyStreams],
        mathjax_url="",
        require_js_url="",
        anchor_link_text="#",
    )
    resources = {
        "page_title": title or _title(content),
        "page_css": (TEMPLATES / "report" / "style.css").read_text(),
        "code_css": _code_css(),
        "metadata": {"name": title or _title(content)},
    }
    body, _ = exporter.from_notebook_node(content, resources=resources)
    html = Path(html)
    beside = html.with_name(html.name + ".part")
    beside.write_text(_with_contents(body))
    return beside.replace(html)


def _title(content) -> str:
    first = next(
        (c.source for c in content.cells if c.cell_type == "markdown" and c.source.startswith("# ")),
        "# Report",
    )
    return first.splitlines()[0].removeprefix("# ").strip()


def _code_css() -> str:
    light = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _with_contents(body: str) -> str:
    entries = [
        f'<li class="level{level}"><a href="#{anchor}">{re.sub("<[^>]+>", "", text).strip()}</a></li>'
        for level, anchor, text in _HEADING.findall(body)
    ]
    contents = f"<ul>{''.join(entries)}</ul>" if entries else ""
    return body.replace(TOC, contents, 1)

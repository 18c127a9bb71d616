"""A notebook as one offline HTML page: contents, parameters, folded code, figures with alt text."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from pygments.formatters import HtmlFormatter

from faceworkbook import files, project
from faceworkbook.reports import face_browser, pages, parameters, private, tables
from faceworkbook.reports.parameters import ParameterError

TOC = "<!--contents-->"
MORE = "# --- more ---"  # in a cell of parameters: what stands below it is folded once more
SCRIPT = """
if (window.matchMedia("(max-width: 1000px)").matches) document.querySelector("nav details").open = false;
const named = new Map();  // each region bears a name of its own
for (const table of document.querySelectorAll("main table:not(.faces)")) {
  const box = document.createElement("div"), name = table.caption ? table.caption.textContent.trim().slice(0, 80) : "table";
  named.set(name, (named.get(name) ?? 0) + 1);
  box.className = "scroll"; box.tabIndex = 0; box.setAttribute("role", "region");
  box.setAttribute("aria-label", named.get(name) > 1 ? `${name} (${named.get(name)})` : name);
  table.replaceWith(box); box.append(table);
}
for (const code of document.querySelectorAll(".highlight pre")) code.tabIndex = 0;  // long lines scroll
"""
_HEADING = re.compile(r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)
_NOISE = re.compile(
    r"^(WARNING: All log messages before absl|[IWE]\d{4} |\d{4}-\d\d-\d\d .*: [IW] tensorflow/)"
)


class PageError(ValueError):
    """A file that is no notebook; the text names it."""


class TidyStreams(Preprocessor):
    """Keep the last state of each progress bar; drop start-up chatter of native libraries."""

    def preprocess_cell(self, cell, resources, index):
        """See `nbconvert.preprocessors.Preprocessor`."""
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = tidy(output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _is_blank(output)]
        return cell, resources


def _is_blank(output) -> bool:
    """Whether an output shows nothing: rich's consoles, Keras' among them, leave an empty ``<pre>`` behind."""
    if output.output_type == "stream":
        return not output.text.strip()
    if output.output_type != "display_data" or not all(kind.startswith("text/") for kind in output.data):
        return False
    shown = output.data.get("text/html", "")
    return not output.data.get("text/plain", "").strip() and bool(
        re.fullmatch(r"\s*<pre[^>]*>\s*</pre>\s*", shown)
    )


class JoinSources(Preprocessor):
    """Fold code that shows nothing together with the code after it: one line to open, not three."""

    def preprocess(self, nb, resources):
        """See `nbconvert.preprocessors.Preprocessor`."""
        joined = []
        for cell in nb.cells:
            before = joined[-1] if joined else None
            if before and _shows_nothing(before) and cell.cell_type == "code" and not _is_hidden(cell):
                cell.source = f"{before.source}\n\n{cell.source}"
                joined.pop()
            joined.append(cell)
        nb.cells = joined
        return nb, resources


class AnswerFirst(Preprocessor):
    """Move the answer from where it was begun to right under the question."""

    def preprocess(self, nb, resources):
        """See `nbconvert.preprocessors.Preprocessor`."""
        for cell in nb.cells:
            answers = [output for output in cell.get("outputs", []) if _is_answer(output)]
            if answers and nb.cells[0].cell_type == "markdown":
                cell.outputs = [output for output in cell.outputs if output not in answers]
                moved = nbformat.v4.new_code_cell(outputs=answers, metadata={"tags": ["hide-source"]})
                nb.cells.insert(1, moved)
                break
        return nb, resources


class ShowParameters(Preprocessor):
    """Show the parameters as they were given, with their comments, in the place of the two cells that set them."""

    def preprocess(self, nb, resources):
        """See `nbconvert.preprocessors.Preprocessor`."""
        cells = {tag: cell for cell in nb.cells for tag in _tags(cell) if tag.endswith("parameters")}
        shown = cells.get("parameters")
        if shown is None or _is_hidden(shown):
            nb.cells = [cell for cell in nb.cells if "injected-parameters" not in _tags(cell)]
            return nb, resources
        try:
            body = parameters_html(shown.source, cells.get("injected-parameters", {}).get("source", ""))
        except (ParameterError, SyntaxError):
            return nb, resources
        # A cell with a failed check keeps its error in sight.
        shown.outputs = [*shown.outputs, nbformat.v4.new_output("display_data", {"text/html": body})]
        shown.metadata["tags"] = [*_tags(shown), "hide-source"]
        nb.cells = [cell for cell in nb.cells if "injected-parameters" not in _tags(cell) or _fails(cell)]
        return nb, resources


def parameters_html(source: str, given: str) -> str:
    """Return parameters, values and comments, folded; those below the line `MORE` are folded once more.

    Parameters
    ----------
    source, given : str
        The cell tagged ``parameters``, and papermill's own cell with the values that it was given.
    """
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(given).body
        if isinstance(node, ast.Assign)
    }
    first, _, rest = source.partition(MORE)
    body, more = (_parameter_table(part, values) for part in (first, rest))
    if more:
        body += f"<details><summary>more</summary>{more}</details>"
    return f'<details class="source"><summary>parameters</summary>{body}</details>'


def _parameter_table(source: str, values: dict) -> str:
    rows = [
        {
            "name": p.name,
            "value": parameters.format_value(values.get(p.name, p.default)) or "(empty)",
            "meaning": p.comment,
        }
        for p in parameters.parse(source, Path("this notebook")).values()
    ]
    return tables.to_html(pd.DataFrame(rows)) if rows else ""


def tidy(text: str) -> str:
    """Return `text` as a terminal would show it at the end, without start-up chatter."""
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join(line for line in shown if not _NOISE.match(line))


def export(notebook: str | Path, html: str | Path, *, title: str | None = None) -> Path:
    """Write `notebook` as the page `html`; returns its path.

    The page loads nothing from outside. Code is folded; a failed cell stands open.

    Raises
    ------
    PageError
        There is no such file, or it is no notebook.
    """
    content = private.scrub_notebook(_read(Path(notebook)))
    has_faces = _holds_faces(content)
    script = SCRIPT + (face_browser.script() if has_faces else "")
    resources = {
        "page_title": title or _title(content),
        "page_css": pages.stylesheet() + (face_browser.stylesheet() if has_faces else ""),
        "page_script": script,
        "page_footer": pages.checked_intervals(project.resolve(pages.CHECKED)),
        "page_policy": pages.security_policy(script),
        "code_css": _code_css(),
        "metadata": {"name": title or _title(content)},
    }
    body, _ = _exporter().from_notebook_node(content, resources=resources)
    return files.write_beside(html, _with_contents(body))


@functools.cache
def _exporter() -> HTMLExporter:
    # One for all pages of a process: it keeps its parsed templates.
    return HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(pages.TEMPLATES)],
        preprocessors=[TidyStreams, AnswerFirst, ShowParameters, JoinSources],
        mathjax_url="",
        require_js_url="",
        anchor_link_text="#",
    )


def scrub(notebook: str | Path) -> None:
    """Take out of an executed notebook what nobody else needs to see; see `private`."""
    content = private.scrub_notebook(_read(Path(notebook)))
    files.write_beside(notebook, nbformat.writes(content))


def _read(path: Path):
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise PageError(f"there is no file {path}; expected an executed notebook (.ipynb)") from error
    except Exception as error:  # nbformat raises whatever the first wrong field makes it raise
        raise PageError(f"{path} is no notebook ({error}); expected an executed .ipynb file") from error


def _title(content) -> str:
    first = next(
        (c.source for c in content.cells if c.cell_type == "markdown" and c.source.startswith("# ")),
        "# Report",
    )
    return first.splitlines()[0].removeprefix("# ").strip()


def _tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def _is_hidden(cell) -> bool:
    return "hide" in _tags(cell)


def _is_answer(output) -> bool:
    return 'class="answer"' in "".join(output.get("data", {}).get("text/html", ""))


def _holds_faces(content) -> bool:
    outputs = (output for cell in content.cells for output in cell.get("outputs", []))
    return any(face_browser.MARK in "".join(o.get("data", {}).get("text/html", "")) for o in outputs)


def _fails(cell) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def _shows_nothing(cell) -> bool:
    return cell.cell_type == "code" and not cell.outputs and not _is_hidden(cell)


def _code_css() -> str:
    # Of Pygments' own light styles the one whose every colour stands out from the shaded ground (4.5 to 1).
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _with_contents(body: str) -> str:
    entries = [
        f'<li class="level{level}"><a href="#{anchor}">{re.sub("<[^>]+>", "", text).strip()}</a></li>'
        for level, anchor, text in _HEADING.findall(body)
    ]
    contents = f"<ul>{''.join(entries)}</ul>" if entries else ""
    return body.replace(TOC, contents, 1)

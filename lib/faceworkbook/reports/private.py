"""What a notebook or page that is handed on must not hold: the home folder, where the project lies, tokens."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from faceworkbook import project

HIDDEN = "[hidden]"
_TOKEN = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8  # characters of a token; a shorter value would be replaced inside of common words
_PICTURES = ("image/png", "image/jpeg", "image/webp", "application/pdf")


def scrub(text: str) -> str:
    """Return `text` with the project's folder left out, the home folder as ``~``, and values of tokens hidden.

    A token is what an environment variable holds whose name says so, such as ``HF_TOKEN``.
    """
    return _replace(text, [*_replacements()])


def _replace(text: str, replacements: Sequence[tuple[re.Pattern, str]]) -> str:
    for pattern, replacement in replacements:
        text = pattern.sub(replacement, text)
    return text


def _replacements() -> Iterator[tuple[re.Pattern, str]]:
    for name, value in os.environ.items():
        if _TOKEN.search(name) and len(value) >= _SHORTEST:
            yield re.compile(re.escape(value)), HIDDEN
    # A colour code of a terminal ends in a digit and m; other letters before belong to a longer path.
    before, after = r"(?:(?<![\w.-])|(?<=\dm))", r"(?![\w-])"
    root = project.root()
    if len(root.parts) > 1:
        for spelling in _spellings(root):
            yield re.compile(f"{before}{spelling}/"), ""
            yield re.compile(f"{before}{spelling}{after}"), "."
    home = _home()
    if home is not None:
        for spelling in _spellings(home):
            yield re.compile(f"{before}{spelling}{after}"), "~"


def _spellings(path: Path) -> set[str]:
    return {re.escape(text) for text in (path.as_posix(), html.escape(path.as_posix()))}


def _home() -> Path | None:
    try:
        home = Path.home()
    except RuntimeError:  # a container's user without a name
        return None
    return home if len(home.parts) > 1 else None


def scrub_notebook(notebook):
    """Scrub every text of an executed notebook but its sources, in place; returns it.

    Papermill notes the variables of the environment and absolute paths in the notebook's metadata.
    """
    replacements = [*_replacements()]
    notebook.metadata.get("papermill", {}).pop("environment_variables", None)
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    for part in (notebook, *notebook.cells, *outputs):
        for name in set(part) - {"cells", "source", "outputs"}:
            part[name] = _scrub(part[name], replacements)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = _replace(cell.source, replacements)
    return notebook


def _scrub(value, replacements: Sequence[tuple[re.Pattern, str]]):
    if isinstance(value, dict):
        return type(value)(
            {
                name: v if str(name).startswith(_PICTURES) else _scrub(v, replacements)
                for name, v in value.items()
            }
        )
    if isinstance(value, list):
        return [_scrub(v, replacements) for v in value]
    return _replace(value, replacements) if isinstance(value, str) else value

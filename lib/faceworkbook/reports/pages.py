"""What all offline pages share: escaping of everything from outside, a content security policy, the frame."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path

from faceworkbook.reports import private

TEMPLATES = Path(__file__).parent / "templates"
CHECKED = Path("docs/how_intervals_were_checked.md")
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
# An underscore inside of a word marks nothing, and most names have one.
_MARKUP = re.compile(r"[\\`*\[\]|<>&~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape(value) -> str:
    """Return `value` as text that is safe in HTML and in a quoted attribute.

    Control characters, and those that turn the direction of what follows, become U+FFFD.
    """
    return html.escape(_UNSEEN.sub("\ufffd", str(value)))


def escape_markdown(value) -> str:
    """Return `value` as one line of Markdown that holds no markup: for table cells, list items and headings."""
    line = " ".join(_UNSEEN.sub("\ufffd", str(value)).split())
    return _MARKUP.sub(r"\\\g<0>", line)


def render_markdown(text: str) -> str:
    """Return Markdown as HTML; tags in `text` are shown, not obeyed."""
    import mistune

    body = mistune.create_markdown(escape=True, plugins=["table"])(text)
    return re.sub(r"<th[^>]*></th>", "<td></td>", body)  # a heading without a word heads nothing


def checked_intervals(page: Path) -> str:
    """Return how this version's intervals and tests were checked, folded; empty where there is no such `page`.

    The part of `CHECKED` above its tables of every design: what is guaranteed, and what does not hold.
    """
    try:
        text = page.read_text()
    except OSError:
        return ""
    title, _, rest = text.partition("\n## ")[0].strip().partition("\n")
    body = render_markdown(f"{rest}\n\nEvery design is in {CHECKED.as_posix()}.")
    return f'<details class="checked"><summary>{escape(title.lstrip("# "))}</summary>{body}</details>'


def stylesheet() -> str:
    """Return the style of every page."""
    return (TEMPLATES / "report" / "style.css").read_text()


def security_policy(*scripts: str) -> str:
    """Return a policy by which a page loads nothing, and runs no script but `scripts`."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def to_json(record: dict) -> str:
    """Return the record as JSON that can stand in a page's script element: no ``<`` is left in it.

    Arrays and Series become lists.
    """

    def plain(value):
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} in the record of a page")

    text = json.dumps(record, default=plain, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a whole offline page.

    Parameters
    ----------
    title : str
        Plain text; it is escaped here.
    body : str
        HTML whose texts are escaped already.
    style, script : str
        Added to the style of every page; the one script that may run.
    """
    policy, body = security_policy(script) if script else security_policy(), private.scrub(body)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{stylesheet()}{style}</style></head><body><main>{body}</main>"
        + (f"<script>{script}</script>" if script else "")
        + "</body></html>"
    )

"""What comes from outside is shown on pages and never obeyed."""

import nbformat
import pytest
from bs4 import BeautifulSoup

from faceworkbook.reports import html, pages

HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'; alert(1); '", "</title><script>x</script>",
    "![x](http://evil/x.png)", "[x](javascript:alert(1))", "a|b", "# heading", "two\n\n# lines", "`code`", "&lt;b&gt;",
    "\u202egnp.exe", "\x00\x1b[31m", "\ud800", "<!-- x", "](x)", "\\`*_{}[]()#+-.!|",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_is_text_on_a_page(text):
    body = f'<p title="{pages.escape(text)}">{pages.escape(text)}</p>'
    page = BeautifulSoup(pages.page(text, body), "html.parser")
    assert {tag.name for tag in page.body.find_all(True)} == {"main", "p"}
    assert not page.find_all("script")
    pages.page(text, body).encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_markdown_is_text_once_rendered(text):
    page = BeautifulSoup(pages.render_markdown(f"- {pages.escape_markdown(text)}"), "html.parser")
    assert {tag.name for tag in page.find_all(True)} <= {"ul", "li", "h1"}
    shown = " ".join(pages._UNSEEN.sub("\ufffd", text).split())
    assert page.text.strip() in (shown, shown.lstrip("# "))


def test_tags_in_markdown_are_shown():
    assert "<script" not in pages.render_markdown("<script>alert(1)</script>\n\n<b>x</b>")


def test_a_page_without_script_runs_none():
    assert "script-src 'none'" in pages.page("title", "") and "img-src data:" in pages.page("title", "")


def test_every_page_says_how_its_intervals_were_checked(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    text = (
        "# How these intervals were checked\n\n9 of 10 hold: | x <b> |\n\n## Coverage\n\n| a long table |\n"
    )
    (tmp_path / "docs/how_intervals_were_checked.md").write_text(text)
    footer = pages.checked_intervals(tmp_path / pages.CHECKED)
    assert "<summary>How these intervals were checked</summary>" in footer and "9 of 10 hold" in footer
    assert "a long table" not in footer and "<b>" not in footer
    assert "docs/how_intervals_were_checked.md" in footer
    assert pages.checked_intervals(tmp_path / "elsewhere.md") == ""
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page")])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert footer in html.export(tmp_path / "a.ipynb", tmp_path / "a.html").read_text()

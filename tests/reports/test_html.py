"""The page: offline, folded code, contents, alt text, progress bars as a terminal leaves them."""

from __future__ import annotations

import base64
import re

import nbformat
import numpy as np
from bs4 import BeautifulSoup

from faceworkbook.reports import figures, html


def page(tmp_path, cells):
    path = tmp_path / "n.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return html.export(path, tmp_path / "n.html").read_text()


def code(source, *outputs, **metadata):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def test_page_is_offline_with_contents_and_folded_code(tmp_path):
    text = nbformat.v4.new_markdown_cell("# Title\n\n## First part\n\ntext\n\n## Second")
    body = page(tmp_path, [text, code("x = 1")])
    loaded = re.findall(r'(?:src|href)="(?!#|data:)([^"]+)"', body) + re.findall(
        r"url\((?!data:)[^)]+\)|@import", body
    )
    assert loaded == []
    assert "<title>Title</title>" in body
    assert re.search(r'<li class="level2"><a href="#First-part">First part</a>', body)
    assert '<details class="source"><summary>code</summary>' in body
    assert 'name="viewport"' in body and "prefers-color-scheme: dark" in body


def test_figures_carry_their_alt_text(tmp_path):
    alt = 'Accuracy by group; "Black" < White & so on'
    data = figures.png_bytes(np.zeros((4, 4, 3), np.uint8), alt)
    assert figures.alt_text(data) == alt
    output = nbformat.v4.new_output(
        "display_data", {"image/png": base64.b64encode(data).decode()}, metadata={"image/png": {"alt": alt}}
    )
    body = page(tmp_path, [code("show()", output)])
    assert BeautifulSoup(body, "html.parser").find("img")["alt"] == alt


def test_failed_cell_stands_open_with_an_anchor(tmp_path):
    error = nbformat.v4.new_output(
        "error", ename="ValueError", evalue="no face", traceback=["ValueError: no face"]
    )
    body = page(tmp_path, [code("boom()", error)])
    assert 'id="error"' in body and "no face" in body
    assert BeautifulSoup(body, "html.parser").find("details", class_="source").has_attr("open")


def test_hidden_cells_are_not_in_the_page(tmp_path):
    assert "secret" not in page(tmp_path, [code("secret = 1", tags=["hide"])])


def test_progress_is_left_as_a_terminal_leaves_it(tmp_path):
    bar = stream("  0%|  | 0/9\r 50%|# | 5/9\r100%|##| 9/9 [00:01]\nW0000 00:00 noise.cc] hm\n", "stderr")
    body = page(tmp_path, [code("run()", bar)])
    assert "9/9" in body and "5/9" not in body and "noise" not in body


def test_tidy_keeps_plain_lines():
    assert html.tidy("a\nb\r\nWhite 3\n") == "a\nb\nWhite 3\n"

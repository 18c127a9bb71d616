"""The page: offline, folded code, contents, alt text, progress bars as a terminal leaves them."""

from __future__ import annotations

import base64
import hashlib
import re

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup

from faceworkbook import cli
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


PARAMETERS = "widths = [16]  # hidden layers\nseed = 0  # of draws\n# --- more ---\npatience = 8  # epochs"


def test_an_output_that_shows_nothing_leaves_no_empty_box_and_one_that_shows_something_stays(tmp_path):
    blank = {"text/html": '<pre style="white-space:pre"></pre>\n', "text/plain": ""}
    table = {"text/html": "<table><tr><td></td></tr></table>", "text/plain": ""}
    outputs = [nbformat.v4.new_output("display_data", data) for data in (blank, table)]
    body = BeautifulSoup(page(tmp_path, [code("x", *outputs, stream(" \n"))]), "html.parser")
    assert len(body.select(".output table")) == 1
    assert not [pre for pre in body.select(".output pre") if not pre.get_text().strip()]


def test_parameters_are_shown_as_given_and_the_rest_is_folded_once_more(tmp_path):
    cells = [
        code(PARAMETERS, tags=["parameters"]),
        code("# Parameters\nwidths = [32, 8]\nseed = 3\n", tags=["injected-parameters"]),
        code("import numpy"),
        code("print(1)", stream("1\n")),
    ]
    body = BeautifulSoup(page(tmp_path, cells), "html.parser")
    fold = body.find("details", class_="source")
    assert fold.summary.text == "parameters"
    rows = [[cell.text for cell in row.find_all("td")] for row in fold.find_all("tr") if row.td]
    assert rows == [
        ["widths", "[32, 8]", "hidden layers"],
        ["seed", "3", "of draws"],
        ["patience", "8", "epochs"],
    ]
    assert [s.text for s in fold.find_all("summary")] == ["parameters", "more"]
    sources = [d for d in body.find_all("details", class_="source") if d.summary.text == "code"]
    assert len(sources) == 1 and "import numpy" in sources[0].text and "print(1)" in sources[0].text


def test_a_page_of_hidden_parameters_has_no_empty_line_above_its_title(tmp_path):
    cells = [
        code(PARAMETERS, tags=["parameters", "hide"]),
        code("# Parameters\nseed = 3", tags=["injected-parameters"]),
        code("start()", tags=["hide"]),
        code("show()", stream("shown\n"), tags=["hide-source"]),
    ]
    body = BeautifulSoup(page(tmp_path, cells), "html.parser").main
    folded = [part.get("class") for part in body.find_all("details")]
    assert folded in ([], [["checked"]]) and "shown" in body.text


def test_a_page_may_run_its_own_script_alone_and_load_nothing(tmp_path):
    body = BeautifulSoup(page(tmp_path, [code("x = 1")]), "html.parser")
    policy = body.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    (script,) = body.find_all("script")
    digest = base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}';" in policy


@pytest.mark.parametrize(
    "content", ["{", "[]", "no notebook", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}', None]
)
def test_a_file_that_is_no_notebook_is_named(tmp_path, capsys, content):
    path = tmp_path / "odd.ipynb"
    if content is not None:
        path.write_text(content)
    assert cli.main(["html", str(path)]) == 2
    error = capsys.readouterr().err
    assert "odd.ipynb" in error and "notebook" in error and "Traceback" not in error

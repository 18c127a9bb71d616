"""A page printed as PDF, where a Chromium is there; a sentence where there is none, or no page."""

from __future__ import annotations

import re
import shutil

import pytest

from faceworkbook import cli
from faceworkbook.reports import pages, pdf_command


@pytest.mark.skipif(not any(map(shutil.which, pdf_command.BROWSERS)), reason="no chromium on this machine")
def test_a_page_becomes_a_pdf_of_several_pages(tmp_path, capsys):
    page = tmp_path / "report.html"
    page.write_text(pages.page("A report", "<h1>A report</h1>" + "<p>A line of text.</p>" * 200))
    assert cli.main(["pdf", str(page)]) == 0
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and len(re.findall(rb"/Type\s*/Page\b", data)) > 1
    assert "report.pdf" in capsys.readouterr().out


def test_what_is_lacking_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    (tmp_path / "results" / "toy" / "01_faces").mkdir(parents=True)
    (tmp_path / "results" / "toy" / "01_faces" / "params.json").write_text("{}")
    assert cli.main(["pdf", "toy"]) == 2
    assert "there is no page results/toy/report.html" in capsys.readouterr().err
    page = tmp_path / "a.html"
    page.write_text("<p>a page</p>")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert cli.main(["pdf", str(page)]) == 2
    assert "no Chromium is here" in capsys.readouterr().err

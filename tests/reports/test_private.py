"""Pages and notebooks that are handed on hold no home folder, no token and no place of the project."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from faceworkbook.reports import html, pages, private

TOKEN = "made-up-token-1234"


@pytest.fixture
def somebody(tmp_path, monkeypatch):
    """A user with a home folder, the project in it, and a token in the environment."""
    home = tmp_path / "home" / "alice"
    (home / "workbook").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(home / "workbook"))
    monkeypatch.setenv("SOME_HUB_TOKEN", TOKEN)
    return home


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{home}/faces/a.jpg", "~/faces/a.jpg"),
        ("root = '{home}'", "root = '~'"),
        ("{home}/workbook/results/x", "results/x"),
        ("in {home}/workbook, line 3", "in ., line 3"),
        ("{home}-other/faces", "{home}-other/faces"),
        ("/mnt{home}/faces", "/mnt{home}/faces"),
        ("\x1b[0;32m{home}/faces\x1b[0m", "\x1b[0;32m~/faces\x1b[0m"),
        ("key=" + TOKEN, "key=[hidden]"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_paths_are_shortened_and_tokens_hidden(somebody, text, shown):
    assert private.scrub(text.format(home=somebody)) == shown.format(home=somebody)


@pytest.mark.parametrize("home", ["/", ""])
def test_a_home_that_is_no_folder_of_its_own_changes_nothing(monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("FACEWORKBOOK_HOME", "/")
    assert private.scrub("/data/faces and a/b") == "/data/faces and a/b"


def executed(home: Path) -> nbformat.NotebookNode:
    shown = f"{home}/faces and {TOKEN}"
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text=shown),
        nbformat.v4.new_output("display_data", {"text/html": f"<p>{shown}</p>", "image/png": "aGk="}),
        nbformat.v4.new_output("error", ename="E", evalue=shown, traceback=[shown]),
    ]
    parameters = nbformat.v4.new_code_cell(
        f'root = "{home}/faces"', metadata={"tags": ["injected-parameters"]}
    )
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell("1", outputs=outputs)])
    notebook.metadata["papermill"] = {
        "input_path": f"{home}/workbook/notebooks/a.ipynb",
        "environment_variables": {"HOME": str(home)},
        "parameters": {"root": f"{home}/faces", "list": [f"{home}/x"]},
    }
    return notebook


def test_nothing_of_the_user_stays_in_a_notebook_or_its_page(somebody, tmp_path):
    path = tmp_path / "running.ipynb"
    nbformat.write(executed(somebody), path)
    page = html.export(path, tmp_path / "page.html").read_text()
    html.scrub(path)
    for text in (page, path.read_text()):
        assert "alice" not in text and TOKEN not in text and "~/faces" in text
    metadata = json.loads(path.read_text())["metadata"]["papermill"]
    assert metadata == {"input_path": "notebooks/a.ipynb", "parameters": {"root": "~/faces", "list": ["~/x"]}}
    nbformat.validate(nbformat.read(path, as_version=4))


def test_cards_and_the_index_hold_no_home_folder_either(somebody):
    assert "alice" not in pages.page("title", f"<p>{pages.escape(somebody / 'weights.mat')}</p>")

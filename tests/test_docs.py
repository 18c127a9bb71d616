"""The pages under docs/: they are built without a warning, and what they show can be typed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from faceworkbook import cli
from faceworkbook.reports import experiments, parameters
from tests.support import rendered_faces

REPO = Path(__file__).resolve().parents[1]
PAGES = [*sorted((REPO / "docs").glob("*.md")), REPO / "README.md"]
TUTORIALS = sorted((REPO / "docs").glob("tutorial_*.md"))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s:]+?)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PEOPLE = 100
RUNNER = """
import json, sys
for page, line, code in json.load(open(sys.argv[1])):
    names = names if line else {}
    exec(compile("\\n" * line + code, page, "exec"), names)
"""


def _commands() -> list[tuple[str, str]]:
    """Return page and text of each ``workbook`` command that stands in a block of its own."""
    commands = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines() if re.match(r" {4}workbook \w", line)]
        commands += [(page.name, line) for line in lines]
    return commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    missing = [to for to in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / to).exists()]
    assert not missing


def test_commands_are_understood():
    """Each is parsed by the program itself; an experiment is there, and each parameter is one of its notebooks."""
    commands = _commands()
    assert len(commands) > 25
    for page, command in commands:
        arguments = shlex.split(command, comments=True)[1:]
        try:
            options = cli._parser().parse_args(arguments)
        except SystemExit as error:
            pytest.fail(f"{page}: {command} ({error})")
        if arguments[0] != "run":
            continue
        steps = [step.notebook for step in experiments.outline(experiments.find(options.experiment)).steps]
        known = {name for step in steps for name in parameters.read(step)}
        given = [text.partition("=")[0] for text in (*options.given, *options.axes)]
        unknown = [name for name in given if name.rpartition(".")[2] not in known]
        assert not unknown, f"{page}: {command}"


@pytest.mark.tensorflow
def test_code_of_the_tutorials_runs(tmp_path):
    """In a folder with some of the rendered faces, as it stands on the page."""
    rendered_faces.lay(tmp_path, people=PEOPLE)
    (tmp_path / "weights").symlink_to(REPO / "weights")
    blocks = []
    for page in TUTORIALS:
        own = [match[1] for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
        blocks += [(page.name, at, code) for at, code in enumerate(own)]
    assert {page for page, _, _ in blocks} >= {
        "tutorial_student.md",
        "tutorial_engineer.md",
        "tutorial_auditor.md",
    }
    (tmp_path / "blocks.json").write_text(json.dumps(blocks))
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, "blocks.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "accuracy" in done.stdout and "male" in done.stdout


def test_pages_are_built_without_a_warning(tmp_path):
    """Every link inside, every docstring that the pages show; nothing of a built page is loaded from elsewhere."""
    pytest.importorskip("sphinx", reason="the extra 'docs' is not installed")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        "html",
        "-W",
        "--keep-going",
        "-q",
        "docs",
        tmp_path / "site",
    ]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    built = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert built >= {page.stem for page in (REPO / "docs").glob("*.md") if page.name != "README.md"}
    for page in (tmp_path / "site").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"(https?:)?//", text), page.name

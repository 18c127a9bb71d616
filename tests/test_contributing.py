"""The code of CONTRIBUTING.md does what the page says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import rendered_faces

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / "CONTRIBUTING.md"
MOST_LINES = 5
PEOPLE = 24

BLOCK = re.compile(r"^## (?P<title>[^\n]+)$|^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
# Every block is compiled under its place in the page, so that a traceback points there.
RUNNER = """
import json, sys
import keras
layers = [keras.Input((96, 96, 3)), keras.layers.Conv2D(8, 3, strides=4), keras.layers.GlobalAveragePooling2D()]
keras.Sequential(layers).save("mine.keras")
names = {}
for line, code in json.load(open(sys.argv[1])):
    exec(compile("\\n" * line + code, "CONTRIBUTING.md", "exec"), names)
"""


def _blocks() -> list[tuple[str, int, str]]:
    """Return heading, line and code of each Python block."""
    page, title, blocks = PAGE.read_text(encoding="utf-8"), "", []
    for match in BLOCK.finditer(page):
        title = match["title"] or title
        if match["code"] is not None:
            blocks.append((title, page.count("\n", 0, match.start()) + 1, match["code"]))
    return blocks


@pytest.fixture
def toy_folder(tmp_path):
    """A folder with ``data/synthetic``: all pictures of some people."""
    rendered_faces.lay(tmp_path, people=PEOPLE)
    return tmp_path


@pytest.mark.tensorflow
def test_every_block_runs(toy_folder):
    script = toy_folder / "blocks.json"
    script.write_text(json.dumps([(line, code) for _, line, code in _blocks()]))
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, script], cwd=toy_folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("thing", ["label", "data set", "network", "classifier", "metric", "corruption"])
def test_each_thing_is_added_in_few_lines(thing):
    additions = [code for title, _, code in _blocks() if title == f"A {thing}"]
    assert additions
    for code in additions:
        assert (
            len([line for line in code.splitlines() if line.strip() and not line.startswith("#")])
            <= MOST_LINES
        )

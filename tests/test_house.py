"""The house rules: which room may load TensorFlow, how large a piece of code may be, and its words."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
LIB = REPO / "lib" / "faceworkbook"
MODULES = sorted(LIB.rglob("*.py"))

HEAVY = {"tensorflow", "keras"}
HEAVY_ROOMS = {"backbones", "models", "training"}
LINES, PARAMETERS = 450, 7

# The glossary in docs/glossary.md has the word to use instead. `file.tell()` is Python's.
PRIVATE_WORDS = (
    *("found", "said", "told", "tell", "tells", "spoken", "remedy", "remedies", "pooled", "ways", "damages"),
    *("aside", "promise", "promises", "promised"),
)
PRIVATE_PHRASES = (r"System [A-E]\b", r"\bby chance\b", r"\b[Dd]ata[ _]curve")
PRIVATE = re.compile(
    "|".join([rf"(?<![A-Za-z])(?i:{word})(?![a-z]|\(\))" for word in PRIVATE_WORDS] + [*PRIVATE_PHRASES])
)
# The project speaks of itself alone.
ELSEWHERE = re.compile(
    r"(?<![\w./])/(?:work|home|root|Users)/|\bissue (?:tracker|\d+)|#\d+\b(?=\))|\bthis session\b|\bsub-?agents?\b",
    re.I,
)
TEXTS = {".py", ".md", ".ipynb", ".yaml", ".yml", ".toml", ".cff", ".j2", ".css", ".js", ".csv", ".json", ""}


def _name(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def _tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [REPO / line for line in done.stdout.splitlines()]
    return [path for path in paths if path.suffix in TEXTS and path.is_file() and path != Path(__file__)]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line; of a notebook the sources alone."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        yield from (
            (f"{_name(path)}:{number}", line) for number, line in enumerate(text.splitlines(), start=1)
        )
        return
    for number, cell in enumerate(json.loads(text)["cells"]):
        source = cell["source"]
        for line in ("".join(source) if isinstance(source, list) else source).splitlines():
            yield f"{_name(path)}, cell {number}", line


def _matches(pattern: re.Pattern, paths: list[Path]) -> list[str]:
    return [
        f"{at}: {line.strip()[:110]}" for path in paths for at, line in _lines(path) if pattern.search(line)
    ]


def _module_level_imports(tree: ast.Module) -> Iterator[str]:
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        waiting.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _n_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_tensorflow_is_loaded_by_three_rooms_alone():
    elsewhere = [path for path in MODULES if path.relative_to(LIB).parts[0] not in HEAVY_ROOMS]
    wrong = [_name(p) for p in elsewhere if HEAVY & set(_module_level_imports(ast.parse(p.read_text())))]
    assert not wrong, (
        f"import TensorFlow and Keras inside functions, or only in {sorted(HEAVY_ROOMS)}: {wrong}"
    )


def test_rooms_import_downward_only():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed: pip install -e '.[dev]'")
    done = subprocess.run(
        [linter, "--no-cache", "--no-logo"], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_long():
    long = {_name(path): n for path in MODULES if (n := len(path.read_text().splitlines())) > LINES}
    assert not long, f"at most {LINES} lines a module: {long}"


def test_no_function_takes_many_parameters():
    many = [
        f"{_name(path)}:{function.lineno} {function.name} ({_n_parameters(function)})"
        for path in MODULES
        for function in _functions(ast.parse(path.read_text()))
        if _n_parameters(function) > PARAMETERS
    ]
    assert not many, f"at most {PARAMETERS} parameters; group options in a frozen dataclass: {many}"


def test_words_are_the_fields_own():
    others_words = ("CHANGELOG.md", "LICENSE")  # names that are gone; a licence's own text
    wrong = _matches(PRIVATE, [path for path in _tracked() if path.name not in others_words])
    assert not wrong, "words that docs/glossary.md replaces:\n" + "\n".join(wrong)


def test_a_strategy_is_no_way():
    wrong = [
        f"{_name(path)}:{node.lineno} {name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if (name := getattr(node, "arg", None) or getattr(node, "id", None) or getattr(node, "name", None))
        and isinstance(name, str)
        and re.search(r"(?:^|_)ways?(?:_|$)", name, re.I)
    ]
    assert not wrong, f"name the strategy, the scheme or the engine: {wrong}"


def test_the_project_speaks_of_itself_alone():
    wrong = _matches(ELSEWHERE, _tracked())
    assert not wrong, "paths of one machine, or talk about how the project is made:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "private"),
    [
        ("rows = found.faces", True),
        ("class FoundRows:", True),
        ("what was_told of it", True),
        ("raise FileNotFoundError(path)", False),
        ("a foundation; installed", False),
        ("aside from", True),
        ("start = file.tell()", False),
    ],
)
def test_private_words_are_seen_in_identifiers_too(line, private):
    assert bool(PRIVATE.search(line)) == private

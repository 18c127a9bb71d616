"""The cell tagged ``parameters`` of a notebook: names, defaults, types and comments.

Read with Python's own parser, so that every annotation is understood and nothing is run.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faceworkbook import files, plain_yaml, project

MAX_DIGITS = 400  # of a number on a command line
TYPES = (str, int, float, bool, list)
WRITTEN = "bool, true or false (True or False after papermill's -p and in Python, without quotes)"
OF_PLACE = (
    "out",
    "experiment",
    "step",
)  # where a run is kept and what it is called: nothing that it computes
INJECTED = "# Parameters"  # how papermill begins the cell with the values that it was given


class ParameterError(ValueError):
    """An unknown parameter or a value of the wrong type; the text names the allowed ones."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its default and what its comment says."""

    name: str
    default: str | int | float | bool | list
    comment: str

    def check(self, value):
        """`value` if its type fits the default's, else `ParameterError`; an int is a float too, a single text a list."""
        kind = type(self.default)
        if kind is list and type(value) is str:
            value = as_list(value)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise ParameterError(
                f"parameter '{self.name}' got {value!r} ({type(value).__name__}); it takes "
                f"{WRITTEN if kind is bool else kind.__name__}"
                + (f": {self.comment}" if self.comment else "")
            )
        return value


def read(notebook: str | Path) -> dict[str, Parameter]:
    """Parameters of `notebook`, by name.

    Raises
    ------
    ParameterError
        No such notebook, no cell tagged ``parameters``, or one that does more than set plain values.
    """
    path = Path(notebook)
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.ipynb")], n=3)
        raise ParameterError(f"no notebook at {path}" + (f"; did you mean {near}?" if near else ""))
    tagged = [source for _, source, tags in read_cells(path) if "parameters" in tags]
    if len(tagged) != 1:
        raise ParameterError(f"{path}: {len(tagged)} cells are tagged 'parameters'; exactly one is needed")
    return parse(tagged[0], path)


def read_cells(path: Path) -> list[tuple[str, str, list[str]]]:
    """Return the kind, the source and the tags of each cell of a notebook.

    Raises
    ------
    ParameterError
        The file is no notebook.
    """
    # Not by nbformat: its validator takes a second to import, in every kernel.
    advice = "name a Jupyter notebook of format 4"
    notebook = files.read_json(path, ParameterError, advice=advice)
    try:
        return [
            (cell["cell_type"], "".join(cell["source"]), list(cell["metadata"].get("tags", [])))
            for cell in notebook["cells"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ParameterError(f"{path} has no cells with a source; {advice}") from error


def parse(source: str, path: Path) -> dict[str, Parameter]:
    """Return the parameters that the cell `source` of the notebook `path` sets, by name."""
    parameters, lines = {}, source.splitlines()
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name):
            raise ParameterError(
                f"{path}, cell 'parameters', line {node.lineno}: only NAME = VALUE may stand there"
            )
        try:
            default = ast.literal_eval(node.value)
        except ValueError as error:
            raise ParameterError(
                f"{path}: the default of '{target.id}' is not a plain value; write a number, a text or a list"
            ) from error
        if not isinstance(default, TYPES):
            raise ParameterError(
                f"{path}: '{target.id}' is {type(default).__name__}; allowed are str, int, float, bool, list"
            )
        comment = _comment(lines[node.lineno - 1 : node.end_lineno])
        parameters[target.id] = Parameter(target.id, default, comment)
    return parameters


def _comment(lines: list[str]) -> str:
    # A formatter may have put a long value and its comment into parentheses of several lines.
    comments = [
        t.string
        for t in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline)
        if t.type == tokenize.COMMENT
    ]
    return " ".join(text.lstrip("# ").strip() for text in comments)


def current(step: str, namespace: dict, sources: list[str]) -> dict:
    """Return the parameters of the running notebook `step`, and set its variables to them, each of its type.

    Parameters
    ----------
    step : str
        Name of a notebook in notebooks/; its cell tagged ``parameters`` says which names and types count.
    namespace : dict
        The notebook's variables.
    sources : list of str
        The cells that have run: papermill's own, with the values that it was given, is among them.

    Raises
    ------
    ParameterError
        A name that the notebook does not have was given, or a value of another type.
    """
    path = project.resolve(f"notebooks/{step}.ipynb")
    if not path.exists():
        names = [name for name in namespace if not name.startswith("_")]
        return {name: namespace[name] for name in names if isinstance(namespace[name], TYPES)}
    allowed = read(path)
    for source in sources:
        if source.startswith(INJECTED):
            refuse_unknown(_assigned_names(source), set(allowed), step)
    missing = [name for name in allowed if name not in namespace]
    if missing:
        raise ParameterError(
            f"{step}: the parameters {missing} are not set; run the cell tagged 'parameters'"
        )
    checked = {name: parameter.check(namespace[name]) for name, parameter in allowed.items()}
    namespace.update(checked)  # a single text has become a list
    return checked


def _assigned_names(source: str) -> dict:
    nodes = (node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    return {target.id: None for node in nodes for target in node.targets if isinstance(target, ast.Name)}


def parse_options(texts: list[str]) -> dict:
    """Options of a reader, given as a list of ``name: value``."""
    return dict(parse_assignment(re.sub(r":\s*", "=", text, count=1)) for text in texts)


def parse_task_weights(text: str) -> dict[str, float] | str:
    """Return what ``equal``, ``uncertainty`` or ``emotion: 2, age_group: 0.5`` stands for: weights by task, or the name."""
    if text in ("equal", "uncertainty"):
        return {} if text == "equal" else text
    return {name: float(weight) for name, weight in parse_options(re.split(r",\s*", text)).items()}


def parse_set_options(texts: list[str]) -> dict[str, dict]:
    """Options of the readers of several data sets by set, given as a list of ``set: name: value``."""
    of_sets: dict[str, dict] = {}
    for text in texts:
        name, _, option = text.partition(":")
        of_sets.setdefault(name.strip(), {}).update(parse_options([option.strip()]))
    return of_sets


def parse_assignment(text: str) -> tuple[str, object]:
    """``name=value`` from a command line; the value is true, 3, 0.5, [a, b] or text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ParameterError(f"{text!r} is no parameter; expected name=value")
    return name, _value(value)


def read_file(path: str | Path) -> dict:
    """Return the parameters of a YAML file by name; none where `path` is empty.

    Raises
    ------
    ParameterError
        No such file, or no mapping of names to plain values.
    """
    if not path:
        return {}
    try:
        content = plain_yaml.load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, plain_yaml.YamlError) as error:
        raise ParameterError(
            f"{path} cannot be read as parameters ({error}); expected lines 'NAME: VALUE'"
        ) from error
    if not isinstance(content, dict) or not all(type(value) in TYPES for value in content.values()):
        raise ParameterError(
            f"{path} holds no parameters; expected lines 'NAME: VALUE', each a text, number, truth or list"
        )
    return content


def split_values(text: str) -> list:
    """Return the values of ``a,b`` or ``[1, 2],[3]``, each as `parse_assignment` reads it; commas in brackets part nothing."""
    depth, pieces = 0, [""]
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += sign
    return [_value(piece.strip()) for piece in pieces]


def format_value(value) -> str:
    """Return `value` as `parse_assignment` reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def as_list(text: str) -> list:
    """Return the list that a text '[A, B]' is, which papermill's -p hands on as text; a single text as its only entry."""
    value = _value(text)
    return value if isinstance(value, list) else [text] if text else []


def _value(text: str):
    # Not YAML for plain values: it would read 39_1_1 as 3911 and "no" as false.
    if text.startswith("["):
        try:
            return plain_yaml.load(text)
        except plain_yaml.YamlError as error:
            raise ParameterError(f"{text[:200]!r} is no list; expected [A, B]") from error
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    for kind, pattern in ((int, r"[+-]?\d+"), (float, r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")):
        if re.fullmatch(pattern, text):
            return kind(text) if len(text) < MAX_DIGITS else text
    return text


def unknown_names(given: Iterable[str], allowed: set[str]) -> list[str]:
    """Return a sentence for each name of `given` that is not in `allowed`."""
    sentences = []
    for name in given:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            sentences.append(f"no parameter '{name}'{hint} Allowed are {', '.join(sorted(allowed))}")
    return sentences


def refuse_unknown(given: Iterable[str], allowed: set[str], where: str) -> None:
    """Raise `ParameterError` for the first name of `given` that is not in `allowed`."""
    for sentence in unknown_names(given, allowed):
        raise ParameterError(f"{where}: {sentence}")

"""The JSON schema of an experiment's YAML file, by which editors complete names, show comments and mark what is wrong.

Made of the notebooks' parameters and the rules for their values, so that it says what ``workbook run`` says. Names that
a cell may register (`OPEN`) are offered and not required.
"""

from __future__ import annotations

import json
from pathlib import Path

from faceworkbook import backbones, files, project
from faceworkbook.reports import parameters as params
from faceworkbook.reports import rules, values
from faceworkbook.reports.parameters import Parameter, ParameterError

PATH = "notebooks/experiments/experiment.schema.json"
LINE = "# yaml-language-server: $schema=experiment.schema.json"
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
NUMBERS = ("integer", "number")
OPEN = ("dataset", "backbone", "classifier", "classifiers", "metric", "corruptions")
NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
_OWN = ("out", "experiment", "step")  # which the runner sets


def write(path: str | Path = "") -> Path:
    """Write the schema, beside and renamed, to `path` or where the shipped experiments look for it; returns its path."""
    place = Path(path) if path else project.root() / PATH
    return files.write_beside(place, to_text(make()))


def to_text(schema: dict) -> str:
    """Return the schema as its file holds it: one line a definition, so that a change is a short difference."""
    defined = ",\n".join(f"  {json.dumps(name)}: {_line(own)}" for name, own in schema["$defs"].items())
    rest = ",\n".join(f"{json.dumps(name)}: {_line(own)}" for name, own in schema.items() if name != "$defs")
    return f'{{\n{rest},\n"$defs": {{\n{defined}\n}}\n}}\n'


def _line(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def make() -> dict:
    """Return the schema, a dict that `json` can write."""
    notebooks = _read_notebooks()
    definitions: dict[str, dict] = {}
    of_notebooks = {
        name: {key: _reference(one, allowed, definitions) for key, one in allowed.items() if key not in _OWN}
        for name, allowed in notebooks.items()
    }
    shared = _share(of_notebooks)
    definitions |= {f"parameters.{name}": _object(own) for name, own in of_notebooks.items()}
    definitions |= {"shared_parameters": _object(shared), "step": _step([*notebooks])}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",  # which every editor knows
        "title": "Experiment of faceworkbook",
        "description": "Run by: workbook run NAME",
        "type": "object",
        "required": ["steps"],
        "additionalProperties": False,
        "properties": {
            "name": {
                "description": "folder below results/, the file's name by default",
                "pattern": NAME,
                "type": "string",
            },
            "title": {"description": "heading of the report", "type": "string"},
            "question": {
                "description": "what the experiment asks, on the report's first screen",
                "type": "string",
            },
            "expected": _expected(),
            "final": {
                "description": "true: the plan is hashed before a test row is read, and steps that depart from it are refused",
                "type": "boolean",
            },
            "parameters": {
                "description": "for all steps that take them",
                "$ref": "#/$defs/shared_parameters",
            },
            "steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
            "sweep": _sweep([*shared]),
        },
        "$defs": definitions,
    }


def _read_notebooks() -> dict[str, dict[str, Parameter]]:
    notebooks = {}
    for path in sorted(project.resolve("notebooks").glob("*.ipynb")):
        try:
            notebooks[path.stem] = params.read(path)
        except ParameterError:  # the index, which is no step
            continue
    return notebooks


def _object(properties: dict) -> dict:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _reference(parameter: Parameter, allowed: dict, definitions: dict[str, dict]) -> dict:
    """Return a reference to the definition of a parameter; those of the same name that agree share one."""
    own, number = _describe(parameter, allowed), 1
    while True:
        name = parameter.name if number == 1 else f"{parameter.name}.{number}"
        if definitions.setdefault(name, own) == own:
            return {"$ref": f"#/$defs/{name}"}
        number += 1


def _describe(parameter: Parameter, allowed: dict) -> dict:
    rule, default = values.rule_of(parameter.name, allowed), parameter.default
    allowing = rules.schema_of(rule)
    if parameter.name == "backbone":  # not those of this machine's weights/
        allowing = {"items": {"enum": ["auto", *backbones.list()]}}
    if isinstance(default, list):
        item = _allow(
            _item_type(default, allowing.get("items", {})) | allowing.get("items", {}), parameter.name
        )
        listed = {"type": "array"} | ({"items": item} if item else {})
        listed |= {"minItems": allowing["minItems"]} if "minItems" in allowing else {}
        # A single text stands for a list of one.
        fits: dict = listed if item.get("type") in NUMBERS else {"anyOf": [listed, item | {"type": "string"}]}
    else:
        kind = {"type": TYPES[type(default)]}
        fits = _allow(kind | allowing.get("items", allowing), parameter.name)
        if rule(default):  # a notebook's own default is always allowed
            fits = {"anyOf": [fits, {"const": default}]}
    return ({"description": parameter.comment} if parameter.comment else {}) | {"default": default} | fits


def _item_type(default: list, allowing: dict) -> dict:
    kinds = {TYPES[type(value)] for value in default}
    if len(kinds) == 1:
        return {"type": kinds.pop()}
    return {"type": "number"} if {"minimum", "maximum", "exclusiveMinimum"} & allowing.keys() else {}


def _allow(allowing: dict, name: str) -> dict:
    """Return what is allowed of a value, where a cell may register further names without refusing them."""
    return {"anyOf": [allowing, {"type": "string"}]} if name in OPEN and "enum" in allowing else allowing


def _share(of_notebooks: dict[str, dict]) -> dict:
    """Return by name what any of the notebooks takes."""
    meanings: dict[str, list] = {}
    for own in of_notebooks.values():
        for name, reference in own.items():
            known = meanings.setdefault(name, [])
            known += [] if reference in known else [reference]
    return {name: known[0] if len(known) == 1 else {"anyOf": known} for name, known in meanings.items()}


def _step(names: list[str]) -> dict:
    """Return what a step may be: a notebook's name, or a mapping with its own parameters."""
    whole = {
        "type": "object",
        "required": ["notebook"],
        "additionalProperties": False,
        "properties": {
            "notebook": {"enum": names},
            "name": {
                "description": "folder of the step, the notebook's name by default",
                "type": "string",
                "pattern": NAME,
            },
            "parameters": {"type": "object"},
        },
        "allOf": [
            {
                "if": {"properties": {"notebook": {"const": name}}},
                "then": {"properties": {"parameters": {"$ref": f"#/$defs/parameters.{name}"}}},
            }
            for name in names
        ],
    }
    return {"anyOf": [{"enum": names}, whole]}


def _expected() -> dict:
    number, text = {"type": "number"}, {"type": "string"}
    return {
        "description": "the figure that is expected on the pictures it was measured on; other keys name the row it stands in",
        "type": "object",
        "properties": {
            "metric": text | {"description": "which figure"},
            "low": number | {"description": "least that is expected"},
            "high": number | {"description": "most that is expected"},
            "pictures": text | {"description": "fingerprint of the pictures; the range is silent on others"},
            "note": text,
            "task": text,
            "strategy": text,
        },
    }


def _sweep(names: list[str]) -> dict:
    keys = {"anyOf": [{"enum": names}, {"pattern": r"\."}]}
    columns = {
        "type": "object",
        "propertyNames": keys,
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    seeds = {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        ]
    }
    row = {"type": "object", "propertyNames": keys, "minProperties": 1}
    allowing = {
        "grid": columns
        | {"description": "values that are crossed; a key is a parameter's name, or STEP.NAME"},
        "zip": columns | {"description": "values that are taken side by side, lists of one length"},
        "list": {"description": "points one by one", "type": "array", "minItems": 1, "items": row},
        "seeds": seeds | {"description": "how many seeds of training, or which"},
        "metric": {"description": "by which points are compared", "type": "string"},
    }
    return {"description": "several points of this experiment, a run each", **_object(allowing)}

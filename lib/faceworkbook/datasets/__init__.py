"""Data sets as they are distributed, each read into the face table.

One file a data set; each has an ``INFO`` (`DatasetInfo`) and a ``read(root, *, ...)`` that
returns `Dataset`. ``load(name, root, **options)`` is the door.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pandas as pd

from faceworkbook import files
from faceworkbook.datasets import corrections as _corrections
from faceworkbook.datasets.base import Dataset, DatasetError, DatasetInfo

__all__ = ["Dataset", "DatasetError", "DatasetInfo", "describe", "list", "load", "markdown", "options"]

_MODULES = {
    "adience": "adience",
    "aflw": "aflw",
    "agegender_cleaned": "agegender_cleaned",
    "csv": "csv_table",
    "expw": "expw",
    "fairface": "fairface",
    "ferplus": "ferplus",
    "fgnet": "fgnet",
    "genki4k": "genki4k",
    "image_folder": "image_folder",
    "imdb_wiki": "imdb_wiki",
    "sfew": "sfew",
    "synthetic": "synthetic",
    "utkface": "utkface",
}


def load(name: str, root: str | Path, *, corrections: str | Path = "", **settings) -> Dataset:
    """Read the data set `name` that lies under `root`.

    Parameters
    ----------
    name : str
        One of the names in ``datasets.list()``.
    root : str or Path
        Folder of the data set as distributed.
    corrections : str or Path
        CSV of labels that a person corrected (see ``faceworkbook.datasets.corrections``); "" for none.
    **settings
        Options of that reader; see ``datasets.options(name)``.

    Returns
    -------
    Dataset
        ``faces`` (the face table), ``left_out`` (columns image, reason, detail) and ``notices``.

    Raises
    ------
    DatasetError
        Unknown name or option, missing folder, files that are not laid out as expected, or
        corrections that do not fit.
    """
    module = _module(name)
    allowed = options(name)
    wrong = sorted(set(settings) - set(allowed))
    if wrong:
        raise DatasetError(f"data set '{name}' has no option {wrong}; allowed are {sorted(allowed)}")
    _check_settings(module.read, settings)
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"data set '{name}': no folder at {root}.\nExpected layout:\n{module.INFO.layout}")
    dataset = module.read(root, **settings)
    code = files.hash_values(inspect.getsource(inspect.getmodule(module.read)))
    dataset = replace(dataset, reader={"name": name, "options": settings, "code": code})
    return _corrections.apply(dataset, corrections) if str(corrections) else dataset


def _check_settings(read, settings: dict) -> None:
    hints = get_type_hints(read)
    for option, value in settings.items():
        fits, allowed = _rule(hints[option])
        if not fits(value):
            raise DatasetError(f"{option}={value!r}; {allowed}")


def _rule(hint):
    """What a value must be for the type `hint`: a test, and words for it."""
    if get_origin(hint) is Literal:
        return lambda value: value in get_args(hint), f"allowed are {sorted(get_args(hint))}"
    if hint is float:
        return lambda value: type(value) in (int, float), "it must be a number"
    if hint is int:
        return lambda value: type(value) is int, "it must be a whole number"
    if hint is str:
        return lambda value: isinstance(value, str), "it must be a text"
    return (
        lambda value: (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and all(isinstance(entry, str) for entry in value)
        ),
        "it must be a list of texts",
    )


def options(name: str) -> dict:
    """Options of the reader `name` and their defaults."""
    parameters = inspect.signature(_module(name).read).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def describe(name: str) -> DatasetInfo:
    """What `name` holds: labels, identities, official split, size, terms, source and layout."""
    return _module(name).INFO


def list() -> pd.DataFrame:
    """One row a data set: name, title, labels, identities, official split, size, terms, source, put."""
    return pd.DataFrame([describe(name).row() for name in sorted(_MODULES)])


def markdown() -> str:
    """The table of `list` as Markdown, for the README."""
    table = list().drop(columns="title").rename(columns={"put": "what must be put where"})
    lines = [table.columns, ["---"] * table.shape[1], *table.to_numpy()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _module(name: str):
    if name not in _MODULES:
        raise DatasetError(f"no data set is called {name!r}; expected one of {sorted(_MODULES)}")
    return importlib.import_module(f"faceworkbook.datasets.{_MODULES[name]}")

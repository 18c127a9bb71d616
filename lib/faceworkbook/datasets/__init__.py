"""Data sets as they are distributed, each read into the face table.

One file a data set; each has an ``INFO`` (`DatasetInfo`) and a ``read(root, ...)`` that returns
`Dataset`. ``load(name, root, **options)`` is the door. `register` adds a set of one's own.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pandas as pd

from faceworkbook import faces, files
from faceworkbook.datasets import corrections as _corrections
from faceworkbook.datasets import signs as _signs
from faceworkbook.datasets.base import NOT_STATED, Dataset, DatasetError, DatasetInfo, Reasons

__all__ = [
    "Dataset",
    "DatasetError",
    "DatasetInfo",
    "check_options",
    "describe",
    "label_names",
    "list",
    "load",
    "markdown",
    "options",
    "recognise",
    "register",
    "with_label",
]

_MODULES = {
    "adience": "adience",
    "affectnet": "affectnet",
    "aflw": "aflw",
    "agegender_cleaned": "agegender_cleaned",
    "appa_real": "appa_real",
    "celeba": "celeba",
    "csv": "csv_table",
    "expw": "expw",
    "fairface": "fairface",
    "ferplus": "ferplus",
    "fgnet": "fgnet",
    "genki4k": "genki4k",
    "identity_folder": "identity_folder",
    "image_folder": "image_folder",
    "imdb_wiki": "imdb_wiki",
    "kdef": "kdef",
    "megaage_asian": "megaage_asian",
    "rafdb": "rafdb",
    "sfew": "sfew",
    "synthetic": "synthetic",
    "utkface": "utkface",
}
GENERAL = ("csv", "identity_folder", "image_folder")  # readers of what is no published set
_NAMED = 3  # likely data sets that an error or a warning names


@dataclass(frozen=True)
class _Reader:
    read: Callable
    INFO: DatasetInfo


_REGISTERED: dict[str, _Reader] = {}


def register(name: str, read: Callable, info: DatasetInfo | None = None) -> None:
    """Make a data set of one's own known by `name` to `load`, and so to every notebook.

    Parameters
    ----------
    name : str
        An identifier that is none of the workbook's own names.
    read : callable
        ``read(root, **options)``, from the folder (a Path) to a `Dataset`, or simply to the columns of the
        face table (a dict or a DataFrame): at least ``image``, relative to the folder; see ``faces.build``.
        Keyword-only parameters are options.
    info : DatasetInfo, optional
        Facts for the report and the model card.

    Examples
    --------
    >>> def read(root):
    ...     table = pd.read_csv(root / "labels.csv")
    ...     return {"image": table["file"], "smile": table["smile"] == 1, "identity": table["person"]}
    >>> datasets.register("mine", read)
    """
    if not name.isidentifier() or name in _MODULES:
        raise DatasetError(f"name={name!r}; allowed is an identifier that is none of {sorted(_MODULES)}")
    if info is None:
        texts = dict.fromkeys(("identities", "official_split", "size", "source", "layout"), "yours")
        texts["terms"] = NOT_STATED
        info = DatasetInfo(name=name, title=name.replace("_", " "), labels=("yours",), **texts)
    _REGISTERED[name] = _Reader(read, info)


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
    reader = _reader(name)
    check_options(name, settings)
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"data set '{name}': no folder at {root}.\nExpected layout:\n{reader.INFO.layout}")
    try:
        made = reader.read(root, **_arguments(reader.read, settings))
    except DatasetError as error:
        others = _name_others(name, root)
        if not others:
            raise
        raise DatasetError(f"{error}\n{others}") from error
    dataset = _as_dataset(made, name, root, reader.INFO)
    doubtful = dataset.faces.empty or name == "image_folder"  # which reads any folders
    others = _name_others(name, root) if doubtful else ""
    facts = {"name": name, "options": settings, "code": _hash_code(reader.read)}
    dataset = replace(dataset, reader=facts, likely=others)
    return _corrections.apply(dataset, corrections) if str(corrections) else dataset


def check_options(name: str, settings: Mapping) -> None:
    """Raise `DatasetError` for an option that the reader `name` does not have, or a value of another type."""
    parameters = _parameters(_reader(name).read)
    wrong = sorted(set(settings) - set(parameters))
    if wrong:
        near = difflib.get_close_matches(wrong[0], parameters, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DatasetError(f"data set '{name}' has no option {wrong}{hint}; allowed are {sorted(parameters)}")
    for option, value in settings.items():
        fits, allowed = _rule(parameters[option][1])
        if not fits(value):
            raise DatasetError(f"{option}={value!r}; {allowed}")


def label_names(name: str, root: str | Path, settings: Mapping) -> Sequence[str] | None:
    """Return the names of the labels that a data set may hold, without reading it; None where any name may be one.

    Parameters
    ----------
    name : str
    root : str or Path
    settings : mapping
        Options of the reader.

    Raises
    ------
    DatasetError
        The table of one's own set is missing or cannot be read.
    """
    if name == "csv":
        from faceworkbook.datasets import csv_table

        return csv_table.label_names(Path(root), csv_table.Options(**settings))
    info = describe(name)
    words = [word for text in info.labels for word in re.findall(r"\w+", text)]
    if {"any", "yours", "attributes"} & set(words):
        return None
    return [
        word for word in dict.fromkeys([*words, *info.columns]) if word in (*faces.COLUMNS, *info.columns)
    ]


def recognise(root: str | Path) -> dict[str, Path]:
    """Return the data sets that the files in a folder look like, by name, each with the folder to give as root.

    Published sets come first; csv and image_folder are named only where there is none. Cheap: names of files are
    looked at, and of a sample only.
    """
    infos = {name: describe(name) for name in [*_MODULES, *_REGISTERED]}
    there = _signs.recognise(Path(root), {name: info.sign for name, info in infos.items()})
    published = {name: folder for name, folder in there.items() if name not in GENERAL}
    return published or there


def _name_others(name: str, root: Path) -> str:
    """Words for the data sets that the folder looks like, where `name` is none of them; else empty."""
    there = recognise(root)
    if not there or there.get(name) == root:
        return ""
    likely = [f"dataset={other}, root={folder}" for other, folder in there.items()][:_NAMED]
    return f"is this {' or '.join([*there][:_NAMED])}? Then give {' or '.join(likely)}"


def _as_dataset(made, name: str, root: Path, info: DatasetInfo) -> Dataset:
    if isinstance(made, Dataset):
        return made
    if not isinstance(made, Mapping | pd.DataFrame) or "image" not in made:
        raise DatasetError(
            f"the reader of '{name}' returned {type(made).__name__}; expected a Dataset, or columns of the face "
            "table with at least 'image'"
        )
    nothing = Reasons().table()
    return Dataset(faces.build(dict(made), dataset=name), nothing, nothing, root, info)


def _hash_code(read: Callable) -> str:
    try:
        return files.hash_values(inspect.getsource(inspect.getmodule(read)))
    except (OSError, TypeError):  # a function of a notebook's cell
        return files.hash_values(read.__code__.co_code)


def _parameters(read: Callable) -> dict[str, tuple]:
    """Default and type of each option; a parameter that is a dataclass stands for its fields."""
    hints, options_ = get_type_hints(read), {}
    for parameter in [*inspect.signature(read).parameters.values()][1:]:
        hint = hints.get(parameter.name)
        if is_dataclass(hint):
            types_ = get_type_hints(hint)
            options_ |= {field.name: (field.default, types_[field.name]) for field in fields(hint)}
        elif parameter.kind is parameter.KEYWORD_ONLY:
            options_[parameter.name] = (parameter.default, hint)
    return options_


def _arguments(read: Callable, settings: dict) -> dict:
    hints = get_type_hints(read)
    grouped = next((name for name, hint in hints.items() if is_dataclass(hint) and name == "options"), None)
    return {grouped: hints[grouped](**settings)} if grouped else settings


def _rule(hint):
    """What a value must be for the type `hint`: a test, and words for it."""
    if get_origin(hint) is Literal:
        return lambda value: value in get_args(hint), f"allowed are {sorted(get_args(hint))}"
    if hint is float:
        return lambda value: type(value) in (int, float), "it must be a number"
    if hint is int:
        return lambda value: type(value) is int, "it must be a whole number"
    if hint is None or hint is bool:
        return lambda value: hint is None or type(value) is bool, "it must be true or false"
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
    return {option: default for option, (default, _) in _parameters(_reader(name).read).items()}


def with_label(name: str, settings: dict, label: str) -> dict:
    """Return a reader's options, with the label that its folders are named after where it asks for one."""
    return ({"label": label} if "label" in options(name) else {}) | settings


def describe(name: str) -> DatasetInfo:
    """What `name` holds: labels, identities, official split, size, terms, source and layout."""
    return _reader(name).INFO


def list() -> pd.DataFrame:
    """One row a data set: name, title, labels, identities, official split, size, terms, source, put."""
    return pd.DataFrame([describe(name).row() for name in sorted([*_MODULES, *_REGISTERED])])


def markdown() -> str:
    """The table of `list` as Markdown, for docs/datasets.md."""
    table = list().drop(columns="title").rename(columns={"put": "what must be put where"})
    lines = [table.columns, ["---"] * table.shape[1], *table.to_numpy()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _reader(name: str):
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in _MODULES:
        known = sorted([*_MODULES, *_REGISTERED])
        near = difflib.get_close_matches(str(name).casefold(), known, n=1)
        raise DatasetError(
            f"no data set is called {name!r}; expected one of {known}"
            f"{f'. Did you mean {near[0]!r}?' if near else '.'} One of your own is known after datasets.register(name, read)"
        )
    return importlib.import_module(f"faceworkbook.datasets.{_MODULES[name]}")

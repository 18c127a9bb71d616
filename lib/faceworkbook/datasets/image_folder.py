"""Pictures sorted into one folder a class, with folders for an official split above them or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import (
    NOT_STATED,
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    layout_error,
    list_pictures,
)
from faceworkbook.datasets.paths import name_folder

INFO = DatasetInfo(
    name="image_folder",
    title="One folder a class",
    labels=("any one, such as gender, emotion, smile: the folder's name",),
    identities="none",
    official_split="train/validation/test folders, where there are any",
    size="yours",
    terms=NOT_STATED,
    source="your own pictures",
    layout="""  ROOT/
    female/*.jpg          (one folder a class; any names)
    male/*.jpg
or
  ROOT/
    train/female/*.jpg    (train, validation and test folders, one folder a class in each)
    train/male/*.jpg
    test/female/*.jpg
    ...""",
    put="one folder a class, with its pictures; above them train/, validation/ and test/ if you like",
    sign=r"(?:.*/)?[^/]+/[^/]+",
)

_STRAY = "expected CLASS/ or SPLIT/CLASS/ above it"
_MOSTLY = 0.5  # share of the pictures that shows which folders are classes
_FEWEST = 2  # classes, beside which a folder of examples is none
_BESIDE = (
    *("example", "examples", "sample", "samples", "demo", "doc", "docs", "figures", "screenshots", "thumbs"),
    *("thumbnails", "cache", "tmp", "temp", "backup", "trash", "deleted", "rejected", "duplicates"),
)  # folders that people keep beside their classes
_CLASSES_AFTER_ALL = ("none", "nil", "empty", "blank")  # of a label of one's own, such as glasses
_SHOWN = 8
_NO_LABELS = set(faces.COLUMNS) - {*faces.KNOWN_VOCABULARIES, *faces.RANGES}


def read(
    root: Path,
    *,
    label: str = "gender",
    values: Sequence[str] = (),
    links: Literal["inside", "anywhere"] = "inside",
    title: str = "",
    source: str = "",
    terms: str = "",
) -> Dataset:
    """Read a folder of class folders.

    Parameters
    ----------
    root : Path
    label : str
        The column that the folders' names are written to: one of the face table's, or a name of your own.
        Names that all stand in one of the project's vocabularies (in any spelling) become that vocabulary.
        Other names are taken as they are, in alphabetical order; those that differ in case, blanks or
        Unicode form only are one class.
    values : list of str
        ``"1=surprise"``: the folder 1 holds the class `surprise`.
    links : {'inside', 'anywhere'}
        Whether links to files and folders are followed below `root` only.
    title, source, terms : str
        What the report and the model card print about the set.

    Returns
    -------
    Dataset
        Pictures outside any class folder, beside the split folders, and files that are no pictures, are in
        ``left_out``. Folders that only wrap the others are passed through.

    Raises
    ------
    DatasetError
        No class folder with a picture under `root`, or a label that folders cannot name.
    """
    if not label.isidentifier() or label in _NO_LABELS:
        raise DatasetError(
            f"label={label!r}; allowed is a label of the face table or a name of your own, such as smile"
        )
    left_out, notices = Reasons(), Reasons()
    pictures = list_pictures(root, left_out, links=links)
    meant = _meanings(values)
    rows = pd.DataFrame(place(pictures, label, meant), columns=["image", "split", "folder"])
    stray = rows["folder"].isna()
    left_out.add_all(rows.loc[stray, "image"], "not in a class folder", _STRAY)
    rows = rows[~stray].reset_index(drop=True)
    if rows.empty:
        raise DatasetError(layout_error(root, INFO, "no picture in a class folder", left_out))
    _check_meanings(meant, rows["folder"].unique())
    rows["folder"] = [meant.get(_code(folder), folder) for folder in rows["folder"]]
    column, vocabularies = read_names(rows["folder"], label, notices)
    table = faces.build(
        {"image": rows["image"], label: column, "split": rows["split"]},
        dataset="image_folder",
        vocabularies=vocabularies,
    )
    info = INFO.describe_own(title=title or name_folder(root) or INFO.title, source=source, terms=terms)
    return Dataset(table, left_out.table(), notices.table(), root, info)


def place(
    pictures: list[str], label: str, meant: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[str, str | None, str | None]]:
    """Return path, split and class folder of each picture; the class folder is None where the picture is in none."""
    above = [image.split("/")[:-1] for image in pictures]

    def is_class(folder: str) -> bool:
        return _code(folder) in meant or _is_class(folder, label)

    split_at, class_at = _depths(above, is_class)
    homes = {
        tuple(folders[:class_at])
        for folders in above
        if len(folders) > class_at and is_class(folders[class_at])
    }
    several = len({folders[class_at] for folders in above if len(folders) > class_at}) > _FEWEST
    places = []
    for image, folders in zip(pictures, above, strict=True):
        subset = _subset(folders[split_at]) if split_at is not None and len(folders) > split_at else None
        folder = folders[class_at] if len(folders) > class_at else None
        if folder is not None and not is_class(folder):
            away = homes and split_at is None and tuple(folders[:class_at]) not in homes
            beside = several and words.fold(folder) in _BESIDE
            folder = None if away or beside else folder
        lost = split_at is not None and split_at < class_at and subset is None
        places.append((image, subset, None if lost else folder))
    return places


def _depths(above: list[list[str]], is_class: Callable[[str], bool]) -> tuple[int | None, int]:
    """How deep the folders of the splits lie, None where there are none, and how deep those of the classes."""
    class_at = _class_depth(above, is_class)
    for depth in range(class_at + 1):
        if _are_splits([folders[depth:] for folders in above if len(folders) > depth]):
            inside = [
                folders[depth + 1 :] for folders in above if len(folders) > depth and _subset(folders[depth])
            ]
            return depth, depth + 1 + _class_depth(inside, is_class)
    below = [folders[class_at + 1 :] for folders in above if len(folders) > class_at + 1]
    beside = sum(len(folders) == class_at + 1 for folders in above)
    return (class_at + 1 if below and not beside and _are_splits(below) else None), class_at


def _class_depth(above: list[list[str]], is_class: Callable[[str], bool]) -> int:
    """The first depth at which most folders have the names of classes, else the first with several folders."""
    deepest = max(map(len, above), default=0)
    for depth in range(deepest):
        named = [folders for folders in above if len(folders) > depth and is_class(folders[depth])]
        if len(named) > _MOSTLY * len(above) or len({folders[depth] for folders in named}) >= _FEWEST:
            return depth
    for depth in range(deepest):
        names = {folders[depth] for folders in above if len(folders) > depth}
        names = {name for name in names if words.fold(name) not in _BESIDE} or names
        deeper = sum(len(folders) > depth + 1 for folders in above) > _MOSTLY * len(above)
        if len(names) > 1 or not deeper:
            return depth
    return 0


def _are_splits(above: list[list[str]]) -> bool:
    """Whether folders are splits: all by name, or one of training with folders in it beside any others."""
    subsets = {folders[0]: _subset(folders[0]) for folders in above}
    if above and all(subsets.values()):
        return True
    training = [folders for folders in above if subsets[folders[0]] == "train"]
    return bool(training) and all(len(folders) > 1 for folders in training)


def _code(folder: str) -> str:
    return re.sub(r"^0+(?=\d)", "", words.fold_code(folder))


def _subset(folder: str) -> str | None:
    return words.classes_of("split", [folder], faces.SPLITS)[folder]


def _is_class(name: str, label: str) -> bool:
    if label in faces.RANGES:
        return bool(words.numbers(pd.Series([name], name=label)).notna().all())
    known = faces.KNOWN_VOCABULARIES.get(label, ())
    return any(words.classes_of(label, [name], classes)[name] for classes in known)


def _meanings(values: Sequence[str]) -> dict[str, str]:
    meant = {}
    for entry in values:
        folder, sign, name = str(entry).partition("=")
        if not sign or not name or not folder:
            raise DatasetError(f"values: {entry!r} is not FOLDER=CLASS")
        meant[_code(folder)] = name
    return meant


def _check_meanings(meant: dict[str, str], folders: Sequence[str]) -> None:
    unknown = set(meant).difference(map(_code, folders))
    if unknown:
        raise DatasetError(
            f"values: {sorted(unknown)[0]!r} is no folder; FOLDER=CLASS needs a FOLDER of {sorted(folders)[:20]}"
        )


def read_names(
    folders: pd.Series, label: str, notices: Reasons
) -> tuple[pd.Series, dict[str, tuple[str, ...]]]:
    """Read folder names as the values of a label.

    Returns
    -------
    values : pandas.Series
        Numbers for age and pose, else class names; None for a folder such as "unknown" of a known label.
    vocabularies : dict of str to tuple of str
        The class names of the label in their order; empty where the face table knows them.
    """
    if label in faces.RANGES:
        return _read_numbers(folders.rename(label), notices), {}
    if label in faces.KNOWN_VOCABULARIES:
        known = folders.mask(folders.map(words.is_missing), None)
        classes = words.fitting_vocabulary(label, known.dropna().unique())
        meant = words.classes_of(label, known.dropna().unique(), classes)
        if all(meant.values()):
            return known.map(meant, na_action="ignore").astype(object), {label: classes}
        unknown = [name for name, class_ in meant.items() if class_ is None]
        ready = words.format_option("values", [f"{name}=CLASS" for name in unknown[:_SHOWN]])
        notices.add(
            unknown[0],
            "names of one's own",
            f"the folders {unknown[:_SHOWN]} are none of {list(classes)}, so all names are taken as they are; to give "
            f"their meaning: {ready}",
        )
    unknown = folders.map(lambda name: words.is_missing(name) and words.fold(name) not in _CLASSES_AFTER_ALL)
    for name in sorted(set(folders[unknown])):
        ready = words.format_option("values", [f"{name}=CLASS"])
        notices.add(name, "folder is unknown", f"its faces have no {label}; if it is a class, give {ready}")
    values, joined = words.join_spellings(folders.mask(unknown, None))
    for kept, spellings in joined.items():
        notices.add(kept, "spellings joined", f"the folders {spellings} are one class")
    if (
        label not in faces.KNOWN_VOCABULARIES
        and values.dropna().map(words.yes_no).notna().all()
        and not values.str.fullmatch(r"-?\d+").any()
    ):
        return values.map(words.yes_no, na_action="ignore"), {label: faces.YES_NO}
    classes = sorted(
        set(values.dropna()), key=lambda name: (len(name), name) if name.isdigit() else (0, name)
    )
    return values.astype(object), {label: tuple(classes)}


def _read_numbers(folders: pd.Series, notices: Reasons) -> pd.Series:
    low, high = faces.RANGES[str(folders.name)]
    parsed = words.numbers(folders)
    parsed = parsed.where(parsed.between(low, high))
    wrong = sorted(set(folders[parsed.isna()]))
    if parsed.isna().all():
        raise DatasetError(f"label='{folders.name}' is a number; the folders {wrong[:_SHOWN]} are none")
    for name in wrong:
        notices.add(
            name,
            "folder is unknown",
            f"its faces have no {folders.name}; allowed is a number in {low}..{high}",
        )
    return parsed

"""Pictures sorted into one folder a class, with folders for an official split above them or not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    layout_error,
    list_pictures,
)

INFO = DatasetInfo(
    name="image_folder",
    title="One folder a class",
    labels=("any: the folder's name (gender, race, emotion, age_group, or one of your own)",),
    identities="none",
    official_split="train/validation/test folders, where there are any",
    size="yours",
    terms="yours",
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
)

_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def read(root: Path, *, label: str = "gender") -> Dataset:
    """Read a folder of class folders.

    Parameters
    ----------
    root : Path
    label : str
        The column that the folders' names are written to: gender, race, emotion, age_group, or one of your own,
        such as smile. Names that all stand in one of the
        project's vocabularies (in any case) become that vocabulary; other names are taken as they
        are, in alphabetical order.

    Returns
    -------
    Dataset
        Pictures outside any class folder, and files that are no pictures, are in ``left_out``.

    Raises
    ------
    DatasetError
        No class folder with a picture under `root`.
    """
    reserved = set(faces.COLUMNS) - set(faces.CLASS_LABELS)
    if label in reserved or not label.isidentifier():
        raise DatasetError(
            f"label={label!r}; allowed are {list(faces.CLASS_LABELS)} or a name of your own (letters, digits, _)"
        )
    pictures, others = list_pictures(root)
    left_out = Reasons()
    left_out.add_all(others, "not a picture")
    by_split = _has_split_folders(pictures)
    rows = []
    for image in pictures:
        folders = image.split("/")[:-1]
        if len(folders) <= by_split:
            left_out.add(image, "not in a class folder", f"expected {'SPLIT/' * by_split}CLASS/{image}")
            continue
        split = _SPLIT_FOLDERS[folders[0].lower()] if by_split else None
        rows.append((image, folders[by_split], split))
    if not rows:
        raise DatasetError(layout_error(root, INFO, "no picture in a class folder"))
    image, folder, split = zip(*rows, strict=True)
    names = class_names(sorted(set(folder)), label)
    table = faces.build(
        {"image": image, label: _labels([names[name] for name in folder], names, label), "split": split},
        dataset="image_folder",
        vocabularies={label: _vocabulary(names, label)},
    )
    return Dataset(table, left_out.table(), Reasons().table(), root, INFO)


def _labels(values: list[str], names: dict[str, str], label: str):
    # A label of one's own bears its classes itself; those of the face table are checked against a vocabulary.
    own = label not in faces.COLUMNS
    return pd.Categorical(values, categories=_vocabulary(names, label)) if own else values


def _has_split_folders(pictures: list[str]) -> bool:
    first = {image.split("/")[0].lower() for image in pictures if "/" in image}
    return bool(first) and first <= set(_SPLIT_FOLDERS)


def class_names(folders: list[str], label: str) -> dict[str, str]:
    """Class name by folder name: the project's spelling where every folder has one, else the folder's."""
    for vocabulary in faces.KNOWN_VOCABULARIES.get(label, ()):
        spelling = {name.lower(): name for name in vocabulary}
        if all(folder.lower() in spelling for folder in folders):
            return {folder: spelling[folder.lower()] for folder in folders}
    return {folder: folder for folder in folders}


def _vocabulary(names: dict[str, str], label: str) -> tuple[str, ...]:
    present = set(names.values())
    for vocabulary in faces.KNOWN_VOCABULARIES.get(label, ()):
        if present <= set(vocabulary):
            return vocabulary
    return tuple(sorted(present))

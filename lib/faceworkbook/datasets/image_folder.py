"""Pictures sorted into one folder a class, with folders for an official split above them or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
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
    layout = find_depth(pictures, label)
    rows = pd.DataFrame([place(image, *layout) for image in pictures], columns=["image", "split", "folder"])
    stray = rows["folder"].isna()
    left_out.add_all(
        rows.loc[stray, "image"], "not in a class folder", "expected CLASS/ or SPLIT/CLASS/ above it"
    )
    rows = rows[~stray].reset_index(drop=True)
    if rows.empty:
        problem = "no picture in a class folder"
        reasons = ", ".join(
            f"{reason} {n:,}" for reason, n in Counter(r for _, r, _ in left_out.rows).items()
        )
        raise DatasetError(layout_error(root, INFO, f"{problem} ({reasons})" if reasons else problem))
    rows["folder"] = rows["folder"].replace(_meanings(values, rows["folder"].unique()))
    column, vocabularies = read_names(rows["folder"], label, notices)
    table = faces.build(
        {"image": rows["image"], label: column, "split": rows["split"]},
        dataset="image_folder",
        vocabularies=vocabularies,
    )
    info = INFO.describe_own(title=title or name_folder(root) or INFO.title, source=source, terms=terms)
    return Dataset(table, left_out.table(), notices.table(), root, info)


def find_depth(pictures: list[str], label: str) -> tuple[int, bool]:
    """Return how many folders wrap all others, and whether split folders come next."""
    above = [image.split("/")[:-1] for image in pictures]
    for depth in range(max(map(len, above), default=0)):
        names = {folders[depth] for folders in above if len(folders) > depth}
        if _are_splits(names, [folders[depth:] for folders in above]):
            return depth, True
        deeper = all(len(folders) > depth + 1 for folders in above if len(folders) > depth)
        if len(names) > 1 or not deeper or _is_class(*names, label):
            return depth, False
    return 0, False


def _are_splits(names: set[str], above: list[list[str]]) -> bool:
    subsets = words.classes_of("split", names, faces.SPLITS)
    if all(subsets.values()):
        return True
    training = [folders for folders in above if folders and subsets[folders[0]] == "train"]
    return bool(training) and all(len(folders) > 1 for folders in training)


def _is_class(name: str, label: str) -> bool:
    known = faces.KNOWN_VOCABULARIES.get(label, ())
    return any(words.classes_of(label, [name], classes)[name] for classes in known)


def place(image: str, depth: int, has_splits: bool) -> tuple[str, str | None, str | None]:
    """Return a picture with its split and its class folder; None where there is none."""
    folders = image.split("/")[depth:-1]
    if not has_splits:
        return image, None, folders[0] if folders else None
    subset = words.classes_of("split", folders[:1], faces.SPLITS)[folders[0]] if folders else None
    return image, subset, folders[1] if subset and len(folders) > 1 else None


def _meanings(values: Sequence[str], folders: Sequence[str]) -> dict[str, str]:
    meant = {}
    for entry in values:
        folder, sign, name = str(entry).partition("=")
        if not sign or not name or folder not in folders:
            raise DatasetError(
                f"values: {entry!r} is not FOLDER=CLASS with a FOLDER of {sorted(folders)[:20]}"
            )
        meant[folder] = name
    return meant


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
        parsed = words.numbers(folders)
        if parsed.isna().any():
            wrong = sorted(set(folders[parsed.isna()]))[:5]
            raise DatasetError(f"label='{label}' is a number; the folders {wrong} are none")
        return parsed, {}
    if label in faces.KNOWN_VOCABULARIES:
        known = folders.mask(folders.map(words.is_missing), None)
        classes = words.fitting_vocabulary(label, known.dropna().unique())
        meant = words.classes_of(label, known.dropna().unique(), classes)
        if all(meant.values()):
            return known.map(meant, na_action="ignore").astype(object), {label: classes}
    values, joined = words.join_spellings(folders)
    for kept, spellings in joined.items():
        notices.add(kept, "spellings joined", f"the folders {spellings} are one class")
    if (
        label not in faces.KNOWN_VOCABULARIES
        and values.map(words.yes_no).notna().all()
        and not values.str.fullmatch(r"-?\d+").any()
    ):
        return values.map(words.yes_no), {label: faces.YES_NO}
    return values, {
        label: tuple(sorted(set(values), key=lambda name: (len(name), name) if name.isdigit() else (0, name)))
    }

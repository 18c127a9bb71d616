"""What the columns of a table of one's own are taken for, by their names and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import PICTURES
from faceworkbook.datasets.box_columns import NAMES, box_columns
from faceworkbook.datasets.words import numbers

PICTURE, NUMBER, CLASSES, YES_NO, TEXT = "picture path", "number", "free label", "yes/no label", "text"
_SAMPLES = 4
_MOSTLY = 0.9

# Headers, folded to letters and single blanks, by the face table's column that they mean.
_HEADERS = {
    "face_id": ("face id",),
    "identity": (
        *(
            "identity",
            "person",
            "person id",
            "subject",
            "subject id",
            "user id",
            "user",
            "individual",
            "celebrity",
        ),
        *("celeb id", "identity id", "patient", "patient id", "participant", "participant id"),
    ),
    "age": ("age", "ages", "years", "age years", "apparent age", "real age", "apparent age avg", "alter"),
    "age_group": ("age group", "age range", "age band", "age class"),
    "gender": ("gender", "sex"),
    "race": ("race", "ethnicity", "ethnic group"),
    "emotion": ("emotion", "expression", "facial expression", "affect"),
    "split": ("split", "subset", "partition", "usage", "set"),
    "fold": ("fold",),
    "yaw": ("yaw",),
    "pitch": ("pitch",),
    "roll": ("roll",),
}
_MEANT = {header: column for column, headers in _HEADERS.items() for header in headers}
_ROLES = {
    **dict.fromkeys(NAMES, "box"),
    **dict.fromkeys(faces.KNOWN_VOCABULARIES, "label"),
    **dict.fromkeys(("age", *faces.POSE), "label, a number"),
    "identity": "identity",
    "face_id": "name of the face",
    "split": "split",
    "fold": "fold",
}


@dataclass(frozen=True)
class Column:
    """A column and what it is taken for.

    Attributes
    ----------
    written : str
        Its header.
    name : str
        The face table's column.
    role : str
        What it is taken for.
    known, different : int
        Rows with a value, and different values.
    samples : tuple of str
        Some of them, the commonest first.
    options : dict of str to list of str
        What the reader ``csv`` has to be given for it.
    remark : str
        What a person should decide.
    """

    written: str
    name: str
    role: str
    known: int
    different: int
    samples: tuple[str, ...]
    options: dict[str, list[str]]
    remark: str = ""

    @property
    def is_label(self) -> bool:
        """Whether it can be learned."""
        return self.role in (NUMBER, CLASSES, YES_NO) or self.role.startswith("label")


def guess(table: pd.DataFrame, *, picture: str) -> list[Column]:
    """Return what each column of a table is taken for.

    Parameters
    ----------
    table : pandas.DataFrame
        Texts, as they stand in the file.
    picture : str
        The column that names the pictures.
    """
    boxes = box_columns(table)
    taken: set[str] = set()
    columns = []
    for written in table:
        values = table[written].astype(str)
        known = values[~values.map(words.is_missing)]
        meant = "image" if written == picture else _meaning(written, known, boxes)
        meant = "" if meant in taken else meant
        taken |= {meant} - {""}
        columns.append(_column(written, meant, known))
    return columns


def _meant(header: str) -> str:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(header).removeprefix("extra_"))
    return _MEANT.get(re.sub(r"[\W_]+", " ", words.fold(plain)).strip(), "")


def _meaning(written: str, known: pd.Series, boxes: dict[str, str]) -> str:
    """Return the face table's column that a column stands for, or '' for one of the user's own."""
    if written in boxes:
        return boxes[written]
    meant = _meant(written)
    if meant == "age" and not _are_numbers(known):
        return "age_group" if _share_understood("age_group", known) else ""
    if meant in ("age", "fold", *faces.POSE):
        return meant if _are_numbers(known) else ""
    if meant == "split":
        return meant if _share_understood("split", known) == 1 else ""
    if meant == "face_id":
        return meant if known.is_unique else ""
    if meant:
        return meant
    understood = [name for name in ("gender", "emotion") if known.nunique() > 1 and _speaks_of(name, known)]
    return understood[0] if understood else ""


def _speaks_of(column: str, known: pd.Series) -> bool:
    whole_words = known.map(words.fold).str.len().max() > 1  # M and F may be anything
    return bool(whole_words) and _share_understood(column, known) == 1


def _share_understood(column: str, known: pd.Series) -> float:
    written = known.unique()
    vocabularies = faces.KNOWN_VOCABULARIES.get(column, (faces.SPLITS,))
    understood = [
        sum(name is not None for name in words.classes_of(column, written, classes).values())
        for classes in vocabularies
    ]
    return max(understood) / len(written) if len(written) else 0.0


def _are_numbers(known: pd.Series) -> bool:
    return len(known) > 0 and numbers(known).notna().mean() >= _MOSTLY


def _column(written: str, meant: str, known: pd.Series) -> Column:
    counts = known.value_counts()
    facts = (len(known), len(counts), tuple(map(str, counts.index[:_SAMPLES])))
    if meant == "image":
        return Column(written, meant, PICTURE, *facts, _renamed(meant, written))
    if meant in faces.KNOWN_VOCABULARIES:
        return _known_label(written, meant, known, facts)
    if meant in NAMES:  # the reader knows them by their headers
        return Column(written, meant, _ROLES[meant], *facts, {})
    if meant:
        return Column(written, meant, _ROLES[meant], *facts, _renamed(meant, written))
    return _own(written, known, facts)


def _renamed(name: str, written: str) -> dict[str, list[str]]:
    return {} if name == written else {"columns": [f"{name}={written}"]}


def _known_label(written: str, name: str, known: pd.Series, facts: tuple) -> Column:
    options, remark = _renamed(name, written), ""
    share = _share_understood(name, known)
    if share < 1:
        classes = faces.KNOWN_VOCABULARIES[name][0]
        ready = ", ".join(f"{name}:{text}=CLASS" for text in facts[2])
        remark = f"{1 - share:.0%} of its values are none of {', '.join(classes)}; say what they mean: values: [{ready}]"
    if share < 0.5:
        options = {**options, "free": [name]}
    return Column(written, name, _ROLES[name], *facts, options, remark)


def _own(written: str, known: pd.Series, facts: tuple) -> Column:
    name = re.sub(r"\W+", "_", written.removeprefix("extra_")).strip("_")
    name = name if name.isidentifier() or not name else f"_{name}"
    flags = set(known.map(words.yes_no))
    if not facts[0]:
        return Column(written, name, "empty", *facts, {})
    if facts[1] <= 2 and None not in flags and name:
        as_numbers = _are_numbers(known)
        return Column(written, name, YES_NO, *facts, {"yes_no": [name]} if as_numbers else {})
    if _are_numbers(known):
        whole = facts[1] <= 20 and bool((numbers(known).dropna() % 1 == 0).all())
        remark = f"if its numbers are codes of classes: classes: [{name}]" if whole else ""
        return Column(written, name, NUMBER, *facts, {}, remark)
    if known.str.lower().str.endswith(PICTURES).mean() > 0.5:
        return Column(written, name, "another picture path", *facts, {})
    if facts[1] > faces.MAX_CLASSES or facts[1] == facts[0] > 2:
        return Column(written, name, TEXT, *facts, {}, "too many different values for a label")
    return Column(written, name, CLASSES, *facts, {})


def settings_of(columns: Sequence[Column], table: pd.DataFrame) -> dict[str, list[str] | str]:
    """Return the options of the reader ``csv`` that read the table as it is taken."""
    settings: dict[str, list[str] | str] = {}
    for column in columns:
        for option, entries in column.options.items():
            settings.setdefault(option, [])
            settings[option] += [*entries]  # type: ignore[operator]
    sides = [column.written for column in columns if column.role == "box"]
    if sides and _reach(table, sides) <= 1:
        settings["boxes"] = "shares"
    return settings


def _reach(table: pd.DataFrame, sides: Sequence[str]) -> float:
    edges = [numbers(table[side]).max() for side in sides]
    return float(np.nanmax(edges)) if np.isfinite(edges).any() else np.inf


def best_picture_column(table: pd.DataFrame, fits: Callable[[pd.Series], float]) -> tuple[str, float]:
    """Return the column whose values name pictures best, and the share of them that do."""
    shares = {written: fits(table[written].astype(str)) for written in table}
    best = max(shares, key=lambda written: shares[written], default="")
    return best, shares.get(best, 0.0)

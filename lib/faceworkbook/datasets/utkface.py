"""UTKFace: age, gender and race in the file name (Zhang et al. 2017)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

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
    name="utkface",
    title="UTKFace",
    labels=("age", "gender", "race"),
    identities="none",
    official_split="none",
    size="23,708 aligned chips, three of them with a field missing",
    terms="non-commercial research",
    source="Zhang, Song and Qi 2017, Age Progression/Regression by Conditional Adversarial Autoencoder",
    layout="  UTKFace/\n    39_0_1_20170116174525125.jpg.chip.jpg   (age_gender_race_timestamp)\n    ...",
    put="the pictures, at any depth; age, gender and race stand in the file names",
    sign=r"(?:.*/)?\d{1,3}_[01]_[0-4]_\d{8,}[^/]*",
)

# 0 = male: the reverse of IMDB-WIKI's code.
_GENDER = {"0": "male", "1": "female"}
_RACE = dict(zip("01234", faces.RACES_UTKFACE, strict=True))
_VALUE = r"(?:[+-]?\d*\.?\d*|na|nan|none|null|unknown|\?)"  # that a field may hold, good or bad
_NAME = re.compile(
    rf"(?P<age>{_VALUE})_(?P<gender>{_VALUE})_(?P<race>{_VALUE})_\d+\s*\.?(?:jpe?g|png)?(?:\.chip)?\.(?:jpe?g|png)",
    re.ASCII | re.IGNORECASE,
)
_AGE = re.compile(r"0|[1-9]\d{0,2}", re.ASCII)
_WELL_FORMED = re.compile(r"\d+_\d_\d_\d+\.(?:jpg\.chip\.)?\w+", re.ASCII | re.IGNORECASE)

_OLDEST = 116
_EXPECTED = "expected age_gender_race_timestamp with age 0..116, gender 0..1 and race 0..4"

# Names that lack a field; the literature agrees on the first two only.
_ONE_FIELD_SHORT = re.compile(r"(\d+_\d_\d{17})\D", re.ASCII)
_LACKING = {
    "61_1_20170109142408075": ("61", "1", "1"),
    "61_1_20170109150557335": ("61", "1", "3"),
}
_DISPUTED = "39_1_20170116174525125"
_DISPUTED_READINGS = {"39_0_1": ("39", "0", "1"), "39_1_1": ("39", "1", "1")}


def read(root: Path, *, disputed: Literal["39_0_1", "39_1_1", "leave_out"] = "39_0_1") -> Dataset:
    """Read UTKFace chips (or whole photos) under `root`.

    Parameters
    ----------
    root : Path
        Folder with the pictures, at any depth.
    disputed : {'39_0_1', '39_1_1', 'leave_out'}
        How ``39_1_20170116174525125`` is read: one copy of the set calls the face male and Black,
        another female and Black.

    Returns
    -------
    Dataset
        Repaired names are listed in ``notices``, malformed and repeated names in ``left_out``.

    Raises
    ------
    DatasetError
        No picture under `root`.
    """
    left_out, notices = Reasons(), Reasons()
    pictures = list_pictures(root, left_out)
    if not pictures:
        raise DatasetError(layout_error(root, INFO, "no picture there", left_out))
    rows, names = [], {}
    for image in pictures:
        first = names.setdefault(image.rpartition("/")[2], image)
        if first != image:
            left_out.add(image, "name repeated", f"{first} has the same name, which names one face")
            continue
        labels, reason, note = parse_name(image.rpartition("/")[2], disputed=disputed)
        if labels is None:
            left_out.add(image, reason, note)
            continue
        if note:
            notices.add(image, reason, note)
        rows.append((image, *labels))
    image, age, gender, race = zip(*rows, strict=True) if rows else ((),) * 4
    table = faces.build({"image": image, "age": age, "gender": gender, "race": race}, dataset="utkface")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def parse_name(name: str, *, disputed: str = "39_0_1") -> tuple[tuple[int, str, str] | None, str, str]:
    """Read one file name.

    Returns
    -------
    labels : (age in years, gender, race) or None
        A value that UTKFace does not have is None.
    reason, note : str
        Why it was left out (labels None) or repaired; both empty for a well-formed name.
    """
    whole = _NAME.fullmatch(name)
    if whole:
        note = "" if _WELL_FORMED.fullmatch(name) else "odd space or missing dot"
        return _whole_labels(*whole.group("age", "gender", "race"), note)
    lacking = _ONE_FIELD_SHORT.match(name)
    key = lacking[1] if lacking else ""
    if key in _LACKING:
        return _labels(
            *_LACKING[key], "name repaired", "a field is missing; read as " + "_".join(_LACKING[key])
        )
    if key == _DISPUTED and disputed != "leave_out":
        note = f"a field is missing and copies of the set disagree; read as {disputed}"
        return _labels(*_DISPUTED_READINGS[disputed], "name disputed", note)
    if key == _DISPUTED:
        return None, "name disputed", "a field is missing and copies of the set disagree"
    return None, "name malformed", _EXPECTED


def _whole_labels(age: str, gender: str, race: str, note: str):
    years = int(age) if _AGE.fullmatch(age) and int(age) <= _OLDEST else None
    labels = (years, _GENDER.get(gender), _RACE.get(race))
    bad = [name for name, value in zip(("age", "gender", "race"), labels, strict=True) if value is None]
    if len(bad) == len(labels):
        return None, "name malformed", _EXPECTED
    if not bad:
        return labels, note and "name repaired", note
    return labels, f"bad value in {' and '.join(bad)}", f"taken as unknown; {_EXPECTED}"


def _labels(age: str, gender: str, race: str, reason: str, note: str):
    return (int(age), _GENDER[gender], _RACE[race]), reason, note

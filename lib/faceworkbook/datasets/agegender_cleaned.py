"""agegender_cleaned: faces out of IMDB, WIKI and Adience; age and gender in the folder, person in the name."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    layout_error,
    list_pictures,
)

INFO = DatasetInfo(
    name="agegender_cleaned",
    title="agegender_cleaned (IMDB, WIKI, Adience)",
    labels=("age", "gender"),
    identities="in the file names: IMDB and WIKI person, Adience face number",
    official_split="aligned = train, valid = test; most people in valid also stand in aligned",
    size="faces of 1 to 70 years, 128 x 128, cleaned by a face detector",
    terms="non-commercial research, as the three sources",
    source="Rothe et al. 2015 (IMDB-WIKI) and Eidinger et al. 2014 (Adience), cut and sorted by a third party",
    layout="""  ROOT/combined/
    aligned/25_F/nm0000545_rm4094803712_1945-7-26_2010.jpg   (age_gender folders: NN_F, NN_M)
    valid/25_M/1799024_1941-12-16_2010.jpg
    ...""",
    put="the folder combined/ with aligned/ and valid/, each with folders NN_F and NN_M",
    sign=r"(?:.*/)?(?:aligned|valid)/\d{1,3}_[FM]/[^/]+",
)

# The set was published to train on `aligned` and to score on `valid`.
_SPLITS = {"aligned": "train", "valid": "test"}
_FOLDER = re.compile(r"(\d{1,3})[_ -]([a-z]+)", re.ASCII | re.IGNORECASE)
_IMDB = re.compile(r"(nm\d+)_rm\d+_(\d{4})-[\d.-]*_(\d{4})", re.ASCII)
_WIKI = re.compile(r"(\d+)_(\d{4})-[\d.-]*_(\d{4})", re.ASCII)
_ADIENCE = re.compile(r"landmark_aligned_face\.(\d+)\.\d+_[0-9a-f]+_o(?:-\d+)?", re.ASCII)
_OLDEST = 120
_AGE_TOLERANCE = 1  # years; the photo's date is known by its year alone


def read(root: Path) -> Dataset:
    """Read agegender_cleaned under `root` (the folder that holds ``combined``, or ``combined`` itself).

    Parameters
    ----------
    root : Path

    Returns
    -------
    Dataset
        ``identity`` is the person in the file name (``imdb:nm0000545``, ``wiki:1799024``,
        ``adience:610``), NA where the name has none; such rows, and rows whose folder's age is
        more than a year off the name's dates, are in ``notices``. ``split`` is 'train' for
        ``aligned`` and 'test' for ``valid``.

    Raises
    ------
    DatasetError
        No folder ``aligned`` or ``valid`` with pictures under `root`.
    """
    left_out, notices = Reasons(), Reasons()
    pictures = list_pictures(root, left_out)
    rows = []
    for image in pictures:
        labels = parse_path(image)
        if labels is None:
            left_out.add(image, "folder malformed", "expected aligned or valid / AGE_F or AGE_M / picture")
            continue
        for name, value in zip(("age", "gender"), labels[1:], strict=True):
            if value is None:
                notices.add(
                    image, f"bad value in {name}", "expected folders AGE_F or AGE_M with an age of 0..120"
                )
        rows.append((image, *labels))
    if not rows:
        raise DatasetError(
            layout_error(root, INFO, "no picture in aligned/NN_F, aligned/NN_M or valid/...", left_out)
        )
    table = pd.DataFrame(rows, columns=["image", "split", "age", "gender"])
    people = [parse_person(image.rsplit("/", 1)[-1]) for image in table["image"]]
    table["identity"] = [person for person, _ in people]
    _notice(table, [age for _, age in people], notices)
    built = faces.build(dict(table), dataset="agegender_cleaned")
    return Dataset(built, left_out.table(), notices.table(), root, INFO)


def _notice(table: pd.DataFrame, by_dates: list[int | None], notices: Reasons) -> None:
    nobody = table["identity"].isna()
    notices.add_all(table.loc[nobody, "image"], "person unknown", "the file name names no person")
    gap = (pd.Series(by_dates, dtype=float) - table["age"].astype(float)).abs()
    for row in table[gap > _AGE_TOLERANCE].itertuples():
        detail = f"the folder has {row.age:g} years, the dates in the name {by_dates[row.Index]}"
        notices.add(row.image, "age disagrees with name", detail)


def parse_path(image: str) -> tuple[str, int | None, str | None] | None:
    """Split, age in years and gender of a path ``.../aligned/25_F/name.jpg``; None if it is another.

    An age beyond 120 and a gender that is none are None.
    """
    folders = image.split("/")
    if len(folders) < 3 or folders[-3].casefold() not in _SPLITS:
        return None
    folder = _FOLDER.fullmatch(folders[-2])
    if folder is None:
        return None
    gender = words.classes_of("gender", [folder[2]], faces.GENDERS)[folder[2]]
    age = int(folder[1])
    return _SPLITS[folders[-3].casefold()], age if age <= _OLDEST else None, gender


def parse_person(name: str) -> tuple[str | None, int | None]:
    """Person and age in years (photo's year less birth year) in a file name, None where unknown."""
    stem = name.rsplit(".", 1)[0]
    for source, pattern in (("imdb", _IMDB), ("wiki", _WIKI)):
        match = pattern.fullmatch(stem)
        if match:
            return f"{source}:{match[1]}", int(match[3]) - int(match[2])
    match = _ADIENCE.fullmatch(stem)
    return (f"adience:{match[1]}", None) if match else (None, None)

"""IMDB-WIKI: faces of actors and of people with a Wikipedia page (Rothe et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from faceworkbook import faces, matlab
from faceworkbook.datasets.agegender_cleaned import parse_person
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    exclude,
    keep_first,
    layout_error,
)
from faceworkbook.datasets.boxes import check_boxes
from faceworkbook.datasets.paths import locate

INFO = DatasetInfo(
    name="imdb_wiki",
    title="IMDB-WIKI",
    labels=("age", "gender"),
    identities="IMDB and Wikipedia numbers in the file names",
    official_split="none",
    size="460,723 + 62,328 faces",
    terms="academic research; the pictures belong to their owners",
    source="Rothe, Timofte and Van Gool 2015, DEX: Deep EXpectation of apparent age from a single image",
    layout="""  ROOT/
    imdb_crop/imdb.mat, imdb_crop/00/nm0000100_rm46373120_1955-1-6_2003.jpg ...   (images="crop")
    wiki_crop/wiki.mat, wiki_crop/17/10000217_1981-05-05_2009.jpg ...
  or, whole photos (images="whole"): imdb/imdb.mat, imdb/00/... and wiki/wiki.mat, wiki/17/...
  (one of the two sets is enough; the .mat file may lie beside its folders in ROOT itself)""",
    put="imdb_crop/ with imdb.mat, wiki_crop/ with wiki.mat, or both",
    sign=r"(?:(?:imdb|wiki)(?:_crop)?/)?(?:imdb|wiki)\.mat",
)

_SOURCES = ("imdb", "wiki")
_FIELDS = ("dob", "photo_taken", "full_path", "gender", "name", "face_location", "face_score")
_SECOND = "second_face_score"
# 0 = female: the reverse of UTKFace's code.
_GENDERS = {0.0: "female", 1.0: "male"}
_DATES = r"_(\d{4})-(\d{1,2})-(\d{1,2})_(\d{4})\.\w+$"
_DATENUM_OF_1970 = 719529  # MATLAB counts days from the year 0, NumPy from 1970
_DATENUMS = (367, 767010)  # the years 1 to 2099


@dataclass(frozen=True)
class Options:
    """Which rows of the .mat files become faces.

    Attributes
    ----------
    source : {'both', 'imdb', 'wiki'}
        Which of the two; 'both' reads what is there.
    images : {'crop', 'whole'}
        Cropped faces, or whole photos with a box each.
    min_age, max_age : int
        Years; others are left out, as the customary filter of 0 to 100 years does. Faces of unknown age stay.
    min_face_score : float
        Rows with a lower score of the face detector are left out; -inf (no face) always is.
    several_faces : {'leave_out', 'keep'}
        What becomes of rows with a second face in the photo.
    unknown_gender : {'keep', 'leave_out'}
    """

    source: Literal["both", "imdb", "wiki"] = "both"
    images: Literal["crop", "whole"] = "crop"
    min_age: int = 0
    max_age: int = 100
    min_face_score: float = 0.0
    several_faces: Literal["leave_out", "keep"] = "leave_out"
    unknown_gender: Literal["keep", "leave_out"] = "keep"


def read(root: Path, options: Options) -> Dataset:
    """Read ``imdb.mat`` and ``wiki.mat`` and filter their rows.

    Parameters
    ----------
    root : Path
    options : Options

    Returns
    -------
    Dataset
        ``age`` is in years at the middle of the year in which the photo was taken (see `ages`).
        An unreadable birth date leaves it unknown. ``left_out`` counts by the first reason of: dates contradict the
        name, age out of range, no face detected, below score, several faces, gender unknown, no picture.

    Raises
    ------
    DatasetError
        No .mat file, one that cannot be read, or one without its fields.
    """
    left_out, notices = Reasons(), Reasons()
    rows = _read_sources(root, options.source, options.images)
    away = rows["full_path"].str.contains(r"(?:^|/)\.\.(?:/|$)|^/|\\") | (rows["full_path"] == "")
    rows = exclude(rows, away, left_out, "path malformed", "expected FOLDER/NAME.jpg")
    folders = sorted(set(rows["image"].str.rpartition("/")[0]) - {""})
    rows = keep_first(rows, ["image"], [*rows.columns.difference(["image"])], left_out)
    rows = _with_age(rows, left_out, notices)
    rows = _filter(rows, left_out, notices, options)
    rows = locate(rows, root, left_out, notices, folders=folders)
    if options.images == "whole":
        rows = check_boxes(rows, root, left_out, table="the .mat file", headers=False)
    table = faces.build(_columns(rows, options.images), dataset="imdb_wiki")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _read_sources(root: Path, source: str, images: str) -> pd.DataFrame:
    tables = []
    for name in _SOURCES if source == "both" else (source,):
        path = _find(root, name, images)
        if path is not None:
            rows = _read_mat(path, name)
            folder = path.parent.relative_to(root).as_posix()
            tables.append(rows.assign(image=rows["full_path"].radd("" if folder == "." else f"{folder}/")))
    if not tables:
        raise DatasetError(layout_error(root, INFO, f"no .mat file for source='{source}', images='{images}'"))
    return pd.concat(tables, ignore_index=True)


def _find(root: Path, name: str, images: str) -> Path | None:
    folder = f"{name}_crop" if images == "crop" else name
    places = (root / folder / f"{name}.mat", root / f"{name}.mat")
    return next((path for path in places if path.is_file()), None)


def _read_mat(path: Path, name: str) -> pd.DataFrame:
    try:
        content = matlab.read(path, names=(name,))
    except (matlab.MatlabError, OSError) as error:
        raise DatasetError(str(error)) from error
    try:
        struct = content[name][0, 0]
        fields = {field: np.ravel(struct[field]) for field in (*_FIELDS, _SECOND)}
    except (KeyError, IndexError, ValueError, TypeError) as error:
        needed = [*_FIELDS, _SECOND]
        raise DatasetError(f"{path}: expected one struct '{name}' with the fields {needed}") from error
    lengths = {field: len(values) for field, values in fields.items()}
    if len(set(lengths.values())) != 1:
        raise DatasetError(
            f"{path}: the fields have different lengths {lengths}; the file is damaged, copy it again"
        )
    return _unwrap(path, fields)


def _unwrap(path: Path, fields: dict[str, np.ndarray]) -> pd.DataFrame:
    try:
        numbers = {
            name: fields[name].astype(float)
            for name in ("dob", "photo_taken", "gender", "face_score", _SECOND)
        }
        boxes = np.array([_box(cell) for cell in fields["face_location"]], dtype=float).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: a field does not hold the numbers it should ({error}); copy the file again"
        ) from error
    texts = {name: [_text(cell) for cell in fields[name]] for name in ("full_path", "name")}
    sides = dict(zip(("left", "top", "right", "bottom"), boxes.T, strict=True))
    return pd.DataFrame({**numbers, **texts, **sides})


def _box(cell) -> np.ndarray:
    values = np.ravel(cell)[:4]
    if len(values) != 4:
        raise ValueError(f"face_location of {len(values)} numbers, expected 4")
    return values


def _text(cell) -> str:
    return cell if isinstance(cell, str) else ""


def ages(dob: np.ndarray, photo_taken: np.ndarray) -> np.ndarray:
    """Years of age in the middle of the year of the photo.

    Who was born in July or later has not had that year's birthday: the customary reading.

    Parameters
    ----------
    dob : ndarray of float
        MATLAB serial date numbers.
    photo_taken : ndarray of float
        Years.

    Returns
    -------
    ndarray of float
        NaN where a date is none, or before the year 1 or after 2099.
    """
    good = (dob >= _DATENUMS[0]) & (dob <= _DATENUMS[1]) & (photo_taken >= 1) & (photo_taken <= 2099)
    days = np.where(good, np.floor(dob) - _DATENUM_OF_1970, 0).astype("datetime64[D]")
    year = days.astype("datetime64[Y]")
    month = (days.astype("datetime64[M]") - year.astype("datetime64[M]")).astype(int) + 1
    years = photo_taken - (year.astype(int) + 1970) - (month >= 7)
    return np.where(good, years, np.nan)


def _with_age(rows: pd.DataFrame, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    rows = rows.assign(age=ages(rows["dob"].to_numpy(), rows["photo_taken"].to_numpy()))
    ageless = rows["age"].isna()
    notices.add_all(
        rows["image"][ageless],
        "bad value in age",
        "birth date or year of the photo unreadable; taken as unknown",
    )
    names = rows["full_path"].str.rpartition("/")[2]
    rows = rows.assign(identity=[parse_person(name)[0] for name in names])
    return exclude(
        rows,
        _contradicts(names, rows),
        left_out,
        "dates contradict the name",
        lambda row: (
            f"datenum {row['dob']:.0f}, photo of {row['photo_taken']:.0f}; the row may be another picture's"
        ),
    )


def _contradicts(names: pd.Series, rows: pd.DataFrame) -> pd.Series:
    named = names.str.extract(_DATES).apply(pd.to_numeric)
    named = named[(named > 0).all(axis=1) & rows["age"].notna()]
    days = (np.floor(rows.loc[named.index, "dob"]) - _DATENUM_OF_1970).astype("int64")
    born = pd.to_datetime(days.to_numpy().astype("datetime64[D]").astype("datetime64[s]"))
    differs = (born.year != named[0]) | (born.month != named[1]) | (born.day != named[2])
    differs |= rows.loc[named.index, "photo_taken"] != named[3]
    return differs.reindex(rows.index, fill_value=False)


def _filter(rows: pd.DataFrame, left_out: Reasons, notices: Reasons, options: Options) -> pd.DataFrame:
    beyond = rows["age"].notna() & ~rows["age"].between(options.min_age, options.max_age)
    asked = f"{{:.0f}} years; the filter keeps {options.min_age}..{options.max_age} (min_age, max_age)"
    rows = exclude(rows, beyond, left_out, "age out of range", rows["age"].map(asked.format))
    faceless = ~np.isfinite(rows["face_score"])
    rows = exclude(rows, faceless, left_out, "no face detected", "face_score is not finite")
    low = rows["face_score"] < options.min_face_score
    rows = exclude(rows, low, left_out, "below score", rows["face_score"].map("{:.3g}".format))
    if options.several_faces == "leave_out":
        second = rows[_SECOND].notna()
        rows = exclude(rows, second, left_out, "several faces", rows[_SECOND].map("second {:.3g}".format))
    wrong = rows["gender"].notna() & ~rows["gender"].isin(list(_GENDERS))
    details = rows["gender"][wrong].map("{!r} is taken as unknown; allowed are 0 and 1".format)
    notices.add_all(rows.loc[wrong, "image"], "bad value in gender", details)
    rows = rows.assign(gender=rows["gender"].mask(wrong))
    if options.unknown_gender == "leave_out":
        rows = exclude(rows, rows["gender"].isna(), left_out, "gender unknown", "")
    return rows


def _columns(rows: pd.DataFrame, images: str) -> dict:
    columns = {
        "image": rows["image"],
        "identity": rows["identity"],
        "age": rows["age"],
        "gender": rows["gender"].map(_GENDERS),
        "name": rows["name"],
        "face_score": rows["face_score"],
    }
    return columns if images == "crop" else {**columns, **{side: rows[side] for side in faces.BOX}}

"""Adience: faces of Flickr users, with five folds by user (Eidinger et al. 2014)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import values
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    keep_first,
    layout_error,
    need_files,
)
from faceworkbook.datasets.paths import locate
from faceworkbook.datasets.text_tables import TSV, read_rows

INFO = DatasetInfo(
    name="adience",
    title="Adience",
    labels=("age_group", "gender", "yaw"),
    columns=("tilt", "age_text"),
    identities="Flickr user (the folds are by user)",
    official_split="five folds",
    size="19,487 rows, 117 of them twice: 19,370 faces",
    terms="research, on registration",
    source="Eidinger, Enbar and Hassner 2014, Age and Gender Estimation of Unfiltered Faces",
    layout="""  ROOT/
    fold_0_data.txt ... fold_4_data.txt            (or fold_frontal_0_data.txt ... for folds="frontal")
    aligned/USER/landmark_aligned_face.FACE.IMAGE  (images="aligned")
    faces/USER/coarse_tilt_aligned_face.FACE.IMAGE (images="faces")""",
    put="fold_0_data.txt ... fold_4_data.txt, and the folder aligned/ or faces/",
    sign=r"fold_(?:frontal_)?\d_data\.txt",
)

_FOLDS = range(5)
_FILES = {"all": "fold_{}_data.txt", "frontal": "fold_frontal_{}_data.txt"}
_PREFIX = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}
_HEADER = (
    "user_id",
    "original_image",
    "face_id",
    "age",
    "gender",
    "x",
    "y",
    "dx",
    "dy",
    "tilt_ang",
    "fiducial_yaw_angle",
    "fiducial_score",
)
_LABELS = ("age", "gender", "tilt_ang", "fiducial_yaw_angle", "fold")
_GENDERS = {"m": "male", "f": "female", "u": None, "": None}
_CLASSES = {
    "(0, 2)": "0-2",
    "(4, 6)": "4-6",
    "(8, 12)": "8-12",
    "(15, 20)": "15-20",
    "(25, 32)": "25-32",
    "(38, 43)": "38-43",
    "(48, 53)": "48-53",
    "(60, 100)": "60-100",
}
_SWAPPED = {"(25, 23)": "25-32"}
_NO_AGE = ("None", "")
_ODD_RANGES = {"(8, 23)": 15.5, "(27, 32)": 29.5, "(38, 42)": 40.0, "(38, 48)": 43.0, "(25, 23)": 24.0}
_ODD_YEARS = (2, 3, 13, 22, 23, 29, 32, 34, 35, 36, 42, 45, 46, 55, 56, 57, 58)
_ODD = {**_ODD_RANGES, **{str(year): float(year) for year in _ODD_YEARS}}

# The preparation script of Kuprashevich and Tolstykh 2023 (MiVOLO). It has no entry for (25, 23): the
# copy it was written for has those rows as (25, 32).
_MIVOLO = {
    **_SWAPPED,
    **dict.fromkeys(("2", "3"), "0-2"),
    **dict.fromkeys(("13", "(8, 23)"), "8-12"),
    "22": "15-20",
    **dict.fromkeys(("23", "29", "(27, 32)", "32", "34", "35"), "25-32"),
    **dict.fromkeys(("36", "(38, 42)", "(38, 48)", "42", "45"), "38-43"),
    **dict.fromkeys(("46", "55", "56"), "48-53"),
    **dict.fromkeys(("57", "58"), "60-100"),
}
_MID_POINTS = np.array([1, 5, 10, 17.5, 28.5, 40.5, 50.5, 80])


def _nearest(years: float) -> str:
    # argmin takes the first of two equally near classes: the younger one.
    return faces.AGE_GROUPS_ADIENCE[int(np.abs(_MID_POINTS - years).argmin())]


AGE_MAPS: dict[str, dict[str, str]] = {
    "strict": _CLASSES,
    "levi_hassner": {**_CLASSES, **_SWAPPED},
    "mivolo": {**_CLASSES, **_MIVOLO},
    "nearest": {**_CLASSES, **{text: _nearest(years) for text, years in _ODD.items()}},
}


def read(
    root: Path,
    *,
    images: Literal["aligned", "faces"] = "aligned",
    folds: Literal["all", "frontal"] = "all",
    age_map: Literal["levi_hassner", "mivolo", "nearest", "strict"] = "levi_hassner",
) -> Dataset:
    """Read the fold files and the pictures that they name.

    Parameters
    ----------
    root : Path
    images : {'aligned', 'faces'}
        Pictures aligned by landmarks, or only turned upright.
    folds : {'all', 'frontal'}
        All faces, or the near-frontal ones (files ``fold_frontal_N_data.txt``).
    age_map : {'levi_hassner', 'mivolo', 'nearest', 'strict'}
        What becomes of ages that are none of the eight classes. 'strict' drops them all.
        'levi_hassner' (Levi and Hassner 2015) takes the misprint (25, 23) for (25, 32) and drops the
        others. 'mivolo' follows the script of Kuprashevich and Tolstykh 2023. 'nearest' takes the
        class with the nearest mid-point of 1, 5, 10, 17.5, 28.5, 40.5, 50.5, 80 years, the younger of
        two. A dropped age is NA; the face stays.

    Returns
    -------
    Dataset
        ``identity`` is the user, ``fold`` the official fold. ``yaw`` is the file's angle with its
        sign turned to this project's convention; the tilt, which both kinds of picture have had
        removed, is kept as ``tilt`` (degrees) and is no ``roll`` of the picture. Every row of
        the files is either in ``faces`` or in ``left_out``: the literature's 19,370 faces are the
        19,487 rows less 117 that stand twice (12, 15, 59, 13 and 18 in the folds 0 to 4).

    Raises
    ------
    DatasetError
        A missing fold file or picture folder.
    """
    need_files(root, tuple(_FILES[folds].format(fold) for fold in _FOLDS), INFO)
    if not (root / images).is_dir():
        raise DatasetError(layout_error(root, INFO, f"no folder {images}/"))
    left_out, notices = Reasons(), Reasons()
    rows = pd.concat(
        [_read_fold(root, fold, folds, images, left_out, notices) for fold in _FOLDS], ignore_index=True
    )
    rows = _read_values(rows, notices)
    rows = keep_first(rows, ["user_id", "face_id", "original_image"], _LABELS, left_out)
    _notice_users_in_two_folds(rows, notices)
    rows = locate(rows, root, left_out, notices, folders=(images,))
    group = rows["age"].map(AGE_MAPS[age_map])
    _notice_ages(rows, group, notices)
    table = faces.build(_columns(rows, group), dataset="adience")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _columns(rows: pd.DataFrame, group: pd.Series) -> dict:
    return {
        "image": rows["image"],
        "identity": "adience:" + rows["user_id"],
        "age_group": group,
        "gender": rows["gender"],
        "yaw": -rows["fiducial_yaw_angle"],
        "fold": rows["fold"],
        "tilt": rows["tilt_ang"],
        "age_text": rows["age_text"],
        "person": rows["face_id"],
        "photo": rows["original_image"],
    }


def _read_fold(
    root: Path, fold: int, folds: str, images: str, left_out: Reasons, notices: Reasons
) -> pd.DataFrame:
    name = _FILES[folds].format(fold)
    rows = read_rows(root / name, left_out, notices, header=_HEADER, form=TSV)
    picture = f"{_PREFIX[images]}." + rows["face_id"] + "." + rows["original_image"]
    return rows.assign(
        image=f"{images}/" + rows["user_id"] + "/" + picture,
        fold=fold,
        age_text=rows["age"],
        where=_lines(name, rows),
    )


def _lines(name: str, rows: pd.DataFrame) -> list[str]:
    return [f"{name} line {line}" for line in rows.index]


def _read_values(rows: pd.DataFrame, notices: Reasons) -> pd.DataFrame:
    ages = {text: text for text in (*_CLASSES, *_ODD)}
    rows = values.read_codes(rows, "age", ages | dict.fromkeys(_NO_AGE), notices)
    rows = values.read_codes(rows, "gender", _GENDERS, notices)
    return values.read_numbers(rows, ("tilt_ang", "fiducial_yaw_angle"), notices)


def _notice_users_in_two_folds(rows: pd.DataFrame, notices: Reasons) -> None:
    several = rows.groupby("user_id")["fold"].nunique().loc[lambda count: count > 1]
    notices.add_all(several.index, "user in several folds", "the folds should be by user")


def _notice_ages(rows: pd.DataFrame, group: pd.Series, notices: Reasons) -> None:
    odd = rows["age"].isin(list(_ODD))
    for name, chosen in (("age mapped", odd & group.notna()), ("age is no class", odd & group.isna())):
        details = rows.loc[chosen, "age"] + " -> " + group[chosen].astype(object).fillna("NA")
        notices.add_all(rows.loc[chosen, "image"], name, details)

"""AFLW: Flickr photos with face boxes and head pose, in an SQLite file (Koestinger et al. 2011)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
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
    exclude,
    need_files,
)
from faceworkbook.datasets.boxes import check_boxes
from faceworkbook.datasets.paths import locate

INFO = DatasetInfo(
    name="aflw",
    title="AFLW",
    labels=("yaw, pitch, roll", "gender", "five yaw bins (yaw_bin)"),
    columns=("yaw_bin",),
    identities="none",
    official_split="none",
    size="about 24,400 faces in 21,100 photos",
    terms="academic research, on registration",
    source="Koestinger, Wohlhart, Roth and Bischof 2011, Annotated Facial Landmarks in the Wild",
    layout="""  ROOT/
    aflw.sqlite
    flickr/0/image00002.jpg   (folders 0, 2 and 3 of the three archives of photos)
    ...""",
    put="aflw.sqlite and the folder flickr/ with 0/, 2/ and 3/",
    sign=r"aflw\.sqlite",
)

FOLDER = "flickr"
YAW_BINS = ("far left", "left", "frontal", "right", "far right")

# A face may have several boxes or poses; the first written is from its marked points.
_QUERY = """
SELECT Faces.face_id AS face, FaceImages.filepath AS path,
       FaceRect.x AS x, FaceRect.y AS y, FaceRect.w AS w, FaceRect.h AS h,
       FacePose.roll AS roll, FacePose.pitch AS pitch, FacePose.yaw AS yaw{sex}
FROM Faces
LEFT JOIN FaceImages ON FaceImages.file_id = Faces.file_id
LEFT JOIN FaceRect ON FaceRect.face_id = Faces.face_id
LEFT JOIN FacePose ON FacePose.face_id = Faces.face_id{join}
ORDER BY Faces.face_id, FaceRect.rowid, FacePose.rowid
"""
_EYES, _NOSE = (8, 11), 15
_POINTS = (*_EYES, _NOSE)
_POINTS_QUERY = f"""
SELECT face_id AS face, feature_id AS feature, x, y FROM FeatureCoords WHERE feature_id IN {_POINTS}
"""
_SEX = ", FaceMetadata.sex AS sex"
_JOIN_SEX = "\nLEFT JOIN FaceMetadata ON FaceMetadata.face_id = Faces.face_id"


def read(root: Path, *, bins: Literal["none", "five"] = "none") -> Dataset:
    """Read ``aflw.sqlite``.

    Parameters
    ----------
    root : Path
    bins : {'none', 'five'}
        'five' adds ``yaw_bin``: the bins of `yaw_bin` (arXiv 2003.06746).

    Returns
    -------
    Dataset
        Angles in degrees, -180..180, in this project's convention: the file's frame looks out of
        the face with the subject's right as second axis, so its yaw and roll change sign, its pitch
        does not. Where the file has marked points, ``notices`` has a line if they disagree with the signs.
        Faces without pose stay with NA and are in ``notices``.

    Raises
    ------
    DatasetError
        No ``aflw.sqlite``, a damaged one, or one without its tables.
    """
    need_files(root, ("aflw.sqlite", FOLDER), INFO)
    left_out, notices = Reasons(), Reasons()
    rows, points = _query(root / "aflw.sqlite")
    rows["image"] = f"{FOLDER}/" + rows["path"].fillna("").astype(str).str.replace("\\", "/")
    rows = exclude(rows, rows["face"].isna(), left_out, "face without a number", "")
    again = rows["face"].duplicated()
    rows = exclude(rows, again, notices, "second box or pose", "face " + rows["face"].astype(str))
    rows = _check_boxes(rows, left_out)
    rows = values.read_classes(rows, "sex", faces.GENDERS, notices, label="gender")
    rows = _with_degrees(rows, notices)
    _check_signs(rows, points, notices)
    away = rows["image"].str.contains(r"(?:^|/)\.\.(?:/|$)|//")
    rows = exclude(rows, away, left_out, "path malformed", "the path leaves the folder of the photos")
    rows = locate(rows, root, left_out, notices, folders=(FOLDER,))
    sides = {
        "top": rows["y"],
        "left": rows["x"],
        "bottom": rows["y"] + rows["h"],
        "right": rows["x"] + rows["w"],
    }
    named = rows.assign(where="face " + rows["face"].astype(str), **sides)
    rows = check_boxes(named, root, left_out, table="aflw.sqlite")
    poseless = rows["yaw"].isna() & ~rows["image"].isin(
        [image for image, reason, _ in notices.rows if reason == "bad pose"]
    )
    notices.add_all(
        rows.loc[poseless, "image"], "no pose", [f"face {face}" for face in rows["face"][poseless]]
    )
    table = faces.build(_columns(rows, bins), dataset="aflw")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _check_whole(path: Path) -> None:
    # SQLite reads a file that lacks the end of its last page without a word.
    with path.open("rb") as file:
        head = file.read(100)
    page = int.from_bytes(head[16:18]) or 1
    page = 65536 if page == 1 else page
    pages, size = int.from_bytes(head[28:32]), path.stat().st_size
    if not head.startswith(b"SQLite format 3\0") or size < page * pages:
        raise DatasetError(f"{path}: not a whole SQLite file ({size} bytes, {page * pages} expected)")


def _query(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    _check_whole(path)
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            state = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if state != "ok":
                raise DatasetError(f"{path}: the SQLite file is damaged ({state}); copy it again")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            sex = "FaceMetadata" in tables
            text = _QUERY.format(sex=_SEX if sex else ", NULL AS sex", join=_JOIN_SEX if sex else "")
            rows = pd.read_sql_query(text, connection)
            pointed = "FeatureCoords" in tables
            points = pd.read_sql_query(_POINTS_QUERY, connection) if pointed else pd.DataFrame()
    except (sqlite3.Error, pd.errors.DatabaseError) as error:
        raise DatasetError(
            f"{path}: not an AFLW database ({error}); it needs the tables Faces, FaceImages, FaceRect, FacePose"
        ) from error
    return rows, points


def _check_signs(rows: pd.DataFrame, points: pd.DataFrame, notices: Reasons) -> None:
    """Hold the angles against the marked points: nose beside the eyes' middle, tilt of the eye line."""
    if points.empty:
        return
    places = points.pivot_table(index="face", columns="feature", values=["x", "y"], aggfunc="first")
    places = places.reindex(rows["face"]).set_axis(rows.index)
    wanted = [(axis, feature) for axis in "xy" for feature in _POINTS]
    places = places.reindex(columns=pd.MultiIndex.from_tuples(wanted)).dropna().astype(float)
    x, y = places["x"], places["y"]
    one, other = _EYES
    # The axis runs from the eye at the image's left to the one at its right, whatever they are called.
    turn = np.where(x[other] >= x[one], 1.0, -1.0)
    across, down = turn * (x[other] - x[one]), turn * (y[other] - y[one])
    nose_across, nose_down = x[_NOSE] - x[[*_EYES]].mean(axis=1), y[_NOSE] - y[[*_EYES]].mean(axis=1)
    seen = {
        "yaw": (nose_across * across + nose_down * down) / (across**2 + down**2),
        "roll": np.arctan2(down, across),
    }
    for name, measured in seen.items():
        agreement = measured.corr(rows.loc[measured.index, name])
        if agreement < 0:
            detail = f"{name} has a correlation of {agreement:.2f} with the marked eyes and noses"
            notices.add("aflw.sqlite", f"sign of {name} doubtful", detail)


def _check_boxes(rows: pd.DataFrame, left_out: Reasons) -> pd.DataFrame:
    box = rows[["x", "y", "w", "h"]].apply(pd.to_numeric, errors="coerce").astype(float)
    rows = rows.assign(**box)
    good = np.isfinite(box).all(axis=1) & (box["w"] > 0) & (box["h"] > 0)
    return exclude(rows, ~good, left_out, "no box", lambda row: f"face {row['face']} has no usable box")


def _with_degrees(rows: pd.DataFrame, notices: Reasons) -> pd.DataFrame:
    angles = rows[[*faces.POSE]]
    parsed = angles.apply(pd.to_numeric, errors="coerce").astype(float)
    wrong = (parsed.isna() & angles.notna()).any(axis=1) | (parsed.abs() > 4 * np.pi).any(axis=1)
    wrong |= parsed.isna().any(axis=1) & parsed.notna().any(axis=1)
    signs = {"yaw": -1, "pitch": 1, "roll": -1}
    turned = {name: signs[name] * np.degrees(parsed[name]) for name in faces.POSE}
    rows = rows.assign(**{name: (values + 180) % 360 - 180 for name, values in turned.items()})
    details = [
        f"face {face}: not three angles in radians, taken as unknown" for face in rows.loc[wrong, "face"]
    ]
    notices.add_all(rows.loc[wrong, "image"], "bad pose", details)
    return rows.assign(**{name: rows[name].mask(wrong) for name in faces.POSE})


def _columns(rows: pd.DataFrame, bins: str) -> dict:
    columns = {
        "face_id": "aflw:" + rows["face"].astype(str),
        "image": rows["image"],
        **{side: rows[side] for side in faces.BOX},
        "gender": rows["sex"],
        **{name: rows[name] for name in faces.POSE},
    }
    return columns if bins == "none" else {**columns, "yaw_bin": yaw_bin(rows["yaw"])}


def yaw_bin(yaw: pd.Series) -> pd.Series:
    """Five bins of yaw in degrees: <= -60, (-60, -10], (-10, 10), [10, 60), >= 60; NA stays NA.

    The names are seen in the picture: 'left' is the image's left.
    """
    values = pd.to_numeric(yaw).astype(float).to_numpy()
    index = np.select([values <= -60, values <= -10, values < 10, values < 60, values >= 60], range(5), -1)
    return pd.Series(pd.Categorical.from_codes(index, list(YAW_BINS), ordered=True), index=yaw.index)

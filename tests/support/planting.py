"""Plant known faults in a copy of a face table, to test what is meant to detect them.

Each function leaves its input as it is and returns a `Planted`: the altered table, and a table of exactly what was
altered, so that a test can compare a finding with the truth. They work on any face table (`faceworkbook.faces`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

BOX = ["top", "left", "bottom", "right"]


@dataclass(frozen=True)
class CopyOptions:
    """How a planted near-duplicate differs from its original.

    Attributes
    ----------
    split : str, optional
        Split that the copy claims; by default that of the original.
    scale : float
        Factor on the picture's width and height; boxes are scaled with it.
    quality : int in 1..100
        JPEG quality.
    keep_identity : bool
        Whether the copy bears the original's identity; otherwise its identity is missing, and only the pixels
        show where it is from.
    """

    split: str | None = None
    scale: float = 0.8
    quality: int = 70
    keep_identity: bool = True


@dataclass(frozen=True)
class Planted:
    """An altered face table and the record of what was altered.

    Attributes
    ----------
    faces : pandas.DataFrame
        The altered copy, with the columns and dtypes of the original.
    planted : pandas.DataFrame
        One row a planted fault; its columns are named in the function that made it.
    """

    faces: pd.DataFrame
    planted: pd.DataFrame


def plant_label_noise(
    faces: pd.DataFrame, *, column: str, rate: float, seed: int, where: pd.Series | None = None
) -> Planted:
    """Replace a share of the labels of one column by another label, drawn uniformly.

    Parameters
    ----------
    faces : pandas.DataFrame
        Face table.
    column : str
        A column of labels, such as "gender", "race" or "emotion".
    rate : float in 0..1
        Share of the labelled (and selected) rows to alter; the count is rounded to the nearest.
    seed : int
        Seed of the draw.
    where : boolean pandas.Series, optional
        Rows that may be altered, aligned with `faces`; every row by default.

    Returns
    -------
    Planted
        `planted` has face_id, column, truth, label.

    Raises
    ------
    ValueError
        Unknown column, a rate outside 0..1, or fewer than two labels to choose from.
    """
    _require_columns(faces, "face_id", column)
    _require_share(rate, "rate")
    labels = _labels_in(faces, column)
    rng = np.random.default_rng(seed)
    eligible = faces[column].notna() & (
        True if where is None else where.reindex(faces.index, fill_value=False)
    )
    chosen = _draw_rows(np.flatnonzero(eligible.to_numpy(dtype=bool)), rate, rng)
    truth = faces[column].iloc[chosen].astype(object).to_list()
    wrong = [rng.choice([label for label in labels if label != true]) for true in truth]
    noisy = faces.copy()
    noisy.iloc[chosen, noisy.columns.get_loc(column)] = wrong
    record = {
        "face_id": faces["face_id"].iloc[chosen].to_list(),
        "column": column,
        "truth": truth,
        "label": wrong,
    }
    return Planted(noisy, pd.DataFrame(record, columns=["face_id", "column", "truth", "label"]))


def plant_group_noise(
    faces: pd.DataFrame,
    *,
    column: str,
    group_column: str,
    group: str,
    rate: float,
    rate_elsewhere: float = 0.0,
    seed: int,
) -> Planted:
    """Make the labels of one group noisier than those of the others.

    Parameters
    ----------
    faces : pandas.DataFrame
        Face table.
    column : str
        The column whose labels are altered.
    group_column, group : str
        The group is the rows where `group_column` equals `group`.
    rate, rate_elsewhere : float in 0..1
        Share of altered labels inside the group, and outside of it.
    seed : int
        Seed of the draw.

    Returns
    -------
    Planted
        `planted` has face_id, column, truth, label, in_group.
    """
    inside = _rows_of_group(faces, group_column, group)
    within = plant_label_noise(faces, column=column, rate=rate, seed=seed, where=inside)
    both = plant_label_noise(within.faces, column=column, rate=rate_elsewhere, seed=seed + 1, where=~inside)
    records = [within.planted.assign(in_group=True), both.planted.assign(in_group=False)]
    return Planted(both.faces, pd.concat(records, ignore_index=True))


def plant_underrepresentation(
    faces: pd.DataFrame,
    *,
    column: str,
    group: str,
    keep: float,
    seed: int,
    where: pd.Series | None = None,
) -> Planted:
    """Drop most of one group, whole identities at a time where they are known.

    Parameters
    ----------
    faces : pandas.DataFrame
        Face table.
    column, group : str
        The group is the rows where `column` equals `group`.
    keep : float in 0..1
        Share of the group's identities (or of its faces without identity) that stays.
    seed : int
        Seed of the draw.
    where : boolean pandas.Series, optional
        Rows that may be dropped, such as those of the training split; every row by default.

    Returns
    -------
    Planted
        `planted` has face_id, identity, column, group of the rows that were dropped.
    """
    _require_columns(faces, "face_id", "identity")
    _require_share(keep, "keep")
    inside = _rows_of_group(faces, column, group)
    if where is not None:
        inside &= where.reindex(faces.index, fill_value=False)
    person = (
        faces["identity"].astype(object).where(faces["identity"].notna(), faces["face_id"].astype(object))
    )
    people = person[inside].unique()
    rng = np.random.default_rng(seed)
    dropped = people[_draw_rows(np.arange(len(people)), 1 - keep, rng)]
    gone = inside & person.isin(dropped)
    record = faces.loc[gone, ["face_id", "identity"]].assign(column=column, group=group)
    return Planted(faces[~gone].reset_index(drop=True), record.reset_index(drop=True))


def plant_identity_leakage(
    faces: pd.DataFrame, *, rate: float, seed: int, source: str = "train", target: str = "test"
) -> Planted:
    """Move one face of some people from one split to another, so that they stand in both.

    Parameters
    ----------
    faces : pandas.DataFrame
        Face table with identities and a `split`.
    rate : float in 0..1
        Share, among the people with two faces or more in `source`, of those who are leaked.
    seed : int
        Seed of the draw.
    source, target : str
        Names of the split that gives and of the split that receives a face.

    Returns
    -------
    Planted
        `planted` has face_id, identity, source, target.
    """
    _require_columns(faces, "face_id", "identity", "split")
    _require_share(rate, "rate")
    rng = np.random.default_rng(seed)
    candidates = faces[faces["split"].eq(source).fillna(False) & faces["identity"].notna()]
    counts = candidates["identity"].value_counts(sort=False)
    people = np.array(sorted(counts.index[counts >= 2].astype(str)))
    if len(people) == 0:
        raise ValueError(
            f"split {source!r}: nobody has two faces or more there; nothing can leak. "
            f"Splits in the table: {sorted(faces['split'].dropna().unique())}."
        )
    leaked = people[_draw_rows(np.arange(len(people)), rate, rng)]
    rows = [rng.choice(np.flatnonzero(_is_person(faces, person, source))) for person in leaked]
    moved = faces.copy()
    if isinstance(moved["split"].dtype, pd.CategoricalDtype):
        moved["split"] = moved["split"].cat.set_categories(
            moved["split"].cat.categories.union([target], sort=False)
        )
    moved.iloc[rows, moved.columns.get_loc("split")] = target
    record = faces[["face_id", "identity"]].iloc[rows].assign(source=source, target=target)
    return Planted(moved, record.reset_index(drop=True))


def plant_near_duplicates(
    faces: pd.DataFrame,
    *,
    root: str | Path,
    out: str | Path,
    rate: float,
    seed: int,
    copies: CopyOptions | None = None,
) -> Planted:
    """Add resized, re-encoded copies of some pictures, as they turn up in sets gathered from the web.

    Parameters
    ----------
    faces : pandas.DataFrame
        Face table whose `image` paths are relative to `root`.
    root : path
        Root folder of the pictures.
    out : path
        New root: it receives every picture of the table (hard-linked where the disk allows) and, under
        `duplicates/`, the copies.
    rate : float in 0..1
        Share of the pictures that get a copy.
    seed : int
        Seed of the draw.
    copies : CopyOptions, optional
        How a copy differs from its original.

    Returns
    -------
    Planted
        `faces` is the table for the root `out`; `planted` has face_id (of the copy), copy_of, image,
        source_split, split.

    Raises
    ------
    FileNotFoundError
        A picture of the table is not under `root`, or cannot be decoded.
    """
    _require_columns(faces, "face_id", "image", "identity", "split")
    _require_share(rate, "rate")
    root, out, options = Path(root), Path(out), copies or CopyOptions()
    for image in faces["image"].drop_duplicates():
        _link(_inside(root, image), _inside(out, image))
    chosen = _draw_rows(np.arange(len(faces)), rate, np.random.default_rng(seed))
    copied = faces.iloc[chosen].copy()
    copied["face_id"] = [f"{name}-copy" for name in copied["face_id"]]
    copied["image"] = [f"duplicates/{i:05d}.jpg" for i in range(len(copied))]
    for source, copy in zip(faces["image"].iloc[chosen], copied["image"], strict=True):
        _write_copy(_inside(root, source), out / copy, options)
    boxes = [name for name in BOX if name in copied]
    copied[boxes] = (
        (copied[boxes].astype("Float64") * options.scale).round().astype(copied[boxes].dtypes.to_dict())
    )
    if options.split is not None:
        copied["split"] = options.split
    if not options.keep_identity:
        copied["identity"] = pd.NA
    record = pd.DataFrame(
        {
            "face_id": copied["face_id"].to_list(),
            "copy_of": faces["face_id"].iloc[chosen].to_list(),
            "image": copied["image"].to_list(),
            "source_split": faces["split"].iloc[chosen].to_list(),
            "split": copied["split"].to_list(),
        }
    )
    both = pd.concat([faces.astype({"split": object}), copied.astype({"split": object})], ignore_index=True)
    return Planted(_restore_dtypes(both, faces), record)


def _restore_dtypes(table: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    dtypes = dict(like.dtypes)
    if isinstance(dtypes.get("split"), pd.CategoricalDtype):
        known = dtypes["split"].categories
        extra = [name for name in table["split"].dropna().unique() if name not in known]
        dtypes["split"] = pd.CategoricalDtype([*known, *extra], ordered=dtypes["split"].ordered)
    return table.astype(dtypes)


def _write_copy(source: Path, target: Path, options: CopyOptions) -> None:
    pixels = cv2.imread(str(source), cv2.IMREAD_COLOR)
    if pixels is None:
        raise FileNotFoundError(f"{source}: expected a picture that OpenCV decodes; check the root folder.")
    small = cv2.resize(pixels, None, fx=options.scale, fy=options.scale, interpolation=cv2.INTER_AREA)
    target.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, options.quality])
    target.write_bytes(encoded.tobytes())


def _link(source: Path, target: Path) -> None:
    if not source.is_file():
        raise FileNotFoundError(f"{source}: the face table names this picture; check the root folder.")
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _inside(root: Path, image: str) -> Path:
    path = root / image
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"image {image!r}: leads out of the root {root}; expected a path inside of it.")
    return path


def _labels_in(faces: pd.DataFrame, column: str) -> list[str]:
    labels = sorted(str(label) for label in faces[column].dropna().unique())
    if len(labels) < 2 or pd.api.types.is_numeric_dtype(faces[column]):
        raise ValueError(
            f"column {column!r}: expected labels of two classes or more, received {labels[:5]}; "
            "choose a column of labels such as 'gender', 'race' or 'emotion'."
        )
    return labels


def _rows_of_group(faces: pd.DataFrame, column: str, group: str) -> pd.Series:
    _require_columns(faces, column)
    inside = faces[column].eq(group).fillna(False).astype(bool)
    if not inside.any():
        raise ValueError(
            f"group {group!r}: no face has it in column {column!r}; "
            f"expected one of {sorted(map(str, faces[column].dropna().unique()))}."
        )
    return inside


def _is_person(faces: pd.DataFrame, person: str, split: str) -> np.ndarray:
    same = faces["identity"].eq(person).fillna(False) & faces["split"].eq(split).fillna(False)
    return same.to_numpy(dtype=bool)


def _draw_rows(rows: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(rows, size=round(rate * len(rows)), replace=False))


def _require_columns(faces: pd.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in faces]
    if missing:
        raise ValueError(f"face table: columns {missing} are missing; it has {list(faces.columns)}.")


def _require_share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a share from 0 to 1, received {value}.")

"""AffectNet: faces from the web with emotion, valence and arousal (Mollahosseini et al. 2017)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import values, words
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    exclude,
    keep_first,
    layout_error,
    list_pictures,
)
from faceworkbook.datasets.box_columns import CORNER_AND_SIZE, to_sides
from faceworkbook.datasets.boxes import check_boxes
from faceworkbook.datasets.paths import first_there, locate
from faceworkbook.datasets.text_tables import Format, read_rows

INFO = DatasetInfo(
    name="affectnet",
    title="AffectNet",
    labels=("emotion (eight)", "valence", "arousal"),
    columns=("valence", "arousal"),
    identities="none",
    official_split="training (= train), validation",
    size="about 420,000 photos, or 287,651 + 3,999 faces of AffectNet-8",
    terms="non-commercial research, on registration",
    source="Mollahosseini, Hasani and Mahoor 2017, AffectNet: A Database for Facial Expression, Valence, and Arousal",
    layout="""  ROOT/
    training.csv, validation.csv            (or in Manually_Annotated_file_lists/)
    Manually_Annotated_Images/689/....jpg
or, AffectNet-8,
  ROOT/
    train_set/images/0.jpg ...
    train_set/annotations/0_exp.npy, 0_val.npy, 0_aro.npy ...
    val_set/images/..., val_set/annotations/...""",
    put="training.csv, validation.csv and Manually_Annotated_Images/, or train_set/ and val_set/",
    sign=r"(?:.*/)?(?:Manually_Annotated_file_lists/training\.csv|train_set/annotations/\d+_exp\.npy)",
)

HEADER = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
_BOX = HEADER[1:5]
_EMOTIONS = dict(
    zip(
        map(str, range(8)),
        ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"),
        strict=True,
    )
)
_CODES = {**_EMOTIONS, "8": None, "9": None, "10": None}  # none of them, uncertain, no face
_NO_FACE = "10"
_AFFECT = ("valence", "arousal")
_NO_AFFECT = "-2"
_CSV = {"training.csv": "train", "validation.csv": "validation"}
_SETS = {"train_set": "train", "val_set": "validation"}
_VALUES = {"expression": "exp", "valence": "val", "arousal": "aro"}
_LARGEST = 4096  # bytes of a file with one value


def read(root: Path, *, images: Literal["box", "whole"] = "box") -> Dataset:
    """Read the lists of the photos, or the annotations of AffectNet-8.

    Parameters
    ----------
    root : Path
    images : {'box', 'whole'}
        Faces cut out at the lists' boxes, or whole photos. AffectNet-8 has cropped faces and no boxes.

    Returns
    -------
    Dataset
        ``valence`` and ``arousal`` are in -1..1. "None" and "uncertain" are no emotions: it is NA. Pictures marked as
        no face are in ``left_out``.

    Raises
    ------
    DatasetError
        Neither of the two layouts.
    """
    left_out, notices = Reasons(), Reasons()
    if (root / "train_set").is_dir() or (root / "val_set").is_dir():
        rows = _read_values(root, left_out)
    else:
        rows = _read_lists(root, images, left_out, notices)
    faceless = rows["expression"] == _NO_FACE
    rows = exclude(rows, faceless, left_out, "no face", "the annotators marked it as no face")
    rows = values.read_codes(rows, "expression", _CODES, notices)
    affect = {name: rows[name].mask(rows[name].map(words.fold_code) == _NO_AFFECT, "") for name in _AFFECT}
    rows = values.read_numbers(
        rows.assign(**affect), _AFFECT, notices, ranges=dict.fromkeys(_AFFECT, (-1, 1))
    )
    rows = rows.rename(columns={"expression": "emotion"})
    columns = [name for name in ("image", "split", "emotion", *_AFFECT, *faces.BOX) if name in rows]
    table = faces.build(dict(rows[columns]), dataset="affectnet")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


# --------------------------------------------------------------------------- lists of photos


def _read_lists(root: Path, images: str, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    above = ("", "Manually_Annotated_file_lists/", "Manually_Annotated/Manually_Annotated_file_lists/")
    paths = {name: first_there(root, [f"{folder}{name}" for folder in above]) for name in _CSV}
    folders = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
    folder = first_there(root, folders)
    missing = [name for name, path in paths.items() if path is None] + ([] if folder else [f"{folders[0]}/"])
    if missing:
        raise DatasetError(
            layout_error(root, INFO, f"missing: {', '.join(missing)}; or train_set/ and val_set/")
        )
    rows = pd.concat(
        [_read_list(root, path, _CSV[name], left_out, notices) for name, path in paths.items()],
        ignore_index=True,
    )
    rows = rows.assign(image=f"{folder}/" + rows["subDirectory_filePath"]).drop(columns="facial_landmarks")
    rows = locate(rows, root, left_out, notices, folders=(folder,))
    rows = keep_first(rows, ["image"], ["split", "expression", *_AFFECT], left_out)
    if images == "whole":
        return rows
    sides = {name: words.numbers(rows[written]) for name, written in zip(CORNER_AND_SIZE, _BOX, strict=True)}
    return check_boxes(to_sides(rows.assign(**sides)), root, left_out, table="training.csv", headers=False)


def _read_list(root: Path, path: str, split: str, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    # validation.csv is also in circulation without its header.
    with (root / path).open(encoding="utf-8-sig", errors="replace") as file:
        named = file.readline().startswith(HEADER[0])
    rows = read_rows(root / path, left_out, notices, header=HEADER, form=Format(named=named))[[*HEADER]]
    return rows.assign(split=split, where=[f"{Path(path).name} line {line}" for line in rows.index])


# --------------------------------------------------------------------------- AffectNet-8


def _read_values(root: Path, left_out: Reasons) -> pd.DataFrame:
    rows = []
    for name, split in _SETS.items():
        if not (root / f"{name}/images").is_dir():
            left_out.add(f"{name}/images", "folder missing", f"so there are no faces of {split}")
            continue
        for image in list_pictures(root, left_out, folder=f"{name}/images"):
            stem = root / f"{name}/annotations" / Path(image).stem
            cells = [read_value(Path(f"{stem}_{kind}.npy")) for kind in _VALUES.values()]
            rows.append((image, split, f"{stem.name}_*.npy", *cells))
    table = pd.DataFrame(rows, columns=["image", "split", "where", *_VALUES], dtype=object)
    unlabelled = (table[[*_VALUES]] == "").all(axis=1)
    table = exclude(table, unlabelled, left_out, "no annotation", "expected N_exp.npy in annotations/")
    if table.empty:
        raise DatasetError(
            layout_error(root, INFO, "no picture with an annotation in train_set/ or val_set/", left_out)
        )
    return table


def read_value(path: Path) -> str:
    """Return the one value of a .npy file as text; empty where it is missing, damaged, or more than one value.

    AffectNet-8 writes numbers as texts or as floats. Nothing is un-pickled.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        value = np.load(io.BytesIO(data), allow_pickle=False) if len(data) <= _LARGEST else np.empty(0)
        return str(value.reshape(-1)[0]).strip() if value.size == 1 and value.dtype.kind in "Uif" else ""
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError):
        return ""

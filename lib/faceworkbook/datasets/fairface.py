"""FairFace: faces balanced by seven races (Karkkainen and Joo 2021)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets.base import (
    Dataset,
    DatasetInfo,
    Reasons,
    keep_first,
    keep_pictured,
    need_files,
    read_rows,
    translate,
)

INFO = DatasetInfo(
    name="fairface",
    title="FairFace",
    labels=("age_group", "gender", "race (seven)"),
    identities="none",
    official_split="train, val (= validation)",
    size="86,744 + 10,954 faces, 224 x 224",
    terms="CC BY 4.0",
    source="Karkkainen and Joo 2021, FairFace: Face Attribute Dataset for Balanced Race, Gender, and Age",
    layout="""  ROOT/
    fairface_label_train.csv   (file,age,gender,race,service_test)
    fairface_label_val.csv
    train/1.jpg ...
    val/1.jpg ...""",
    put="fairface_label_train.csv, fairface_label_val.csv, and the folders train/ and val/",
)

_SPLITS = {"train": "train", "val": "validation"}
_HEADER = ("file", "age", "gender", "race", "service_test")
_GENDERS = {"Male": "male", "Female": "female"}
_FLAGS = {"True": True, "False": False}


def read(root: Path) -> Dataset:
    """Read the two label files and the pictures that they name.

    Parameters
    ----------
    root : Path

    Returns
    -------
    Dataset
        ``age_group`` and ``race`` have FairFace's own nine and seven classes; ``extra_service_test``
        is the file's flag for the balanced subset that commercial services were tested on.

    Raises
    ------
    DatasetError
        A missing label file, or one without its columns.
    """
    need_files(root, tuple(f"fairface_label_{split}.csv" for split in _SPLITS), INFO)
    left_out = Reasons()
    rows = pd.concat([_read_split(root, split, left_out) for split in _SPLITS], ignore_index=True)
    rows = keep_first(rows, ["image"], left_out)
    rows = translate(rows, "gender", _GENDERS, left_out)
    rows = translate(rows, "race", {name: name for name in faces.RACES_FAIRFACE}, left_out)
    rows = translate(rows, "age", {name: name for name in faces.AGE_GROUPS_FAIRFACE}, left_out)
    rows = translate(rows, "service_test", _FLAGS, left_out)
    rows = keep_pictured(rows, root, left_out, folders=_SPLITS)
    table = faces.build(
        {
            "image": rows["image"],
            "age_group": rows["age"],
            "gender": rows["gender"],
            "race": rows["race"],
            "split": rows["image"].str.split("/").str[0].map(_SPLITS),
            "extra_service_test": rows["service_test"].astype(bool),
        },
        dataset="fairface",
        vocabularies={"race": faces.RACES_FAIRFACE, "age_group": faces.AGE_GROUPS_FAIRFACE},
    )
    return Dataset(table, left_out.table(), Reasons().table(), root, INFO)


def _read_split(root: Path, split: str, left_out: Reasons) -> pd.DataFrame:
    name = f"fairface_label_{split}.csv"
    rows = read_rows(root / name, left_out, header=_HEADER).rename(columns={"file": "image"})
    return rows.assign(where=[f"{name} line {line}" for line in rows.index])

"""FairFace: faces balanced by seven races (Karkkainen and Joo 2021)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import values, words
from faceworkbook.datasets.base import (
    Dataset,
    DatasetInfo,
    Reasons,
    exclude,
    keep_first,
    need_files,
    where,
)
from faceworkbook.datasets.paths import locate
from faceworkbook.datasets.text_tables import read_rows

INFO = DatasetInfo(
    name="fairface",
    title="FairFace",
    labels=("age_group", "gender", "race (seven)"),
    columns=("service_test",),
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
    sign=r"fairface_label_(?:train|val)\.csv",
)

_SPLITS = {"train": "train", "val": "validation"}
_HEADER = ("file", "age", "gender", "race")


def read(root: Path) -> Dataset:
    """Read the two label files and the pictures that they name.

    Parameters
    ----------
    root : Path

    Returns
    -------
    Dataset
        ``age_group`` and ``race`` have FairFace's own nine and seven classes; ``service_test``
        ("no", "yes") is the file's flag for the balanced subset that commercial services were tested on.

    Raises
    ------
    DatasetError
        A missing label file, or one without its columns.
    """
    need_files(root, tuple(f"fairface_label_{split}.csv" for split in _SPLITS), INFO)
    left_out, notices = Reasons(), Reasons()
    rows = pd.concat([_read_split(root, split, left_out, notices) for split in _SPLITS], ignore_index=True)
    rows = _read_values(rows, left_out, notices)
    rows = locate(rows, root, left_out, notices, folders=[*_SPLITS])
    rows = keep_first(rows, ["image"], ["age", "gender", "race"], left_out)
    table = faces.build(
        {
            "image": rows["image"],
            "age_group": rows["age"],
            "gender": rows["gender"],
            "race": rows["race"],
            "split": rows["image"].str.split("/").str[0].map(_SPLITS),
            "service_test": _flags(rows),
        },
        dataset="fairface",
        vocabularies={"race": faces.RACES_FAIRFACE, "age_group": faces.AGE_GROUPS_FAIRFACE},
    )
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _read_values(rows: pd.DataFrame, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    written = rows["age"]
    meant = words.classes_of("age_group", written.unique(), faces.AGE_GROUPS_FAIRFACE)
    # 09-Mar is a date of two readings, and shows that a program has changed the table.
    odd = written.map(lambda text: words.is_date(text) and meant[text] is None).astype(bool)
    rows = exclude(
        rows,
        odd,
        left_out,
        "bad value in age",
        lambda row: (
            f"{where(row)}: {row['age']!r} is a spreadsheet's date; allowed are {list(faces.AGE_GROUPS_FAIRFACE)}"
        ),
    )
    rows = values.read_classes(rows, "gender", faces.GENDERS, notices)
    rows = values.read_classes(rows, "race", faces.RACES_FAIRFACE, notices)
    rows = values.read_classes(rows, "age", faces.AGE_GROUPS_FAIRFACE, notices, label="age_group")
    repaired = rows[rows["age"].notna() & (written[rows.index] != rows["age"])]
    notices.add_all(
        repaired["image"], "age repaired", written[repaired.index] + " is read as " + repaired["age"]
    )
    return rows


def _flags(rows: pd.DataFrame) -> pd.Series:
    # Nobody's label: a flag that a spreadsheet has changed costs no face.
    flags = rows.get("service_test", pd.Series("", index=rows.index))
    return flags.map(words.yes_no).astype(object)


def _read_split(root: Path, split: str, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    name = f"fairface_label_{split}.csv"
    rows = read_rows(root / name, left_out, notices, header=_HEADER).rename(columns={"file": "image"})
    return rows.assign(where=[f"{name} line {line}" for line in rows.index])

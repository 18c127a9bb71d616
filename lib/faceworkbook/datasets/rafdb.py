"""RAF-DB: faces from the web with seven basic emotions, gender, race and age range (Li et al. 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import values, words
from faceworkbook.datasets.base import (
    NO_PICTURE,
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    exclude,
    keep_first,
    layout_error,
    list_pictures,
)
from faceworkbook.datasets.boxes import check_boxes
from faceworkbook.datasets.paths import first_there, locate
from faceworkbook.datasets.text_tables import BLANKS, read_rows

AGE_GROUPS = ("0-3", "4-19", "20-39", "40-69", "more than 70")

INFO = DatasetInfo(
    name="rafdb",
    title="RAF-DB (basic emotions)",
    labels=("emotion (seven)", "gender", "race (three)", "age_group (five)"),
    identities="none",
    official_split="train, test",
    size="12,271 + 3,068 faces",
    terms="non-commercial research",
    source="Li, Deng and Du 2017, Reliable Crowdsourcing and Deep Locality-Preserving Learning",
    layout="""  ROOT/                                             (or its folder basic/)
    EmoLabel/list_patition_label.txt                (train_00001.jpg 5)
    Image/aligned/train_00001_aligned.jpg ...       (images="original": Image/original/train_00001.jpg)
    Annotation/manual/train_00001_manu_attri.txt    (gender, race, age; may be missing)
    Annotation/boundingbox/train_00001_boundingbox.txt   (images="original")
or, as on Kaggle (emotions only),
  ROOT/
    train_labels.csv, test_labels.csv               (image,label)
    DATASET/train/1/train_00001_aligned.jpg ...     (folders 1 to 7)
    DATASET/test/1/test_0001_aligned.jpg ...""",
    put="the folders EmoLabel/, Image/ and Annotation/, or train_labels.csv, test_labels.csv and DATASET/",
    sign=r"(?:.*/)?(?:list_patition_label\.txt|(?:train_\d{5}|test_\d{4})_aligned\.jpg)",
)

_EMOTIONS = dict(
    zip("1234567", ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"), strict=True)
)
_CODES = {
    "emotion": _EMOTIONS,
    "gender": {"0": "male", "1": "female", "2": None},
    "race": {"0": "White", "1": "Black", "2": "Asian"},
    "age_group": dict(zip("01234", AGE_GROUPS, strict=True)),
}
_ATTRIBUTES = ("gender", "race", "age_group")
_LIST = "EmoLabel/list_patition_label.txt"
_TABLES = {"train": "train_labels.csv", "test": "test_labels.csv"}


def read(root: Path, *, images: Literal["aligned", "original"] = "aligned") -> Dataset:
    """Read the emotions, and the attributes where they are there.

    Parameters
    ----------
    root : Path
    images : {'aligned', 'original'}
        Faces aligned to 100 x 100 pixels, or the photos with a box each.

    Returns
    -------
    Dataset
        ``race`` has the set's three classes under the project's names (Caucasian is White, African-American is
        Black). A gender that annotators were unsure of is NA. A face whose folder and table name two emotions is
        in ``left_out``.

    Raises
    ------
    DatasetError
        Neither of the two layouts.
    """
    left_out, notices = Reasons(), Reasons()
    above = first_there(root, (_LIST, f"basic/{_LIST}"))
    if above is not None:
        rows = _read_distributed(root, above.removesuffix(_LIST), images, left_out, notices)
    elif images == "aligned":
        rows = _read_folders(root, left_out, notices)
    else:
        raise DatasetError(layout_error(root, INFO, f"images='original' needs {_LIST}"))
    for name in [name for name in _CODES if name in rows]:
        rows = values.read_codes(rows, name, _CODES[name], notices)
    columns = [name for name in ("image", "split", *_CODES, *faces.BOX) if name in rows]
    table = faces.build(dict(rows[columns]), dataset="rafdb", vocabularies={"age_group": AGE_GROUPS})
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


# --------------------------------------------------------------------------- as distributed


def _read_distributed(
    root: Path, above: str, images: str, left_out: Reasons, notices: Reasons
) -> pd.DataFrame:
    rows = read_rows(root / f"{above}{_LIST}", left_out, notices, header=("name", "emotion"), form=BLANKS)
    stem = rows["name"].str.removesuffix(".jpg")
    folder = f"{above}Image/{images}"
    ending = "_aligned.jpg" if images == "aligned" else ".jpg"
    rows = rows.assign(stem=stem, image=f"{folder}/" + stem + ending, split=stem.str.split("_").str[0])
    wrong = ~rows["split"].isin(("train", "test"))
    rows = exclude(rows, wrong, left_out, "name malformed", "expected train_00001.jpg or test_0001.jpg")
    rows = locate(rows, root, left_out, notices, folders=(folder,))
    rows = keep_first(rows, ["image"], ["emotion"], left_out)
    rows = _with_attributes(rows, root / f"{above}Annotation/manual", notices)
    return _with_boxes(rows, root, above, left_out) if images == "original" else rows


def _with_attributes(rows: pd.DataFrame, folder: Path, notices: Reasons) -> pd.DataFrame:
    if not folder.is_dir():
        notices.add("Annotation/manual", "no attributes", "the folder is missing, so only emotions are known")
        return rows
    texts = [_words(folder / f"{stem}_manu_attri.txt") for stem in rows["stem"]]
    # Five points of two numbers each stand before gender, race and age.
    whole = [len(text) == 13 for text in texts]
    lacking = [image for image, good in zip(rows["image"], whole, strict=True) if not good]
    notices.add_all(
        lacking, "no attributes", "expected five points, gender, race and age in its manu_attri.txt"
    )
    codes = [text[10:] if good else [""] * 3 for text, good in zip(texts, whole, strict=True)]
    table = pd.DataFrame(codes, columns=[*_ATTRIBUTES], index=rows.index, dtype=object)
    return rows.assign(**table)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []


def _with_boxes(rows: pd.DataFrame, root: Path, above: str, left_out: Reasons) -> pd.DataFrame:
    folder = root / f"{above}Annotation/boundingbox"
    if not folder.is_dir():
        raise DatasetError(layout_error(root, INFO, "no folder Annotation/boundingbox/"))
    sides = [_four_numbers(_words(folder / f"{stem}_boundingbox.txt")) for stem in rows["stem"]]
    left, top, right, bottom = np.array(sides, float).reshape(-1, 4).T
    rows = rows.assign(top=top, left=left, bottom=bottom, right=right)
    rows = exclude(
        rows, rows["top"].isna(), left_out, "no box", "expected four numbers in its boundingbox.txt"
    )
    return check_boxes(rows, root, left_out, table="Annotation/boundingbox")


def _four_numbers(texts: list[str]) -> list[float]:
    sides = words.numbers(pd.Series(texts, dtype=object)).tolist()
    return sides if len(sides) == 4 and not np.isnan(sides).any() else [np.nan] * 4


# --------------------------------------------------------------------------- as on Kaggle


def _read_folders(root: Path, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    base = next(
        (base for base in ("DATASET/", "") if all((root / f"{base}{s}").is_dir() for s in _TABLES)), None
    )
    if base is None:
        raise DatasetError(layout_error(root, INFO, f"missing: {_LIST}, or DATASET/train/ and DATASET/test/"))
    pictures = [
        image for split in _TABLES for image in list_pictures(root, left_out, folder=f"{base}{split}")
    ]
    steps = [image.removeprefix(base).split("/") for image in pictures]
    rows = pd.DataFrame(
        {
            "image": pictures,
            "split": [step[0] for step in steps],
            "emotion": [step[1] if len(step) == 3 else "" for step in steps],
            "name": [step[-1] for step in steps],
        },
        dtype=object,
    )
    stray = rows["emotion"] == ""
    rows = exclude(rows, stray, left_out, "not in a class folder", "expected SPLIT/1 to SPLIT/7 above it")
    if not rows["emotion"].isin(list(_EMOTIONS)).any():
        raise DatasetError(
            layout_error(root, INFO, "no picture in train/1 to train/7 and test/1 to test/7", left_out)
        )
    for split, table in _TABLES.items():
        if (root / table).is_file():
            rows = _compare(rows, root, split, left_out, notices)
    return rows.assign(where="its folder")


def _compare(rows: pd.DataFrame, root: Path, split: str, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    """Return the rows without those whose table names another emotion than their folder."""
    listed = read_rows(root / _TABLES[split], left_out, notices, header=("image", "label"))
    listed = keep_first(listed, ["image"], ["label"], left_out)
    in_table = rows["name"].map(dict(zip(listed["image"], listed["label"], strict=True)))
    inside = rows["split"] == split
    lost = ~listed["image"].isin(rows["name"][inside])
    left_out.add_all(listed["image"][lost], "no picture", NO_PICTURE)
    codes = in_table.map(words.fold_code, na_action="ignore")
    clash = inside & in_table.notna() & (codes != "") & (codes != rows["emotion"])
    detail = f"{_TABLES[split]} has " + in_table.fillna("").astype(str)
    return exclude(rows, clash, left_out, "rows contradict", detail)

"""APPA-REAL and ChaLearn LAP: photos with the age that people guess, its spread, and the real age (2015 to 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import values, words
from faceworkbook.datasets.base import Dataset, DatasetError, DatasetInfo, Reasons, keep_first, layout_error
from faceworkbook.datasets.paths import first_there, locate
from faceworkbook.datasets.text_tables import read_rows

INFO = DatasetInfo(
    name="appa_real",
    title="APPA-REAL, ChaLearn LAP 2015 and 2016",
    labels=("age (the real one)", "apparent_age", "apparent_age_std"),
    columns=("apparent_age", "apparent_age_std"),
    identities="none",
    official_split="train, valid (= validation), test",
    size="7,591 photos with about 38 guesses each",
    terms="research",
    source="Agustsson et al. 2017, Apparent and Real Age Estimation in Still Images with Deep Residual Regressors",
    layout="""  ROOT/
    gt_avg_train.csv, gt_avg_valid.csv, gt_avg_test.csv
        (file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age)
    or gt_train.csv, gt_valid.csv, gt_test.csv (a row a guess: file_name,real_age,apparent_age,...)
    train/000000.jpg_face.jpg ...   (images="whole": train/000000.jpg)
    valid/..., test/...
or, ChaLearn LAP,
  ROOT/
    train_gt.csv, valid_gt.csv, test_gt.csv   (image,mean,stdv)
    train/*.jpg, valid/*.jpg, test/*.jpg""",
    put="gt_avg_train.csv, gt_avg_valid.csv, gt_avg_test.csv, and the folders train/, valid/ and test/",
    sign=r"gt_(?:avg_)?(?:train|valid|test)\.csv|(?:train|valid|test)_gt\.csv",
)

_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_FACE = "_face.jpg"
_RANGES = {
    "real_age": faces.RANGES["age"],
    "apparent_age": faces.RANGES["age"],
    "apparent_age_std": (0, 130),
    "n_ratings": (1, 1_000_000),
}
_COLUMNS = ("image", "n_ratings", "apparent_age", "apparent_age_std", "real_age")


def read(root: Path, *, images: Literal["face", "whole"] = "face") -> Dataset:
    """Read the ages.

    Parameters
    ----------
    root : Path
    images : {'face', 'whole'}
        The face cut out and turned upright by the authors, with a margin of 40 %, or the photo. ChaLearn LAP has
        photos only, and they are read in both cases.

    Returns
    -------
    Dataset
        ``age`` is the real age in years (NA in ChaLearn LAP), ``apparent_age`` the mean guess, ``apparent_age_std``
        the guesses' standard deviation, ``n_ratings`` their number.

    Raises
    ------
    DatasetError
        No table of ages, or one without its columns.
    """
    left_out, notices = Reasons(), Reasons()
    tables = {split: _read_split(root, split, images, left_out, notices) for split in _SPLITS}
    there = [rows for rows in tables.values() if rows is not None]
    if not there:
        raise DatasetError(
            layout_error(root, INFO, "missing: gt_avg_train.csv, gt_train.csv or train_gt.csv")
        )
    for split in (split for split, rows in tables.items() if rows is None):
        notices.add(f"gt_avg_{split}.csv", "table missing", f"so there are no faces of {_SPLITS[split]}")
    rows = pd.concat(there, ignore_index=True)
    rows = values.read_numbers(rows, [*_RANGES], notices, ranges=_RANGES)
    others = {
        image.removesuffix(_FACE) if image.endswith(_FACE) else image + _FACE for image in rows["image"]
    }
    rows = locate(
        rows, root, left_out, notices, folders=[name for name in tables if tables[name] is not None]
    )
    rows = keep_first(rows, ["image"], [*_RANGES, "split"], left_out)
    left_out.rows[:] = [row for row in left_out.rows if row[0] not in others and not row[0].endswith(".mat")]
    rows = rows.rename(columns={"real_age": "age"})
    columns = ("image", "split", "age", "apparent_age", "apparent_age_std", "n_ratings")
    table = faces.build(dict(rows[[*columns]]), dataset="appa_real")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _read_split(
    root: Path, split: str, images: str, left_out: Reasons, notices: Reasons
) -> pd.DataFrame | None:
    names = (f"gt_avg_{split}.csv", f"gt_{split}.csv", f"{split}_gt.csv", f"{split}_gt/{split}_gt.csv")
    name = first_there(root, names)
    if name is None:
        return None
    if name == names[0]:
        header = ("file_name", "num_ratings", "apparent_age_avg", "apparent_age_std", "real_age")
        rows = read_rows(root / name, left_out, notices, header=header)[[*header]].set_axis(
            [*_COLUMNS], axis=1
        )
    elif name == names[1]:
        rows = _average(
            read_rows(root / name, left_out, notices, header=("file_name", "real_age", "apparent_age"))
        )
    else:
        header = ("image", "mean", "stdv")
        rows = read_rows(root / name, left_out, notices, header=header)[[*header]]
        rows = rows.rename(columns={"mean": "apparent_age", "stdv": "apparent_age_std"})
        rows = rows.assign(n_ratings="", real_age="")
    ending = _FACE if images == "face" and name in names[:2] else ""
    return rows.assign(
        image=f"{split}/" + rows["image"] + ending,
        split=_SPLITS[split],
        where=[f"{Path(name).name} line {line}" for line in rows.index],
    )


def _average(ratings: pd.DataFrame) -> pd.DataFrame:
    """One row a picture out of one row a guess, as texts; a guess that is no number does not count."""
    guesses = words.numbers(ratings["apparent_age"]).groupby(ratings["file_name"])
    real = ratings.groupby("file_name")["real_age"].agg(["first", "nunique"])
    return pd.DataFrame(
        {
            "image": real.index,
            "n_ratings": guesses.count().astype(str).to_numpy(),
            "apparent_age": guesses.mean().astype(str).to_numpy(),
            "apparent_age_std": guesses.std().astype(str).to_numpy(),
            "real_age": real["first"].where(real["nunique"] == 1, "").to_numpy(),
        }
    )

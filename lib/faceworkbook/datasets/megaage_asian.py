"""MegaAge-Asian: faces of Asian people with an age each (Zhang et al. 2017)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceworkbook import faces
from faceworkbook.datasets import values
from faceworkbook.datasets.base import Dataset, DatasetError, DatasetInfo, Reasons, keep_first, need_files
from faceworkbook.datasets.paths import locate
from faceworkbook.datasets.text_tables import BLANKS, read_rows

INFO = DatasetInfo(
    name="megaage_asian",
    title="MegaAge-Asian",
    labels=("age",),
    identities="none",
    official_split="train, test",
    size="40,000 + 3,945 faces, 178 x 218, of 0 to 70 years",
    terms="non-commercial research",
    source="Zhang, Liu, Li and Loy 2017, Quantifying Facial Age by Posterior of Age Comparisons",
    layout="""  ROOT/
    list/train_name.txt, list/train_age.txt   (line n of one belongs to line n of the other)
    list/test_name.txt, list/test_age.txt
    train/1.jpg ...
    test/1.jpg ...""",
    put="the folders list/, train/ and test/",
    sign=r"list/(?:train|test)_(?:name|age)\.txt",
)


def read(root: Path) -> Dataset:
    """Read the lists of names and ages.

    Parameters
    ----------
    root : Path

    Returns
    -------
    Dataset
        ``age`` in years; a line of the ages that is no number leaves it unknown.

    Raises
    ------
    DatasetError
        A missing list, or lists of different length.
    """
    splits = ("train", "test")
    need_files(root, tuple(f"list/{split}_{kind}.txt" for split in splits for kind in ("name", "age")), INFO)
    left_out, notices = Reasons(), Reasons()
    rows = pd.concat([_read_split(root, split, left_out, notices) for split in splits], ignore_index=True)
    rows = values.read_numbers(rows, ("age",), notices, ranges=faces.RANGES)
    rows = locate(rows, root, left_out, notices, folders=splits)
    rows = keep_first(rows, ["image"], ["age"], left_out)
    table = faces.build(dict(rows[["image", "age", "split"]]), dataset="megaage_asian")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _read_split(root: Path, split: str, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    lists = {
        kind: read_rows(root / f"list/{split}_{kind}.txt", left_out, notices, header=(kind,), form=BLANKS)
        for kind in ("name", "age")
    }
    lengths = {kind: max(rows.index, default=0) for kind, rows in lists.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(
            f"{root / 'list'}: {split}_name.txt and {split}_age.txt have different lengths {lengths}, so nobody knows "
            "whose the ages are; copy both files again"
        )
    # By the number of the line: a blank one shifts nothing.
    rows = lists["name"].join(lists["age"], how="left").fillna({"age": ""})
    return rows.assign(
        image=f"{split}/" + rows["name"],
        split=split,
        where=[f"{split}_age.txt line {line}" for line in rows.index],
    )

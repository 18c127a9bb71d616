"""``data.json``: by which content the faces, labels and split of an experiment are known.

01_faces writes it beside ``faces.parquet``; every later step compares what it reads with it and with what
earlier steps say they read, and refuses what does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import files, images, project, splits

NAME = "data.json"
CONTENT = "content_hash"
THREADS = 8
_BLOCK = 256


class DataError(ValueError):
    """Data that are not what an earlier step saw; the text says in what and which notebook to run again."""


@dataclass(frozen=True)
class DataRecord:
    """What an experiment's data are known by.

    Attributes
    ----------
    faces : str
        Hash over each face's id, path, box and person.
    pictures : str
        Hash over each face's id and the content of its file.
    labels : dict of str to str
        Hash of each label column.
    split : str
        Hash of which faces stand in which subset.
    reader : dict
        Name and options of the data set's reader, and a hash of its code.
    root : str
        Folder of the pictures.
    corrections : dict
        File and hash of corrected labels; empty for none.
    cleaning : dict
        What was left out after reading, such as the limit of faces drawn.
    n : int
        Faces.
    """

    faces: str
    pictures: str
    labels: dict
    split: str
    reader: dict
    root: str
    corrections: dict
    cleaning: dict
    n: int

    @property
    def fingerprint(self) -> str:
        """One hash of faces, pictures, labels and split."""
        return files.hash_values(self.faces, self.pictures, self.labels, self.split)

    def differences(self, other: DataRecord) -> list[str]:
        """Name in words what is not the same in `other`; empty where nothing differs."""
        differing = [
            word
            for word, name in (("faces", "faces"), ("pictures", "pictures"), ("split", "split"))
            if getattr(self, name) != getattr(other, name)
        ]
        changed = sorted(
            name for name in {*self.labels, *other.labels} if self.labels.get(name) != other.labels.get(name)
        )
        differing += [f"labels ({', '.join(changed)})"] if changed else []
        differing += ["reader's code"] if self.reader.get("code") != other.reader.get("code") else []
        return differing


def hash_pictures(faces: pd.DataFrame, root: str | Path) -> np.ndarray:
    """Return the hash of each face's file, ndarray of shape (n,) of str; '' where it cannot be read."""
    names = faces["image"].astype(str).tolist()
    blocks = [names[i : i + _BLOCK] for i in range(0, len(names), _BLOCK)]
    with ThreadPoolExecutor(THREADS) as pool:
        hashed = pool.map(lambda block: [_hash(Path(root) / name) for name in block], blocks)
    return np.array([value for block in hashed for value in block], dtype=object)


def _hash(path: Path) -> str:
    try:
        return images.content_hash(images.read_bytes(path))
    except (images.UnreadableImage, OSError):
        return ""


def make(
    faces: pd.DataFrame,
    split: splits.Split,
    *,
    reader: dict,
    root: str | Path,
    corrections: str | Path = "",
    cleaning: dict | None = None,
) -> DataRecord:
    """Take the fingerprints of a face table with a column ``content_hash``, and of its split."""
    corrected = {}
    if corrections:
        corrected = {"file": project.shorten(corrections), "hash": files.hash_file(corrections)}
    return DataRecord(
        **_hashes(faces),
        split=splits.hash_subsets(split, faces),
        reader=reader,
        root=project.shorten(root),
        corrections=corrected,
        cleaning=cleaning or {},
        n=len(faces),
    )


def _hashes(faces: pd.DataFrame) -> dict:
    own = ["image", *face_table.BOX, "identity", "dataset"]
    labels = [column for column in face_table.label_columns(faces) if column != CONTENT]
    labels += [column for column in face_table.PREDICTED_POSE if column in faces]
    return {
        "faces": files.hash_rows(faces, own, key="face_id"),
        "pictures": files.hash_rows(faces, [CONTENT], key="face_id"),
        "labels": {column: files.hash_rows(faces, [column], key="face_id") for column in labels},
    }


def write(record: DataRecord, path: str | Path) -> Path:
    """Write as JSON, beside and renamed."""
    return files.write_json(path, asdict(record))


def read(path: str | Path) -> DataRecord:
    """Read what `write` wrote, or raise `DataError`."""
    advice = "run 01_faces again"
    record = files.read_json(path, DataError, advice=advice)
    try:
        return DataRecord(**record)
    except TypeError as error:
        raise DataError(f"{path} is no record of data ({error}); {advice}") from error


def check_faces(record: DataRecord, faces: pd.DataFrame, where: str) -> None:
    """Refuse a face table that is not the one that `record` was made of."""
    if CONTENT not in faces:
        raise DataError(f"{where} lacks the column '{CONTENT}'; run 01_faces again")
    now = _hashes(faces)
    changed = [name for name in ("faces", "pictures", "labels") if now[name] != getattr(record, name)]
    if changed:
        raise DataError(
            f"{where} was changed after {NAME} was written ({', '.join(changed)} differ); run 01_faces again"
        )


def check_contents(faces: pd.DataFrame, face_id: Sequence[str], hashes: Sequence[str], where: str) -> None:
    """Refuse descriptors of other pictures than those that 01_faces saw.

    Parameters
    ----------
    faces : pandas.DataFrame
        With the column ``content_hash``.
    face_id, hashes : sequence of str
        Of the faces that have a descriptor, and the hash of the file that each was computed from.
    where : str
        The store, for the message.
    """
    known = faces.set_index("face_id")[CONTENT]
    expected = known.reindex(face_id).to_numpy(object)
    other = np.flatnonzero(expected != np.asarray(hashes, dtype=object))
    if len(other):
        raise DataError(
            f"{where} holds descriptors of other pictures than 01_faces saw: {len(other):,} of "
            f"{len(expected):,} faces differ, the first is {face_id[other[0]]!r}. Run 01_faces and "
            "02_descriptors again"
        )

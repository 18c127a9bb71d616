"""Descriptors that somebody else has made, from a file into a store: every notebook runs on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import images
from faceworkbook.backbones.base import sha256
from faceworkbook.chunks import Stamp
from faceworkbook.descriptors import vector_files
from faceworkbook.descriptors.batches import READERS
from faceworkbook.descriptors.journal import Journal, take
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.matching import FACE, IMAGE, NO_FACE, SEVERAL, match_rows
from faceworkbook.descriptors.store import COPY_ROWS, NO_DESCRIPTOR, READ, Descriptors
from faceworkbook.descriptors.updating import Job, ask, bring_up_to_date
from faceworkbook.descriptors.vector_files import VectorFileError, Vectors
from faceworkbook.files import hash_values

ROW_ORDER = "row_order"
NO_NUMBERS, REPEATED = "not finite", "repeated with the same descriptor"
CONTRARY = "one of several different descriptors of a face"
BESIDE = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Reading(Job):
    """Faces whose descriptors stand in a file.

    Attributes
    ----------
    vectors : ndarray of shape (n, d)
        Of the file.
    places : ndarray of shape (n faces,), int
        Row of the file of each face asked for, -1 where it has none.
    source : dict
        The recipe.
    """

    vectors: np.ndarray
    places: np.ndarray
    source: dict

    @property
    def recipe(self) -> dict:
        """The file and what names its faces, by content."""
        return self.source

    @property
    def dim(self) -> int:
        """Width of a descriptor."""
        return self.vectors.shape[1]

    def fill(self, journal: Journal, todo: np.ndarray) -> None:
        """Write the rows `todo` with the hashes of their pictures."""
        with ThreadPoolExecutor(READERS) as executor:
            for first in range(0, len(todo), COPY_ROWS):
                rows = np.sort(todo[first : first + COPY_ROWS])
                places = self.places[rows]
                details = np.where(places < 0, f"{self.source['file']} has no row of it", "")
                names = take(journal.plan, rows)["image"]
                stamps = list(executor.map(self._stamp, names, details))
                vectors = np.full((len(rows), self.dim), np.nan, np.float32)
                vectors[places >= 0] = self.vectors[places[places >= 0]]
                journal.writer.write(rows, vectors, stamps)

    def _stamp(self, image: str, detail: str) -> Stamp:
        try:
            data, stat = images.read_file(str(self.root / image))
        except (OSError, images.UnreadableImage):
            return Stamp("", 0, 0, 0, detail)  # its descriptor is there all the same
        return Stamp(images.content_hash(data), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, detail)


def read(
    file: str | Path,
    faces: pd.DataFrame,
    *,
    root: str | Path,
    store: str | Path,
    ids: str | Path | Sequence[str] = "",
    values: str = "",
) -> Descriptors:
    """Read descriptors that somebody else has made into a store, each matched with its face.

    Parameters
    ----------
    file : str or Path
        See `vector_files.read`; never a pickle.
    faces : pandas.DataFrame
        The face table.
    root : str or Path
        Folder of the pictures; their content is what the store knows the faces by.
    store : str or Path
        Folder of the store. Faces in it that are not asked for are kept.
    ids : str, path or sequence of str
        What names the face of each row, by face_id, by a path of its picture or by a file name that is unique: a column or
        array of the file; another file (lines, a column of a usual name, a list); or the names themselves. Empty: a
        column of a usual name, else the file of the same name beside it (``.txt``, ``.csv``, ``.json``, ...; also
        ``meta-data.json`` beside ``data.npy``). 'row_order': rows are those of the face table, one to one.
    values : str
        Column or array of the descriptors, where there are several that could be.

    Returns
    -------
    Descriptors
        ``left_out`` lists the faces without a descriptor, and the rows of the file that are of no face, with why.

    Raises
    ------
    VectorFileError
        The file cannot be read, names no faces, or has another number of rows than names.
    StoreError
        No row is of a face; a store that cannot be written.
    """
    file, root = Path(file), Path(root)
    if not len(faces):
        raise StoreError(
            "there is no face to read descriptors for: the face table is empty; look at what the data set left out"
        )
    vectors, names, key = _with_names(file, ids, values)
    rows, reasons = _match(names, faces, root, file, len(vectors.matrix))
    reasons = _judge(vectors, rows, reasons)
    kept = np.flatnonzero(reasons == "")
    if not len(kept):
        _refuse(file, faces, names, reasons)
    places = np.full(len(faces), -1)
    places[rows[kept]] = kept
    source = {
        "kind": READ,
        "file": file.name,
        "file_sha256": sha256(file),
        "values": vectors.values,
        "key": key,
        "names": hash_values(rows if names is None else names.to_numpy(object)),
    }
    job = Reading(ask(faces), root, Path(store), vectors.matrix, places, source)
    described = bring_up_to_date(job)
    left_out = pd.concat([described.left_out, _list_rows(file, names, reasons)], ignore_index=True)
    return replace(described, left_out=left_out)


def _with_names(file: Path, ids, values: str) -> tuple[Vectors, pd.Series | None, str]:
    """Return the file's vectors, what names their faces (None for the order of rows) and where they stand."""
    other = _other_file(file, ids)
    inside = ids if isinstance(ids, str) and ids != ROW_ORDER and other is None else ""
    if inside and file.suffix.lower() == ".npy":
        raise VectorFileError(
            f"ids={ids!r} is no file, and {file} holds one array without names; give a file of names"
        )
    vectors = vector_files.read(file, ids=inside, values=values)
    if isinstance(ids, str) and ids == ROW_ORDER:
        return vectors, None, "order of the rows"
    if not isinstance(ids, str | Path):
        names, key = pd.Series([str(name) for name in ids], dtype=object), "names given"
    elif other is not None:
        names, key = vector_files.read_names(other), f"file {other.name}"
    elif vectors.names is not None:
        names, key = vectors.names, vectors.key
    else:
        other = _beside(file)
        names, key = vector_files.read_names(other), f"file {other.name}"
    if len(names) != len(vectors.matrix):
        raise VectorFileError(
            f"{file} has {len(vectors.matrix):,} rows and {key} {len(names):,} names; give one each"
        )
    return vectors, names, key


def _other_file(file: Path, ids) -> Path | None:
    if isinstance(ids, Path):
        return ids
    if not isinstance(ids, str) or not ids or ids == ROW_ORDER:
        return None
    return next((path for path in (Path(ids), file.parent / ids) if path.is_file()), None)


def _beside(file: Path) -> Path:
    """Return the one file beside `file` that bears its name."""
    paths = [file.with_suffix(suffix) for suffix in BESIDE]
    # arXiv 2108.08186: data-aligned.npy and meta-data-aligned.json
    paths += [file.with_name(f"meta-{file.stem}.json"), file.with_name(f"{file.stem}_ids.txt")]
    there = [path for path in paths if path.is_file() and path != file]
    if len(there) != 1:
        what = (
            f"{' and '.join(path.name for path in there)} stand beside it"
            if there
            else "no file of names beside it"
        )
        raise VectorFileError(
            f"{file} names no faces, and {what}; give ids=FILE or ids=NAME of a column or array, or ids={ROW_ORDER} "
            "where its rows are those of faces.parquet, one to one"
        )
    return there[0]


def _match(
    names: pd.Series | None, faces: pd.DataFrame, root: Path, file: Path, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the face of each row, -1 where it has none, and why."""
    if names is None:
        if n != len(faces):
            raise VectorFileError(
                f"ids={ROW_ORDER}: {file} has {n:,} rows and the face table {len(faces):,}; they must be the same faces"
            )
        return np.arange(n), np.full(n, "", dtype=object)
    by_id, _ = match_rows(names, faces, root, by=FACE)
    rows, reasons = match_rows(names, faces, root, by=IMAGE)
    both = (by_id >= 0) & (rows >= 0) & (by_id != rows)
    rows = np.where(by_id >= 0, by_id, rows)
    reasons[by_id >= 0] = ""
    rows[both], reasons[both] = -1, SEVERAL
    reasons[(names == "").to_numpy()] = "no name"
    return rows, reasons


def _judge(vectors: Vectors, rows: np.ndarray, reasons: np.ndarray) -> np.ndarray:
    """Return why a row of the file is not taken, '' where it is."""
    reasons = reasons.copy()
    for row, reason in vectors.odd.items():
        reasons[row] = reasons[row] or reason
    with np.errstate(over="ignore"):
        finite = np.concatenate(
            [
                np.isfinite(np.asarray(vectors.matrix[i : i + COPY_ROWS], np.float32)).all(axis=1)
                for i in range(0, len(rows), COPY_ROWS)
            ]
        )
    reasons[(reasons == "") & ~finite] = NO_NUMBERS
    taken = np.flatnonzero(reasons == "")
    of = pd.Series(rows[taken])
    for face in of[of.duplicated()].unique():
        same = taken[rows[taken] == face]
        is_one = all(np.array_equal(vectors.matrix[row], vectors.matrix[same[0]]) for row in same[1:])
        reasons[same[1:] if is_one else same] = REPEATED if is_one else CONTRARY
    return reasons


def _refuse(file: Path, faces: pd.DataFrame, names: pd.Series | None, reasons: np.ndarray) -> None:
    counts = pd.Series(reasons).value_counts()
    listed = "; ".join(f"{n:,} {reason}" for reason, n in counts.items())
    first = (
        ""
        if names is None or names.empty
        else (
            f" The first is named {names.iloc[0]!r}; a face here has the face_id {faces[FACE].iloc[0]!r} and the path "
            f"{faces[IMAGE].iloc[0]!r}."
        )
    )
    raise StoreError(
        f"none of the {len(reasons):,} rows of {file} is a descriptor of a face: {listed}.{first}"
    )


def _list_rows(file: Path, names: pd.Series | None, reasons: np.ndarray) -> pd.DataFrame:
    """List the rows that are not taken, in the columns of ``left_out``."""
    rows = np.flatnonzero(reasons != "")
    named = ["" if names is None else names.iloc[row] for row in rows]
    return pd.DataFrame(
        {
            "face_id": pd.array([None] * len(rows), dtype="string"),
            "image": named,
            "reason": reasons[rows],
            "detail": [f"row {row + 1:,} of {file.name}" for row in rows],
        }
    )


__all__ = ["NO_DESCRIPTOR", "NO_FACE", "SEVERAL", "VectorFileError", "read"]

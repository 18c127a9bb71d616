"""The descriptor store: a memory-mapped float32 matrix, its row index and its manifest.

A finished store holds

- ``descriptors.npy``: n x d float32, one row a face, opened memory-mapped;
- ``index.parquet``: face_id, image, box, content hash, size and times of the file, by row;
- ``unreadable.parquet``: the faces that could not be read, and why;
- ``manifest.json``: the recipe (network, tap, weights' SHA-256, preprocessing, precision), the data set's
  folder, the generation (it grows with each hand-over), engines, library versions, checksums of all files.

Opening checks every byte against the checksums, so that damage and exchanged files end in a `StoreError`, and maps
the files there and then: a store may be replaced while others keep reading what they opened. Readers take no
lock. `journal` has what is partial, `handover` how it becomes a store.

Whatever is kept of every face is an array of numbers; texts are read and written a block at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from faceworkbook import files, project
from faceworkbook.descriptors import layout, manifest
from faceworkbook.descriptors.layout import INDEX, MATRIX, UNREADABLE, StoreError
from faceworkbook.landmarks import Aligned

BOX = ["top", "left", "bottom", "right"]
PLAN_COLUMNS = ["face_id", "image", *BOX]
STAMP = ["content_hash", "size", "mtime_ns", "ctime_ns"]
TEXT = "string[pyarrow]"
READ = "read"  # the kind of a recipe whose descriptors come from a file
NO_DESCRIPTOR = "no descriptor"
BLOCK_ROWS, COPY_ROWS = 20_000, 4096
TRIES = 5


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store as it was when it was opened.

    Attributes
    ----------
    folder : Path
    manifest : dict
    matrix : numpy.memmap of shape (n, d), float32
    index, unreadable : numpy.memmap of shape (bytes,), uint8
        The Parquet files as they are.
    """

    folder: Path
    manifest: dict
    matrix: np.memmap
    index: np.memmap
    unreadable: np.memmap

    def texts(self, name: str, *, column: str = "face_id"):
        """Return a column of text of ``index.parquet`` or ``unreadable.parquet``, as Arrow holds it."""
        return files.read_parquet(self._source(name), [column])[column].astype(TEXT).array

    def blocks(self, name: str, *, size: int = BLOCK_ROWS) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield ``index.parquet`` or ``unreadable.parquet`` a block at a time, with the number of each first row."""
        first = 0
        with pq.ParquetFile(self._source(name)) as file:
            for block in file.iter_batches(size, use_threads=False):
                yield first, block.to_pandas(use_threads=False)
                first += len(block)

    def left_out(self) -> pd.DataFrame:
        """Return the faces that could not be read: ``face_id``, ``image``, ``reason``, ``detail``."""
        table = files.read_parquet(self._source(UNREADABLE), ["face_id", "image", "detail"])
        is_read = self.manifest["recipe"].get("kind") == READ
        table.insert(2, "reason", NO_DESCRIPTOR if is_read else "unreadable")
        return table

    def take(self, rows: np.ndarray, ids) -> Descriptors:
        """Return the descriptors at `rows`, which are those of the faces `ids`; -1 where there is none."""
        left_out, good = self.left_out(), rows >= 0
        left_out = left_out[left_out["face_id"].isin(ids[~good])].reset_index(drop=True)
        if not good.all():
            rows, ids = rows[good], ids[good]
        return Descriptors(self, rows, ids, left_out)

    def _source(self, name: str) -> pa.BufferReader:
        return pa.BufferReader(pa.py_buffer(self.index if name == INDEX else self.unreadable))


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Descriptors of the faces asked for, in the order asked for.

    Attributes
    ----------
    store : Store
        The store they lie in, as it was when it was opened.
    rows : ndarray of shape (n,), int64
        Their rows in the store's matrix.
    ids : array of text, of length n
        The faces' names as Arrow holds them.
    left_out : pandas.DataFrame
        Faces asked for that could not be read: ``face_id``, ``image``, ``reason``, ``detail``.
    aligned : Aligned, optional
        How the faces were cut out; of descriptors that were just extracted.
    """

    store: Store
    rows: np.ndarray
    ids: pd.api.extensions.ExtensionArray
    left_out: pd.DataFrame
    aligned: Aligned | None = None

    @property
    def folder(self) -> Path:
        """Folder of the store."""
        return self.store.folder

    @property
    def manifest(self) -> dict:
        """What the store was computed with and from."""
        return self.store.manifest

    @property
    def dim(self) -> int:
        """Width of a descriptor."""
        return self.manifest["dim"]

    @property
    def generation(self) -> int:
        """Number of the store's hand-over that was opened, from 1."""
        return self.manifest["generation"]

    @cached_property
    def face_id(self) -> np.ndarray:
        """ndarray of shape (n,), object; some 70 bytes a face once it was asked for."""
        return self.ids.to_numpy(object)

    @cached_property
    def content_hash(self) -> np.ndarray:
        """ndarray of shape (n,), object: hash of each face's file (xxh3, 128 bits, hex)."""
        return self._hashes().to_numpy(object)

    @property
    def matrix(self) -> np.ndarray:
        """ndarray of shape (n, d), float32; memory-mapped where the rows stand in one piece."""
        start = int(self.rows[0]) if len(self.rows) else 0
        stop = start + len(self.rows)
        if np.array_equal(self.rows, np.arange(start, stop)):
            return self.store.matrix[start:stop]
        return self.store.matrix[self.rows]

    @cached_property
    def fingerprint(self) -> str:
        """Hash (xxh3, 128 bits, hex) of the recipe and of each face's name, file and descriptor, in this order.

        It is the same for the same faces of a store that has grown, and reads the descriptors once.
        """
        digest = xxhash.xxh3_128(json.dumps(self.manifest["recipe"], sort_keys=True).encode())
        hashes = self._hashes()
        for first in range(0, len(self), COPY_ROWS):
            block = slice(first, first + COPY_ROWS)
            digest.update(json.dumps([self.ids[block].tolist(), hashes[block].tolist()]).encode())
            digest.update(np.ascontiguousarray(self.store.matrix[self.rows[block]]))
        return digest.hexdigest()

    def _hashes(self):
        return self.store.texts(INDEX, column="content_hash")[self.rows]

    def __len__(self) -> int:
        return len(self.rows)


def open_files(folder: str | Path) -> Store:
    """Open the files of a finished store, every byte of them checked.

    Raises
    ------
    NoStore
        No store is there, an unfinished one, or one of an earlier version.
    StoreError
        Its files are damaged, or do not belong together.
    """
    folder = Path(folder)
    for left in reversed(range(TRIES)):
        before = layout.listing(folder)
        try:
            return _open(folder)
        except StoreError:
            # A hand-over between the first file and the last is no damage: look again.
            if not left or layout.listing(folder) == before:
                raise
    raise AssertionError("unreachable")


def _open(folder: Path) -> Store:
    record = manifest.read(folder)
    try:
        matrix, index, unreadable = (
            layout.map_checked(layout.locate(folder, name), record["files"][name])
            for name in (MATRIX, INDEX, UNREADABLE)
        )
    except OSError as error:
        reason = f"{error.filename or folder} cannot be read ({error.strerror or error})"
        raise StoreError(f"{reason}; mend the disk, or {layout.AGAIN}") from error
    shape = record["n"], record["dim"]
    values = matrix[len(matrix) - 4 * shape[0] * shape[1] :].view("<f4").reshape(shape)
    return Store(folder, record, values, index, unreadable)


def open_store(folder: str | Path) -> Descriptors:
    """Open a finished store, all of its rows.

    Raises
    ------
    StoreError
        No store there, an unfinished one, or one whose files are damaged or do not fit together.
    """
    store = open_files(folder)
    ids = store.texts(INDEX)
    return Descriptors(store, np.arange(len(ids)), ids, store.left_out())


def select(folder: str | Path, face_ids: Sequence[str], *, root: str | Path | None = None) -> Descriptors:
    """Open a finished store at the rows of `face_ids` (those that could be read, in that order).

    Parameters
    ----------
    folder : str or Path
    face_ids : sequence of str
    root : str or Path, optional
        Folder of the pictures; needed where two folders whose pictures bear the same names shared the store.

    Raises
    ------
    StoreError
        See `open_store`; or the faces may be those of another folder.
    """
    store, ids = open_files(folder), pd.array(face_ids, dtype=TEXT)
    contested = store.manifest.get("contested", [])
    if contested and (root is None or shorten_root(root) != store.manifest["root"]):
        raise StoreError(
            f"{folder}: different pictures with the same names came from {' and '.join(contested)}; it holds those of "
            f"{store.manifest['root']} now. Say root= if you mean these, else extract again, each folder into a "
            "store of its own"
        )
    return store.take(find(ids, among=store.texts(INDEX)), ids)


def shorten_root(root: str | Path) -> str:
    """Return the folder of the pictures as a manifest names it."""
    try:
        return project.shorten(root)
    except FileNotFoundError:  # used as a library, outside of the project
        return Path(root).resolve().as_posix()


def open_rows(folder: str | Path, rows: np.ndarray, ids) -> Descriptors:
    """Open a finished store at `rows`, which are those of the faces `ids`; -1 where there is none."""
    return open_files(folder).take(rows, ids)


def find(ids, *, among) -> np.ndarray:
    """Return the places (int64) of `ids` in `among`, both arrays of text; -1 where one is not there."""
    ids, among = (pa.array(texts).cast(pa.large_string()) for texts in (ids, among))
    return pc.index_in(ids, value_set=among).fill_null(-1).to_numpy().astype(np.int64)


def describe(matrix: np.ndarray, *, n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return figures that show whether descriptors are sane, from at most `n` rows drawn at random.

    Returns
    -------
    pandas.DataFrame
        Columns ``what`` and ``value``: length (L2 norm), directions that never move, cosine of
        pairs drawn at random.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(matrix))[:n])
    sample = np.asarray(matrix[rows], dtype=np.float64)
    lengths = np.linalg.norm(sample, axis=1)
    unit = sample / np.maximum(lengths, 1e-12)[:, None]
    cosines = (unit * unit[rng.permutation(len(unit))]).sum(axis=1)
    figures = {
        "length, median": np.median(lengths),
        "length, smallest": lengths.min(),
        "length, largest": lengths.max(),
        "share of zeros": (sample == 0).mean(),
        "directions that are constant": int((np.ptp(sample, axis=0) == 0).sum()),
        "cosine of random pairs, median": np.median(cosines),
        "not finite": int((~np.isfinite(sample)).sum()),
    }
    return pd.DataFrame(figures.items(), columns=["what", "value"])

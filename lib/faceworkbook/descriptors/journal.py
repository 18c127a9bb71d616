"""The unfinished store: everything lies in ``journal/`` until all faces are computed.

There is the matrix at its full size, and journals to which each batch is added after its rows are in the matrix. A
line of a journal holds a checksum over itself and its row of the matrix. A row counts only where both are what was
written, so a run that was killed goes on where it stopped and half a batch is never read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xxhash

from faceworkbook.chunks import Stamp
from faceworkbook.descriptors.layout import INDEX, JOURNAL, MATRIX, StoreError, discard, disk_errors
from faceworkbook.descriptors.store import BLOCK_ROWS, BOX, COPY_ROWS, PLAN_COLUMNS, STAMP, TEXT, Store
from faceworkbook.files import write_beside

STAMPS = np.dtype([("content_hash", "S32"), ("size", "<i8"), ("mtime_ns", "<i8"), ("ctime_ns", "<i8")])
VERSION = 2
READ_ROWS = 64


@dataclass
class Entries:
    """What the journals hold of each row of the plan.

    Attributes
    ----------
    done, bad : ndarray of shape (n,), bool
        Stands in a journal; stands there as one that could not be read.
    stamps : ndarray of shape (n,), STAMPS
    details : dict of int to str
        Why, by row, for those that could not be read.
    """

    done: np.ndarray
    bad: np.ndarray
    stamps: np.ndarray
    details: dict[int, str] = field(default_factory=dict)

    def add(self, row: int, stamp: Stamp) -> None:
        """Take over a line of a journal; of several for one row the last counts."""
        self.done[row], self.bad[row], self.stamps[row] = True, stamp.detail != "", stamp[:-1]
        if stamp.detail:
            self.details[row] = stamp.detail


class Journal:
    """The unfinished store under ``journal/``: one row for each face of the plan.

    Parameters
    ----------
    folder : Path
        The store's folder.
    plan : pandas.DataFrame
        Columns face_id, image, top, left, bottom, right; a RangeIndex that is the row number. It is not copied.
    recipe : dict
        What makes a descriptor; a plan with another recipe starts anew.
    dim : int
    root : str
        The data set's folder; one of another folder starts anew.
    """

    def __init__(self, folder: Path, plan: pd.DataFrame, recipe: dict, dim: int, root: str = ""):
        self.folder, self.path, self.plan, self.dim = folder, folder / JOURNAL, plan, dim
        self.recipe, self.root = recipe, root
        self.header = npy_header(len(plan), dim)
        self._writer: JournalWriter | None = None
        digest = _digest(plan, [VERSION, recipe, root, dim]).encode()
        with disk_errors(folder):
            if not self._is_of(digest):
                self._begin(digest)

    def _is_of(self, digest: bytes) -> bool:
        marker, matrix = self.path / "digest", self.path / MATRIX
        if not (marker.is_file() and matrix.is_file() and marker.read_bytes() == digest):
            return False
        with matrix.open("rb") as file:
            return file.read(len(self.header)) == self.header and self._bytes == matrix.stat().st_size

    @property
    def _bytes(self) -> int:
        return len(self.header) + len(self.plan) * self.dim * 4

    def _begin(self, digest: bytes) -> None:
        discard(self.path)
        self.path.mkdir(parents=True)
        free = shutil.disk_usage(self.path).free
        if self._bytes > free:
            raise StoreError(
                f"{self.folder}: {self._bytes / 1e6:.0f} MB are needed for {len(self.plan):,} faces, {free / 1e6:.0f} MB "
                "are free; free some space or choose another folder for the store"
            )
        with (self.path / MATRIX).open("wb") as file:
            file.write(self.header)
            file.truncate(self._bytes)
        write_beside(self.path / "digest", digest)

    def read_entries(self) -> Entries:
        """Return what the journals hold so far; some 60 bytes a face."""
        n = len(self.plan)
        entries = Entries(np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, STAMPS))
        with disk_errors(self.folder):
            for path in sorted(self.path.glob("journal-*.tsv")):
                for row, stamp in read_journal(path, self.path / MATRIX, (n, self.dim)):
                    entries.add(row, stamp)
        return entries

    def left_to_do(self, done: np.ndarray) -> np.ndarray:
        """Return the rows that are not `done`; those last that were being computed when a run was killed.

        A kill that comes again soon then hits other faces, and a picture that brings the process down does not
        hold up the rest.
        """
        with disk_errors(self.folder):
            begun = read_begun(self.path)
        todo, begun = np.flatnonzero(~done), begun[(begun >= 0) & (begun < len(self.plan))]
        times = np.bincount(begun, minlength=len(self.plan))
        return todo[np.argsort(times[todo], kind="stable")]

    def copy_rows(self, store: Store, places: np.ndarray, *, times: bool) -> None:
        """Take over rows of the finished store.

        Parameters
        ----------
        store : Store
        places : ndarray of int
            For each of its rows where to, -1 for nowhere.
        times : bool
            Keep the files' times; those of another root's files say nothing about this root's.
        """
        for first, block in store.blocks(INDEX, size=COPY_ROWS):
            where = places[first : first + len(block)]
            taken = np.flatnonzero(where >= 0)
            taken = taken[np.argsort(where[taken])]
            stamps = [Stamp(*stamp) for stamp in block[STAMP].iloc[taken].itertuples(index=False, name=None)]
            if not times:
                stamps = [stamp._replace(mtime_ns=-1, ctime_ns=-1) for stamp in stamps]
            self.writer.write(where[taken], store.matrix[first + taken], stamps)

    @property
    def writer(self) -> JournalWriter:
        """This process's writer."""
        if self._writer is None:
            self._writer = JournalWriter(self.path)
        return self._writer

    def close(self) -> None:
        """Close what this process writes to."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class JournalWriter:
    """Writes rows into ``journal/descriptors.npy`` and adds them to a journal of its own.

    Several of them, in several processes, may write disjoint rows at once.
    """

    def __init__(self, path: Path):
        self.path = path
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        append = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        with disk_errors(path.parent):
            mapped = np.load(path / MATRIX, mmap_mode="r", allow_pickle=False)
            self._offset, self._width = mapped.offset, mapped.shape[1] * 4
            self._matrix = os.open(path / MATRIX, os.O_RDWR)
            self._journal = os.open(path / f"journal-{name}.tsv", append)
            self._begun = os.open(path / f"begun-{name}.i8", append)

    def begin(self, rows: np.ndarray) -> None:
        """Write down that `rows` are being computed; see `Journal.left_to_do`."""
        with disk_errors(self.path.parent):
            _append_all(self._begun, np.asarray(rows, "<i8").tobytes())

    def write(self, rows: np.ndarray, vectors: np.ndarray, stamps: Sequence[Stamp]) -> None:
        """Write `vectors` (n, d) at `rows`, then the rows with their `stamps` into the journal."""
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        lines = [_line(*entry) for entry in zip(rows.tolist(), stamps, vectors, strict=True)]
        with disk_errors(self.path.parent):
            for first, last in _runs(rows):
                _write_all(self._matrix, vectors[first:last], self._offset + int(rows[first]) * self._width)
            _append_all(self._journal, b"".join(lines))

    def close(self) -> None:
        """Close the files."""
        for file in (self._matrix, self._journal, self._begun):
            with contextlib.suppress(OSError):
                os.close(file)


def _line(row: int, stamp: Stamp, vector: np.ndarray) -> bytes:
    content_hash, size, mtime_ns, ctime_ns, detail = stamp
    content = f"{row}\t{content_hash}\t{size}\t{mtime_ns}\t{ctime_ns}\t{' '.join(detail.split())}"
    encoded = content.encode(errors="replace")
    return b"%s\t%s\n" % (encoded, _checksum(encoded, vector))


def _checksum(line: bytes, vector) -> bytes:
    digest = xxhash.xxh3_64(line)
    digest.update(vector)
    return digest.hexdigest().encode()


def read_journal(path: Path, matrix: Path, shape: tuple[int, int]) -> Iterator[tuple[int, Stamp]]:
    """Yield the rows and stamps of one journal whose line and row of the `matrix` are what was written."""
    width, offset = shape[1] * 4, len(npy_header(*shape))
    with path.open("rb") as lines, matrix.open("rb") as vectors:
        # Read, not mapped: a bad sector is an OSError here and the end of the process in a map.
        buffer, first, last = memoryview(bytearray(READ_ROWS * width)), 0, 0
        for whole in lines:
            line, _, checksum = whole.rpartition(b"\t")
            number, *stamp = line.split(b"\t")
            if len(stamp) != len(STAMP) + 1 or not (number.isdigit() and len(number) < 19):
                continue
            row = int(number)
            if row >= shape[0]:
                continue
            if not first <= row < last:
                ahead = READ_ROWS if row == last else 1  # most lines are those of rows one after another
                n = os.preadv(vectors.fileno(), [buffer[: ahead * width]], offset + row * width)
                first, last = row, row + n // width
            at = (row - first) * width
            vector = buffer[at : at + width] if row < last else b""
            if checksum == _checksum(line, vector) + b"\n":
                content_hash, size, mtime_ns, ctime_ns, detail = stamp
                yield (
                    row,
                    Stamp(content_hash.decode(), int(size), int(mtime_ns), int(ctime_ns), detail.decode()),
                )


def read_begun(path: Path, *, since: int = 0) -> np.ndarray:
    """Return the rows (int64) whose computing has begun, as often as it has, by writers made from `since` on (ns)."""
    paths = [file for file in path.glob("begun-*.i8") if file.name >= f"begun-{since:020d}"]
    return np.concatenate([np.zeros(0, "<i8"), *(np.frombuffer(_whole_numbers(p), "<i8") for p in paths)])


def _whole_numbers(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: len(data) // 8 * 8]


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Slices of `rows` that are consecutive numbers."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *cuts.tolist(), len(rows)]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a]


def _write_all(descriptor: int, vectors: np.ndarray, offset: int) -> None:
    view = memoryview(vectors).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _append_all(descriptor: int, data: bytes) -> None:
    # A full disk may take part of the lines: the next ones must not start in the middle of one.
    size = os.fstat(descriptor).st_size
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def npy_header(n: int, dim: int) -> bytes:
    """Return the head of an ``.npy`` file of n x dim float32."""
    head = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (n, dim)}
    np.lib.format.write_array_header_2_0(head, description)
    return head.getvalue()


def blocks(n: int) -> Iterator[slice]:
    """Yield `n` rows in slices of `BLOCK_ROWS`."""
    return (slice(first, min(first + BLOCK_ROWS, n)) for first in range(0, n, BLOCK_ROWS))


def take(plan: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Return these rows of a plan, indexed by row number: names as text, boxes as float64 (NaN: the whole picture)."""
    first, last = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
    # Only this stretch is looked at: picking rows from a text column of several pieces copies all of them.
    stretch = plan.iloc[first : last + 1]
    if not np.array_equal(rows, np.arange(first, last + 1)):
        stretch = stretch.iloc[rows - first]
    return plain(stretch)


def plain(plan: pd.DataFrame) -> pd.DataFrame:
    """Return a plan with names as text and boxes as float64."""
    return plan[PLAN_COLUMNS].astype({"face_id": TEXT, "image": TEXT, **dict.fromkeys(BOX, "float64")})


def _digest(plan: pd.DataFrame, settings: list) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for rows in blocks(len(plan)):
        digest.update(pd.util.hash_pandas_object(plain(plan.iloc[rows])).to_numpy().tobytes())
    return digest.hexdigest()

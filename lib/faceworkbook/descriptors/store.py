"""The descriptor store: a memory-mapped float32 matrix, its row index and its manifest.

A finished store holds

- ``descriptors.npy``: n x d float32, one row a face, opened memory-mapped;
- ``index.parquet``: face_id, image, box, content hash, size and time of the file, by row;
- ``unreadable.parquet``: the faces that could not be read, and why;
- ``manifest.json``: the recipe (network, tap, weights' SHA-256, preprocessing, precision), the
  engines that computed it, library versions.

While it is being made, everything lies in ``work/``: the matrix at its full size and journals to
which each batch is added after its rows are on disk. A row counts only once it stands in a journal,
so a run that was killed goes on where it stopped and half a batch is never read.

Whatever is kept of every face is an array of numbers; texts are read and written a block at a time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

MATRIX, INDEX, UNREADABLE, MANIFEST = (
    "descriptors.npy",
    "index.parquet",
    "unreadable.parquet",
    "manifest.json",
)
READY, COMPACT = "READY", "compact.npy"
BOX = ["top", "left", "bottom", "right"]
PLAN_COLUMNS = ["face_id", "image", *BOX]
STAMP = ["hash", "size", "mtime_ns"]
STAMPS = np.dtype([("hash", "S32"), ("size", "<i8"), ("mtime_ns", "<i8")])
INDEX_COLUMNS = [*PLAN_COLUMNS, *STAMP]
WHOLE = "-?([0-9]{1,18}|[1-8][0-9]{18})"
JOURNAL = ["row", *STAMP, "detail"]
SOUND = {"row": "[0-9]{1,18}", "hash": "[0-9a-z]{0,32}", "size": WHOLE, "mtime_ns": WHOLE}
TEXT = "string[pyarrow]"
BLOCK_ROWS, COPY_ROWS = 20_000, 4096
JOURNAL_BYTES = 2**16


class StoreError(ValueError):
    """A descriptor store that cannot be opened or written; the text says why and what to do."""


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of the faces asked for, in the order asked for.

    Attributes
    ----------
    folder : Path
        The store they lie in.
    rows : ndarray of shape (n,), int64
        Their rows in the store's matrix.
    ids : array of text, of length n
        The faces' names as Arrow holds them.
    left_out : pandas.DataFrame
        Faces asked for that could not be read: ``face_id``, ``image``, ``reason``, ``detail``.
    manifest : dict
    """

    folder: Path
    rows: np.ndarray
    ids: pd.api.extensions.ExtensionArray
    left_out: pd.DataFrame
    manifest: dict

    @cached_property
    def face_id(self) -> np.ndarray:
        """ndarray of shape (n,), object; some 70 bytes a face once it was asked for."""
        return self.ids.to_numpy(object)

    @property
    def matrix(self) -> np.ndarray:
        """ndarray of shape (n, d), float32; memory-mapped where the rows stand in one piece."""
        whole = np.load(self.folder / MATRIX, mmap_mode="r", allow_pickle=False)
        if len(self.rows) and not np.array_equal(
            self.rows, np.arange(self.rows[0], self.rows[0] + len(self.rows))
        ):
            return whole[self.rows]
        start = int(self.rows[0]) if len(self.rows) else 0
        return whole[start : start + len(self.rows)]

    def __len__(self) -> int:
        return len(self.rows)


def open_store(folder: str | Path) -> Descriptors:
    """Open a finished store, all of its rows.

    Raises
    ------
    StoreError
        No store there, an unfinished one, or one whose files do not fit together.
    """
    folder = Path(folder)
    finish_pending(folder)
    manifest = _checked_manifest(folder)
    ids = read_ids(folder / INDEX)
    return Descriptors(folder, np.arange(len(ids)), ids, _public(folder), manifest)


def _checked_manifest(folder: Path) -> dict:
    if not (folder / MANIFEST).exists():
        state = (
            "an unfinished run is there; extract again to go on"
            if (folder / "work").exists()
            else "no store is there"
        )
        raise StoreError(f"{folder}: {state}")
    manifest = json.loads((folder / MANIFEST).read_text())
    shape = np.load(folder / MATRIX, mmap_mode="r", allow_pickle=False).shape
    indexed = (pq.read_metadata(folder / INDEX).num_rows, manifest["dim"])
    if shape != indexed:
        raise StoreError(
            f"{folder}: {MATRIX} has shape {shape}, the index and the manifest say {indexed}; "
            "remove the folder and extract again"
        )
    return manifest


def _public(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder / UNREADABLE, columns=["face_id", "image", "detail"])
    table.insert(2, "reason", "unreadable")
    return table


def select(folder: Path, face_ids: Sequence[str]) -> Descriptors:
    """Open a finished store at the rows of `face_ids` (those that could be read, in that order)."""
    ids = pd.array(face_ids, dtype=TEXT)
    return open_rows(folder, find(ids, among=open_store(folder).ids), ids)


def open_rows(folder: Path, rows: np.ndarray, ids) -> Descriptors:
    """Open a finished store at `rows`, which are those of the faces `ids`; -1 where there is none."""
    manifest, left_out, good = _checked_manifest(folder), _public(folder), rows >= 0
    left_out = left_out[left_out["face_id"].isin(ids[~good])].reset_index(drop=True)
    if not good.all():
        rows, ids = rows[good], ids[good]
    return Descriptors(folder, rows, ids, left_out, manifest)


def find(ids, *, among) -> np.ndarray:
    """Places (int64) of `ids` in `among`, both arrays of text; -1 where it is not there."""
    ids, among = (pa.array(texts).cast(pa.large_string()) for texts in (ids, among))
    return pc.index_in(ids, value_set=among).fill_null(-1).to_numpy().astype(np.int64)


def read_ids(path: Path):
    """``face_id`` of ``index.parquet`` or ``unreadable.parquet``, as Arrow holds it."""
    return pd.read_parquet(path, columns=["face_id"])["face_id"].astype(TEXT).array


def read_blocks(path: Path, *, size: int = BLOCK_ROWS) -> Iterator[tuple[int, pd.DataFrame]]:
    """``index.parquet`` or ``unreadable.parquet`` a block at a time, with the number of each block's first row."""
    first = 0
    with pq.ParquetFile(path) as file:
        for block in file.iter_batches(size):
            yield first, block.to_pandas()
            first += len(block)


def blocks(n: int) -> Iterator[slice]:
    """`n` rows in slices of `BLOCK_ROWS`."""
    return (slice(first, min(first + BLOCK_ROWS, n)) for first in range(0, n, BLOCK_ROWS))


def take(plan: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """These rows of a plan, indexed by row number: names as text, boxes as float64 (NaN: the whole picture)."""
    first, last = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
    # Only this stretch is looked at: picking rows from a text column of several pieces copies all of them.
    stretch = plan.iloc[first : last + 1]
    if not np.array_equal(rows, np.arange(first, last + 1)):
        stretch = stretch.iloc[rows - first]
    return _plain(stretch)


def _plain(plan: pd.DataFrame) -> pd.DataFrame:
    kinds = {"face_id": TEXT, "image": TEXT, **dict.fromkeys(BOX, "float64")}
    return plan[PLAN_COLUMNS].astype(kinds)


def describe(matrix: np.ndarray, *, n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Figures that show whether descriptors are sane, from at most `n` rows drawn at random.

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


def write_beside(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename, so that no reader sees half of it."""
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class Stamp(NamedTuple):
    """What a file was when it was read; `detail` says why where it could not be."""

    hash: str
    size: int
    mtime_ns: int
    detail: str = ""


@dataclass
class Notes:
    """What the journals say of each row of the plan.

    Attributes
    ----------
    done, bad : ndarray of shape (n,), bool
        Noted in a journal; noted as one that could not be read.
    stamps : ndarray of shape (n,), STAMPS
    details : dict of int to str
        Why, by row, for those that could not be read.
    """

    done: np.ndarray
    bad: np.ndarray
    stamps: np.ndarray
    details: dict[int, str] = field(default_factory=dict)

    def add(self, lines: pa.Table) -> None:
        """Take over lines of a journal; of several for one row the last counts."""
        lines = lines.filter(pc.less(lines["row"], len(self.done)))
        rows, details = lines["row"].to_numpy(), lines["detail"].to_numpy()
        for name in STAMP:
            self.stamps[name][rows] = lines[name].to_numpy().astype(STAMPS[name])
        self.done[rows], self.bad[rows] = True, details != ""
        self.details.update(
            (row, detail) for row, detail in zip(rows.tolist(), details, strict=True) if detail
        )


class Work:
    """The unfinished store under ``work/``: one row for each face of the plan.

    Parameters
    ----------
    folder : Path
        The store's folder.
    plan : pandas.DataFrame
        Columns face_id, image, top, left, bottom, right; a RangeIndex that is the row number. It is not copied.
    recipe : dict
        What makes a descriptor; a plan with another recipe starts anew.
    dim : int
    """

    def __init__(self, folder: Path, plan: pd.DataFrame, recipe: dict, dim: int):
        self.folder, self.path, self.plan, self.dim = folder, folder / "work", plan, dim
        self.recipe, self.digest = recipe, _digest(plan, recipe)
        if not self._is_ours():
            self._begin()
        self._writer: JournalWriter | None = None

    def _is_ours(self) -> bool:
        marker = self.path / "digest"
        return marker.exists() and marker.read_text() == self.digest

    def _begin(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        need = len(self.plan) * self.dim * 4
        free = shutil.disk_usage(self.path).free
        if need > free:
            raise StoreError(
                f"{self.folder}: {need / 1e6:.0f} MB are needed for {len(self.plan):,} faces, {free / 1e6:.0f} MB are free; "
                "free some space or choose another folder for the store"
            )
        with (self.path / MATRIX).open("wb") as file:
            _write_header(file, (len(self.plan), self.dim))
            file.truncate(file.tell() + need)
        write_beside(self.path / "digest", self.digest.encode())

    def read_notes(self) -> Notes:
        """What stands in the journals so far; some 50 bytes a face that stands there."""
        n = len(self.plan)
        notes = Notes(np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, STAMPS))
        for path in sorted(self.path.glob("journal-*.tsv")):
            for lines in read_journal(path):
                notes.add(lines)
        return notes

    def left_to_do(self, done: np.ndarray) -> np.ndarray:
        """Rows that are not `done`; those last that were being computed when a run was killed.

        A kill that comes again soon then hits other faces, and a picture that brings the process down does not
        hold up the rest.
        """
        todo, begun = np.flatnonzero(~done), read_begun(self.path)
        begun = begun[(begun >= 0) & (begun < len(self.plan))]
        times = np.bincount(begun, minlength=len(self.plan))
        return todo[np.argsort(times[todo], kind="stable")]

    def copy_rows(self, places: np.ndarray) -> None:
        """Take over rows of the finished store; `places` says for each of its rows where to, -1 for nowhere."""
        matrix = np.load(self.folder / MATRIX, mmap_mode="r", allow_pickle=False)
        for first, block in read_blocks(self.folder / INDEX, size=COPY_ROWS):
            where = places[first : first + len(block)]
            taken = np.flatnonzero(where >= 0)
            taken = taken[np.argsort(where[taken])]
            stamps = block[STAMP].iloc[taken].itertuples(index=False, name=None)
            self.write(where[taken], matrix[first + taken], [Stamp(*stamp) for stamp in stamps])

    def write(self, rows: np.ndarray, vectors: np.ndarray, stamps: Sequence[Stamp]) -> None:
        """Put finished descriptors on disk, then note them in the journal."""
        self.writer.write(rows, vectors, stamps)

    @property
    def writer(self) -> JournalWriter:
        """This process's writer into the work folder."""
        if self._writer is None:
            self._writer = JournalWriter(self.path)
        return self._writer

    def finish(self, manifest: dict) -> np.ndarray:
        """Turn the work folder into the finished store; goes on by itself after a kill.

        Returns
        -------
        ndarray of shape (n,), int64
            The row in the store of each row of the plan, -1 where the picture could not be read.
        """
        if self._writer is not None:
            self._writer.close()
        notes = self.read_notes()
        missing = len(self.plan) - np.count_nonzero(notes.done)
        if missing:
            raise StoreError(
                f"{self.folder}: {missing:,} of {len(self.plan):,} faces are not computed yet; extract again"
            )
        matrix = self._compact(notes.bad) if notes.bad.any() else MATRIX
        self._write_tables(notes)
        rows = np.cumsum(~notes.bad) - 1
        rows[notes.bad] = -1
        write_beside(
            self.path / MANIFEST,
            json.dumps({**manifest, "n": int((~notes.bad).sum()), "dim": self.dim}, indent=1).encode(),
        )
        write_beside(self.path / READY, matrix.encode())
        finish_pending(self.folder)
        return rows

    def _write_tables(self, notes: Notes) -> None:
        """``index.parquet`` and ``unreadable.parquet``."""
        none = self._noted(notes, slice(0, 0))
        with (
            _ParquetFile(self.path / INDEX, none) as index,
            _ParquetFile(self.path / UNREADABLE, none.assign(detail=pd.array([], dtype=TEXT))) as unreadable,
        ):
            for rows in blocks(len(self.plan)):
                table, bad = self._noted(notes, rows), notes.bad[rows]
                index.add(table[~bad])
                details = [notes.details[row] for row in table.index[bad]]
                unreadable.add(table[bad].assign(detail=pd.array(details, dtype=TEXT)))

    def _noted(self, notes: Notes, rows: slice) -> pd.DataFrame:
        table, stamps = _plain(self.plan.iloc[rows]), notes.stamps[rows]
        return table.assign(
            hash=pd.array(pa.array(stamps["hash"]).cast(pa.large_string()), dtype=TEXT),
            size=stamps["size"],
            mtime_ns=stamps["mtime_ns"],
        )

    def _compact(self, bad: np.ndarray) -> str:
        """Write the rows that are not `bad` to a file of their own; returns its name."""
        matrix = np.load(self.path / MATRIX, mmap_mode="r", allow_pickle=False)
        with (self.path / COMPACT).open("wb") as file:
            _write_header(file, (int((~bad).sum()), self.dim))
            for first in range(0, len(bad), COPY_ROWS):
                rows = slice(first, first + COPY_ROWS)
                file.write(matrix[rows][~bad[rows]].tobytes())
        return COMPACT


class _ParquetFile(pq.ParquetWriter):
    """A file to which tables like `like` are added, a row group each."""

    def __init__(self, path: Path, like: pd.DataFrame):
        super().__init__(path, pa.Schema.from_pandas(like, preserve_index=False))

    def add(self, table: pd.DataFrame) -> None:
        if len(table):
            self.write_table(pa.Table.from_pandas(table, self.schema, preserve_index=False))


class JournalWriter:
    """Writes rows into ``work/descriptors.npy`` and notes them in a journal of its own.

    Several of them, in several processes, may write disjoint rows at once.
    """

    def __init__(self, work: Path):
        self.work = work
        self._matrix = os.open(work / MATRIX, os.O_RDWR)
        with (work / MATRIX).open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_2_0
                if version == (2, 0)
                else np.lib.format.read_array_header_1_0
            )
            shape, _, _ = read_header(file)
            self._offset, self._width = file.tell(), shape[1] * 4
        name, how = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}", os.O_CREAT | os.O_WRONLY | os.O_APPEND
        self._journal = os.open(work / f"journal-{name}.tsv", how)
        self._begun = os.open(work / f"begun-{name}.i8", how)

    def begin(self, rows: np.ndarray) -> None:
        """Note that `rows` are being computed; see `Work.left_to_do`."""
        with _full_disk_said(self.work.parent):
            _append_all(self._begun, np.asarray(rows, "<i8").tobytes())

    def write(self, rows: np.ndarray, vectors: np.ndarray, stamps: Sequence[Stamp]) -> None:
        """Write `vectors` (n, d) at `rows`, then note the rows with their `stamps`."""
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        lines = [
            f"{row}\t{stamp.hash}\t{stamp.size}\t{stamp.mtime_ns}\t{_one_line(stamp.detail)}\n"
            for row, stamp in zip(rows.tolist(), stamps, strict=True)
        ]
        with _full_disk_said(self.work.parent):
            for first, last in _runs(rows):
                _write_all(
                    self._matrix, vectors[first:last].tobytes(), self._offset + int(rows[first]) * self._width
                )
            _append_all(self._journal, "".join(lines).encode())

    def close(self) -> None:
        """Put everything on disk and close."""
        for file in (self._matrix, self._journal, self._begun):
            os.fsync(file)
            os.close(file)


@contextlib.contextmanager
def _full_disk_said(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StoreError(
            f"{folder}: the disk is full. What is computed is kept; free some space and run again, "
            "it goes on from there"
        ) from error


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def _runs(rows: np.ndarray):
    """Slices of `rows` that are consecutive numbers."""
    rows = np.asarray(rows)
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *cuts.tolist(), len(rows)]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a]


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
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


def read_journal(path: Path) -> Iterator[pa.Table]:
    """Lines of one journal, a block at a time: row, hash, size, mtime_ns, detail ('' where the face was computed).

    A line counts only if it is whole.
    """
    rest = b""
    with path.open("rb") as file:
        while block := file.read(JOURNAL_BYTES):
            whole, _, rest = (rest + block).rpartition(b"\n")
            if whole:
                yield _parse(whole)


def _parse(whole: bytes) -> pa.Table:
    lines = csv.read_csv(
        pa.BufferReader(whole.decode(errors="replace").encode()),
        csv.ReadOptions(column_names=JOURNAL),
        csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=lambda _: "skip"),
        csv.ConvertOptions(column_types=dict.fromkeys(JOURNAL, pa.string())),
    )
    for name, pattern in SOUND.items():
        lines = lines.filter(pc.match_substring_regex(lines[name], f"^({pattern})$"))
    for name in ("row", "size", "mtime_ns"):
        place = lines.schema.get_field_index(name)
        lines = lines.set_column(place, name, lines[name].cast(pa.int64()))
    return lines


def read_begun(work: Path, *, since: int = 0) -> np.ndarray:
    """Rows (int64) whose computing has begun, as often as it has, by writers made from `since` on (ns)."""
    paths = [path for path in work.glob("begun-*.i8") if path.name >= f"begun-{since:020d}"]
    return np.concatenate([np.zeros(0, "<i8"), *(np.frombuffer(_whole_numbers(p), "<i8") for p in paths)])


def _whole_numbers(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: len(data) // 8 * 8]


def _digest(plan: pd.DataFrame, recipe: dict) -> str:
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for rows in blocks(len(plan)):
        digest.update(pd.util.hash_pandas_object(_plain(plan.iloc[rows])).to_numpy().tobytes())
    return digest.hexdigest()


def _write_header(file, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_2_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def finish_pending(folder: Path) -> None:
    """Complete a hand-over from ``work/`` to the store that was cut off half-way."""
    work = folder / "work"
    if not (work / READY).exists():
        return
    if (work / MANIFEST).exists():
        (folder / MANIFEST).unlink(missing_ok=True)
    matrix = (work / READY).read_text()
    for source, name in ((matrix, MATRIX), (INDEX, INDEX), (UNREADABLE, UNREADABLE), (MANIFEST, MANIFEST)):
        if (work / source).exists():
            (work / source).replace(folder / name)
    shutil.rmtree(work)

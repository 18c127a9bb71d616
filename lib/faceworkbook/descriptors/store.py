"""The descriptor store: a memory-mapped float32 matrix, its row index and its manifest.

A finished store holds

- ``descriptors.npy``: n x d float32, one row a face, opened memory-mapped;
- ``index.parquet``: face_id, image, box, content hash, size and time of the file, by row;
- ``unreadable.parquet``: the faces that could not be read, and why;
- ``manifest.json``: the recipe (network, tap, weights' SHA-256, preprocessing, precision), the
  engines that computed it, library versions.

While it is being made, everything lies in ``work/``: the matrix at its full size, the plan, and
journals to which each batch is added after its rows are on disk. A row counts only once it stands
in a journal, so a run that was killed goes on where it stopped and half a batch is never read.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

MATRIX, INDEX, UNREADABLE, MANIFEST = (
    "descriptors.npy",
    "index.parquet",
    "unreadable.parquet",
    "manifest.json",
)
PLAN, READY, COMPACT = "plan.parquet", "READY", "compact.npy"
BOX = ["top", "left", "bottom", "right"]
STAMP = ["hash", "size", "mtime_ns"]
INDEX_COLUMNS = ["face_id", "image", *BOX, *STAMP]
NUMBERS = {"row": "int64", "size": "int64", "mtime_ns": "int64"}
JOURNAL = ["row", *STAMP, "detail"]
TEXT = "string[pyarrow]"
COPY_ROWS = 4096


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
    face_id : ndarray of shape (n,), object
    left_out : pandas.DataFrame
        Faces asked for that could not be read: ``face_id``, ``image``, ``reason``, ``detail``.
    manifest : dict
    """

    folder: Path
    rows: np.ndarray
    face_id: np.ndarray
    left_out: pd.DataFrame
    manifest: dict

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
    if not (folder / MANIFEST).exists():
        state = (
            "an unfinished run is there; extract again to go on"
            if (folder / "work").exists()
            else "no store is there"
        )
        raise StoreError(f"{folder}: {state}")
    manifest = json.loads((folder / MANIFEST).read_text())
    face_id = pd.read_parquet(folder / INDEX, columns=["face_id"])["face_id"].to_numpy(object)
    shape = np.load(folder / MATRIX, mmap_mode="r", allow_pickle=False).shape
    if shape != (len(face_id), manifest["dim"]):
        raise StoreError(
            f"{folder}: {MATRIX} has shape {shape}, the index and the manifest say {(len(face_id), manifest['dim'])}; "
            "remove the folder and extract again"
        )
    left_out = pd.read_parquet(folder / UNREADABLE)
    return Descriptors(folder, np.arange(len(face_id)), face_id, _public(left_out), manifest)


def read_index(folder: Path) -> pd.DataFrame:
    """``index.parquet`` of a finished store, or an empty table with its columns."""
    path = folder / INDEX
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=INDEX_COLUMNS)


def read_unreadable(folder: Path) -> pd.DataFrame:
    """``unreadable.parquet`` of a finished store, or an empty table with its columns."""
    path = folder / UNREADABLE
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=[*INDEX_COLUMNS, "detail"])


def _public(unreadable: pd.DataFrame) -> pd.DataFrame:
    table = unreadable[["face_id", "image", "detail"]].copy()
    table.insert(2, "reason", "unreadable")
    return table.reset_index(drop=True)


def select(folder: Path, face_ids: np.ndarray) -> Descriptors:
    """Open a finished store at the rows of `face_ids` (those that could be read, in that order)."""
    everything = open_store(folder)
    where = pd.Index(everything.face_id).get_indexer(face_ids)
    left_out = everything.left_out[everything.left_out["face_id"].isin(face_ids)].reset_index(drop=True)
    good = where >= 0
    return Descriptors(folder, where[good], np.asarray(face_ids, object)[good], left_out, everything.manifest)


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


def _parquet_beside(table: pd.DataFrame, path: Path) -> None:
    beside = path.with_name(path.name + ".part")
    table.to_parquet(beside, index=False)
    beside.replace(path)


class Work:
    """The unfinished store under ``work/``: one row for each face of the plan.

    Parameters
    ----------
    folder : Path
        The store's folder.
    plan : pandas.DataFrame
        Columns face_id, image, top, left, bottom, right; a RangeIndex that is the row number.
    recipe : dict
        What makes a descriptor; a plan with another recipe starts anew.
    dim : int
    """

    def __init__(self, folder: Path, plan: pd.DataFrame, recipe: dict, dim: int):
        self.folder, self.path, self.plan, self.dim = folder, folder / "work", plan, dim
        self.recipe, self.digest = recipe, _digest(plan, recipe)
        if not self._is_ours():
            self._begin()
        self.stamps = self._read_journals()
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
        _parquet_beside(self.plan, self.path / PLAN)
        write_beside(self.path / "digest", self.digest.encode())

    def _read_journals(self) -> pd.DataFrame:
        frames = [read_journal(path) for path in sorted(self.path.glob("journal-*.tsv"))]
        table = pd.concat(frames) if frames else read_journal(None)
        table = table[table["row"] < len(self.plan)]
        return table.drop_duplicates("row", keep="last").set_index("row").sort_index()

    def left_to_do(self) -> np.ndarray:
        """Rows without a descriptor; those last that were being computed when a run was killed.

        A kill that comes again soon then hits other faces, and a picture that brings the process down does not
        hold up the rest.
        """
        todo = np.setdiff1d(np.arange(len(self.plan)), self.stamps.index.to_numpy())
        begun = [np.frombuffer(_whole_numbers(path), "<i8") for path in self.path.glob("begun-*.i8")]
        begun = np.concatenate([np.zeros(0, "<i8"), *begun])
        begun = begun[(begun >= 0) & (begun < len(self.plan))]
        times = np.bincount(begun, minlength=len(self.plan))
        return todo[np.argsort(times[todo], kind="stable")]

    def copy_rows(
        self, rows: np.ndarray, source: Path, source_rows: np.ndarray, stamps: pd.DataFrame
    ) -> None:
        """Take over finished rows from the matrix file `source`."""
        matrix = np.load(source, mmap_mode="r", allow_pickle=False)
        for start in range(0, len(rows), COPY_ROWS):
            piece = slice(start, start + COPY_ROWS)
            self.write(rows[piece], matrix[source_rows[piece]], stamps.iloc[piece])

    def write(self, rows: np.ndarray, vectors: np.ndarray, stamps: pd.DataFrame) -> None:
        """Put finished descriptors on disk, then note them in the journal."""
        self.writer.write(rows, vectors, stamps)

    @property
    def writer(self) -> JournalWriter:
        """This process's writer into the work folder."""
        if self._writer is None:
            self._writer = JournalWriter(self.path)
        return self._writer

    def finish(self, manifest: dict) -> None:
        """Turn the work folder into the finished store; goes on by itself after a kill."""
        if self._writer is not None:
            self._writer.close()
        stamps = self._read_journals()
        missing = len(self.plan) - len(stamps)
        if missing:
            raise StoreError(
                f"{self.folder}: {missing:,} of {len(self.plan):,} faces are not computed yet; extract again"
            )
        table = self.plan.join(stamps)
        bad = table["detail"].ne("")
        matrix = self._compact(np.flatnonzero(~bad.to_numpy())) if bad.any() else MATRIX
        _parquet_beside(table.loc[~bad, INDEX_COLUMNS].reset_index(drop=True), self.path / INDEX)
        unreadable = table.loc[bad, [*INDEX_COLUMNS, "detail"]].reset_index(drop=True)
        _parquet_beside(unreadable, self.path / UNREADABLE)
        write_beside(
            self.path / MANIFEST,
            json.dumps({**manifest, "n": int((~bad).sum()), "dim": self.dim}, indent=1).encode(),
        )
        write_beside(self.path / READY, matrix.encode())
        finish_pending(self.folder)

    def _compact(self, keep: np.ndarray) -> str:
        """Write the rows `keep` to a file of their own; returns its name."""
        matrix = np.load(self.path / MATRIX, mmap_mode="r", allow_pickle=False)
        with (self.path / COMPACT).open("wb") as file:
            _write_header(file, (len(keep), self.dim))
            for start in range(0, len(keep), COPY_ROWS):
                file.write(matrix[keep[start : start + COPY_ROWS]].tobytes())
        return COMPACT


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

    def write(self, rows: np.ndarray, vectors: np.ndarray, stamps: pd.DataFrame) -> None:
        """Write `vectors` (n, d) at `rows`; `stamps` has hash, size, mtime_ns and optionally detail."""
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        detail = stamps["detail"] if "detail" in stamps else [""] * len(rows)
        lines = [
            f"{row}\t{h}\t{size}\t{mtime}\t{_one_line(text)}\n"
            for row, h, size, mtime, text in zip(
                rows, stamps["hash"], stamps["size"], stamps["mtime_ns"], detail, strict=True
            )
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


def read_journal(path: Path | None) -> pd.DataFrame:
    """Rows of one journal: row, hash, size, mtime_ns, detail ('' where the face was computed).

    A line counts only if it is whole.
    """
    whole = path.read_bytes().rpartition(b"\n")[0] if path else b""
    if not whole:
        return pd.DataFrame(columns=JOURNAL).astype(NUMBERS | {"hash": TEXT, "detail": TEXT})
    lines = csv.read_csv(
        pa.BufferReader(whole.decode(errors="replace").encode()),
        csv.ReadOptions(column_names=JOURNAL),
        csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=lambda _: "skip"),
        csv.ConvertOptions(column_types=dict.fromkeys(JOURNAL, pa.string())),
    )
    table = lines.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)
    sound = [table[name].str.fullmatch("-?([0-9]{1,18}|[1-8][0-9]{18})") for name in NUMBERS]
    return table[np.logical_and.reduce(sound)].astype(NUMBERS)


def _whole_numbers(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: len(data) // 8 * 8]


def _digest(plan: pd.DataFrame, recipe: dict) -> str:
    content = pd.util.hash_pandas_object(plan, index=True).to_numpy()
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode() + content.tobytes()).hexdigest()


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

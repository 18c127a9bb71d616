"""From a journal to a finished store, one rename that counts.

The tables and the manifest are written to ``finished/``; the matrix is moved there last. From that rename on the
new store is whole: `layout.locate` looks for each file in ``finished/`` first, so that a reader sees the old store or
the new one whatever moment it comes, and needs no lock. The matrix is also the last to leave ``finished/``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faceworkbook.descriptors import manifest
from faceworkbook.descriptors.journal import Entries, Journal, blocks, npy_header, plain
from faceworkbook.descriptors.layout import (
    FINISHED,
    INDEX,
    JOURNAL,
    MANIFEST,
    MATRIX,
    UNREADABLE,
    StoreError,
    checksums,
    discard,
    disk_errors,
    remove_discarded,
    sync,
)
from faceworkbook.descriptors.store import COPY_ROWS, TEXT

COMPACT = "compact.npy"


def finish(journal: Journal, record: dict) -> np.ndarray:
    """Turn a journal into the finished store; `complete` goes on after a kill.

    Parameters
    ----------
    journal : Journal
    record : dict
        What goes into the manifest beside the generation and what the files are known by.

    Returns
    -------
    ndarray of shape (n,), int64
        The row in the store of each row of the plan, -1 where the picture could not be read.

    Raises
    ------
    StoreError
        Faces are missing in the journal, or the disk refuses.
    """
    journal.close()
    entries = journal.read_entries()
    missing = len(journal.plan) - np.count_nonzero(entries.done)
    if missing:
        raise StoreError(
            f"{journal.folder}: {missing:,} of {len(journal.plan):,} faces are not computed yet; extract again"
        )
    with disk_errors(journal.folder):
        _write_finished(journal, entries, record)
        complete(journal.folder)
    rows = np.cumsum(~entries.bad) - 1
    rows[entries.bad] = -1
    return rows


def _write_finished(journal: Journal, entries: Entries, record: dict) -> None:
    ready = journal.folder / FINISHED
    discard(ready)
    ready.mkdir()
    _write_tables(ready, journal.plan, entries)
    matrix = _compact(journal, entries.bad) if entries.bad.any() else journal.path / MATRIX
    sync(matrix)
    known = {
        "root": journal.root,
        "generation": manifest.read_previous(journal.folder).get("generation", 0) + 1,
        "n": int((~entries.bad).sum()),
        "dim": journal.dim,
        "files": {MATRIX: checksums(matrix)}
        | {name: checksums(ready / name) for name in (INDEX, UNREADABLE)},
    }
    manifest.write(ready, {**record, **known})
    matrix.replace(ready / MATRIX)


def complete(folder: Path) -> None:
    """Complete a hand-over that was cut off, and remove what is left of others."""
    with disk_errors(folder):
        ready = folder / FINISHED
        if (ready / MATRIX).exists():
            discard(folder / JOURNAL)
            for name in (INDEX, UNREADABLE, MANIFEST, MATRIX):
                if (ready / name).exists():
                    (ready / name).replace(folder / name)
        discard(ready)
        remove_discarded(folder)


def _write_tables(folder: Path, plan: pd.DataFrame, entries: Entries) -> None:
    """``index.parquet`` and ``unreadable.parquet``."""
    none = _stamped(plan, entries, slice(0, 0))
    with (
        _ParquetFile(folder / INDEX, none) as index,
        _ParquetFile(folder / UNREADABLE, none.assign(detail=pd.array([], dtype=TEXT))) as unreadable,
    ):
        for rows in blocks(len(plan)):
            table, bad = _stamped(plan, entries, rows), entries.bad[rows]
            index.add(table[~bad])
            details = [entries.details[row] for row in table.index[bad]]
            unreadable.add(table[bad].assign(detail=pd.array(details, dtype=TEXT)))
    for name in (INDEX, UNREADABLE):
        sync(folder / name)


def _stamped(plan: pd.DataFrame, entries: Entries, rows: slice) -> pd.DataFrame:
    stamps = entries.stamps[rows]
    hashes = pa.array(stamps["content_hash"]).cast(pa.large_string())
    numbers = {name: stamps[name] for name in ("size", "mtime_ns", "ctime_ns")}
    return plain(plan.iloc[rows]).assign(content_hash=pd.array(hashes, dtype=TEXT), **numbers)


def _compact(journal: Journal, bad: np.ndarray) -> Path:
    """Write the rows that are not `bad` to a file of their own."""
    path = journal.path / COMPACT
    matrix = np.load(journal.path / MATRIX, mmap_mode="r", allow_pickle=False)
    with path.open("wb") as file:
        file.write(npy_header(int((~bad).sum()), journal.dim))
        for first in range(0, len(bad), COPY_ROWS):
            rows = slice(first, first + COPY_ROWS)
            file.write(matrix[rows][~bad[rows]].tobytes())
    return path


class _ParquetFile(pq.ParquetWriter):
    """A file to which tables like `like` are added, a row group each."""

    def __init__(self, path: Path, like: pd.DataFrame):
        super().__init__(path, pa.Schema.from_pandas(like, preserve_index=False))

    def add(self, table: pd.DataFrame) -> None:
        if len(table):
            self.write_table(pa.Table.from_pandas(table, self.schema, preserve_index=False))

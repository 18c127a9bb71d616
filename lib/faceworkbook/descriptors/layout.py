"""Files of a descriptor store: their names, what is read while they are replaced, checksums, errors of the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xxhash

from faceworkbook.files import FileError

MATRIX, INDEX, UNREADABLE, MANIFEST = (
    "descriptors.npy",
    "index.parquet",
    "unreadable.parquet",
    "manifest.json",
)
JOURNAL, FINISHED, DISCARDED = "journal", "finished", "discarded"
CHECKED_BYTES, READ_BYTES = 2**26, 2**22  # of a file under one checksum; read at once
AGAIN = "remove the folder and extract again"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreError(ValueError):
    """A descriptor store that cannot be opened or written; the text says why and what to do."""


class NoStore(StoreError):
    """Nothing that this version can open: no store, an unfinished one, or one of an earlier version."""


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileError):
            reason = str(error)
        elif error.errno in FULL:
            reason = f"{folder}: the disk is full, of bytes or of files (df -i)"
        else:
            reason = f"{error.filename or folder}: {error.strerror or error}"
        raise StoreError(
            f"{reason}. What is computed is kept; mend the disk or its permissions, or free some space, and run "
            "again: it goes on from there"
        ) from error


def locate(folder: Path, name: str) -> Path:
    """Return where a file of the store is now; see `handover` for its move out of ``finished/``."""
    ready = folder / FINISHED
    return ready / name if (ready / MATRIX).exists() and (ready / name).exists() else folder / name


def listing(folder: Path) -> list[tuple]:
    """Return what changes whenever a file of the store is replaced."""
    state = []
    for place in (folder, folder / FINISHED):
        for name in (MATRIX, INDEX, UNREADABLE, MANIFEST):
            with contextlib.suppress(OSError):
                stat = (place / name).stat()
                state.append((place.name, name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return state


def discard(path: Path) -> None:
    """Remove a folder as a whole: a kill in between leaves none of it under its own name."""
    if path.exists():
        away = path.with_name(f"{DISCARDED}-{uuid.uuid4().hex[:8]}")
        path.replace(away)
        shutil.rmtree(away, ignore_errors=True)


def remove_discarded(folder: Path) -> None:
    """Remove what a kill within `discard` left, and what an earlier version kept in ``work/``."""
    for path in (folder / "work", *folder.glob(f"{DISCARDED}-*")):
        shutil.rmtree(path, ignore_errors=True)


def sync(path: Path) -> None:
    """Put a file on disk: a rename may reach it before the content does."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def checksums(path: Path) -> dict:
    """Return the size of a file and the xxh3 hash (128 bits) of each 64 MB of it."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return {"bytes": size, "xxh3_128": _hash_blocks(file.fileno(), size)}


def map_checked(path: Path, known: dict) -> np.memmap:
    """Map a file into memory after a look at every byte of it.

    All blocks are read at once by several threads, 10 GB in some seconds from a quick disk. Whatever is written
    under this name later, the map stays what it is.

    Parameters
    ----------
    path : Path
    known : dict
        Its `checksums` when it was written.

    Returns
    -------
    numpy.memmap of shape (bytes,), uint8

    Raises
    ------
    StoreError
        The content is another one.
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != known["bytes"]:
            raise StoreError(f"{path} has {size:,} bytes, {known['bytes']:,} were written; {AGAIN}")
        hashes = zip(_hash_blocks(file.fileno(), size), known["xxh3_128"], strict=True)
        wrong = [i for i, (now, then) in enumerate(hashes) if now != then]
        if wrong:
            raise StoreError(
                f"{path} is not what was written: {len(wrong)} of its blocks of 64 MB have another checksum, the first "
                f"from byte {wrong[0] * CHECKED_BYTES:,} on; {AGAIN}"
            )
        return np.memmap(file, np.uint8, "r")


def _hash_blocks(descriptor: int, size: int) -> list[str]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 2)) as executor:
        return list(executor.map(lambda at: _hash_block(descriptor, at), range(0, size, CHECKED_BYTES)))


def _hash_block(descriptor: int, start: int) -> str:
    # Read, not mapped: a bad sector is an OSError here and the end of the process in a map.
    digest, buffer, at = xxhash.xxh3_128(), bytearray(READ_BYTES), start
    end = start + CHECKED_BYTES
    while at < end and (n := os.preadv(descriptor, [memoryview(buffer)[: end - at]], at)):
        digest.update(memoryview(buffer)[:n])
        at += n
    return digest.hexdigest()

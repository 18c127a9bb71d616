"""Files and what they are known by: atomic writes, JSON records, fingerprints of content."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import platform
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BLOCK_BYTES = 2**22
ROWS = 50_000  # rows of a table that are turned into text at once
_HEAD = 2048  # bytes that show what kind of file it is
_OTHER_KINDS = (
    (rb"version https://git-lfs", "a pointer of Git LFS; fetch the file with: git lfs pull"),
    (rb"(\.\./|/)*(\.git/)?annex/objects/", "a pointer of git-annex; fetch the file with: git annex get"),
    (rb"\0+$", "nothing but zero bytes; copy the file again"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype\s+)?html", "a web page; fetch the file itself"),
    (rb"%PDF", "a PDF file"),
    (rb"PK\x03\x04", "a ZIP archive (.xlsx is one); unpack it, or save it as the kind that is needed"),
    (rb"\x1f\x8b", "a gzip archive; unpack it"),
    (rb"\xd0\xcf\x11\xe0", "a file of Excel or Word; save it as CSV"),
)
LONGEST = 50  # characters of a name
_OWNER = re.compile(r"-([0-9a-f]{8})-([0-9]{1,9})-")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (*_FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)


class FileError(OSError):
    """A file that cannot be written or read; the text names it and says what to do."""


def name_other_kind(head: bytes) -> str:
    """Return what a file is whose first bytes are those of no table, picture or network; empty where it may be one."""
    flags = re.IGNORECASE | re.DOTALL
    return next((kind for start, kind in _OTHER_KINDS if re.match(start, head[:_HEAD], flags)), "")


def name_kind(path: str | Path) -> str:
    """Return what `name_other_kind` says of a file; empty where it cannot be opened."""
    try:
        with Path(path).open("rb") as file:
            return name_other_kind(file.read(_HEAD))
    except OSError:
        return ""


def write_beside(path: str | Path, data: bytes | str) -> Path:
    """Write `data` beside `path` and rename, so that no reader ever sees half of it.

    Raises
    ------
    FileError
        The disk is full, or the folder cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    with open_beside(path) as beside:
        beside.write_bytes(content)
    return Path(path)


@contextlib.contextmanager
def open_beside(path: str | Path) -> Iterator[Path]:
    """Hand out a path beside `path` to write to; it becomes `path` when the block ends without an error.

    For writers that want a file name: ``with open_beside(p) as beside: table.to_parquet(beside)``. The suffix
    stays, since some writers choose their format by it.
    """
    path = Path(path)
    # Cut, since a name of 255 bytes is the longest that most file systems take.
    beside = path.with_name(f".{uuid.uuid4().hex[:8]}-{name_owner()}-{path.name[-LONGEST:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        yield beside
        _to_disk(beside)
        beside.replace(path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {_reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def name_owner() -> str:
    """Return what names this process on this machine, for files that are its own until they are whole."""
    return f"{xxhash.xxh32_hexdigest(platform.node())}-{os.getpid()}"


def is_abandoned(name: str) -> bool:
    """Whether a name holds `name_owner` of a process of this machine that is gone."""
    owner = _OWNER.search(name)
    if not owner or owner[1] != xxhash.xxh32_hexdigest(platform.node()):
        return False
    try:
        os.kill(int(owner[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process
        return False
    return False


@functools.cache
def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left half-written; once a folder and process, which costs one look at it."""
    if os.name != "posix":  # elsewhere a signal of 0 ends the process
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and is_abandoned(entry.name):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108


@contextlib.contextmanager
def disk_errors(folder: str | Path | None) -> Iterator[None]:
    """Turn what a disk refuses to a library that writes into `folder` into a `FileError`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileError) or error.errno not in _REFUSED:
            raise
        raise FileError(f"{folder} cannot be written: {_reason(error)}") from error


def describe(error: OSError) -> str:
    """Return what the system refused as a sentence; an error with a text of its own as it is."""
    if isinstance(error, FileError) or error.errno is None or not error.filename:
        return str(error)
    return f"{os.fsdecode(error.filename)} cannot be opened or written: {_reason(error)}"


def _to_disk(path: Path) -> None:
    # A rename may reach the disk before the content does; after a power cut the name would hold nothing.
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _reason(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk is full; free some space, or remove files where they are too many (df -i), and run again"
    return f"{error.strerror or error}; check the folder and its permissions, or name another one"


@contextlib.contextmanager
def hold(lock: str | Path, what: str) -> Iterator[None]:
    """Hold a lock file; where another process holds it, say `what` it does, and wait for it.

    Raises
    ------
    FileError
        The folder cannot be written.
    """
    from filelock import FileLock, Timeout
    from tqdm import tqdm

    held = FileLock(lock)
    with disk_errors(held.lock_file):
        Path(lock).parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            tqdm.write(f"{what}; waiting")
            held.acquire()
    try:
        yield
    finally:
        held.release()


def write_json(path: str | Path, record, *, default: Callable | None = None) -> Path:
    """Write a record as indented JSON, beside and renamed; see `plain` for what is turned into plain values."""
    return write_beside(path, json.dumps(record, indent=1, default=default or plain) + "\n")


def parse_json(data: str | bytes):
    """Return what a JSON text holds; `ValueError` where it is none, or nested so deep that Python's parser gives up."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def read_json(path: str | Path, error: type[Exception], *, advice: str) -> dict:
    """Read a JSON object, or raise `error` with the file's name, what is wrong with it and `advice`."""
    try:
        record = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as cause:
        raise error(f"{path} cannot be read ({cause}); {advice}") from cause
    if not isinstance(record, dict):
        raise error(f"{path} holds {type(record).__name__}, expected a JSON object; {advice}")
    return record


def read_record(path: str | Path) -> dict:
    """Return a JSON object for a page that shows what is there; empty where none can be read."""
    try:
        record = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def read_arrow(source, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file; checksums of its pages, where it has any, are verified.

    In this thread alone: Arrow waits for ever for threads that the system does not grant, as under a limit of memory.

    Parameters
    ----------
    source : path or pyarrow file
    columns : list of str, optional
        All by default.

    Raises
    ------
    OSError, ValueError
        It is missing, damaged, or no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file:
            return file.read(columns, use_threads=False)
    except pa.ArrowException as error:
        raise error if isinstance(error, OSError | ValueError) else ValueError(str(error)) from error


def read_parquet(source, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file as a table; see `read_arrow`."""
    return read_arrow(source, columns).to_pandas(use_threads=False)


def plain(value):
    """Turn numpy scalars and arrays, paths, tuples and sets into what JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def hash_file(path: str | Path) -> str:
    """Return the xxh3 hash (128 bits, hex) of a file's content."""
    digest = xxhash.xxh3_128()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def hash_values(*values) -> str:
    """Return one xxh3 hash (128 bits, hex) of arrays, texts, bytes and JSON-like records, in their order.

    Arrays count with their shape and dtype, so that no two different lists of values give the same bytes.
    """
    digest = xxhash.xxh3_128()
    for value in values:
        content = _content(value)
        digest.update(f"{type(value).__name__}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def _content(value) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, np.ndarray):
        import pandas as pd

        return json.dumps([None if pd.isna(v) else str(v) for v in value.ravel()]).encode()
    return json.dumps(value, sort_keys=True, default=plain).encode()


def hash_rows(table: pd.DataFrame, columns: list[str], *, key: str) -> str:
    """Return the hash of some columns of a table, whatever the order of its rows and the kind of its texts.

    Parameters
    ----------
    table : pandas.DataFrame
    columns : list of str
        What counts; NA counts as such.
    key : str
        The column by which rows are ordered.
    """
    order = np.argsort(table[key].astype(str).to_numpy(), kind="stable")
    digest = xxhash.xxh3_128(json.dumps([key, *columns]).encode())
    for start in range(0, len(order), ROWS):
        block = table.iloc[order[start : start + ROWS]]
        for column in dict.fromkeys([key, *columns]):
            digest.update(json.dumps(_texts(block[column])).encode())
    return digest.hexdigest()


def _texts(values: pd.Series) -> list:
    import pandas as pd

    known = values.notna().to_numpy()
    if pd.api.types.is_bool_dtype(values.dtype):
        texts = [str(bool(v)) if k else None for v, k in zip(values, known, strict=True)]
    elif pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        texts = [f"{v:.10g}" if k else None for v, k in zip(numbers, known, strict=True)]
    else:
        texts = [str(v) if k else None for v, k in zip(values, known, strict=True)]
    return texts

"""The one door to HDF5 files: what a damaged one does to the C library, it does to a process of its own first.

Some damaged heaps keep libhdf5 busy for ever, others end the process. So a file is read in a child process with
limits on time and memory before it is opened here. Numbers that lie in one piece are not read there: nothing but their
place can be wrong. Arrays that lie in another file, or announce far more than theirs can hold, are refused there too.
Run as a program, this module is that child.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

FREE_BYTES, MAX_RATIO = (
    2**26,
    100,
)  # what an array may unpack to: so much, or so many times the size of its file
SECONDS, BYTES_PER_SECOND = (
    3,
    2 * 10**7,
)  # of processor time a file may take: so many, and one more for so many bytes
WAIT = 12  # times as long on the clock: other programs may have the processor
MEMORY = 2**31
MAX_OBJECTS = 100_000
SLAB_BYTES = 2**24
NO_MEMORY = f"it takes more than {MEMORY / 2**30:.0f} GB of memory"
AGAIN = "copy or fetch it again, or write it anew in the program that made it"
ROUTES = ("model_weights", "layer_names", "model_config", "absent")
REFUSED = 3  # status of a child that prints why

_read_well: set[tuple] = set()  # files of this process that a child came through, by place, size and times


@contextlib.contextmanager
def open_file(path: str | Path, *, error: type[Exception], trusted: Collection[str] = ()) -> Iterator:
    """Open a file that a child process came through, to read.

    Parameters
    ----------
    path : path
    error : type of exception
        What is raised where it is damaged, with the file's name and advice.
    trusted : collection of str
        SHA-256 of files that are known and need no child.
    """
    import h5py

    check(path, error=error, trusted=trusted)
    try:
        file = h5py.File(path)
    except OSError as cause:
        raise error(f"{path} is no HDF5 file, or damaged ({str(cause)[:200]}); {AGAIN}") from cause
    with file:
        yield file


def check(path: str | Path, *, error: type[Exception], trusted: Collection[str] = ()) -> None:
    """Raise `error` for a file, HDF5 or Keras' archive of one, whose reading hangs, crashes or wants much memory."""
    path = Path(path)
    try:
        stamp = _stamp(path)
        if stamp in _read_well or (trusted and _sha256(path) in trusted):
            return
        if zipfile.is_zipfile(path):
            _check_archive(path, error)
        else:
            _check_alone(path, path, error)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as cause:
        raise error(f"{path} cannot be read ({str(cause)[:200]}); {AGAIN}") from cause
    _read_well.add(stamp)


def trust(path: str | Path) -> None:
    """Let `check` pass a file that this process has just written itself."""
    _read_well.add(_stamp(Path(path)))


def _stamp(path: Path) -> tuple:
    stat = path.stat()
    return str(path.absolute()), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_archive(path: Path, error: type[Exception]) -> None:
    """Check each HDF5 file that lies in a ``.keras`` archive."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".h5"):
                continue
            if member.file_size > max(FREE_BYTES, MAX_RATIO * path.stat().st_size):
                raise error(f"{path}: {member.filename} unpacks to far more than the file holds; {AGAIN}")
            with tempfile.TemporaryDirectory() as folder:
                inner = Path(folder) / "weights.h5"
                with archive.open(member) as source, inner.open("wb") as copy:
                    while block := source.read(SLAB_BYTES):
                        copy.write(block)
                _check_alone(inner, path, error)


def _check_alone(path: Path, shown: Path, error: type[Exception]) -> None:
    seconds = SECONDS + path.stat().st_size // BYTES_PER_SECOND
    command = [sys.executable, "-P", str(Path(__file__).resolve()), str(path.absolute()), str(seconds)]
    try:
        done = subprocess.run(
            command, timeout=WAIT * seconds, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        reason = _reason(done, seconds)
    except subprocess.TimeoutExpired:
        reason = f"reading it did not end within {WAIT * seconds} s"
    if reason:
        raise error(f"{shown} is damaged or no file for this: {reason}; {AGAIN}")


def _reason(done: subprocess.CompletedProcess, seconds: int) -> str:
    """Say how a child ended; empty where it came through."""
    if done.returncode == 0:
        return ""
    if done.returncode == REFUSED:
        return done.stdout.decode("utf-8", "replace").strip()
    if -done.returncode in (getattr(signal, "SIGXCPU", None), getattr(signal, "SIGKILL", None)):
        return f"reading it did not end within {seconds} s of processor time"
    if done.returncode < 0:
        return f"reading it ended the process ({signal.Signals(-done.returncode).name})"
    return f"reading it failed ({' '.join(done.stderr.decode('utf-8', 'replace').split())[-200:]})"


# --------------------------------------------------------------------------- the child


def _limit(seconds: int) -> None:
    with contextlib.suppress(ImportError):  # Windows has no such limits: the parent's clock is left
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    _allow(MEMORY)


def _allow(memory: int) -> None:
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))


class _Refused(BaseException):
    """Goes through whatever reads on after an error in words."""


def read_all(path: str) -> None:
    """Read every attribute and array of a file; refuse it where one cannot be read."""
    import h5py

    with _in_words("the file"), h5py.File(path, "r") as file:
        _read_group(file, Path(path).stat().st_size)
        # Other routes through the tables of names, which readers take: damage may lie on one of them alone.
        file.visititems(lambda name, item: None)
        for names in (file, file.attrs):
            [name in names for name in ROUTES]


def _read_group(root, file_bytes: int) -> None:
    import h5py

    waiting, seen = [root], set()
    while waiting:
        group = waiting.pop()
        with _in_words(group.name):
            _read_attributes(group)
            links = {name: group.get(name, getlink=True) for name in group}
        for name, link in links.items():
            if isinstance(link, h5py.ExternalLink):
                raise _Refused(f"{name} does not lie in the file itself, but in {link.filename}")
            if not isinstance(link, h5py.HardLink):
                continue
            with _in_words(name):
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                else:
                    _read_attributes(item)
                    _read_dataset(item, file_bytes)
        if len(seen) > MAX_OBJECTS:
            raise _Refused(f"it has more than {MAX_OBJECTS:,} groups and arrays")


@contextlib.contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Refuse the file where something in it cannot be read, since what h5py makes of it differs from time to time."""
    try:
        yield
    except MemoryError as error:
        raise _Refused(NO_MEMORY) from error
    except Exception as error:
        no_memory = re.search(r"memory alloc|allocate memory|for allocation", str(error))
        words = " ".join(str(error).split())[:200]
        raise _Refused(NO_MEMORY if no_memory else f"{name} cannot be read ({words})") from error


def _read_attributes(item) -> None:
    for name in item.attrs:
        item.attrs[name]


def _read_dataset(data, file_bytes: int) -> None:
    import h5py

    if not isinstance(data, h5py.Dataset):
        return
    if data.external or data.is_virtual:
        raise _Refused(f"{data.name} does not lie in the file itself")
    cells = max(data.size or 0, math.prod(data.chunks or (0,)))
    if cells * data.dtype.itemsize > max(FREE_BYTES, MAX_RATIO * file_bytes):
        raise _Refused(f"{data.name} announces {data.shape}, far more than the file holds")
    if data.chunks is None and data.dtype.kind in "fiub":
        return  # in one piece
    _allow(MEMORY + 2 * cells * data.dtype.itemsize)
    # As readers do it, and as Keras does: damage of some kinds is met by one of them alone.
    data[()]
    np.asarray(data)


if __name__ == "__main__":
    _limit(int(sys.argv[2]))
    try:
        read_all(sys.argv[1])
    except _Refused as refusal:
        sys.stdout.buffer.write(str(refusal)[:1000].encode("utf-8", "replace"))
        sys.exit(REFUSED)

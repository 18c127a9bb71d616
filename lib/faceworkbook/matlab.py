"""Read MATLAB v5 to v7 files (``.mat``) as data: numbers, text, cells and structs.

SciPy's reader ends the whole process on some damaged files, so this one checks every announced size against
the bytes that are there before it follows it. The format is that of MathWorks' "MAT-File Level 5 File Format".
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HEADER_BYTES = 128
MAX_DEPTH = 32
MAX_DIMENSIONS = 16
MAX_OBJECTS = 2**22  # cells and structs of a file; IMDB-WIKI has 1.4 million
FREE_BYTES = 2**28  # what inflated and converted arrays may take, whatever the size of their file
MAX_RATIO = 100  # beyond that: how many times the file's size; deflate alone could do 1,032

CELL, STRUCT, CHAR = 1, 2, 4
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
OPAQUE = 17
UNREAD = (3, 5, 16, OPAQUE)  # object, sparse matrix, function handle, object of a class
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
_COMPLEX, _LOGICAL = 0x08, 0x02
_CODECS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_PEEK = 4096  # inflated bytes that hold flags, dimensions and name of a variable


class MatlabError(ValueError):
    """A file that is damaged, cut short, or of another kind; the text names it."""


def read(path: str | Path, names: Collection[str] | None = None) -> dict[str, object]:
    """Read the variables of a file.

    Parameters
    ----------
    path : path
    names : collection of str, optional
        The variables to read; others are not even inflated. All, where None.

    Returns
    -------
    dict of str to value
        Numbers: ndarray with MATLAB's dimensions and class, read-only; where the file stores them plainly, a view
        into the memory-mapped file. Text: str, or a tuple of str where it has several rows. Cells: ndarray of
        objects. Structs: ndarray of dict, 1 x 1 for a single one. None: a sparse matrix, complex numbers, a
        function handle or an object of a class, none of which is read.

    Raises
    ------
    MatlabError
        Damaged, cut short, announcing more than it holds, v4, v7.3 (HDF5), or no MATLAB file.
    """
    path = Path(path)
    with path.open("rb") as file:
        size = path.stat().st_size
        if size < HEADER_BYTES:
            raise MatlabError(f"{path} has {size} bytes; expected a MATLAB file, whose header alone has 128")
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    budget = _Budget(MAX_OBJECTS, max(FREE_BYTES, MAX_RATIO * size))
    reader = _Reader(data, path, _byte_order(data, path), budget)
    content: dict[str, object] = {}
    for variable, at, end in reader.variables(names):
        name, value = variable.matrix(at, end, 0)
        if names is None or name in names:
            content[name] = value
    return content


def _byte_order(data: memoryview, path: Path) -> str:
    version, mark = bytes(data[124:126]), bytes(data[126:128])
    if b"\x89HDF\r\n\x1a\n" in bytes(data[:520]) or bytes(data[:10]) == b"MATLAB 7.3":
        raise MatlabError(f"{path} is a MATLAB v7.3 (HDF5) file; save it in MATLAB with save(..., '-v7')")
    if mark == b"IM" and version[1] == 1:
        return "<"
    if mark == b"MI" and version[0] == 1:
        return ">"
    raise MatlabError(
        f"{path} is no MATLAB v5 to v7 file; its header does not end in a version and 'IM' or 'MI'"
    )


@dataclass
class _Budget:
    """How many objects, and how many bytes beside the file's own, the rest of a file may still ask for."""

    objects: int
    bytes: int


class _Reader:
    """Reads elements from one buffer: the mapped file, or a variable that was inflated."""

    def __init__(self, data: memoryview, path: Path, order: str, budget: _Budget):
        self._data, self._path, self._order, self._budget = data, path, order, budget
        self._pair = struct.Struct(f"{order}II")
        self._stored = {kind: np.dtype(order + code) for kind, code in STORED.items()}

    def fail(self, what: str, at: int):
        raise MatlabError(
            f"{self._path}: {what}, at byte {at} of {len(self._data)}; the file is damaged or cut short"
        )

    def _over(self, data: memoryview) -> _Reader:
        return _Reader(data, self._path, self._order, self._budget)

    def variables(self, names: Collection[str] | None) -> Iterator[tuple[_Reader, int, int]]:
        """Yield for each variable a reader and where in its buffer the matrix starts and ends."""
        at, end = HEADER_BYTES, len(self._data)
        while at < end:
            kind, start, size, after = self.tag(at, end)
            if kind == COMPRESSED:
                after = start + size  # not padded
                packed = self._data[start:after]
                if names is None or self._peek(packed, start) in names:
                    reader = self._over(self._inflate(packed, start))
                    kind, start, size, _ = reader.tag(0, len(reader._data))
                    if kind != MATRIX:
                        reader.fail(f"a variable of type {kind}, expected {MATRIX}", 0)
                    yield reader, start, start + size
            elif kind == MATRIX:
                if names is None or self._head(start, start + size)[3] in names:
                    yield self, start, start + size
            else:
                self.fail(f"a variable of type {kind}, expected {MATRIX} or {COMPRESSED}", at)
            at = after

    def _peek(self, packed: memoryview, at: int) -> str:
        try:
            first = zlib.decompressobj().decompress(packed, _PEEK)
        except zlib.error as error:
            self.fail(f"compressed data that cannot be inflated ({error})", at)
        if len(first) < 8:
            self.fail("a compressed variable without content", at)
        return self._over(memoryview(first))._head(8, len(first))[3]

    def _inflate(self, packed: memoryview, at: int) -> memoryview:
        inflater = zlib.decompressobj()
        try:
            first = inflater.decompress(packed, 8)
            if len(first) < 8:
                self.fail("a compressed variable without content", at)
            size = 8 + self._pair.unpack(first)[1]
            self._reserve_bytes(size, at)
            whole = bytearray(size)
            whole[:8] = first
            done = 8
            while done < size and (block := inflater.decompress(inflater.unconsumed_tail, 2**22)):
                if done + len(block) > size:
                    break
                whole[done : done + len(block)] = block
                done += len(block)
            rest = inflater.decompress(inflater.unconsumed_tail, 1) if done == size else b""
        except zlib.error as error:
            self.fail(f"compressed data that cannot be inflated ({error})", at)
        if done < size or rest or not inflater.eof:
            self.fail(f"compressed data that is not the {size} bytes announced", at)
        return memoryview(whole).toreadonly()

    def tag(self, at: int, end: int) -> tuple[int, int, int, int]:
        """Return type, first byte and size of the element at `at`, and where the next one starts."""
        if at + 8 > end:
            self.fail("an element is announced that is not there", at)
        kind, size = self._pair.unpack_from(self._data, at)
        if kind >> 16:  # a small element: its size, type and up to four bytes of data in eight
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                self.fail(f"a small element of {size} bytes", at)
            return kind, at + 4, size, at + 8
        start = at + 8
        if start + size > end:
            self.fail(f"{size} bytes are announced, {end - start} are there", at)
        return kind, start, size, min(start + size + -size % 8, end)

    def _expect(self, kinds: tuple[int, ...], what: str, at: int, end: int) -> tuple[int, int, int]:
        kind, start, size, after = self.tag(at, end)
        if kind not in kinds:
            self.fail(f"{what} of type {kind}, expected {' or '.join(map(str, kinds))}", at)
        return start, size, after

    def _head(self, at: int, end: int) -> tuple[int, int, tuple[int, ...], str, int]:
        """Return class, flags, dimensions and name of a matrix, and where its content starts."""
        start, size, at = self._expect((6,), "flags", at, end)
        if size != 8:
            self.fail(f"flags of {size} bytes", start)
        word = self._pair.unpack_from(self._data, start)[0]
        number, flags, dimensions = word & 0xFF, word >> 8 & 0xFF, ()
        if number != OPAQUE:
            dimensions, at = self._dimensions(at, end)
        start, size, at = self._expect((1, 2, 16), "a name", at, end)
        name = bytes(self._data[start : start + size]).decode("utf-8", "replace")
        return number, flags, dimensions, name, at

    def _dimensions(self, at: int, end: int) -> tuple[tuple[int, ...], int]:
        start, size, after = self._expect((5, 6), "dimensions", at, end)
        if size % 4 or not 8 <= size <= 4 * MAX_DIMENSIONS:
            self.fail(f"dimensions of {size} bytes", at)
        dimensions = struct.unpack_from(f"{self._order}{size // 4}i", self._data, start)
        if min(dimensions) < 0 or math.prod(n for n in dimensions if n) >= 2**40:
            self.fail(f"an array of {' x '.join(map(str, dimensions))}", at)
        return dimensions, after

    def matrix(self, at: int, end: int, depth: int) -> tuple[str, object]:
        """Return name and value of the matrix whose content lies from `at` to `end`."""
        if at == end:  # how MATLAB writes an empty one
            return "", np.empty((0, 0))
        if depth > MAX_DEPTH:
            self.fail(f"arrays nested more than {MAX_DEPTH} deep", at)
        number, flags, dimensions, name, at = self._head(at, end)
        if number in CLASSES:
            return name, None if flags & _COMPLEX else self._numbers(
                CLASSES[number], flags, dimensions, (at, end)
            )
        if number == CHAR:
            return name, self._text(dimensions, at, end)
        if number == CELL:
            return name, self._cells(dimensions, (at, end), depth)
        if number == STRUCT:
            return name, self._structs(dimensions, (at, end), depth)
        if number not in UNREAD:
            self.fail(f"an array of class {number}", at)
        return name, None

    def _numbers(
        self, code: str, flags: int, dimensions: tuple[int, ...], where: tuple[int, int]
    ) -> np.ndarray:
        array = self._plain(math.prod(dimensions), *where)
        wanted = np.dtype(code)
        if array.dtype != wanted:
            array = self._as_class(array, wanted, where[0])
        if flags & _LOGICAL and code == "u1":
            array = array != 0
        array = array.reshape(dimensions, order="F")
        array.flags.writeable = False
        return array

    def _plain(self, count: int, at: int, end: int) -> np.ndarray:
        """Return `count` numbers as they are stored, a view into the buffer."""
        kind, start, size, _ = self.tag(at, end)
        if kind not in self._stored:
            self.fail(f"numbers of type {kind}", at)
        dtype = self._stored[kind]
        if size != count * dtype.itemsize:
            self.fail(f"{size} bytes for {count} numbers of {dtype.itemsize} bytes", at)
        return np.frombuffer(self._data, dtype, count, start)

    def _as_class(self, array: np.ndarray, wanted: np.dtype, at: int) -> np.ndarray:
        """Return numbers in their class: MATLAB stores whole ones in a smaller type."""
        if wanted.kind != "f" and array.size:
            low, high = (array.min(), array.max()) if array.dtype.kind != "f" else (math.inf, -math.inf)
            limits = np.iinfo(wanted)
            if not (limits.min <= int(low) and int(high) <= limits.max if low <= high else False):
                self.fail(f"{array.dtype} numbers that are no {wanted}", at)
        if wanted == np.float32 and array.dtype.kind == "f" and array.dtype.itemsize > 4:
            self.fail("double numbers in an array of class single", at)
        self._reserve_bytes(array.size * wanted.itemsize, at)
        return array.astype(wanted)

    def _text(self, dimensions: tuple[int, ...], at: int, end: int) -> str | tuple[str, ...] | None:
        kind, start, size, _ = self.tag(at, end)
        if not math.prod(dimensions):
            return ""
        if kind not in _CODECS:
            self.fail(f"text of type {kind}", at)
        suffix = {"<": "-le", ">": "-be"}[self._order] if _CODECS[kind] != "utf-8" else ""
        text = bytes(self._data[start : start + size]).decode(_CODECS[kind] + suffix, "replace")
        rows, count = dimensions[0], math.prod(dimensions)
        self._reserve(0 if rows == 1 else rows, 8 * size, at)
        if len(text) > count or (rows > 1 and len(text) != count):
            self.fail(f"{len(text)} characters for {' x '.join(map(str, dimensions))}", at)
        return text if rows == 1 else tuple(text[row::rows] for row in range(rows))

    def _reserve(self, count: int, bytes_left: int, at: int) -> None:
        """Refuse objects for which the file has no room: each needs eight bytes at the least."""
        self._budget.objects -= count
        if count * 8 > bytes_left or self._budget.objects < 0:
            self.fail(f"{count} cells or structs in {bytes_left} bytes", at)

    def _reserve_bytes(self, size: int, at: int) -> None:
        self._budget.bytes -= size
        if self._budget.bytes < 0:
            self.fail(f"compressed data of {size} bytes, more than {MAX_RATIO} times the file,", at)

    def _values(self, count: int, at: int, end: int, depth: int) -> Iterator[object]:
        for _ in range(count):
            kind, start, size, after = self.tag(at, end)
            if kind != MATRIX:
                self.fail(f"a cell or field of type {kind}, expected {MATRIX}", at)
            yield self.matrix(start, start + size, depth + 1)[1]
            at = after

    def _cells(self, dimensions: tuple[int, ...], where: tuple[int, int], depth: int) -> np.ndarray:
        at, end = where
        count = math.prod(dimensions)
        self._reserve(count, end - at, at)
        cells = np.empty(count, object)
        for i, value in enumerate(self._values(count, at, end, depth)):
            cells[i] = value
        return cells.reshape(dimensions, order="F")

    def _structs(self, dimensions: tuple[int, ...], where: tuple[int, int], depth: int) -> np.ndarray:
        at, end = where
        fields, at = self._field_names(at, end)
        count = math.prod(dimensions) if fields else 0  # without fields there is nothing to count by
        self._reserve(count * len(fields), end - at, at)
        values = self._values(count * len(fields), at, end, depth)
        structs = np.empty(count, object)
        for i in range(count):
            structs[i] = dict(zip(fields, values, strict=False))
        return structs.reshape(dimensions if fields else (0, 0), order="F")

    def _field_names(self, at: int, end: int) -> tuple[list[str], int]:
        start, size, at = self._expect((5,), "the length of field names", at, end)
        length = self._pair.unpack_from(self._data, start)[0] if size == 4 else 0
        start, size, at = self._expect((1,), "field names", at, end)
        if (not 1 <= length <= 4096 or size % length) and size:
            self.fail(f"{size} bytes of field names of {length} characters", start)
        names = bytes(self._data[start : start + size])
        fields = [
            names[i : i + length].split(b"\0")[0].decode("utf-8", "replace")
            for i in range(0, size, length or 1)
        ]
        if len(set(fields)) != len(fields):
            self.fail("a struct with two fields of one name", start)
        return fields, at

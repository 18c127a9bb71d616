"""Read binary Torch7 files (``torch.save``) as data.

Only tables, numbers, strings, tensors and the fields of objects are read. A stored Lua function is skipped:
its bytes are never run. The format follows ``File.lua`` and ``DiskFile.c`` of torch7.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faceworkbook.backbones.base import WeightsError

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN, FUNCTION = range(7)
RECURSIVE_FUNCTIONS = (7, 8)
ELEMENTS = {
    **{"Float": "<f4", "Double": "<f8", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Byte": "u1"},
    **{"Char": "i1", "Cuda": "<f4", "CudaDouble": "<f8"},
}
TENSORS = {f"torch.{name}Tensor": dtype for name, dtype in ELEMENTS.items()}
STORAGES = {f"torch.{name}Storage": dtype for name, dtype in ELEMENTS.items()}
MAX_DEPTH = 64
MAX_DIMENSIONS = 16


@dataclass
class TorchObject:
    """An object of a Lua class: the name of its type and its fields, no methods."""

    type_name: str
    fields: dict = field(default_factory=dict)

    def get(self, name: str, default=None):
        """Return the field `name`, or `default` where it is missing."""
        return self.fields.get(name, default)


def read(path: str | Path):
    """Read the one object in a file.

    Returns
    -------
    None, bool, float, str, dict, ndarray or TorchObject
        Tables are dicts with keys as stored (lists have keys 1.0, 2.0, ...). Tensors are read-only views
        into the memory-mapped file.

    Raises
    ------
    WeightsError
        The file is cut short or no binary Torch7 file.
    """
    path = Path(path)
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise WeightsError(f"{path} is empty; expected a binary Torch7 file")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _Reader(data, path).read_object()


class _Reader:
    def __init__(self, data, path: Path):
        self._data, self._path = data, path
        self._position, self._depth = 0, 0
        self._seen: dict[int, object] = {}

    def fail(self, what: str):
        raise WeightsError(
            f"{self._path}: {what} at byte {self._position} of {len(self._data)}; "
            "the file is cut short, damaged, or not a binary Torch7 file"
        )

    def take(self, size: int) -> int:
        start = self._position
        if size < 0 or start + size > len(self._data):
            self.fail(f"{size} bytes are announced that are not there")
        self._position += size
        return start

    def unpack(self, code: str):
        return struct.unpack_from(f"<{code}", self._data, self.take(struct.calcsize(f"<{code}")))

    def integer(self) -> int:
        return self.unpack("i")[0]

    def string(self) -> str:
        size = self.integer()
        start = self.take(size)
        return self._data[start : start + size].decode("utf-8", "replace")

    def read_object(self):
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.fail(f"objects nested more than {MAX_DEPTH} deep")
        value = self._read_kind(self.integer())
        self._depth -= 1
        return value

    def _read_kind(self, kind: int):
        if kind == NIL:
            return None
        if kind == NUMBER:
            return self.unpack("d")[0]
        if kind == STRING:
            return self.string()
        if kind == BOOLEAN:
            return bool(self.integer())
        if kind == FUNCTION:
            return self._skip_function()
        if kind in (TABLE, TORCH, *RECURSIVE_FUNCTIONS):
            return self._read_shared(kind)
        return self.fail(f"unknown type {kind}")

    def _read_shared(self, kind: int):
        index = self.integer()
        if index in self._seen:
            return self._seen[index]
        if kind == TABLE:
            return self._read_table(index)
        if kind == TORCH:
            return self._read_torch(index)
        self._seen[index] = None
        return self._skip_function()

    def _skip_function(self):
        self.take(self.integer())
        self.read_object()

    def _read_table(self, index: int) -> dict:
        table = self._seen[index] = {}
        count = self.integer()
        if count < 0:
            self.fail(f"a table of {count} entries")
        for _ in range(count):
            key = self.read_object()
            value = self.read_object()
            if not isinstance(key, str | float | bool):
                self.fail(f"a table key of type {type(key).__name__}")
            table[key] = value
        return table

    def _read_torch(self, index: int):
        version = self.string()
        type_name = self.string() if version.startswith("V ") else version
        if type_name in TENSORS:
            value = self._read_tensor(TENSORS[type_name])
        elif type_name in STORAGES:
            value = self._read_storage(STORAGES[type_name])
        else:
            return self._read_class(index, type_name)
        self._seen[index] = value
        return value

    def _read_class(self, index: int, type_name: str) -> TorchObject:
        value = self._seen[index] = TorchObject(type_name)
        fields = self.read_object()
        if isinstance(fields, dict):
            value.fields.update(fields)
        return value

    def _read_storage(self, dtype: str) -> np.ndarray:
        (count,) = self.unpack("q")
        start = self.take(count * np.dtype(dtype).itemsize)
        return np.frombuffer(self._data, dtype, count, start)

    def _read_tensor(self, dtype: str) -> np.ndarray:
        dimensions = self.integer()
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            self.fail(f"a tensor of {dimensions} dimensions")
        shape, strides = self.unpack(f"{dimensions}q"), self.unpack(f"{dimensions}q")
        offset = self.unpack("q")[0] - 1
        storage = self.read_object()
        if dimensions == 0 or storage is None:
            return np.empty(0, dtype)
        return self._view(storage, dtype, shape, strides, offset)

    def _view(self, storage, dtype: str, shape, strides, offset: int) -> np.ndarray:
        if not isinstance(storage, np.ndarray) or storage.dtype != dtype or storage.ndim != 1:
            self.fail("a tensor without a storage of its type")
        if min(shape) < 1 or min(strides) < 0 or offset < 0:
            self.fail(f"a tensor of shape {shape}, strides {strides}, offset {offset}")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if last >= len(storage):
            self.fail(f"a tensor of shape {shape} that reaches beyond its storage of {len(storage)}")
        if math.prod(shape) > len(storage):  # steps of 0 repeat: a few bytes would become any memory
            self.fail(f"a tensor of shape {shape} from a storage of {len(storage)}")
        steps = [step * storage.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)

"""Files of descriptors that anybody has made: npy, npz, parquet, CSV, HDF5 and JSON, with the names of their faces.

Nothing is un-pickled here. Where several things could be the descriptors, the file is refused with the choices, not guessed.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import files, hdf5
from faceworkbook.descriptors.matching import FACE, IMAGE_NAMES

NAMES = (FACE, *IMAGE_NAMES, "id", "ids", "face_ids", "images", "image_paths", "paths", "files", "filenames")
VALUES = ("descriptor", "embedding", "feature", "vector")
NUMBERED = re.compile(r"(.*?)(\d+)")
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".p")
NO_PICKLE = (
    "is a pickle, which runs what is written in it when it is opened; it is not read here. Write the numbers in the program "
    "that made it: numpy.save('descriptors.npy', numpy.stack(vectors)), and their pictures' paths, one a line in the same "
    "order, in descriptors.txt beside it"
)
SHOWN = 12


class VectorFileError(ValueError):
    """A file of descriptors that cannot be read; the text names it, what it holds and what to give."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """What a file holds.

    Attributes
    ----------
    matrix : ndarray of shape (n, d), float; may be memory-mapped
        A row that is no descriptor (wrong width, none) holds NaN.
    names : pandas.Series of n texts, or None
        What names the face of each row; None where the file does not say it.
    key : str
        Where they come from, such as "column 'image'".
    values : str
        Where the numbers come from, such as "columns e0 to e511".
    odd : dict of int to str
        Why a row is no descriptor.
    """

    matrix: np.ndarray
    names: pd.Series | None
    key: str
    values: str
    odd: dict[int, str]


def read(path: str | Path, *, ids: str = "", values: str = "") -> Vectors:
    """Read a file of descriptors.

    Parameters
    ----------
    path : str or Path
        ``.npy`` (n, d); ``.npz`` and HDF5 with an array (n, d); parquet, CSV, JSON records with a column of lists or
        with numbered columns.
    ids : str
        Column or array that names the faces; empty for one that bears a usual name.
    values : str
        Column, array, or the common start of numbered columns; empty for the only ones that there are.

    Raises
    ------
    VectorFileError
        No such file, another format, a pickle; no descriptors, or several things that could be.
    """
    path = Path(path)
    if not path.is_file():
        raise VectorFileError(f"no file of descriptors at {path}; give npy, npz, parquet, CSV, HDF5 or JSON")
    if path.suffix.lower() in PICKLES:
        raise VectorFileError(f"{path} {NO_PICKLE}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise VectorFileError(
            f"{path}: {path.suffix!r} is none of {', '.join(_READERS)}; save it as one of these"
        )
    try:
        return reader(path, ids, values)
    except VectorFileError:
        raise
    except Exception as error:  # damaged files raise half a dozen types
        reason = " ".join(str(error).split())[:300]
        raise VectorFileError(
            f"{path} {NO_PICKLE}"
            if "allow_pickle" in reason or "Python objects" in reason
            else f"{path} cannot be read ({reason}); save it again"
        ) from error


def read_names(path: str | Path, *, ids: str = "") -> pd.Series:
    """Read what names the faces, one a row: a text file of lines, a column of a table, a list in JSON, an array.

    Raises
    ------
    VectorFileError
        It has several columns and none of a usual name, or cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() in (".npy", ".npz", ".h5", ".hdf5"):
        arrays = {"": _load(path)} if path.suffix.lower() == ".npy" else _arrays(path)
        names = {
            key: array for key, array in arrays.items() if array.dtype.kind in "SUiO" and array.ndim == 1
        }
        key = _choose_key(names, ids, path) if len(names) != 1 else next(iter(names))
        return _texts(names[key])
    if path.suffix.lower() == ".txt":
        return _texts(pd.Series(path.read_text(encoding="utf-8-sig").splitlines(), dtype=object))
    try:
        table = _read_table(path)
    except ValueError as error:
        raise VectorFileError(
            f"{path} cannot be read ({' '.join(str(error).split())[:300]}); save it again"
        ) from error
    key = table.columns[0] if table.shape[1] == 1 and not ids else _choose_key(table, ids, path)
    return _texts(table[key])


def _choose_key(named, ids: str, path: Path) -> str:
    """Return the column or array that names the faces."""
    key = _find_key(named, ids, path)
    if not key:
        raise VectorFileError(
            f"{path} has {_listed(named)}, none of which names the faces; say which one does with ids=NAME"
        )
    return key


def _find_key(named, ids: str, path: Path) -> str:
    columns = {str(name).casefold(): name for name in reversed([*named])}
    if ids:
        if ids not in named:
            raise VectorFileError(f"{path} has no {ids!r} (ids); it has {_listed(named)}")
        return ids
    return next((columns[name] for name in NAMES if name in columns), "")


def _listed(named) -> str:
    names = [str(name) for name in named]
    return (
        ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        or "nothing"
    )


def _texts(values) -> pd.Series:
    """Return names as text: 12.0 is 12, bytes are UTF-8, empty where there is none."""
    series = pd.Series(values).reset_index(drop=True)
    if pd.api.types.is_float_dtype(series.dtype) and (series.dropna() % 1 == 0).all():
        series = series.astype("Int64")
    known = series.notna()
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v).strip() for v in series]
    return pd.Series(texts, dtype=object).where(known, "")


# --------------------------------------------------------------------------- arrays


def _load(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_npy(path: Path, ids: str, values: str) -> Vectors:
    if values:
        raise VectorFileError(f"values={values!r}: {path} holds one array without a name; leave values empty")
    return Vectors(_check_matrix(_load(path), path), None, "", "the array", {})


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of an npz or HDF5 file by name."""
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    import h5py

    arrays: dict[str, np.ndarray] = {}
    with hdf5.open_file(path, error=VectorFileError) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) and item.ndim else None
            )
        )
    return arrays


def _read_arrays(path: Path, ids: str, values: str) -> Vectors:
    arrays = _arrays(path)
    fitting = [name for name, array in arrays.items() if array.ndim > 1 and array.dtype.kind in "fiu"]
    if values and values not in arrays:
        raise VectorFileError(f"{path} has no {values!r} (values); it has {_listed(arrays)}")
    if not values and len(fitting) != 1:
        raise VectorFileError(
            f"{path} has {_listed(fitting) if fitting else _listed(arrays)}; say which array holds the descriptors (n, d) "
            "with values=NAME"
        )
    name = values or fitting[0]
    matrix = _check_matrix(arrays.pop(name), path, name)
    key = _find_key(arrays, ids, path)
    names = _texts(arrays[key]) if key else None
    return Vectors(matrix, names, f"array {key!r}" if key else "", f"array {name!r}", {})


def _check_matrix(array: np.ndarray, path: Path, name: str = "") -> np.ndarray:
    where = f"{path}, array {name!r}," if name else str(path)
    if array.dtype.kind not in "fiu":
        raise VectorFileError(f"{where} holds {array.dtype}, expected numbers of shape (n, d)")
    if array.ndim > 2 and sum(size > 1 for size in array.shape[1:]) <= 1:
        array = array.reshape(len(array), -1)  # (n, 1, d) and (n, d, 1, 1), as networks hand them out
    if array.ndim != 2 or not array.size:
        raise VectorFileError(
            f"{where} has the shape {array.shape}, expected (n, d): one row a face; average or flatten maps first"
        )
    return array


# --------------------------------------------------------------------------- tables


def _read_table(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        table = files.read_parquet(path)
        named = not isinstance(table.index, pd.RangeIndex) and table.index.name not in table
        return table.reset_index() if named else table
    return _read_json(path) if suffix in (".json", ".jsonl", ".ndjson") else _read_csv(path)


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        delimiter = max(",;\t|", key=first.count)
        cells = next(csv.reader([first], delimiter=delimiter), [])
    bare = len(cells) > 1 and all(_is_number(cell) for cell in cells[1:])
    # Names are read as text: 0012 is not 12. The first column of a file without a header is one where it holds words.
    texts = [0] if bare else [c for c in cells if c.casefold() in NAMES]
    texts = [] if bare and _is_number(cells[0]) else texts
    table = pd.read_csv(
        path, sep=delimiter, header=None if bare else 0, encoding="utf-8-sig", dtype=dict.fromkeys(texts, str)
    )
    if bare:
        table.columns = [str(i) for i in table.columns]
        table = table.rename(columns={"0": "image"} if texts else {})
    return table


def _is_number(text: str) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return False


def _read_json(path: Path) -> pd.DataFrame:
    text = path.read_text(encoding="utf-8-sig").strip()
    lines = path.suffix.lower() != ".json"
    content = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    if isinstance(content, dict) and content and all(isinstance(v, list) for v in content.values()):
        entries = [entry for entries in content.values() for entry in entries]
        if entries and all(isinstance(entry, dict) for entry in entries):
            content = entries  # folds of records, as arXiv 2108.08186 keeps them
        elif all(isinstance(entry, int | float) for entry in entries):
            content = [{"image": name, "embedding": vector} for name, vector in content.items()]
        else:
            return pd.DataFrame(content)
    if not isinstance(content, list):
        raise VectorFileError(
            f"{path} holds {type(content).__name__}; expected a list of records or of names"
        )
    # DeepFace gives a list of faces for each picture.
    flat = [one for entry in content for one in (entry if isinstance(entry, list) else [entry])]
    return pd.DataFrame(flat) if flat and isinstance(flat[0], dict) else pd.DataFrame({"image": flat})


def _read_columns(path: Path, ids: str, values: str) -> Vectors:
    table = _read_table(path)
    if table.empty:
        raise VectorFileError(f"{path} holds no row; give one a face")
    table.columns = [str(name) for name in table.columns]
    key = _find_key(table, ids, path)
    names = _texts(table[key]) if key else None
    columns = _choose_columns(table.drop(columns=[key] if key else []), values, path)
    if len(columns) == 1:
        matrix, odd = _stack(table[columns[0]], path)
        where = f"column {columns[0]!r}"
    else:
        numbers = table[columns].apply(pd.to_numeric, errors="coerce")
        matrix, odd = numbers.to_numpy(dtype=float), {}
        where = f"columns {columns[0]} to {columns[-1]}"
    return Vectors(matrix, names, f"column {key!r}" if key else "", where, odd)


def _choose_columns(table: pd.DataFrame, values: str, path: Path) -> list[str]:
    """Return one column of lists, or the numbered columns of one start, in the order of their numbers."""
    lists = [name for name in table if _is_vector(table[name])]
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in table:
        match = NUMBERED.fullmatch(name)
        if match and name not in lists:
            numbered.setdefault(match[1], []).append((int(match[2]), name))
    runs = {start: [name for _, name in sorted(names)] for start, names in numbered.items() if len(names) > 1}
    choices = {**{name: [name] for name in lists}, **runs}
    if values:
        if values not in choices:
            raise VectorFileError(
                f"{path} has no column of lists and no numbered columns {values!r} (values); there are {_listed(choices)}"
            )
        return choices[values]
    usual = [name for name in choices if name.casefold().rstrip("s_") in VALUES]
    chosen = usual if len(usual) == 1 else [*choices]
    if len(chosen) != 1:
        what = (
            f"has {len(chosen)} things that could be the descriptors: {_listed(map(repr, chosen))}"
            if chosen
            else (f"has the columns {_listed(table)}: no column of lists and no numbered ones (e0, e1, ...)")
        )
        raise VectorFileError(
            f"{path} {what}; say which with values=NAME, the column or the start of the numbered ones"
        )
    return choices[chosen[0]]


def _is_vector(column: pd.Series) -> bool:
    known = column.dropna()
    return bool(len(known)) and _numbers(known.iloc[0]) is not None


def _numbers(cell) -> np.ndarray | None:
    """Return a cell's list of numbers, also where it is written as text '[0.1, 0.2]'; None where it holds none."""
    if isinstance(cell, str):
        if not (cell.startswith("[") and cell.endswith("]")):
            return None
        cell = cell[1:-1].replace(",", " ").split()
    elif not isinstance(cell, list | tuple | np.ndarray):
        return None
    try:
        return np.asarray(cell, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        return None


def _stack(column: pd.Series, path: Path) -> tuple[np.ndarray, dict[int, str]]:
    rows = [_numbers(cell) for cell in column]
    widths = [len(row) for row in rows if row is not None and len(row)]
    if not widths:
        raise VectorFileError(f"{path}: column {column.name!r} holds no list of numbers")
    width = int(np.bincount(widths).argmax())
    matrix, odd = np.full((len(rows), width), np.nan, np.float32), {}
    for number, row in enumerate(rows):
        if row is None or not len(row):
            odd[number] = "no numbers"
        elif len(row) != width:
            odd[number] = f"{len(row):,} numbers where the others have {width:,}"
        else:
            matrix[number] = row
    return matrix, odd


_READERS: dict[str, Callable[[Path, str, str], Vectors]] = {
    ".npy": _read_npy,
    **dict.fromkeys((".npz", ".h5", ".hdf5"), _read_arrays),
    **dict.fromkeys((".parquet", ".pq", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson"), _read_columns),
}

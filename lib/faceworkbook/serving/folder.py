"""The folder of a predictor: written whole, checked whole, read without running anything that is in it.

``predictor.json``
    ``format`` (1), ``title``, ``networks`` (`describing.Network`, side by side), ``detection``
    (`photos.Detection`), ``framing`` (`framing.Framing`), ``head`` (`head.Head` without its arrays), ``tasks`` (one
    `answers.Answering` a task, in order), ``unlike`` (flagged), ``made`` (data, split, code, versions, figures, terms:
    for people), ``files`` (SHA-256 of every other file), ``checksum`` (of all this).
``head.npz``
    Arrays of the head and of the training faces' spread (`spread.Spread`); float32 and float16, never pickled.
``head.keras`` or ``head-TASK.keras``
    The same head for people who use Keras; the predictor never opens it.
``network.onnx``
    The network, where it was fine-tuned; else it is known by SHA-256 and lies elsewhere.
``card.md``, ``card.html``
    What it is for and what not, figures by group, terms.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from faceworkbook import files
from faceworkbook.serving.checks import PredictorError, check_kind, check_text, shorten

FORMAT = 1
RECORD, ARRAYS = "predictor.json", "head.npz"
MAX_RECORD, MAX_ARRAYS = 2**23, 2**29  # bytes, the arrays unpacked
MAX_FILES = 100
KEYS = (
    *("format", "title", "networks", "detection", "framing", "head", "tasks", "unlike", "made"),
    *("files", "checksum"),
)
_AGAIN = "copy the whole folder again, or run the step that writes it"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,120}", re.ASCII)


def write(
    folder: Path, record: Mapping, arrays: Mapping[str, np.ndarray], contents: Mapping[str, bytes | str]
) -> Path:
    """Write a predictor's folder; ``predictor.json`` last, so that no reader takes half of it for whole.

    Parameters
    ----------
    folder : path
        Files of an earlier predictor in it go.
    record : mapping
        ``predictor.json`` without ``format``, ``files`` and ``checksum``.
    arrays : mapping of str to ndarray
    contents : mapping of str to bytes or str
        Further files by name.
    """
    folder = Path(folder)
    for name in read_names(folder):
        (folder / name).unlink(missing_ok=True)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    every = {ARRAYS: packed.getvalue(), **contents}
    for name, content in every.items():
        files.write_beside(folder / name, content)
    digests = {name: hash_bytes(c.encode() if isinstance(c, str) else c) for name, c in every.items()}
    whole = json.loads(json.dumps({"format": FORMAT, **record, "files": digests}, default=files.plain))
    files.write_json(folder / RECORD, {**whole, "checksum": checksum(whole)})
    return folder


def read_names(folder: Path) -> list[str]:
    """Return the names of the files that the predictor in `folder` consists of; empty where there is none."""
    try:
        names = [*files.parse_json((folder / RECORD).read_bytes())["files"], RECORD]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if _PLAIN_NAME.fullmatch(str(name))]


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def checksum(record: Mapping) -> str:
    """Return the SHA-256 of a record without its checksum."""
    values = {name: value for name, value in record.items() if name != "checksum"}
    return hash_bytes(json.dumps(values, sort_keys=True).encode())


def read(folder: str | Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Read ``predictor.json`` and the arrays; every file must be the one that was written.

    Raises
    ------
    PredictorError
        No predictor, a damaged or changed file, one of another version, names that lead out of the folder.
    """
    folder = Path(folder)
    record = read_record(folder)
    digests = check_kind(record["files"], dict, f"{folder / RECORD}: files")
    if ARRAYS not in digests or len(digests) > MAX_FILES:
        raise PredictorError(
            f"{folder / RECORD} names {len(digests)} files; expected {ARRAYS} and at most {MAX_FILES}"
        )
    for name, digest in digests.items():
        _check_file(folder, name, digest)
    return record, _read_arrays(folder / ARRAYS)


def read_record(folder: Path) -> dict:
    """Read ``predictor.json`` alone: its keys, version and checksum are checked."""
    path = folder / RECORD
    if not path.is_file():
        raise PredictorError(
            f"{folder} holds no {RECORD}; give a folder that a run wrote, such as results/EXPERIMENT/03_classifier/predictor"
        )
    if path.stat().st_size > MAX_RECORD:
        raise PredictorError(
            f"{path} has {path.stat().st_size:,} bytes; at most {MAX_RECORD:,} are read; {_AGAIN}"
        )
    record = files.read_json(path, PredictorError, advice=_AGAIN)
    if record.get("format") != FORMAT:
        raise PredictorError(
            f"{path}: format={shorten(record.get('format'))}; this version reads format {FORMAT}"
        )
    if set(record) != set(KEYS):
        off = sorted(set(KEYS) ^ set(record))
        raise PredictorError(f"{path}: keys {shorten(off)} are missing or unknown; {_AGAIN}")
    if record["checksum"] != checksum(record):
        raise PredictorError(
            f"{path} was changed after it was written: its checksum is another one; {_AGAIN}"
        )
    check_text(record["title"], "title")
    return record


def _check_file(folder: Path, name: str, digest) -> None:
    if not _PLAIN_NAME.fullmatch(name):
        raise PredictorError(
            f"{folder / RECORD} names the file {shorten(name)}; allowed are plain names in the folder"
        )
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise PredictorError(f"{path} is missing or a link; {_AGAIN}")
    with path.open("rb") as file:
        now = hashlib.file_digest(file, "sha256").hexdigest()
    if now != digest:
        raise PredictorError(f"{path} is not the file that was written: its SHA-256 is another one; {_AGAIN}")


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    # What a zip file's directory says is checked before anything is unpacked.
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > MAX_ARRAYS:
            raise PredictorError(
                f"{path} unpacks to {size:,} bytes; at most {MAX_ARRAYS:,} are read; {_AGAIN}"
            )
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, MemoryError) as error:
        if isinstance(error, PredictorError):
            raise
        raise PredictorError(f"{path} is damaged ({error}); {_AGAIN}") from error
    for name, values in arrays.items():
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise PredictorError(
                f"{path}: the array {shorten(name)} holds {values.dtype}, or values that are not finite"
            )
    return arrays

"""The whole state of a training run in one file that knows, by content, which run it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xxhash

from faceworkbook.files import hash_values, open_beside, plain

BLOCK = 4096  # rows that are in memory at once while they are hashed
ADVICE = "delete it to start anew, or give this run a folder of its own"


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; the text says why and what to do."""


def write(path: str | Path, *, identity: dict, arrays: dict[str, Sequence[np.ndarray]], record: dict) -> None:
    """Write groups of arrays and a record to `path` (.npz); the old file stays until the new is whole.

    Parameters
    ----------
    path : path
    identity : dict
        What the run is known by, in JSON's types: fingerprints of data and weights, settings, tasks.
    arrays : dict of str to sequence of ndarray
    record : dict
        Anything else that JSON knows, such as the history.
    """
    named = {f"{group}:{i:05d}": a for group, members in arrays.items() for i, a in enumerate(members)}
    text = json.dumps({"identity": identity, "record": record}, default=plain)
    with open_beside(path) as beside, beside.open("wb") as file:
        np.savez(file, record=np.frombuffer(text.encode(), np.uint8), **named)


def read(
    path: str | Path, *, identity: dict, groups: Iterable[str], keys: Iterable[str] = ()
) -> tuple[dict[str, list[np.ndarray]], dict]:
    """Return the groups of arrays and the record that `write` wrote for a run with this identity.

    Parameters
    ----------
    groups, keys : iterables of str
        Groups of arrays, and keys of the record, that the file must hold.

    Raises
    ------
    CheckpointError
        The file is damaged, or belongs to another run; the text names what differs.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            saved = json.loads(file["record"].tobytes())
            arrays: dict[str, list[np.ndarray]] = {name: [] for name in groups}
            for name in sorted(name for name in file.files if ":" in name):
                arrays.setdefault(name.partition(":")[0], []).append(file[name])
        record, known_by = dict(saved["record"]), dict(saved["identity"])
        lacking = [key for key in keys if key not in record]
    # Damage shows as whatever zipfile, NumPy and json make of flipped bytes: some ten kinds of errors.
    except Exception as error:
        raise CheckpointError(f"{path} is no whole checkpoint ({error}); {ADVICE}") from error
    if lacking:
        raise CheckpointError(f"{path} is no whole checkpoint, it lacks {lacking}; {ADVICE}")
    differences = _differences(known_by, json.loads(json.dumps(identity, default=plain)))
    if differences:
        raise CheckpointError(f"{path} belongs to another run ({'; '.join(differences)}); {ADVICE}")
    return arrays, record


def _differences(there, here, name: str = "") -> list[str]:
    """Say what differs between two records, such as 'settings.epochs is 3 there, 5 here'."""
    if there == here:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        prefix = f"{name}." if name else ""
        keys = [*here, *(key for key in there if key not in here)]
        return [d for key in keys for d in _differences(there.get(key), here.get(key), f"{prefix}{key}")]
    if max(len(str(there)), len(str(here))) > 40 or _is_hash(there, here):
        return [f"{name} differs"]
    return [f"{name} is {there!r} there, {here!r} here"]


def _is_hash(*values) -> bool:
    return all(isinstance(v, str) and len(v) == 32 and set(v) <= set("0123456789abcdef") for v in values)


def values_of(variables: Iterable) -> list[np.ndarray]:
    """Return copies of the values of Keras variables."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence, values: Sequence[np.ndarray]) -> None:
    """Put saved values into variables, after checking number and shapes."""
    if [tuple(v.shape) for v in variables] != [a.shape for a in values]:
        raise CheckpointError(
            f"the checkpoint holds {len(values)} arrays that do not fit the {len(variables)} variables of this "
            f"net; was it written by another net? {ADVICE.capitalize()}"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def fingerprint_weights(variables: Iterable) -> str:
    """Return one hash of the values of Keras variables, one after the other in memory."""
    return hash_values(*(hash_values(np.asarray(variable.numpy())) for variable in variables))


def fingerprint_rows(source, rows: np.ndarray) -> str:
    """Return the hash of some rows of `source`, never more than a block of them in memory.

    Parameters
    ----------
    source : ndarray of shape (n, ...), may be memory-mapped, or an object with ``fingerprint``
        A text stands for all of its content; a method takes the rows.
    rows : ndarray of int
    """
    rows, known = np.unique(rows), getattr(source, "fingerprint", None)
    if known is not None:
        return known(rows) if callable(known) else hash_values(known, rows)
    digest = xxhash.xxh3_128(hash_values(rows))
    for start in range(0, len(rows), BLOCK):
        block = np.ascontiguousarray(source[rows[start : start + BLOCK]])
        digest.update(f"{block.dtype.str}{block.shape}")
        digest.update(block)
    return digest.hexdigest()

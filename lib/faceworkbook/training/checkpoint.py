"""The whole state of a training run in one file, written beside and renamed: a kill loses one epoch at most."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; the text says why and what to do."""


def write(path: str | Path, *, arrays: dict[str, list[np.ndarray]], record: dict) -> Path:
    """Write groups of arrays and a JSON record to `path` (.npz); the old file stays until the new is whole."""
    path = Path(path)
    named = {f"{group}:{i:05d}": a for group, members in arrays.items() for i, a in enumerate(members)}
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        np.savez(file, record=np.frombuffer(json.dumps(record).encode(), np.uint8), **named)
        file.flush()
        os.fsync(file.fileno())
    return beside.replace(path)


def read(path: str | Path) -> tuple[dict[str, list[np.ndarray]], dict]:
    """The groups of arrays and the record that `write` wrote."""
    try:
        with np.load(path, allow_pickle=False) as file:
            record = json.loads(file["record"].tobytes())
            names = sorted(name for name in file.files if ":" in name)
            arrays: dict[str, list[np.ndarray]] = {}
            for name in names:
                arrays.setdefault(name.partition(":")[0], []).append(file[name])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is no checkpoint ({error}); delete it to start anew") from error
    return arrays, record


def check(path: str | Path, *, found: dict, expected: dict) -> None:
    """Refuse a checkpoint of another run; `CheckpointError` names what differs."""
    different = [key for key in expected if found.get(key) != expected[key]]
    if different:
        shown = {key: (found.get(key), expected[key]) for key in different}
        raise CheckpointError(
            f"{path} belongs to another run; (there, here) differ in {shown}. Delete it to start anew, or "
            "give this run a folder of its own"
        )


def assign(variables: list, values: list[np.ndarray]) -> None:
    """Put saved values into variables, after checking number and shapes."""
    if [tuple(v.shape) for v in variables] != [a.shape for a in values]:
        raise CheckpointError(
            f"the checkpoint holds {len(values)} arrays that do not fit the {len(variables)} variables of this "
            "net; was it written by another net? Delete it to start anew"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)

"""``manifest.json``: what a store was computed with and from, and the checksums of its files."""

from __future__ import annotations

import json
from pathlib import Path

from faceworkbook import files
from faceworkbook.descriptors.layout import AGAIN, JOURNAL, MANIFEST, MATRIX, NoStore, StoreError, locate

FORMAT = 2


def write(folder: Path, record: dict) -> None:
    """Write the manifest with a checksum of its own."""
    content = json.loads(json.dumps({"format": FORMAT, **record}, default=files.plain))
    files.write_json(folder / MANIFEST, {**content, "checksum": files.hash_values(content)})


def read(folder: Path) -> dict:
    """Return the manifest of the finished store in `folder`.

    Raises
    ------
    NoStore
        There is none, or one of an earlier version.
    StoreError
        The manifest is damaged.
    """
    path = locate(folder, MANIFEST)
    if not path.exists():
        raise NoStore(f"{folder}: {_describe_absence(folder)}")
    record = files.read_json(path, StoreError, advice=AGAIN)
    if "format" not in record and "recipe" in record:
        raise NoStore(
            f"{folder}: the store was written by an earlier version, without checksums; extract again"
        )
    if record.get("format") != FORMAT:
        raise StoreError(f"{path}: format={record.get('format')!r}, expected {FORMAT}; {AGAIN}")
    checksum = record.pop("checksum", None)
    if checksum != files.hash_values(record):
        raise StoreError(f"{path} was changed after it was written: its checksum is another one; {AGAIN}")
    return record


def read_previous(folder: Path) -> dict:
    """Return the manifest of the finished store; empty where there is none."""
    try:
        return read(folder)
    except NoStore:
        return {}


def _describe_absence(folder: Path) -> str:
    if (folder / JOURNAL).exists():
        return "an unfinished run is there; extract again to go on"
    if (folder / MATRIX).exists():
        return f"{MANIFEST} is missing beside {MATRIX}; extract again"
    return "no store is there; extract first"

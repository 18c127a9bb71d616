"""Which faces of a store, or of an interrupted run, are still what they were."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import images
from faceworkbook.descriptors.batches import READERS
from faceworkbook.descriptors.journal import Journal, blocks, take
from faceworkbook.descriptors.layout import INDEX, UNREADABLE
from faceworkbook.descriptors.store import BOX, STAMP, Store, find

BAD, STALE = -1, -2  # in place of a row of the store


def match(
    store: Store, asked: pd.DataFrame, root: Path, *, trust_times: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Look up faces in a finished store.

    Parameters
    ----------
    store : Store
    asked : pandas.DataFrame
        face_id, image and box.
    root : Path
        Folder of the pictures.
    trust_times : bool
        A file of the same size and times counts as unchanged. Of another root every file is compared by content.

    Returns
    -------
    rows : ndarray of shape (n,), int64
        For each face asked for its row there; BAD where it could not be read and is what it was; STALE
        where it must be computed.
    others : ndarray, int64
        Rows of faces that are not asked for.
    """
    rows, others = np.full(len(asked), STALE), np.zeros(0, np.int64)
    for name in (INDEX, UNREADABLE):
        places = find(store.texts(name), among=asked["face_id"].array)
        if name == INDEX:
            others = np.flatnonzero(places < 0)
        for first, block in store.blocks(name):
            place = places[first : first + len(block)]
            there = np.flatnonzero(place >= 0)
            there = there[_same(block.iloc[there], take(asked, place[there]), root, trust_times)]
            rows[place[there]] = first + there if name == INDEX else BAD
    return rows, others


def still_true(journal: Journal, root: Path, n: int) -> np.ndarray:
    """Return which rows of the plan stand in a journal and, among the first `n`, have not changed on disk since."""
    # A picture may change between the run that was cut off and this one.
    entries = journal.read_entries()
    for block in blocks(n):
        rows = block.start + np.flatnonzero(entries.done[block])
        stamps = entries.stamps[rows]
        columns = [stamps["content_hash"].astype(str), *(stamps[name] for name in STAMP[1:])]
        entries.done[rows] = _files_unchanged(root, journal.plan["image"].iloc[rows], columns, True)
    return entries.done


def _same(known: pd.DataFrame, asked: pd.DataFrame, root: Path, trust_times: bool) -> np.ndarray:
    same = known["image"].to_numpy(object) == asked["image"].to_numpy(object)
    same &= _same_boxes(known, asked)
    stamps = [known.loc[same, name].to_numpy() for name in STAMP]
    same[same] = _files_unchanged(root, known.loc[same, "image"], stamps, trust_times)
    return same


def _same_boxes(a: pd.DataFrame, b: pd.DataFrame) -> np.ndarray:
    left, right = a[BOX].to_numpy(float), b[BOX].to_numpy(float)
    return ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)


def _files_unchanged(root: Path, names: pd.Series, stamps: list[np.ndarray], trust_times: bool) -> np.ndarray:
    files = list(zip(names.tolist(), *(column.tolist() for column in stamps), strict=True))
    with ThreadPoolExecutor(READERS) as executor:
        shares = executor.map(
            lambda start: [_is_unchanged(root, trust_times, *file) for file in files[start::READERS]],
            range(READERS),
        )
        same = np.empty(len(files), bool)
        for start, share in enumerate(shares):
            same[start::READERS] = share
    return same


def _is_unchanged(
    root: Path, trust_times: bool, name: str, content_hash: str, size: int, *times: int
) -> bool:
    path = os.path.join(root, name)  # noqa: PTH118  (text: a Path takes longer than the look)
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return content_hash == ""
    # The time of change (ctime) cannot be set: a copy that keeps its time of modification is still looked into.
    if trust_times and (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) == (size, *times):
        return True
    try:
        return stat.st_size == size and images.content_hash(images.read_bytes(path)) == content_hash
    except images.UnreadableImage:
        return False

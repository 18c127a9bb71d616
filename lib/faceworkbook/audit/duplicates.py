"""Copies of pictures: exact by content, near by perceptual hash and by descriptor."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm.auto import tqdm

from faceworkbook import faces as face_table
from faceworkbook import images

ALONE = -1
THREADS = 8


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Groups of faces whose pictures are copies of each other.

    Attributes
    ----------
    how : str
        The way they were found, with its threshold.
    groups : ndarray of shape (n,), int64
        Group of each row of the face table; -1 where a face is alone. Goes into
        ``splits.make(..., keep_together=...)``.
    members : pandas.DataFrame
        The rows in groups: group, face_id, image, identity and the label columns.
    unreadable : pandas.DataFrame
        Pictures that could not be compared: columns face_id, image, detail.
    """

    how: str
    groups: np.ndarray
    members: pd.DataFrame
    unreadable: pd.DataFrame

    @property
    def n_groups(self) -> int:
        """Number of groups with two faces or more."""
        return self.members["group"].nunique()

    @property
    def n_copies(self) -> int:
        """Faces that could go if one of each group stayed."""
        return len(self.members) - self.n_groups

    def conflicts(self, column: str) -> pd.DataFrame:
        """Members of the groups whose known values of `column` differ."""
        different = self.members.groupby("group")[column].nunique()
        return self.members[self.members["group"].isin(different.index[different > 1])]

    def summary(self) -> pd.DataFrame:
        """One row a label: groups, faces in them, and groups and faces that contradict each other."""
        labels = [c for c in face_table.label_columns(self.members)] if len(self.members) else []
        rows = [
            {
                "label": column,
                "groups": self.n_groups,
                "faces": len(self.members),
                "contradicting groups": self.conflicts(column)["group"].nunique(),
                "contradicting faces": len(self.conflicts(column)),
            }
            for column in ["identity", *labels]
        ]
        return pd.DataFrame(rows)


def exact_duplicates(faces: pd.DataFrame, root: str | Path, *, threads: int = THREADS) -> Duplicates:
    """Find pictures with the same bytes (and the same face box).

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    root : str or Path
        Folder that its ``image`` paths are relative to.
    threads : int
        Files read at a time.

    Returns
    -------
    Duplicates
        Files that cannot be opened are listed in ``unreadable`` and stand alone.
    """
    paths = [Path(root) / image for image in faces["image"]]
    results = _each(_hash_file, paths, threads=threads, text="content hashes", unit="file")
    hashes = pd.Series([value for value, _ in results], dtype=object, index=faces.index)
    keys = hashes.fillna("").str.cat(
        [faces[side].astype("string").fillna("") for side in face_table.BOX], sep=" "
    )
    codes = np.where(hashes.isna(), ALONE, pd.factorize(keys)[0])
    return _collect("same bytes and box", faces, codes, _unreadable(faces, results))


def _hash_file(path: Path) -> tuple[str | None, str]:
    try:
        return images.content_hash(images.read_bytes(path)), ""
    except images.UnreadableImage as error:
        return None, str(error)


def _each(function, items: list, *, threads: int, text: str, unit: str) -> list:
    with ThreadPoolExecutor(threads) as pool:
        return list(tqdm(pool.map(function, items), total=len(items), desc=text, unit=unit, leave=False))


def _unreadable(faces: pd.DataFrame, results: Iterable[tuple[object, str]]) -> pd.DataFrame:
    problems = [(row, detail) for row, (value, detail) in enumerate(results) if value is None]
    table = faces[["face_id", "image"]].iloc[[row for row, _ in problems]].reset_index(drop=True)
    return table.assign(detail=[detail for _, detail in problems])


def _collect(how: str, faces: pd.DataFrame, codes: np.ndarray, unreadable: pd.DataFrame) -> Duplicates:
    sizes = np.bincount(codes[codes != ALONE], minlength=codes.max(initial=0) + 1)
    groups = _renumber(np.where((codes != ALONE) & (sizes[codes] > 1), codes, ALONE))
    columns = ["face_id", "image", "identity", "split", *face_table.CLASS_LABELS, *face_table.NUMBER_LABELS]
    members = faces[columns].iloc[np.flatnonzero(groups != ALONE)]
    members.insert(0, "group", groups[groups != ALONE])
    members = members.sort_values("group", kind="stable").reset_index(drop=True)
    return Duplicates(how, groups, members, unreadable)


def join(*found: Duplicates | np.ndarray) -> np.ndarray:
    """Groups of rows that any of `found` ties, ndarray of shape (n,), int64, -1 where alone."""
    arrays = [f.groups if isinstance(f, Duplicates) else np.asarray(f) for f in found]
    n = len(arrays[0])
    rows, nodes, offset = [], [], n
    for groups in arrays:
        tied = np.flatnonzero(groups != ALONE)
        rows.append(tied)
        nodes.append(offset + groups[tied])
        offset += int(groups.max(initial=0)) + 1
    first, second = np.concatenate(rows), np.concatenate(nodes)
    edges = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(offset, offset))
    component = connected_components(edges, directed=False)[1][:n]
    sizes = np.bincount(component)
    return _renumber(np.where(sizes[component] > 1, component, ALONE))


def _renumber(groups: np.ndarray) -> np.ndarray:
    tied = groups != ALONE
    renumbered = np.full(len(groups), ALONE, dtype=np.int64)
    renumbered[tied] = np.unique(groups[tied], return_inverse=True)[1]
    return renumbered

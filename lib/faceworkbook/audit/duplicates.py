"""Copies of pictures: exact by content, near by perceptual hash, and near by descriptor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from faceworkbook import faces as face_table
from faceworkbook import images, row_groups
from faceworkbook.audit.close_hashes import close_pairs
from faceworkbook.row_groups import ALONE

THREADS = max(2, os.cpu_count() or 2)

# Measured on copies of UTKFace and agegender_cleaned, shrunk to .3 and JPEG quality 50: at most 10
# of 64 bits differ, and the thumbnails of 98 % correlate above .97; pairs of other photos do not.
MAX_BITS = 10
MIN_CORRELATION = 0.97
# Above this the embedded default's descriptors show one photo (recut, relit, mirrored) or one burst.
MIN_COSINE = 0.95

THUMBNAIL = 24
FLAT = 2.0
# A box is compared with its surroundings: its own edges are rounded to pixels.
BOX_MARGIN = 0.4
BLOCK_PAIRS = 2**24


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Groups of faces whose pictures are copies of each other.

    Attributes
    ----------
    how : str
        How they were searched for, with the threshold.
    groups : ndarray of shape (n,), int64
        Group of each row of the face table; -1 where a face is alone. Goes into
        ``splits.make(..., keep_together=...)``.
    members : pandas.DataFrame
        The rows in groups: group, face_id, image, identity, split and the label columns.
    pairs : pandas.DataFrame
        The pairs that made the groups: positions ``first`` and ``second``, and their ``likeness``.
    unreadable : pandas.DataFrame
        Pictures that could not be compared: columns face_id, image, detail.
    """

    how: str
    groups: np.ndarray
    members: pd.DataFrame
    pairs: pd.DataFrame
    unreadable: pd.DataFrame

    @property
    def n_groups(self) -> int:
        """Number of groups with two faces or more."""
        return self.members["group"].nunique()

    @property
    def n_copies(self) -> int:
        """Faces that could go if one of each group stayed."""
        return len(self.members) - self.n_groups

    def chains(self) -> pd.DataFrame:
        """List the groups that only a chain holds together: some two of their faces are no copies of each other.

        Returns
        -------
        pandas.DataFrame
            group, faces, pairs (copies), of (all pairs there could be); faces that look exactly the same
            count once. The largest group first.
        """
        first, second = (self.pairs[end].to_numpy(int) for end in ("first", "second"))
        same = self.pairs["likeness"].to_numpy() >= 1
        nodes = row_groups.components(first[same], second[same], len(self.groups))
        ends = np.sort(np.column_stack([nodes[first], nodes[second]]), axis=1)
        edges = pd.DataFrame(ends, columns=["one", "other"]).assign(group=self.groups[first])
        edges = edges[edges["one"] != edges["other"]].drop_duplicates()
        tied = edges.melt(id_vars="group", value_vars=["one", "other"], value_name="node")
        faces = tied.groupby("group")["node"].nunique()
        table = pd.DataFrame({"faces": faces, "pairs": edges.groupby("group").size()})
        table["of"] = table["faces"] * (table["faces"] - 1) // 2
        table = table[table["pairs"] < table["of"]].reset_index()
        return table.sort_values("faces", ascending=False, kind="stable", ignore_index=True)

    def among(self, faces: pd.DataFrame, before: pd.DataFrame) -> Duplicates:
        """Return the copies among `faces`, which are some of the faces `before` of this table, with other labels perhaps."""
        rows = pd.Index(before["face_id"]).get_indexer(faces["face_id"])
        place = np.full(len(before), -1)
        place[rows] = np.arange(len(rows))
        moved = self.pairs.assign(
            **{end: place[self.pairs[end].to_numpy(int)] for end in ("first", "second")}
        )
        pairs = moved[(moved["first"] >= 0) & (moved["second"] >= 0)].reset_index(drop=True)
        unreadable = self.unreadable[self.unreadable["face_id"].isin(faces["face_id"])].reset_index(drop=True)
        return _collect(self.how, faces, row_groups.renumber(self.groups[rows]), pairs, unreadable)

    def conflicts(self, column: str) -> pd.DataFrame:
        """Members of the groups whose known values of `column` differ, numbers by more than the copies' noise."""
        return self.members[row_groups.contradictions(self.members[column], self.members["group"])]

    def summary(self) -> pd.DataFrame:
        """One row a label: groups, faces in them, and groups and faces that contradict each other."""
        rows = []
        labels = face_table.label_columns(self.members.drop(columns="group"))
        for column in ["identity", *labels]:
            conflicts = self.conflicts(column)
            rows.append(
                (column, self.n_groups, len(self.members), conflicts["group"].nunique(), len(conflicts))
            )
        columns = ["label", "groups", "faces", "contradicting groups", "contradicting faces"]
        return pd.DataFrame(rows, columns=columns)


# --------------------------------------------------------------------------- exact


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
    boxes = [faces[side].astype("string").fillna("") for side in face_table.BOX]
    codes = pd.factorize(hashes.fillna("").str.cat(boxes, sep=" "))[0]
    groups = row_groups.renumber(np.where(hashes.isna(), ALONE, codes))
    return _collect("same bytes and box", faces, groups, _no_pairs(), _unreadable(faces, results))


def _hash_file(path: Path) -> tuple[str | None, str]:
    try:
        return images.content_hash(images.read_bytes(path)), ""
    except images.UnreadableImage as error:
        return None, str(error)


# --------------------------------------------------------------------------- near, by looks


def near_duplicates(
    faces: pd.DataFrame,
    root: str | Path,
    *,
    max_bits: int = MAX_BITS,
    min_correlation: float = MIN_CORRELATION,
    threads: int = THREADS,
) -> Duplicates:
    """Find pictures that look alike: resized, re-encoded or slightly retouched copies.

    Pairs whose 64-bit perceptual hashes (imagehash's DCT hash) differ in few bits are candidates;
    a pair is kept where the grey 24 x 24 thumbnails correlate too. No pair of close hashes is missed, see
    `close_hashes`; after decoding 200,000 faces take up to some 15 s.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table; a face with a box is compared within it and some margin.
    root : str or Path
    max_bits : int in 0..64
        Most bits of the hashes that may differ.
    min_correlation : float in 0..1
        Least correlation of the thumbnails.
    threads : int
        Pictures decoded at a time.

    Returns
    -------
    Duplicates
        ``likeness`` of a pair is the correlation. Exact copies are among them. Pictures that cannot
        be read, or are of one flat colour, are listed in ``unreadable``.
    """
    boxes = faces[list(face_table.BOX)].to_numpy(dtype=float, na_value=np.nan)
    work = list(zip([Path(root) / image for image in faces["image"]], boxes, strict=True))
    results = _each(_look, work, threads=threads, text="perceptual hashes", unit="face")
    seen = np.array([row for row, (value, _) in enumerate(results) if value is not None], dtype=int)
    hashes = np.array([results[row][0][0] for row in seen], dtype=np.uint64)
    thumbnails = np.array([results[row][0][1] for row in seen], dtype=np.uint8).reshape(
        len(seen), THUMBNAIL**2
    )
    first, second, likeness = compare_looks(hashes, thumbnails, max_bits, min_correlation)
    pairs = _pairs(seen[first], seen[second], likeness)
    how = f"at most {max_bits} of 64 bits differ, thumbnails correlate at least {min_correlation:g}"
    return _collect(how, faces, _tied(pairs, len(faces)), pairs, _unreadable(faces, results))


def _look(work: tuple[Path, np.ndarray]) -> tuple[tuple[int, np.ndarray] | None, str]:
    import imagehash

    path, box = work
    try:
        pixels = images.read(path)
        pixels = pixels if np.isnan(box).any() else images.crop(pixels, tuple(box), margin=BOX_MARGIN)
    except images.UnreadableImage as error:
        return None, str(error)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    if thumbnail.std() < FLAT:
        return None, f"{path}: a flat picture shows nothing to compare"
    bits = imagehash.phash(Image.fromarray(grey)).hash
    return (int.from_bytes(np.packbits(bits).tobytes(), "big"), thumbnail.ravel()), ""


def compare_looks(
    hashes: np.ndarray, thumbnails: np.ndarray, max_bits: int, min_correlation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of pictures that look alike.

    Parameters
    ----------
    hashes : ndarray of shape (n,), uint64
    thumbnails : ndarray of shape (n, p), uint8
    max_bits : int
    min_correlation : float

    Returns
    -------
    first, second : ndarray of int
        Positions.
    likeness : ndarray of float
        Correlation of the thumbnails; 1 for thumbnails that are the same, which are tied to one
        representative each.
    """
    # Pictures that look exactly the same are compared once: a thousand copies make a thousand pairs.
    _, once, same = np.unique(thumbnails, axis=0, return_index=True, return_inverse=True)
    copies = np.flatnonzero(once[same] != np.arange(len(same)))
    units = thumbnails[once].astype(np.float32)
    units -= units.mean(axis=1, keepdims=True)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    kept = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for first, second in close_pairs(hashes[once], max_bits):
        likeness = np.einsum("ij,ij->i", units[first], units[second])
        good = likeness >= min_correlation
        kept.append((first[good], second[good], likeness[good]))
    first, second, likeness = (np.concatenate(column) for column in zip(*kept, strict=True))
    order = np.lexsort((second, first))
    return (
        np.concatenate([once[same][copies], once[first[order]]]),
        np.concatenate([copies, once[second[order]]]),
        np.concatenate([np.ones(len(copies)), likeness[order]]),
    )


# --------------------------------------------------------------------------- near, by descriptor


def copies(faces: pd.DataFrame, root: str | Path, *, threads: int = THREADS) -> Duplicates:
    """Exact and near copies together: the pictures that must not stand on two sides of a split.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    root : str or Path
    threads : int
        Pictures read at a time.

    Returns
    -------
    Duplicates
        ``groups`` goes into ``splits.make(..., keep_together=...)``; ``pairs`` are the near ones.
    """
    exact = exact_duplicates(faces, root, threads=threads)
    near = near_duplicates(faces, root, threads=threads)
    how = f"{exact.how}, or {near.how}"
    return _collect(how, faces, row_groups.join(exact, near), near.pairs, near.unreadable)


def similar_descriptors(
    faces: pd.DataFrame, descriptors: np.ndarray, *, min_cosine: float = MIN_COSINE, progress: bool = True
) -> Duplicates:
    """Find faces whose descriptors nearly coincide: the same photo recut, relit or mirrored, or a burst.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table.
    descriptors : ndarray of shape (n, d), float
        In the order of `faces`; rows of NaN (faces without descriptor) are listed as unreadable.
    min_cosine : float in 0..1
        The default was set on the embedded network; look at the pairs before trusting it on another.
    progress : bool
        Show a bar.

    Returns
    -------
    Duplicates
        ``likeness`` of a pair is the cosine.

    Notes
    -----
    All pairs, by blocked matrix products: memory does not grow with n², and 100,000 faces of 1,024
    numbers take one or two minutes, so that no approximate index is needed.
    """
    if len(descriptors) != len(faces):
        raise ValueError(f"{len(descriptors)} descriptors for {len(faces)} faces; give one a row, in order")
    norm = np.linalg.norm(np.asarray(descriptors, np.float32), axis=1, keepdims=True)
    known = np.flatnonzero(np.isfinite(norm[:, 0]) & (norm[:, 0] > 0))
    units = np.asarray(descriptors, np.float32)[known] / norm[known]
    blocks = [(np.empty(0, int), np.empty(0, int), np.empty(0))]
    step = max(1, min(2048, BLOCK_PAIRS // max(len(units), 1)))
    starts = range(0, len(units), step)
    for start in tqdm(starts, desc="cosines", unit="block", leave=False, disable=not progress):
        cosines = units[start : start + step] @ units[start:].T
        rows, columns = np.nonzero(cosines >= min_cosine)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        blocks.append((known[rows + start], known[columns + start], cosines[rows, columns]))
    pairs = _pairs(*(np.concatenate(column) for column in zip(*blocks, strict=True)))
    lacking = np.setdiff1d(np.arange(len(faces)), known)
    unreadable = faces[["face_id", "image"]].iloc[lacking].assign(detail="no descriptor")
    how = f"cosine of descriptors at least {min_cosine:g}"
    return _collect(how, faces, _tied(pairs, len(faces)), pairs, unreadable.reset_index(drop=True))


# --------------------------------------------------------------------------- shared


def _each(function, items: list, *, threads: int, text: str, unit: str) -> list:
    with ThreadPoolExecutor(threads) as executor:
        return list(tqdm(executor.map(function, items), total=len(items), desc=text, unit=unit, leave=False))


def _unreadable(faces: pd.DataFrame, results: Iterable[tuple[object, str]]) -> pd.DataFrame:
    problems = [(row, detail) for row, (value, detail) in enumerate(results) if value is None]
    table = faces[["face_id", "image"]].iloc[[row for row, _ in problems]].reset_index(drop=True)
    return table.assign(detail=[detail for _, detail in problems])


def _pairs(first, second, likeness) -> pd.DataFrame:
    pairs = pd.DataFrame({"first": np.minimum(first, second), "second": np.maximum(first, second)})
    pairs["likeness"] = np.asarray(likeness, float)
    return pairs.sort_values(
        ["likeness", "first", "second"], ascending=[False, True, True], ignore_index=True
    )


def _no_pairs() -> pd.DataFrame:
    return _pairs(np.empty(0, int), np.empty(0, int), np.empty(0))


def _tied(pairs: pd.DataFrame, n: int) -> np.ndarray:
    ends = pairs["first"].to_numpy(int), pairs["second"].to_numpy(int)
    return row_groups.renumber(row_groups.components(*ends, n))


def _collect(how: str, faces: pd.DataFrame, groups: np.ndarray, pairs, unreadable) -> Duplicates:
    columns = ["face_id", "image", "identity", "split", *face_table.label_columns(faces)]
    members = faces[columns].iloc[np.flatnonzero(groups != ALONE)]
    members.insert(0, "group", groups[groups != ALONE])
    members = members.sort_values("group", kind="stable").reset_index(drop=True)
    return Duplicates(how, groups, members, pairs, unreadable)

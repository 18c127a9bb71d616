"""Pictures and people that several data sets share: whoever trains on one set has then seen the other's test.

Collections are made of each other: all 2,130 different pictures of Adience stand byte for byte in the
agegender_cleaned set, under other names of people. So copies are searched over all sets together, and people
who share a copy are one person. Where faces have descriptors, near twins by descriptor (the same photo recut,
relit or mirrored, or a burst) are searched too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import audit, row_groups

DRAWN_PAIRS = 50_000
MOST_ALIKE = 1e-4  # of pairs drawn at random; twins of a photo are rarer in a large collection
MOST_TWINS = 3  # a face, on average


class OverlapError(ValueError):
    """Faces of several data sets cannot be distinguished; the text says which."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which faces of several data sets show one picture, or one person.

    Attributes
    ----------
    copies : dict of str to ndarray of shape (n,), int
        By data set the group of each face among copies of pictures, numbered over all sets; -1 where a face
        is alone.
    twins : dict of str to ndarray of shape (n,), int
        The same for near twins by descriptor.
    groups : dict of str to ndarray of shape (n,), int
        The same for copies, near twins and people joined.
    """

    copies: dict[str, np.ndarray]
    twins: dict[str, np.ndarray]
    groups: dict[str, np.ndarray]

    def shared(self, name: str, rows: np.ndarray, other: str, other_rows: np.ndarray) -> np.ndarray:
        """Return those `rows` of one set that show a picture or person of the `other_rows` of another set."""
        own, others = self.groups[name][rows], self.groups[other][other_rows]
        return rows[(own != row_groups.ALONE) & np.isin(own, others)]

    def table(self) -> pd.DataFrame:
        """Count what each set shares with each other one: dataset, other, same_picture, near_twin, same_person.

        Counts of faces of `dataset`; same_person holds those of the other two columns.
        """
        records = []
        for name, other in permutations(self.groups, 2):
            row = {"dataset": name, "other": other}
            for column, of in (
                ("same_picture", self.copies),
                ("near_twin", self.twins),
                ("same_person", self.groups),
            ):
                tied = (of[name] != row_groups.ALONE) & np.isin(of[name], of[other])
                row[column] = int(tied.sum())
            records.append(row)
        return pd.DataFrame(records, columns=["dataset", "other", "same_picture", "near_twin", "same_person"])


def find(
    faces: Mapping[str, pd.DataFrame],
    roots: Mapping[str, str | Path],
    *,
    search: Callable = audit.copies,
    matrices: Mapping[str, np.ndarray] | None = None,
) -> Overlap:
    """Search copies of pictures over all data sets together, and join the people who share them.

    Parameters
    ----------
    faces : mapping of name to face table
    roots : mapping of name to path
        Folder of each set, which its ``image`` paths are relative to.
    search : callable
        ``(faces, root)`` to `faceworkbook.audit.Duplicates`; exact and near copies by default.
    matrices : mapping of name to ndarray of shape (n, d), optional
        Descriptors of the same faces by one network, to search near twins; see `search_twins`.
    """
    tables = [
        table.assign(image=[str(Path(roots[name]).resolve() / image) for image in table["image"]])
        for name, table in faces.items()
    ]
    below = pd.concat(tables, ignore_index=True)
    twins = None
    if matrices is not None:
        twins = search_twins(below, np.concatenate([np.asarray(matrices[name]) for name in faces]))
    return join(faces, search(below, "").groups, twins)


def search_twins(
    faces: pd.DataFrame, matrix: np.ndarray, *, min_cosine: float = audit.MIN_COSINE
) -> np.ndarray:
    """Return groups of near twins by descriptor, ndarray of shape (n,), int; -1 where a face is alone.

    No face has a twin where the descriptors do not distinguish faces (five landmarks, say): where more than
    `MOST_ALIKE` of pairs drawn at random are as alike as twins, and more than `MOST_TWINS` faces on average.
    """
    alone = np.full(len(faces), row_groups.ALONE)
    units = np.asarray(matrix, np.float32)
    drawn = np.random.default_rng(0).integers(0, len(units), (2, DRAWN_PAIRS))
    one, other = (units[rows] for rows in drawn[:, drawn[0] != drawn[1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    if not len(cosines) or np.mean(cosines >= min_cosine) > max(MOST_ALIKE, MOST_TWINS / len(units)):
        return alone
    return audit.similar_descriptors(faces, units, min_cosine=min_cosine).groups


def join(faces: Mapping[str, pd.DataFrame], copies: np.ndarray, twins: np.ndarray | None = None) -> Overlap:
    """Join people, copies and near twins of several data sets.

    Parameters
    ----------
    faces : mapping of name to face table
        An identity names one person in all sets: readers put the name of the collection before it.
    copies, twins : ndarray of shape (n of all sets,), int
        Group of each face of all sets below each other, -1 where it is alone.
    """
    identity = pd.concat([table["identity"] for table in faces.values()], ignore_index=True)
    twins = np.full(len(identity), row_groups.ALONE) if twins is None else np.asarray(twins)
    groups = row_groups.join(row_groups.people(identity), copies, twins)
    ends = np.cumsum([len(table) for table in faces.values()])[:-1]
    return Overlap(
        *(dict(zip(faces, np.split(each, ends), strict=True)) for each in (np.asarray(copies), twins, groups))
    )


def require_own_ids(faces: Mapping[str, pd.DataFrame]) -> None:
    """Require that no two faces of several data sets have one id, by which predictions and copies are looked up.

    Raises
    ------
    OverlapError
        Two of them have.
    """
    ids = pd.concat([table["face_id"].astype("string") for table in faces.values()])
    twice = ids[ids.duplicated()]
    if len(twice):
        raise OverlapError(
            f"{len(twice):,} face ids stand in more than one of the data sets {[*faces]}, such as {twice.iloc[0]!r}; leave the "
            "column face_id out of one of the tables, or give its faces other ids"
        )

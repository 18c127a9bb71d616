"""Pictures and people that several data sets share: whoever trains on one set has then seen the other's test.

Collections are made of each other: all 2,130 different pictures of Adience stand byte for byte in the
agegender_cleaned set, under other names of people. So copies are searched over all sets together, and people
who share a copy are one person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import audit, row_groups


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which faces of several data sets show one picture, or one person.

    Attributes
    ----------
    copies : dict of str to ndarray of shape (n,), int
        By data set the group of each face among copies of pictures, numbered over all sets; -1 where a face
        is alone.
    groups : dict of str to ndarray of shape (n,), int
        The same for copies and people joined.
    """

    copies: dict[str, np.ndarray]
    groups: dict[str, np.ndarray]

    def shared(self, name: str, rows: np.ndarray, other: str, other_rows: np.ndarray) -> np.ndarray:
        """Return those `rows` of one set that show a picture or person of the `other_rows` of another set."""
        own, others = self.groups[name][rows], self.groups[other][other_rows]
        return rows[(own != row_groups.ALONE) & np.isin(own, others)]

    def table(self) -> pd.DataFrame:
        """Count what each set shares with each other one: dataset, other, same_picture, same_person (faces)."""
        records = []
        for name, other in permutations(self.groups, 2):
            row = {"dataset": name, "other": other}
            for column, of in (("same_picture", self.copies), ("same_person", self.groups)):
                tied = (of[name] != row_groups.ALONE) & np.isin(of[name], of[other])
                row[column] = int(tied.sum())
            records.append(row)
        return pd.DataFrame(records, columns=["dataset", "other", "same_picture", "same_person"])


def find(
    faces: Mapping[str, pd.DataFrame], roots: Mapping[str, str | Path], *, search: Callable = audit.copies
) -> Overlap:
    """Search copies of pictures over all data sets together, and join the people who share them.

    Parameters
    ----------
    faces : mapping of name to face table
    roots : mapping of name to path
        Folder of each set, which its ``image`` paths are relative to.
    search : callable
        ``(faces, root)`` to `faceworkbook.audit.Duplicates`; exact and near copies by default.
    """
    tables = [
        table.assign(image=[str(Path(roots[name]).resolve() / image) for image in table["image"]])
        for name, table in faces.items()
    ]
    return join(faces, search(pd.concat(tables, ignore_index=True), "").groups)


def join(faces: Mapping[str, pd.DataFrame], copies: np.ndarray) -> Overlap:
    """Join people and copies of several data sets.

    Parameters
    ----------
    faces : mapping of name to face table
        An identity names one person in all sets: readers put the name of the collection before it.
    copies : ndarray of shape (n of all sets,), int
        Group of each face of all sets below each other, -1 where it is alone.
    """
    identity = pd.concat([table["identity"] for table in faces.values()], ignore_index=True)
    groups = row_groups.join(row_groups.people(identity), copies)
    ends = np.cumsum([len(table) for table in faces.values()])[:-1]
    return Overlap(
        dict(zip(faces, np.split(np.asarray(copies), ends), strict=True)),
        dict(zip(faces, np.split(groups, ends), strict=True)),
    )

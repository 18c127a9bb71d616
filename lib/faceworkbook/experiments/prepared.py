"""Data that are ready to learn from: faces with descriptors, their labels, the split, copies."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from faceworkbook.descriptors import unit_blocks
from faceworkbook.splits import Split
from faceworkbook.tasks import Labels


@dataclass(frozen=True, eq=False)
class PreparedData:
    """One data set, ready to learn from and to test on.

    Attributes
    ----------
    faces : pandas.DataFrame of n rows
        The faces that have a descriptor; ``copy_group`` names the copies of a picture.
    labels : Labels of n faces
    split : Split
    matrix : ndarray of shape (n, d), float32
        Descriptors, row by row those of `faces`; may be memory-mapped.
    copies : ndarray of shape (n,), int
        Group of each face among copies of pictures, -1 where it is alone.
    made_from : dict
        Fingerprints: data, split, label, descriptors; what is made from this data carries them on.
    dims : tuple of int
        Width of each block of `matrix`, where several stand side by side.
    """

    faces: pd.DataFrame
    labels: Labels
    split: Split
    matrix: np.ndarray
    copies: np.ndarray
    made_from: dict = field(default_factory=dict)
    dims: tuple[int, ...] = ()

    @property
    def matrix_for_cosines(self) -> np.ndarray:
        """`matrix` with each block at length 1; see `faceworkbook.descriptors.unit_blocks`."""
        return unit_blocks(self.matrix, self.dims)

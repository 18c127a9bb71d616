"""Pictures of several sources, one below the other: several data sets as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faceworkbook.files import hash_values
from faceworkbook.images import Preprocessing


class JoinedPictures:
    """Rows of the first source, then of the second, and so on.

    Parameters
    ----------
    sources : sequence of PixelFiles, PixelArray or PixelShards
        All prepared for the same network.

    Raises
    ------
    ValueError
        No source, or sources that are prepared differently.
    """

    def __init__(self, sources: Sequence):
        self._sources = tuple(sources)
        differing = {str(source.preprocessing) for source in self._sources}
        if len(differing) != 1:
            raise ValueError(
                f"pictures are prepared in {len(differing)} manners ({'; '.join(sorted(differing))}); open all with "
                "the preprocessing of one network"
            )
        self._ends = np.cumsum([len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def preprocessing(self) -> Preprocessing:
        """Return that of all sources."""
        return self._sources[0].preprocessing

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the pixels of `rows`, ndarray of shape (n, height, width, 3), uint8, RGB."""
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.preprocessing.size, 3), np.uint8)
        for here, own, source in self._divide(rows):
            out[here] = source.take(own)
        return out

    def fingerprint(self, rows: np.ndarray) -> str:
        """Return the hash of the pictures of `rows`, ascending."""
        divided = self._divide(np.asarray(rows))
        return hash_values("joined", rows, *(source.fingerprint(own) for _, own, source in divided))

    def _divide(self, rows: np.ndarray):
        """Yield places in `rows`, rows of the source, and the source, where it has any."""
        number = np.searchsorted(self._ends, rows, side="right")
        starts = self._ends - [len(source) for source in self._sources]
        for position in np.unique(number):
            here = number == position
            yield here, rows[here] - starts[position], self._sources[position]

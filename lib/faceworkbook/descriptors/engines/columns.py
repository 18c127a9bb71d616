"""One tap of several that an engine reads in one pass."""

from __future__ import annotations

import numpy as np

from faceworkbook.descriptors.engines.base import Engine


class ColumnsEngine:
    """Runs an engine and hands on some of its columns. See `Engine`.

    Parameters
    ----------
    engine : Engine
        Of several taps side by side.
    columns : slice
        Those of one tap.
    """

    def __init__(self, engine: Engine, columns: slice):
        self._engine, self._columns = engine, columns
        self.name, self.batch_size, self.settings = engine.name, engine.batch_size, dict(engine.settings)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        return self._engine.run(pixels)[:, self._columns]

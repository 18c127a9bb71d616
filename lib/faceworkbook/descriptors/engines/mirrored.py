"""Both sides of a face by one engine: pictures are turned left to right as uint8, before any engine sees them."""

from __future__ import annotations

import numpy as np

from faceworkbook.descriptors.engines.base import Engine


class MirroredEngine:
    """Runs another engine on the mirror image, or on both sides for their mean. See `Engine`.

    Parameters
    ----------
    engine : Engine
        Of the network without a mirror.
    mirror : {'mean', 'only'}
        See `faceworkbook.backbones.Backbone`. 'mean' takes twice the time.
    """

    def __init__(self, engine: Engine, mirror: str):
        self._engine, self._mirror = engine, mirror
        self.name, self.batch_size = engine.name, engine.batch_size
        self.settings = {**engine.settings, "mirror": mirror}

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        turned = self._engine.run(np.ascontiguousarray(pixels[:, :, ::-1]))
        return turned if self._mirror == "only" else (self._engine.run(pixels) + turned) / 2

"""A network as a row of blocks: how high and how deep what they put out is, and how many parameters they have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from faceworkbook.plots import style

TRUNK, SHARED = "trunk", "shared"


@dataclass
class ArchitectureDisplay:
    """Blocks from input to heads.

    Attributes
    ----------
    blocks : pandas.DataFrame
        part, block, output, parameters, height, depth; see `faceworkbook.training.architecture.blocks`.
    """

    blocks: pd.DataFrame

    @classmethod
    def from_blocks(cls, blocks: pd.DataFrame) -> ArchitectureDisplay:
        """Take the blocks of a network."""
        return cls(blocks)

    def plot(self, ax=None, *, title: str = "") -> ArchitectureDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        trunk = self.blocks[self.blocks["part"].isin([TRUNK, SHARED])]
        heads = self.blocks[~self.blocks["part"].isin([TRUNK, SHARED])]
        self.ax_ = style.axes(ax, figsize=(9.6, 3.4))
        self.figure_ = self.ax_.figure
        x = 0.0
        for block in trunk.itertuples():
            color = style.COLORS[1] if block.part == SHARED else style.COLORS[0]
            x = self._box(x, 0.0, block, color)
        for position, block in enumerate(heads.itertuples()):
            self._box(x, 2.4 * (position - (len(heads) - 1) / 2), block, style.COLORS[2], name=block.part)
        reach = max(4.6, 1.2 * len(heads) + 1.6)
        self.ax_.set(xlim=(-0.3, x + 2.4), ylim=(-reach, reach))
        self.ax_.axis("off")
        total = f"{self.blocks['parameters'].sum():,} parameters"
        self.ax_.set_title(f"{title}: {total}" if title else total)
        return self

    def _box(self, x: float, y: float, block, color: str, name: str = "") -> float:
        """Draw one block from `x` on, its middle at `y`; return where the next one begins."""
        height = 0.5 + 0.75 * np.log2(max(block.height, 1))
        width = 0.3 + 0.08 * np.log2(max(block.depth, 1))
        size = (width, height)
        self.ax_.add_patch(Rectangle((x, y - height / 2), *size, facecolor=color, alpha=0.75, lw=0))
        label = f"{block.output}\n{block.parameters:,}"
        if name:
            self.ax_.text(x + width + 0.1, y, f"{name}\n{label}", va="center", ha="left", fontsize=8)
        else:
            self.ax_.text(x + width / 2, y - height / 2 - 0.15, label, va="top", ha="center", fontsize=7)
        return x + max(width + 0.25, 1.15)

    def describe(self) -> str:
        """Return the alt text."""
        each = [
            f"{row.block} ({row.output}, {row.parameters:,} parameters)" for row in self.blocks.itertuples()
        ]
        return (
            f"A network of {self.blocks['parameters'].sum():,} parameters in {len(self.blocks)} blocks, from input to "
            f"heads: {'; '.join(each)}."
        )

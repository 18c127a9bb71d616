"""Faces by two labels at once, as a heat map of counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style


@dataclass
class PairBalanceDisplay:
    """Counts by two labels; small combinations stand out by their outline.

    Attributes
    ----------
    counts : pandas.DataFrame
        Of `audit.balance.pair_counts`.
    few : int
        Combinations below it are outlined.
    """

    counts: pd.DataFrame
    few: int = 100

    @classmethod
    def from_counts(cls, counts: pd.DataFrame, *, few: int = 100) -> PairBalanceDisplay:
        """Take the counts of `audit.balance.pair_counts`."""
        return cls(counts, few)

    def plot(self, ax=None) -> PairBalanceDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        values = self.counts.to_numpy(float)
        size = (1.8 + 0.85 * values.shape[1], 1.4 + 0.42 * values.shape[0])
        self.ax_ = style.axes(ax, figsize=size)
        self.figure_ = self.ax_.figure
        image = self.ax_.imshow(values, cmap=style.SEQUENTIAL, aspect="auto", vmin=0)
        for (y, x), n in np.ndenumerate(values):
            dark = n < 0.55 * max(values.max(), 1)
            text = {"color": "white" if dark else "black", "weight": "bold" if n < self.few else "normal"}
            self.ax_.text(x, y, f"{n:,.0f}", ha="center", va="center", fontsize=9, **text)
        self.ax_.set_xticks(range(values.shape[1]), self.counts.columns, rotation=30, ha="right")
        self.ax_.set_yticks(range(values.shape[0]), self.counts.index)
        name, other = self.counts.index.name, self.counts.columns.name
        title = f"{name} by {other}, n = {values.sum():,.0f} (bold: under {self.few})"
        self.ax_.set(xlabel=other, ylabel=name, title=title)
        self.figure_.colorbar(image, ax=self.ax_, label="faces")
        return self

    def describe(self) -> str:
        """Return the alt text."""
        values = self.counts.to_numpy()
        largest, smallest = (self._name_cell(at) for at in (values.argmax(), values.argmin()))
        return (
            f"Heat map of faces by {self.counts.index.name} and {self.counts.columns.name}. Largest: {largest}; "
            f"smallest: {smallest}; {int((values < self.few).sum())} of {values.size} combinations have fewer "
            f"than {self.few} faces."
        )

    def _name_cell(self, position: int) -> str:
        row, column = np.unravel_index(position, self.counts.shape)
        return f"{self.counts.index[row]} & {self.counts.columns[column]}: {self.counts.iat[row, column]:,}"

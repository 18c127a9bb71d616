"""Differences between models with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import forest, style

VERDICT_COLORS = {
    "differ": style.COLORS[3],
    "no significant difference": style.COLORS[0],
}


@dataclass
class ComparisonDisplay:
    """One row a pair of models: the difference, its interval and the verdict of the test that the design asks for.

    Attributes
    ----------
    pairs : pandas.DataFrame
        `chosen` of `faceworkbook.evaluation.comparison.Comparison`.
    metric : str
    margin : float
        Smallest difference that matters, drawn as a band; 0 for none.
    """

    pairs: pd.DataFrame
    metric: str
    margin: float = 0.0

    @classmethod
    def from_comparison(cls, comparison) -> ComparisonDisplay:
        """Take the chosen pairs of `faceworkbook.evaluation.comparison.compare`."""
        return cls(comparison.chosen, comparison.metric, comparison.margin)

    def plot(self, ax=None, *, title: str = "") -> ComparisonDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t, places = self.pairs, np.arange(len(self.pairs))
        names = [
            forest.wrap(f"{r.first} - {r.second}\n{r.test}, n = {r.n:,} {r.counted}") for r in t.itertuples()
        ]
        lines = sum(max(len(name.splitlines()), 2) for name in names)
        self.ax_ = style.axes(ax, figsize=(7.4, 1.7 + 0.21 * lines))
        self.figure_ = self.ax_.figure
        if self.margin:
            label = f"within the margin of {self.margin:g}"
            self.ax_.axvspan(-self.margin, self.margin, color=style.GREY, alpha=0.15, lw=0, label=label)
        self.ax_.axvline(0, color=style.GREY, lw=0.9, ls="--")
        for verdict, rows in t.groupby("verdict", sort=False):
            at, color = places[(t["verdict"] == verdict).to_numpy()], VERDICT_COLORS.get(verdict, style.GREY)
            forest.draw(self.ax_, rows, places=at, color=color, name="difference", label=verdict)
            if self.margin:
                self.ax_.hlines(at, rows["low_90"], rows["high_90"], color=color, lw=4, alpha=0.5)
        forest.name_rows(self.ax_, places, names)
        self.ax_.set(
            xlabel=f"difference of {style.words(self.metric)}, 95 % interval"
            + (" (thick: 90 %)" if self.margin else ""),
            title=title or "differences between models",
        )
        # Below the figure, where it covers neither title nor intervals.
        is_own = self.figure_.axes == [self.ax_] and ax is None
        place = self.figure_.legend if is_own else self.ax_.legend
        place(fontsize=8, loc="outside lower right" if is_own else "best", ncols=3)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        band = (
            f"; the band is the margin of {self.margin:g}, thick lines are 90 percent intervals"
            if self.margin
            else ""
        )
        return f"Differences between models with 95 percent intervals{band}. " + " ".join(
            self.pairs["sentence"]
        )

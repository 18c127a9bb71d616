"""Before and after mitigations: all faces and the worst group, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import forest, style

FIGURES = {"all faces": "overall", "worst group": "worst_value"}


@dataclass
class MitigationDisplay:
    """One row a mitigation: overall figure and worst group's figure with their intervals.

    Attributes
    ----------
    table : pandas.DataFrame
        Of `faceworkbook.experiments.mitigation.compare_with_before`.
    metric : str
    n : int
        Test faces.
    """

    table: pd.DataFrame
    metric: str
    n: int

    @classmethod
    def from_table(cls, table: pd.DataFrame, *, metric: str, n: int) -> MitigationDisplay:
        """Take the table of `compare_with_before`."""
        return cls(table.reset_index(drop=True), metric, n)

    def plot(self, ax=None, *, title: str = "") -> MitigationDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t, places = self.table, np.arange(len(self.table), dtype=float)
        self.ax_ = style.axes(ax, figsize=(7.0, 1.3 + 0.5 * len(t)))
        self.figure_ = self.ax_.figure
        for number, (label, name) in enumerate(FIGURES.items()):
            look = {"color": style.COLORS[3 * number], "marker": "os"[number], "label": label}
            forest.draw(self.ax_, t, places=places + 0.22 * (number - 0.5), name=name, **look)
        self.ax_.axvline(t["worst_value"].iloc[0], color=style.GREY, lw=0.8, ls=":")
        forest.name_rows(
            self.ax_, places, [f"{r.mitigation}\n(worst: {r.worst or 'not known'})" for r in t.itertuples()]
        )
        self.ax_.set(
            xlabel=f"{style.words(self.metric)}, 95 % interval (dotted: worst group before)",
            title=title or f"before and after mitigation (n = {self.n:,})",
        )
        self.ax_.legend(fontsize=8, loc="best")
        return self

    def describe(self) -> str:
        """Return the alt text."""
        rows = [
            f"{r.mitigation}: all faces {r.overall:.3f}, worst group {r.worst} {r.worst_value:.3f}"
            for r in self.table.itertuples()
        ]
        return f"{self.metric} before and after each mitigation. {'; '.join(rows)}."

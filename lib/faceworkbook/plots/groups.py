"""A metric group by group: points with intervals, n beside every group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import forest, style


@dataclass
class GroupsDisplay:
    """One row a group; small groups are hollow, empty ones marked as such.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns attribute, group, metric, value, low, high, n, small (see
        ``evaluation.groups.by_group``), of one metric.
    overall : float or None
        The metric over all faces, drawn as a line.
    """

    table: pd.DataFrame
    overall: float | None = None

    @classmethod
    def from_table(
        cls, table: pd.DataFrame, *, metric: str | None = None, overall: float | None = None
    ) -> GroupsDisplay:
        """Take the rows of `metric` (the table's first one where None)."""
        metric = metric or table["metric"].iloc[0]
        return cls(table[table["metric"] == metric].reset_index(drop=True), overall)

    def plot(self, ax=None, *, title: str = "") -> GroupsDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t = self.table
        places = np.arange(len(t)) + 0.7 * (t["attribute"] != t["attribute"].shift()).cumsum().to_numpy()
        self.ax_ = ax = style.axes(ax, figsize=(7.2, 1.1 + 0.3 * len(t)))
        self.figure_ = ax.figure
        if self.overall is not None:
            ax.axvline(self.overall, color=style.GREY, lw=0.9, ls="--", label="all faces")
            ax.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
        for number, (_, rows) in enumerate(t.groupby("attribute", sort=False)):
            forest.draw(ax, rows, places=places[rows.index], color=style.color(number))
        forest.name_rows(ax, places, [f"{r.attribute}: {r.group}  (n = {r.n:,})" for r in t.itertuples()])
        name = style.words(t["metric"].iloc[0])
        ax.set(
            xlabel=f"{name}, 95 % interval; hollow: too few faces to judge", title=title or f"{name} by group"
        )
        return self

    def describe(self) -> str:
        """Return the alt text."""
        groups = [
            f"{r.attribute} {r.group} {r.value:.3f} (n = {r.n:,})"
            for r in self.table.dropna(subset=["value"]).itertuples()
        ]
        return f"{self.table['metric'].iloc[0]} with 95 percent intervals by group: {'; '.join(groups)}."

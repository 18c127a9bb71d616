"""A metric group by group: points with intervals, n beside every group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from faceworkbook.plots import style


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
        """The rows of `metric` (the table's first one where None)."""
        metric = metric or table["metric"].iloc[0]
        return cls(table[table["metric"] == metric].reset_index(drop=True), overall)

    def plot(self, ax=None, *, title: str = "") -> GroupsDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t = self.table
        places = np.arange(len(t)) + 0.7 * (t["attribute"] != t["attribute"].shift()).cumsum().to_numpy()
        if ax is None:
            with plt.rc_context(style.SETTINGS):
                ax = plt.subplots(figsize=(7.2, 1.1 + 0.3 * len(t)))[1]
        self.ax_, self.figure_ = ax, ax.figure
        if self.overall is not None:
            ax.axvline(self.overall, color=style.GREY, lw=0.9, ls="--", label="all faces")
            ax.legend(fontsize=8, loc="lower left")
        for number, (_, part) in enumerate(t.groupby("attribute", sort=False)):
            self._draw(part, places[part.index], style.COLORS[number % len(style.COLORS)])
        ax.set_yticks(
            places,
            [f"{a}: {g}  (n = {n:,})" for a, g, n in zip(t["attribute"], t["group"], t["n"], strict=True)],
        )
        ax.set_ylim(places.max() + 0.7, places.min() - 0.7)
        ax.grid(axis="x", color="#dddddd", lw=0.6)
        name = t["metric"].iloc[0].replace("_", " ")
        ax.set(
            xlabel=f"{name}, 95 % interval; hollow: too few faces to judge", title=title or f"{name} by group"
        )
        return self

    def _draw(self, part: pd.DataFrame, places: np.ndarray, color: str) -> None:
        known = part["value"].notna().to_numpy()
        low, high = (part["value"] - part["low"]).clip(lower=0), (part["high"] - part["value"]).clip(lower=0)
        errors = np.vstack([low, high])[:, known]
        self.ax_.errorbar(
            part["value"][known], places[known], xerr=errors, fmt="none", color=color, capsize=3
        )
        face = ["white" if small else color for small in part["small"][known]]
        self.ax_.scatter(
            part["value"][known], places[known], s=34, facecolors=face, edgecolors=color, zorder=3
        )

    def describe(self) -> str:
        """Alt text."""
        parts = [
            f"{r.attribute} {r.group} {r.value:.3f} (n = {r.n:,})"
            for r in self.table.itertuples()
            if pd.notna(r.value)
        ]
        return f"{self.table['metric'].iloc[0]} with 95 percent intervals by group: " + "; ".join(parts) + "."

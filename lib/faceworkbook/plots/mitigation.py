"""Before and after a remedy: all faces and the worst group, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style


@dataclass
class MitigationDisplay:
    """One row a remedy: overall figure and worst group's figure with their intervals.

    Attributes
    ----------
    table : pandas.DataFrame
        Of `faceworkbook.experiments.mitigation.before_after`.
    metric : str
    n : int
        Test faces.
    """

    table: pd.DataFrame
    metric: str
    n: int

    @classmethod
    def from_table(cls, table: pd.DataFrame, *, metric: str, n: int) -> MitigationDisplay:
        """From the table of `before_after`."""
        return cls(table.reset_index(drop=True), metric, n)

    def plot(self, ax=None, *, title: str = "") -> MitigationDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t, places = self.table, np.arange(len(self.table), dtype=float)
        self.ax_ = style.axes(ax, figsize=(7.0, 1.3 + 0.5 * len(t)))
        self.figure_ = self.ax_.figure
        for shift, (name, columns) in enumerate(
            {"all faces": ["overall", "overall_low", "overall_high"],
             "worst group": ["worst_value", "worst_value_low", "worst_value_high"]}.items()
        ):  # fmt: skip
            value, low, high = (t[c].to_numpy(dtype=float) for c in columns)
            self.ax_.errorbar(
                value, places + 0.22 * (shift - 0.5), xerr=[(value - low).clip(0), (high - value).clip(0)],
                fmt="os"[shift], ms=5, capsize=3, color=style.COLORS[3 * shift], label=name,
            )  # fmt: skip
        self.ax_.axvline(t["worst_value"].iloc[0], color=style.GREY, lw=0.8, ls=":")
        self.ax_.set_yticks(places, [f"{r.way}\n(worst: {r.worst})" for r in t.itertuples()], fontsize=8.5)
        self.ax_.invert_yaxis()
        self.ax_.set(
            xlabel=f"{self.metric.replace('_', ' ')}, 95 % interval (dotted: worst group before)",
            title=title or f"before and after (n = {self.n:,})",
        )
        self.ax_.legend(fontsize=8, loc="best")
        return self

    def describe(self) -> str:
        """Alt text."""
        parts = [
            f"{r.way}: all faces {r.overall:.3f}, worst group {r.worst} {r.worst_value:.3f}"
            for r in self.table.itertuples()
        ]
        return f"{self.metric} before and after each remedy. " + "; ".join(parts) + "."

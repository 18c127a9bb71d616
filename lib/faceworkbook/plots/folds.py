"""One metric over repeated folds: every fit, the mean of each repeat, and the corrected interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style


@dataclass
class FoldsDisplay:
    """Values of a metric by repeat and fold.

    Attributes
    ----------
    scored : pandas.DataFrame
        One row a fit: repeat, fold, and the columns ``SUBSET_METRIC``.
    metric, subset : str
    mean, low, high : float
        Over all fits, with the interval corrected for overlapping training sets.
    """

    scored: pd.DataFrame
    metric: str
    subset: str
    mean: float
    low: float
    high: float

    @classmethod
    def from_scores(
        cls, scored: pd.DataFrame, summary: pd.DataFrame, *, metric: str = "accuracy", subset: str = "test"
    ) -> FoldsDisplay:
        """Take `evaluation.cross_validation.scores` and its `summary` of the same subset."""
        row = summary.set_index("metric").loc[metric]
        return cls(scored, metric, subset, float(row["mean"]), float(row["low"]), float(row["high"]))

    def plot(self, ax=None, *, title: str = "") -> FoldsDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.4, 3.6))
        self.figure_ = self.ax_.figure
        column = f"{self.subset}_{self.metric}"
        for repeat, rows in self.scored.groupby("repeat"):
            x = repeat + np.linspace(-0.2, 0.2, len(rows)) if len(rows) > 1 else [repeat]
            self.ax_.plot(x, rows[column], "o", ms=4, color=style.COLORS[0], alpha=0.8)
            self.ax_.plot(
                [repeat - 0.3, repeat + 0.3], [rows[column].mean()] * 2, color=style.COLORS[1], lw=2
            )
        if np.isfinite(self.low):
            self.ax_.axhspan(self.low, self.high, color=style.GREY, alpha=0.18, lw=0)
        self.ax_.axhline(self.mean, color=style.GREY, lw=1)
        self.ax_.set(
            xlabel="repeat (own folds and own seed)",
            ylabel=f"{self.subset} {self.metric.replace('_', ' ')}",
            title=title or f"{len(self.scored)} fits; line: mean of a repeat; band: 95 % of the overall mean",
            xticks=sorted(self.scored["repeat"].unique()),
        )
        return self

    def describe(self) -> str:
        """Return the alt text."""
        values = self.scored[f"{self.subset}_{self.metric}"]
        reach = "" if pd.isna(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        return (
            f"{self.subset.capitalize()} {self.metric.replace('_', ' ')} of {len(values)} fits, from {values.min():.3f} to "
            f"{values.max():.3f}, mean {self.mean:.3f}{reach}."
        )

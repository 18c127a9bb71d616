"""Errors of several yes/no labels that are learned at once, label by label."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook.evaluation import metrics, predictions
from faceworkbook.plots import forest, style


@dataclass
class PerLabelDisplay:
    """One row a label: the share of faces predicted wrong, with its interval.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns label, value, low, high (shares, 0..1), n, n_yes (faces that bear the label).
    """

    table: pd.DataFrame

    @classmethod
    def from_predictions(cls, table: pd.DataFrame, *, subset: str = "test", seed: int = 0) -> PerLabelDisplay:
        """Score each label of a multi-label table of predictions."""
        rows = []
        for name in predictions.task_of(table).classes:
            own = predictions.of_label(table, name)
            figures = metrics.summary(own, subset=subset, names=["error"], seed=seed).iloc[0]
            n_yes = int(((own["split"] == subset) & (own["truth"] == "yes")).sum())
            rows.append({"label": name, **figures[["value", "low", "high", "n"]], "n_yes": n_yes})
        return cls(pd.DataFrame(rows))

    def plot(self, ax=None, *, title: str = "") -> PerLabelDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t, places = self.table, range(len(self.table))
        self.ax_ = style.axes(ax, figsize=(6.8, 1.2 + 0.3 * len(t)))
        self.figure_ = self.ax_.figure
        forest.draw(self.ax_, t, places=places, color=style.COLORS[0])
        forest.name_rows(
            self.ax_, places, [f"{r.label}  ({r.n_yes:,} of {r.n:,} yes)" for r in t.itertuples()]
        )
        self.ax_.set(
            xlabel="share predicted wrong, 95 % interval",
            title=title or f"errors by label (n = {t['n'].max():,})",
        )
        return self

    def describe(self) -> str:
        """Return the alt text."""
        rows = [f"{r.label} {r.value:.3f} ({r.low:.3f} to {r.high:.3f})" for r in self.table.itertuples()]
        return f"Share of faces predicted wrong by label: {'; '.join(rows)}."

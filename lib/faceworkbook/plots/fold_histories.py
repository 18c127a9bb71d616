"""Validation loss of all fits of a cross-validation by epoch."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook.plots import style


@dataclass
class FoldHistoriesDisplay:
    """Validation loss of all fits by epoch, with the epoch that each kept."""

    history: pd.DataFrame

    @classmethod
    def from_history(cls, history: pd.DataFrame) -> FoldHistoriesDisplay:
        """Take the history of MLP fits: repeat, fold, epoch, val_loss."""
        return cls(history)

    def plot(self, ax=None) -> FoldHistoriesDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.4, 3.6))
        self.figure_ = self.ax_.figure
        groups = self.history.groupby(["repeat", "fold"])
        for (repeat, _), rows in groups:
            self.ax_.plot(rows["epoch"], rows["val_loss"], color=style.color(int(repeat)), lw=0.8, alpha=0.7)
        best = self._kept()
        self.ax_.plot(best["epoch"], best["val_loss"], "o", ms=3.5, color="black", label="kept")
        title = f"{groups.ngroups} fits, one colour a repeat"
        self.ax_.set(xlabel="epoch", ylabel="validation loss", title=title)
        self.ax_.legend()
        return self

    def describe(self) -> str:
        """Return the alt text."""
        kept = self._kept()["epoch"]
        return (
            f"Validation loss of {len(kept)} fits by epoch; the epochs kept lie between {kept.min()} and "
            f"{kept.max()}."
        )

    def _kept(self) -> pd.DataFrame:
        known = self.history.dropna(subset=["val_loss"])
        return known.loc[known.groupby(["repeat", "fold"])["val_loss"].idxmin()]

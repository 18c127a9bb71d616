"""A metric under damaged pictures, one panel a damage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from faceworkbook.plots import style

CLEAN = "none"


@dataclass
class CorruptionsDisplay:
    """Value with its interval by strength of each damage, beside the value on undamaged pictures.

    Attributes
    ----------
    measured : pandas.DataFrame
        What `evaluation.robustness.measure` returned.
    """

    measured: pd.DataFrame

    @classmethod
    def from_measured(cls, measured: pd.DataFrame) -> CorruptionsDisplay:
        """From the table of `evaluation.robustness.measure`."""
        return cls(measured)

    def plot(self, *, title: str = "") -> CorruptionsDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        damages = [d for d in self.measured["damage"].unique() if d != CLEAN]
        columns = min(3, len(damages))
        rows = -(-len(damages) // columns)
        with plt.rc_context(style.SETTINGS):
            self.figure_, axes = plt.subplots(
                rows, columns, figsize=(3.4 * columns, 2.8 * rows), sharey=True, squeeze=False
            )
        self.axes_ = axes.ravel()
        for ax in self.axes_[len(damages) :]:
            ax.set_visible(False)
        for ax, damage in zip(self.axes_, damages, strict=False):
            self._draw(ax, damage)
        for ax in axes[:, 0]:
            ax.set_ylabel(self.measured["metric"].iloc[0])
        self.figure_.suptitle(
            title or f"n = {self.measured['n'].iloc[0]:,} test faces; line: undamaged",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        return self

    def describe(self) -> str:
        """Alt text."""
        clean = self.measured[self.measured["damage"] == CLEAN].iloc[0]
        worst = self.measured.loc[self.measured["change"].abs().idxmax()]
        return (
            f"{clean['metric']} of {clean['n']:,} faces under damage: {clean['value']:.3f} undamaged; it changes most "
            f"under {worst['damage']} {worst['level']:g} ({worst['unit']}), to {worst['value']:.3f}."
        )

    def _draw(self, ax, damage: str) -> None:
        clean = self.measured[self.measured["damage"] == CLEAN].iloc[0]
        rows = self.measured[self.measured["damage"] == damage].sort_values("level")
        position = np.arange(len(rows))
        ax.axhline(clean["value"], color=style.GREY, lw=1)
        errors = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        ax.errorbar(position, rows["value"], yerr=errors, marker="o", capsize=3, color=style.COLORS[0])
        ax.set_xticks(position, [f"{level:g}" for level in rows["level"]])
        ax.set(title=damage, xlabel=rows["unit"].iloc[0])

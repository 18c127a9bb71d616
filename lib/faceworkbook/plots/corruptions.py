"""A metric of corrupted pictures, one panel a corruption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style

CLEAN = "none"


@dataclass
class CorruptionsDisplay:
    """Value with its interval by severity of each corruption, beside the value on clean pictures.

    Attributes
    ----------
    measured : pandas.DataFrame
        Of `faceworkbook.experiments.corruptions.measure`.
    """

    measured: pd.DataFrame

    @classmethod
    def from_measured(cls, measured: pd.DataFrame) -> CorruptionsDisplay:
        """Take the table of `experiments.corruptions.measure`."""
        return cls(measured)

    @property
    def clean(self) -> pd.Series:
        """The row of the clean pictures."""
        return self.measured[self.measured["corruption"] == CLEAN].iloc[0]

    def plot(self, *, title: str = "") -> CorruptionsDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        names = [name for name in self.measured["corruption"].unique() if name != CLEAN]
        size = (3.4 * min(3, len(names)), 2.8 * -(-len(names) // 3))
        title = title or f"n = {self.clean['n']:,} test faces; line: clean pictures"
        self.figure_, self.axes_ = style.panels(len(names), columns=3, size=size, title=title, sharey=True)
        for ax, name in zip(self.axes_, names, strict=True):
            self._draw(ax, name)
        for ax in self.axes_[::3]:
            ax.set_ylabel(style.words(self.clean["metric"]))
        return self

    def _draw(self, ax, name: str) -> None:
        rows = self.measured[self.measured["corruption"] == name].sort_values("severity")
        position = np.arange(len(rows))
        ax.axhline(self.clean["value"], color=style.GREY, lw=1)
        errors = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        ax.errorbar(position, rows["value"], yerr=errors, marker="o", capsize=3, color=style.COLORS[0])
        ax.set_xticks(position, [f"{severity:g}" for severity in rows["severity"]])
        ax.set(title=name, xlabel=f"severity ({rows['unit'].iloc[0]})")

    def describe(self) -> str:
        """Return the alt text."""
        clean, worst = self.clean, self.measured.loc[self.measured["change"].abs().idxmax()]
        return (
            f"{clean['metric']} of {clean['n']:,} faces under corruptions: {clean['value']:.3f} clean; it changes "
            f"most under {worst['corruption']} {worst['severity']:g} ({worst['unit']}), to {worst['value']:.3f}."
        )

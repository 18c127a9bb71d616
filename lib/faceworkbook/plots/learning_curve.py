"""A metric against the number of training faces, drawn at random and drawn person by person."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook.plots import style

NAMES = {"faces": "faces at random", "identities": "all faces of people at random"}


@dataclass
class LearningCurveDisplay:
    """Mean over draws of training faces with its 95 % interval.

    Attributes
    ----------
    curve : pandas.DataFrame
        Of `faceworkbook.experiments.learning_curve.summarise`.
    unit : str
        Of the metric, '' for shares.
    """

    curve: pd.DataFrame
    unit: str = ""

    @classmethod
    def from_curve(cls, curve: pd.DataFrame, *, unit: str = "") -> LearningCurveDisplay:
        """Take the table of `experiments.learning_curve.summarise`."""
        return cls(curve, unit)

    def plot(self, *, title: str = "") -> LearningCurveDisplay:
        """Draw into a new figure (``figure_``, ``axes_``): against faces, and against people where known."""
        sides = [("n_train", "training faces")]
        if (self.curve["by"] == "identities").any():
            sides.append(("n_identities", "people in the training faces"))
        n = len(sides)
        self.figure_, self.axes_ = style.panels(n, columns=2, size=(5.2 * n, 3.7), title=title)
        for ax, (column, label) in zip(self.axes_, sides, strict=True):
            self._draw(ax, column, label)
        self.axes_[0].legend()
        return self

    def _draw(self, ax, column: str, label: str) -> None:
        for number, (by, points) in enumerate(self.curve.groupby("by", sort=True)):
            reach = [points["mean"] - points["low"], points["high"] - points["mean"]]
            look = {"color": style.color(number), "marker": "os"[number % 2], "capsize": 3}
            ax.errorbar(points[column], points["mean"], yerr=reach, label=NAMES[by], **look)
        ax.set_xscale("log")
        sizes = self.curve.groupby("share")[column].mean()
        ax.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], rotation=30)
        ax.minorticks_off()
        first = self.curve.iloc[0]
        unit = f" ({self.unit})" if self.unit else ""
        ax.set(
            xlabel=f"{label} (log scale)",
            ylabel=f"test {style.words(first['metric'])}{unit}",
            title=f"n = {first['n_test']:,} test faces; mean of {first['draws']} draws, 95 % interval",
        )

    def describe(self) -> str:
        """Return the alt text."""
        own = self.curve[self.curve["by"] == self.curve["by"].iloc[0]].sort_values("share")
        few, many = own.iloc[0], own.iloc[-1]
        return (
            f"{few['metric']} against training faces: {few['mean']:.3f} with {few['n_train']:.0f}, "
            f"{many['mean']:.3f} with {many['n_train']:.0f}."
        )

"""A metric against the number of training faces, drawn at random and drawn person by person."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib import pyplot as plt

from faceworkbook.experiments import learning_curve
from faceworkbook.plots import style

NAMES = {"faces": "faces at random", "identities": "all faces of people at random"}


@dataclass
class LearningCurveDisplay:
    """Mean over draws of training faces with its 95 % interval.

    Attributes
    ----------
    measured : pandas.DataFrame
        What `evaluation.data_curve.measure` returned, for one way of drawing or several together.
    unit : str
        Of the metric, '' for shares.
    """

    measured: pd.DataFrame
    unit: str = ""

    @classmethod
    def from_measured(cls, *measured: pd.DataFrame, unit: str = "") -> LearningCurveDisplay:
        """From one table or several."""
        return cls(pd.concat(measured, ignore_index=True), unit)

    def plot(self, *, title: str = "") -> LearningCurveDisplay:
        """Draw into a new figure (``figure_``, ``axes_``): against faces, and against people where known."""
        by_people = self.measured[self.measured["by"] == "identities"]
        sides = [("n_train", "training faces")]
        if len(by_people):
            sides.append(("n_identities", "people in the training faces"))
        with plt.rc_context(style.SETTINGS):
            self.figure_, axes = plt.subplots(1, len(sides), figsize=(5.2 * len(sides), 3.7), squeeze=False)
        self.axes_ = axes[0]
        for ax, (column, label) in zip(self.axes_, sides, strict=True):
            self._draw(ax, column, label)
        self.axes_[0].legend()
        if title:
            self.figure_.suptitle(title, x=0.01, ha="left", fontsize=11)
        return self

    def describe(self) -> str:
        """Alt text."""
        mean = self.measured.groupby(["by", "share"])[["n_train", "value"]].mean().reset_index()
        few, many = mean.iloc[0], mean[mean["by"] == mean["by"].iloc[0]].iloc[-1]
        return (
            f"{self.measured['metric'].iloc[0]} against training faces: {few['value']:.3f} with {few['n_train']:.0f}, "
            f"{many['value']:.3f} with {many['n_train']:.0f}."
        )

    def _draw(self, ax, column: str, label: str) -> None:
        for number, (by, points) in enumerate(learning_curve.summary(self.measured).groupby("by", sort=True)):
            style_of = {"color": style.COLORS[number], "marker": "os"[number % 2], "capsize": 3}
            reach = [points["mean"] - points["low"], points["high"] - points["mean"]]
            ax.errorbar(points[column], points["mean"], yerr=reach, label=NAMES[by], **style_of)
        ax.set_xscale("log")
        sizes = self.measured.groupby("share")[column].mean()
        ax.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], rotation=30)
        ax.minorticks_off()
        metric = self.measured["metric"].iloc[0] + (f" ({self.unit})" if self.unit else "")
        draws = self.measured["repeat"].nunique()
        ax.set(
            xlabel=f"{label} (log scale)",
            ylabel=f"test {metric}",
            title=f"n = {self.measured['n_test'].iloc[0]:,} test faces; mean of {draws} draws, 95 % interval",
        )

"""Reliability diagram: how often a model is right against its probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from faceworkbook.evaluation import calibration
from faceworkbook.plots import style


@dataclass
class ReliabilityDisplay:
    """One line a model, group or kind of scaling; the diagonal is a model that knows itself.

    Attributes
    ----------
    bins : dict of str to pandas.DataFrame
        Columns confidence, accuracy (0..1), low, high, n.
    """

    bins: dict[str, pd.DataFrame]

    @classmethod
    def from_predictions(
        cls, named: Mapping[str, pd.DataFrame], *, subset: str = "test", bins: int = 10, seed: int = 0
    ) -> ReliabilityDisplay:
        """Bin the tables of predictions, by name."""
        return cls(
            {
                name: calibration.reliability(table, subset=subset, bins=bins, seed=seed)
                for name, table in named.items()
            }
        )

    def plot(self, ax=None, *, title: str = "") -> ReliabilityDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(5.2, 4.8))
        self.figure_ = self.ax_.figure
        lowest = min(t[["confidence", "low"]].min().min() for t in self.bins.values())
        self.ax_.plot([lowest, 1], [lowest, 1], color=style.GREY, lw=0.9, ls="--", label="as sure as right")
        for number, (name, t) in enumerate(self.bins.items()):
            reach = [(t["accuracy"] - t["low"]).clip(lower=0), (t["high"] - t["accuracy"]).clip(lower=0)]
            self.ax_.errorbar(
                t["confidence"], t["accuracy"], yerr=reach, marker="o", ms=4, capsize=2, lw=1.2,
                color=style.COLORS[number % len(style.COLORS)], label=f"{name} (n = {t['n'].sum():,})",
            )  # fmt: skip
        self.ax_.set(
            xlabel="mean probability of the predicted class",
            ylabel="share predicted right, 95 % interval",
            title=title or "reliability",
        )
        self.ax_.legend(loc="lower right", fontsize=8.5)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        models = []
        for name, t in self.bins.items():
            gap = ((t["confidence"] - t["accuracy"]) * t["n"]).sum() / t["n"].sum()
            side = "more" if gap > 0 else "less"
            models.append(f"{name}, {t['n'].sum():,} faces, is {abs(gap):.3f} {side} sure than right")
        return "Reliability diagram. On average " + "; ".join(models) + "."

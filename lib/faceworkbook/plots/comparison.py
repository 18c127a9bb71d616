"""Differences between models with their intervals, and the false alarms of right and wrong tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style

VERDICT_COLORS = {
    "differ": style.COLORS[3],
    "no significant difference": style.COLORS[0],
    "not to be relied on": style.GREY,
}


@dataclass
class ComparisonDisplay:
    """One row a pair of models and test: the difference, its interval and the verdict.

    Attributes
    ----------
    pairs : pandas.DataFrame
        Of `faceworkbook.evaluation.comparison.Comparison`.
    metric : str
    """

    pairs: pd.DataFrame
    metric: str

    @classmethod
    def from_comparison(cls, comparison) -> ComparisonDisplay:
        """From what `faceworkbook.evaluation.comparison.compare` found."""
        return cls(comparison.pairs, comparison.metric)

    def plot(self, ax=None, *, title: str = "") -> ComparisonDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t, places = self.pairs, np.arange(len(self.pairs))
        self.ax_ = style.axes(ax, figsize=(7.4, 1.4 + 0.42 * len(t)))
        self.figure_ = self.ax_.figure
        self.ax_.axvline(0, color=style.GREY, lw=0.9, ls="--")
        for verdict, color in VERDICT_COLORS.items():
            of = (t["verdict"] == verdict).to_numpy()
            if of.any():
                value = t["difference"][of]
                reach = [value - t["low"][of], t["high"][of] - value]
                self.ax_.errorbar(
                    value, places[of], xerr=reach, fmt="o", ms=5, capsize=3, color=color, label=verdict
                )
        labels = [f"{r.first} - {r.second}\n{r.test}, n = {r.n:,} {r.counted}" for r in t.itertuples()]
        self.ax_.set_yticks(places, labels, fontsize=8.5)
        self.ax_.invert_yaxis()
        self.ax_.set(
            xlabel=f"difference of {self.metric.replace('_', ' ')}, 95 % interval",
            title=title or "differences between models",
        )
        self.ax_.margins(y=0.5 / max(len(t), 1))
        self.ax_.legend(
            fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(VERDICT_COLORS), frameon=False
        )
        return self

    def describe(self) -> str:
        """Alt text."""
        return "Differences between models with 95 percent intervals. " + " ".join(self.pairs["sentence"])


@dataclass
class FalseAlarmsDisplay:
    """How often each test sees a difference that is not there.

    Attributes
    ----------
    table : pandas.DataFrame
        Of `faceworkbook.evaluation.significance.false_alarms`.
    """

    table: pd.DataFrame

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> FalseAlarmsDisplay:
        """From the table of `false_alarms`."""
        return cls(table)

    def plot(self, ax=None, *, title: str = "") -> FalseAlarmsDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t, places = self.table, np.arange(len(self.table))
        self.ax_ = style.axes(ax, figsize=(7.0, 1.2 + 0.5 * len(t)))
        self.figure_ = self.ax_.figure
        colors = [style.COLORS[0] if ok else style.COLORS[3] for ok in t["valid"]]
        reach = 100 * np.vstack([t["alarms"] - t["low"], t["high"] - t["alarms"]])
        self.ax_.barh(places, 100 * t["alarms"], xerr=reach, color=colors, capsize=3, height=0.6)
        self.ax_.axvline(5, color="black", lw=0.9, ls="--")
        self.ax_.set_yticks(places, [name.replace(" (", "\n(") for name in t["test"]], fontsize=8.5)
        self.ax_.invert_yaxis()
        self.ax_.set(
            xlabel="false alarms, % of simulations with p < .05 (dashed: 5 %)",
            title=title or f"two equally good models (n = {t['simulations'].iloc[0]:,} simulations)",
        )
        return self

    def describe(self) -> str:
        """Alt text."""
        parts = [f"{r.test} {r.alarms:.1%}" for r in self.table.itertuples()]
        return (
            "False alarms between two equally good models, five percent being right: "
            + "; ".join(parts)
            + "."
        )

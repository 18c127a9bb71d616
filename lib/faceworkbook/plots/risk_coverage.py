"""Accuracy on the faces that a model decides when the least sure ones are left to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from faceworkbook.evaluation import calibration
from faceworkbook.plots import style


@dataclass
class RiskCoverageDisplay:
    """One line a model or measure of doubt.

    Attributes
    ----------
    curves : dict of str to pandas.DataFrame
        Columns left_to_a_person (share of the judged faces), accuracy, low, high, n.
    """

    curves: dict[str, pd.DataFrame]

    @classmethod
    def from_predictions(
        cls, named: Mapping[str, pd.DataFrame], *, seed: int = 0, **options
    ) -> RiskCoverageDisplay:
        """Take the curves of tables of predictions, by name; `options` are those of `risk_coverage`."""
        return cls(
            {name: calibration.risk_coverage(table, seed=seed, **options) for name, table in named.items()}
        )

    def plot(self, ax=None, *, title: str = "") -> RiskCoverageDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax)
        self.figure_ = self.ax_.figure
        for number, (name, t) in enumerate(self.curves.items()):
            color, share = style.COLORS[number % len(style.COLORS)], 100 * t["left_to_a_person"]
            self.ax_.plot(share, t["accuracy"], marker="o", ms=4, color=color, label=name)
            self.ax_.fill_between(share, t["low"], t["high"], color=color, alpha=0.18, lw=0)
        n = max(t["n"].max() for t in self.curves.values())
        self.ax_.set(
            xlabel="test faces left to a person (limits chosen on validation faces), %",
            ylabel="accuracy on the others, 95 % band",
            title=title or f"risk and coverage (n = {n:,})",
        )
        if len(self.curves) > 1:
            self.ax_.legend(fontsize=8.5)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        models = []
        for name, t in self.curves.items():
            first, last = t.iloc[0], t.iloc[-1]
            models.append(
                f"{name}: accuracy {first['accuracy']:.3f} on all {first['n']:,.0f} faces, "
                f"{last['accuracy']:.3f} when {last['left_to_a_person']:.0%} are left to a person"
            )
        return "Risk-coverage curve. " + "; ".join(models) + "."

"""How often each statistical test sees a difference that is not there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style


@dataclass
class FalseAlarmsDisplay:
    """False alarms of right and wrong tests between two equally good models.

    Attributes
    ----------
    table : pandas.DataFrame
        Of `faceworkbook.evaluation.significance.false_alarms`.
    """

    table: pd.DataFrame

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> FalseAlarmsDisplay:
        """Take the table of `false_alarms`."""
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
            xlabel="false alarms, % of simulations with p < .05 (dashed: the nominal 5 %)",
            title=title or f"two equally good models (n = {t['simulations'].iloc[0]:,} simulations)",
        )
        return self

    def describe(self) -> str:
        """Return the alt text."""
        tests = [f"{r.test} {r.alarms:.1%}" for r in self.table.itertuples()]
        return (
            f"False alarms between two equally good models, five percent being nominal: {'; '.join(tests)}."
        )

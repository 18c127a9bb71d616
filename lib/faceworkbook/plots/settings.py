"""Settings of a sweep: each one's figure with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import forest, style


@dataclass
class SettingsDisplay:
    """One row a setting; the one that validation rows choose has another colour.

    Attributes
    ----------
    settings : pandas.DataFrame
        setting, value, low, high, seeds, chosen.
    metric : str
    """

    settings: pd.DataFrame
    metric: str

    def plot(self, ax=None, *, title: str = "") -> SettingsDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        t, places = self.settings, np.arange(len(self.settings))
        names = [forest.wrap(name) for name in t["setting"]]
        self.ax_ = style.axes(ax, figsize=(7.4, 1.4 + 0.17 * sum(1 + len(n.splitlines()) for n in names)))
        self.figure_ = self.ax_.figure
        for chosen, color in ((False, style.COLORS[0]), (True, style.COLORS[3])):
            own = (t["chosen"] == chosen).to_numpy()
            if own.any():
                label = "chosen by validation rows" if chosen else "other settings"
                forest.draw(self.ax_, t[own], places=places[own], color=color, label=label)
        forest.name_rows(self.ax_, places, names)
        self.ax_.set(
            xlabel=f"test {style.words(self.metric)}, mean over seeds, 95 % interval",
            title=title or "each setting by itself",
        )
        if t["chosen"].any():
            is_own = self.figure_.axes == [self.ax_] and ax is None
            place = self.figure_.legend if is_own else self.ax_.legend
            place(fontsize=8, loc="outside lower right" if is_own else "best", ncols=2)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        each = [
            f"{row.setting}: {row.value:.3f}"
            + (f", {row.low:.3f} to {row.high:.3f}" if np.isfinite(row.low) else "")
            for row in self.settings.itertuples()
        ]
        return f"Test {style.words(self.metric)} of each setting with its 95 percent interval. {'; '.join(each)}."

"""What a leak is worth: scores of leaked and of clean test rows, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook.plots import forest, style

LOOKS = {
    "with": {"color": style.COLORS[3], "marker": "o"},
    "without": {"color": style.COLORS[0], "marker": "s"},
}


@dataclass
class LeakageDisplay:
    """Scores with 95 % intervals, trained with and without the people of the test rows.

    Attributes
    ----------
    table : pandas.DataFrame
        Of `audit.leakage_worth`.
    name : str
        The split and the label.
    """

    table: pd.DataFrame
    name: str = ""

    @classmethod
    def from_worth(cls, table: pd.DataFrame, *, name: str = "") -> LeakageDisplay:
        """Hold the table of `audit.leakage_worth`."""
        return cls(table, name)

    def plot(self, ax=None) -> LeakageDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.4, 2.6))
        self.figure_ = self.ax_.figure
        names = [*self.table["rows"].unique()]
        for trained, look in LOOKS.items():
            rows = self.table[self.table["trained"] == trained]
            at = [names.index(name) + (0.12 if trained == "with" else -0.12) for name in rows["rows"]]
            label = f"trained {trained} the people of the test rows"
            forest.draw(self.ax_, rows, places=at, label=label, **look)
        counts = self.table.groupby("rows")["n"].first()
        forest.name_rows(
            self.ax_, range(len(names)), [f"{name} rows (n = {counts[name]:,})" for name in names]
        )
        self.ax_.set(xlabel=f"{self.table['measure'].iloc[0]} (95 % interval)", title=self.name)
        self.ax_.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=2)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        rows = [
            f"{row.rows} rows, trained {row.trained}: {row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
            for row in self.table.itertuples()
        ]
        return f"{self.table['measure'].iloc[0]} of {self.name}: {'; '.join(rows)}."

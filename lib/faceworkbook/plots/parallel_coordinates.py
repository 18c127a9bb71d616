"""Which settings of a search went together, and which of them did well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style
from faceworkbook.plots.search import words

SPREAD = 50  # a range whose ends are so many times apart is drawn on a logarithmic axis


@dataclass
class ParallelCoordinatesDisplay:
    """Parallel coordinates: a line a trial through its settings, the better the darker.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a trial: state, value, and the columns `names`.
    names : list of str
    column : str
        The figure of validation rows that `value` is.
    higher : bool
    """

    table: pd.DataFrame
    names: list[str]
    column: str
    higher: bool

    @classmethod
    def from_search(cls, searched, names) -> ParallelCoordinatesDisplay:
        """Take ``faceworkbook.training.search.Searched`` and the names of its space."""
        whole = searched.table[searched.table["state"] == "complete"]
        varying = [name for name in names if whole[name].nunique() > 1]
        return cls(whole, varying, searched.column, searched.column == "val_accuracy")

    def plot(self) -> ParallelCoordinatesDisplay:
        """Draw into a new figure (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(None, figsize=(9.0, 4.2))
        self.figure_ = self.ax_.figure
        columns = [*self.names, "value"]
        places = np.column_stack([self._place(i, name) for i, name in enumerate(columns)])
        rank = self.table["value"].rank(pct=True, ascending=self.higher).to_numpy()
        for line, own in sorted(zip(places, rank, strict=True), key=lambda pair: pair[1]):
            color = style.COLORS[0] if own > 0.8 else style.GREY
            self.ax_.plot(line, color=color, alpha=0.15 + 0.7 * own**2, lw=0.7 + own)
        title = [name.replace("_", " ") for name in self.names] + [words(self.column)]
        self.ax_.set_xticks(range(len(columns)), title, rotation=20, ha="right", fontsize=8)
        self.ax_.set(
            yticks=[], ylim=(-0.06, 1.06), title=f"{len(self.table)} whole trials; blue: the best fifth"
        )
        self.ax_.spines[["left", "bottom"]].set_visible(False)
        return self

    def _place(self, x: int, name: str) -> np.ndarray:
        """Return each trial's height on one axis, and draw that axis with its ends."""
        values = self.table[name]
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            codes, levels = pd.factorize(values.astype(str), sort=True)
            height = codes / max(len(levels) - 1, 1)
            marks = list(zip(np.linspace(0, 1, max(len(levels), 2)), levels, strict=False))
        else:
            numbers = values.to_numpy(float)
            low, high = numbers.min(), numbers.max()
            is_log = low > 0 and high / low > SPREAD
            scaled = np.log(numbers) if is_log else numbers
            height = (scaled - scaled.min()) / (np.ptp(scaled) or 1.0)
            marks = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
        self.ax_.axvline(x, color="black", lw=0.6, alpha=0.5)
        for at, text in marks:
            self.ax_.text(x + 0.03, at, text, fontsize=7, va="center")
        return height

    def describe(self) -> str:
        """Return the alt text."""
        order = self.table.sort_values("value", ascending=not self.higher)
        best = order.head(max(len(order) // 5, 1))
        ranges = [
            f"{name.replace('_', ' ')} {best[name].min():.3g} to {best[name].max():.3g}"
            for name in self.names
            if pd.api.types.is_numeric_dtype(best[name]) and not pd.api.types.is_bool_dtype(best[name])
        ]
        return f"Settings of {len(self.table)} whole trials. The best fifth lies at {'; '.join(ranges)}."

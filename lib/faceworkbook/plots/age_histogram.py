"""Ages as a histogram, a bar a year (or any number label, in bins)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style

UNITS = {"age": "years", "yaw": "degrees", "pitch": "degrees", "roll": "degrees"}
WIDTHS = {"age": 1.0, "yaw": 5.0, "pitch": 5.0, "roll": 5.0}


@dataclass
class AgeHistogramDisplay:
    """Counts of a number label, stacked by group.

    Attributes
    ----------
    values : dict of str to ndarray
        Numbers by group name.
    column : str
    missing : int
        Faces without the number.
    """

    values: dict[str, np.ndarray]
    column: str
    missing: int

    @classmethod
    def from_faces(cls, faces: pd.DataFrame, *, column: str = "age", by: str = "") -> AgeHistogramDisplay:
        """Take the ages (or `column`) of `faces`, stacked by the classes of the label `by` where one is named."""
        numbers = faces[column].to_numpy(dtype=float, na_value=np.nan)
        known = np.isfinite(numbers)
        if not by:
            return cls({"all": numbers[known]}, column, int((~known).sum()))
        names = faces[by].astype(object).where(faces[by].notna(), style.MISSING).to_numpy()
        order = [c for c in (*faces[by].cat.categories, style.MISSING) if (names[known] == c).any()]
        return cls({c: numbers[known & (names == c)] for c in order}, column, int((~known).sum()))

    def plot(self, ax=None) -> AgeHistogramDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.8, 3.4))
        self.figure_ = self.ax_.figure
        unit, width = UNITS[self.column], WIDTHS[self.column]
        everything = np.concatenate([*self.values.values()])
        if len(everything):
            low, high = np.floor(everything.min() / width) * width, everything.max()
            bins = np.arange(low, high + 2 * width, width) - width / 2
            labels = [f"{name} (n = {len(v):,})" for name, v in self.values.items()]
            colors = [*style.class_colors(list(self.values)).values()]
            self.ax_.hist([*self.values.values()], bins=bins, stacked=True, label=labels, color=colors)
        if len(self.values) > 1:
            self.ax_.legend(fontsize=8)
        title = f"{self.column}, n = {len(everything):,} (unknown: {self.missing:,})"
        self.ax_.set(
            xlabel=f"{self.column} ({unit})",
            ylabel="faces a year" if width == 1 else f"faces in {width:g} {unit}",
            title=title,
        )
        return self

    def heaped(self) -> float:
        """Share of the numbers that are multiples of five, 0..1; about .2 where ages are not rounded."""
        everything = np.concatenate([*self.values.values()])
        return float((everything % 5 == 0).mean()) if len(everything) else float("nan")

    def describe(self) -> str:
        """Return the alt text."""
        everything = np.concatenate([*self.values.values()])
        if not len(everything):
            return f"Histogram of {self.column}: no face has one."
        low, median, high = np.percentile(everything, [0, 50, 100])
        return (
            f"Histogram of {self.column} of {len(everything):,} faces, from {low:.0f} to {high:.0f} "
            f"{UNITS[self.column]}, median {median:.0f}; {self.missing:,} have none."
        )

"""How many faces bear each label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook.plots import style

COLUMNS = 3


@dataclass
class BalanceDisplay:
    """One panel a label: bars for classes, a histogram for numbers.

    Attributes
    ----------
    panels : dict of str to pandas.Series
        Counts by class name, or the known numbers themselves (of the labels in `numbers`).
    n : int
        Faces in the table.
    """

    panels: dict[str, pd.Series]
    n: int
    numbers: frozenset[str] = frozenset()

    @classmethod
    def from_faces(cls, faces: pd.DataFrame) -> BalanceDisplay:
        """Count every label of a face table that has at least one known value."""
        panels = {}
        for column in face_table.label_columns(faces):
            if face_table.is_class_label(faces[column]):
                counts = faces[column].value_counts(sort=False)
                panels[column] = counts[counts > 0]
            else:
                panels[column] = faces[column].dropna().astype(float)
        numbers = [name for name in panels if not face_table.is_class_label(faces[name])]
        return cls(panels, len(faces), frozenset(numbers))

    def plot(self) -> BalanceDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        n = len(self.panels)
        size = (3.2 * min(COLUMNS, max(n, 1)), 2.7 * max(1, -(-n // COLUMNS)))
        self.figure_, self.axes_ = style.panels(n, columns=COLUMNS, size=size)
        for ax, (name, values) in zip(self.axes_, self.panels.items(), strict=True):
            (self._histogram if name in self.numbers else self._bars)(ax, name, values)
        return self

    def _bars(self, ax, name: str, counts: pd.Series) -> None:
        ax.barh([str(c) for c in counts.index], counts, color=style.COLORS[0])
        for i, count in enumerate(counts):
            ax.annotate(
                f"{count:,}", (count, i), textcoords="offset points", xytext=(3, 0), va="center", fontsize=7.5
            )
        ax.margins(x=0.18)
        ax.invert_yaxis()
        ax.set(title=f"{style.words(name)} (n = {int(counts.sum()):,})", xlabel="faces")

    def _histogram(self, ax, name: str, values: pd.Series) -> None:
        unit = {"age": "years", **dict.fromkeys(face_table.POSE, "degrees")}.get(name, "")
        ax.hist(values, bins=np.histogram_bin_edges(values, bins=24), color=style.COLORS[0])
        ax.set(title=f"{name} (n = {len(values):,})", xlabel=unit, ylabel="faces")

    def describe(self) -> str:
        """Return the alt text."""
        listed = []
        for name, values in self.panels.items():
            if name not in self.numbers:
                listed.append(f"{name}: " + ", ".join(f"{c} {int(v):,}" for c, v in values.items()))
            else:
                listed.append(
                    f"{name}: {values.min():.0f} to {values.max():.0f}, median {values.median():.0f}"
                )
        return f"Labels of {self.n:,} faces. " + "; ".join(listed) + "."

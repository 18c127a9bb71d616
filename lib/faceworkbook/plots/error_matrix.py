"""The errors alone: which true class is taken for which other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceworkbook.plots import confusion, style


@dataclass
class ErrorMatrixDisplay(confusion.ConfusionDisplay):
    """Errors as a share of the true class; made and held as `ConfusionDisplay` is."""

    @property
    def n_errors(self) -> int:
        """Number of faces that are predicted wrong."""
        return int(self.counts.sum() - np.trace(self.counts))

    def plot(self, ax=None, *, title: str = "") -> ErrorMatrixDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        k = len(self.classes)
        self.ax_ = style.axes(ax, figsize=(max(3.6, 0.62 * k + 2.2), max(2.6, 0.52 * k + 1.3)))
        self.figure_ = self.ax_.figure
        rates = 100 * confusion.shares(self.counts)
        np.fill_diagonal(rates, np.nan)
        what = f"errors, % of the true class (n = {self.n_errors:,} errors)"
        confusion.draw(self.ax_, rates, self.classes, "{:.1f}", title or what)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        worst = confusion.worst_confusion(self.counts, self.classes)
        return f"Matrix of the {self.n_errors:,} errors alone, in percent of the true class. {worst}"

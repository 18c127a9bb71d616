"""The loss against the learning rate, from a range test."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook.plots import style


@dataclass
class LrRangeDisplay:
    """Curve of a range test.

    Attributes
    ----------
    curve : pandas.DataFrame
        learning_rate, loss, smoothed.
    suggested, chosen : float
        Where the loss falls fastest, and the rate that is trained with.
    """

    curve: pd.DataFrame
    suggested: float
    chosen: float

    @classmethod
    def from_range(cls, result, *, chosen: float) -> LrRangeDisplay:
        """Take what `faceworkbook.training.lr_range.run_range_test` returned."""
        return cls(result.curve, result.suggested, chosen)

    def plot(self, ax=None, *, title: str = "") -> LrRangeDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.4, 3.4))
        self.figure_ = self.ax_.figure
        rates = self.curve["learning_rate"]
        self.ax_.plot(rates, self.curve["loss"], color=style.GREY, lw=0.8, alpha=0.6, label="a batch")
        self.ax_.plot(rates, self.curve["smoothed"], color=style.COLORS[0], label="smoothed")
        self.ax_.axvline(
            self.suggested, color=style.COLORS[2], ls="--", label=f"fastest fall: {self.suggested:.1e}"
        )
        self.ax_.axvline(self.chosen, color=style.COLORS[1], ls=":", label=f"trained with: {self.chosen:.1e}")
        highest = self.curve["smoothed"].iloc[0] * 1.5
        self.ax_.set(
            xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(None, highest), title=title
        )
        # Matplotlib writes powers of ten as formulas, which this style shows as they are.
        self.ax_.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
        self.ax_.xaxis.set_minor_formatter(lambda rate, _: "")
        self.ax_.legend(fontsize=8)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        return (
            f"Training loss over {len(self.curve)} batches while the learning rate rises from "
            f"{self.curve['learning_rate'].iloc[0]:.0e} to {self.curve['learning_rate'].iloc[-1]:.1e}; it falls fastest at "
            f"{self.suggested:.1e}, and {self.chosen:.1e} is trained with."
        )

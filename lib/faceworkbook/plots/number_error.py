"""Error of predicted numbers (age in years, pose in degrees) against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style

SMALL = 10


@dataclass
class NumberErrorDisplay:
    """Predicted against true (left), mean error and mean absolute error by true value (right).

    Attributes
    ----------
    truth, predicted : ndarray of shape (n,)
    unit : str
    bins : pandas.DataFrame
        Columns center, n, bias, mae, low, high (95 % bootstrap interval of the mean absolute error);
        bins of fewer than `SMALL` faces are drawn hollow.
    """

    truth: np.ndarray
    predicted: np.ndarray
    unit: str
    bins: pd.DataFrame

    @classmethod
    def from_predictions(
        cls,
        predictions: pd.DataFrame,
        *,
        unit: str = "years",
        subset: str = "test",
        width: float = 10,
        seed: int = 0,
    ) -> NumberErrorDisplay:
        """Bin the rows of `subset` by true value, `width` units a bin."""
        rows = predictions[predictions["split"] == subset]
        truth, predicted = rows["truth"].to_numpy(float), rows["predicted"].to_numpy(float)
        return cls(truth, predicted, unit, bin_errors(truth, predicted, width=width, seed=seed))

    def plot(self, *, title: str = "") -> NumberErrorDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        self.figure_, self.axes_ = style.panels(2, columns=2, size=(9.6, 3.9), title=title)
        self._draw_predictions(self.axes_[0])
        self._draw_errors(self.axes_[1])
        return self

    def _draw_predictions(self, ax) -> None:
        ax.hexbin(self.truth, self.predicted, gridsize=36, mincnt=1, bins="log", cmap=style.SEQUENTIAL)
        ends = [min(self.truth.min(), self.predicted.min()), max(self.truth.max(), self.predicted.max())]
        ax.plot(ends, ends, color=style.COLORS[3], lw=1.2, label="no error")
        ax.set(
            xlabel=f"true ({self.unit})",
            ylabel=f"predicted ({self.unit})",
            title=f"n = {len(self.truth):,} faces",
        )
        ax.legend()

    def _draw_errors(self, ax) -> None:
        b = self.bins
        ax.errorbar(
            b["center"],
            b["mae"],
            yerr=[b["mae"] - b["low"], b["high"] - b["mae"]],
            color=style.COLORS[0],
            capsize=3,
        )
        full = (b["n"] >= SMALL).to_numpy()
        ax.plot(
            b["center"][full],
            b["mae"][full],
            "o",
            color=style.COLORS[0],
            label="mean absolute error, 95 % interval",
        )
        ax.plot(b["center"][~full], b["mae"][~full], "o", mfc="white", color=style.COLORS[0])
        ax.plot(b["center"], b["bias"], "s--", color=style.COLORS[1], label="mean error (predicted - true)")
        ax.axhline(0, color=style.GREY, lw=0.8)
        for row in b.itertuples():
            ax.annotate(
                f"{row.n}",
                (row.center, row.high),
                textcoords="offset points",
                xytext=(0, 3),
                ha="center",
                fontsize=7,
            )
        ax.set(
            xlabel=f"true ({self.unit})",
            ylabel=f"error ({self.unit})",
            title="error by true value; numbers: n, hollow: n < 10",
        )
        ax.legend(fontsize=8)

    def describe(self) -> str:
        """Return the alt text."""
        worst = self.bins.loc[self.bins["mae"].idxmax()]
        error = np.abs(self.predicted - self.truth).mean()
        return (
            f"Predicted against true for {len(self.truth):,} faces, mean absolute error {error:.2f} {self.unit}; "
            f"largest around {worst['center']:.0f} {self.unit} with {worst['mae']:.1f} (n = {int(worst['n'])})."
        )


def bin_errors(
    truth: np.ndarray, predicted: np.ndarray, *, width: float, seed: int = 0, n_boot: int = 500
) -> pd.DataFrame:
    """Mean error and mean absolute error, with its interval, by bins of the truth."""
    rng, rows = np.random.default_rng(seed), []
    edges = np.floor(truth / width)
    for edge in np.unique(edges):
        error = (predicted - truth)[edges == edge]
        means = np.abs(error)[rng.integers(0, len(error), (n_boot, len(error)))].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        rows.append(((edge + 0.5) * width, len(error), error.mean(), np.abs(error).mean(), low, high))
    return pd.DataFrame(rows, columns=["center", "n", "bias", "mae", "low", "high"])

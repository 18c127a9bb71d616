"""The cross-data-set table as a picture: trained on (rows), tested on (columns)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.plots import style


@dataclass
class CrossDatasetDisplay:
    """One cell a pair of data sets, with value, interval and number of test faces.

    Attributes
    ----------
    measured : pandas.DataFrame
        Of `faceworkbook.experiments.cross_dataset.measure`.
    """

    measured: pd.DataFrame

    @classmethod
    def from_measured(cls, measured: pd.DataFrame) -> CrossDatasetDisplay:
        """Take the table of `experiments.cross_dataset.measure`."""
        return cls(measured)

    def plot(self, ax=None, *, title: str = "") -> CrossDatasetDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        names = list(dict.fromkeys(self.measured["trained_on"]))
        self.ax_ = style.axes(ax, figsize=(1.9 * len(names) + 2, 1.1 * len(names) + 1.4))
        self.figure_ = self.ax_.figure
        values = self.measured.pivot(index="trained_on", columns="tested_on", values="value")
        values = values.loc[names, names].to_numpy(dtype=float)
        self.ax_.imshow(values, cmap=style.SEQUENTIAL, aspect="auto")
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for row in self.measured.itertuples():
            i, j = names.index(row.trained_on), names.index(row.tested_on)
            text = f"{row.value:.3f}\n[{row.low:.3f}, {row.high:.3f}]\nn = {row.n_test:,}"
            text = text if np.isfinite(row.value) else "nothing left\nto train on"
            ink = "white" if row.value <= middle else "black"
            self.ax_.text(j, i, text, ha="center", va="center", fontsize=8.5, color=ink)
        self.ax_.set_xticks(range(len(names)), names)
        self.ax_.set_yticks(range(len(names)), names)
        metric = self.measured["metric"].iloc[0]
        self.ax_.set(xlabel="tested on", ylabel="trained on", title=title or f"{metric}, 95 % interval")
        return self

    def describe(self) -> str:
        """Return the alt text."""
        own = self.measured["trained_on"] == self.measured["tested_on"]
        return (
            f"{self.measured['metric'].iloc[0]} by training and test set: {self.measured['value'][own].mean():.3f} on "
            f"the training set's own test faces, {self.measured['value'][~own].mean():.3f} on those of other sets (means)."
        )

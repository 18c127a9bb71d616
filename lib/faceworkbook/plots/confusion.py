"""Confusion matrices: counts and rates side by side, and the errors alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from faceworkbook.plots import style


@dataclass
class ConfusionDisplay:
    """Counts (left) and shares of each true class (right).

    Attributes
    ----------
    counts : ndarray of shape (n_classes, n_classes), int
        Rows are true classes, columns predicted ones.
    classes : list of str
    """

    counts: np.ndarray
    classes: list[str]

    @classmethod
    def from_predictions(
        cls, predictions: pd.DataFrame, *, classes: list[str], subset: str = "test"
    ) -> ConfusionDisplay:
        """Count `truth` against `predicted` in the rows of `subset`."""
        return cls(count(predictions[predictions["split"] == subset], classes), list(classes))

    def plot(self, *, title: str = "") -> ConfusionDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        k = len(self.classes)
        width = max(3.2, 0.62 * k + 1.6)
        self.figure_, self.axes_ = plt.subplots(1, 2, figsize=(2 * width, max(2.6, 0.52 * k + 1.3)))
        totals = self.counts.sum(axis=1, keepdims=True)
        rates = np.divide(self.counts, totals, out=np.full(self.counts.shape, np.nan), where=totals > 0)
        n = int(self.counts.sum())
        draw(self.axes_[0], self.counts, self.classes, "{:,.0f}", f"faces (n = {n:,})")
        draw(self.axes_[1], rates, self.classes, "{:.2f}", "share of the true class", vmax=1.0)
        if title:
            self.figure_.suptitle(title, x=0.01, ha="left", fontsize=11)
        return self

    def describe(self) -> str:
        """Alt text."""
        right = int(np.trace(self.counts))
        return (
            f"Confusion matrix of {int(self.counts.sum()):,} test faces in {len(self.classes)} classes, counts and rates: "
            f"{right:,} are right. {worst_confusion(self.counts, self.classes)}"
        )


@dataclass
class ErrorMatrixDisplay:
    """The errors alone: which true class is taken for which other, as a share of the true class."""

    counts: np.ndarray
    classes: list[str]

    from_predictions = classmethod(ConfusionDisplay.from_predictions.__func__)

    def plot(self, *, title: str = "") -> ErrorMatrixDisplay:
        """Draw into a new figure (``figure_``, ``ax_``) and return self."""
        k = len(self.classes)
        self.figure_, self.ax_ = plt.subplots(figsize=(max(3.6, 0.62 * k + 2.2), max(2.6, 0.52 * k + 1.3)))
        totals = self.counts.sum(axis=1, keepdims=True)
        rates = np.divide(
            100.0 * self.counts, totals, out=np.full(self.counts.shape, np.nan), where=totals > 0
        )
        np.fill_diagonal(rates, np.nan)
        errors = int(self.counts.sum() - np.trace(self.counts))
        draw(self.ax_, rates, self.classes, "{:.1f}", f"errors, % of the true class (n = {errors:,} errors)")
        if title:
            self.figure_.suptitle(title, x=0.01, ha="left", fontsize=11)
        return self

    def describe(self) -> str:
        """Alt text."""
        errors = int(self.counts.sum() - np.trace(self.counts))
        return f"Matrix of the {errors:,} errors alone, in percent of the true class. {worst_confusion(self.counts, self.classes)}"


def count(predictions: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """ndarray of shape (n_classes, n_classes): rows true, columns predicted, in the order of `classes`."""
    truth = pd.Categorical(predictions["truth"], categories=classes).codes
    predicted = pd.Categorical(predictions["predicted"], categories=classes).codes
    if (truth < 0).any() or (predicted < 0).any():
        strange = set(predictions["truth"]) | set(predictions["predicted"])
        raise ValueError(f"classes {sorted(map(str, strange - set(classes)))} are not among {classes}")
    return np.bincount(truth * len(classes) + predicted, minlength=len(classes) ** 2).reshape(
        len(classes), -1
    )


def draw(
    ax, values: np.ndarray, classes: list[str], fmt: str, title: str, *, vmax: float | None = None
) -> None:
    """Draw one annotated matrix; cells without a value stay empty."""
    top = np.nanmax(values) if vmax is None and np.isfinite(values).any() else vmax or 1.0
    ax.imshow(values, cmap=style.SEQUENTIAL, vmin=0, vmax=top or 1.0)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if value < 0.55 * (top or 1.0) else "black"
            ax.text(j, i, fmt.format(value), ha="center", va="center", color=color, fontsize=8.5)
    long = max(map(len, classes)) > 6 or len(classes) > 6
    ax.set_xticks(range(len(classes)), classes, rotation=40 if long else 0, ha="right" if long else "center")
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlabel="predicted", ylabel="true", title=title)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def worst_confusion(counts: np.ndarray, classes: list[str]) -> str:
    """A sentence about the largest share of a true class that is taken for one other class."""
    totals = counts.sum(axis=1, keepdims=True)
    rates = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0).astype(float)
    np.fill_diagonal(rates, 0)
    i, j = np.unravel_index(rates.argmax(), rates.shape)
    if rates[i, j] == 0:
        return "There is no error."
    return f"Most often {classes[i]} is taken for {classes[j]}: {100 * rates[i, j]:.1f} % ({int(counts[i, j])} of {int(totals[i, 0])})."

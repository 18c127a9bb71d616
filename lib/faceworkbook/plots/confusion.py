"""Confusion matrix: counts and rates side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.evaluation import predictions as tables
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
        cls, predictions: pd.DataFrame, *, classes: list[str] | None = None, subset: str = "test"
    ) -> ConfusionDisplay:
        """Count `truth` against `predicted` in the rows of `subset`; all of the task's classes where None."""
        classes = tables.class_names(predictions) if classes is None else list(classes)
        return cls(count(predictions[predictions["split"] == subset], classes), classes)

    def plot(self, *, title: str = "") -> ConfusionDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        k, n = len(self.classes), int(self.counts.sum())
        size = (2 * max(3.2, 0.62 * k + 1.6), max(2.6, 0.52 * k + 1.3))
        self.figure_, self.axes_ = style.panels(2, columns=2, size=size, title=title)
        draw(self.axes_[0], self.counts, self.classes, "{:,.0f}", f"faces (n = {n:,})")
        draw(self.axes_[1], shares(self.counts), self.classes, "{:.2f}", "share of the true class", vmax=1.0)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        return (
            f"Confusion matrix of {int(self.counts.sum()):,} test faces in {len(self.classes)} classes, counts "
            f"and rates: {int(np.trace(self.counts)):,} are right. {worst_confusion(self.counts, self.classes)}"
        )


def count(predictions: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Return counts, ndarray of shape (n_classes, n_classes): rows true, columns predicted."""
    truth = pd.Categorical(predictions["truth"], categories=classes).codes
    predicted = pd.Categorical(predictions["predicted"], categories=classes).codes
    if (truth < 0).any() or (predicted < 0).any():
        strange = set(predictions["truth"]) | set(predictions["predicted"])
        raise ValueError(
            f"classes {sorted(map(str, strange - set(classes)))} are not among {classes}; give all classes of the predictions"
        )
    k = len(classes)
    return np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k)


def shares(counts: np.ndarray) -> np.ndarray:
    """Return counts as shares of each row, 0..1; NaN in empty rows."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


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
    """Describe the largest share of a true class that is taken for one other class."""
    rates = np.nan_to_num(shares(counts))
    np.fill_diagonal(rates, 0)
    i, j = np.unravel_index(rates.argmax(), rates.shape)
    if rates[i, j] == 0:
        return "There is no error."
    return (
        f"Most often {classes[i]} is taken for {classes[j]}: {100 * rates[i, j]:.1f} % ({int(counts[i, j])} of "
        f"{int(counts[i].sum())})."
    )

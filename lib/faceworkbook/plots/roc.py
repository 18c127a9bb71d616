"""ROC curve of a classifier of two classes, with a band from a bootstrap over people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from faceworkbook.evaluation import metrics
from faceworkbook.evaluation.rows import need_exclusive
from faceworkbook.plots import style

GRID = np.linspace(0, 1, 101)


@dataclass
class RocDisplay:
    """True positive rate against false positive rate.

    Attributes
    ----------
    fpr, tpr : ndarray
    low, high : ndarray of shape (101,)
        95 % band of the true positive rate at the false positive rates 0, 0.01, ..., 1.
    auc : tuple of float
        Value, low, high.
    positive : str
        The class whose probability is ranked.
    n : int
    """

    fpr: np.ndarray
    tpr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    auc: tuple[float, float, float]
    positive: str
    n: int

    @classmethod
    def from_predictions(
        cls, predictions: pd.DataFrame, *, subset: str = "test", seed: int = 0, n_boot: int = 200
    ) -> RocDisplay:
        """Rank the rows of `subset`; the second class is the positive one."""
        rows = need_exclusive(metrics.rows_of(predictions, subset=subset), "a ROC curve")
        if len(rows.classes) != 2:
            raise ValueError(
                f"a ROC curve needs two classes, these predictions have {len(rows.classes)}; take one label against the rest"
            )
        score, positive = rows.probabilities[:, 1], rows.truth == 1
        rng, curves = np.random.default_rng(seed), []
        for _ in range(n_boot):
            weight = rng.multinomial(rows.n_units, np.full(rows.n_units, 1 / rows.n_units))[rows.units]
            if positive[weight > 0].any() and not positive[weight > 0].all():
                fpr, tpr, _ = roc_curve(positive, score, sample_weight=weight)
                curves.append(np.interp(GRID, fpr, tpr))
        low, high = np.percentile(curves, [2.5, 97.5], axis=0)
        auc = metrics.summary(predictions, subset=subset, names=["auc"], seed=seed).iloc[0]
        fpr, tpr, _ = roc_curve(positive, score)
        return cls(fpr, tpr, low, high, tuple(auc[["value", "low", "high"]]), rows.classes[1], len(score))

    def plot(self, ax=None, *, title: str = "") -> RocDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(4.8, 4.4))
        self.figure_ = self.ax_.figure
        value, low, high = self.auc
        self.ax_.plot(
            self.fpr, self.tpr, color=style.COLORS[0], label=f"AUC {value:.3f} [{low:.3f}, {high:.3f}]"
        )
        self.ax_.fill_between(
            GRID, self.low, self.high, color=style.COLORS[0], alpha=0.2, lw=0, label="95 % band"
        )
        self.ax_.plot([0, 1], [0, 1], color=style.GREY, lw=0.8, ls="--", label="chance")
        self.ax_.set(
            xlabel=f"share of the others called {self.positive}",
            ylabel=f"share of {self.positive} called {self.positive}",
            title=title or f"ROC, positive: {self.positive} (n = {self.n:,})",
            aspect="equal",
        )
        self.ax_.legend(loc="lower right", fontsize=8.5)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        value, low, high = self.auc
        return (
            f"ROC curve for {self.positive} on {self.n:,} test faces; area under it {value:.3f}, "
            f"95 percent interval {low:.3f} to {high:.3f}."
        )

"""Descriptors seen in the plane of their first two principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from faceworkbook.plots import style

MARKERS = "os^Dv<>Ph"


@dataclass
class PCADisplay:
    """Points coloured by class.

    Attributes
    ----------
    points : ndarray of shape (n, 2)
    labels : pandas.Categorical of length n
    explained : ndarray of shape (2,), range 0..1
        Share of the variance that each axis holds.
    """

    points: np.ndarray
    labels: pd.Categorical
    explained: np.ndarray

    @classmethod
    def from_matrix(
        cls, matrix: np.ndarray, labels, *, n: int = 2000, seed: int = 0, standardise: bool = False
    ) -> PCADisplay:
        """Fit on at most `n` rows drawn at random among those with a label.

        Parameters
        ----------
        matrix : ndarray of shape (n_faces, d), float32
            May be memory-mapped; only the drawn rows are read.
        labels : Series of length n_faces
            Categories; numbers are cut into five bins of equal size.
        standardise : bool
            Give every column the same deviation first, as descriptors of several networks side by side need.
        """
        known = np.flatnonzero(pd.notna(labels))
        rows = np.sort(np.random.default_rng(seed).permutation(known)[:n])
        pca = PCA(2, random_state=seed)
        chosen_rows = np.asarray(matrix[rows], dtype=np.float64)
        points = pca.fit_transform(
            StandardScaler().fit_transform(chosen_rows) if standardise else chosen_rows
        )
        chosen = as_classes(pd.Series(labels).reset_index(drop=True).iloc[rows])
        return cls(points, chosen, pca.explained_variance_ratio_)

    def plot(self, ax=None, *, title: str = "") -> PCADisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.4, 4.6))
        self.figure_ = self.ax_.figure
        colors = style.class_colors(self.labels.categories)
        for i, name in enumerate(self.labels.categories):
            at = self.labels == name
            marker, color = MARKERS[i % len(MARKERS)], colors[name]
            label = f"{name} (n = {int(at.sum()):,})"
            self.ax_.scatter(
                *self.points[at].T, s=10, marker=marker, color=color, alpha=0.55, linewidths=0, label=label
            )
        x, y = 100 * self.explained
        self.ax_.set(
            xlabel=f"component 1 ({x:.1f} % of variance)", ylabel=f"component 2 ({y:.1f} %)", title=title
        )
        self.ax_.legend(fontsize=8, markerscale=1.6, loc="upper left", bbox_to_anchor=(1, 1))
        return self

    def describe(self) -> str:
        """Return the alt text."""
        names = ", ".join(self.labels.categories)
        return (
            f"Scatter of {len(self.points):,} descriptors on their first two principal components, which hold "
            f"{100 * self.explained.sum():.1f} percent of the variance, coloured by {names}."
        )


def as_classes(labels: pd.Series) -> pd.Categorical:
    """Return the categories that occur, in order; numbers become five bins of equal size."""
    if isinstance(labels.dtype, pd.CategoricalDtype):
        return pd.Categorical(labels).remove_unused_categories()
    bins = pd.qcut(labels.astype(float), 5, duplicates="drop", precision=0)
    return pd.Categorical(bins).rename_categories(lambda b: f"{b.left:.0f} to {b.right:.0f}")

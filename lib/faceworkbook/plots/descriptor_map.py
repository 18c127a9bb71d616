"""A map of descriptors: faces that look alike to a network lie near each other (t-SNE on principal components)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from faceworkbook.plots import style
from faceworkbook.plots.pca import MARKERS, as_classes
from faceworkbook.threads import one_thread

MOST = 5000  # faces on a map: beyond it the map takes minutes and its points lie on each other
LEAST = 10  # faces; fewer have no neighbourhoods
COMPONENTS, PERPLEXITY = 50, 30.0


@dataclass
class DescriptorMapDisplay:
    """Test faces by the likeness of their descriptors.

    Attributes
    ----------
    points : pandas.DataFrame
        face_id, x, y; no row where there are too few faces.
    labels : pandas.Categorical of length n
        What colours the points.
    by : str
        Its name.
    n_faces : int
        Faces that the points were drawn from.
    """

    points: pd.DataFrame
    labels: pd.Categorical
    by: str
    n_faces: int

    @classmethod
    def from_predictions(
        cls, predictions: pd.DataFrame, descriptors, *, most: int = MOST, seed: int = 0, quick: bool = False
    ) -> DescriptorMapDisplay:
        """Map the test faces that have a descriptor, at most `most` of them, drawn at random.

        Parameters
        ----------
        predictions : pandas.DataFrame
            Its truth colours the points.
        descriptors : Descriptors or Joined
            `face_id`, and `matrix` of which the mapped rows alone are read.
        quick : bool
            Stop the optimisation early, for a smoke run.
        """
        tested = predictions[predictions["split"] == "test"].drop_duplicates("face_id")
        rows = pd.Index(descriptors.face_id).get_indexer(tested["face_id"])
        tested, rows = tested[rows >= 0], rows[rows >= 0]
        chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
        shown = tested.iloc[chosen].reset_index(drop=True)
        points = pd.DataFrame({"face_id": shown["face_id"].astype(str), "x": np.nan, "y": np.nan})
        if len(chosen) < LEAST:
            points = points.iloc[:0]
        else:
            # Rows of a memory-mapped matrix are read in their order on disk.
            order = np.argsort(rows[chosen])
            matrix = np.empty((len(chosen), descriptors.matrix.shape[1]))
            matrix[order] = descriptors.matrix[rows[chosen][order]]
            points[["x", "y"]] = embed(matrix, seed=seed, quick=quick)
        truth = shown["truth"].iloc[: len(points)]
        if not pd.api.types.is_numeric_dtype(truth):
            truth = truth.astype("category")
        return cls(points, as_classes(truth) if len(points) else pd.Categorical([]), "true label", len(rows))

    @classmethod
    def nothing(cls) -> DescriptorMapDisplay:
        """Return a map without a face, of a run that has no descriptors."""
        points = pd.DataFrame({"face_id": pd.Series(dtype=str), "x": [], "y": []})
        return cls(points, pd.Categorical([]), "true label", 0)

    def plot(self, ax=None) -> DescriptorMapDisplay:
        """Draw (``figure_``, ``ax_``) and return self."""
        self.ax_ = style.axes(ax, figsize=(6.4, 5.2))
        self.figure_ = self.ax_.figure
        colors = style.class_colors([str(name) for name in self.labels.categories])
        for number, name in enumerate(self.labels.categories):
            at = self.labels == name
            self.ax_.scatter(
                self.points["x"][at],
                self.points["y"][at],
                s=9,
                marker=MARKERS[number % len(MARKERS)],
                color=colors[str(name)],
                alpha=0.6,
                linewidths=0,
                label=f"{name} (n = {int(at.sum()):,})",
            )
        self.ax_.set(xticks=[], yticks=[], xlabel="distances within a neighbourhood alone mean something")
        if len(self.points):
            self.ax_.legend(fontsize=8, markerscale=1.6, loc="upper left", bbox_to_anchor=(1, 1))
        return self

    def describe(self) -> str:
        """Return the alt text."""
        if not len(self.points):
            return f"No map: {self.n_faces:,} test faces have a descriptor; it takes {LEAST} or more."
        names = ", ".join(str(name) for name in self.labels.categories)
        return (
            f"Map of the descriptors of {len(self.points):,} of {self.n_faces:,} test faces (t-SNE on principal components), "
            f"coloured by {self.by}: {names}. Faces that look alike to the network lie near each other."
        )


@one_thread()
def embed(matrix: np.ndarray, *, seed: int = 0, quick: bool = False) -> np.ndarray:
    """Return a place in the plane for each row, (n, 2): t-SNE on standardised principal components.

    Parameters
    ----------
    matrix : ndarray of shape (n, d)
    """
    scaled = StandardScaler().fit_transform(matrix)
    reduced = PCA(min(COMPONENTS, *matrix.shape), random_state=seed).fit_transform(scaled)
    perplexity = min(PERPLEXITY, (len(matrix) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, max_iter=250 if quick else 1000)
    return tsne.fit_transform(reduced)

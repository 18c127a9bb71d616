"""How far a face lies from the faces that a model has learned from: the "unlike the training faces" flag.

Descriptors are brought to unit length, since their length falls for blurred or odd pictures until they look
central. The distance is that of probabilistic principal components (Tipping and Bishop 1999): squared
deviations along the leading directions over their variances, and what is left over over its own, each divided
by its number of directions. What distance is far is read from validation faces, which trained nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from faceworkbook.threads import one_thread

DIRECTIONS = 32
FLAGGED = 0.05  # share of validation faces that are flagged
_QUANTILES = np.linspace(0, 1, 101)
_MAX_ROWS = 20_000
_ARRAYS = ("spread_mean", "spread_directions", "spread_variances", "spread_quantiles")


class SpreadError(ValueError):
    """Arrays that describe no spread of descriptors."""


@dataclass(frozen=True, eq=False)
class Spread:
    """Where the descriptors of the training faces lie.

    Attributes
    ----------
    mean : ndarray of shape (d,)
        Of training descriptors of unit length.
    directions : ndarray of shape (d, k), float16
        The leading principal directions; a column has unit length.
    variances : ndarray of shape (k + 1,)
        Along them, and on average along all others.
    quantiles : ndarray of shape (101,)
        Of the distances of validation faces, from the least to the largest.
    flagged : float, 0..1
        Share of validation faces beyond the limit.
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    quantiles: np.ndarray
    flagged: float = FLAGGED

    @classmethod
    def fit(cls, training: np.ndarray, validation: np.ndarray, *, flagged: float = FLAGGED) -> Spread:
        """Fit on descriptors (n, d) of training faces; limits come from those of validation faces.

        Of very many training faces every so-many-th is used.
        """
        every = max(1, -(-len(training) // _MAX_ROWS))
        x = _unit(np.asarray(training[::every], dtype=np.float64))
        mean = x.mean(axis=0)
        k = max(1, min(DIRECTIONS, x.shape[1] - 1, len(x) - 2))
        with one_thread():
            _, sizes, axes = np.linalg.svd(x - mean, full_matrices=False)
        variances = sizes**2 / max(len(x) - 1, 1)
        rest = variances[k:].sum() / max(x.shape[1] - k, 1)
        floor = max(variances[0], 1e-12) * 1e-6
        kept = np.maximum(np.append(variances[:k], rest), floor)
        directions = axes[:k].T.astype(np.float16)
        made = cls(mean.astype(np.float32), directions, kept.astype(np.float32), np.zeros(101), flagged)
        distances = made.distances(np.asarray(validation if len(validation) else training))
        quantiles = np.quantile(distances, _QUANTILES).astype(np.float32)
        return cls(made.mean, directions, made.variances, quantiles, flagged)

    def distances(self, descriptors: np.ndarray) -> np.ndarray:
        """Return the distance of each descriptor, (n,), 0 or more; about 1 for a face like the training faces."""
        # Double precision: what is left over is a difference, which must not depend on the size of a batch.
        off = _unit(np.asarray(descriptors, dtype=np.float64)) - self.mean
        along = off @ self.directions.astype(np.float64)
        left = np.maximum((off**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        k, d = along.shape[1], off.shape[1]
        return (along**2 / self.variances[:-1]).mean(axis=1) + left / (max(d - k, 1) * self.variances[-1])

    def score(self, descriptors: np.ndarray) -> np.ndarray:
        """Return for each descriptor the share of validation faces that lie nearer, (n,), 0..1."""
        return np.interp(self.distances(descriptors), self.quantiles, _QUANTILES)

    def is_unlike(self, score: np.ndarray) -> np.ndarray:
        """Return which scores are beyond the limit, bool (n,)."""
        return score > 1 - self.flagged

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by the names that they have in a file."""
        values = (self.mean, self.directions, self.variances, self.quantiles)
        return dict(zip(_ARRAYS, values, strict=True))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], *, width: int, flagged: float) -> Spread:
        """Read what `to_arrays` wrote, for descriptors of `width`."""
        try:
            mean, directions, variances, quantiles = (arrays[name] for name in _ARRAYS)
        except KeyError as error:
            raise SpreadError(f"the array {error} is missing") from error
        k = len(variances) - 1
        shapes = (mean.shape, directions.shape, variances.shape, quantiles.shape)
        if shapes != ((width,), (width, k), (k + 1,), (101,)) or k < 1:
            raise SpreadError(f"the spread's arrays have shapes {shapes} for descriptors of width {width}")
        if not (np.all(variances > 0) and np.all(np.diff(quantiles) >= 0) and 0 < flagged < 1):
            raise SpreadError("variances must be above 0, quantiles ascend, and flagged lie between 0 and 1")
        return cls(mean, directions, variances, quantiles, flagged)


def _unit(x: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.maximum(length, 1e-12)

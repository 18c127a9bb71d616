"""Targets for labels that a row does not have: distilled, pseudo-labels, and what to trust of them.

Source: Hong, Niu, Zhang, Zhang, "Beyond without forgetting: multi-task learning for classification with
disjoint datasets", arXiv 2003.06746.  All of it works on plain arrays: logits and features that the current
model gives for rows without a task's label, and features of the rows that have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.mixture import GaussianMixture

NAIVE, PSEUDO = "naive", "pseudo"
METHODS = (NAIVE, "distilled", PSEUDO)
SELECTORS = ("confidence", "density", "distribution")
FIXED, LEARNED = "fixed", "learned"
SELECTIONS = ("hard", "interpolate", FIXED, LEARNED)
# Rows of a class whose pairwise distances are held at once.
BLOCK = 2048


@dataclass(frozen=True)
class Fill:
    """How missing labels are filled, once an epoch, from the current model.

    Attributes
    ----------
    method : {'naive', 'distilled', 'pseudo'}
        'naive': not at all.  'distilled': softmax(logits / T).  'pseudo': arg-max, weighted by `selectors`.
        A number has no pseudo-label; its target is then the model's own value, as for 'distilled'.
    temperature : float, above 0
        T of the distilled targets.  Above 1 (arXiv 2003.06746: 2) they are softer than the model's own answer, and
        training on many of them flattens it.
    selectors : tuple, any of 'confidence', 'density', 'distribution'
        Their product, divided by its maximum, weighs the pseudo-labels.  With none, a target is half
        one-hot, half distilled ('fixed' and 'learned' ask no selector).
    selection : {'hard', 'interpolate', 'fixed', 'learned'}
        'hard': weight * one-hot from the `threshold` quantile of the weights upwards, distilled below it.
        'interpolate': weight * one-hot + (1 - weight) * distilled.
        'fixed': the same with one weight for all rows, `weight`.  'learned': with the one under which targets made so
        would have described the labels of the validation rows best, anew each epoch and for each task; see `learn_weight`.
    weight : float, 0..1
        Of the one-hot target ('fixed').
    threshold : float, 0..1
        Quantile of the weights (hard selection).
    density_t : float, 0..1
        Quantile of the pairwise distances that is the cut-off of neighbourhood.
    cluster_k : int, 1 or more
        Components of the Gaussian mixtures.
    first_epoch : int
        Epochs before this one leave missing labels out, while the model knows nothing yet.
    """

    method: str = NAIVE
    temperature: float = 1.0
    selectors: tuple[str, ...] = ()
    selection: str = "hard"
    weight: float = 0.5
    threshold: float = 0.8
    density_t: float = 0.6
    cluster_k: int = 3
    first_epoch: int = 1

    def __post_init__(self):
        object.__setattr__(self, "selectors", tuple(self.selectors))
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}; allowed are {list(METHODS)}")
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection={self.selection!r}; allowed are {list(SELECTIONS)}")
        unknown = sorted(set(self.selectors) - set(SELECTORS))
        if unknown:
            raise ValueError(f"selectors {unknown} are unknown; allowed are {list(SELECTORS)}")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}; allowed is above 0")
        for name in ("weight", "threshold", "density_t"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}; allowed is 0..1")
        if self.cluster_k < 1:
            raise ValueError(f"cluster_k={self.cluster_k}; allowed is 1 or more")


def targets(
    fill: Fill,
    logits: np.ndarray,
    features: np.ndarray,
    labelled_features: np.ndarray,
    *,
    seed: int,
    learned: float | None = None,
) -> np.ndarray:
    """Return labels of each row without label, for a task with classes.

    Parameters
    ----------
    fill : Fill
        Its method is 'distilled' or 'pseudo'.
    logits : ndarray of shape (n, n_classes)
        Of the current model, on the rows without label.
    features : ndarray of shape (n, width)
        The task's features of the same rows.
    labelled_features : ndarray of shape (m, width)
        The task's features of the rows that have the label (distribution selector).
    seed : int
        Of the Gaussian mixtures.
    learned : float, 0..1, optional
        Weight of the one-hot target, where it is learned.

    Returns
    -------
    ndarray of shape (n, n_classes), float32
    """
    soft = distilled(logits, fill.temperature)
    if fill.method == "distilled" or not len(logits):
        return soft.astype(np.float32)
    codes = logits.argmax(axis=1)
    hard = np.eye(logits.shape[1])[codes]
    if fill.selection in (FIXED, LEARNED) or not fill.selectors:
        weight = {FIXED: fill.weight, LEARNED: learned}.get(fill.selection, 0.5)
        return interpolate(np.full(len(hard), weight), hard, soft).astype(np.float32)
    weights = selector_weights(fill, logits, features, labelled_features, seed=seed)
    if fill.selection == "interpolate":
        return interpolate(weights, hard, soft).astype(np.float32)
    return select(weights, hard, soft, threshold=fill.threshold).astype(np.float32)


def learn_weight(logits: np.ndarray, codes: np.ndarray, *, temperature: float = 1.0) -> float:
    """Return the weight w, 0..1, under which w * one-hot + (1 - w) * distilled gives known labels the highest likelihood.

    The likelihood of a row is w + (1 - w) p where its arg-max is right, else (1 - w) p, p the distilled probability of
    its label; its logarithm is concave in w, so the largest is the only one.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
        On rows that were not trained on; an overconfident model would learn that it is always right.
    codes : ndarray of shape (n,), int
        Their labels.
    """
    right = logits.argmax(axis=1) == codes
    p = np.maximum(distilled(logits, temperature)[np.arange(len(codes)), codes], np.finfo(float).tiny)

    def cost(weight: float) -> float:
        return -np.log(np.where(right, weight, 0) + (1 - weight) * p).sum()

    return float(minimize_scalar(cost, bounds=(0, 1), method="bounded").x)


def selector_weights(
    fill: Fill, logits: np.ndarray, features: np.ndarray, labelled_features: np.ndarray, *, seed: int
) -> np.ndarray:
    """Return the product of the selectors that `fill` names, divided by its maximum; shape (n,), range 0..1."""
    makers = {
        "confidence": lambda: confidence(logits),
        "density": lambda: density(features, logits.argmax(axis=1), quantile=fill.density_t),
        "distribution": lambda: distribution(
            labelled_features, features, components=fill.cluster_k, seed=seed
        ),
    }
    return combine([makers[name]() for name in fill.selectors])


def distilled(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(logits / temperature) over the class axis; each row adds up to 1."""
    return softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)


def confidence(logits: np.ndarray) -> np.ndarray:
    """Return the largest probability of each row; shape (n,), range 1/n_classes..1."""
    return distilled(logits, 1.0).max(axis=1)


def density(features: np.ndarray, pseudo: np.ndarray, *, quantile: float = 0.6) -> np.ndarray:
    """Count the neighbours that a row has among those of the same pseudo-class.

    In each pseudo-class the cut-off is the `quantile` of the distances between its pairs of rows; the
    density of a row is the number of other rows nearer than or at the cut-off, scaled to 0..1 (the sparsest
    row of the class 0, the densest 1; all 1 where none differs).

    Parameters
    ----------
    features : ndarray of shape (n, width)
    pseudo : ndarray of shape (n,), int

    Returns
    -------
    ndarray of shape (n,), range 0..1
    """
    out = np.ones(len(features))
    for code in np.unique(pseudo):
        rows = np.flatnonzero(pseudo == code)
        out[rows] = _scaled(_neighbours(np.asarray(features)[rows], quantile))
    return out


def _scaled(counts: np.ndarray) -> np.ndarray:
    low, high = counts.min(), counts.max()
    return (counts - low) / (high - low) if high > low else np.ones(len(counts))


def _neighbours(features: np.ndarray, quantile: float) -> np.ndarray:
    if len(features) < 3:
        return np.zeros(len(features))
    cutoff = _pair_quantile(features, quantile)
    # Rounding must not turn the very pair at the cut-off away.
    reach = cutoff * (1 + 1e-6) + 1e-12
    return sum_within(features, reach) - 1


def _pair_quantile(features: np.ndarray, quantile: float) -> float:
    # Beyond this many rows, the quantile of 2 million pairs of evenly spaced rows stands for all of them.
    chosen = features[:: -(-len(features) // BLOCK)]
    distances = _distances(chosen, chosen)
    return float(np.quantile(distances[np.triu_indices(len(chosen), k=1)], quantile))


def sum_within(features: np.ndarray, reach: float) -> np.ndarray:
    """Count the rows within `reach` of each row, itself included; in blocks, memory stays bounded."""
    blocks = [features[s : s + BLOCK] for s in range(0, len(features), BLOCK)]
    return np.concatenate([(_distances(block, features) <= reach).sum(axis=1) for block in blocks])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


def distribution(
    labelled: np.ndarray, pseudo: np.ndarray, *, components: int = 3, seed: int = 0
) -> np.ndarray:
    """Weigh how near a row's cluster lies to the labelled rows: 1 / earth mover's distance over the largest.

    One Gaussian mixture (diagonal covariances) is fitted to the labelled features and one to the
    pseudo-labelled ones; see `mixture_distances` for the distance.  Every row of a pseudo-cluster has its
    cluster's weight.

    Parameters
    ----------
    labelled : ndarray of shape (m, width)
    pseudo : ndarray of shape (n, width)

    Returns
    -------
    ndarray of shape (n,), range above 0..1
    """
    if not len(labelled):
        raise ValueError("the distribution selector needs rows that have the label; none was given")
    ours, theirs = _mixture(labelled, components, seed), _mixture(pseudo, components, seed)
    distances = mixture_distances(theirs, ours)
    weights = 1.0 / np.maximum(distances, np.finfo(float).eps)
    return (weights / weights.max())[theirs.predict(np.asarray(pseudo, dtype=np.float64))]


def _mixture(features: np.ndarray, components: int, seed: int) -> GaussianMixture:
    mixture = GaussianMixture(
        min(components, len(np.unique(features, axis=0))),
        covariance_type="diag",
        reg_covar=1e-6,
        random_state=seed,
    )
    return mixture.fit(np.asarray(features, dtype=np.float64))


def mixture_distances(clusters: GaussianMixture, mixture: GaussianMixture) -> np.ndarray:
    """Return the earth mover's distance of each single cluster to a whole mixture; shape (n_clusters,).

    The earth is mass on Gaussians, and moving from one Gaussian to another costs their 2-Wasserstein
    distance, sqrt(|m1 - m2|^2 + |s1 - s2|^2) for diagonal covariances.  All of a single cluster's mass
    starts at one place, so the plan is forced: share pi_k goes to component k, and the distance is
    sum_k pi_k * cost_k; no solver is needed.
    """
    between = _distances(clusters.means_, mixture.means_) ** 2
    spreads = _distances(np.sqrt(clusters.covariances_), np.sqrt(mixture.covariances_)) ** 2
    return np.sqrt(between + spreads) @ mixture.weights_


def combine(weights: list[np.ndarray]) -> np.ndarray:
    """Return the product of the selectors' weights, divided by its maximum; all 0 stays all 0."""
    product = np.prod(np.stack(weights), axis=0)
    return product / product.max() if product.max() > 0 else product


def select(weights: np.ndarray, hard: np.ndarray, soft: np.ndarray, *, threshold: float) -> np.ndarray:
    """Select hard: weight * one-hot from the quantile `threshold` upwards, the distilled target below.

    Parameters
    ----------
    weights : ndarray of shape (n,)
    hard, soft : ndarrays of shape (n, n_classes)
        One-hot pseudo-labels and distilled targets.
    threshold : float, 0..1
    """
    trusted = weights >= np.quantile(weights, threshold)
    return np.where(trusted[:, None], weights[:, None] * hard, soft)


def interpolate(weights: np.ndarray, hard: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """Return weight * one-hot + (1 - weight) * distilled, row by row."""
    return weights[:, None] * hard + (1 - weights[:, None]) * soft

"""Are several figures equal? Their largest standardised difference, against draws in which they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from faceworkbook.evaluation import figures
from faceworkbook.evaluation.figures import Figure
from faceworkbook.evaluation.intervals import CONFIDENCE

NORMAL = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Equality:
    """Outcome of a test that the figures within each family are equal.

    Attributes
    ----------
    value, low, high : float
        Largest difference within a family; its interval holds for all pairs together (Bonferroni).
    p : float
        Share of draws of equal figures in which some pair stands as far apart, in its own standard errors.
    null_mean : float
        Mean largest difference of equal figures, in the figures' unit.
    """

    value: float
    low: float
    high: float
    p: float
    null_mean: float


def compare_all(families: Sequence[Sequence[Figure]], *, n_draws: int, seed: int) -> Equality:
    """Test that the figures within each family are equal, whatever their errors; NaN where no pair has errors.

    Parameters
    ----------
    families : sequence of sequences of Figure
        Such as one figure a group, or for every class one hit rate a group.
    n_draws : int
        Draws of correlated normal deviations, with the figures' errors.

    Notes
    -----
    A pair's difference is divided by the side of its interval that points at 0 (Newcombe 1998), which for shares near
    1 is the longer one; the largest over all pairs is compared with that of the draws (Tukey's studentised range).
    """
    pairs = [pair for family in families for pair in combinations(_known(family), 2)]
    if not pairs:
        return Equality(*[np.nan] * 5)
    each = list({id(figure): figure for pair in pairs for figure in pair}.values())
    position = {id(figure): i for i, figure in enumerate(each)}
    first, second = (np.array([position[id(pair[side])] for pair in pairs]) for side in (0, 1))
    tied = np.array([[1.0 if a is b else figures.correlation(a, b) for b in each] for a in each])
    spread = np.array([scatter(figure) for figure in each])
    drawn = _draw(tied, n_draws, seed) * spread
    apart = np.abs(drawn[:, first] - drawn[:, second])
    covariance = tied[first, second] * spread[first] * spread[second]
    error = np.sqrt(np.maximum(spread[first] ** 2 + spread[second] ** 2 - 2 * covariance, 1e-24))
    standard = (apart / error).max(axis=1)
    seen = max(_standardise(*pair) for pair in pairs)
    top, bottom = max(pairs, key=lambda pair: abs(pair[0].value - pair[1].value))
    top, bottom = (top, bottom) if top.value >= bottom.value else (bottom, top)
    low, high = figures.difference_interval(top, bottom, confidence=simultaneous(len(pairs)))
    return Equality(
        value=top.value - bottom.value,
        low=max(low, 0.0),
        high=high,
        p=float((np.sum(standard >= seen * (1 - 1e-9)) + 1) / (n_draws + 1)),
        null_mean=float(apart.max(axis=1).mean()),
    )


def _known(family: Sequence[Figure]) -> list[Figure]:
    return [figure for figure in family if np.isfinite([figure.value, *figure.interval()]).all()]


def _draw(tied: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(tied)
    normal = np.random.default_rng(seed).normal(size=(n_draws, len(tied)))
    return normal @ (vectors * np.sqrt(np.maximum(values, 0))).T


def _standardise(first: Figure, second: Figure) -> float:
    if first.value < second.value:
        first, second = second, first
    difference = first.value - second.value
    low, _ = figures.difference_interval(first, second)
    return NORMAL * difference / max(difference - low, 1e-12)


def scatter(figure: Figure) -> float:
    """Return the standard error on the figure's own scale, from the width of its interval."""
    low, high = figure.interval()
    return float(high - low) / (2 * NORMAL)


def simultaneous(count: int) -> float:
    """Return the confidence at which each of `count` intervals holds so that all hold together (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / max(count, 1)


def shrink(each: Sequence[Figure]) -> np.ndarray:
    """Draw values towards their mean by as much as chance spreads them (DerSimonian and Laird 1986)."""
    values = np.array([figure.value for figure in each])
    weight = 1 / np.maximum([scatter(figure) for figure in each], 1e-12) ** 2
    mean = weight @ values / weight.sum()
    excess = weight @ (values - mean) ** 2 - (len(each) - 1)
    between = max(excess / (weight.sum() - (weight**2).sum() / weight.sum()), 0.0)
    overall = np.average(values, weights=1 / (between + 1 / weight))
    return overall + between / (between + 1 / weight) * (values - overall)

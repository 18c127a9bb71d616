"""Give groups of rows to subsets so that each subset gets its share of each stratum."""

from __future__ import annotations

import numpy as np

MAX_DRAWS = 20
DRAWN_GROUPS = 4_000  # groups placed in all draws together, so that large sets do not wait


def assign_groups(strata: np.ndarray, groups: np.ndarray, shares: np.ndarray, rng) -> np.ndarray:
    """Give every group to one subset so that each subset gets its share of each stratum.

    Groups of several rows go first, the large ones before the small: each is drawn into a subset with
    a probability in proportion to what the subset still needs of its strata (rare strata: to where the
    need is greatest). Single rows then fill what is missing, stratum by stratum. A stratum with as
    many groups as there are subsets is in all of them. Where groups are few the most even of
    several draws is taken.

    Parameters
    ----------
    strata, groups : ndarray of shape (n,), int
    shares : ndarray of shape (n_subsets,)
        Any positive scale.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n,), int
        The subset of each row.
    """
    strata, groups = np.unique(strata, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]
    shares = np.asarray(shares, float) / np.sum(shares)
    counts = np.zeros((groups.max() + 1, strata.max() + 1))
    np.add.at(counts, (groups, strata), 1)
    several = int((counts.sum(axis=1) > 1).sum())
    draws = min(MAX_DRAWS, 1 + DRAWN_GROUPS // several) if several else 1
    subsets = [_draw_subsets(counts, shares, rng) for _ in range(draws)]
    return min(subsets, key=lambda subset: _unevenness(subset, counts, shares))[groups]


def _unevenness(subset: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> float:
    # Pearson's chi-square of the counts by subset and stratum against the shares.
    counted = np.zeros((len(shares), counts.shape[1]))
    np.add.at(counted, subset, counts)
    wanted = np.outer(shares, counts.sum(axis=0))
    return float(((counted - wanted) ** 2 / wanted).sum())


def _draw_subsets(counts: np.ndarray, shares: np.ndarray, rng) -> np.ndarray:
    n_groups = (counts > 0).sum(axis=0)
    need = np.outer(shares, counts.sum(axis=0))
    need = np.where(n_groups >= len(shares), np.maximum(need, 1), need)
    subset = np.full(len(counts), -1)
    several = rng.permutation(np.flatnonzero(counts.sum(axis=1) > 1))
    several = several[np.argsort(-counts[several].sum(axis=1), kind="stable")]
    _place_several(subset, several, counts, need, n_groups, rng)
    stratum = counts.argmax(axis=1)
    for s in range(counts.shape[1]):
        singles = rng.permutation(np.flatnonzero((subset < 0) & (stratum == s)))
        subset[singles] = np.repeat(np.arange(len(shares)), _apportion(need[:, s], len(singles), shares))
    return subset


def _place_several(subset, several, counts, need, n_groups, rng) -> None:
    rare = n_groups < 3 * len(need)
    weight = counts / counts.sum(axis=0)
    placed = np.zeros_like(need)
    for group in several:
        wanted = np.maximum(need, 0) @ weight[group]
        scarce = rare & (counts[group] > 0)
        if scarce.any():
            lacks = (placed[:, scarce] == 0).all(axis=1) & (n_groups[scarce] >= len(need)).all()
            subset[group] = np.argmax(np.where(lacks, wanted + counts.sum(), wanted))
        else:
            subset[group] = _draw(wanted, need, rng)
        need[subset[group]] -= counts[group]
        placed[subset[group]] += counts[group]


def _draw(wanted: np.ndarray, need: np.ndarray, rng) -> int:
    if wanted.sum() <= 0:
        return int(np.argmax(need.sum(axis=1)))
    return int(np.searchsorted(np.cumsum(wanted), rng.random() * wanted.sum(), side="right"))


def _apportion(need: np.ndarray, n: int, shares: np.ndarray) -> np.ndarray:
    # Largest remainder: whole numbers that add up to n, in proportion to the need.
    need = np.maximum(need, 0)
    exact = n * (need / need.sum() if need.sum() > 0 else shares)
    whole = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: n - whole.sum()]] += 1
    return whole

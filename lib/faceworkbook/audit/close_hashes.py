"""Pairs of 64-bit hashes that differ in few bits: exact, without comparing every one with every other.

Multi-index hashing (Norouzi, Punjani and Fleet 2012): of two hashes that differ in at most d bits, one of four pieces
of 16 bits differs in at most a fourth of d. Hashes are looked up by each piece, and by each piece with so few bits
turned over; what meets there is compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

PIECES, BITS = 4, 16
FEW = 5_000  # hashes of which every pair is compared sooner
MOST_RADIUS = 3  # beyond it most hashes meet most others
BLOCK = 2**20  # pairs that are compared at once

Pairs = tuple[np.ndarray, np.ndarray]


def close_pairs(hashes: np.ndarray, max_bits: int) -> Iterator[Pairs]:
    """Yield the pairs of positions whose hashes differ in at most `max_bits` bits, each pair once.

    Parameters
    ----------
    hashes : ndarray of shape (n,), uint64
    max_bits : int in 0..64

    Yields
    ------
    first, second : ndarray of int64
        Positions, the smaller one first; in no order.
    """
    radii = _radii(max_bits)
    if len(hashes) <= FEW or max(radii) > MOST_RADIUS:
        yield from _compare_all(hashes, max_bits)
        return
    pieces = [(hashes >> np.uint64(BITS * i)).astype(np.uint16) for i in range(PIECES)]
    # The piece by which most hashes meet is looked up least.
    pieces.sort(key=lambda piece: float((np.bincount(piece, minlength=2**BITS).astype(float) ** 2).sum()))
    for i, radius in enumerate(radii):
        for first, second in _meeting(pieces[i], radius):
            close = np.bitwise_count(hashes[first] ^ hashes[second]) <= max_bits
            first, second = first[close], second[close]
            known = np.zeros(len(first), bool)
            for before, reach in zip(pieces[:i], radii, strict=False):
                known |= np.bitwise_count(before[first] ^ before[second]) <= reach
            first, second = first[~known], second[~known]
            yield np.minimum(first, second), np.maximum(first, second)


def _radii(max_bits: int) -> list[int]:
    """Return in how many bits each piece may differ, so that one does of any two hashes that are close; -1: not asked."""
    whole, rest = divmod(max_bits + 1, PIECES)
    return [whole - (i >= rest) for i in range(PIECES)]


def _meeting(piece: np.ndarray, radius: int) -> Iterator[Pairs]:
    """Yield the pairs of positions whose pieces differ in at most `radius` bits, each pair once."""
    order = np.argsort(piece, kind="stable")
    values = piece[order].astype(np.int64)
    starts = np.searchsorted(values, np.arange(2**BITS + 1))
    places = np.arange(len(values))
    for flipped in range(radius + 1):
        for bits in itertools.combinations(range(BITS), flipped):
            mask = sum(1 << bit for bit in bits)
            # Of two pieces the one without the highest of these bits looks the other up.
            asking = places if not mask else places[values & (1 << bits[-1]) == 0]
            wanted = values[asking] ^ mask
            begin = starts[wanted] if mask else asking + 1
            yield from _list(order, asking, begin, starts[wanted + 1] - begin)


def _list(order: np.ndarray, asking: np.ndarray, begin: np.ndarray, count: np.ndarray) -> Iterator[Pairs]:
    """Yield the pairs of each place that asks with the `count` places from `begin` on, at most about `BLOCK` at once."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    edges = np.unique(np.searchsorted(ends, np.arange(0, total, BLOCK), side="right"))
    for start, stop in itertools.pairwise([*edges.tolist(), len(asking)]):
        own = count[start:stop]
        within = np.arange(own.sum()) - np.repeat(np.cumsum(own) - own, own)
        yield np.repeat(order[asking[start:stop]], own), order[np.repeat(begin[start:stop], own) + within]


def _compare_all(hashes: np.ndarray, max_bits: int) -> Iterator[Pairs]:
    step = max(1, BLOCK // max(len(hashes), 1))
    for start in range(0, len(hashes), step):
        block = hashes[start : start + step, None]
        rows, columns = np.nonzero(np.bitwise_count(block ^ hashes[None, start:]) <= max_bits)
        later = columns > rows
        yield rows[later] + start, columns[later] + start

"""Pairs of close hashes: those that comparing every one with every other gives, each once, at a fraction of the work."""

import numpy as np
import pytest

from faceworkbook.audit import close_hashes


@pytest.fixture(scope="module")
def hashes():
    """Six hundred, of which two hundred differ from others in 0 to 15 bits; many share a piece."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 2**64, 600, dtype=np.uint64)
    for i in range(200):
        flipped = rng.permutation(64)[: i % 16]
        made[400 + i] = made[i] ^ np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64))
    made[200:260] &= ~np.uint64(0xFFFF)
    return made


def collect(pairs):
    table = np.concatenate([np.column_stack(pair) for pair in pairs])
    return table[np.lexsort(table.T[::-1])].tolist()


@pytest.mark.parametrize("max_bits", [0, 1, 2, 3, 5, 10, 14, 15, 16, 40])
def test_no_pair_is_missed_and_none_comes_twice(hashes, max_bits, monkeypatch):
    distances = np.bitwise_count(hashes[:, None] ^ hashes)
    expected = np.argwhere(np.triu(distances <= max_bits, k=1)).tolist()
    assert collect(close_hashes.close_pairs(hashes, max_bits)) == expected
    monkeypatch.setattr(close_hashes, "FEW", 0)
    monkeypatch.setattr(close_hashes, "BLOCK", 50)
    assert collect(close_hashes.close_pairs(hashes, max_bits)) == expected
    assert [*close_hashes.close_pairs(hashes[:0], max_bits)] == [] or max_bits < 16


def test_few_of_all_pairs_are_compared(monkeypatch):
    n, compared, real = 20_000, [], close_hashes._list

    def counting(*arguments):
        for pair in real(*arguments):
            compared.append(len(pair[0]))
            yield pair

    monkeypatch.setattr(close_hashes, "_list", counting)
    rows = np.random.default_rng(0).integers(0, 2**64, n, dtype=np.uint64)
    assert not sum(len(first) for first, _ in close_hashes.close_pairs(rows, 10)) > 5
    assert sum(compared) < n * n / 2 / 100

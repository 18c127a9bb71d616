"""Group labels shuffled over people: the null distribution of differences between groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from faceworkbook.evaluation import intervals
from faceworkbook.evaluation.group_attributes import Cut
from faceworkbook.evaluation.metrics import Metric


@dataclass(frozen=True)
class Shuffled:
    """Group labels shuffled over blocks: all rows of one person in one group move together."""

    block_of_row: np.ndarray
    codes: np.ndarray


def shuffle_labels(pieces: Cut, *, seed: int, n_boot: int) -> Shuffled:
    pairs = pieces.rows.units * len(pieces.names) + pieces.codes
    blocks, block_of_row = np.unique(pairs, return_inverse=True)
    own = blocks % len(pieces.names)
    rng = np.random.default_rng(seed)
    return Shuffled(block_of_row, np.array([rng.permutation(own) for _ in range(n_boot)], dtype=np.int16))


def statistic_on_blocks(metric: Metric, pieces: Cut, shuffled: Shuffled) -> intervals.Statistic:
    return metric.statistic(replace(pieces.rows, units=shuffled.block_of_row))

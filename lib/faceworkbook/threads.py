"""Threads: how many cores this process may use, and where more than one thread costs time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def count_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute small products of matrices on one thread; as a decorator, or around a block.

    More wait for each other, on a machine with other work ten times as long.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield

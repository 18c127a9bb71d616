"""Batches that are ready when a step ends: made, and copied to the GPU where there is one, while the step before runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

DEPTH = 2

T = TypeVar("T")


def make_ahead(batches: Iterator[T], *, depth: int = DEPTH) -> Iterator[T]:
    """Yield what `batches` yields, in its order, while a thread makes the next ones.

    Parameters
    ----------
    batches : iterator
        TensorFlow puts the tensors that it makes on the GPU where there is one. What it reads of the network, it reads
        before its first element: later ones are made while the network moves.
    depth : int
        Elements that are made ahead.

    Notes
    -----
    What `batches` raises is raised where its element would have come. A loop that ends early waits for the elements
    that have been begun.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        waiting = deque(thread.submit(next, batches, end) for _ in range(depth))
        while (batch := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, batches, end))
            yield batch

"""A toy network for benchmarks of what is round a network: its pictures are a few pixels wide."""

from __future__ import annotations

from types import SimpleNamespace

from faceworkbook import images


def backbone(*, size: int, dim: int) -> SimpleNamespace:
    """What extraction asks of a network that takes `size` x `size` pixels and gives `dim` numbers."""
    return SimpleNamespace(
        name="tiny",
        tap="mean",
        fingerprint="f" * 64,
        mirror="",
        dim=dim,
        preprocessing=images.Preprocessing(size=(size, size), channels="RGB", mean=(0, 0, 0)),
    )

"""Toy descriptors that can be learned, and splits of them."""

from types import SimpleNamespace

import numpy as np

from faceworkbook import tasks


def blobs(n=400, d=12, n_classes=2, *, seed=0, noise=1.0):
    """Gaussian blobs at random corners, on very different scales, one direction constant."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, n)
    corners = rng.normal(0, 1.2, (n_classes, d))
    x = corners[codes] + rng.normal(0, noise, (n, d))
    x = x * np.geomspace(0.1, 50, d) + 5
    x[:, 0] = 3.0
    names = np.array(["a", "b", "c", "d", "e"])[codes]
    return x.astype(np.float32), tasks.labels_of_classes(names, name="letter")


def ages(n=600, d=10, *, seed=0):
    """Whole years between 10 and 60 that depend on two directions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (n, d))
    years = np.clip(np.round(35 + 8 * x[:, 0] - 6 * x[:, 1] + rng.normal(0, 2, n)), 10, 60)
    return x.astype(np.float32), years


def cut(n, *, train=0.6, validation=0.2, seed=0):
    """A random split with the three index arrays."""
    order = np.random.default_rng(seed).permutation(n)
    a, b = int(n * train), int(n * (train + validation))
    return SimpleNamespace(
        train=np.sort(order[:a]), validation=np.sort(order[a:b]), test=np.sort(order[b:]), repeat=0, fold=0
    )

"""Toy data with a planted direction, quick to learn."""

from types import SimpleNamespace

import numpy as np

from faceworkbook import faces, tasks
from faceworkbook.experiments.classifier import Classifier
from faceworkbook.experiments.prepared import PreparedData

LINEAR = Classifier("linear", {"strengths": (0.01, 0.1)})


def prepare(n=400, d=8, *, seed=0, noise=1.0, shift=0.0, people=80, name="toy"):
    """Two classes that differ in direction 0 strongly and in direction 1 weakly."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n)
    x = rng.normal(0, noise, (n, d))
    x[:, 0] += 3.0 * codes + shift
    x[:, 1] += 0.8 * codes
    table = faces.build(
        {"image": [f"{i}.jpg" for i in range(n)], "identity": [f"p{i % people}" for i in range(n)]},
        dataset=name,
    )
    table["identity"] = name + ":" + table["identity"].str.removeprefix(f"{name}:")
    labels = tasks.labels_of_classes(np.array(["a", "b"])[codes], name="letter")
    place = rng.permutation(people)[np.arange(n) % people] / people
    split = SimpleNamespace(
        train=np.flatnonzero(place < 0.6),
        validation=np.flatnonzero((place >= 0.6) & (place < 0.75)),
        test=np.flatnonzero(place >= 0.75),
    )
    return PreparedData(table, labels, split, x.astype(np.float32), np.full(n, -1))

"""What one fit of each head costs: linear, one MLP, five of them, the kernel on one layer and choosing among three.

    python -m benchmarks heads [--quick]

Processor time of this process for one fit on training and validation rows of random descriptors, as many as the
UTKFace subset has. Each figure is divided by the one MLP's of its own round.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from faceworkbook import faces, splits, tasks, training
from faceworkbook.experiments.frozen_heads import MLP

FACES, WIDTH, ROUNDS = 7_881, 1024, 3
LAYERS = (1024, 1024, 256)  # of features='auto'
ONE = "one MLP"


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure."""
    x, labels, split = _material(FACES // 20 if quick else FACES)
    one, three = x[:, :WIDTH], {"blocks": LAYERS}
    measured = {
        ONE: ("mlp", one, MLP),
        "five MLPs": ("mlp", one, {**MLP, "members": 5}),
        "linear": ("linear", one, {}),
        "kernel, one layer": ("kernel", one, {}),
        "kernel, three layers to choose among": ("kernel", x, three),
    }
    training.fit("mlp", one, labels, split, epochs=1)  # starts the engine
    rounds = []
    for seed in range(1 if quick else ROUNDS):
        times = {}
        for name, (classifier, matrix, options) in measured.items():
            begun = time.process_time()
            training.fit(classifier, matrix, labels, split, seed=seed, **options)
            times[name] = time.process_time() - begun
        rounds.append(times)
    seconds = pd.DataFrame(rounds)
    shares = seconds.div(seconds[ONE], axis=0)
    made = pd.DataFrame(
        {
            "CPU seconds, least": seconds.min(),
            "CPU seconds, most": seconds.max(),
            "times one MLP, least": shares.min(),
            "times one MLP, most": shares.max(),
        }
    )
    made.attrs["note"] = f"{len(split.train):,} training faces, {len(rounds)} rounds"
    return {f"one fit on {len(x):,} faces": made.rename_axis("head")}


def _material(n: int) -> tuple[np.ndarray, tasks.Labels, splits.Split]:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, n)
    x = rng.gamma(0.5, 0.8, (n, sum(LAYERS))) + 0.25 * codes[:, None] * rng.random(sum(LAYERS))
    table = faces.build(
        {"image": [f"{i}.jpg" for i in range(n)], "gender": np.array(["female", "male"])[codes]},
        dataset="bench",
    )
    return x.astype(np.float32), tasks.read_labels(table, "gender"), splits.folds(table, label="gender")[0]

"""Two toy data sets below each other."""

import numpy as np

from faceworkbook import faces
from faceworkbook.experiments import multi_dataset


def make_multi(tasks=("gender", "yaw"), n=160, seed=0):
    """Two sets of `n` faces, two faces a person; the first has a gender, the second a yaw."""
    rng = np.random.default_rng(seed)
    tables, matrices = {}, []
    for name in ("one", "two"):
        x = rng.normal(size=(n, 6)).astype(np.float32)
        columns = {"image": [f"{i}.jpg" for i in range(n)], "identity": [f"{name}{i // 2}" for i in range(n)]}
        if name == "one":
            columns["gender"] = np.where(x[:, 0] > 0, "male", "female")
        else:
            columns["yaw"] = 15 * x[:, 1]
        tables[name] = faces.build(columns, dataset=name)
        matrices.append(x)
    return multi_dataset.build(tables, matrices, tasks)

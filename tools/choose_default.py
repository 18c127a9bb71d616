"""Choose the settings of the experiment ``fairface_default`` on validation rows; test rows have no part in it.

    python -m tools.choose_default --root PATH/TO/fairface

The validation rows are those that the experiment cuts from FairFace's training part. Each cell of the grid is fitted once a
label with the experiment's seed; the cell with the lowest validation loss, summed over the labels, is the one to take.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import audit, datasets, splits, tasks, training
from faceworkbook.reports import described, experiments

MIRROR, WIDTHS, LEARNING_RATES = (False, True), ((16, 16), (64,), (128,)), (0.001, 0.0003)
FIXED = ("dropout", "input_dropout", "epochs", "patience")


def main() -> None:
    """Fit the grid and print it, the best cell first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, help="folder of FairFace")
    root = Path(parser.parse_args().root)
    given = experiments.read("fairface_default", given={"root": str(root)})
    parameters = next(step.parameters for step in given.steps if step.name == "03_classifier")
    names, seed = [parameters["label"], *parameters["more_labels"]], parameters["seed"]
    faces = datasets.load("fairface", root).faces
    split = draw_split(faces, root, label=names[0], seed=seed)
    labels = [tasks.read_labels(faces, name) for name in names]
    fixed = {name: parameters[name] for name in FIXED}
    rows = []
    for mirror in MIRROR:
        matrix = describe(faces, root, mirror=mirror)
        for widths, rate in itertools.product(WIDTHS, LEARNING_RATES):
            options = {**fixed, "widths": widths, "learning_rate": rate}
            fitted = [training.fit("mlp", matrix, each, split, seed=seed, **options) for each in labels]
            best = [one.history.loc[one.history["val_loss"].idxmin()] for one in fitted]
            rows.append(
                {
                    "mirror": mirror,
                    "widths": list(widths),
                    "learning_rate": rate,
                    "val_loss": sum(epoch["val_loss"] for epoch in best),
                    **{name: epoch["val_accuracy"] for name, epoch in zip(names, best, strict=True)},
                }
            )
            print(rows[-1], flush=True)
    print(
        f"{len(split.train):,} faces train, {len(split.validation):,} choose; columns of labels: accuracy on these"
    )
    print(pd.DataFrame(rows).sort_values("val_loss").to_string(index=False, float_format="{:.4f}".format))


def draw_split(faces: pd.DataFrame, root: Path, *, label: str, seed: int) -> splits.Split:
    """Return the experiment's split without its test rows."""
    groups = audit.copies(faces, root).groups
    columns = tasks.source_columns(faces, label)
    split = splits.make(
        faces, label=columns, seed=seed, validation=0.15, scheme="official", keep_together=groups
    )
    return replace(split, test=np.array([], dtype=int))


def describe(faces: pd.DataFrame, root: Path, *, mirror: bool) -> np.ndarray:
    """Return the descriptors of the embedded network, row by row those of `faces`."""
    nets = described.choose_networks("", ["faceres_deep"], tap=[], weights=[], mirror=mirror)
    (stored,) = described.extract(faces, nets, dataset="fairface", root=root)
    if stored.face_id.tolist() != faces["face_id"].tolist():
        raise SystemExit(f"{len(stored.left_out)} pictures of {root} cannot be read; take a whole copy")
    return stored.matrix


if __name__ == "__main__":
    main()

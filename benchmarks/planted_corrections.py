"""What corrections restore: 100 wrong genders planted in training rows, disputed by the audit, given back.

    python -m benchmarks.planted_corrections [DATASET ROOT]

Nobody looks: of the labels that the audit disputes those that were planted are accepted, the others kept, as a person
without fault would decide. Logistic regression is judged on the same test rows without planted errors, with them, and
with those that were given back.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import audit, backbones, datasets, descriptors, splits, tasks
from faceworkbook.evaluation import metrics, predictions
from faceworkbook.experiments import correction_effect
from faceworkbook.training import fit_linear
from tests.support import planting

LABEL, N_PLANTED, SEEDS = "gender", 100, 3


def main() -> None:
    """Print one line a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="?", default="synthetic")
    parser.add_argument("root", nargs="?", default="data/synthetic")
    given = parser.parse_args()
    source = datasets.load(given.dataset, given.root)
    copies = audit.copies(source.faces, source.root).groups
    with tempfile.TemporaryDirectory() as place:
        stored = descriptors.extract(
            source.faces, backbones.default(), root=source.root, store=Path(place) / "store"
        )
        matrix = audit.align_rows(source.faces, stored.face_id, np.array(stored.matrix))
        for seed in range(SEEDS):
            print(plant_and_restore(source, matrix, copies, Path(place), seed=seed), flush=True)


def plant_and_restore(source, matrix: np.ndarray, copies: np.ndarray, place: Path, *, seed: int) -> str:
    """Return in one line what was disputed, and the accuracy clean, planted and restored."""
    faces = source.faces
    split = splits.make(faces, label=LABEL, seed=seed, keep_together=copies)
    trains = pd.Series(np.isin(np.arange(len(faces)), split.train), index=faces.index)
    rate = N_PLANTED / trains.sum()
    planted = planting.plant_label_noise(faces, column=LABEL, rate=rate, seed=seed, where=trains)
    wrong = planted.planted["face_id"]
    errors = audit.find_label_errors(planted.faces, matrix, label=LABEL, copies=copies, seed=seed)
    path = audit.write_corrections([errors], place / "corrections.csv")
    table = pd.read_csv(path, dtype=str)
    table["decision"] = np.where(table["face_id"].isin(wrong), "accept", "keep")
    table.to_csv(path, index=False)
    nothing = source.left_out.iloc[:0]
    spoiled = datasets.Dataset(planted.faces, nothing, nothing, source.root, source.info)
    restored = datasets.corrections.apply(spoiled, path)
    pair = correction_effect.relabel(planted.faces, restored.faces, LABEL)
    change = correction_effect.measure(pair, matrix, [split], classifier="linear", seed=seed).change("model")
    labels = tasks.read_labels(faces, LABEL)
    clean = predictions.predict(fit_linear(matrix, labels, split, seed=seed), matrix, faces, labels, split)
    own = metrics.summary(clean, names=["accuracy"], seed=seed).iloc[0]
    return (
        f"seed {seed}: {wrong.isin(table['face_id']).sum()} of {len(wrong)} planted errors disputed; accuracy clean "
        f"{own['value']:.3f} [{own['low']:.3f}, {own['high']:.3f}], planted {change['before']:.3f}, restored "
        f"{change['after']:.3f}"
    )


if __name__ == "__main__":
    main()

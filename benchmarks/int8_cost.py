"""What int8 costs a classifier: UTKFace, float32 descriptors against int8 ones, the same folds and seeds.

    python -m benchmarks int8_cost [--quick]
    python -m benchmarks.int8_cost --root PATH/TO/UTKFace --publish     # what the workbook prints with int8

Gender and race by the MLP, 5 x 5 folds with copies kept together. The difference is that of each fold,
its interval corrected for overlapping training sets (Nadeau and Bengio 2003).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parents[1] / "shared/data/utkface/UTKFace"
PUBLISHED = HERE.parent / "lib/faceworkbook/descriptors/int8_cost.json"
LABELS = ("gender", "race")
QUICK = 600


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure on the UTKFace beside the project; an empty table where it is missing."""
    if not ROOT.is_dir():
        return {f"UTKFace is not in {ROOT}: not measured": pd.DataFrame()}
    with tempfile.TemporaryDirectory() as stores:
        table, notes = measure(ROOT, Path(stores), limit=QUICK if quick else 0, n_repeats=1 if quick else 5)
    title = f"{notes['network']} {notes['tap']}, {notes['faces']:,} UTKFace faces, median cosine {notes['cosine']:.4f}"
    return {title: table}


def measure(root: Path, stores: Path, *, limit: int, n_repeats: int) -> tuple[pd.DataFrame, dict]:
    """Both precisions on the same faces: one row a label, and what it was measured on."""
    from faceworkbook import audit, backbones, datasets, descriptors, faces

    dataset = datasets.load("utkface", root)
    table = faces.draw(dataset.faces, limit=limit, seed=0)
    net = backbones.load("faceres_deep")
    matrices = {
        precision: descriptors.extract(
            table, net, root=dataset.root, store=stores / f"{net.name}-{precision}", precision=precision
        )
        for precision in ("float32", "int8")
    }
    kept = table[table["face_id"].isin(matrices["float32"].face_id)].reset_index(drop=True)
    copies = audit.copies(kept, dataset.root).groups
    rows = [compared(label, kept, copies, matrices, n_repeats) for label in LABELS]
    notes = {
        "network": net.name,
        "tap": net.tap,
        "weights_sha256": net.fingerprint,
        "faces": len(kept),
        "cosine": cosine(*(m.matrix for m in matrices.values())),
    }
    return pd.DataFrame(rows).set_index("label"), notes


def compared(label: str, table: pd.DataFrame, copies: np.ndarray, matrices: dict, n_repeats: int) -> dict:
    """Accuracy with both precisions, and their difference over the folds."""
    from faceworkbook import tasks, training
    from faceworkbook.evaluation import comparison, cross_validation

    target = tasks.read_labels(table, label)
    splits = training.plan(
        table, label=label, keep_together=copies, n_folds=5, n_repeats=n_repeats, validation=0.15, seed=0
    )
    tables = {}
    for precision, extracted in matrices.items():
        fits = training.fit_folds(
            extracted.matrix, target, splits, classifier="mlp", seed=0, widths=(64,), input_dropout=0.3
        )
        tables[precision] = cross_validation.predictions(fits, table)
    pairs = comparison.compare({name: tables[name] for name in ("int8", "float32")}).pairs
    pair = pairs.set_index("test").iloc[0]
    accuracy = {
        name: comparison.fold_values(t, metric="accuracy")["value"].mean() for name, t in tables.items()
    }
    return {
        "label": label,
        **accuracy,
        "int8 minus float32": pair["difference"],
        "low": pair["low"],
        "high": pair["high"],
        "fits": len(splits),
        "faces": len(table),
    }


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Median over the faces of the cosine between their two descriptors."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.median((a * b).sum(axis=1) / norms))


def publish() -> None:
    """Measure in full and write the file that the workbook prints from."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument(
        "--stores", type=Path, help="folder where both stores stay; a temporary one by default"
    )
    parser.add_argument("--publish", action="store_true", help=f"write {PUBLISHED.name}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, notes = measure(chosen.root, chosen.stores or Path(folder), limit=0, n_repeats=5)
    print(notes, table.to_string(), sep="\n")
    if chosen.publish:
        rows = table.round(5).reset_index().to_dict("records")
        PUBLISHED.write_text(json.dumps([{**notes, "rows": rows}], indent=1) + "\n")


if __name__ == "__main__":
    publish()

"""What a lower precision costs a classifier: UTKFace, float32 descriptors against those, the same folds and seeds.

    python -m benchmarks precision_cost [--quick]
    python -m benchmarks.precision_cost --root PATH/TO/UTKFace --publish     # what the workbook prints with a precision

Gender and race by the MLP, 5 x 5 folds with copies kept together. The difference is that of each fold,
its interval corrected for overlapping training sets (Nadeau and Bengio 2003). tf32, which no CPU computes, is emulated
by rounding (`benchmarks.emulated`) where there is no GPU for it; float16 and bfloat16 are Keras's, int8 ONNX Runtime's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parents[1] / "shared/data/utkface/UTKFace"
PUBLISHED = HERE.parent / "lib/faceworkbook/descriptors/lower_precision.json"
LABELS = ("gender", "race")
PRECISIONS = ("tf32", "float16", "bfloat16", "int8")
QUICK = 600


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure on the UTKFace beside the project; an empty table where it is missing."""
    if not ROOT.is_dir():
        return {f"UTKFace is not in {ROOT}: not measured": pd.DataFrame()}
    with tempfile.TemporaryDirectory() as stores:
        table, notes = measure(ROOT, Path(stores), limit=QUICK if quick else 0, n_repeats=1 if quick else 5)
    title = f"{notes['network']} {notes['tap']}, {notes['faces']:,} UTKFace faces"
    return {title: table, "difference of the descriptors": differences(notes)}


def differences(notes: dict) -> pd.DataFrame:
    """How far the descriptors of each precision lie from float32: median cosine, worst relative error."""
    rows = {name: (notes["cosine"][name], notes["relative_error"][name]) for name in notes["cosine"]}
    columns = ["median cosine", "largest relative error"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("precision")


def measure(root: Path, stores: Path, *, limit: int, n_repeats: int) -> tuple[pd.DataFrame, dict]:
    """All precisions on the same faces: one row a precision and label, and what it was measured on."""
    from faceworkbook import audit, backbones, datasets, faces
    from faceworkbook.descriptors.engines import compare

    dataset = datasets.load("utkface", root)
    table = faces.draw(dataset.faces, limit=limit, seed=0)
    net = backbones.load("faceres_deep")
    extracted = {name: extract(table, dataset.root, net, stores, name) for name in ("float32", *PRECISIONS)}
    kept = table[table["face_id"].isin(extracted["float32"].face_id)].reset_index(drop=True)
    copies = audit.copies(kept, dataset.root).groups
    tables = {name: fitted(one, kept, copies, n_repeats) for name, one in extracted.items()}
    rows = [compared(name, label, tables, len(kept)) for name in PRECISIONS for label in LABELS]
    reference = np.asarray(extracted["float32"].matrix)
    notes = {
        "network": net.name,
        "tap": net.tap,
        "weights_sha256": net.fingerprint,
        "faces": len(kept),
        "cosine": {name: cosine(extracted[name].matrix, reference) for name in PRECISIONS},
        "relative_error": {
            name: compare(np.asarray(extracted[name].matrix), reference)["relative_error"]
            for name in PRECISIONS
        },
    }
    return pd.DataFrame(rows).set_index(["precision", "label"]), notes


def extract(table: pd.DataFrame, root: Path, net, stores: Path, precision: str):
    """Descriptors in a precision; emulated where nothing here computes in it."""
    from benchmarks import emulated
    from faceworkbook import descriptors
    from faceworkbook.descriptors.engines import devices

    options = {"engine": "auto"}
    if precision == "tf32" and devices.find_gpu() is None:
        options["engine"] = emulated.EmulatedEngine(net, precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", descriptors.PrecisionWarning)
        store = stores / f"{net.name}-{precision}"
        return descriptors.extract(table, net, root=root, store=store, precision=precision, **options)


def fitted(extracted, table: pd.DataFrame, copies: np.ndarray, n_repeats: int) -> dict:
    """Predictions of the MLP over the folds, by label."""
    from faceworkbook import tasks, training
    from faceworkbook.evaluation import cross_validation

    predictions = {}
    for label in LABELS:
        splits = training.plan(
            table,
            label=label,
            keep_together=copies,
            n_folds=5,
            n_repeats=n_repeats,
            validation=0.15,
            seed=0,
        )
        options = {"classifier": "mlp", "seed": 0, "widths": (64,), "input_dropout": 0.3}
        fits = training.fit_folds(extracted.matrix, tasks.read_labels(table, label), splits, **options)
        predictions[label] = cross_validation.predictions(fits, table)
    return predictions


def compared(precision: str, label: str, tables: dict, n: int) -> dict:
    """Accuracy in a precision and in float32, and their difference over the folds."""
    from faceworkbook.evaluation import comparison

    both = {name: tables[name][label] for name in (precision, "float32")}
    pair = comparison.compare(both).pairs.set_index("test").iloc[0]
    folds = {name: comparison.fold_values(one, metric="accuracy") for name, one in both.items()}
    accuracy = {name: values["value"].mean() for name, values in folds.items()}
    return {
        "label": label,
        "float32": accuracy["float32"],
        "precision": precision,
        "accuracy": accuracy[precision],
        "minus float32": pair["difference"],
        "low": pair["low"],
        "high": pair["high"],
        "fits": len(folds[precision]),
        "faces": n,
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
        "--stores", type=Path, help="folder where all stores stay; a temporary one by default"
    )
    parser.add_argument("--repeats", type=int, default=5, help="of the five folds (default 5)")
    parser.add_argument("--limit", type=int, default=0, help="faces, drawn at random; all by default")
    parser.add_argument("--publish", action="store_true", help=f"write {PUBLISHED.name}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = chosen.stores or Path(folder)
        table, notes = measure(chosen.root, stores, limit=chosen.limit, n_repeats=chosen.repeats)
    print(notes, table.to_string(), differences(notes).to_string(), sep="\n")
    if chosen.publish:
        PUBLISHED.write_text(json.dumps(records(table, notes), indent=1) + "\n")


def records(table: pd.DataFrame, notes: dict) -> list[dict]:
    """What the workbook reads: one record a precision."""
    rows = table.round(5).reset_index()
    return [
        {
            **{name: value for name, value in notes.items() if not isinstance(value, dict)},
            "precision": precision,
            "cosine": round(notes["cosine"][precision], 6),
            "relative_error": round(notes["relative_error"][precision], 6),
            "rows": rows[rows["precision"] == precision].to_dict("records"),
        }
        for precision in PRECISIONS
    ]


if __name__ == "__main__":
    publish()

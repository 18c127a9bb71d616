"""How well the audit finds what was planted, on real faces: each bar and the figure measured.

    python benchmarks/audit_bars.py [DATASET ROOT ...] [--every 4] [--scale 100000]

Planted are exact copies, resized and re-encoded copies, people moved between the subsets of a split, and 10 % wrong
gender labels. `--scale` also times the comparison of all pairs at so many faces.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import audit, backbones, datasets, descriptors, project, splits
from faceworkbook import faces as face_table
from faceworkbook.audit import duplicates
from tests.support import planting

COPIES = ((0.8, 70), (0.5, 70), (0.5, 30), (0.3, 50), (1.5, 60))
NOISE = 0.10


def pairs_of(result, faces: pd.DataFrame) -> set:
    """Return the pairs of face ids in a result of the audit."""
    ids = faces["face_id"].to_numpy()
    return {
        frozenset(pair) for pair in zip(ids[result.pairs["first"]], ids[result.pairs["second"]], strict=True)
    }


def exact_copies(faces: pd.DataFrame, root: Path, out: Path) -> str:
    """Plant byte-for-byte copies of every tenth face and look for them."""
    chosen = faces.iloc[::10]
    copies = chosen.assign(face_id=chosen["face_id"] + "-copy", image="copies/" + chosen["image"])
    for before, after in zip(chosen["image"], copies["image"], strict=True):
        (out / after).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / before, out / after)
    for image in faces["image"]:
        (out / image).parent.mkdir(parents=True, exist_ok=True)
        (out / image).symlink_to((root / image).resolve())
    both = pd.concat([faces, copies], ignore_index=True)
    groups = pd.Series(audit.exact_duplicates(both, out).groups, index=both["face_id"])
    pairs = zip(chosen["face_id"], copies["face_id"], strict=True)
    hits = sum(groups[a] == groups[b] != -1 for a, b in pairs)
    return f"exact copies detected: {hits} of {len(chosen)} (bar: all)"


def near_copies(faces: pd.DataFrame, root: Path, scale: float, quality: int) -> str:
    """Plant resized, re-encoded copies of half of the faces; strangers paired anew are false pairs."""
    before = pairs_of(audit.near_duplicates(faces, root), faces)
    with tempfile.TemporaryDirectory() as out:
        planted = planting.plant_near_duplicates(
            faces,
            root=root,
            out=out,
            rate=0.5,
            seed=0,
            copies=planting.CopyOptions(scale=scale, quality=quality),
        )
        detected = pairs_of(audit.near_duplicates(planted.faces, out), planted.faces)
    truth = {frozenset(pair) for pair in planted.planted[["face_id", "copy_of"]].to_numpy().tolist()}
    copy_of = planted.planted.set_index("face_id")["copy_of"].to_dict()
    folded = {frozenset(copy_of.get(face, face) for face in pair) for pair in detected - truth}
    false = {pair for pair in folded if len(pair) == 2} - before
    hits = len(truth & detected)
    return (
        f"near copies, scale {scale}, JPEG {quality}: {hits} of {len(truth)} ({hits / len(truth):.1%}, bar 95 %); "
        f"false pairs {len(false)} of {len(detected)} ({len(false) / len(detected):.2%}, bar 1 %)"
    )


def planted_leaks(faces: pd.DataFrame) -> str:
    """Split by person, move people into the test subset, and count them."""
    clean = splits.make(faces, label="gender", validation=0.0)
    subset = pd.Series(clean.subset_of(len(faces)), dtype="string")
    placed = faces.assign(split=subset.where(subset != ""))
    planted = planting.plant_identity_leakage(placed, rate=0.2, seed=0)
    split = splits.make(planted.faces, label="gender", scheme="official", validation=0.0)
    measured = split.leakage["same_person"]
    return f"planted leaks: {len(planted.planted)}, measured {measured} (bar: equal); before: {clean.leakage['leaked']}"


def wrong_labels(faces: pd.DataFrame, matrix: np.ndarray, copies: np.ndarray) -> str:
    """Turn 10 % of the gender labels over and look for them."""
    planted = planting.plant_label_noise(faces, column="gender", rate=NOISE, seed=1)
    errors = audit.find_label_errors(planted.faces, matrix, label="gender", copies=copies)
    hits = errors.table["face_id"].isin(planted.planted["face_id"]).to_numpy()
    top = {n: f"{hits[:n].mean():.3f}" for n in (100, 500) if n <= len(hits)}
    recall = hits.sum() / len(planted.planted)
    return (
        f"10 % wrong gender labels: precision {hits.mean():.3f} of {len(hits)} listed (bar .6), "
        f"recall {recall:.3f}, precision of the top {top}"
    )


def scale(n: int) -> str:
    """Time all pairs of `n` random hashes and descriptors."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, n, dtype=np.uint64)
    thumbnails = rng.integers(0, 255, (n, duplicates.THUMBNAIL**2), dtype=np.uint8)
    begun = time.perf_counter()
    duplicates.compare_looks(hashes, thumbnails, duplicates.MAX_BITS, duplicates.MIN_CORRELATION)
    looks = time.perf_counter() - begun
    matrix = rng.normal(size=(n, 1024)).astype(np.float32)
    faces = face_table.build({"image": [f"{i}.jpg" for i in range(n)]}, dataset="made")
    begun = time.perf_counter()
    audit.similar_descriptors(faces, matrix, progress=False)
    return f"all pairs of {n:,}: hashes {looks:.0f} s, descriptors {time.perf_counter() - begun:.0f} s"


def measure(dataset: str, root: Path, every: int) -> None:
    """Print every bar for one data set."""
    faces = datasets.load(dataset, root).faces
    few = faces.iloc[::every].reset_index(drop=True)
    print(f"{dataset}: {len(faces):,} faces, pictures planted into {len(few):,}")
    with tempfile.TemporaryDirectory() as out:
        print(" ", exact_copies(few, root, Path(out)))
    for size, quality in COPIES:
        print(" ", near_copies(few, root, size, quality))
    if faces["identity"].notna().any():
        print(" ", planted_leaks(faces))
    net = backbones.load("faceres_deep")
    store = project.resolve(f"results/descriptors/{dataset}-{net.name}-{net.tap}")
    extracted = descriptors.extract(faces, net, root=root, store=store)
    matrix = audit.align_rows(faces, extracted.face_id, extracted.matrix)
    print(" ", wrong_labels(faces, matrix, audit.exact_duplicates(faces, root).groups))


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", help="pairs of data set name and folder")
    parser.add_argument("--every", type=int, default=4, help="plant pictures into every n-th face")
    parser.add_argument("--scale", type=int, default=0, help="time all pairs of so many faces")
    given = parser.parse_args()
    for name, root in zip(given.sets[::2], given.sets[1::2], strict=True):
        measure(name, Path(root), given.every)
    if given.scale:
        print(scale(given.scale))


if __name__ == "__main__":
    main()

"""What is asked of a network of one's own before its descriptors are stored, on a few real faces."""

from __future__ import annotations

import numpy as np

from faceworkbook.descriptors.engines.base import FLOAT32, TOLERANCES, Engine, compare
from faceworkbook.descriptors.layout import StoreError

BATCH_ERROR = 1e-3  # of a face in a batch against it alone; a file of one's own may compute in float16
SAME = 1e-5  # relative distance below which two descriptors are one
MOST_SAME = 0.1  # share of the pairs of different pictures that may have one descriptor


def check(name: str, engine: Engine, pixels: np.ndarray) -> dict:
    """Check the descriptors of a few faces, and return the figures.

    Parameters
    ----------
    name : str
        The network, for errors.
    engine : Engine
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB

    Returns
    -------
    dict
        faces; ``batch_cosine`` and ``batch_relative_error`` (a batch against single faces, the worst); ``constant`` (share
        of the numbers that are equal for all faces); ``same_pairs`` (share of pairs of different pictures with one
        descriptor); ``median_cosine`` (of different pictures). None where there is one picture.

    Raises
    ------
    StoreError
        Not finite, all zero, constant, a batch that differs from single faces, or different faces with one descriptor.
    """
    batch = engine.run(pixels)
    if not np.isfinite(batch).all():
        wrong = int((~np.isfinite(batch).all(axis=1)).sum())
        _refuse(
            name, f"gives values that are not finite for {wrong} of {len(pixels)} faces; check mean and scale"
        )
    empty = int((~batch.any(axis=1)).sum())
    if empty:
        _refuse(
            name,
            f"gives zeros alone for {empty} of {len(pixels)} faces; check mean, scale and tap",
        )
    single = np.concatenate([engine.run(face[None]) for face in pixels])
    difference = compare(batch, single)
    if not difference["relative_error"] <= _allowed(engine):
        _refuse(
            name,
            f"gives other descriptors in a batch than one by one (relative error {difference['relative_error']:.1e}): its "
            "batch is fixed or its normalisation is still in training; add batch: 1 to its side-car, or export it anew",
        )
    same, cosines = _pairs(batch, pixels)
    constant = float((np.ptp(batch, axis=0) == 0).mean()) if len(same) else None
    if constant == 1:
        _refuse(name, f"gives the same descriptor for all of {len(pixels)} faces; check mean, scale and tap")
    if len(same) and same.mean() > MOST_SAME:
        _refuse(
            name,
            f"gives one descriptor for {same.mean():.0%} of the pairs of different faces; check mean, scale and tap",
        )
    return {
        "faces": len(pixels),
        "batch_cosine": difference["cosine"],
        "batch_relative_error": difference["relative_error"],
        "constant": constant,
        "same_pairs": float(same.mean()) if len(same) else None,
        "median_cosine": float(np.median(cosines)) if len(same) else None,
    }


def _allowed(engine: Engine) -> float:
    rounded = TOLERANCES.get(engine.settings.get("precision", FLOAT32), TOLERANCES[FLOAT32])
    return max(BATCH_ERROR, rounded.relative_error)


def describe(figures: dict) -> dict[str, str]:
    """Return the figures of `check` in words, for a reader of the report."""
    rows = {
        "faces that were checked": f"{figures['faces']:,}",
        "a batch against one by one, least cosine": f"{figures['batch_cosine']:.6f}",
        "a batch against one by one, largest relative error": f"{figures['batch_relative_error']:.1e}",
    }
    if figures["constant"] is None:
        return rows | {"different faces": "not compared: all pictures are the same"}
    return rows | {
        "numbers of a descriptor that are equal for all faces": f"{figures['constant']:.1%}",
        "pairs of different pictures with one descriptor": f"{figures['same_pairs']:.1%}",
        "cosine of two different pictures, median": f"{figures['median_cosine']:.3f}",
    }


def _refuse(name: str, what: str) -> None:
    raise StoreError(f"{name} fails its check on the first faces: it {what}")


def _pairs(batch: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each pair of different pictures, whether they have one descriptor, and its cosine."""
    first, second = np.triu_indices(len(pixels), 1)
    differ = np.array([(pixels[i] != pixels[j]).any() for i, j in zip(first, second, strict=True)], bool)
    a, b = batch[first[differ]].astype(float), batch[second[differ]].astype(float)
    norms = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    largest = np.maximum(np.maximum(*norms), np.finfo(float).tiny)
    product = np.maximum(norms[0] * norms[1], np.finfo(float).tiny)
    return np.linalg.norm(a - b, axis=1) / largest < SAME, (a * b).sum(axis=1) / product

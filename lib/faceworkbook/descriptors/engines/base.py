"""The interface of an engine, and how far its descriptors may lie from those of Keras."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Tolerance(NamedTuple):
    """How far descriptors may lie from the float32 ones of Keras on a CPU, at worst over the faces; see `compare`."""

    cosine: float
    relative_error: float


# What rounding costs grows with a network's depth. `python -m benchmarks.precision_cost` on 7,881 UTKFace faces, the worst
# by the embedded network: 7.3e-2 in tf32, 3.8e-2 in float16, 4.2e-1 in bfloat16, 2.9e-1 in int8.
TOLERANCES = {
    "float32": Tolerance(0.999999, 1e-4),
    "tf32": Tolerance(0.995, 1e-1),
    "float16": Tolerance(0.995, 1e-1),
    "bfloat16": Tolerance(0.9, 5e-1),
    "int8": Tolerance(0.9, 5e-1),
}
PRECISIONS = tuple(TOLERANCES)
FLOAT32 = "float32"
AT_ONCE = 8  # batches that a GPU is given: one for each of its lanes, and the next ones


class EngineWarning(UserWarning):
    """Warns that a fast engine was not used, and why."""


class Engine(Protocol):
    """Runs a backbone up to its tap.

    Attributes
    ----------
    name : str
        'keras', 'onnx', 'winograd', 'separable', 'gpu' or 'tensorrt'.
    batch_size : int
        The number of faces a call at which this engine is quickest.
    settings : dict
        Plain types for a manifest: name, package version, precision, threads.
    """

    name: str
    batch_size: int
    settings: dict

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute descriptors.

        Parameters
        ----------
        pixels : ndarray of shape (n, height, width, 3), uint8, RGB, 0..255
            Faces at the backbone's input size; the engine applies channel order, mean and scale.

        Returns
        -------
        ndarray of shape (n, dim), float32
        """
        ...


def is_on_gpu(runner: Engine) -> bool:
    """Return whether an engine computes on a GPU, which its settings name then."""
    return bool(runner.settings.get("card"))


def compare(descriptors: np.ndarray, reference: np.ndarray, *, dims: Sequence[int] = ()) -> dict[str, float]:
    """Return how far descriptors lie from the reference's, at worst over the faces.

    Parameters
    ----------
    descriptors, reference : ndarray of shape (n, dim)
    dims : sequence of int, optional
        Widths of taps that stand side by side, which are compared one by one; the worst counts.

    Returns
    -------
    dict
        ``cosine``: the smallest; ``relative_error``: the largest
        ``|descriptors - reference| / |reference|`` (Euclidean norms).
    """
    if len(dims) > 1:
        blocks = (np.split(of, np.cumsum(dims)[:-1], axis=1) for of in (descriptors, reference))
        each = [compare(*pair) for pair in zip(*blocks, strict=True)]
        return {
            "cosine": float(np.min([one["cosine"] for one in each])),
            "relative_error": float(np.max([one["relative_error"] for one in each])),
        }
    descriptors, reference = descriptors.astype(float), reference.astype(float)
    norm = np.maximum(np.linalg.norm(reference, axis=1), np.finfo(float).tiny)
    own = np.maximum(np.linalg.norm(descriptors, axis=1), np.finfo(float).tiny)
    return {
        "cosine": float(np.min(np.sum(descriptors * reference, axis=1) / norm / own)),
        "relative_error": float(np.max(np.linalg.norm(descriptors - reference, axis=1) / norm)),
    }


def agrees(difference: dict[str, float], precision: str = FLOAT32) -> bool:
    """Return whether a difference, as `compare` returns it, is within the precision's tolerance; NaN is not."""
    allowed = TOLERANCES[precision]
    return difference["cosine"] >= allowed.cosine and difference["relative_error"] <= allowed.relative_error


def describe_difference(difference: dict[str, float], precision: str = FLOAT32) -> str:
    """Return a difference beside what is allowed."""
    allowed = TOLERANCES[precision]
    return (
        f"cosine {difference['cosine']:.6f} (at least {allowed.cosine}), relative error "
        f"{difference['relative_error']:.1e} (at most {allowed.relative_error:g})"
    )


def describe_version(package: str) -> str:
    """Return the version of an installed package; ONNX Runtime comes in two, of which either will do."""
    names = (package, "onnxruntime-gpu") if package == "onnxruntime" else (package,)
    for name in names[:-1]:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return importlib.metadata.version(names[-1])

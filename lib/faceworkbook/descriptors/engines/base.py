"""The interface of an engine, and how far its descriptors may lie from those of Keras."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

MIN_COSINE = 0.9999
MAX_RELATIVE_ERROR = 1e-3


class EngineWarning(UserWarning):
    """Warns that a fast engine was not used, and why."""


class Engine(Protocol):
    """Runs a backbone up to its tap.

    Attributes
    ----------
    name : str
        'keras', 'onnx' or 'winograd'.
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


def agrees(difference: dict[str, float]) -> bool:
    """Return whether a difference, as `compare` returns it, is within tolerance; NaN is not."""
    return difference["cosine"] >= MIN_COSINE and difference["relative_error"] <= MAX_RELATIVE_ERROR


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

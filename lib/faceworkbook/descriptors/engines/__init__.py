"""Engines that compute descriptors: Keras, the reference, and quicker ones checked against it."""

from __future__ import annotations

import numpy as np

from faceworkbook.backbones import Backbone
from faceworkbook.descriptors.engines.base import Engine, agrees, compare

__all__ = ["Engine", "agrees", "choose", "compare"]

ENGINES = ("auto", "keras")
PRECISIONS = ("float32",)


def choose(
    backbone: Backbone,
    *,
    engine: str = "auto",
    precision: str = "float32",
    check_pixels: np.ndarray | None = None,
    threads: int | None = None,
) -> Engine:
    """Pick the quickest engine that gives the backbone's descriptors.

    Parameters
    ----------
    backbone : Backbone
        The network and its tap.
    engine : {'auto', 'keras'}
        'auto' takes the quickest one.
    precision : {'float32'}
        Of the arithmetic.
    check_pixels : ndarray of shape (n, height, width, 3), uint8, RGB, optional
        A few real faces at the backbone's input size.
    threads : int, optional
        Threads to compute with; all cores where None.

    Returns
    -------
    Engine
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}; expected one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}; expected one of {', '.join(PRECISIONS)}")
    from faceworkbook.descriptors.engines.keras_engine import KerasEngine

    return KerasEngine(backbone, threads=threads)

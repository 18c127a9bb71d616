"""What a frozen layer makes of the pictures, computed before training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from faceworkbook.training import cutting
from faceworkbook.training.activations import Activations
from faceworkbook.training.cutting import Network
from faceworkbook.training.pictures import Mirrored


@contextmanager
def activated(pictures, folder) -> Iterator[None]:
    """Give the pictures the activations that `precompute` asks for, and remove them at the end."""
    if pictures.settings.precompute is None:
        yield
        return
    if pictures.network.activations is not None:
        pictures.activations = pictures.network.activations
        yield
        return
    rows = np.concatenate([pictures.split.train, pictures.split.validation])
    given = (pictures.network, pictures.source, rows, pictures.settings, folder)
    pictures.activations = compute(*given)
    try:
        yield
    finally:
        pictures.activations.remove()


def check(network: Network, settings) -> None:
    """Raise ValueError where `settings.precompute` names a layer that changes, or pictures that do."""
    if settings.mixup:
        raise ValueError(
            f"mixup={settings.mixup} mixes pictures, and precompute={settings.precompute!r} keeps what a layer makes "
            "of each one; leave one of them out"
        )
    if not replace(settings.augmentation, mirror=0.0).is_nothing:
        raise ValueError(
            "precompute keeps each picture and its mirror image, so mirror is the only augmentation that "
            f"goes with it; got {settings.augmentation}"
        )
    frozen = cutting.layers_upto(network.net.model, settings.freeze)
    if not cutting.layers_upto(network.net.model, settings.precompute) <= frozen:
        raise ValueError(
            f"precompute={settings.precompute!r} changes in training; freeze the network up to it or beyond "
            f"(freeze={settings.freeze!r})"
        )


def compute(network: Network, source, rows: np.ndarray, settings, folder) -> Activations:
    """Return what the layer `settings.precompute` makes of `rows`, and of their mirror images where they are needed."""
    sources = [source, Mirrored(source)] if settings.augmentation.mirror else [source]
    return Activations(
        cutting.upto(network.net.model, settings.precompute),
        sources,
        rows,
        file=None if folder is None else Path(folder) / "activations.npy",
        progress=settings.progress,
    )

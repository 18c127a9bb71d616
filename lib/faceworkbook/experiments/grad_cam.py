"""What a network looks at: Grad-CAM (Selvaraju et al. 2017), averaged over the faces of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from faceworkbook.tasks import Labels
from faceworkbook.training.pictures import Prepared

if TYPE_CHECKING:  # it imports Keras
    from faceworkbook.training.cutting import Network

BATCH = 32
ALL = "all"


@dataclass(frozen=True)
class ClassMaps:
    """Where the evidence for each class lies.

    Attributes
    ----------
    names : tuple of str
        Classes that have faces here; 'all' for a number.
    maps : ndarray of shape (n_names, height, width), float32, range 0..1
        Mean over the faces of the Grad-CAM for their own class, each face's scaled to a largest value of 1.
    faces : ndarray of shape (n_names, height, width, 3), uint8, RGB
        Mean picture of the same faces.
    counts : ndarray of shape (n_names,), int
    layer : str
    """

    names: tuple[str, ...]
    maps: np.ndarray
    faces: np.ndarray
    counts: np.ndarray
    layer: str


def class_maps(
    network: Network,
    source,
    labels: Labels,
    *,
    rows: np.ndarray,
    layer: str | None = None,
    per_class: int = 100,
    seed: int = 0,
) -> ClassMaps:
    """Average Grad-CAM maps of the faces among `rows` that bear each class.

    Parameters
    ----------
    network : Network
    source : PixelFiles, PixelArray or PixelShards
        Aligned faces, or chips cut alike: a mean of faces that stand elsewhere shows nothing.
    labels : Labels
        Gives each face's class; for numbers all faces make one map, of what raises the number.
    rows : ndarray of int
    layer : str, optional
        Layer with (height, width, channels) whose maps are weighed; the trunk's last one where None.
    per_class : int
        At most so many faces a class, drawn at random.

    Raises
    ------
    ValueError
        No row bears a class, or a layer without height and width.
    """
    import keras

    from faceworkbook.training.cutting import upto

    model = network.net.model
    layer = layer or _last_maps(network)
    if len(model.get_layer(layer).output.shape) != 4:
        raise ValueError(
            f"layer {layer!r} has no height and width; choose one such as {_last_maps(network)!r}"
        )
    groups = _groups(labels, rows, per_class, np.random.default_rng(seed))
    if not groups:
        raise ValueError(
            f"none of the {len(rows)} rows has a label for '{labels.name}'; choose rows with a known label"
        )
    both = keras.Model(model.input, [upto(model, layer).output, model.output[labels.name]])
    means = [_mean_map(both, source, chosen, column) for column, chosen in groups.values()]
    return ClassMaps(
        tuple(groups),
        np.stack([heat for heat, _ in means]),
        np.stack([face for _, face in means]),
        np.array([len(chosen) for _, chosen in groups.values()]),
        layer,
    )


def _last_maps(network: Network) -> str:
    layers = [network.net.model.get_layer(name) for name in network.trunk]
    return [layer.name for layer in layers if len(layer.output.shape) == 4][-1]


def _groups(labels: Labels, rows: np.ndarray, per_class: int, rng) -> dict[str, tuple[int, np.ndarray]]:
    """Return the output column and rows of each class that has faces."""
    rows = rows[labels.known[rows]]
    if labels.task.is_number or labels.task.class_values:
        by_class = {ALL: (0, rows)}
    else:
        by_class = {n: (i, rows[labels.codes[rows] == i]) for i, n in enumerate(labels.classes)}
    return {
        name: (column, rng.choice(chosen, min(per_class, len(chosen)), replace=False))
        for name, (column, chosen) in by_class.items()
        if len(chosen)
    }


def _mean_map(both, source, rows: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = source.preprocessing.size
    heat, face = np.zeros((height, width)), np.zeros((height, width, 3))
    for batch in np.array_split(rows, -(-len(rows) // BATCH)):
        for cam in grad_cam(both, Prepared(source)[batch], column):
            heat += cv2.resize(cam, (width, height), interpolation=cv2.INTER_LINEAR) / max(cam.max(), 1e-12)
        face += source.take(batch).sum(axis=0)
    return (heat / len(rows)).astype(np.float32), np.rint(face / len(rows)).astype(np.uint8)


def grad_cam(both, x: np.ndarray, column: int) -> np.ndarray:
    """Return relu(sum over channels k of a_k A_k), a_k the mean over the map of d output / d A_k.

    Parameters
    ----------
    both : keras.Model
        Input -> maps A (n, h, w, k) and output (n, width).
    x : ndarray
        Network input.
    column : int
        Which output.

    Returns
    -------
    ndarray of shape (n, h, w), float32
    """
    import tensorflow as tf

    with tf.GradientTape() as tape:
        picture = tf.convert_to_tensor(x)
        tape.watch(picture)
        maps, output = both(picture, training=False)
        chosen = tf.reduce_sum(output[:, column])
    slopes = tape.gradient(chosen, maps)
    weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy().astype(np.float32)

"""What the faces of several data sets are described with: a network, five points, both, or the face mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import descriptors, landmarks
from faceworkbook import faces as face_table
from faceworkbook.backbones.several import open_network
from faceworkbook.descriptors import face_shape, five_points, naming
from faceworkbook.landmarks import AlignOptions

SOURCES = ("network", "landmarks", "both", "mesh")


def describe_with(
    source: str,
    *,
    backbone: str,
    tap: str,
    store: Path,
    cut: Mapping | None = None,
    align: AlignOptions | None = None,
) -> tuple[Callable, str]:
    """Return the function that describes faces, and its name, from plain parameters.

    Parameters
    ----------
    source : {'network', 'landmarks', 'both', 'mesh'}
        'both': the points, and the network on the square around them, see `describe_with_both`. 'mesh': pose and shape
        of the face mesh.
    backbone : str
        'auto' (VGG-Face if its file is there, else the embedded default), or a registered name.
    tap : str
        Empty for the network's default.
    store : path
        Folder of the descriptor stores.
    cut : mapping, optional
        ``align``, ``margin``, ``resolution``: how faces are cut out for the network; see `Backbone.adjusted`.
    align : AlignOptions, optional
        Which detected faces count, and what happens to the others.

    Returns
    -------
    callable, str
        The callable takes ``(faces, name, root)`` and returns ``face_id``, ``matrix``, ``left_out`` and ``aligned``.
    """
    if source not in SOURCES:
        raise ValueError(f"source={source!r}; allowed are {list(SOURCES)}")
    if source == "landmarks":
        return describe_with_landmarks(store), "five points by YuNet"
    if source == "mesh":
        return describe_with_mesh(store), "468 points of the face mesh"
    net = open_network(backbone, tap=tap).adjusted(**(cut or {}))
    if source == "both":
        return describe_with_both(net, store), f"five points by YuNet and {net.name} {net.tap}, both sides"
    variant = f" ({net.variant})" if net.variant else ""
    return describe_with_network(net, store, align=align), f"{net.name} {net.tap}{variant}"


def describe_with_network(net, store: Path, *, align: AlignOptions | None = None) -> Callable:
    """Describe faces by a backbone, each data set in a store NAME-NETWORK-TAP of its own."""
    options = align or AlignOptions()
    place = f"{net.name}-{net.tap}{naming.describe_cut(net, options)}"

    def describe(faces: pd.DataFrame, name: str, root: Path):
        net.check_use(name)
        kept = {"align": options, "landmarks": _landmarks_of(name, store)}
        return descriptors.extract(faces, net, root=root, store=store / f"{name}-{place}", **kept)

    return describe


def describe_with_landmarks(store: Path) -> Callable:
    """Describe faces by their five points (head pose); each data set's table NAME-landmarks is kept in `store`."""

    def describe(faces: pd.DataFrame, name: str, root: Path):
        return five_points.extract(faces, root=root, path=_landmarks_of(name, store))

    return describe


def describe_with_mesh(store: Path) -> Callable:
    """Describe faces by their mesh (head pose); each data set's table NAME-landmarks-mesh is kept in `store`."""

    def describe(faces: pd.DataFrame, name: str, root: Path):
        return face_shape.extract(faces, root=root, path=_landmarks_of(name, store))

    return describe


def describe_with_both(net, store: Path) -> Callable:
    """Describe faces by their five points and by a network that sees the detected face (head pose).

    The network sees each face as it is and mirrored. The columns are the points', the mean of both descriptors
    (the same for a face and its mirror image) and half of their difference (which changes sign).
    """
    sides = (net, net.mirrored("only"))

    def describe(faces: pd.DataFrame, name: str, root: Path):
        points = five_points.extract(faces, root=root, path=_landmarks_of(name, store))
        boxed = faces.set_index("face_id", drop=False).loc[points.face_id].reset_index(drop=True)
        boxed[list(face_table.BOX)] = points.boxes
        straight, turned = (
            descriptors.extract(
                boxed, side, root=root, store=store / f"{name}-{side.name}-{side.tap}-detected{suffix}"
            )
            for side, suffix in zip(sides, ("", "-mirrored"), strict=True)
        )
        columns = [
            points.matrix,
            (straight.matrix + turned.matrix) / 2,
            (straight.matrix - turned.matrix) / 2,
        ]
        return replace(points, matrix=np.concatenate(columns, axis=1))

    return describe


def _landmarks_of(name: str, store: Path) -> Path:
    return store / f"{name}-{landmarks.NAME}"

"""Several data sets below each other: one table, one matrix, the labels that each has, a split of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import alignment, audit, backbones, datasets, descriptors, splits
from faceworkbook import faces as facetable
from faceworkbook.descriptors import landmarks
from faceworkbook.tasks import Labels, read_labels, source_columns
from faceworkbook.training.batches import Stage


class MultiDatasetError(ValueError):
    """Data sets that cannot be learned together; the text says what is missing."""


@dataclass(frozen=True, eq=False)
class MultiDataset:
    """Faces of one or more data sets, with their descriptors and targets.

    Attributes
    ----------
    faces : pandas.DataFrame
        Face table of n rows; ``dataset`` says where a row is from.
    matrix : ndarray of shape (n, d), float32
    targets : dict of str to Labels
        One a task, n labels each, missing where a data set has none.
    copies : ndarray of shape (n,), int
        Group of identical pictures, -1 where a face is alone.
    left_out : pandas.DataFrame
        dataset, reason, faces: what was not used.
    """

    faces: pd.DataFrame
    matrix: np.ndarray
    targets: dict[str, Labels]
    copies: np.ndarray
    left_out: pd.DataFrame

    def counts(self) -> pd.DataFrame:
        """Known labels by data set and task."""
        known = pd.DataFrame({name: target.known for name, target in self.targets.items()})
        return known.groupby(self.faces["dataset"].to_numpy()).sum().rename_axis("dataset").reset_index()


def parse(sets: Sequence[str]) -> dict[str, str]:
    """``["utkface: data/UTKFace", ...]`` (or with an equals sign) as a dict of name to folder."""
    pairs = [re.fullmatch(r"(\w+)\s*[:=]\s*(\S.*)", text) for text in sets]
    if not pairs or not all(pairs):
        raise MultiDatasetError(
            f"data sets {list(sets)}; expected a list of NAME=FOLDER, such as utkface=data/UTKFace"
        )
    return dict(pair.groups() for pair in pairs)


def describer(source: str, *, backbone: str, tap: str, store: Path) -> tuple[Callable, str]:
    """What `gather` describes faces with, and its name, from plain parameters.

    Parameters
    ----------
    source : {'network', 'landmarks', 'both'}
        'both': the points, and the network on the square around them, see `by_both`.
    backbone : str
        'auto' (VGG-Face if its file is there, else the embedded default), or a registered name.
    tap : str
        Empty for the network's default.
    """
    if source == "landmarks":
        return by_landmarks(), "five points by YuNet"
    if source not in ("network", "both"):
        raise MultiDatasetError(f"source={source!r}; allowed are ['network', 'landmarks', 'both']")
    if backbone == "auto":
        net = backbones.default(tap=tap or None)
    else:
        net = backbones.load(backbone, tap=tap or None)
    if source == "both":
        return by_both(net, store), f"five points by YuNet and {net.name} {net.tap}, both sides"
    return by_network(net, store), f"{net.name} {net.tap}"


def by_network(net, store: Path) -> Callable:
    """How `gather` describes faces: by a backbone, each data set in a store NAME-NETWORK-TAP of its own."""

    def describe(faces: pd.DataFrame, name: str, root: Path):
        return descriptors.extract(faces, net, root=root, store=store / f"{name}-{net.name}-{net.tap}")

    return describe


def by_landmarks() -> Callable:
    """How `gather` describes faces: by their five points (head pose)."""
    detector = alignment.Detector()

    def describe(faces: pd.DataFrame, name: str, root: Path):
        return landmarks.extract(faces, root=root, detector=detector)

    return describe


def by_both(net, store: Path) -> Callable:
    """How `gather` describes faces: by their five points and by a network that sees the detected face (head pose).

    The network sees each face as it is and mirrored. The columns are the points', the mean of both descriptors
    (the same for a face and its mirror image) and half of their difference (which changes sign).
    """
    detector = alignment.Detector()
    sides = (net, backbones.mirrored(net))

    def describe(faces: pd.DataFrame, name: str, root: Path):
        points = landmarks.extract(faces, root=root, detector=detector)
        boxed = faces.set_index("face_id", drop=False).loc[points.face_id].reset_index(drop=True)
        boxed[list(facetable.BOX)] = points.boxes
        straight, turned = (
            descriptors.extract(
                boxed, side, root=root, store=store / f"{name}-{side.name}-{side.tap}-detected"
            )
            for side in sides
        )
        columns = [
            points.matrix,
            (straight.matrix + turned.matrix) / 2,
            (straight.matrix - turned.matrix) / 2,
        ]
        return replace(points, matrix=np.concatenate(columns, axis=1))

    return describe


def gather(
    roots: dict[str, Path], tasks: Sequence[str], *, describe: Callable, limit: int = 0, seed: int = 0
) -> MultiDataset:
    """Read data sets, describe their faces, and put them below each other.

    Parameters
    ----------
    roots : dict of str to path
        Folder by data set.
    tasks : sequence of str
        Labels to learn: names of `tasks.read_labels`, or 'pose' (five bins of yaw).
    describe : callable
        `by_network` or `by_landmarks`.
    limit : int
        At most so many faces a data set, 0 for all.
    """
    parts, matrices, copies, left_out = [], [], [], []
    for name, root in roots.items():
        source = datasets.load(name, root)
        labelled = _with_label(source.faces, tasks)
        drawn = facetable.draw(labelled, limit=limit, seed=seed)
        described = describe(drawn, name, source.root)
        used = drawn.set_index("face_id", drop=False).loc[described.face_id].reset_index(drop=True)
        parts.append(used)
        matrices.append(np.asarray(described.matrix))
        copies.append(audit.copies(used, source.root).groups)
        left_out += [
            (name, "left out by the reader", len(source.left_out)),
            (name, "no label of any task", len(source.faces) - len(labelled)),
            (name, "not drawn", len(labelled) - len(drawn)),
            (name, "unreadable, or no face found", len(described.left_out)),
        ]
    table = pd.DataFrame(left_out, columns=["dataset", "reason", "faces"])
    return build(parts, matrices, tasks, copies=copies, left_out=table)


def build(
    parts: Sequence[pd.DataFrame],
    matrices: Sequence[np.ndarray],
    tasks: Sequence[str],
    *,
    copies: Sequence[np.ndarray] | None = None,
    left_out: pd.DataFrame | None = None,
) -> MultiDataset:
    """Put face tables and their descriptors below each other; see `MultiDataset`."""
    widths = sorted({matrix.shape[1] for matrix in matrices})
    if len(widths) != 1:
        raise MultiDatasetError(
            f"the data sets' descriptors have widths {widths}; describe them with one network"
        )
    alone = [np.full(len(part), -1) for part in parts] if copies is None else copies
    faces = _below(parts)
    made = {name: read_labels(faces, name) for name in tasks}
    if left_out is None:
        left_out = pd.DataFrame(columns=["dataset", "reason", "faces"])
    return MultiDataset(
        faces, np.concatenate(matrices).astype(np.float32), made, _renumbered(alone), left_out
    )


def _with_label(faces: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    columns = {column for task in tasks for column in source_columns(faces, task)}
    known = faces[sorted(columns)].notna().any(axis=1)
    if not known.any():
        raise MultiDatasetError(
            f"no face of {faces['dataset'].iloc[0]} has a label of {list(tasks)}; it has "
            f"{facetable.label_columns(faces)}"
        )
    return faces[known].reset_index(drop=True)


def _below(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    classes = {column: None for part in parts for column in part if facetable.is_class_label(part[column])}
    plain = [part.astype({column: object for column in classes if column in part}) for part in parts]
    faces = pd.concat(plain)
    for column in classes:
        having = [part[column] for part in parts if column in part]
        names = dict.fromkeys(name for values in having for name in values.cat.categories)
        ordered = all(values.cat.ordered for values in having)
        faces[column] = pd.Categorical(faces[column], categories=list(names), ordered=ordered)
    return faces.reset_index(drop=True)


def _renumbered(groups: Sequence[np.ndarray]) -> np.ndarray:
    out, first = [], 0
    for group in groups:
        out.append(np.where(group >= 0, group + first, -1))
        first += int(group.max(initial=-1)) + 1
    return np.concatenate(out)


def hide(pool: MultiDataset, task: str, *, share: float, rows: np.ndarray, seed: int) -> MultiDataset:
    """The pool with the label `task` hidden in a share of `rows` (training and validation rows)."""
    if not 0 <= share < 1:
        raise MultiDatasetError(
            f"share={share} of the labels of '{task}' to hide; allowed is 0 up to below 1"
        )
    target = pool.targets[task]
    known = np.asarray(rows)[target.known[rows]]
    hidden = np.random.default_rng(seed).permutation(known)[: round(share * len(known))]
    return replace(pool, targets={**pool.targets, task: target.hide(hidden)})


@dataclass(frozen=True, eq=False)
class Parts:
    """Training, validation and test rows of a pool; no row in two of them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(pool: MultiDataset, *, seed: int, test: float = 0.25, validation: float = 0.15) -> Parts:
    """Split each data set by identity, stratified by its own labels, and put the parts together."""
    found = {part: [] for part in splits.SUBSETS}
    for name in pool.faces["dataset"].unique():
        rows = np.flatnonzero((pool.faces["dataset"] == name).to_numpy())
        own = pool.faces.iloc[rows].reset_index(drop=True)
        made = splits.make(
            own,
            label=_strata(own, pool.targets),
            seed=seed,
            test=test,
            validation=validation,
            keep_together=pool.copies[rows],
        )
        for part in splits.SUBSETS:
            found[part].append(rows[getattr(made, part)])
    return Parts(*(np.sort(np.concatenate(found[part])) for part in ("train", "validation", "test")))


def _strata(faces: pd.DataFrame, tasks: Sequence[str]) -> list[str]:
    columns = [column for task in tasks for column in source_columns(faces, task)]
    return list(dict.fromkeys(column for column in columns if faces[column].notna().any()))


def stages(pool: MultiDataset, rows: np.ndarray, tasks: Sequence[str]) -> tuple[Stage, ...]:
    """What takes turns: the data sets, each with the tasks it has labels for; in one data set, the tasks."""
    made = []
    for name in pool.faces["dataset"].unique():
        own = rows[(pool.faces["dataset"].iloc[rows] == name).to_numpy()]
        known = tuple(task for task in tasks if pool.targets[task].known[own].any())
        if known:
            made.append(Stage(name, own, known))
    if len(made) > 1 or len(tasks) == 1:
        return tuple(made)
    return tuple(Stage(task, made[0].rows, (task,)) for task in made[0].tasks)

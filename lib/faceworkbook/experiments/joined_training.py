"""Faces of further data sets that train too, while one data set chooses and tests: no picture or person of it among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import datasets, row_groups, splits, tasks
from faceworkbook.descriptors import unit_blocks
from faceworkbook.experiments import multi_dataset, overlap
from faceworkbook.experiments.multi_dataset import MultiDatasetError
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.files import hash_values
from faceworkbook.training import balancing

OTHER_CLASS = "of a class that the tested set does not have, or without the label"
SHARED = "shows a picture or person of the tested set"
REPEATED = "copy of a face that trains already"


@dataclass(frozen=True, eq=False)
class JoinedTraining:
    """A data set with the training faces of further ones below it.

    Attributes
    ----------
    data : PreparedData
        The rows of the tested set come first, where they were.
    added : ndarray of int
        Rows of the further sets.
    excluded : pandas.DataFrame
        dataset, reason, faces: what of the further sets does not train.
    """

    data: PreparedData
    added: np.ndarray
    excluded: pd.DataFrame

    def extend(self, split: splits.Split) -> splits.Split:
        """Return a split of the tested set in which the further faces train too."""
        return replace(split, train=np.concatenate([split.train, self.added]))


def add(
    data: PreparedData,
    roots: Mapping[str, Path],
    *,
    root: Path,
    describe: Callable,
    balance_by: str = "",
) -> JoinedTraining:
    """Put the faces of further data sets below those of `data`.

    Parameters
    ----------
    data : PreparedData
        The set that chooses and tests.
    roots : mapping of str to path
        Folder of each further set.
    root : path
        Folder of the pictures of `data`.
    describe : callable
        ``(faces, name, root)`` to the same descriptors as those of `data`.
    balance_by : str
        See `faceworkbook.training.balancing.group`.

    Raises
    ------
    MultiDatasetError
        A set is the tested one, lacks the label, or nothing of it is left.
    """
    own, label = str(data.faces["dataset"].iloc[0]), data.labels.name
    if own in roots:
        raise MultiDatasetError(f"also_train names {own}, the set that is tested; name other sets")
    tables, folders, matrices = {own: data.faces}, {own: root}, {own: np.asarray(data.matrix)}
    excluded = []
    for name, folder in roots.items():
        source = datasets.load(name, folder).need_faces()
        labelled = multi_dataset.with_label(source.faces, [label])
        described = describe(labelled, name, source.root)
        kept = labelled.set_index("face_id", drop=False).loc[described.face_id].reset_index(drop=True)
        tables[name], folders[name], matrices[name] = kept, source.root, np.asarray(described.matrix)
        excluded += [(name, "excluded by the reader", len(source.left_out))]
        excluded += [(name, "unreadable, or no face detected", len(described.left_out))]
    units = {name: unit_blocks(matrix, data.dims) for name, matrix in matrices.items()}
    shared = overlap.find(tables, folders, matrices=units)
    kept, codes, values = {own: np.arange(len(data.faces))}, [data.labels.codes], [data.labels.values]
    seen = shared.copies[own]
    for name in roots:
        labels = _like(tasks.read_labels(tables[name], label), data.labels)
        rows = np.arange(len(tables[name]))
        taken = shared.shared(name, rows, own, kept[own])
        again = (shared.copies[name] != row_groups.ALONE) & np.isin(shared.copies[name], seen)
        usable = labels.known & ~np.isin(rows, taken) & ~again
        excluded += [
            (name, OTHER_CLASS, int((~labels.known).sum())),
            (name, SHARED, int((labels.known & np.isin(rows, taken)).sum())),
            (name, REPEATED, int((labels.known & again & ~np.isin(rows, taken)).sum())),
        ]
        if not usable.any():
            raise MultiDatasetError(f"no face of {name} is left to train on: {excluded[-3:]}")
        seen = np.concatenate([seen, shared.copies[name]])
        kept[name] = rows[usable]
        codes.append(labels.codes[usable])
        values.append(labels.values[usable])
    joined = _below(data, tables, folders, matrices, kept, shared)
    made = tasks.Labels(data.labels.task, np.concatenate(codes), np.concatenate(values))
    hashed = hash_values({name: tables[name]["face_id"].iloc[kept[name]].tolist() for name in roots})
    joined = replace(
        joined,
        labels=balancing.group(made, joined.faces, balance_by),
        made_from={**data.made_from, "also_train": hashed},
    )
    table = pd.DataFrame(excluded, columns=["dataset", "reason", "faces"])
    return JoinedTraining(joined, np.arange(len(data.faces), len(joined.faces)), table)


def _like(labels: tasks.Labels, own: tasks.Labels) -> tasks.Labels:
    """Return labels of a further set in the classes of the tested one; other classes are missing."""
    if labels.task.kind != own.task.kind:
        raise MultiDatasetError(
            f"'{own.name}' is of kind {own.task.kind} in the tested set and {labels.task.kind} in a further one"
        )
    if own.task.is_number or own.task.is_multilabel:
        return labels
    place = [own.classes.index(c) if c in own.classes else tasks.MISSING for c in labels.classes]
    codes = np.array([*place, tasks.MISSING], np.int64)[labels.codes]
    return tasks.Labels(own.task, codes, labels.values)


def _below(data: PreparedData, tables, folders, matrices, kept, shared) -> PreparedData:
    rows = []
    for name, of in kept.items():
        own = tables[name].iloc[of]
        if rows:
            # Its pictures lie under another root than the tested set's.
            own = own.assign(image=[str(Path(folders[name]).resolve() / image) for image in own["image"]])
        rows.append(own.reset_index(drop=True))
    copies = np.concatenate([shared.copies[name][of] for name, of in kept.items()])
    copies[: len(data.faces)] = np.where(
        data.copies == row_groups.ALONE, row_groups.ALONE, data.copies + copies.max() + 1
    )
    matrix = np.concatenate([matrices[name][of] for name, of in kept.items()]).astype(np.float32)
    return replace(data, faces=multi_dataset.below(rows), matrix=matrix, copies=copies)

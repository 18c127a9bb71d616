"""What earlier steps of an experiment left to learn from: faces, descriptors, target, split."""

from __future__ import annotations

from pathlib import Path

from faceworkbook import descriptors, project, splits, tasks
from faceworkbook.experiments.cross_dataset import Material
from faceworkbook.reports import runs


def load(out: str | Path, label: str) -> Material:
    """Read the faces that have a descriptor, their target and the split of an experiment.

    Parameters
    ----------
    out : str or Path
        Folder of the experiment (results/NAME), where 01_faces and 02_descriptors have run.
    label : str
        See `faceworkbook.tasks.make`.

    Raises
    ------
    RunError
        One of the two steps is missing.
    """
    run = runs.Run(project.resolve(out) / "material", "material")
    everyone = run.table("01_faces", "faces")
    place = project.resolve(run.values("02_descriptors")["store"])
    found = descriptors.select(place, everyone["face_id"])
    keep = everyone["face_id"].isin(found.face_id).to_numpy()
    table = everyone[keep].reset_index(drop=True)
    split = splits.restrict(splits.load(run.other("01_faces", "split.json"), everyone), keep)
    return Material(found.matrix, tasks.read_labels(table, label), table, split)


def network(out: str | Path):
    """The network that 02_descriptors of this experiment used, at the same tap."""
    from faceworkbook import backbones

    was = runs.Run(project.resolve(out) / "material", "material").values("02_descriptors")
    return backbones.load(was["network"], weights=project.resolve(was["weights"]), tap=was["tap"])

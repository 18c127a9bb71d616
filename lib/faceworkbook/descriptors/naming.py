"""Where descriptors lie by default: one folder for each data set folder, network, tap, cut of the faces and precision."""

from __future__ import annotations

from pathlib import Path

from faceworkbook import files, project
from faceworkbook.landmarks import AlignOptions

FOLDER = "results/descriptors"


def default_store(
    dataset: str,
    root: str | Path,
    backbone,
    *,
    precision: str = "float32",
    align: AlignOptions | None = None,
) -> Path:
    """Return the folder of the descriptors of a data set, relative to the project's root.

    Two folders of pictures never share a store, whatever their files are called.
    """
    place = files.hash_values(project.shorten(root))[:8]
    suffix = describe_cut(backbone, align or AlignOptions())
    suffix += f"-mirror-{backbone.mirror}" if backbone.mirror else ""
    suffix += "" if precision == "float32" else f"-{precision}"
    return Path(FOLDER) / f"{dataset}-{place}-{backbone.name}-{backbone.tap}{suffix}"


def store_of_file(dataset: str, root: str | Path, file: Path) -> Path:
    """Return the folder of the descriptors of a data set that are read from `file`, relative to the project's root."""
    place = files.hash_values(project.shorten(root))[:8]
    return Path(FOLDER) / f"{dataset}-{place}-read-{file.stem[:40]}-{files.hash_file(file)[:8]}"


def describe_cut(backbone, align: AlignOptions) -> str:
    """Return what differs from the network's own cut of the faces, as part of a name; else an empty text."""
    suffix = f"-{backbone.variant}" if backbone.variant else ""
    if backbone.preprocessing.align == "none":
        return suffix
    usual = AlignOptions()
    if (align.min_score, align.no_face) != (usual.min_score, usual.no_face):
        suffix += f"-score{align.min_score:g}-{align.no_face}"
    return suffix + ("" if align.landmarks == usual.landmarks else f"-{align.landmarks}")

"""What every data set reader hands on, and the helpers they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")


class DatasetError(ValueError):
    """A data set that cannot be read; the text says what was found, what is expected, what to do."""


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set, for the table in the README and for error texts."""

    name: str
    title: str
    labels: tuple[str, ...]
    identities: str
    official_split: str
    size: str
    terms: str
    source: str
    layout: str

    def row(self) -> dict[str, str]:
        """The facts as one table row (all but the layout)."""
        return {
            "name": self.name,
            "title": self.title,
            "labels": ", ".join(self.labels),
            "identities": self.identities,
            "official split": self.official_split,
            "size": self.size,
            "terms": self.terms,
            "source": self.source,
        }


@dataclass(frozen=True)
class Found:
    """What a reader found.

    Attributes
    ----------
    faces : pandas.DataFrame
        The face table (see ``faceworkbook.faces``).
    left_out : pandas.DataFrame
        Files or rows that are not in it: columns ``image``, ``reason``, ``detail``.
    notices : pandas.DataFrame
        Rows that are in it but were repaired or need a look: same columns.
    root : Path
        Folder that the table's ``image`` paths are relative to.
    info : DatasetInfo
    """

    faces: pd.DataFrame
    left_out: pd.DataFrame
    notices: pd.DataFrame
    root: Path
    info: DatasetInfo

    def counts(self) -> pd.DataFrame:
        """Rows read and rows left out by reason: columns ``what``, ``count``."""
        rows = [("faces read", len(self.faces))]
        rows += [(f"left out: {reason}", n) for reason, n in self.left_out["reason"].value_counts().items()]
        rows += [(f"noticed: {reason}", n) for reason, n in self.notices["reason"].value_counts().items()]
        return pd.DataFrame(rows, columns=["what", "count"])


@dataclass
class Aside:
    """Collects what is left out or repaired while a reader runs."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, image: str, reason: str, detail: str = "") -> None:
        """Note `image` (path relative to the root) with a short `reason` and its `detail`."""
        self.rows.append((str(image), reason, detail))

    def table(self) -> pd.DataFrame:
        """Columns ``image``, ``reason``, ``detail``, in the order noted."""
        return pd.DataFrame(self.rows, columns=["image", "reason", "detail"], dtype="string")


def list_pictures(root: Path) -> tuple[list[str], list[str]]:
    """Files under `root`, as sorted relative POSIX paths: pictures by extension, and the rest.

    Hidden files and folders are passed over. Links that lead outside `root` count as the rest.
    """
    inside = root.resolve()
    pictures, others = [], []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        good = path.suffix.lower() in PICTURES and path.resolve().is_relative_to(inside)
        (pictures if good else others).append(relative.as_posix())
    return pictures, others


def need_files(root: Path, names: tuple[str, ...], info: DatasetInfo) -> None:
    """Raise `DatasetError` with the expected layout beside what was found if a file is missing."""
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise DatasetError(layout_error(root, info, f"missing: {', '.join(missing)}"))


def layout_error(root: Path, info: DatasetInfo, problem: str) -> str:
    """Text of an error about files that are not where they should be."""
    there = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())[:12] or ["(nothing)"]
    return (
        f"data set '{info.name}' under {root}: {problem}.\nExpected layout:\n{info.layout}\n"
        f"Found there: {', '.join(there)}"
    )

"""Some of the rendered faces, in a folder of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from tests.conftest import REPO


def lay(folder: Path, *, people: int) -> None:
    """Make ``data/synthetic`` in `folder`: all pictures of the first people, with their labels."""
    source, target = REPO / "data" / "synthetic", folder / "data" / "synthetic"
    (target / "images").mkdir(parents=True)
    rows = pd.read_csv(source / "labels.csv", dtype=str, keep_default_na=False)
    rows = rows[rows["identity"].isin(rows["identity"].unique()[:people])]
    rows.to_csv(target / "labels.csv", index=False)
    for image in rows["image"]:
        shutil.copyfile(source / image, target / image)

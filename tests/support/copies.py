"""Some faces of a data set in a folder of their own, where a test may change them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.faces import BOX


def copy_faces(dataset, folder: Path, *, step: int, n: int) -> pd.DataFrame:
    """Copy the pictures of `n` faces, every `step`-th; return their face table, without boxes."""
    faces = dataset.faces.iloc[::step].head(n).reset_index(drop=True)
    for image in faces["image"]:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(dataset.root / image, folder / image)
    faces[list(BOX)] = np.nan
    return faces

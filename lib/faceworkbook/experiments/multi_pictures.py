"""Pictures of several data sets as training input, row by row those of a `MultiDataset`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from faceworkbook.experiments.multi_dataset import MultiDataset, MultiDatasetError
from faceworkbook.landmarks import NAME, Aligned, AlignOptions, align_faces
from faceworkbook.training import pictures
from faceworkbook.training.joined_pictures import JoinedPictures

if TYPE_CHECKING:
    from faceworkbook.backbones import Backbone


@dataclass(frozen=True, eq=False)
class ReadPictures:
    """What `multi_dataset.load_datasets` asks of whoever describes faces."""

    face_id: list[str]
    matrix: np.ndarray
    left_out: pd.DataFrame
    aligned: Aligned


class PictureReader:
    """Open the pictures of each data set as a network wants them; a `describe` for `multi_dataset.load_datasets`.

    Parameters
    ----------
    network : Backbone
        That is trained.
    describe : callable
        What near twins are searched with, see `describing.describe_with`; only faces that it describes are used.
    store : path
        Folder of the tables of landmarks.
    align : AlignOptions, optional
    memory : {'high', 'low', 'shards'}
    folder : path, optional
        Where shards lie, one folder a data set.
    """

    def __init__(
        self,
        network: Backbone,
        describe: Callable,
        *,
        store: Path,
        align: AlignOptions | None = None,
        memory: str = "high",
        folder: Path | None = None,
    ):
        self._network, self._describe, self._store = network, describe, store
        self._align, self._memory, self._folder = align, memory, folder
        self._sources: dict[str, object] = {}

    def __call__(self, faces: pd.DataFrame, name: str, root: Path) -> ReadPictures:
        """Describe the faces of one data set and open their pictures."""
        self._network.check_use(name)
        described = self._describe(faces, name, root)
        table = faces.set_index("face_id", drop=False).loc[described.face_id].reset_index(drop=True)
        preprocessing = self._network.preprocessing
        kept_at = self._store / f"{name}-{NAME}"
        aligned = align_faces(table, root, preprocessing, options=self._align, path=kept_at)
        used = table[aligned.keep]
        source, unreadable = pictures.open_faces(
            used,
            root,
            preprocessing,
            points=aligned.kept_points,
            memory=self._memory,
            folder=None if self._folder is None else self._folder / name,
        )
        self._sources[name] = source
        readable = aligned.keep & ~table["face_id"].isin(unreadable["face_id"]).to_numpy()
        gone = table["face_id"][~aligned.keep].to_frame().assign(reason="no face detected")
        left_out = pd.concat([described.left_out[["face_id", "reason"]], gone, unreadable], ignore_index=True)
        matrix = np.asarray(described.matrix)[readable]
        return ReadPictures(list(table["face_id"][readable]), matrix, left_out, aligned)

    def attach(self, multi: MultiDataset) -> MultiDataset:
        """Return the data sets that were loaded with this reader, with their pictures.

        Raises
        ------
        MultiDatasetError
            Data sets that were loaded with something else.
        """
        lacking = [name for name in multi.datasets if name not in self._sources]
        if lacking:
            raise MultiDatasetError(f"no pictures of {lacking} were opened; load them with this reader")
        joined = JoinedPictures([self._sources[name] for name in multi.datasets])
        if len(joined) != len(multi.faces):
            raise MultiDatasetError(
                f"{len(joined):,} pictures and {len(multi.faces):,} faces; load the data sets with this reader"
            )
        return replace(multi, pixels=joined)

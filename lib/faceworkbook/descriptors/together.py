"""Several taps or networks: each has a store of its own, and the taps of one network are computed in one pass."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from faceworkbook.descriptors import extraction
from faceworkbook.descriptors.engines.base import FLOAT32
from faceworkbook.descriptors.engines.columns import ColumnsEngine
from faceworkbook.descriptors.extraction import Extraction, ExtractionOptions
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.lower_precision import PrecisionWarning, describe_precision_cost
from faceworkbook.descriptors.store import Descriptors
from faceworkbook.descriptors.updating import Begun, begin_all

if TYPE_CHECKING:
    from faceworkbook.backbones import Backbone
    from faceworkbook.descriptors.engines.base import Engine


def extract_all(
    faces: pd.DataFrame,
    backbones: Sequence[Backbone],
    *,
    root: str | Path,
    stores: Sequence[str | Path],
    **options,
) -> list[Descriptors]:
    """Compute the descriptors of several taps or networks; see `descriptors.extract`.

    Parameters
    ----------
    faces : pandas.DataFrame
    backbones : sequence of Backbone
    root : str or Path
    stores : sequence of str or Path
        Folder of each one's store.
    **options
        See `ExtractionOptions`.

    Returns
    -------
    list of Descriptors
        One for each of `backbones`.

    Raises
    ------
    StoreError
        A store is named twice; see also `descriptors.extract`.

    Notes
    -----
    Faces that several taps of one network lack are read, cut out and run through the network once. A run that was
    killed goes on where it stopped, in one pass too. On a Ray cluster, in int8, or with an engine that was handed over,
    each tap has a pass of its own.
    """
    settings = ExtractionOptions(**options)
    folders = [str(Path(store).resolve()) for store in stores]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:  # its lock would wait for itself
        raise StoreError(f"store {twice} is named twice; give each tap or network a folder of its own")
    if settings.precision != FLOAT32:
        for backbone in backbones:
            warnings.warn(
                describe_precision_cost(backbone, settings.precision), PrecisionWarning, stacklevel=2
            )
    jobs = [
        extraction.make_job(faces, backbone, root, store, settings)
        for backbone, store in zip(backbones, stores, strict=True)
    ]
    if settings.precision != "int8" and settings.cluster is None and settings.ready_engine is None:
        for places in group(backbones):
            computed = _compute_together([jobs[place] for place in places])
            for place, job in zip(places, computed, strict=True):
                jobs[place] = job
    return [extraction.carry_out(job) for job in jobs]


def group(backbones: Sequence[Backbone]) -> list[list[int]]:
    """Return the places of those that one pass can read: taps of one network that see the same pictures."""
    groups: dict[tuple, list[int]] = {}
    for place, one in enumerate(backbones):
        groups.setdefault(
            (one.name, one.fingerprint, one.weights, one.preprocessing, one.mirror, one.resolution), []
        ).append(place)
    return list(groups.values())


def _compute_together(jobs: Sequence[Extraction]) -> Sequence[Extraction]:
    """Write what all of the stores lack into their journals; return the jobs, which know the engine that did it."""
    if len(jobs) < 2:
        return jobs
    with begin_all(jobs) as begun:
        lacking = {place: one for place, one in enumerate(begun) if one.journal is not None and len(one.todo)}
        rows = _lacked_by_all([*lacking.values()], n=len(jobs[0].asked))
        if len(lacking) < 2 or not len(rows):
            return jobs
        some = [jobs[place] for place in lacking]
        joint = replace(some[0], backbone=some[0].backbone.together([job.backbone.tap for job in some]))
        journals = [one.journal for one in lacking.values() if one.journal is not None]
        pixels = extraction.check_faces(joint, journals[0])
        runner = extraction.choose(joint, pixels)
        engines = _divide(runner, joint.backbone, pixels)
        extraction.run_batches(joint, runner, journals, rows)
    done = list(jobs)
    for place, engine in zip(lacking, engines, strict=True):
        options = replace(jobs[place].options, engine=engine)
        done[place] = replace(jobs[place], options=options, before=engine.settings)
    return done


def _lacked_by_all(begun: Sequence[Begun], *, n: int) -> np.ndarray:
    """Return the rows of the `n` faces asked for that every store lacks, those last that a killed run had begun."""
    if not begun:
        return np.zeros(0, np.int64)
    rows = begun[0].todo
    return rows[(rows < n) & np.logical_and.reduce([np.isin(rows, one.todo) for one in begun])]


def _divide(runner: Engine, backbone: Backbone, pixels: np.ndarray | None) -> list[ColumnsEngine]:
    """Return one engine a tap; that of a network of one's own has passed its first check."""
    ends = np.cumsum(backbone.dims).tolist()
    engines = [
        ColumnsEngine(runner, slice(end - dim, end)) for end, dim in zip(ends, backbone.dims, strict=True)
    ]
    if backbone.is_own and pixels is not None:
        for engine in engines:
            engine.settings |= extraction.check(backbone, engine, pixels)
    return engines

"""Extraction: faces in, descriptors in a store out; batched, streamed, resumable."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import landmarks
from faceworkbook.descriptors import first_check, readers
from faceworkbook.descriptors.batches import compute_batches, draw_pixels, read_batches, write_batch
from faceworkbook.descriptors.engines.base import FLOAT32, PRECISIONS
from faceworkbook.descriptors.journal import Journal
from faceworkbook.descriptors.layout import StoreError, disk_errors
from faceworkbook.descriptors.lower_precision import PrecisionWarning, describe_precision_cost
from faceworkbook.descriptors.store import Descriptors
from faceworkbook.descriptors.updating import CHECK, Job, ask, bring_up_to_date
from faceworkbook.files import write_beside

if TYPE_CHECKING:
    from faceworkbook.backbones import Backbone
    from faceworkbook.descriptors.engines.base import Engine

CHECKED, CALIBRATION = 32, 64  # faces, drawn at random
CLUSTERS = (None, "ray")


@dataclass(frozen=True)
class ExtractionOptions:
    """How descriptors are computed.

    Attributes
    ----------
    engine : str or Engine
        'auto' (the fastest that computes the same descriptors), the name of an engine, or one made
        by ``descriptors.engines.choose``.
    precision : {'float32', 'tf32', 'float16', 'bfloat16', 'int8'}
        What the network computes in, see ``descriptors.engines.choose``; a store has one. All but 'float32' change
        descriptors; 'int8' is calibrated on 64 of the faces.
    batch_size : int, optional
        Faces a batch; the engine's best by default.
    cluster : {None, 'ray'}
        'ray' spreads the work over the machines of a Ray cluster (extra ``[ray]``).
    progress : bool
        Show a bar with rate and remaining time.
    align : AlignOptions
        For a network whose ``preprocessing`` aligns: which detected faces count, and what happens to the others.
    landmarks : str or Path, optional
        Where the table of landmarks is kept; in the store's folder by default.
    """

    engine: str | Engine = "auto"
    precision: str = FLOAT32
    batch_size: int | None = None
    cluster: str | None = None
    progress: bool = True
    align: landmarks.AlignOptions = field(default_factory=landmarks.AlignOptions)
    landmarks: str | Path | None = None

    def __post_init__(self):
        if self.cluster not in CLUSTERS:
            raise StoreError(f"cluster={self.cluster!r}; allowed are None and 'ray'")
        if self.precision not in PRECISIONS:
            raise StoreError(f"precision={self.precision!r}; expected one of {', '.join(PRECISIONS)}")
        if self.batch_size is not None and self.batch_size < 1:
            raise StoreError(f"batch_size={self.batch_size!r}; allowed are None and 1 or more faces")

    @property
    def ready_engine(self) -> Engine | None:
        """The engine, where one was given and not a name."""
        return None if isinstance(self.engine, str) else self.engine


@dataclass(frozen=True)
class Extraction(Job):
    """Faces that a network describes; `before` has the settings of the engine that wrote rows into the journal already."""

    backbone: Backbone
    options: ExtractionOptions
    aligned: landmarks.Aligned
    before: dict | None = None

    @cached_property
    def recipe(self) -> dict:
        """See `make_recipe`; with what the points depend on, where faces are aligned."""
        recipe = make_recipe(self.backbone, self.options.precision)
        return recipe | ({"alignment": self.aligned.settings} if self.aligned.settings else {})

    def points(self, n: int) -> np.ndarray | None:
        """Return the points of the first `n` rows of a plan, NaN beyond the faces asked for; None without alignment."""
        asked = self.aligned.kept_points
        if asked is None:
            return None
        return np.concatenate([asked, np.full((n - len(asked), *asked.shape[1:]), np.nan)])

    @property
    def dim(self) -> int:
        """Width of a descriptor."""
        return self.backbone.dim

    def fill(self, journal: Journal, todo: np.ndarray) -> dict | None:
        """Compute the rows `todo` of the journal's plan; return the engine's settings."""
        return _compute(self, journal, todo) if len(todo) else self.before


def extract(faces: pd.DataFrame, backbone, *, root: str | Path, store: str | Path, **options) -> Descriptors:
    """Compute the descriptors of `faces`, or take them from the store where they are there already.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table; ``image`` is relative to `root`, a box is cropped with the backbone's margin.
    backbone : faceworkbook.backbones.Backbone
        Network, tap and preprocessing.
    root : str or Path
        Folder of the pictures.
    store : str or Path
        Folder of the store; made when missing. Faces in it that are not asked for are kept.
    **options
        ``engine``, ``precision``, ``batch_size``, ``cluster``, ``progress``, ``align``, ``landmarks``; see
        `ExtractionOptions`.

    Returns
    -------
    Descriptors
        ``matrix`` (n, d) float32 memory-mapped, ``face_id``, ``left_out`` (unreadable pictures, and those without a
        detected face where these are left out), ``aligned`` (which faces have no points).

    Raises
    ------
    StoreError
        No face at all, none that can be read or is detected, a full disk, a folder that cannot be written, a damaged
        store, or one of another precision.

    Warns
    -----
    PrecisionWarning
        With another precision than float32: what it cost a classifier, as far as that was measured.

    Notes
    -----
    Beside the face table, memory grows by some 60 bytes a face while computing, and by some 100 for a
    moment at the end. A run that was killed goes on where it stopped.
    A face is computed anew when its file's content, its box, the weights, the tap or the preprocessing changed. A file of unchanged size and times counts as unchanged, unless the
    store was computed from another root.
    """
    settings = ExtractionOptions(**options)
    if settings.precision != FLOAT32:
        warnings.warn(describe_precision_cost(backbone, settings.precision), PrecisionWarning, stacklevel=2)
    return carry_out(make_job(faces, backbone, root, store, settings))


def make_job(
    faces: pd.DataFrame, backbone: Backbone, root: str | Path, store: str | Path, settings: ExtractionOptions
) -> Extraction:
    """Return what a store is to hold; faces are searched for their points where the network aligns."""
    if not len(faces):
        raise StoreError(
            "there is no face to extract: the face table is empty; look at what the data set left out"
        )
    aligned = _align(faces, backbone, Path(root), Path(store), settings)
    asked = ask(faces if aligned.keep.all() else faces[aligned.keep])
    return Extraction(asked, Path(root), Path(store), backbone, settings, aligned)


def carry_out(job: Extraction) -> Descriptors:
    """Compute what the store lacks, and open it at the faces that were asked for."""
    opened, aligned = bring_up_to_date(job), job.aligned
    if not aligned.keep.all():
        left_out = pd.concat([opened.left_out, aligned.without_face], ignore_index=True)
        opened = replace(opened, left_out=left_out)
    return replace(opened, aligned=aligned)


def _align(
    faces: pd.DataFrame, backbone, root: Path, folder: Path, settings: ExtractionOptions
) -> landmarks.Aligned:
    path = Path(settings.landmarks or folder / landmarks.NAME)
    try:
        with disk_errors(folder):
            return landmarks.align_faces(
                faces,
                root,
                backbone.preprocessing,
                options=settings.align,
                path=path,
                progress=settings.progress,
            )
    except landmarks.NoFaceError as error:
        raise StoreError(str(error)) from error


def make_recipe(backbone, precision: str) -> dict:
    """Return what makes a descriptor what it is; another recipe means other descriptors."""
    recipe = {
        "backbone": backbone.name,
        "tap": backbone.tap,
        "weights_sha256": backbone.fingerprint,
        "preprocessing": backbone.preprocessing.to_dict(),
        "precision": precision,
    }
    # Without a mirror the recipe is the one that stores were written with before there was this choice.
    return {**recipe, "mirror": backbone.mirror} if backbone.mirror else recipe


def _compute(job: Extraction, journal: Journal, todo: np.ndarray) -> dict:
    options = job.options
    pixels = None if options.ready_engine else check_faces(job, journal)
    is_checked = job.backbone.is_own and pixels is not None
    if options.cluster == "ray":
        from faceworkbook.descriptors import cluster

        checked = check(job.backbone, choose(job, pixels), pixels) if is_checked else {}
        return cluster.compute(job, journal, todo, pixels) | checked
    runner = options.ready_engine or choose(job, pixels)
    checked = check(job.backbone, runner, pixels) if is_checked else {}
    run_batches(job, runner, [journal], todo)
    return runner.settings | checked


def run_batches(job: Extraction, runner: Engine, journals: Sequence[Journal], todo: np.ndarray) -> None:
    """Compute the rows `todo` of the journals, which are the same faces in each; one journal for each tap that is read."""
    plan, options = journals[0].plan, job.options
    batches = read_batches(
        plan,
        job.root,
        job.backbone.preprocessing,
        batch_size=options.batch_size or runner.batch_size,
        rows=todo,
        points=job.points(len(plan)),
        processes=readers.count(runner, len(todo)),
    )
    n, writers, dims = len(plan), [one.writer for one in journals], [one.dim for one in journals]
    bar = tqdm(
        total=n, initial=n - len(todo), unit=" faces", desc="descriptors", disable=not options.progress
    )
    with bar:
        for batch, vectors in compute_batches(batches, runner, writers, dim=sum(dims)):
            write_batch(writers, batch, vectors, dims)
            bar.update(len(batch.rows))


def choose(job: Extraction, pixels: np.ndarray | None) -> Engine:
    """Choose the engine, tried on a few faces."""
    from faceworkbook.descriptors import engines

    return engines.choose(
        job.backbone, engine=str(job.options.engine), precision=job.options.precision, check_pixels=pixels
    )


def check(backbone: Backbone, runner: Engine, pixels: np.ndarray) -> dict:
    """Check the first descriptors of a network of one's own, for the manifest."""
    return {CHECK: first_check.check(backbone.name, runner, pixels[:CHECKED])}


def check_faces(job: Extraction, journal: Journal) -> np.ndarray | None:
    """Return faces that an engine is tried on, or that int8 is calibrated on; None where no picture can be read."""
    preprocessing, points = job.backbone.preprocessing, job.points(len(journal.plan))
    if job.options.precision != "int8":
        drawn = draw_pixels(journal.plan, job.root, preprocessing, n=CHECKED, points=points)
        return drawn if len(drawn) else None
    # Kept with the store: what is computed later, or on another machine, must be calibrated on the same faces.
    digest = hashlib.sha256(json.dumps(job.recipe, sort_keys=True).encode()).hexdigest()[:8]
    path = job.folder / f"calibration-{digest}.npz"
    if not path.exists():
        content = io.BytesIO()
        np.savez(
            content, pixels=draw_pixels(journal.plan, job.root, preprocessing, n=CALIBRATION, points=points)
        )
        with disk_errors(job.folder):
            write_beside(path, content.getvalue())
    return _read_calibration(path)


def _read_calibration(path: Path) -> np.ndarray:
    # A zip file checks its content; what a garbled one raises depends on where it is hit.
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["pixels"]
    except Exception as error:
        raise StoreError(
            f"{path} is damaged ({error}); int8 descriptors of one store need the same faces: remove the folder and "
            "extract again"
        ) from error

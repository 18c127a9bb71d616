"""The same extraction spread over a Ray cluster: one engine an actor, the same store, the same resume.

Every actor writes its rows straight into the store's ``journal/`` folder and lists them in a journal of
its own, so that a kill of any process, the driver too, loses nothing that stands in a journal. The
folder of the store and that of the pictures must be visible to all machines under the same path.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import ray_cluster
from faceworkbook.descriptors import batches
from faceworkbook.descriptors.journal import Journal, JournalWriter, read_begun, take
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.store import BOX
from faceworkbook.landmarks import POINTS

BLOCK = 64
TRIES = 2  # passes that may finish nothing: one kill may hit the only block that is left


class Actor:
    """Reads, computes and writes blocks of faces; one a process.

    Parameters
    ----------
    backbone : faceworkbook.backbones.Backbone
        Travels as a description; each actor builds the network from the weights file.
    root, journal : str
        Folders of the pictures and of the unfinished store.
    since : int
        When this pass over the faces began, in nanoseconds.
    runner : Engine or None
        A ready engine; None chooses one by the options of `engines.choose` that follow.
    """

    def __init__(self, backbone, root: str, journal: str, since: int, *, runner, **choice):
        self.backbone, self.root = backbone, Path(root)
        self.put_off = np.unique(read_begun(Path(journal), since=since))
        self.writer = JournalWriter(Path(journal))
        self.choice, self.runner = choice, runner

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute one block of the plan (columns row, face_id, image and box); return its row numbers.

        None of them where a killed actor had begun the block, which Ray gives to the next one at once: such
        blocks come last, as they do after a kill of the whole run.
        """
        if np.isin(block["row"], self.put_off).any():
            return {"row": block["row"][:0], "engine": np.empty(0, str)}
        boxes = np.column_stack([block[edge] for edge in BOX])
        chunk = batches.Chunk(block["row"], block["image"].tolist(), boxes, _points_of(block))
        batch = batches.read_batch(chunk, self.root, self.backbone.preprocessing)
        if self.runner is None:
            from faceworkbook.descriptors import engines

            self.runner = engines.choose(self.backbone, **self.choice)
        batches.write_batch([self.writer], batch, self.runner, [self.backbone.dim])
        return {"row": batch.rows, "engine": np.repeat(str(self.runner.settings), len(batch.rows))}


def _points_of(block: dict[str, np.ndarray]) -> np.ndarray | None:
    if POINTS[0] not in block:
        return None
    return np.column_stack([block[name] for name in POINTS]).reshape(len(block["row"]), -1, 2)


def compute(job, journal: Journal, todo: np.ndarray, check_pixels: np.ndarray | None) -> dict:
    """Compute the rows `todo` of the plan on the cluster that `ray` is connected to (a local one if none).

    Parameters
    ----------
    job : faceworkbook.descriptors.extraction.Extraction
    journal : Journal
    todo : ndarray of int
    check_pixels : ndarray of shape (n, height, width, 3), uint8, RGB, or None
        Faces that each actor tries its engine on.

    Returns
    -------
    dict
        Settings of the engine, for the manifest.

    Raises
    ------
    StoreError
        Ray is not installed, or what is left brings every actor down.
    """
    with ray_cluster.connected(StoreError, "cluster='ray'") as ray:
        importlib.import_module("ray.data").DataContext.get_current().enable_progress_bars = False
        return _run(ray, job, journal, todo, check_pixels)


def _run(ray, job, journal: Journal, todo: np.ndarray, check_pixels: np.ndarray | None) -> dict:
    cores = ray_cluster.count_cores(ray)
    total, used, fruitless = len(journal.plan), set(), 0
    with tqdm(
        total=total,
        initial=total - len(todo),
        unit=" faces",
        desc="descriptors (ray)",
        disable=not job.options.progress,
    ) as bar:
        while len(todo):
            done = [np.zeros(0, np.int64)]
            for block in _computed(ray, job, journal, todo, _actor_of(job, journal, check_pixels), cores):
                used.update(block["engine"].tolist())
                bar.update(len(block["row"]))
                done.append(block["row"])
            left = todo[~np.isin(todo, np.concatenate(done))]
            fruitless = fruitless + 1 if len(left) == len(todo) else 0
            if fruitless == TRIES:
                raise StoreError(_describe_none_finished(left, journal))
            todo = left
    return {"name": "ray", "actors": cores, "engines": sorted(used)}


def _actor_of(job, journal: Journal, check_pixels: np.ndarray | None) -> dict:
    """Return how Ray constructs an `Actor` for a pass that begins now."""
    options = job.options
    choice = {
        "engine": options.engine,
        "precision": options.precision,
        "check_pixels": check_pixels,
        "threads": 1,
    }
    folders = str(job.root.resolve()), str(journal.path.resolve())
    runner = {"runner": options.ready_engine}
    return {
        "fn_constructor_args": (job.backbone, *folders, time.time_ns()),
        "fn_constructor_kwargs": runner if options.ready_engine else runner | choice,
    }


def _computed(ray, job, journal: Journal, todo: np.ndarray, actor: dict, cores: int):
    """Yield row numbers and engines as blocks are finished."""
    size = job.options.batch_size or BLOCK
    points = job.points(len(journal.plan))
    pieces = (_piece(journal, todo[i : i + size], points) for i in range(0, len(todo), size))
    blocks = ray.data.from_pandas(
        [piece.astype({"face_id": str, "image": str}).rename_axis("row").reset_index() for piece in pieces]
    )
    actors = ray.data.ActorPoolStrategy(min_size=1, max_size=cores)
    done = blocks.map_batches(Actor, batch_size=size, num_cpus=1, compute=actors, **actor)
    return done.iter_batches(batch_size=None, batch_format="numpy")


def _piece(journal: Journal, rows: np.ndarray, points: np.ndarray | None) -> pd.DataFrame:
    piece = take(journal.plan, rows)
    return (
        piece
        if points is None
        else piece.assign(**dict(zip(POINTS, points[rows].reshape(len(rows), -1).T, strict=True)))
    )


def _describe_none_finished(left: np.ndarray, journal: Journal) -> str:
    return (
        f"{journal.folder}: {len(left):,} faces were begun {TRIES} times and none was finished, the first of them "
        f"{journal.plan['image'].iloc[left[0]]}; their actors died. What is computed is kept; look at that picture and "
        "at the actors' memory, then run again"
    )

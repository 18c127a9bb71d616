"""The same extraction spread over a Ray cluster: one engine an actor, the same store, the same resume.

Every actor writes its rows straight into the store's ``journal/`` folder and lists them in a journal of
its own, so that a kill of any process, the driver too, loses nothing that stands in a journal. The
folder of the store and that of the pictures must be visible to all machines under the same path.

On each GPU one actor computes, with the cores of its machine to read pictures with; machines without one compute
beside it with engines of the CPU, where the precision is one of theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from faceworkbook import chunks, ray_cluster
from faceworkbook.descriptors import batches
from faceworkbook.descriptors.journal import Journal, JournalWriter, read_begun, take
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.descriptors.store import BOX
from faceworkbook.landmarks import POINTS

BLOCK, GPU_BLOCK = 64, 256
TRIES = 2  # passes that may finish nothing: one kill may hit the only block that is left
ON_GPU = ("auto", "gpu", "tensorrt", "keras")
MOST_READERS = 16  # cores that read pictures for one GPU
HIDDEN = {"env_vars": {"CUDA_VISIBLE_DEVICES": "-1"}}


class Pool(NamedTuple):
    """Actors of one kind: how many, the cores and GPUs of each, their engine, and whether GPUs are hidden from them."""

    size: int
    cores: int
    gpus: int
    engine: str
    hides: bool = False

    @property
    def options(self) -> dict:
        """Options of each actor; an actor that asks for no GPU would open the first one, as all of them do."""
        hidden = {"runtime_env": HIDDEN} if self.hides else {}
        return {"num_cpus": self.cores, "num_gpus": self.gpus, **hidden}

    @property
    def block(self) -> int:
        """Faces a block."""
        return GPU_BLOCK if self.gpus else BLOCK


def plan_pools(nodes: Sequence[Mapping], engine: str, precision: str) -> list[Pool]:
    """Return the actors that the machines of a cluster have room for.

    Parameters
    ----------
    nodes : sequence of mapping
        Resources (CPU, GPU) of each machine.
    engine, precision : str
        See `engines.choose`.

    Returns
    -------
    list of Pool
        One actor a GPU, where `engine` and `precision` are computed there; one a core of the other machines, where
        'auto' has an engine of the CPU for the precision.

    Raises
    ------
    StoreError
        A GPU is needed and no machine has one.
    """
    from faceworkbook.descriptors import engines

    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    others = [node for node in nodes if node.get("GPU", 0) < 1]
    needs_gpu = engine in ("gpu", "tensorrt") or precision == "tf32"
    if needs_gpu and not with_gpu:
        raise StoreError(
            f"engine={engine!r} in {precision} needs a GPU, and no machine of the Ray cluster has one (ray start --num-gpus=1); "
            "expected engine='auto' and another precision"
        )
    if not with_gpu or engine not in ON_GPU or precision == "int8":
        return [Pool(max(1, sum(int(node.get("CPU", 0)) for node in nodes)), 1, 0, engine, bool(with_gpu))]
    n_gpus = sum(int(node["GPU"]) for node in with_gpu)
    cores = min(int(node.get("CPU", 1)) // int(node["GPU"]) for node in with_gpu)
    pools = [Pool(n_gpus, max(1, min(cores, MOST_READERS)), 1, engine)]
    rest = sum(int(node.get("CPU", 0)) for node in others)
    if engine == "auto" and rest and any(precision in engines.COMPUTES[name] for name in engines.ON_CPU):
        pools.append(Pool(rest, 1, 0, engine, hides=True))
    return pools


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
    readers : int
        Threads that read pictures.
    """

    def __init__(self, backbone, root: str, journal: str, since: int, *, runner, readers: int = 1, **choice):
        self.backbone, self.root = backbone, Path(root)
        self.put_off = np.unique(read_begun(Path(journal), since=since))
        self.writer = JournalWriter(Path(journal))
        self.choice, self.runner = choice, runner
        self.readers = ThreadPoolExecutor(readers)
        self.n_readers = readers

    def ready(self) -> None:
        """Do nothing; that it is answered says that the actor is there."""

    def compute(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute one block; what Ray calls by its name."""
        return self(block)

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute one block of the plan (columns row, face_id, image and box); return its row numbers.

        None of them where a killed actor had begun the block, which Ray gives to the next one at once: such
        blocks come last, as they do after a kill of the whole run.
        """
        if np.isin(block["row"], self.put_off).any():
            return {"row": block["row"][:0], "engine": np.empty(0, str)}
        batch = self._read(block)
        if self.runner is None:
            from faceworkbook.descriptors import engines

            self.runner = engines.choose(self.backbone, **self.choice)
        dim, writers = self.backbone.dim, [self.writer]
        for computed in batches.compute_batches([batch], self.runner, writers, dim=dim):
            batches.write_batch(writers, *computed, [dim])
        return {"row": batch.rows, "engine": np.repeat(str(self.runner.settings), len(batch.rows))}

    def _read(self, block: dict[str, np.ndarray]) -> chunks.Batch:
        boxes, points = np.column_stack([block[edge] for edge in BOX]), _points_of(block)

        def read(rows: np.ndarray) -> chunks.Batch:
            own = None if points is None else points[rows]
            chunk = chunks.Chunk(block["row"][rows], block["image"][rows].tolist(), boxes[rows], own)
            return chunks.read_batch(chunk, self.root, self.backbone.preprocessing)

        n = len(block["row"])
        shares = np.array_split(np.arange(n), min(self.n_readers, n))
        read_ = list(self.readers.map(read, shares))
        pixels = np.concatenate([batch.pixels for batch in read_])
        return chunks.Batch(block["row"], pixels, [stamp for batch in read_ for stamp in batch.stamps])


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
        return _run(ray, job, journal, todo, check_pixels)


def _run(ray, job, journal: Journal, todo: np.ndarray, check_pixels: np.ndarray | None) -> dict:
    nodes, options = ray_cluster.list_nodes(ray), job.options
    ready = options.ready_engine
    pools = plan_pools(nodes, ready.name if ready else str(options.engine), options.precision)
    total, used, fruitless = len(journal.plan), set(), 0
    with tqdm(
        total=total,
        initial=total - len(todo),
        unit=" faces",
        desc="descriptors (ray)",
        disable=not options.progress,
    ) as bar:
        while len(todo):
            done = [np.zeros(0, np.int64)]
            for block in _computed(ray, job, journal, todo, pools, check_pixels):
                used.update(block["engine"].tolist())
                bar.update(len(block["row"]))
                done.append(block["row"])
            left = todo[~np.isin(todo, np.concatenate(done))]
            fruitless = fruitless + 1 if len(left) == len(todo) else 0
            if fruitless == TRIES:
                raise StoreError(_describe_none_finished(left, journal))
            todo = _begun_last(left, journal)
    return {"name": "ray", "actors": sum(pool.size for pool in pools), "engines": sorted(used)}


def _begun_last(rows: np.ndarray, journal: Journal) -> np.ndarray:
    """Return rows with those last that were begun, by how often: one that kills its actor may not hold up the rest."""
    begun = read_begun(journal.path)
    times = np.bincount(begun[(begun >= 0) & (begun < len(journal.plan))], minlength=len(journal.plan))
    return rows[np.argsort(times[rows], kind="stable")]


def _start(ray, job, journal: Journal, pool: Pool, check_pixels: np.ndarray | None, n: int) -> list:
    """Start up to `n` actors of a pool for a pass that begins now."""
    options = job.options
    choice = {
        "engine": pool.engine,
        "precision": options.precision,
        "check_pixels": check_pixels,
        "threads": 1,
    }
    folders = str(job.root.resolve()), str(journal.path.resolve())
    given = {"runner": options.ready_engine, "readers": pool.cores}
    given |= {} if options.ready_engine else choice
    remote = ray.remote(Actor).options(**pool.options)
    return [remote.remote(job.backbone, *folders, time.time_ns(), **given) for _ in range(min(pool.size, n))]


def _computed(
    ray, job, journal: Journal, todo: np.ndarray, pools: Sequence[Pool], check_pixels: np.ndarray | None
) -> Iterator[dict[str, np.ndarray]]:
    """Yield row numbers and engines as blocks are finished; an actor that is done takes the next rows."""
    taken, points = 0, job.points(len(journal.plan))
    actors: list = []
    waiting: dict = {}
    computing: set = set()
    for pool in pools:
        size = job.options.batch_size or pool.block
        started = _start(ray, job, journal, pool, check_pixels, -(-len(todo) // size))
        actors += started
        # Blocks are for actors that are there: the cluster may have no room for all of them.
        waiting |= {actor.ready.remote(): (actor, size) for actor in started}
    try:
        while waiting and (computing or taken < len(todo)):
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            actor, size = waiting.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayActorError:
                computing.discard(done)
                continue  # it is dead, and its block is for another pass
            if done in computing:
                computing.remove(done)
                yield result
            if taken < len(todo):
                block = _block(_piece(journal, todo[taken : taken + size], points))
                taken += size
                task = actor.compute.remote(block)
                waiting[task] = actor, size
                computing.add(task)
    finally:
        for actor in actors:
            ray.kill(actor)


def _block(piece: pd.DataFrame) -> dict[str, np.ndarray]:
    columns = piece.astype({"face_id": str, "image": str}).rename_axis("row").reset_index()
    return {name: columns[name].to_numpy() for name in columns}


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

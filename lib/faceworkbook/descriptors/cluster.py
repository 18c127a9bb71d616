"""The same extraction spread over a Ray cluster: one engine an actor, the same store, the same resume.

Every actor writes its rows straight into the store's ``work/`` folder and notes them in a journal of
its own, so that a kill of any process, the driver too, loses nothing that stands in a journal. The
folder of the store and that of the pictures must be visible to all machines under the same path.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from faceworkbook.descriptors import batches
from faceworkbook.descriptors import store as stores
from faceworkbook.descriptors.store import BOX, JournalWriter, StoreError, Work

BLOCK = 64
TRIES = 2  # passes that may finish nothing: one kill may hit the only block that is left


class Actor:
    """Reads, computes and writes blocks of faces; one a process.

    Parameters
    ----------
    backbone : faceworkbook.backbones.Backbone
        Travels as a description; each actor builds the network from the weights file.
    root, work : str
        Folders of the pictures and of the unfinished store.
    since : int
        When this pass over the faces began, in nanoseconds.
    runner : Engine or None
        A ready engine; None chooses one by the options of `engines.choose` that follow.
    """

    def __init__(self, backbone, root: str, work: str, since: int, *, runner, **choice):
        self.backbone, self.root = backbone, Path(root)
        self.put_off = np.unique(stores.read_begun(Path(work), since=since))
        self.writer = JournalWriter(Path(work))
        self.choice, self.runner = choice, runner

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute one block of the plan (columns row, face_id, image and box); returns its row numbers.

        None of them where a killed actor had begun the block, which Ray gives to the next one at once: such
        blocks come last, as they do after a kill of the whole run.
        """
        if np.isin(block["row"], self.put_off).any():
            return {"row": block["row"][:0], "engine": np.empty(0, str)}
        boxes = np.column_stack([block[edge] for edge in BOX])
        chunk = batches.Chunk(block["row"], block["image"].tolist(), boxes)
        batch = batches.read_batch(chunk, self.root, self.backbone.preprocessing)
        if self.runner is None:
            from faceworkbook.descriptors import engines

            self.runner = engines.choose(self.backbone, **self.choice)
        batches.write_batch(self.writer, batch, self.runner, self.backbone.dim)
        return {"row": batch.rows, "engine": np.repeat(str(self.runner.settings), len(batch.rows))}


def compute(
    work: Work,
    todo: np.ndarray,
    backbone,
    root: Path,
    *,
    engine,
    precision: str,
    check_pixels: np.ndarray | None,
    batch_size: int | None,
    progress: bool,
) -> dict:
    """Compute the rows `todo` of the plan on the cluster that `ray` is connected to (a local one if none).

    Returns
    -------
    dict
        Settings of the engine, for the manifest.

    Raises
    ------
    StoreError
        Ray is not installed, or what is left brings every actor down.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS")
        ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    runner = engine if hasattr(engine, "run") else None
    choice = {"engine": engine, "precision": precision, "check_pixels": check_pixels, "threads": 1}
    options = {"runner": runner} | ({} if runner else choice)
    try:
        return _run(ray, work, todo, backbone, root, options, batch_size or BLOCK, progress)
    finally:
        if started:
            ray.shutdown()


def _import_ray():
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise StoreError("cluster='ray' needs the extra [ray]: pip install 'faceworkbook[ray]'") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def _run(ray, work, todo, backbone, root, options: dict, block: int, progress: bool) -> dict:
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    given = (backbone, str(Path(root).resolve()), str(work.path.resolve()))
    total, used = len(work.plan), set()
    with tqdm(
        total=total, initial=total - len(todo), unit=" faces", desc="descriptors (ray)", disable=not progress
    ) as bar:
        begun = 0  # how often what is left was begun, and none of it finished
        while len(todo):
            done = [np.zeros(0, np.int64)]
            now = time.time_ns()
            for part in _computed(ray, work.plan, todo, (*given, now), options, block=block, cores=cores):
                used.update(part["engine"].tolist())
                bar.update(len(part["row"]))
                done.append(part["row"])
            left = todo[~np.isin(todo, np.concatenate(done))]
            begun = begun + 1 if len(left) == len(todo) else 0
            if begun == TRIES:
                raise StoreError(_say_none_finished(left, work))
            todo = left
    return {"name": "ray", "actors": cores, "engines": sorted(used)}


def _computed(ray, plan, todo, given: tuple, options: dict, *, block: int, cores: int):
    """Row numbers and engines as blocks are finished."""
    parts = (stores.take(plan, todo[i : i + block]) for i in range(0, len(todo), block))
    blocks = ray.data.from_pandas(
        [part.astype({"face_id": str, "image": str}).rename_axis("row").reset_index() for part in parts]
    )
    done = blocks.map_batches(
        Actor,
        batch_size=block,
        num_cpus=1,
        concurrency=(1, cores),
        fn_constructor_args=given,
        fn_constructor_kwargs=options,
    )
    return done.iter_batches(batch_size=None, batch_format="numpy")


def _say_none_finished(left: np.ndarray, work: Work) -> str:
    return (
        f"{work.folder}: {len(left):,} faces were begun {TRIES} times and none was finished, the first of them "
        f"{work.plan['image'].iloc[left[0]]}; their actors died. What is computed is kept; look at that picture and "
        "at the actors' memory, then run again"
    )

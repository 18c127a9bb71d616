"""The descriptor store: many tiny faces through it, and a million descriptors opened and trained on.

    python -m benchmarks stores [--quick]

Every measurement is a fresh process; of several rounds the least time and the most memory count, since whatever
else runs only adds to the time. The faces are pictures of 16 x 16, read, decoded and hashed by the real extraction;
the engine is a mean of colours, so that what is timed is everything but the network. Memory is the peak of what
belongs to the process (anonymous pages): pages of a mapped file belong to the system, which drops them at will.
Files of 300 bytes are read by one thread: two take turns at the interpreter, which costs now more, now less.
"""

from __future__ import annotations

import ctypes
import gc
import shutil
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks import fresh_process, tiny
from faceworkbook import descriptors, faces
from faceworkbook.chunks import Stamp
from faceworkbook.descriptors import batches, handover
from faceworkbook.descriptors import store as stores
from faceworkbook.descriptors.journal import Journal
from faceworkbook.descriptors.layout import UNREADABLE

SIZES, ROUNDS = (25_000, 50_000, 100_000, 200_000), 3
COMPUTING, FINISHING, AGAIN = "computing", "finishing", "second run"  # when memory is looked at
MILLION, WIDTH = 1_000_000, 2622
BLOCK = 20_000  # rows of the large store that are written at once
BACKBONE = tiny.backbone(size=16, dim=48)


class Coarse:
    """An engine whose descriptor is the face at 4 x 4 pixels; keeps the most memory in use."""

    name, batch_size, settings = "coarse", 256, {"name": "coarse"}
    most = 0.0

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """(n, 16, 16, 3) uint8 -> (n, 48) float32."""
        self.most = max(self.most, own_memory())
        return pixels[:, ::4, ::4].reshape(len(pixels), -1).astype(np.float32)


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure both."""
    sizes = [n // 25 for n in SIZES] if quick else SIZES
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder) / "pictures", max(sizes))
        rounds = [
            fresh_process.call("benchmarks.stores", "pass_through", folder, n)
            for _ in range(1 if quick else ROUNDS)
            for n in sizes
        ]
    through = compare_sizes(pd.DataFrame(rounds))
    through.attrs["plot"] = "first run, s"
    with tempfile.TemporaryDirectory() as folder:
        n = MILLION // 50 if quick else fitting(Path(folder))
        write_large(Path(folder), n)
        large = pd.DataFrame(
            [fresh_process.call("benchmarks.stores", name, folder, n) for name in ("open_large", "train_on")]
        )
    title = f"{n:,} x {WIDTH} float32 ({n * WIDTH * 4 / 1e9:.1f} GB)"
    return {"tiny faces through the store": through, title: large.set_index("what")}


# --------------------------------------------------------------------------- memory


def own_memory() -> float:
    """Anonymous memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


class Peak:
    """Watches this process's own memory; ``.mb`` is the most it had above what it had at the start."""

    def __enter__(self):
        self.start, self.most, self.stop = own_memory(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(0.01):
            self.most = max(self.most, own_memory())

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.mb = max(self.most - self.start, 0.0)


# --------------------------------------------------------------------------- tiny faces


def lay(folder: Path, n: int) -> None:
    """`n` JPEG files of 16 x 16 pixels, a thousand a folder."""
    rng = np.random.default_rng(0)
    kinds = [
        cv2.imencode(".jpg", rng.integers(0, 256, (16, 16, 3), np.uint8))[1].tobytes() for _ in range(64)
    ]
    for i in range(n):
        path = folder / picture(i)
        if i % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(kinds[i % len(kinds)])


def picture(i: int) -> str:
    """Name of picture number `i`."""
    return f"{i // 1000:03d}/{i:06d}.jpg"


def timed(function) -> np.ndarray:
    """Seconds by the clock and of the processor; the latter do not depend on what else runs."""
    begun = np.array([time.perf_counter(), time.process_time()])
    function()
    return np.array([time.perf_counter(), time.process_time()]) - begun


def compare_sizes(rounds: pd.DataFrame) -> pd.DataFrame:
    """The rounds in one row a size, with what each face costs beyond the smallest set."""
    by_size = rounds.groupby("faces")
    table = by_size.min()
    each = table["first run, CPU s"] / table.index
    table["CPU a face, against the smallest set"] = each / each.iloc[0]
    more = table.index - table.index[0]
    for when in (COMPUTING, FINISHING, AGAIN):
        table[f"{when}, MB"] = most = by_size[f"{when}, MB"].max()
        table[f"{when}, more bytes a face"] = (most - most.iloc[0]) * 1e6 / more.where(more > 0)
    return table


def give_back_unused() -> None:
    """What is free but still held would hide how memory grows."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)


def pass_through(folder: str, n: int) -> dict:
    """Extract `n` faces twice."""
    root, store = Path(folder) / "pictures", Path(folder) / f"store-{n}"
    table = faces.build({"image": [picture(i) for i in range(n)]}, dataset="tiny")
    engine, batches.READERS = Coarse(), 1
    options = {"root": root, "store": store, "engine": engine, "progress": False}
    # What libraries take at their first use is not measured.
    warm = {"store": Path(folder) / f"warm-{n}", "engine": Coarse()}
    descriptors.extract(table.head(2000), BACKBONE, **options | warm)
    give_back_unused()
    with Peak() as peak:
        first = timed(lambda: descriptors.extract(table, BACKBONE, **options))
    give_back_unused()
    with Peak() as peak_again:
        again = timed(lambda: descriptors.extract(table, BACKBONE, **options))
    shutil.rmtree(store)
    shutil.rmtree(Path(folder) / f"warm-{n}")
    return {
        "faces": n,
        "first run, s": first[0],
        "first run, CPU s": first[1],
        "second run, s": again[0],
        f"{COMPUTING}, MB": engine.most - peak.start,
        f"{FINISHING}, MB": peak.mb,
        f"{AGAIN}, MB": peak_again.mb,
    }


# --------------------------------------------------------------------------- a million descriptors


def fitting(folder: Path) -> int:
    """Rows of the large store: a million, or what half of the free disk holds."""
    return int(min(MILLION, shutil.disk_usage(folder).free // 2 // (WIDTH * 4)))


def write_large(folder: Path, n: int) -> None:
    """A store of `n` descriptors in two classes that differ a little, written as extraction writes it."""
    plan = pd.DataFrame({"face_id": [f"f{i}" for i in range(n)], "image": "x.jpg"})
    journal = Journal(folder, plan.assign(**dict.fromkeys(stores.BOX, np.nan)), {}, WIDTH)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((BLOCK, WIDTH), np.float32)
    for first in range(0, n, BLOCK):
        rows = np.arange(first, min(first + BLOCK, n))
        vectors = np.roll(noise, first // BLOCK, axis=1)[: len(rows)]
        vectors[rows % 2 == 1, :8] += 0.5
        journal.writer.write(rows, vectors, [Stamp("h", 1, 1, 1)] * len(rows))
    handover.finish(journal, {"recipe": {}, "engines": []})


def open_large(folder: str, n: int) -> dict:
    """Open the store and look at one row."""
    pd.read_parquet(Path(folder) / UNREADABLE)  # imports of parquet's reader
    with Peak() as peak:
        start = time.perf_counter()
        opened = descriptors.open_store(folder)
        opened.matrix[n // 2].sum()
        seconds = time.perf_counter() - start
    return {"what": "opened, one row read", "seconds": seconds, "peak memory of its own, MB": peak.mb}


def train_on(folder: str, n: int) -> dict:
    """Train a net for one epoch on the mapped matrix."""
    from faceworkbook import tasks
    from faceworkbook.models import multitask as nets
    from faceworkbook.training import multitask
    from faceworkbook.training.batches import Joint, Stage

    matrix = descriptors.open_store(folder).matrix
    gender = np.where(np.arange(n) % 2, "male", "female")
    table = faces.build({"image": [f"{i}.jpg" for i in range(n)], "gender": gender}, dataset="large")
    target = tasks.read_labels(table, "gender")
    held = np.arange(0, n, 101)
    train = np.setdiff1d(np.arange(n), held)
    with Peak() as peak:
        start = time.perf_counter()
        head = nets.make_head(target, rows=train)
        net = nets.build(WIDTH, [head], standardise=nets.standardiser(matrix, rows=train), hidden=(16,))
        fitted = multitask.fit(
            net,
            matrix,
            {"gender": target},
            plan=Joint((Stage("large", train, ("gender",)),), 256),
            validation=held,
            settings=multitask.Settings(epochs=1, progress=False),
        )
        seconds = time.perf_counter() - start
    return {
        "what": "one epoch of a small network",
        "seconds": seconds,
        "rows/s": n / seconds,
        "peak memory of its own, MB": peak.mb,
        "share of the matrix": peak.mb * 1e6 / (n * WIDTH * 4),
        "validation accuracy": fitted.history["validation_gender_rate"].iloc[-1],
    }

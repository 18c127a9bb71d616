"""Processes that read pictures, for an engine that computes faces faster than the threads of one process read them.

Threads of Python take turns: 16 of them on 16 cores read 3,500 faces a second. Each process here writes pixels where its
parent sees them too, so that nothing but names and hashes travels between the two.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faceworkbook.chunks import Batch, Chunk, Stamp
from faceworkbook.descriptors.engines.base import AT_ONCE, Engine, is_on_gpu
from faceworkbook.descriptors.layout import StoreError
from faceworkbook.preprocessing import Preprocessing
from faceworkbook.threads import count_cores

FEWEST = 5_000  # faces; fewer are read sooner than processes are started
MOST, FEWEST_CORES = 14, 4
COMMAND = "from faceworkbook.chunks import main; main()"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # there are as many processes as cores
SPARE = AT_ONCE + 4  # blocks of pixels beside those that are written: being computed, or read ahead


def count(runner: Engine, n: int) -> int:
    """Return how many processes are to read `n` faces for an engine; 0 where this process does.

    Only a GPU is faster than that.
    """
    if not is_on_gpu(runner) or n < FEWEST:
        return 0
    cores = count_cores()
    return min(MOST, cores - 2) if cores >= FEWEST_CORES and hasattr(os, "memfd_create") else 0


@contextlib.contextmanager
def start(n: int, root: Path, preprocessing: Preprocessing, *, batch_size: int) -> Iterator[Readers]:
    """Start `n` processes for the length of a ``with``.

    Parameters
    ----------
    root : pathlib.Path
        Folder of the pictures.
    preprocessing : Preprocessing
    batch_size : int
        Faces of a chunk at most.
    """
    shape = (n + SPARE, batch_size, *preprocessing.size, 3)
    memory = os.memfd_create("faces")
    try:
        os.ftruncate(memory, int(np.prod(shape)))
        pixels = np.frombuffer(mmap.mmap(memory, 0), np.uint8).reshape(shape)
        given = json.dumps(
            {
                "memory": memory,
                "shape": shape,
                "root": os.fspath(root),
                "preprocessing": preprocessing.to_dict(),
            }
        )
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(_Process(given, memory)) for _ in range(n)]
            try:
                yield Readers(processes, pixels)
            finally:
                for process in processes:  # all at once, before the first one is waited for
                    process.end()
    finally:
        os.close(memory)


class Readers:
    """Processes that stand ready, and the blocks of pixels that they write."""

    def __init__(self, processes: list[_Process], pixels: np.ndarray):
        self._pixels = pixels
        self._processes: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._blocks: queue.SimpleQueue[int] = queue.SimpleQueue()
        for process in processes:
            self._processes.put(process)
        for block in range(len(pixels)):
            self._blocks.put(block)

    def read(self, chunk: Chunk) -> tuple[Batch, int]:
        """Read a chunk; return it with the block that its pixels lie in until `free` is called.

        Raises
        ------
        StoreError
            A process has ended.
        """
        block, process = self._blocks.get(), self._processes.get()
        try:
            good, stamps = process.read(block, chunk)
        finally:
            self._processes.put(process)
        return Batch(chunk.rows, self._pixels[block, :good], stamps), block

    def free(self, block: int) -> None:
        """Let a block of pixels be written anew."""
        self._blocks.put(block)


class _Process:
    def __init__(self, given: str, memory: int):
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            pass_fds=[memory],
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # Ctrl-C is the parent's to answer
        )
        assert self._process.stdin and self._process.stdout
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> _Process:
        return self

    def end(self) -> None:
        """Let it end: a process ends where its input does."""
        with contextlib.suppress(OSError):
            self._questions.close()

    def __exit__(self, *_) -> None:
        self.end()
        self._process.wait()
        self._answers.close()
        self._complaints.close()

    def read(self, block: int, chunk: Chunk) -> tuple[int, list[Stamp]]:
        is_cut = not np.isnan(chunk.boxes).all()
        asked = {
            "block": block,
            "images": chunk.images,
            "boxes": chunk.boxes.tolist() if is_cut else None,
            "points": None if chunk.points is None else chunk.points.tolist(),
        }
        try:
            self._questions.write(json.dumps(asked) + "\n")
            self._questions.flush()
            answer = json.loads(self._answers.readline())
        except (OSError, ValueError) as error:
            raise StoreError(self._describe_end(chunk)) from error
        return answer["good"], [Stamp(*stamp) for stamp in answer["stamps"]]

    def _describe_end(self, chunk: Chunk) -> str:
        status = self._process.wait()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        self._complaints.seek(0)
        lines = [line for line in self._complaints.read().splitlines() if line.strip()]
        return (
            f"a process that reads pictures was ended {how} while it read {chunk.images[0]} to {chunk.images[-1]}"
            f"{f': {lines[-1][:200]}' if lines else ''}; what was computed is kept: extract again to go on"
        )

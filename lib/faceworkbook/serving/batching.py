"""Requests that wait are answered together, in one thread, so that the network always has a full batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faceworkbook.serving.limits import Limits, Refused
from faceworkbook.serving.predictor import BATCH, Photo, Predictor


@dataclass(frozen=True, eq=False)
class _Job:
    photos: list[bytes]
    faces: str
    done: asyncio.Future


class Batcher:
    """Answers photos of all requests; one worker, first come, first served.

    Parameters
    ----------
    predictor : Predictor
    limits : Limits
    """

    def __init__(self, predictor: Predictor, limits: Limits):
        self._predictor, self._limits = predictor, limits
        self._jobs: deque[_Job] = deque()
        self._come = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "predictor")
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End the worker; what waits is refused."""
        if self._task:
            self._task.cancel()
        for job in self._jobs:
            _settle(job, Refused(503, "the server is stopping"))
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def answer(self, photos: Sequence[bytes], faces: str) -> pd.DataFrame:
        """Return the rows of these photos, which are named '0', '1' ..."""
        job = _Job(list(photos), faces, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._come.set()
        return await self._in_time(job.done)

    async def answer_vectors(self, vectors: np.ndarray) -> pd.DataFrame:
        """Return the answers of descriptors; see `Predictor.answer`."""
        return await self._in_time(self._run(self._predictor.answer, vectors))

    async def _in_time(self, future: asyncio.Future):
        try:
            return await asyncio.wait_for(future, self._limits.answer_s)
        except TimeoutError as error:
            raise Refused(
                504, f"no answer after {self._limits.answer_s:g} s; the server is busy, try again later"
            ) from error

    def _run(self, function: Callable, *arguments) -> asyncio.Future:
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _work(self) -> None:
        while True:
            await self._come.wait()
            self._come.clear()
            while jobs := self._next():
                await self._answer(jobs)

    def _next(self) -> list[_Job]:
        """Take the jobs of one batch: those that still wait, of one kind, in their order."""
        taken: list[_Job] = []
        while self._jobs:
            job = self._jobs[0]
            if job.done.done():  # whoever asked has gone
                self._jobs.popleft()
                continue
            n = sum(len(other.photos) for other in taken)
            if taken and (job.faces != taken[0].faces or n + len(job.photos) > BATCH):
                break
            taken.append(self._jobs.popleft())
        return taken

    async def _answer(self, jobs: list[_Job]) -> None:
        try:
            tables = await self._run(self._predict, jobs)
        except Exception as error:
            # One photo that breaks the predictor costs its own request, not those that came with it.
            if len(jobs) > 1:
                for job in jobs:
                    await self._answer([job])
            else:
                _settle(jobs[0], error)
            return
        for job, table in zip(jobs, tables, strict=True):
            _settle(job, table)

    def _predict(self, jobs: list[_Job]) -> list[pd.DataFrame]:
        photos = [Photo(f"{j}/{i}", data) for j, job in enumerate(jobs) for i, data in enumerate(job.photos)]
        table = pd.concat(list(self._predictor.stream(photos, faces=jobs[0].faces)), ignore_index=True)
        keys = table["image"].str.partition("/")
        table["image"] = keys[2]
        return [table[(keys[0] == str(j)).to_numpy()] for j in range(len(jobs))]


def _settle(job: _Job, outcome) -> None:
    if job.done.done():
        return
    if isinstance(outcome, Exception):
        job.done.set_exception(outcome)
    else:
        job.done.set_result(outcome)

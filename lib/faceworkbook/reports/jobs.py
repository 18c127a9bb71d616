"""Points of a sweep side by side: in processes of this machine, or as tasks of a Ray cluster.

Points that agree in a step do not run it at the same time: the next point is one whose steps nobody is running, where
there is such a one. A point that fails ends none but those that need the step that failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faceworkbook import project
from faceworkbook.reports import experiments, finished, sharing
from faceworkbook.reports.experiments import Experiment
from faceworkbook.reports.sweeps import Point
from faceworkbook.threads import count_cores

FAILED, FINISHED, UNCHANGED = "failed", "finished", "unchanged"
CLUSTERS = ("", "ray")
# What OpenMP, the BLAS libraries, OpenCV and TensorFlow read when they start.
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
Notice = Callable[[dict], None]


class JobError(ValueError):
    """Points cannot be run so; the text says what is needed."""


@dataclass
class Outcome:
    """What became of one point.

    Attributes
    ----------
    name : str
    state : {'finished', 'unchanged', 'failed'}
    steps : list of dict
        step, state ('finished', 'copied', 'unchanged'), seconds.
    error : str
        Why it failed.
    """

    name: str
    state: str = FINISHED
    steps: list[dict] = field(default_factory=list)
    error: str = ""

    @property
    def seconds(self) -> float:
        """Seconds that its steps ran."""
        return sum(step["seconds"] for step in self.steps)


@dataclass
class Plan:
    """The steps of each point: by name of the point, (step, key); points that share a step have one key of it."""

    steps: dict[str, list[tuple[str, str]]]
    settled: set[str]
    running: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def left(self, name: str) -> list[str]:
        """Return the keys of a point's steps that are not settled."""
        return [key for _, key in self.steps[name] if key not in self.settled]

    def next(self, waiting: Sequence[Point]) -> Point:
        """Return the point that has to wait least for steps that others are running."""
        busy = {key for keys in self.running.values() for key in keys}
        return min(waiting, key=lambda point: len(busy & set(self.left(point.name))))

    def blocked(self, name: str) -> str:
        """Return why a point need not be begun: a step of it that failed elsewhere."""
        at = next((key for key in self.left(name) if key in self.failed), None)
        step = next((step for step, key in self.steps[name] if key == at), "")
        return f"{step} failed in {self.failed[at]}, and this point needs the same" if at else ""


def plan(points: Sequence[Point], results: str | Path, *, since: float = 0.0) -> Plan:
    """Return the steps of all points, and which of them are settled before anything runs."""
    folder, code, known = project.resolve(results), finished.hash_code(), {}
    hashed = finished.remember_inputs()
    steps, settled = {}, set()
    for point in points:
        steps[point.name] = []
        for step, key, place in _fingerprints(point.experiment, folder, code, hashed):
            steps[point.name].append((step.name, key))
            if key not in known:
                fingerprint = key.partition(" ")[0]
                known[key] = finished.is_finished(place, fingerprint, since=since) or bool(
                    key == fingerprint and sharing.find(folder, step, fingerprint, since=since)
                )
            settled |= {key} if known[key] else set()
    return Plan(steps, settled)


def _fingerprints(experiment: Experiment, folder: Path, code: str, hashed):
    """Yield step, key and folder; the key is the fingerprint, with the point's name where the step is its own."""
    before = ""
    for step in experiment.steps:
        before = finished.fingerprint(step, code, before, hash_path=hashed)
        own = experiment.final or not sharing.is_shared(step)
        place = folder / experiment.name / step.name
        yield step, f"{before} {experiment.name}" if own else before, place


def specify(point: Point, results: str | Path, since: float, *, cold: bool = False) -> dict:
    """Return a point as `point_worker` reads it."""
    experiment = point.experiment
    return {
        "home": str(project.root()),
        "file": str(experiments.find(experiment.file)),
        "name": experiment.name,
        "given": experiment.given,
        "swept": experiment.swept,
        "sweep": experiment.sweep,
        "results": str(project.resolve(results)),
        "since": since,
        "cold": cold,
    }


def limit_threads(cores: int, jobs: int) -> dict[str, str]:
    """Return variables by which libraries of `jobs` processes share `cores`; none for a single process."""
    if jobs < 2:
        return {}
    share = str(max(1, cores // jobs))
    return dict.fromkeys(THREADS, share)


class Worker:
    """A process that runs points one after another, see `faceworkbook.reports.point_worker`.

    A point finds imported what the one before needed.

    Parameters
    ----------
    variables : dict
        Of its environment, beside those of this process.
    """

    def __init__(self, variables: dict[str, str]):
        command = [sys.executable, "-P", "-m", "faceworkbook.reports.point_worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, env=os.environ | variables, start_new_session=True, **pipes)

    @property
    def alive(self) -> bool:
        """Whether it can run a point."""
        return self._process.poll() is None

    def run(self, spec: dict, notice: Notice) -> Outcome:
        """Run one point and wait for it.

        Parameters
        ----------
        spec : dict
            See `specify`.
        notice : callable
            Called with each step that is settled.
        """
        outcome = Outcome(spec["name"])
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(spec).encode() + b"\n")
            self._process.stdin.flush()
        for event in map(json.loads, self._process.stdout):
            if "step" not in event:  # the point's end
                outcome.error = event["error"]
                break
            outcome.steps.append(event)
            notice(event)
        else:
            code = self._process.wait()
            outcome.error = (
                f"its process ended with code {code} (was it killed, for memory?); see its run.log"
            )
        unchanged = all(step["state"] == UNCHANGED for step in outcome.steps)
        outcome.state = FAILED if outcome.error else UNCHANGED if unchanged else FINISHED
        return outcome

    def close(self) -> None:
        """End it, and the point that it runs."""
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


class Local:
    """Runs points on this machine: a thread's points in one process, and in another one where that has ended."""

    def __init__(self, jobs: int):
        self.jobs, self._workers, self._of_thread = jobs, [], threading.local()
        self.variables = limit_threads(count_cores(), jobs)

    def run(self, spec: dict, notice: Notice) -> Outcome:
        """Run one point and wait for it."""
        worker = getattr(self._of_thread, "worker", None)
        if worker is None or not worker.alive:
            worker = self._of_thread.worker = Worker(self.variables)
            self._workers.append(worker)
        return worker.run(spec, notice)

    def close(self) -> None:
        """End what still runs."""
        for worker in self._workers:
            worker.close()


def run(
    points: Sequence[Point], plan: Plan, runner, *, specs: dict[str, dict], notice: Callable
) -> list[Outcome]:
    """Run all points, as many at once as the runner has jobs; a failed one does not end the others.

    Parameters
    ----------
    runner : Local or faceworkbook.reports.ray_jobs.Cluster
    specs : dict
        By name, see `specify`.
    notice : callable
        Called with the name of a point, and with an event of `point_worker` or, at its end, its `Outcome`.
    """
    queue = _Queue(list(points), plan, runner, specs, notice)
    threads = [threading.Thread(target=queue.work, daemon=True) for _ in range(min(runner.jobs, len(points)))]
    try:
        for thread in threads:
            thread.start()
            time.sleep(0.01)  # so that the second one knows what the first has begun
        while any(thread.is_alive() for thread in threads) and not queue.errors:
            threads[0].join(0.2)
            time.sleep(0 if threads[0].is_alive() else 0.2)
    finally:
        queue.waiting.clear()
        queue.ended = True
        runner.close()
    if queue.errors:
        raise queue.errors[0]
    order = {point.name: at for at, point in enumerate(points)}
    return sorted(queue.outcomes, key=lambda outcome: order[outcome.name])


@dataclass
class _Queue:
    """Points that wait, which threads take one by one."""

    waiting: list[Point]
    plan: Plan
    runner: object
    specs: dict[str, dict]
    notice: Callable
    outcomes: list[Outcome] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """Run points until none waits."""
        try:
            while (point := self._take()) is not None:
                why = self.plan.blocked(point.name)
                outcome = Outcome(point.name, FAILED, error=why) if why else self._run(point.name)
                if self.ended:  # by Ctrl-C, say: the point did not fail
                    return
                with self.lock:
                    _settle(self.plan, outcome)
                    self.outcomes.append(outcome)
                    self.notice(point.name, outcome)
        except BaseException as error:  # of `notice`, such as a pipe that nobody reads
            self.errors.append(error)

    def _take(self) -> Point | None:
        with self.lock:
            if not self.waiting:
                return None
            point = self.plan.next(self.waiting)
            self.waiting.remove(point)
            self.plan.running[point.name] = self.plan.left(point.name)
            return point

    def _run(self, name: str) -> Outcome:
        def settled(event: dict) -> None:
            with self.lock:
                self.plan.settled |= {key for step, key in self.plan.steps[name] if step == event["step"]}
                self.plan.running[name] = self.plan.left(name)
                self.notice(name, event)

        try:
            return self.runner.run(self.specs[name], settled)
        except Exception as error:  # whatever brings one point down, the others go on
            return Outcome(name, FAILED, error=f"{type(error).__name__}: {error}")


def _settle(plan: Plan, outcome: Outcome) -> None:
    plan.running.pop(outcome.name, None)
    done = {step["step"] for step in outcome.steps}
    plan.settled |= {key for step, key in plan.steps[outcome.name] if step in done}
    left = plan.left(outcome.name)
    if outcome.state == FAILED and left:
        plan.failed.setdefault(left[0], outcome.name)

"""Progress over all steps of all points, with the time that is left."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from faceworkbook import files
from faceworkbook.reports import finished, jobs


class Progress:
    """Prints a line for each point, and on a terminal a line that is kept up to date for the steps.

    Parameters
    ----------
    plan : jobs.Plan
    count : int
        Points that run at once.
    results : Path
        Earlier runs there say how long a step takes that has not run yet.
    write : callable
        Takes one line.
    """

    def __init__(self, plan: jobs.Plan, count: int, results: Path, *, write: Callable[[str], None] = print):
        self.plan, self.count, self.write = plan, count, write
        self.points, self.ended = len(plan.steps), set()
        self.steps = {key: step for steps in plan.steps.values() for step, key in steps}
        self.measured: dict[str, list[float]] = {}
        self.earlier = earlier_seconds(results, set(self.steps.values()))
        self._live = sys.stderr.isatty()

    def __call__(self, name: str, event) -> None:
        """Take note of an event, see `jobs.run`."""
        if isinstance(event, jobs.Outcome):
            self.ended.add(name)
            self._clear()
            state = f"failed: {event.error}" if event.state == jobs.FAILED else event.state
            ran = f" in {event.seconds:.0f} s" if event.state == jobs.FINISHED else ""
            self.write(f"[{len(self.ended)}/{self.points}] {name}: {state}{ran}; {self.describe()}")
            return
        if event["state"] == jobs.FINISHED:
            self.measured.setdefault(event["step"], []).append(event["seconds"])
        if self._live:
            self._clear()
            print(f"\r{self.describe()}", end="", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def describe(self) -> str:
        """Return how many steps are settled, and how long the others will take."""
        settled = len(self.plan.settled & set(self.steps))
        left = self.seconds_left()
        text = f"{settled} of {len(self.steps)} steps are settled"
        return (
            text
            if left is None or settled == len(self.steps)
            else f"{text}, about {format_seconds(left)} left"
        )

    def seconds_left(self) -> float | None:
        """Return the seconds that the steps ahead will take; None while nothing like them has run."""
        needed = {
            key for name, steps in self.plan.steps.items() if name not in self.ended for _, key in steps
        }
        ahead = [self.steps[key] for key in needed - self.plan.settled]
        known = [each for step in ahead if (each := self._seconds(step)) is not None]
        if not known:
            return None
        at_once = max(1, min(self.count, self.points - len(self.ended)))
        return sum(known) * len(ahead) / len(known) / at_once

    def _seconds(self, step: str) -> float | None:
        own = self.measured.get(step)
        return statistics.fmean(own) if own else self.earlier.get(step)


def earlier_seconds(results: Path, steps: Iterable[str]) -> dict[str, float]:
    """Return the median seconds of steps in runs that are finished, by the step's name."""
    seconds = {}
    for step in steps:
        each = []
        for path in results.glob(f"*/{step}/{finished.DONE}"):
            try:
                record = files.parse_json(path.read_bytes())
                each += [] if "copied_from" in record else [float(record["seconds"])]
            except (OSError, ValueError, KeyError, TypeError):
                continue
        if each:
            seconds[step] = statistics.median(each)
    return seconds


def format_seconds(seconds: float) -> str:
    """Return '40 s', '12 min' or '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""Fail at the n-th operation on the disk, start again, and compare: ``python -m tests.faults.drive DOOR ...``.

Runs in a process of its own whose disk can fail, see `disk`. Prints one JSON record a point.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from tests.faults import disk, doors

LONGEST = 2000


def main(arguments: list[str] | None = None) -> None:
    """Drive the doors that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("doors", nargs="+", choices=[*doors.DOORS])
    parser.add_argument("--points", type=int, default=0, help="of each door; all where 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=int, help="this operation alone")
    parser.add_argument("--kind", choices=[*disk.KINDS], help="this fault alone")
    options = parser.parse_args(arguments)
    for name in options.doors:
        with tempfile.TemporaryDirectory() as folder, doors.DOORS[name].patched():
            for record in drive(name, Path(folder).resolve(), options):
                print(json.dumps({"door": name, **record}), flush=True)


def drive(name: str, base: Path, options):
    """Yield a record of each point of one door."""
    door, failing, place = doors.DOORS[name], disk.Disk.here(), base / "place"

    def fresh() -> Path:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        door.lay(place)
        return place

    def run(kind: int, at: int) -> tuple[object, BaseException | None, int]:
        result, error = None, None
        failing.arm(place, kind, at)
        try:
            result = door.run(place)
        except (Exception, KeyboardInterrupt, SystemExit) as raised:
            error = raised
        return result, error, failing.disarm()

    fresh()
    expected, error, operations = run(disk.COUNT, 0)
    if error:
        raise error
    yield {"operations": operations}
    for kind, at in points(operations, options):
        fresh()
        result, error, _ = run(disk.KINDS[kind], at)
        record = {"kind": kind, "at": at, "operation": failing.last.replace(str(place), "")}
        problem = judge(kind, result, error, door, expected)
        resumed, again, _ = run(disk.COUNT, 0)
        if again:
            problem = f"resumed: {describe(again)}"
        elif other := doors.difference(resumed, expected):
            problem = f"resumed to another result: {other}"
        yield {**record, "problem": problem[:LONGEST], "error": type(error).__name__ if error else ""}


def points(operations: int, options) -> list[tuple[str, int]]:
    """Return kinds of faults and numbers of operations: all, or some drawn by the seed, spread over the run."""
    kinds = [options.kind] if options.kind else [*disk.KINDS]
    if options.at is not None:
        return [(kind, options.at) for kind in kinds]
    every = [(kind, at) for at in range(operations) for kind in kinds]
    if not options.points or options.points >= len(every):
        return every
    rng = np.random.default_rng(options.seed)
    strata = np.array_split(np.arange(operations), options.points)
    places = [int(rng.choice(own)) if len(own) else int(rng.integers(operations)) for own in strata]
    first = int(rng.integers(len(kinds)))
    return [(kinds[(first + i) % len(kinds)], at) for i, at in enumerate(places)]


def judge(kind: str, result, error: BaseException | None, door, expected) -> str:
    """Say what is wrong about how a run ended on a disk that refused; empty where nothing is."""
    if kind in ("kill", "torn"):
        return ""  # the process is gone: nobody reads what it would have raised
    if error is None:
        other = doors.difference(result, expected)
        return f"no error, and another result: {other}" if other else ""
    text = str(error)
    if not isinstance(error, door.errors):
        return f"raw: {describe(error)}"
    bare = not text.strip() or "\n" in text.strip() or text.startswith("[Errno") or "Traceback" in text
    return f"no sentence: {text[:300]!r}" if bare else ""


def describe(error: BaseException) -> str:
    """Return an error with the places that it went through."""
    steps = traceback.extract_tb(error.__traceback__)[-8:]
    trace = " < ".join(f"{Path(s.filename).name}:{s.lineno} {s.name}" for s in reversed(steps))
    return f"{type(error).__name__}: {str(error)[:300]} at {trace}"


if __name__ == "__main__":
    main(sys.argv[1:])

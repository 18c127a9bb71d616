"""A sweep of 12 points with ``--jobs 1`` and ``--jobs 2``: how much faster two at once are, and where time is lost.

    python -m benchmarks sweep_jobs [--quick]

Three small notebooks whose cells compute for a fixed time on one thread each: the first step is shared by all points,
the second by those of a network, the third is each point's own. Wanted is 1.6 times as fast, with the shared steps run
once. Other work on the machine is in the figures: each row says how busy it was, and one with more processes
than cores says nothing about the bar.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from faceworkbook.reports import jobs
from faceworkbook.threads import count_cores
from tests.reports import sweep_toys

NETWORKS, SEEDS, SECONDS = ("a", "b"), 6, 4.0
WANTED = 1.6
STEPS = ("01_faces", "02_descriptors", "03_classifier")


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Run the sweep alternately with one and two jobs; quick: four points of one second's work, once each."""
    seeds, seconds, rounds = (2, 1.0, 1) if quick else (SEEDS, SECONDS, 2)
    rows = [measure(count, seeds, seconds) for _ in range(rounds) for count in (1, 2)]
    table = pd.DataFrame(rows)
    mean = table.groupby("jobs")["seconds"].mean()
    ratio = mean[1] / mean[2]
    busy = table["load before"].max() > count_cores() / 2
    table.attrs["plot"] = "seconds"
    table.attrs["note"] = (
        f"Two jobs are {ratio:.2f} times as fast as one; wanted {WANTED:g}."
        + (" The machine had other work: measure again when it has none." if busy else "")
        + " Beside steps: of all jobs' time, what went into starting points, and into waiting for a shared step or the end."
    )
    return {f"{len(NETWORKS) * seeds} points, {seconds:g} s of work a step": table}


def measure(count: int, seeds: int, seconds: float) -> dict:
    """Run the sweep in a project of its own; return its time and how often each step ran."""
    with tempfile.TemporaryDirectory() as folder:
        home, load = sweep_toys.make(Path(folder)), os.getloadavg()[0]
        given = ["--set", f"net={','.join(NETWORKS)}", "--set", f"seed={','.join(map(str, range(seeds)))}"]
        command = [sys.executable, "-m", "faceworkbook.cli", "run", "toy", *given, "--jobs", str(count)]
        begun = time.perf_counter()
        subprocess.run(
            [*command, "-p", f"seconds={seconds}"],
            env=os.environ | jobs.limit_threads(1, 2) | {"FACEWORKBOOK_HOME": str(home)},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall = time.perf_counter() - begun
        lines = sweep_toys.ran(home)
        within = sum(
            each["seconds"]
            for each in (json.loads(path.read_bytes()) for path in home.glob("results/toy.*/*/done.json"))
            if "copied_from" not in each
        )
    return {
        "jobs": count,
        "seconds": wall,
        "load before": load,
        **{f"{step} ran": sum(line.startswith(step) for line in lines) for step in STEPS},
        "in steps, s": within,
        "beside steps, s": wall * count - within,
    }


if __name__ == "__main__":
    for title, made in main(quick="--quick" in sys.argv).items():
        print(title, made.round(2).to_string(index=False), made.attrs["note"], sep="\n")

"""Every operation on the disk fails once, by a kill, a torn write, EIO and a full disk: what goes on to the same result.

    python -m benchmarks faults [--quick]

Each door (extraction, every training, runs, sweeps, searches, predictions) is run in a process whose disk is
`tests/faults/shim.c`, failed at its n-th operation, run again, and compared bit by bit with the run that nothing
disturbed. Needs Linux and a C compiler. What a door's points came to is kept in ``benchmarks/results/faults/`` until the
code changes, so that a run that is stopped goes on with the next door.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from faceworkbook import files
from faceworkbook.reports import finished
from tests.faults import disk, doors

KEPT = Path(__file__).parent / "results" / "faults"

# Of doors that take long; of the others all points.
POINTS = {
    **dict.fromkeys(("dense training", "multi-task training", "fine-tuning", "folds", "a fitted model"), 50),
    "workbook run": 110,
    **dict.fromkeys(("sweep", "search"), 55),
}
QUICK = 3


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Try the points of all doors; a table of counts, and one of what went wrong."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, tqdm(desc="failed operations", unit="point") as bar:
        library = disk.build(Path(folder))
        return tables([record for door in doors.DOORS for record in kept(library, door, bar, quick=quick)])


def kept(library: Path, door: str, bar: tqdm, *, quick: bool) -> list[dict]:
    """Return the records of one door, those of an earlier run where the code is the same."""
    points = QUICK if quick else POINTS.get(door, 0)
    sources = [path.read_bytes() for path in sorted(Path(disk.__file__).parent.glob("*.*")) if path.is_file()]
    of = files.hash_values(finished.hash_code(), door, points, *sources)[:16]
    path = KEPT / f"{door.replace(' ', '_')}-{of}.jsonl"
    bar.set_postfix_str(door)
    if not path.is_file():
        beside = path.with_suffix(".part")
        with beside.open("w") as file:
            for line in drive(library, door, points):
                file.write(line)
                file.flush()
                bar.update()
        beside.replace(path)
    return [json.loads(line) for line in path.read_text().splitlines()]


def drive(library: Path, door: str, points: int) -> Iterator[str]:
    """Yield the records of one door as its process prints them."""
    command = [sys.executable, "-m", "tests.faults.drive", door, "--points", str(points)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=disk.REPO, env=disk.environment(library), **pipes) as process:
        yield from (line for line in process.stdout or () if line.startswith('{"door"'))
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with status {process.returncode}: run it by itself to see why"
        )


def tables(records: list[dict]) -> dict[str, pd.DataFrame]:
    """Count points by door, and list those with a problem."""
    operations = {r["door"]: r["operations"] for r in records if "operations" in r}
    points = pd.DataFrame([r for r in records if "kind" in r])
    resumed = ~points["problem"].str.startswith("resumed")
    refused = points["kind"].isin(["EIO", "ENOSPC"]) & (points["error"] != "")
    sentence = ~points["problem"].str.startswith(("raw", "no sentence"))
    counted = points.assign(
        resumed=resumed,
        errors=refused,
        sentences=refused & sentence,
        killed=points["kind"].isin(["kill", "torn"]),
    ).groupby("door", sort=False)
    table = pd.DataFrame(
        {
            "operations of a run": operations,
            "points": counted.size(),
            "kills": counted["killed"].sum(),
            "resumed to the same": counted["resumed"].sum(),
            "errors": counted["errors"].sum(),
            "of them sentences": counted["sentences"].sum(),
        }
    ).rename_axis("door")
    table.loc["all"] = table.sum()
    wrong = points[points["problem"] != ""].set_index("door")[["kind", "at", "operation", "problem"]]
    return {f"{len(points):,} failed operations": table, "What went wrong": wrong}

"""Every operation on the disk fails once, by a kill, a torn write, EIO and a full disk: what goes on to the same result.

    python -m benchmarks faults [--quick]

Each door (extraction, every training, runs, sweeps, searches, predictions) is run in a process whose disk is
`tests/faults/shim.c`, failed at its n-th operation, run again, and compared bit by bit with the run that nothing
disturbed. Needs Linux and a C compiler.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from tests.faults import disk, doors

# Of doors that take long; of the others all points.
POINTS = {
    **dict.fromkeys(("dense training", "multi-task training", "fine-tuning", "folds", "a fitted model"), 50),
    **dict.fromkeys(("workbook run", "workbook run --smoke"), 110),
    **dict.fromkeys(("sweep", "search"), 55),
}
QUICK = 3


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Try the points of all doors; a table of counts, and one of what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        library = disk.build(Path(folder))
        records = [record for door in doors.DOORS for record in drive(library, door, quick=quick)]
    return tables(records)


def drive(library: Path, door: str, *, quick: bool) -> list[dict]:
    """Return the records of one door."""
    points = QUICK if quick else POINTS.get(door, 0)
    command = [sys.executable, "-m", "tests.faults.drive", door, "--points", str(points)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    done = subprocess.run(command, cwd=disk.REPO, env=disk.environment(library), check=True, **pipes)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"door"')]


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

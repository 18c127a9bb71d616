"""A large table through splits, audit, groups and figures: how time and memory grow with the number of rows.

    python -m benchmarks rows [--quick]

Faces of drawn people (lognormal, 1 to 300 pictures each), two percent of them copies; no picture is read. Each size is
measured in a process of its own, in processor time. An exponent of 1 is time in proportion to the rows.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import audit, faces, row_groups, splits, tasks
from faceworkbook.audit import balance, duplicates
from faceworkbook.audit.close_hashes import close_pairs
from faceworkbook.evaluation import groups, metrics, predictions

SIZES, QUICK = (50_000, 100_000, 200_000), (2_000, 4_000, 8_000)
RACES = ("White", "Black", "Asian", "Indian", "Others")
COPIES = 0.02


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure each size; a table of seconds by step, with the exponent of their growth."""
    sizes = QUICK if quick else SIZES
    measured = pd.DataFrame({f"{n:,}": _measure_apart(n) for n in sizes})
    memory = measured.loc[["memory in MB"]]
    seconds = measured.drop(index="memory in MB")
    seconds.loc["all"] = seconds.sum()
    first, last = seconds[f"{sizes[0]:,}"], seconds[f"{sizes[-1]:,}"]
    seconds["exponent"] = np.log(last.clip(lower=0.01) / first.clip(lower=0.01)) / np.log(
        sizes[-1] / sizes[0]
    )
    seconds.attrs["note"] = (
        "Seconds of processor time by number of rows. The pictures themselves, which take far longer, are read in "
        "proportion."
    )
    return {"Seconds by rows": seconds.rename_axis("step"), "Most memory of the process": memory}


def _measure_apart(n: int) -> dict[str, float]:
    command = [sys.executable, "-c", f"from benchmarks import rows; rows.print_measured({n})"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_measured(n: int) -> None:
    """Print the seconds of each step on `n` rows, and the process's most memory, as JSON."""
    made: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = walk(n, Path(folder))
        while True:
            begun = time.process_time()
            name = next(steps, None)
            if name is None:
                break
            made[name] = time.process_time() - begun
    # Not getrusage's, which begins with that of the process that started this one.
    most = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    made["memory in MB"] = int(most[1]) / 1024
    print(json.dumps(made))


def walk(n: int, folder: Path) -> Iterator[str]:
    """Do one step after the other on `n` faces; yield the name of each when it is done."""
    rng, table = np.random.default_rng(0), make_table(n)
    yield "face table"
    split = splits.make(table, label="gender")
    yield "split by people"
    splits.load(splits.save(split, folder / "split.json", table), table)
    yield "split written and read"
    copies = row_groups.components(*rng.integers(0, n, (2, int(COPIES * n))), n)
    audit.label_noise(table, copies)
    yield "labels of copies"
    audit.leakage(table, split, copies=copies)
    yield "leakage"
    balance.class_counts(table), balance.pairs(table)
    yield "balance"
    sum(len(one) for one, _ in close_pairs(rng.integers(0, 2**64, n, dtype=np.uint64), duplicates.MAX_BITS))
    yield "pairs of looks"
    task = tasks.Task("gender", classes=("female", "male"))
    truth = table["gender"].astype(object).to_numpy()
    made = predictions.build(table, task, truth=truth, output=rng.random(n), split="test")
    made = predictions.read(predictions.write(made, folder / "p.parquet", made_from={}))
    yield "predictions written and read"
    metrics.summary(made), metrics.per_class(made), metrics.confusion(made)
    yield "metrics with intervals"
    attached = groups.attach(made, table, ["race"])
    groups.by_group(attached, "race")
    yield "groups"
    groups.gaps(attached, "race")
    yield "gaps"


def make_table(n: int) -> pd.DataFrame:
    """Return `n` faces of people with as many pictures as in real sets."""
    rng = np.random.default_rng(1)
    sizes = np.clip(np.round(rng.lognormal(1.6, 1.0, n)), 1, 300).astype(int)
    person = np.repeat(np.arange(n), sizes)[:n]
    columns = {
        "image": [f"{i}.jpg" for i in range(n)],
        "identity": [f"p{i}" for i in person],
        "gender": rng.choice(["female", "male"], n),
        "race": rng.choice(RACES, n),
        "age": rng.integers(0, 100, n).astype(float),
    }
    return faces.build(columns, dataset="rows")

"""How long the readers take: 50,000 made-up names and tables, and the real sets that are there.

    python benchmarks/reading.py

The bar is 5 s for 50,000 UTKFace names. No picture is opened, so the files are empty.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import datasets

N = 50_000
REAL = {
    "adience": "adience",
    "agegender_cleaned": "agegender_cleaned",
    "expw": "expw",
    "fairface": "fairface",
    "ferplus": "ferplus",
    "fgnet": "fgnet",
    "genki4k": "genki4k",
    "utkface": "utkface/UTKFace",
}
SHARED = Path(__file__).resolve().parents[2] / "shared/data"


def lay_utkface(root: Path, n: int) -> None:
    """Empty files with names such as UTKFace's."""
    rng = np.random.default_rng(0)
    labels = zip(rng.integers(0, 117, n), rng.integers(0, 2, n), rng.integers(0, 5, n), strict=True)
    for i, (age, gender, race) in enumerate(labels):
        (root / f"{age}_{gender}_{race}_{20170116174525125 + i}.jpg.chip.jpg").touch()


def lay_csv(root: Path, n: int) -> None:
    """A table of `n` rows and its empty pictures, a thousand a folder."""
    rng = np.random.default_rng(0)
    for folder in range(-(-n // 1000)):
        (root / f"{folder}").mkdir()
    table = pd.DataFrame({"image": [f"{i // 1000}/{i}.jpg" for i in range(n)]})
    table["gender"] = np.array(["male", "female"])[rng.integers(0, 2, n)]
    table["age"] = rng.integers(0, 100, n)
    for image in table["image"]:
        (root / image).touch()
    table.to_csv(root / "faces.csv", index=False)


def measure(name: str, root: Path, what: str) -> dict:
    """Time one reading."""
    start, started = time.perf_counter(), time.process_time()
    dataset = datasets.load(name, root)
    seconds, cpu = time.perf_counter() - start, time.process_time() - started
    rows = len(dataset.faces) + len(dataset.left_out)
    return {
        "data set": name,
        "what": what,
        "rows": rows,
        "faces": len(dataset.faces),
        "seconds": round(seconds, 2),
        "CPU seconds": round(cpu, 2),
        "rows/s": round(rows / seconds),
    }


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Measure, print and return the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=N, help="made-up names and rows")
    n = parser.parse_args(arguments).n
    rows = []
    for name, lay in (("utkface", lay_utkface), ("csv", lay_csv)):
        with tempfile.TemporaryDirectory() as folder:
            lay(Path(folder), n)
            rows.append(measure(name, Path(folder), "made up"))
    rows += [measure(name, SHARED / at, "real") for name, at in REAL.items() if (SHARED / at).is_dir()]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    return table


if __name__ == "__main__":
    main()

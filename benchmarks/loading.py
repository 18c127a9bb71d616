"""From a VGG-Face file to a ready Keras model and to the first descriptor: seconds and peak memory.

    python -m benchmarks loading

Every row is a fresh process. The weights are random, written once in the format of each file (0.6 GB).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import fresh_process

HERE = Path(__file__).parent
FILES = HERE / "results" / "weights"


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure each file the first time (hash and description unknown) and a later time."""
    rows = []
    for file in ("vgg_face.mat",) if quick else ("vgg_face.mat", "VGG_FACE.t7"):
        path = vgg_face_file(file)
        shutil.rmtree(path.parent / "cache", ignore_errors=True)
        for time in ("first", "later"):
            command = [
                sys.executable,
                "-c",
                "from benchmarks.loading import load_once; load_once()",
                str(path),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent)
            rows.append({"file": file, "time": time, **json.loads(done.stdout.splitlines()[-1])})
    table = pd.DataFrame(rows).set_index(["file", "time"])
    table.attrs["plot"] = "file to model, s"
    return {"VGG-Face, 145,002,878 parameters": table}


def vgg_face_file(name: str = "vgg_face.mat") -> Path:
    """A full-size VGG-Face file with random He weights, written at its first use."""
    from tests.support import vgg_files

    path = FILES / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        parameters = vgg_files.random_parameters(np.random.default_rng(0))
        write = vgg_files.write_mat if name.endswith(".mat") else vgg_files.write_t7
        beside = path.with_name(f"beside-{name}")
        write(beside, parameters)
        beside.replace(path)
    return path


def load_once() -> None:
    """Load the file that the command line names and print the figures as JSON."""
    import time

    from faceworkbook import backbones

    start = time.perf_counter()
    backbones.import_keras()
    import tensorflow  # noqa: F401

    imported = time.perf_counter()
    backbone = backbones.load("vgg_face", weights=sys.argv[1])
    model = backbone.model
    ready = time.perf_counter()
    model(np.zeros((1, *backbone.preprocessing.size, 3), np.float32))
    first = time.perf_counter()
    figures = {
        "imports, s": imported - start,
        "file to model, s": ready - imported,
        "first descriptor, s": first - ready,
        "peak memory, GB": fresh_process.peak_memory(),
    }
    print(json.dumps(figures))

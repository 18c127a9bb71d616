"""Faces a second of each engine and batch size, against Keras `predict` and the limit of direct convolution.

    python -m benchmarks extraction [--quick]

The limit is NumPy's sgemm measured in the same run, over the multiplications of the network. Runs of the
engines are interleaved and the median is taken. VGG-Face is full size with random weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.loading import vgg_face_file

HERE = Path(__file__).parent
CACHE = HERE / "results" / "converted"
ENGINES = ("predict, one a call", "predict", "keras", "onnx", "winograd")


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure both networks."""
    limit = sgemm_flops(1024 if quick else 4096)
    tables = {}
    for name, weights in (("faceres_deep", None), ("vgg_face", vgg_face_file())):
        sizes = {"faceres_deep": (1, 8, 32), "vgg_face": (1, 8, 32)}[name]
        rows = [
            measured(name, weights, n, limit, rounds=2 if quick else 5)
            for n in (sizes[1:2] if quick else sizes)
        ]
        table = pd.concat(rows).set_index(["engine", "batch"])
        table.attrs["plot"] = "faces/s"
        tables[f"{name}: engines ({limit / 1e9:.0f} GFLOP/s sgemm)"] = table
        tables[f"{name}: memory"] = memory(name, weights)
    return tables


def sgemm_flops(size: int, repeats: int = 5) -> float:
    """Floating-point operations a second of a square float32 matrix product; the best of several."""
    a = np.random.default_rng(0).standard_normal((size, size), np.float32)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def measured(name: str, weights: Path | None, batch: int, limit: float, *, rounds: int) -> pd.DataFrame:
    """Faces a second of every engine at one batch size, and the ratios."""
    backbone, runs = runners(name, weights, batch)
    flops = 2 * sum(multiplications(layer) for layer in backbone.model.layers if layer.weights)
    speeds = {engine: [] for engine in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for engine, run in runs.items():
            start = time.perf_counter()
            faces = run()
            speeds[engine].append(faces / (time.perf_counter() - start))
    median = {engine: float(np.median(values)) for engine, values in speeds.items()}
    rows = [
        {
            "engine": engine,
            "batch": batch,
            "faces/s": speed,
            "times predict": speed / median["predict"],
            "times one a call": speed / median["predict, one a call"],
            "share of direct limit": speed * flops / limit,
            "spread": np.ptp(speeds[engine]) / speed,
        }
        for engine, speed in median.items()
    ]
    return pd.DataFrame(rows)


def multiplications(layer) -> int:
    """Of one layer's kernels, each applied at every place of the output."""
    places = int(np.prod(layer.output.shape[1:-1]))
    return places * sum(
        int(np.prod(variable.shape)) for variable in layer.weights if "kernel" in variable.name
    )


def runners(name: str, weights: Path | None, batch: int):
    """The backbone, and for each engine a function that computes a batch and says how many faces it did."""
    from faceworkbook import backbones
    from faceworkbook.images import network_input

    backbone = backbones.load(name, weights=weights)
    height, width = backbone.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    one = pixels[:1]

    def predict(faces):
        given = network_input(faces, backbone.preprocessing)
        return len(backbone.model.predict(given, verbose=0, batch_size=32))

    runs = {"predict, one a call": lambda: predict(one), "predict": lambda: predict(pixels)}
    for engine in ENGINES[2:]:
        runner = made(backbone, engine)
        runs[engine] = lambda runner=runner: len(runner.run(pixels))
    return backbone, runs


def made(backbone, engine: str):
    """One engine, converted once into the results folder."""
    from faceworkbook.descriptors.engines import onnx_graph, prepare
    from faceworkbook.descriptors.engines.keras_engine import KerasEngine

    if engine == "keras":
        return KerasEngine(backbone)
    folder = CACHE / f"{backbone.fingerprint[:16]}-{backbone.tap}"
    if not (folder / prepare.GRAPH).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        onnx_graph.write(backbone.model, folder)
    return prepare.make(engine, folder, backbone.preprocessing)


def memory(name: str, weights: Path | None) -> pd.DataFrame:
    """Peak memory of a process that runs one engine alone on batches of 32."""
    rows = {}
    for engine in ENGINES[2:]:
        options = json.dumps([name, str(weights) if weights else None, engine])
        command = [sys.executable, "-c", "from benchmarks.extraction import alone; alone()", options]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent)
        rows[engine] = json.loads(done.stdout.splitlines()[-1])
    return pd.DataFrame({"peak memory, GB": rows}).rename_axis("engine")


def alone() -> None:
    """Run one engine and print the peak memory of this process in GB."""
    import resource

    from faceworkbook import backbones

    name, weights, engine = json.loads(sys.argv[1])
    backbone = backbones.load(name, weights=weights)
    pixels = np.zeros((32, *backbone.preprocessing.size, 3), np.uint8)
    made(backbone, engine).run(pixels)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)

"""Faces a second of each engine and batch size, against Keras `predict` and the limit of direct convolution.

    python -m benchmarks extraction [--quick]

The limit is NumPy's sgemm measured in the same run, over the multiplications of the network. Runs of the
engines are interleaved and the median is taken. VGG-Face is full size with random weights. The descriptors of
every engine are compared with Keras's on 200 real faces, and the bars stand beside the
measured values.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import fresh_process
from benchmarks.from_files import REAL, face_files, read_pixels
from benchmarks.loading import vgg_face_file

HERE = Path(__file__).parent
CACHE = HERE / "results" / "converted"
ENGINES = ("keras", "onnx", "winograd", "separable")
ONE, MANY = "predict, one a call", "predict"
BATCHES, FACES = (1, 8, 32), 200
ROUNDS = {"faceres_deep": 20, "vgg_face": 5}  # a short run catches more of what else the machine does
# At least so much of the best engine at the largest batch, by network
BARS = {
    "faceres_deep": {"times predict": 2.0},
    "vgg_face": {"times predict": 2.8, "times one a call": 4.2, "share of direct limit": 1.9},
}
MOST_MEMORY = 3.5  # GB


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure both networks."""
    limit = sgemm_flops(1024 if quick else 4096)
    tables = {}
    for name, weights in (("faceres_deep", None), ("vgg_face", vgg_face_file())):
        rows = [
            measured(name, weights, n, limit, rounds=2 if quick else ROUNDS[name])
            for n in (BATCHES[1:2] if quick else BATCHES)
        ]
        speeds = pd.concat(rows).set_index(["engine", "batch"])
        speeds.attrs["plot"] = "faces/s"
        tables[f"{name}: engines ({limit / 1e9:.0f} GFLOP/s sgemm)"] = speeds
        engines = [engine for engine in ENGINES if engine in speeds.index.get_level_values("engine")]
        same = agreement(name, weights, engines, n=16 if quick else FACES)
        same["peak memory, GB"] = [memory(name, weights, engine) for engine in same.index]
        faces = "UTKFace" if REAL.is_dir() else "embedded"
        tables[f"{name}: against Keras predict on {same.attrs['faces']} {faces} faces"] = same
        tables[f"{name}: bars"] = bars(name, speeds, same)
    return tables


def bars(name: str, speeds: pd.DataFrame, same: pd.DataFrame) -> pd.DataFrame:
    """Return the bars for the fastest engine at the largest batch, and for every engine's descriptors."""
    largest = speeds.xs(speeds.index.get_level_values("batch").max(), level="batch")
    best = largest.loc[same.index, "faces/s"].idxmax()
    rows = [(f"{best}: {what}", largest.loc[best, what], least) for what, least in BARS[name].items()]
    rows += [
        (f"{engine}: smallest cosine", value, 0.9999) for engine, value in same["smallest cosine"].items()
    ]
    table = pd.DataFrame(rows, columns=["bar", "measured", "at least"])
    table["met"] = np.where(table["measured"] >= table["at least"], "yes", "no")
    used = same.loc[best, "peak memory, GB"]
    table.loc[len(table)] = [
        f"{best}: GB to spare of {MOST_MEMORY}",
        MOST_MEMORY - used,
        0.0,
        "yes" if used <= MOST_MEMORY else "no",
    ]
    return table.set_index("bar")


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
            "times predict": speed / median[MANY],
            "times one a call": speed / median[ONE],
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
    from faceworkbook.descriptors.engines.compiled.graphs import UnsuitedGraph

    backbone = backbones.load(name, weights=weights)
    pixels = read_pixels(*face_files(batch), backbone.preprocessing)
    runs = {ONE: lambda: len(predict(backbone, pixels[:1])), MANY: lambda: len(predict(backbone, pixels))}
    for engine in ENGINES:
        try:
            runner = made(backbone, engine)
        except UnsuitedGraph:
            continue
        runs[engine] = lambda runner=runner: len(runner.run(pixels))
    return backbone, runs


def predict(backbone, pixels: np.ndarray) -> np.ndarray:
    """The reference: Keras, as one would write it."""
    from faceworkbook.images import network_input

    return backbone.model.predict(network_input(pixels, backbone.preprocessing), verbose=0, batch_size=32)


def agreement(name: str, weights: Path | None, engines: list[str], *, n: int) -> pd.DataFrame:
    """How far each engine's descriptors of real faces lie from the reference's, at worst."""
    from faceworkbook import backbones
    from faceworkbook.descriptors.engines import compare

    backbone = backbones.load(name, weights=weights)
    pixels = read_pixels(*face_files(n), backbone.preprocessing)
    batches = [pixels[start : start + 32] for start in range(0, len(pixels), 32)]
    reference = np.concatenate([predict(backbone, batch) for batch in batches])
    rows = {}
    for engine in engines:
        runner = made(backbone, engine)
        rows[engine] = compare(np.concatenate([runner.run(batch) for batch in batches]), reference)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("engine")
    table.attrs["faces"] = len(pixels)
    return table.rename(columns={"cosine": "smallest cosine", "relative_error": "largest relative error"})


def made(backbone, engine: str):
    """One engine, converted once into the results folder."""
    from faceworkbook.descriptors.engines import onnx_graph, prepare
    from faceworkbook.descriptors.engines.keras_engine import KerasEngine

    if engine == "keras":
        return KerasEngine(backbone)
    folder = CACHE / f"{backbone.fingerprint[:16]}-{backbone.tap}-{prepare.FORMAT}"
    if not (folder / prepare.GRAPH).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        onnx_graph.write(backbone.model, folder)
    return prepare.make(engine, folder, backbone.preprocessing)


def memory(name: str, weights: Path | None, engine: str) -> float:
    """Peak memory in GB of a process that runs one engine alone on batches of 32."""
    given = (name, str(weights) if weights else None, engine)
    return fresh_process.call("benchmarks.extraction", "alone", *given)["peak"]


def alone(name: str, weights: str | None, engine: str) -> dict:
    """Run one engine; the peak memory of this process in GB."""
    from faceworkbook import backbones

    backbone = backbones.load(name, weights=weights)
    made(backbone, engine).run(np.zeros((32, *backbone.preprocessing.size, 3), np.uint8))
    return {"peak": fresh_process.peak_memory()}

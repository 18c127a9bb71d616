"""From JPEG files to the finished store, against the engine alone on pixels that lie ready.

    python -m benchmarks from_files [--quick]

Both go through the same faces in the same process, by turns; seconds are medians. What a face costs besides the
network (read, hash, decode, resize, write) is measured by itself too, with an engine that does nothing: the
difference of two long times hides it where other programs slow the machine down.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import fresh_process
from benchmarks.loading import vgg_face_file

HERE = Path(__file__).parent
REAL = HERE.parents[1] / "shared/data/utkface/UTKFace"
EMBEDDED = HERE.parent / "data/synthetic/images"
FACES = {"faceres_deep": 1500, "vgg_face": 256}
ROUNDS = 3


class Idle:
    """An engine that computes nothing."""

    name, settings = "idle", {"name": "idle"}

    def __init__(self, batch_size: int, dim: int):
        self.batch_size, self.dim = batch_size, dim

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) -> (n, dim) zeros, float32."""
        return np.zeros((len(pixels), self.dim), np.float32)


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure both networks, each in a process of its own."""
    rows = []
    for name, weights in (("faceres_deep", ""), ("vgg_face", str(vgg_face_file()))):
        n, rounds = (FACES[name] // 3, 1) if quick else (FACES[name], ROUNDS)
        rows.append(fresh_process.call("benchmarks.from_files", "measure", name, weights, n, rounds))
    table = pd.DataFrame(rows).set_index("network")
    table.attrs["plot"] = "share lost"
    return {f"from {'UTKFace' if REAL.is_dir() else 'embedded'} JPEG files to the store": table}


def face_files(n: int) -> tuple[Path, list[str]]:
    """A folder and the names of `n` faces in it: UTKFace where it is there, else the embedded ones."""
    root = REAL if REAL.is_dir() else EMBEDDED
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    return root, [names[i] for i in np.random.default_rng(0).permutation(len(names))[:n]]


def measure(name: str, weights: str, n: int, rounds: int) -> dict:
    """The engine alone and the way from files to store, by turns."""
    from faceworkbook import backbones, descriptors, faces
    from faceworkbook.descriptors import engines

    backbone = backbones.load(name, weights=weights or None)
    root, names = face_files(n)
    pixels = read_pixels(root, names, backbone.preprocessing)
    engine = engines.choose(backbone, check_pixels=pixels[:16])
    table = faces.build({"image": names}, dataset="files")
    engine.run(pixels[: engine.batch_size])

    def extract(with_engine) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as store:
            options = {"root": root, "store": store, "engine": with_engine, "progress": False}
            return timed(lambda: descriptors.extract(table, backbone, **options))

    idle = Idle(engine.batch_size, backbone.dim)
    seconds = np.median(
        [(timed(lambda: through(engine, pixels)), extract(engine), extract(idle)) for _ in range(rounds)],
        axis=0,
    )
    (alone_wall, alone_cpu), (wall, cpu), (_, rest_cpu) = seconds
    return {
        "network": name,
        "engine": engine.name,
        "faces": n,
        "engine alone, faces/s": n / alone_wall,
        "files to store, faces/s": n / wall,
        "share lost": 1 - alone_wall / wall,
        "engine, CPU ms a face": alone_cpu / n * 1e3,
        "files to store, CPU ms a face": cpu / n * 1e3,
        "share of CPU lost": 1 - alone_cpu / cpu,
        "without a network, CPU ms a face": rest_cpu / n * 1e3,
        "its share": rest_cpu / (alone_cpu + rest_cpu),
        "peak memory, GB": fresh_process.peak_memory(),
    }


def read_pixels(root: Path, names: list[str], preprocessing) -> np.ndarray:
    """Faces ready for an engine: (n, height, width, 3), uint8, RGB."""
    from faceworkbook import images

    return np.stack([images.face_pixels((root / name).read_bytes(), preprocessing) for name in names])


def through(engine, pixels: np.ndarray) -> None:
    """All faces through the engine in batches of its best size."""
    for start in range(0, len(pixels), engine.batch_size):
        engine.run(pixels[start : start + engine.batch_size])


def timed(function) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    begun = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])), indent=1))

"""Extraction killed ten times at random moments, on one machine and on Ray: what is computed twice, what is lost.

    python -m benchmarks kills [--quick]

Each run is a process of its own that ends by SIGKILL after a time drawn at random; on Ray every second kill is
that of an actor under the running job. The engine is slow on purpose and writes down each face before it
computes it. The finished store is compared with that of a run nobody disturbed, file by file, byte by byte.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks import tiny
from faceworkbook import descriptors, faces

HERE = Path(__file__).parent
KILLS, FACES, BATCH = 10, 2400, 8
WAIT = {"one machine": 0.03, "ray": 0.06}  # seconds a batch
WINDOW = {"one machine": 0.8, "ray": 1.0}  # seconds after the first face of a run in which the kill may come
AT_START = 0.2  # share of kills that come while a run is starting
FILES = ("descriptors.npy", "index.parquet", "unreadable.parquet")
BACKBONE = tiny.backbone(size=8, dim=3)


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Kill and compare, on one machine and on Ray where it is installed."""
    places = ["one machine"] + ["ray"] * (importlib.util.find_spec("ray") is not None)
    kills, n = (3, FACES // 4) if quick else (KILLS, FACES)
    with tempfile.TemporaryDirectory() as folder:
        pictures = make_pictures(Path(folder) / "pictures", n)
        rows = {place: killed(place, pictures, Path(folder) / place, kills=kills) for place in places}
    return {
        f"{kills} kills by SIGKILL, {n:,} faces": pd.DataFrame.from_dict(rows, orient="index").rename_axis(
            "on"
        )
    }


def make_pictures(folder: Path, n: int) -> Path:
    """`n` pictures of one colour each, one of them damaged."""
    folder.mkdir()
    for i in range(n):
        cv2.imwrite(str(folder / f"{i:05d}.png"), np.full((12, 10, 3), (i % 256, i // 256, 77), np.uint8))
    (folder / "00004.png").write_text("not a picture")
    return folder


class Slow:
    """An engine whose descriptor is the mean colour; writes each face to `log` before it computes it."""

    name, batch_size, settings = "slow", BATCH, {"name": "slow"}

    def __init__(self, log: str | None, wait: float):
        self.log, self.wait = log, wait

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 -> (n, 3) float32."""
        if self.log:
            begun = "".join(f"{p[0, 0, 2]}-{p[0, 0, 1]}\n" for p in pixels)
            with open(self.log, "ab", buffering=0) as log:  # noqa: PTH123
                log.write(f"{begun}".encode())
        time.sleep(self.wait)
        return pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32)


def extract(pictures: Path, store: Path, engine: Slow, place: str) -> descriptors.Descriptors:
    """One extraction of all pictures."""
    table = faces.build({"image": sorted(path.name for path in pictures.iterdir())}, dataset="kills")
    options = {"cluster": "ray", "batch_size": BATCH} if place == "ray" else {}
    return descriptors.extract(
        table, BACKBONE, root=pictures, store=store, engine=engine, progress=False, **options
    )


def killed(place: str, pictures: Path, folder: Path, *, kills: int) -> dict:
    """Kill runs until `kills` have died, let the last one end; return the counts."""
    folder.mkdir()
    straight = extract(pictures, folder / "straight", Slow(None, 0), "one machine")
    log, rng, landed = folder / "begun.txt", np.random.default_rng(0), Counter()
    log.touch()
    process = start(place, pictures, folder / "store", log)
    while landed.total() < kills and process.poll() is None:
        before = log.stat().st_size
        if rng.random() >= AT_START:
            wait_for_growth(log, before, process)
        time.sleep(rng.uniform(0, WINDOW[place]))
        actor = actor_of(process) if place == "ray" and landed.total() % 2 else None
        if kill(actor or process.pid):
            landed["while computing" if log.stat().st_size > before else "while starting"] += 1
        if not actor:
            process.wait()
            process = start(place, pictures, folder / "store", log)
    if process.wait(timeout=900):
        raise RuntimeError(
            f"the last run on {place} failed with status {process.returncode}: {last_words(log)}"
        )
    return {"kills": landed.total(), **dict(landed), **compare_stores(straight, folder / "store", log)}


def start(place: str, pictures: Path, store: Path, log: Path) -> subprocess.Popen:
    """A run in a process of its own."""
    code = f"from benchmarks import kills; kills.run_once({place!r}, {str(pictures)!r}, {str(store)!r}, {str(log)!r})"
    environment = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    with log.with_suffix(".stderr").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", code], cwd=HERE.parent, env=environment, stdout=errors, stderr=errors
        )


def last_words(log: Path) -> str:
    """Return the end of what the last run printed."""
    return log.with_suffix(".stderr").read_text()[-1500:]


def run_once(place: str, pictures: str, store: str, log: str) -> None:
    """What a run does: one extraction, on two actors where it is Ray's."""
    if place == "ray":
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    extract(Path(pictures), Path(store), Slow(log, WAIT[place]), place)


def wait_for_growth(log: Path, size: int, process: subprocess.Popen, *, seconds: float = 120) -> None:
    """Wait until a face is begun, or the run has ended."""
    deadline = time.monotonic() + seconds
    while log.stat().st_size == size and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def actor_of(process: subprocess.Popen) -> int | None:
    """The process of one of the run's actors; None before there is one."""
    import psutil

    try:
        children = psutil.Process(process.pid).children(recursive=True)
        titles = {child.pid: " ".join(child.cmdline()) for child in children}
    except psutil.NoSuchProcess:
        return None
    return next((pid for pid, title in titles.items() if "MapBatches(Actor)" in title), None)


def kill(pid: int) -> bool:
    """SIGKILL; whether there was such a process."""
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def compare_stores(straight: descriptors.Descriptors, store: Path, log: Path) -> dict:
    """How often faces were begun, and whether the store is that of the undisturbed run."""
    begun = Counter(log.read_text().split())
    same = all((store / name).read_bytes() == (straight.folder / name).read_bytes() for name in FILES)
    return {
        "faces": len(begun),
        "computations": begun.total(),
        "begun twice": sum(times == 2 for times in begun.values()),
        "most often begun": max(begun.values()),
        "store identical": "yes" if same and len(begun) == len(straight) else "no",
    }

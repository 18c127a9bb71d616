"""What further taps, the mirror image and the search for facial points cost beside one tap's descriptors.

    python -m benchmarks taps [--quick]

Processor time of this process, so that what else the machine does counts little; pictures are decoded anew each time and
kept by the system from the first round on. The network is the embedded default. A round measures everything once, and
each figure is divided by the one tap of its own round.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from faceworkbook import backbones, datasets, descriptors, landmarks, project
from faceworkbook.descriptors import engines

FACES, ROUNDS = 1000, 3
TAPS = ("global_pooling", "conv_pw_12_relu")
ONE = "one tap"


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure."""
    root = project.resolve("data/synthetic")
    table = datasets.load("synthetic", root).faces.head(FACES // 20 if quick else FACES)
    net = backbones.load("faceres_deep")
    nets = [net.at(tap) for tap in TAPS]
    for one in (*nets, net.together(TAPS)):
        engines.choose(one)  # converts the network, once for each combination of taps
    measured = {
        ONE: lambda place: _extract(table, nets[:1], root, place),
        "two taps, one pass": lambda place: _extract(table, nets, root, place),
        "two taps, a pass each": lambda place: [
            _extract(table, [one], root, place / one.tap) for one in nets
        ],
        "one tap and its mirror image": lambda place: _extract(table, [nets[0].mirrored()], root, place),
        "five points": lambda place: landmarks.detect(table, root, path=place / "points", progress=False),
    }
    times = pd.DataFrame([_round(measured, len(table)) for _ in range(1 if quick else ROUNDS)])
    shares = times.div(times[ONE], axis=0)
    made = pd.DataFrame(
        {
            "ms a face, least": times.min(),
            "ms a face, most": times.max(),
            "times one tap, least": shares.min(),
            "times one tap, most": shares.max(),
        }
    )
    made.attrs["note"] = f"{len(table):,} embedded faces, {len(times)} rounds; milliseconds of processor time"
    return {"taps, mirror image and points beside one tap": made.rename_axis("what")}


def _extract(table: pd.DataFrame, nets: list, root: Path, place: Path) -> None:
    stores = [place / net.tap for net in nets]
    descriptors.extract_all(table, nets, root=root, stores=stores, progress=False)


def _round(measured: dict[str, Callable], n: int) -> dict[str, float]:
    """Return milliseconds of processor time a face by what was measured."""
    times = {}
    for name, run in measured.items():
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            run(Path(folder))
            times[name] = 1000 * (time.process_time() - begun) / n
    return times

"""Speed of fine-tuning's steps: input from each source, augmentation, training.

    python benchmarks/fine_tune.py [--root PATH/TO/pictures] [--n 512]

Without --root it makes its own pictures. Prints one table; nothing is asserted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tensorflow as tf

from faceworkbook import backbones
from faceworkbook.datasets.base import Reasons, list_pictures
from faceworkbook.models.multitask import Head
from faceworkbook.tasks import Task
from faceworkbook.training import augment, cutting, fine_tune, loop
from faceworkbook.training.pictures import PixelFiles, Prepared, read_all, write_shards

BATCH = 64


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--root", type=Path)
    options.add_argument("--n", type=int, default=512)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(given.root, given.n, Path(folder))
        rows = [*time_input(paths, Path(folder)), *time_steps(paths)]
    print(pd.DataFrame(rows, columns=["what", "faces a second"]).to_string(index=False))


def pictures(root: Path | None, n: int, folder: Path) -> list[Path]:
    """Paths of n pictures: those under `root`, or n made ones of 200 x 200."""
    if root is not None:
        return [root / name for name in list_pictures(root, Reasons())[:n]]
    rng = np.random.default_rng(0)
    for i in range(n):
        rough = rng.integers(0, 256, (25, 25, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(rough, (200, 200), interpolation=cv2.INTER_CUBIC))
    return [folder / f"{i}.jpg" for i in range(n)]


def time_input(paths: list[Path], folder: Path) -> list[tuple[str, float]]:
    """Faces a second from files, from shards, from an array, and through augmentation (64 x 64)."""
    files = PixelFiles(paths, backbones.load("mini_xception").preprocessing)
    array, _ = read_all(files, progress=False)
    shards = write_shards(files, folder / "shards", progress=False)
    sources = {"files": files, "shards": shards, "array": array}
    speeds = [
        (f"input from {name}", _speed(Prepared(source), len(paths))) for name, source in sources.items()
    ]
    drawn_all = augment.draw(augment.Augmentation(), np.arange(len(paths)), seed=0, epoch=0)
    seconds = _seconds(lambda: augment.apply(array.pixels, drawn_all))
    return [*speeds, ("augmentation", len(paths) / seconds)]


@dataclass
class _OneBatch:
    """An epoch of one batch, as `loop.Learner.train_epoch` reads it."""

    batch: loop.Batch

    def train(self, epoch: int):
        yield self.batch


def time_steps(paths: list[Path]) -> list[tuple[str, float]]:
    """Faces a second in training steps: mini-Xception whole, the embedded default's last two blocks."""
    speeds = []
    for name, freeze in (("mini_xception", None), ("faceres_deep", "conv_pw_11_relu")):
        backbone = backbones.load(name)
        network = cutting.assemble(backbone, [Head(Task("gender", classes=("male", "female")))])
        array, _ = read_all(PixelFiles(paths[:BATCH], backbone.preprocessing), progress=False)
        learner = fine_tune.make_learner(network, fine_tune.Settings(freeze=freeze))
        x = tf.constant(Prepared(array)[np.arange(len(array))])
        target, mask = tf.constant(np.eye(2, dtype=np.float32)[np.arange(len(x)) % 2]), tf.ones(len(x))
        rows = _OneBatch(loop.Batch(x, {"gender": (target, mask)}))
        learner.train_epoch(rows, 0, 1e-4)
        speeds.append(
            (
                f"training {name}" + (f", frozen up to {freeze}" if freeze else ""),
                len(x) / _seconds(lambda learner=learner, rows=rows: learner.train_epoch(rows, 0, 1e-4)),
            )
        )
    return speeds


def _speed(prepared: Prepared, n: int) -> float:
    batches = np.array_split(np.random.default_rng(0).permutation(n), max(1, n // BATCH))
    return n / _seconds(lambda: [prepared[rows] for rows in batches])


def _seconds(action, *, repeats: int = 3) -> float:
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


if __name__ == "__main__":
    main()

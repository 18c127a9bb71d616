"""Killed in the middle of an epoch and started again: the weights of an uninterrupted run, bit by bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

# Augmentation, dropout, batch norm, a thawing part and a decay: all that could differ after a restart.
PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from faceworkbook import tasks
from faceworkbook.models.multitask import make_head
from faceworkbook.training import cutting, fine_tune
from faceworkbook.training.augment import Augmentation
from faceworkbook.training.pictures import PixelArray
from tests.training import toy_network as toy

folder, out, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])


class Slow(PixelArray):
    def take(self, rows):
        time.sleep(seconds)
        return super().take(rows)


fine_tune.make_reproducible(3)
pixels, codes = toy.pictures(48)
target = tasks.labels_of_classes(np.where(codes, "above", "below"), name="light")
parts = toy.Parts(np.arange(36), np.arange(36, 48))
network = cutting.assemble(toy.backbone(), [make_head(target, rows=parts.train)], hidden=(8,), dropout=0.5)
settings = fine_tune.Settings(
    epochs=4, batch_size=6, decay=fine_tune.Cosine(4), unfreeze=((0, "conv_1_relu"), (2, None)),
    rates={"trunk": 0.5}, augmentation=Augmentation(), label_smoothing=0.1, seed=3,
)
source = Slow(pixels, toy.PREPROCESSING)
fitted = fine_tune.fit(
    network, source, {"light": target}, split=parts, settings=settings, folder=folder, progress=False
)
np.savez(out, *network.net.model.get_weights())
fitted.history.to_csv(Path(out).with_suffix(".csv"), index=False)
"""
REPO = Path(__file__).resolve().parents[2]


def start(folder: Path, out: Path, *, seconds: float) -> subprocess.Popen:
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": f"{REPO / 'lib'}{os.pathsep}{REPO}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-c", PROGRAM, str(folder), str(out), str(seconds)]
    return subprocess.Popen(command, env=environment, cwd=REPO)


def finish(folder: Path, out: Path) -> None:
    assert start(folder, out, seconds=0).wait(timeout=300) == 0


def epochs_done(folder: Path) -> int:
    try:
        return len((folder / "history.csv").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0


def kill_in_epoch(number: int, folder: Path) -> None:
    """Start a slow run and kill it after epoch `number` has been written, in the middle of the next."""
    running = start(folder, folder.with_suffix(".npz"), seconds=0.15)
    deadline = time.monotonic() + 240
    while epochs_done(folder) < number:
        assert running.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run did not get far enough to be killed"
        time.sleep(0.02)
    time.sleep(0.3)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole, tmp_path / "whole.npz")
    kill_in_epoch(2, killed)
    assert epochs_done(killed) < 4
    finish(killed, tmp_path / "killed.npz")
    with np.load(tmp_path / "whole.npz") as expected, np.load(tmp_path / "killed.npz") as found:
        assert expected.files == found.files
        for name in expected.files:
            np.testing.assert_array_equal(found[name], expected[name])
    assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()

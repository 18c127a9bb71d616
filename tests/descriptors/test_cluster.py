"""Extraction on a local Ray: the same store as on one machine, resumed after kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from faceworkbook import descriptors
from faceworkbook.descriptors import cluster
from tests.descriptors.test_store import MeanColour, expected, make_pictures, run, table

pytest.importorskip("ray", reason="the extra [ray] is not installed")
pytestmark = pytest.mark.xdist_group("ray")

SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {repo!r})
from pathlib import Path
from types import SimpleNamespace
import ray
from tests.descriptors.test_store import MeanColour, run
class Logged(MeanColour):
    def __init__(self, log):
        super().__init__()
        self.log = log
    def run(self, pixels):
        vectors = super().run(pixels)
        faces, before = [str(int(v[2])) for v in vectors], open(self.log).read().split()
        with open(self.log, "a") as log:
            log.writelines(f"{{face}}\\n" for face in faces)
        if {fatal!r} in set(faces) - set(before):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        return vectors
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
run(Path({pictures!r}), Path({out!r}), Logged({log!r}), cluster="ray", batch_size=3)
"""


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    make_pictures(folder, 30)
    return folder


def start(pictures, tmp_path, log, *, fatal=None):
    """Extract on Ray in a process of its own; the actor that first computes the face `fatal` is killed."""
    values = {
        "fatal": fatal,
        "repo": str(Path(__file__).parents[2]),
        "pictures": str(pictures),
        "out": str(tmp_path),
        "log": str(log),
    }
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT.format(**values))], stderr=subprocess.DEVNULL
    )


def test_killed_on_ray_and_gone_on_gives_the_store_of_one_machine(pictures, tmp_path):
    (pictures / "00004.png").write_text("not a picture")
    straight = run(pictures, tmp_path / "straight")
    log = tmp_path / "computed.txt"
    log.touch()
    process = start(pictures, tmp_path, log)
    deadline = time.monotonic() + 300
    while len(log.read_text().split()) < 6 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Ray gives up where a busy machine takes more than 30 s to start it; another start goes on from there.
    assert any(start(pictures, tmp_path, log).wait(timeout=400) == 0 for _ in range(3))
    found = descriptors.open_store(tmp_path / "store")
    assert np.array_equal(found.matrix, straight.matrix)
    for name in ("descriptors.npy", "index.parquet", "unreadable.parquet"):
        assert (tmp_path / "store" / name).read_bytes() == (
            tmp_path / "straight" / "store" / name
        ).read_bytes()
    assert max(Counter(log.read_text().split()).values()) <= 2
    keep = table(pictures)["image"] != "00004.png"
    assert np.array_equal(found.matrix, expected(table(pictures))[keep])


def test_what_a_killed_actor_had_begun_comes_last(pictures, tmp_path):
    log = tmp_path / "computed.txt"
    log.touch()
    assert start(pictures, tmp_path, log, fatal="2").wait(timeout=400) == 0
    found = descriptors.open_store(tmp_path / "store")
    assert np.array_equal(found.matrix, expected(table(pictures)))
    computed = log.read_text().split()
    assert computed[-3:] == ["0", "1", "2"]
    assert Counter(computed) == Counter([*map(str, range(30)), "0", "1", "2"])


def test_unknown_cluster_is_refused(pictures, tmp_path):
    with pytest.raises(descriptors.StoreError, match="allowed are None and 'ray'"):
        run(pictures, tmp_path, MeanColour(), cluster="dask")


@pytest.fixture
def passes(monkeypatch, tmp_path):
    """``passes([rows], ...)`` runs over five faces, each pass finishing the rows that are named."""

    def run_over(*finished):
        rows, asked = iter(finished), []

        def computed(ray, plan, todo, *_, **__):
            asked.append(todo.tolist())
            done = np.array(next(rows), np.int64)
            return [{"row": done, "engine": np.repeat("x", len(done))}]

        monkeypatch.setattr(cluster, "_computed", computed)
        plan = pd.DataFrame({"image": [f"{i}.png" for i in range(5)]})
        work = SimpleNamespace(plan=plan, folder=tmp_path, path=tmp_path)
        ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 2})
        cluster._run(ray, work, np.arange(5), None, tmp_path, {}, 2, False)
        return asked

    return run_over


def test_what_was_put_off_is_computed_in_another_pass(passes):
    assert passes([0, 1, 4], [], [3, 2]) == [[0, 1, 2, 3, 4], [2, 3], [2, 3]]


def test_a_picture_that_kills_every_actor_is_named(passes):
    with pytest.raises(descriptors.StoreError, match=r"1 faces were begun 2 times.*3\.png"):
        passes([0, 1, 2, 4], [], [])

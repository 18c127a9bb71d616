"""What is spread over Ray, on one Ray that this file starts: extraction, the trials of a search, points of a sweep.

All of it waits for states: how long Ray takes to start, or an actor to come back, is no matter. What does not need
Ray itself is tested where it belongs, beside its room.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from faceworkbook import cli, descriptors, ray_cluster, tasks
from faceworkbook.reports import finished
from tests.backbones.test_own_onnx import weights
from tests.conftest import REPO
from tests.descriptors.test_first_check import check_figures_are_kept
from tests.descriptors.test_store import expected, pictures, run, table
from tests.reports import sweep_toys
from tests.reports.test_sweeps import home

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
__all__ = ["home", "pictures", "weights"]

STARTS, PATIENCE = 4, 900  # of a driver that Ray gave up; seconds
SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {repo!r})
from pathlib import Path
from tests.descriptors.test_store import MeanColour, run
class Logged(MeanColour):
    def run(self, pixels):
        vectors = super().run(pixels)
        faces, before = [str(int(v[2])) for v in vectors], open({log!r}).read().split()
        with open({log!r}, "a") as log:
            log.writelines(f"{{face}}\\n" for face in faces)
        if {fatal!r} in set(faces) - set(before):
            os.kill(os.getpid(), signal.SIGKILL)
        while {held} and len(before) + len(faces) >= {held} and os.getppid() != 1:
            time.sleep(0.05)
        return vectors
run(Path({pictures!r}), Path({out!r}), Logged(), cluster="ray", batch_size=3)
"""


@pytest.fixture(scope="module")
def address():
    """The address of two cores of Ray, which this process is connected to."""
    with pytest.MonkeyPatch.context() as patch:
        # Ray's processes give way to all others, and would stand nearly still on a machine with other work.
        patch.setenv("RAY_worker_niceness", "0")
        ray_cluster.start(ray, num_cpus=2)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


# --------------------------------------------------------------------------- extraction


@pytest.fixture
def start(address, pictures, tmp_path):
    """``start(fatal=None, held=0)``: extract in a process of its own, which connects to the cluster.

    The actor that first computes the face `fatal` is killed; actors stand still once `held` faces are computed.
    """
    log = tmp_path / "computed.txt"
    log.touch()
    places = {"repo": str(REPO), "pictures": str(pictures), "out": str(tmp_path), "log": str(log)}

    def started(*, fatal=None, held=0):
        script = textwrap.dedent(SCRIPT.format(**places, fatal=fatal, held=held))
        environment = {**os.environ, "RAY_ADDRESS": address}
        return subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)

    return started


def kill_once_computed(start, log: Path, n: int) -> None:
    """Run until `n` faces are computed, then kill the driver."""
    for _ in range(STARTS):
        process, deadline = start(held=n), time.monotonic() + PATIENCE
        while len(log.read_text().split()) < n and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if len(log.read_text().split()) >= n:
            return
    pytest.fail(f"Ray did not compute {n} faces in {STARTS} starts")


def test_driver_and_actor_killed_and_gone_on_give_the_store_of_one_machine(start, pictures, tmp_path):
    (pictures / "00004.png").write_text("not a picture")
    straight = run(pictures, tmp_path / "straight")
    log, store = tmp_path / "computed.txt", tmp_path / "store"
    kill_once_computed(start, log, 9)
    lines = [path.read_text() for path in (store / "journal").glob("journal-*.tsv")]
    kept = {
        line.split("\t")[0] for text in lines for line in text.splitlines(keepends=True) if line[-1] == "\n"
    }
    before = len(log.read_text().split())
    assert len(kept) >= 3
    assert any(start(fatal="20").wait(timeout=PATIENCE) == 0 for _ in range(STARTS))
    after = Counter(log.read_text().split()[before:])
    assert not kept & set(after)
    assert after["20"] >= 2
    assert np.array_equal(descriptors.open_store(store).matrix, straight.matrix)
    for name in ("descriptors.npy", "index.parquet", "unreadable.parquet"):
        assert (store / name).read_bytes() == (tmp_path / "straight" / "store" / name).read_bytes()
    keep = table(pictures)["image"] != "00004.png"
    assert np.array_equal(straight.matrix, expected(table(pictures))[keep])


def test_a_network_of_ones_own_is_checked_before_it_is_spread(address, weights, tmp_path):
    check_figures_are_kept(weights, tmp_path, cluster="ray")


# --------------------------------------------------------------------------- searches and sweeps


@pytest.mark.tensorflow
def test_trials_of_a_search_are_tasks_of_a_cluster(address, tmp_path):
    pytest.importorskip("optuna", reason="the extra [search] is not installed")
    from faceworkbook.training.search import Plan, search
    from faceworkbook.training.spaces import Range

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 120)
    x = (rng.normal(0, 3, (120, 6)) + codes[:, None]).astype(np.float32)
    labels = tasks.labels_of_classes(np.array(["a", "b"])[codes], name="letter")
    split = SimpleNamespace(train=np.arange(70), validation=np.arange(70, 100), test=np.arange(100, 120))
    space = {"strength": Range(1e-3, 1.0, log=True)}
    plan = Plan(n_trials=2, at_once=2, cluster="ray")
    result = search("linear", x, labels, split, space=space, plan=plan, folder=tmp_path)
    own = search("linear", x, labels, split, space=space, plan=replace(plan, cluster=""))
    pd.testing.assert_frame_equal(result.table, own.table, rtol=1e-4)


STEPS = ("01_faces", "02_descriptors", "03_classifier")
TOGETHER = 60  # seconds
EXTRACTS = """
import sys
sys.path.insert(0, {repo!r})
from tests.descriptors.test_store import run, table
marks = folder.parent.parent
(marks / ("begun " + ("local" if out.endswith("alone") else "ray"))).touch()
until = time.monotonic() + {together}  # one that waits for another's step does not get here until that has ended
while len(list(marks.glob("begun *"))) < 2 and time.monotonic() < until:
    time.sleep(0.02)
pictures = project.resolve("pictures")
run(pictures, project.root(), face_table=table(pictures)[10:] if net == "c" else table(pictures)[:20], batch_size=1)
"""


@pytest.fixture
def extracting(home, pictures):
    """The project of toys; its second step fills a store with 20 of 30 faces, once both kinds of run are there."""
    path = home / "notebooks" / "02_descriptors.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].source += EXTRACTS.format(repo=str(REPO), together=TOGETHER)
    nbformat.write(notebook, path)
    return home


@pytest.mark.notebooks
def test_points_of_a_sweep_are_tasks_of_a_cluster_beside_a_run_of_this_machine(
    address, extracting, pictures, capsys
):
    """One results folder and one store of descriptors; each step that they agree in runs once."""
    alone = [sys.executable, "-m", "faceworkbook.cli", "run", "toy", "--name", "alone", "-p", "net=c"]
    with subprocess.Popen(alone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as beside:
        assert cli.main(["run", "toy", "--set", "seed=0,1", "--cluster", "ray", "--jobs", "2"]) == 0
        _, complaints = beside.communicate()
    assert beside.returncode == 0, complaints
    assert "All 2 points are finished" in capsys.readouterr().out
    assert sorted(sweep_toys.ran(extracting)) == [
        *("01_faces 0", "02_descriptors a", "02_descriptors c"),
        *("03_classifier 0 a 0.4", "03_classifier 0 c 0.4", "03_classifier 1 a 0.4"),
    ]

    results, runs = extracting / "results", ["alone", "toy.seed-0", "toy.seed-1"]
    index = BeautifulSoup((results / "index.html").read_text(), "html.parser")
    rows = index.find("table", class_="runs").tbody.find_all("tr")
    assert sorted(row.th.text for row in rows) == runs
    for place in (results / name / step for name in runs for step in STEPS):
        assert finished.is_finished(place, json.loads((place / finished.DONE).read_text())["fingerprint"])
    stored, faces = descriptors.open_store(extracting / "store"), table(pictures)
    assert sorted(stored.face_id) == sorted(faces["face_id"])
    straight = run(pictures, extracting / "straight")
    assert np.array_equal(descriptors.select(extracting / "store", straight.face_id).matrix, straight.matrix)
    assert not (extracting / "store" / "journal").exists()

"""Extraction on a cluster, without Ray: who computes which block, which come last, and when a pass gives up.

``tests/test_on_ray.py`` runs Ray itself.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from faceworkbook import descriptors
from faceworkbook.descriptors import ExtractionOptions, cluster, journal
from tests.descriptors.test_store import BACKBONE, MeanColour, pictures, run, table

__all__ = ["pictures"]


@pytest.fixture
def begun(pictures, tmp_path):
    """A journal in which a killed actor has begun the first three faces, and blocks of three faces."""
    plan = journal.plain(table(pictures))
    partial = journal.Journal(tmp_path / "store", plan, {}, BACKBONE.dim)
    journal.JournalWriter(partial.path).begin(np.arange(3))
    blocks = [plan.iloc[i : i + 3].astype({"image": str}).assign(row=np.arange(i, i + 3)) for i in (0, 3)]
    return partial, [{name: block[name].to_numpy() for name in block} for block in blocks]


def test_what_a_killed_actor_had_begun_in_this_pass_is_left_to_the_next(pictures, begun):
    partial, (first, second) = begun
    actor = cluster.Actor(BACKBONE, str(pictures), str(partial.path), 0, runner=MeanColour())
    assert actor(first)["row"].tolist() == []
    assert actor(second)["row"].tolist() == [3, 4, 5]
    next_pass = cluster.Actor(BACKBONE, str(pictures), str(partial.path), time.time_ns(), runner=MeanColour())
    assert next_pass(first)["row"].tolist() == [0, 1, 2]
    assert np.flatnonzero(partial.read_entries().done).tolist() == [0, 1, 2, 3, 4, 5]


def test_unknown_cluster_is_refused(pictures, tmp_path):
    with pytest.raises(descriptors.StoreError, match="allowed are None and 'ray'"):
        run(pictures, tmp_path, MeanColour(), cluster="dask")


@pytest.fixture
def passes(monkeypatch, tmp_path):
    """``passes([rows], ...)`` runs over five faces, each pass finishing the rows that are named."""

    def run_over(*finished):
        rows, asked = iter(finished), []

        def computed(ray, job, partial, todo, *_):
            asked.append(todo.tolist())
            done = np.array(next(rows), np.int64)
            return [{"row": done, "engine": np.repeat("x", len(done))}]

        monkeypatch.setattr(cluster, "_computed", computed)
        plan = pd.DataFrame({"image": [f"{i}.png" for i in range(5)]})
        partial = SimpleNamespace(plan=plan, folder=tmp_path, path=tmp_path)
        ray = SimpleNamespace(nodes=lambda: [{"Resources": {"CPU": 2.0}, "Alive": True}])
        job = SimpleNamespace(options=ExtractionOptions(progress=False), root=tmp_path, backbone=None)
        cluster._run(ray, job, partial, np.arange(5), None)
        return asked

    return run_over


def test_what_was_put_off_is_computed_in_another_pass(passes):
    assert passes([0, 1, 4], [], [3, 2]) == [[0, 1, 2, 3, 4], [2, 3], [2, 3]]


def test_a_picture_that_kills_every_actor_is_named(passes):
    with pytest.raises(descriptors.StoreError, match=r"1 faces were begun 2 times.*3\.png"):
        passes([0, 1, 2, 4], [], [])


@pytest.mark.parametrize(
    ("nodes", "engine", "precision", "expected"),
    [
        ([{"CPU": 8}], "auto", "float32", [(8, 1, 0)]),
        ([{}], "auto", "float32", [(1, 1, 0)]),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 12}], "auto", "float32", [(2, 8, 1), (12, 1, 0)]),
        ([{"CPU": 64, "GPU": 1}], "gpu", "tf32", [(1, 16, 1)]),
        ([{"CPU": 1, "GPU": 4}, {"CPU": 12}], "auto", "float16", [(4, 1, 1)]),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 12}], "winograd", "float32", [(28, 1, 0)]),
        ([{"CPU": 16, "GPU": 2}], "auto", "int8", [(16, 1, 0)]),
    ],
)
def test_one_actor_a_gpu_and_engines_of_the_cpu_on_other_machines(nodes, engine, precision, expected):
    """No actor asked for a GPU, and all of them would have opened the same."""
    pools = cluster.plan_pools(nodes, engine, precision)
    assert [pool[:3] for pool in pools] == expected
    for pool in pools:
        assert pool.options["num_gpus"] == pool.gpus and pool.options["num_cpus"] == pool.cores
        assert ("runtime_env" in pool.options) == (pool.gpus == 0 and any("GPU" in node for node in nodes))


@pytest.mark.parametrize(("engine", "precision"), [("gpu", "float32"), ("auto", "tf32")])
def test_a_cluster_without_a_gpu_refuses_what_needs_one(engine, precision):
    with pytest.raises(descriptors.StoreError, match="no machine of the Ray cluster has one"):
        cluster.plan_pools([{"CPU": 8}], engine, precision)


class FakeRay:
    """Runs actors in this process; those of a GPU are done sooner than those of a core."""

    class exceptions:
        class RayActorError(Exception):
            pass

    def __init__(self, dying=(), room=9):
        self.started, self.killed, self.dying, self.room = [], [], set(dying), room

    def remote(self, kind):
        ray = self

        class Remote:
            def options(self, **options):
                self.asked = options
                return self

            def remote(self, *args, **given):
                ray.started.append((self.asked, given))
                actor, wait = kind(*args, **given), 1 if self.asked["num_gpus"] else 5
                late = len(ray.started) > ray.room
                return SimpleNamespace(
                    ready=SimpleNamespace(remote=lambda: Task(1e9 if late else 0, actor, None)),
                    compute=SimpleNamespace(remote=lambda block: Task(wait, actor, block)),
                )

        return Remote()

    def wait(self, tasks, *, num_returns):
        soonest = min(tasks, key=lambda task: task.left)
        for task in tasks:
            task.left -= soonest.left
        return [soonest], [task for task in tasks if task is not soonest]

    def get(self, task):
        if task.block is None:
            return task.actor.ready()
        if self.dying & set(task.block["row"].tolist()):
            self.dying -= set(task.block["row"].tolist())
            raise self.exceptions.RayActorError
        return task.actor.compute(task.block)

    def kill(self, actor):
        self.killed.append(actor)


class Task:
    def __init__(self, left, actor, block):
        self.left, self.actor, self.block = left, actor, block


def extraction_of(pictures, tmp_path):
    """Thirty faces, described by their mean colour in blocks of three."""
    plan = journal.plain(table(pictures))
    partial = journal.Journal(tmp_path / "store", plan, {}, BACKBONE.dim)
    options = ExtractionOptions(engine=MeanColour(), batch_size=3, progress=False)
    return SimpleNamespace(options=options, root=pictures, backbone=BACKBONE, points=lambda n: None), partial


def test_blocks_go_to_whoever_is_idle_and_a_dead_actors_one_to_the_next_pass(pictures, tmp_path):
    job, partial = extraction_of(pictures, tmp_path)
    ray = FakeRay(dying=[4])
    pools = [cluster.Pool(1, 4, 1, "auto"), cluster.Pool(2, 1, 0, "auto")]
    blocks = [b["row"].tolist() for b in cluster._computed(ray, job, partial, np.arange(30), pools, None)]
    assert sorted(row for block in blocks for row in block) == [*range(3), *range(6, 30)]
    assert [(asked["num_gpus"], given["readers"]) for asked, given in ray.started] == [(1, 4), (0, 1), (0, 1)]
    assert len(ray.killed) == 3 and all(len(block) == 3 for block in blocks)
    assert np.flatnonzero(partial.read_entries().done).tolist() == [*range(3), *range(6, 30)]


def test_actors_that_the_cluster_has_no_room_for_get_no_block(pictures, tmp_path):
    job, partial = extraction_of(pictures, tmp_path)
    ray, pools = FakeRay(room=1), [cluster.Pool(3, 1, 0, "auto")]
    rows = np.concatenate(
        [b["row"] for b in cluster._computed(ray, job, partial, np.arange(30), pools, None)]
    )
    assert rows.tolist() == [*range(30)] and len(ray.killed) == 3


def test_a_picture_that_kills_the_only_actor_comes_last(pictures, tmp_path):
    job, partial = extraction_of(pictures, tmp_path)
    ray = FakeRay(dying=[1])
    ray.nodes = lambda: [{"Resources": {"CPU": 1.0}}]
    partial.writer.begin(np.arange(3))
    assert cluster._begun_last(np.arange(5), partial).tolist() == [3, 4, 0, 1, 2]
    settings = cluster._run(ray, job, partial, np.arange(30), None)
    assert settings["actors"] == 1 and len(ray.started) == 2
    assert partial.read_entries().done.all()

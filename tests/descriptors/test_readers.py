"""Pictures read by processes of their own: the same pixels, the same reasons, and a process that is killed."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from faceworkbook import descriptors
from faceworkbook.descriptors import StoreError, batches, readers
from faceworkbook.descriptors.store import BOX
from tests.descriptors.test_store import BACKBONE, MeanColour, build_table, expected, make_pictures

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory is shared by memfd_create")


class OnCard(MeanColour):
    """Computes on the processor what it says a GPU computes."""

    settings = {"name": "mean", "card": "a GPU"}  # noqa: RUF012 (never changed)


@pytest.fixture
def pictures(tmp_path):
    """Thirty pictures, of which one is torn and one is missing."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    make_pictures(folder, 30)
    names = tuple(sorted(path.name for path in folder.iterdir()))
    torn = folder / names[7]
    torn.write_bytes(torn.read_bytes()[:40])
    (folder / names[11]).unlink()
    return folder, names


@pytest.fixture
def started(monkeypatch):
    """The processes that are started: two, however few the faces are."""
    monkeypatch.setattr(readers, "FEWEST", 1)
    monkeypatch.setattr(readers, "count_cores", lambda: 4)
    processes, popen = [], subprocess.Popen

    def start(*given, **options):
        processes.append(popen(*given, **options))
        return processes[-1]

    monkeypatch.setattr(readers.subprocess, "Popen", start)
    return processes


def extract(pictures, store, runner, **options):
    folder, names = pictures
    options = {
        "root": folder,
        "store": store,
        "engine": runner,
        "progress": False,
        "batch_size": 4,
        **options,
    }
    return descriptors.extract(build_table(names), BACKBONE, **options)


def test_they_read_what_threads_read_and_end_with_the_work(pictures, started, tmp_path, folder_of_namesakes):
    apart, here = (extract(pictures, tmp_path / type(r).__name__, r) for r in (OnCard(), MeanColour()))
    assert [process.returncode for process in started] == [0, 0]
    np.testing.assert_array_equal(apart.matrix, here.matrix)
    assert apart.face_id.tolist() == here.face_id.tolist() and len(apart.matrix) == 28
    left = apart.left_out.set_index("image")["detail"]
    assert left.to_dict() == here.left_out.set_index("image")["detail"].to_dict()
    assert set(left.index) == {pictures[1][7], pictures[1][11]}


def test_a_gpu_is_given_the_next_batch_while_one_is_computed_and_each_keeps_its_pixels(
    pictures, started, tmp_path
):
    class Meets(OnCard):
        def run(self, pixels):
            before = pixels.copy()
            both.wait(timeout=60)
            np.testing.assert_array_equal(pixels, before)
            return super().run(pixels)

    both = threading.Barrier(2)
    result = extract(pictures, tmp_path / "met", Meets(), batch_size=1)
    np.testing.assert_array_equal(
        result.matrix, extract(pictures, tmp_path / "alone", MeanColour(), batch_size=1).matrix
    )


def test_boxes_and_points_travel(pictures, started):
    folder, names = pictures
    names = [name for i, name in enumerate(names) if i not in (7, 11)]
    rng = np.random.default_rng(0)
    plan = pd.DataFrame({"face_id": names, "image": names, **dict.fromkeys(BOX, np.nan)})
    plan.loc[::2, BOX] = [1.0, 2.0, 9.5, 8.0]
    points = np.where(np.arange(len(names))[:, None, None] % 3, rng.uniform(2, 8, (len(names), 5, 2)), np.nan)
    preprocessing = replace(BACKBONE.preprocessing, align="five_points", size=(112, 112))
    given = {"batch_size": 5, "points": points}
    here = [batch.pixels for batch in batches.read_batches(plan, folder, preprocessing, **given)]
    apart = []
    for batch in batches.read_batches(plan, folder, preprocessing, **given, processes=2):
        apart.append(batch.pixels.copy())
        batch.release()
    np.testing.assert_array_equal(np.concatenate(apart), np.concatenate(here))


def test_a_process_that_is_killed_is_named_and_what_was_computed_is_kept(pictures, started, tmp_path):
    class Kills(OnCard):
        def run(self, pixels):
            if self.seen.total() >= 8:
                for process in started:
                    process.kill()
            return super().run(pixels)

    kills, again = Kills(), MeanColour()
    killed = r"a process that reads pictures was ended by SIGKILL while it read \d+\.png to \d+\.png; what was computed"
    with pytest.raises(StoreError, match=killed):
        extract(pictures, tmp_path / "store", kills, batch_size=1)
    result = extract(pictures, tmp_path / "store", again)
    assert kills.seen.total() >= 8 and again.seen.total() == 28 - kills.seen.total()
    numbers = pd.DataFrame({"image": [name for i, name in enumerate(pictures[1]) if i not in (7, 11)]})
    np.testing.assert_array_equal(result.matrix, expected(numbers))


def test_why_a_process_fails_is_in_the_error(pictures, started, tmp_path, monkeypatch):
    monkeypatch.setattr(readers.Preprocessing, "to_dict", lambda self: {"size": [0]})
    with pytest.raises(StoreError, match=r"ended with status 1 while it read 00000.png to .*TypeError"):
        list(
            batches.read_batches(
                build_table(pictures[1]), pictures[0], BACKBONE.preprocessing, batch_size=4, processes=1
            )
        )


def test_a_loop_that_ends_early_ends_the_processes(pictures, started):
    read = batches.read_batches(
        build_table(pictures[1]), pictures[0], BACKBONE.preprocessing, batch_size=1, processes=2
    )
    next(read)
    read.close()
    assert [process.returncode for process in started] == [0, 0]


@pytest.mark.parametrize(
    ("settings", "n", "cores", "expected"),
    [
        ({"card": "H100"}, 100_000, 16, 14),
        ({"card": "H100"}, 100_000, 6, 4),
        ({"card": "H100"}, 100_000, 2, 0),
        ({"card": "H100"}, 100, 16, 0),
        ({"card": ""}, 100_000, 16, 0),
        ({}, 100_000, 16, 0),
    ],
)
def test_a_gpu_alone_is_worth_them_and_many_faces(monkeypatch, settings, n, cores, expected):
    monkeypatch.setattr(readers, "count_cores", lambda: cores)
    runner = OnCard()
    runner.settings = settings
    assert readers.count(runner, n) == expected

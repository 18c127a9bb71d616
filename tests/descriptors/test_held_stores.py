"""Stores whose holder stands still, hangs up or is gone, odd names and clocks: nobody computes wrongly, nobody waits for ever."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from filelock import FileLock, Timeout

from faceworkbook import descriptors
from tests.conftest import REPO
from tests.descriptors.test_store import MeanColour, expected, make_pictures, run, table

HOLDER = """
import signal, sys, time
from pathlib import Path
from tests.descriptors.test_store import MeanColour, run

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by children too

class Slow(MeanColour):
    def run(self, pixels):
        print("computing", flush=True)
        time.sleep(float(sys.argv[2]))
        return super().run(pixels)

run(Path(sys.argv[1]) / "pictures", Path(sys.argv[1]), Slow())
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    make_pictures(tmp_path / "pictures", 12)
    return tmp_path / "pictures"


@pytest.fixture
def holder(pictures, tmp_path):
    """A process that holds the store and has begun to compute; it takes minutes, were it left alone."""
    environment = {**os.environ, "PYTHONPATH": f"{REPO / 'lib'}{os.pathsep}{REPO}"}
    command = [sys.executable, "-c", HOLDER, str(tmp_path), "60"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=REPO, env=environment, **pipes) as process:
        assert process.stdout.readline() == b"computing\n"
        yield process
        process.kill()


def is_held(store) -> bool:
    locks = [path for path in store.iterdir() if path.name.endswith(".lock")]
    assert locks
    try:
        for path in locks:
            FileLock(path, timeout=0).acquire().lock.release()
    except Timeout:
        return True
    return False


def test_a_store_whose_holder_stands_still_is_not_taken_from_it_and_is_free_when_it_is_gone(
    holder, pictures, tmp_path
):
    holder.send_signal(signal.SIGSTOP)
    assert is_held(tmp_path / "store")
    holder.kill()
    holder.wait()
    store = run(pictures, tmp_path)
    np.testing.assert_array_equal(store.matrix, expected(table(pictures)))


def test_a_terminal_that_hangs_up_leaves_a_store_that_is_gone_on_with(holder, pictures, tmp_path):
    holder.send_signal(signal.SIGHUP)
    assert holder.wait() == -signal.SIGHUP
    store = run(pictures, tmp_path)
    np.testing.assert_array_equal(store.matrix, expected(table(pictures)))


@pytest.mark.parametrize("name", ["two\nlines", "tab\tand 'quote'", "{brace}", "%s", "-rf", "ü\u202e"])
def test_odd_names_of_folders(tmp_path, name):
    place = tmp_path / name
    (place / "pictures").mkdir(parents=True)
    make_pictures(place / "pictures", 3)
    store = run(place / "pictures", place)
    np.testing.assert_array_equal(store.matrix, expected(table(place / "pictures")))
    assert len(descriptors.open_store(place / "store")) == 3


def test_a_clock_that_was_set_back_hides_no_change(pictures, tmp_path):
    """A picture that is replaced by an older file, as after a clock was set back, is computed anew."""
    run(pictures, tmp_path)
    first, last = pictures / "00000.png", pictures / "00011.png"
    shutil.copy(last, first)
    past = time.time() - 10**7
    os.utime(first, (past, past))
    again = MeanColour()
    store = run(pictures, tmp_path, again)
    assert sum(again.seen.values()) == 1
    np.testing.assert_array_equal(store.matrix[0], store.matrix[11])


def test_folders_that_lead_into_each_other_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    make_pictures(tmp_path / "a", 2)
    from faceworkbook.serving import inputs

    names = [photo.name for photo in inputs.list_photos(str(tmp_path))]
    assert [name.rpartition("/")[2] for name in names] == ["00000.png", "00001.png"]


def counting(real, calls: list):
    def counted(*args, **kwargs):
        calls.append(real.__name__)
        return real(*args, **kwargs)

    return counted


def test_folders_of_many_files_are_looked_through_once(tmp_path, monkeypatch):
    """The number of looks at files grows as their number does."""
    from faceworkbook.serving import inputs

    looked = []
    for n in (200, 400):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i in range(n):
            (folder / f"{i}.png").write_bytes(b"")
        calls: list[str] = []
        with monkeypatch.context() as patched:
            for name in ("stat", "lstat", "scandir"):
                patched.setattr(os, name, counting(getattr(os, name), calls))
            assert sum(1 for _ in inputs.list_photos(str(folder))) == n
        looked.append(len(calls))
    assert looked[1] <= 2 * looked[0] + 20


def test_two_extractions_and_a_reader_share_one_store(pictures, tmp_path, capsys):
    """Whoever comes second waits and says so; a reader sees one whole store after the other."""
    faces = table(pictures)
    windows = [[faces.iloc[first + k : first + k + 6] for k in range(4)] for first in (0, 3)]
    run(pictures, tmp_path, face_table=faces[:2])

    def extract(windows):
        for window in windows:
            store = run(pictures, tmp_path, face_table=window)
            np.testing.assert_array_equal(store.matrix, expected(window))

    with ThreadPoolExecutor(2) as executor:
        writers, generations = [executor.submit(extract, each) for each in windows], [0]
        while not all(writer.done() for writer in writers):
            store = descriptors.open_store(tmp_path / "store")
            known = faces.set_index("face_id").loc[store.face_id]
            np.testing.assert_array_equal(store.matrix, expected(known))
            generations.append(store.generation)
        for writer in writers:
            writer.result()
    assert generations == sorted(generations)
    assert len(descriptors.open_store(tmp_path / "store")) == 12
    lines = set(capsys.readouterr().out.splitlines())
    assert lines <= {f"{tmp_path / 'store'}: another process fills this store; waiting"}

"""Properties of the store: torn writes, several writers, and whatever is changed between two runs."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from faceworkbook import chunks, descriptors, faces
from faceworkbook.descriptors import handover, journal
from faceworkbook.descriptors import store as stores
from tests.descriptors.test_store import BACKBONE, MeanColour, expected, make_pictures, run, table

DIM = 3


def plan_of(n: int) -> pd.DataFrame:
    names = [f"f{i}" for i in range(n)]
    return pd.DataFrame({"face_id": names, "image": names, **dict.fromkeys(stores.BOX, np.nan)})


def vectors_of(rows) -> np.ndarray:
    return np.stack([rows, np.square(rows), np.full(len(rows), 7)], axis=1).astype(np.float32)


def stamps_of(rows) -> list[chunks.Stamp]:
    return [chunks.Stamp(f"{r:032x}", r, r, r) for r in rows]


def batches_of(order, sizes):
    ends = np.cumsum(sizes)
    return [batch for batch in np.split(np.asarray(order), ends[ends < len(order)]) if len(batch)]


cuts = st.lists(st.integers(1, 6), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(23)), cuts, st.floats(0, 1), st.floats(0, 1), st.binary(max_size=40))
def test_a_journal_torn_anywhere_loses_only_what_it_does_not_hold(order, sizes, written, kept, rubbish):
    with tempfile.TemporaryDirectory() as folder:
        partial = journal.Journal(Path(folder), plan_of(23), {}, DIM)
        batches = batches_of(order, sizes)
        for rows in batches[: int(written * len(batches)) + 1]:
            partial.writer.write(rows, vectors_of(rows), stamps_of(rows))
        path = next(partial.path.glob("journal-*.tsv"))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))] + rubbish)

        again = journal.Journal(Path(folder), plan_of(23), {}, DIM)
        lines = whole[: int(kept * len(whole))].count(b"\n")
        there = np.concatenate(batches)[:lines]
        entries = again.read_entries()
        kept_rows = np.flatnonzero(entries.done).tolist()
        assert set(there) - {int(there[-1])} <= set(kept_rows) if len(there) else True
        assert set(kept_rows) <= set(np.concatenate(batches)[: lines + 1])
        assert all(int(entries.stamps["content_hash"][row], 16) == row for row in kept_rows)
        todo = np.flatnonzero(~entries.done)
        if len(todo):
            again.writer.write(todo, vectors_of(todo), stamps_of(todo))
        handover.finish(again, {"recipe": {}})
        assert np.array_equal(descriptors.open_store(folder).matrix, vectors_of(np.arange(23)))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(40)), st.lists(st.integers(0, 2), min_size=40, max_size=40), cuts)
def test_several_writers_at_once_give_one_matrix(order, owners, sizes):
    # Rows 0 to 4 are written by all of them, as when a killed job's last batch is still on its way.
    order, owners = np.asarray(order), np.asarray(owners)
    with tempfile.TemporaryDirectory() as folder:
        partial = journal.Journal(Path(folder), plan_of(40), {}, DIM)

        def write(owner: int) -> None:
            writer = journal.JournalWriter(partial.path)
            for rows in batches_of(order[(owners == owner) | (order < 5)], sizes):
                writer.write(rows, vectors_of(rows), stamps_of(rows))
            writer.close()

        with ThreadPoolExecutor(3) as executor:
            list(executor.map(write, range(3)))
        handover.finish(partial, {"recipe": {}})
        extracted = descriptors.open_store(folder)
        assert np.array_equal(extracted.matrix, vectors_of(np.arange(40)))
        assert extracted.face_id.tolist() == [f"f{i}" for i in range(40)]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    make_pictures(folder, 24)
    return folder


def test_two_extractions_into_one_store_at_once(pictures, tmp_path):
    whole = table(pictures)
    halves = [whole.iloc[:16].reset_index(drop=True), whole.iloc[8:].reset_index(drop=True)]
    engines = [MeanColour(), MeanColour()]
    with ThreadPoolExecutor(2) as executor:
        done = [
            executor.submit(run, pictures, tmp_path, engine, face_table=half)
            for engine, half in zip(engines, halves, strict=True)
        ]
        [future.result() for future in done]
    for half in halves:
        assert np.array_equal(descriptors.select(tmp_path / "store", half["face_id"]).matrix, expected(half))
    assert sum(engine.seen.total() for engine in engines) == 24


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("survived", range(14))
def test_killed_between_any_two_steps_of_the_hand_over(pictures, tmp_path, monkeypatch, survived):
    run(pictures, tmp_path)
    (pictures / "00003.png").write_text("not a picture")
    make_pictures(pictures, 6, first=100)
    steps, engine = itertools.count(), MeanColour()

    def dying(real):
        def step(*args, **kwargs):
            if engine.seen.total() == 6 and next(steps) >= survived:
                raise Killed
            return real(*args, **kwargs)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
        try:
            run(pictures, tmp_path, engine)
        except Killed:
            pass
        else:
            assert survived > 8
    again = MeanColour()
    extracted = run(pictures, tmp_path, again)
    assert again.seen.total() == 0
    assert extracted.left_out["image"].tolist() == ["00003.png"]
    good = table(pictures)["image"].ne("00003.png")
    assert np.array_equal(extracted.matrix, expected(table(pictures))[good])
    assert not (tmp_path / "store" / "journal").exists()


class Toy(MeanColour):
    """The mean colour plus what the tap adds."""

    batch_size = 1

    def __init__(self, tap: int, fail_after: int | None):
        super().__init__(fail_after)
        self.tap = tap

    def run(self, pixels):
        return super().run(pixels) + self.tap


class StoreMachine(RuleBasedStateMachine):
    """Pictures, boxes, networks and the faces asked for change at will; runs are cut short."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "pictures"
        self.root.mkdir()
        self.colours, self.boxed, self.tap, self.time = {}, set(), 0, 10**18
        for number in range(3):
            self.add_or_change(top=10 * number, bottom=200, number=number)

    def teardown(self):
        shutil.rmtree(self.folder)

    def _write(self, name: str, top: int, bottom: int) -> None:
        picture = np.full((16, 16, 3), top, np.uint8)
        picture[8:] = bottom
        cv2.imwrite(str(self.root / name), picture)
        self._stamp(name)

    def _stamp(self, name: str) -> None:
        self.time += 10**9
        os.utime(self.root / name, ns=(self.time, self.time))

    @rule(top=st.integers(0, 255), bottom=st.integers(0, 255), number=st.integers(0, 3))
    def add_or_change(self, top, bottom, number):
        name = f"{number}.png"
        self._write(name, top, bottom)
        self.colours[name] = (top, bottom)

    @rule(data=st.data())
    def damage(self, data):
        name = data.draw(st.sampled_from(sorted(self.colours)))
        (self.root / name).write_bytes(b"damaged")
        self._stamp(name)
        self.colours[name] = None

    @rule(data=st.data())
    def touch(self, data):
        self._stamp(data.draw(st.sampled_from(sorted(self.colours))))

    @rule(number=st.integers(0, 3))
    def turn_box(self, number):
        self.boxed ^= {f"{number}.png"}

    @rule(tap=st.integers(0, 1))
    def choose_tap(self, tap):
        self.tap = tap

    @rule(data=st.data())
    def extract_some(self, data):
        names = st.lists(st.sampled_from(sorted(self.colours)), min_size=1, unique=True)
        self._extract(data.draw(names), None)

    @rule(fail_after=st.none() | st.integers(1, 3))
    def extract_all(self, fail_after):
        self._extract(sorted(self.colours), fail_after)

    def _extract(self, names, fail_after):
        asked = faces.build({"image": names}, dataset="t")
        boxed = [name in self.boxed for name in names]
        asked.loc[boxed, ["top", "left", "bottom", "right"]] = [0, 0, 8, 16]
        net = SimpleNamespace(**{**vars(BACKBONE), "tap": str(self.tap)})
        engine = Toy(self.tap, fail_after)
        readable = [name for name in names if self.colours[name]]
        try:
            extracted = descriptors.extract(
                asked, net, root=self.root, store=self.folder / "store", engine=engine, progress=False
            )
        except KeyboardInterrupt:
            assert fail_after is not None
            return
        except descriptors.StoreError as error:
            assert "can be read" in str(error) and not readable
            return
        want = [self._expected(name) for name in readable]
        assert extracted.matrix.tolist() == np.repeat(np.float32(want)[:, None], 3, axis=1).tolist()
        assert sorted(extracted.left_out["image"]) == sorted(set(names) - set(readable))
        assert engine.seen.total() <= len(readable)

    def _expected(self, name: str) -> float:
        top, bottom = self.colours[name]
        return (top if name in self.boxed else (top + bottom) / 2) + self.tap


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=10, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)

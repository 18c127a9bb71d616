"""Extraction and its store, with a tiny network-free engine."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceworkbook import chunks, descriptors, faces, images
from faceworkbook.descriptors import StoreError, engines, handover, journal, lower_precision
from faceworkbook.descriptors import batches as batching
from faceworkbook.descriptors import store as stores

BACKBONE = SimpleNamespace(
    name="tiny",
    tap="mean",
    fingerprint="f" * 64,
    mirror="",
    is_own=False,
    dim=3,
    preprocessing=images.Preprocessing(size=(8, 8), channels="RGB", mean=(0, 0, 0)),
)


class MeanColour:
    """An engine whose descriptor is the mean colour; counts what it computes."""

    name, batch_size, settings = "mean", 4, {"name": "mean"}

    def __init__(self, fail_after: int | None = None):
        self.seen, self.fail_after = Counter(), fail_after

    def run(self, pixels):
        if self.fail_after is not None and self.seen.total() >= self.fail_after:
            raise KeyboardInterrupt
        vectors = pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32)
        self.seen.update(tuple(v) for v in vectors.round().astype(int).tolist())
        return vectors


def make_pictures(folder, n, *, first=0):
    for i in range(first, first + n):
        picture = np.full((12, 10, 3), (i % 256, i // 256, 77), np.uint8)
        cv2.imwrite(str(folder / f"{i:05d}.png"), picture)


def table(folder):
    return build_table(tuple(sorted(p.name for p in folder.iterdir() if p.is_file()))).copy()


@functools.cache
def build_table(names):
    """Build the table once: hundreds of runs over damaged stores ask for the same."""
    return faces.build({"image": names}, dataset="t")


def expected(face_table):
    numbers = face_table["image"].str[:5].astype(int).to_numpy()
    return np.stack([np.full(len(numbers), 77), numbers // 256, numbers % 256], axis=1).astype(np.float32)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    make_pictures(folder, 30)
    return folder


def run(folder, tmp_path, engine=None, face_table=None, **options):
    rows = table(folder) if face_table is None else face_table
    options = {"root": folder, "store": tmp_path / "store", "progress": False, **options}
    return descriptors.extract(rows, BACKBONE, engine=engine or MeanColour(), **options)


def test_every_face_gets_its_own_descriptor(pictures, tmp_path):
    extracted = run(pictures, tmp_path)
    assert np.array_equal(extracted.matrix, expected(table(pictures)))
    assert isinstance(extracted.matrix, np.memmap)
    assert extracted.face_id.tolist() == table(pictures)["face_id"].tolist()
    assert descriptors.open_store(tmp_path / "store").manifest["recipe"]["tap"] == "mean"


def test_second_run_computes_nothing(pictures, tmp_path):
    run(pictures, tmp_path)
    engine = MeanColour()
    run(pictures, tmp_path, engine)
    assert engine.seen.total() == 0


def test_only_new_and_changed_faces_are_computed(pictures, tmp_path):
    run(pictures, tmp_path)
    make_pictures(pictures, 3, first=100)
    cv2.imwrite(str(pictures / "00007.png"), np.full((12, 10, 3), 200, np.uint8))
    os.utime(pictures / "00008.png")  # touched, not changed
    engine = MeanColour()
    extracted = run(pictures, tmp_path, engine)
    assert engine.seen.total() == 4
    want = expected(table(pictures))
    want[7] = 200
    assert np.array_equal(extracted.matrix, want)


def test_faces_not_asked_for_stay_in_the_store(pictures, tmp_path):
    run(pictures, tmp_path)
    make_pictures(pictures, 1, first=100)
    run(pictures, tmp_path, face_table=table(pictures).iloc[[30, 3, 9]].reset_index(drop=True))
    engine = MeanColour()
    extracted = run(pictures, tmp_path, engine)
    assert engine.seen.total() == 0
    assert np.array_equal(extracted.matrix, expected(table(pictures)))


def test_another_box_tap_or_weights_computes_anew(pictures, tmp_path):
    run(pictures, tmp_path)
    boxed = table(pictures)
    boxed.loc[5, ["top", "left", "bottom", "right"]] = [1, 1, 6, 6]
    engine = MeanColour()
    run(pictures, tmp_path, engine, face_table=boxed)
    assert engine.seen.total() == 1
    for change in ({"tap": "fc7"}, {"fingerprint": "0" * 64}, {"mirror": "mean"}):
        other = SimpleNamespace(**{**vars(BACKBONE), **change})
        engine = MeanColour()
        descriptors.extract(
            boxed, other, root=pictures, store=tmp_path / "store", engine=engine, progress=False
        )
        assert engine.seen.total() == 30


def test_interrupted_run_goes_on_where_it_stopped(pictures, tmp_path):
    first = MeanColour(fail_after=12)
    with pytest.raises(KeyboardInterrupt):
        run(pictures, tmp_path, first)
    with pytest.raises(StoreError, match="unfinished"):
        descriptors.open_store(tmp_path / "store")
    second = MeanColour()
    extracted = run(pictures, tmp_path, second)
    assert first.seen.total() + second.seen.total() == 30
    assert np.array_equal(extracted.matrix, expected(table(pictures)))
    assert not (tmp_path / "store" / "journal").exists()


def test_what_was_being_computed_at_a_kill_comes_last(pictures, tmp_path):
    class Dying(MeanColour):
        def run(self, pixels):
            vectors = super().run(pixels)
            if self.seen.total() > 4:
                raise KeyboardInterrupt
            return vectors

    engines_used = [Dying(), Dying(), MeanColour()]
    for engine in engines_used[:2]:
        with pytest.raises(KeyboardInterrupt):
            run(pictures, tmp_path, engine)
    for torn in (tmp_path / "store" / "journal").glob("begun-*.i8"):
        torn.write_bytes(torn.read_bytes() + b"torn")
    extracted = run(pictures, tmp_path, engines_used[2])
    assert np.array_equal(extracted.matrix, expected(table(pictures)))
    computed = sum((engine.seen for engine in engines_used), Counter())
    assert max(computed.values()) == 2 and computed.total() == 30 + 8
    assert [int(blue[2]) for blue in list(engines_used[2].seen)[-8:]] == [4, 5, 6, 7, 12, 13, 14, 15]


def test_picture_changed_between_kill_and_resume_is_computed_anew(pictures, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(pictures, tmp_path, MeanColour(fail_after=12))
    cv2.imwrite(str(pictures / "00000.png"), np.full((12, 10, 3), 250, np.uint8))
    extracted = run(pictures, tmp_path)
    assert extracted.matrix[0].tolist() == [250, 250, 250]


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_store import MeanColour, run, table
from pathlib import Path
class Slow(MeanColour):
    batch_size = 2
    def run(self, pixels):
        vectors = super().run(pixels)
        with open({log!r}, "a") as log:
            log.writelines(f"{{int(v[2])}}\\n" for v in vectors)
        time.sleep(0.03)
        return vectors
run(Path({pictures!r}), Path({out!r}), Slow())
"""


def test_killed_again_and_again_gives_the_same_store(pictures, tmp_path):
    straight = run(pictures, tmp_path / "straight")
    log = tmp_path / "computed.txt"
    log.touch()
    values = {
        "tests": str(Path(__file__).parent),
        "log": str(log),
        "pictures": str(pictures),
        "out": str(tmp_path),
    }
    script, rng = textwrap.dedent(KILLED.format(**values)), np.random.default_rng(0)
    for _ in range(5):
        process, more = (
            subprocess.Popen([sys.executable, "-c", script]),
            log.stat().st_size + rng.integers(1, 10),
        )
        while log.stat().st_size < more and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.wait()
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    resumed = descriptors.open_store(tmp_path / "store")
    assert np.array_equal(resumed.matrix, straight.matrix)
    for name in ("descriptors.npy", "index.parquet"):
        assert (tmp_path / "store" / name).read_bytes() == (
            tmp_path / "straight" / "store" / name
        ).read_bytes()
    assert max(Counter(log.read_text().split()).values()) <= 2


def test_unreadable_pictures_are_listed_and_the_rest_is_computed(pictures, tmp_path):
    (pictures / "00003.png").write_text("not a picture")
    whole = (pictures / "00004.png").read_bytes()
    (pictures / "00004.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "00005.png").write_bytes(b"")
    extracted = run(pictures, tmp_path)
    assert extracted.left_out["image"].tolist() == ["00003.png", "00004.png", "00005.png"]
    assert set(extracted.left_out["reason"]) == {"unreadable"}
    keep = ~table(pictures)["image"].isin(extracted.left_out["image"])
    assert np.array_equal(extracted.matrix, expected(table(pictures))[keep])
    engine = MeanColour()
    assert len(run(pictures, tmp_path, engine).left_out) == 3
    assert engine.seen.total() == 0


def test_half_of_the_folder_unreadable(pictures, tmp_path):
    for path in sorted(pictures.iterdir())[::2]:
        path.write_bytes(path.read_bytes()[:20])
    extracted = run(pictures, tmp_path)
    assert len(extracted) == 15 and len(extracted.left_out) == 15


def test_repaired_picture_is_read_the_next_time(pictures, tmp_path):
    whole = (pictures / "00004.png").read_bytes()
    (pictures / "00004.png").write_bytes(whole[:-5])
    run(pictures, tmp_path)
    (pictures / "00004.png").write_bytes(whole)
    extracted = run(pictures, tmp_path)
    assert not len(extracted.left_out)
    assert np.array_equal(extracted.matrix, expected(table(pictures)))


def test_no_readable_picture_is_one_clear_error(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.jpg").write_text("hello")
    with pytest.raises(StoreError, match=r"none of the 1 pictures can be read; the first: a\.jpg"):
        run(folder, tmp_path)
    with pytest.raises(StoreError, match="face table is empty"):
        run(folder, tmp_path, face_table=faces.build({"image": []}, dataset="t"))


def test_full_disk_loses_nothing(pictures, tmp_path, monkeypatch):
    real, calls = os.pwrite, Counter()

    def full(descriptor, data, offset):
        calls["n"] += 1
        if calls["n"] == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    first = MeanColour()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="the disk is full"):
        run(pictures, tmp_path, first)
    monkeypatch.undo()
    second = MeanColour()
    extracted = run(pictures, tmp_path, second)
    assert second.seen.total() == 30 - 3 * 4
    assert np.array_equal(extracted.matrix, expected(table(pictures)))


def test_full_tmpfs_in_the_middle(pictures, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True
        ).returncode
    ):
        pytest.skip("a tmpfs can only be mounted by root with the right to mount")
    try:
        filler = small / "other"

        class Filling(MeanColour):
            def run(self, pixels):
                if self.seen.total() == 8:
                    try:
                        with filler.open("wb", buffering=0) as file:
                            while file.write(b"x" * 512):
                                pass
                    except OSError:
                        pass
                return super().run(pixels)

        with pytest.raises((StoreError, OSError), match=r"disk is full|No space"):
            run(pictures, tmp_path, Filling(), store=small / "store")
        filler.unlink()
        engine = MeanColour()
        extracted = run(pictures, tmp_path, engine, store=small / "store")
        assert engine.seen.total() <= 30 - 8
        assert np.array_equal(extracted.matrix, expected(table(pictures)))
    finally:
        subprocess.run(["umount", "--lazy", small], check=False)  # the store is still mapped


def test_too_little_space_is_an_error_before_the_work(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(journal.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(StoreError, match="0 MB are free"):
        run(pictures, tmp_path)


def test_values_that_are_not_finite_are_refused(pictures, tmp_path):
    class Broken(MeanColour):
        def run(self, pixels):
            return super().run(pixels) * np.nan

    with pytest.raises(StoreError, match="not finite"):
        run(pictures, tmp_path, Broken())


@pytest.mark.parametrize("cut", [np.s_[:, :1], np.s_[:2], np.s_[:, 0]])
def test_an_engine_of_another_width_is_refused(pictures, tmp_path, cut):
    """One number a face would have been written three times."""

    class Narrow(MeanColour):
        def run(self, pixels):
            return super().run(pixels)[cut]

    with pytest.raises(
        StoreError, match=r"engine 'mean' gave an array of shape \(.*expected 3 numbers for each"
    ):
        run(pictures, tmp_path, Narrow())


def test_store_with_files_that_do_not_fit_is_refused(pictures, tmp_path):
    run(pictures, tmp_path)
    np.save(tmp_path / "store" / "descriptors.npy", np.zeros((5, 3), np.float32))
    with pytest.raises(StoreError, match="extract again"):
        descriptors.open_store(tmp_path / "store")


def test_torn_journal_line_is_not_read(tmp_path):
    plan = pd.DataFrame({"face_id": list("abc"), "image": "x", **dict.fromkeys(stores.BOX, np.nan)})
    partial = journal.Journal(tmp_path, plan, {}, 2)
    partial.writer.write(np.arange(3), np.ones((3, 2)), [chunks.Stamp("h", 1, 1, 1)] * 3)
    path = next(partial.path.glob("journal-*.tsv"))
    path.write_bytes(path.read_bytes()[:-4])
    assert partial.read_entries().done.tolist() == [True, True, False]


@pytest.mark.parametrize("where", ["line", "matrix"])
def test_a_row_counts_only_where_line_and_row_are_what_was_written(tmp_path, where):
    plan = pd.DataFrame({"face_id": list("abc"), "image": "x", **dict.fromkeys(stores.BOX, np.nan)})
    partial = journal.Journal(tmp_path, plan, {}, 2)
    partial.writer.write(np.arange(2), np.ones((2, 2)), [chunks.Stamp("h", 1, 1, 1)] * 2)
    path = partial.path / "descriptors.npy" if where == "matrix" else next(partial.path.glob("journal-*.tsv"))
    content = path.read_bytes()
    # The row 1 that the journal lists becomes 2, which was never computed; or its numbers are others.
    path.write_bytes(content.replace(b"\n1\t", b"\n2\t") if where == "line" else content[:-10] + bytes(10))
    assert partial.read_entries().done.tolist() == [True, False, False]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_any_order_of_writes_gives_the_same_matrix(tmp_path_factory, rows, random):
    folder = tmp_path_factory.mktemp("store")
    plan = pd.DataFrame(
        {"face_id": [str(r) for r in rows], "image": "x", **dict.fromkeys(stores.BOX, np.nan)}
    )
    partial = journal.Journal(folder, plan, {}, 2)
    order = list(range(len(rows)))
    random.shuffle(order)
    while order:
        take = np.array([order.pop() for _ in range(min(len(order), random.randint(1, 4)))])
        stamps = [chunks.Stamp("h", 1, 1, 1)] * len(take)
        partial.writer.write(take, np.stack([take, take * 2], axis=1), stamps)
    handover.finish(partial, {"recipe": {}})
    assert np.array_equal(descriptors.open_store(folder).matrix[:, 1], np.arange(len(rows)) * 2)


def test_manifest_is_json_that_names_the_decoder(pictures, tmp_path):
    run(pictures, tmp_path)
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert manifest["decoder"] == images.DECODER and manifest["engines"] == [{"name": "mean"}]


def test_memory_is_bounded_by_batches_in_flight(pictures):
    plan = pd.concat([table(pictures)] * 20, ignore_index=True)[["face_id", "image", *stores.BOX]].astype(
        dict.fromkeys(stores.BOX, float)
    )
    started = []
    real = batching.read_batch

    def counted(chunk, *args):
        started.append(len(chunk.rows))
        return real(chunk, *args)

    batching.read_batch = counted
    try:
        batches = batching.read_batches(plan, pictures, BACKBONE.preprocessing, batch_size=10)
        next(batches)
        assert len(started) <= batching.READERS + 4
        assert sum(1 for _ in batches) == 59
    finally:
        batching.read_batch = real


def test_int8_warns_and_is_calibrated_on_the_same_faces_after_a_kill(pictures, tmp_path, monkeypatch):
    given = []

    def choose(backbone, *, engine, precision, check_pixels):
        given.append((precision, check_pixels))
        return MeanColour(fail_after=8 if len(given) == 1 else None)

    monkeypatch.setattr(engines, "choose", choose)
    options = {"root": pictures, "store": tmp_path / "store", "precision": "int8", "progress": False}
    with (
        pytest.warns(descriptors.PrecisionWarning, match="int8 changes descriptors"),
        pytest.raises(KeyboardInterrupt),
    ):
        descriptors.extract(table(pictures), BACKBONE, **options)
    make_pictures(pictures, 40, first=100)
    with pytest.warns(descriptors.PrecisionWarning):
        descriptors.extract(table(pictures), BACKBONE, **options)
    (_, first), (precision, second) = given
    assert precision == "int8" and len(first) == 30
    assert np.array_equal(first, second)


def test_what_a_precision_costs_is_described_for_the_network_it_was_measured_on():
    for measured in json.loads(lower_precision.MEASURED.read_text()):
        net = SimpleNamespace(
            name="n", tap=measured["tap"], fingerprint=measured["weights_sha256"], mirror=""
        )
        precision = measured["precision"]
        assert descriptors.precision_cost(net, precision)["label"].tolist() == ["gender", "race"]
        assert f"{precision} changes" in descriptors.describe_precision_cost(net, precision)
        assert "UTKFace faces: gender 0." in descriptors.describe_precision_cost(net, precision)
        assert "was not measured" in descriptors.describe_precision_cost(BACKBONE, precision)


def test_a_store_of_one_precision_refuses_another(pictures, tmp_path, monkeypatch):
    """It was computed anew, and replaced, without a word."""
    monkeypatch.setattr(engines, "choose", lambda *args, **options: MeanColour())
    first = run(pictures, tmp_path)
    with (
        pytest.warns(descriptors.PrecisionWarning, match="bfloat16 changes descriptors"),
        pytest.raises(StoreError, match=r"holds float32 descriptors and precision='bfloat16' was asked for"),
    ):
        run(pictures, tmp_path, "auto", precision="bfloat16")
    assert len(run(pictures, tmp_path)) == len(first)
    with pytest.raises(StoreError, match="expected one of float32, tf32, float16, bfloat16, int8"):
        run(pictures, tmp_path, "auto", precision="float64")
    with pytest.warns(descriptors.PrecisionWarning):
        other = run(pictures, tmp_path, "auto", precision="bfloat16", store=tmp_path / "other")
    assert other.manifest["recipe"]["precision"] == "bfloat16"


def test_stored_descriptors_of_a_device_are_used_without_it(pictures, tmp_path, monkeypatch):
    def choose(*args, engine, precision, **options):
        if engine == "gpu":
            raise ValueError("there is none here")
        return MeanColour()

    monkeypatch.setattr(engines, "choose", choose)
    with pytest.warns(descriptors.PrecisionWarning):
        first = run(pictures, tmp_path, "auto", precision="tf32")
        again = run(pictures, tmp_path, "gpu", precision="tf32")
    assert np.array_equal(first.matrix, again.matrix) and again.generation == first.generation


def test_a_store_that_is_a_file_is_named(pictures, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="taken cannot be a folder"):
        run(pictures, tmp_path, store=tmp_path / "taken")

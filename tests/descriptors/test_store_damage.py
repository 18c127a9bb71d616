"""Damaged stores and disks that refuse: the right descriptors or one clear error, and the next run goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from faceworkbook import descriptors
from faceworkbook.descriptors import StoreError, layout
from tests.descriptors.test_store import MeanColour, expected, make_pictures, run, table

FILES = ("descriptors.npy", "index.parquet", "unreadable.parquet", "manifest.json")
DAMAGED = int(os.environ.get("FACEWORKBOOK_FUZZ", "300"))  # files


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    make_pictures(folder, 30)
    (folder / "00004.png").write_text("not a picture")
    return folder


def readable(pictures):
    return table(pictures)[lambda rows: rows["image"] != "00004.png"]


def damage(path: Path, others: list[Path], rng) -> str:
    """Damage one file; return how."""
    content = bytearray(path.read_bytes())
    how = rng.choice(["cut", "flip", "zeros", "noise", "longer", "removed", "swapped", "empty"])
    at = int(rng.integers(0, max(1, len(content))))
    if how == "removed":
        path.unlink()
        return how
    if how == "swapped":
        content = bytearray(others[rng.integers(len(others))].read_bytes())
    elif how == "cut":
        content = content[:at]
    elif how == "flip" and content:
        content[at] ^= 1 << int(rng.integers(8))
    elif how in ("zeros", "noise"):
        n = int(rng.integers(1, 64))
        content[at : at + n] = bytes(n) if how == "zeros" else rng.bytes(n)
    elif how == "longer":
        content += rng.bytes(int(rng.integers(1, 64)))
    else:
        content = bytearray()
    path.write_bytes(bytes(content))
    return how


def test_any_damaged_file_of_a_finished_store_gives_the_truth_or_a_store_error(pictures, tmp_path):
    rng, truth = np.random.default_rng(0), expected(readable(pictures))
    run(pictures, tmp_path / "whole")
    shutil.copytree(pictures, tmp_path / "more")
    make_pictures(tmp_path / "more", 30, first=300)
    run(tmp_path / "more", tmp_path / "other")
    others = [tmp_path / store / "store" / name for store in ("whole", "other") for name in FILES]
    asked, refused = table(pictures), 0
    doors = (
        lambda place: descriptors.open_store(place / "store"),
        lambda place: descriptors.select(place / "store", readable(pictures)["face_id"]),
        lambda place: run(pictures, place, face_table=asked),
    )
    for i in range(DAMAGED):
        place = tmp_path / f"{i}"
        shutil.copytree(tmp_path / "whole", place)
        name = FILES[i % len(FILES)]
        how = damage(place / "store" / name, others, rng)
        try:
            matrix = doors[i % len(doors)](place).matrix
        except StoreError as error:
            refused += 1
            assert str(place / "store") in str(error) and "extract" in str(error), (name, how)
        else:
            assert np.array_equal(matrix, truth), (name, how)
        shutil.rmtree(place)
    assert refused > 0.7 * DAMAGED


def test_any_damaged_file_of_an_interrupted_run_gives_the_truth(pictures, tmp_path):
    rng, truth, asked = np.random.default_rng(1), expected(readable(pictures)), table(pictures)
    with pytest.raises(KeyboardInterrupt):
        run(pictures, tmp_path / "whole", MeanColour(fail_after=20))
    paths = sorted(p.name for p in (tmp_path / "whole" / "store" / "journal").iterdir())
    assert len(paths) == 4
    for i in range(DAMAGED // 5):
        place = tmp_path / f"{i}"
        shutil.copytree(tmp_path / "whole", place)
        journal = place / "store" / "journal"
        how = damage(journal / paths[i % 4], [journal / name for name in paths], rng)
        assert np.array_equal(run(pictures, place, face_table=asked).matrix, truth), (paths[i % 4], how)
        shutil.rmtree(place)


def rewrite_matrix(store: Path, change) -> None:
    matrix = np.load(store / "descriptors.npy")
    change(matrix)
    np.save(store / "descriptors.npy", matrix)


@pytest.mark.parametrize("change", ["swapped rows", "nan", "another shape"])
def test_a_matrix_that_was_written_anew_is_refused_at_every_door(pictures, tmp_path, change):
    asked = table(pictures)
    extracted = run(pictures, tmp_path)
    store = tmp_path / "store"
    if change == "another shape":
        np.save(store / "descriptors.npy", np.zeros((5, 3), np.float32))
    else:
        rewrite_matrix(store, lambda m: m.__setitem__(3, m[5] if change == "swapped rows" else np.nan))
    for read in (
        lambda: descriptors.open_store(store),
        lambda: descriptors.select(store, asked["face_id"]),
        lambda: descriptors.store.open_rows(store, extracted.rows, extracted.ids),
        lambda: run(pictures, tmp_path),
    ):
        with pytest.raises(StoreError, match=r"descriptors\.npy.*remove the folder and extract again"):
            read()


def test_an_index_with_two_faces_exchanged_is_refused(pictures, tmp_path):
    run(pictures, tmp_path)
    path = tmp_path / "store" / "index.parquet"
    index = pq.read_table(path)
    order = [1, 0, *range(2, len(index))]
    pq.write_table(index.set_column(0, "face_id", index["face_id"].take(order)), path)
    with pytest.raises(StoreError, match=r"index\.parquet"):
        descriptors.open_store(tmp_path / "store")


@pytest.mark.parametrize("key", ["n", "dim", "recipe", "files", "root", "generation", "format"])
def test_a_manifest_that_was_edited_is_refused(pictures, tmp_path, key):
    run(pictures, tmp_path)
    path = tmp_path / "store" / "manifest.json"
    for value in (None, "x", 7, [], {}):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, key: value}))
        with pytest.raises(StoreError, match=r"manifest\.json"):
            descriptors.open_store(tmp_path / "store")
        path.write_text(json.dumps(manifest))


def test_a_large_matrix_is_checked_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHECKED_BYTES", 1000)
    path = tmp_path / "file"
    path.write_bytes(np.random.default_rng(0).bytes(4321))
    known = layout.checksums(path)
    assert len(known["xxh3_128"]) == 5
    assert layout.map_checked(path, known).tobytes() == path.read_bytes()
    content = bytearray(path.read_bytes())
    content[3333] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="from byte 3,000 on"):
        layout.map_checked(path, known)


def test_damaged_calibration_faces_are_refused(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("faceworkbook.descriptors.engines.choose", lambda *_, **__: MeanColour(fail_after=8))
    with pytest.raises(KeyboardInterrupt), pytest.warns(descriptors.PrecisionWarning):
        run(pictures, tmp_path, "auto", precision="int8")
    path = next((tmp_path / "store").glob("calibration-*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="calibration"), pytest.warns(descriptors.PrecisionWarning):
        run(pictures, tmp_path, "auto", precision="int8")


# --------------------------------------------------------------------------- kills and disks


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


READS = ("os.preadv", "Path.open", "Path.read_bytes")
WRITES = (
    *("os.open", "os.write", "os.pwrite", "os.fsync", "shutil.rmtree", "ParquetWriter.write_table"),
    *("Path.open", "Path.replace", "Path.mkdir", "Path.unlink", "Path.write_bytes"),
)
OWNERS = {"os": os, "Path": Path, "shutil": shutil, "ParquetWriter": pq.ParquetWriter}


def fail_at(monkeypatch, operations, step: int, error: BaseException, folder: Path) -> list[str]:
    """Let number `step` of the file `operations` in `folder` raise `error`; return the names of those that came."""
    counted, inside = [], []

    def failing(real, name):
        def operation(*args, **kwargs):
            if inside or not concerns(args[0]):
                return real(*args, **kwargs)
            counted.append(name)
            if len(counted) == step + 1:
                raise error
            inside.append(name)
            try:
                return real(*args, **kwargs)
            finally:
                inside.pop()

        return operation

    def concerns(file) -> bool:
        if isinstance(file, pq.ParquetWriter):
            return True
        path = Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(file)
        return path.is_relative_to(folder)

    for name in operations:
        owner, attribute = name.split(".")
        real = getattr(OWNERS[owner], attribute)
        monkeypatch.setattr(OWNERS[owner], attribute, failing(real, name))
    return counted


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """``changed(number)`` lays a finished store, a damaged picture and three new ones."""
    monkeypatch.setattr("faceworkbook.descriptors.batches.READERS", 1)
    whole = tmp_path / "whole"
    (whole / "pictures").mkdir(parents=True)
    make_pictures(whole / "pictures", 6)
    run(whole / "pictures", whole)
    (whole / "pictures" / "00004.png").write_text("not a picture")
    make_pictures(whole / "pictures", 3, first=100)

    def lay(number: int) -> tuple[Path, Path]:
        place = tmp_path / f"try-{number}"
        shutil.copytree(whole, place)
        return place / "pictures", place

    return lay


def fail_at_each_step(changed, operations, error, check):
    """Fail at each step in turn, until a run comes through; `check` looks at the run after each."""
    names, failed = [], True
    while failed:
        step = len(names)
        root, place = changed(step)
        with pytest.MonkeyPatch.context() as patch:
            counted = fail_at(patch, operations, step, error, place / "store")
            raised = None
            try:
                run(root, place, MeanColour())
            except (Killed, StoreError) as caught:
                raised = caught
        failed = len(counted) > step
        if failed:
            names.append(counted[step])
            check(root, place, raised, counted[step])
        shutil.rmtree(place)
    assert raised is None
    return names


def test_killed_before_any_file_operation_the_next_run_goes_on(changed):
    def check(root, place, raised, name):
        if (place / "store" / "manifest.json").exists():
            descriptors.open_store(place / "store")
        extracted = run(root, place)
        assert np.array_equal(extracted.matrix, expected(readable(root))), name
        left = sorted(path.name for path in (place / "store").iterdir() if path.name[0] != ".")
        assert left == sorted(FILES), name

    names = fail_at_each_step(changed, WRITES, Killed(), check)
    assert set(names) == set(WRITES)


@pytest.mark.parametrize(("number", "operations"), [(errno.ENOSPC, WRITES), (errno.EIO, READS)])
def test_a_disk_that_refuses_any_operation_is_one_sentence_and_the_next_run_goes_on(
    changed, number, operations
):
    def check(root, place, raised, name):
        if raised is None:  # what cannot be removed is removed by a later run
            assert name in ("shutil.rmtree", "Path.unlink")
        else:
            assert isinstance(raised, StoreError), name
            assert str(place) in str(raised) and "\n" not in str(raised)
        assert np.array_equal(run(root, place).matrix, expected(readable(root))), name

    names = fail_at_each_step(changed, operations, OSError(number, os.strerror(number)), check)
    assert set(names) == set(operations)


def test_a_folder_that_cannot_be_locked_is_one_sentence(pictures, tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(StoreError, match="Read-only"):
        run(pictures, tmp_path)

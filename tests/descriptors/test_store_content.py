"""A store knows its faces by content: other roots, other files, stores that grow while others read."""

from __future__ import annotations

import gc
import json
import os
import shutil
import threading

import cv2
import numpy as np
import pytest

from faceworkbook import descriptors, images
from faceworkbook.descriptors import StoreError, handover, layout
from tests.descriptors.test_store import MeanColour, expected, make_pictures, run, table


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    make_pictures(folder, 12)
    return folder


def twin_of(pictures, folder):
    """Return a folder of other pictures whose names, sizes and times are those of `pictures`."""
    shutil.copytree(pictures, folder)
    for path in folder.iterdir():
        picture = np.full((12, 10, 3), (200, 100, int(path.stem) % 256), np.uint8)
        content = cv2.imencode(".bmp", picture)[1].tobytes()
        stat = (pictures / path.name).stat()
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    return folder


@pytest.fixture
def twins(tmp_path):
    """Two roots with the same file names, sizes and times, and other pictures."""
    first = tmp_path / "a"
    first.mkdir()
    for i in range(12):
        picture = np.full((12, 10, 3), (i, 0, 77), np.uint8)
        (first / f"{i:05d}.png").write_bytes(cv2.imencode(".bmp", picture)[1].tobytes())
    return first, twin_of(first, tmp_path / "b")


def blue_of_twin(n: int) -> np.ndarray:
    return np.stack([np.arange(n), np.full(n, 100), np.full(n, 200)], axis=1).astype(np.float32)


def test_two_roots_with_the_same_names_sizes_and_times_share_no_descriptor(twins, tmp_path):
    first, second = twins
    run(first, tmp_path)
    engine = MeanColour()
    assert np.array_equal(run(second, tmp_path, engine).matrix, blue_of_twin(12))
    assert engine.seen.total() == 12
    assert np.array_equal(run(first, tmp_path).matrix, expected(table(first)))


def test_another_folder_under_the_same_path_shares_no_descriptor(twins, tmp_path):
    first, second = twins
    run(first, tmp_path)
    first.rename(tmp_path / "away")
    second.rename(first)
    assert np.array_equal(run(first, tmp_path).matrix, blue_of_twin(12))


def test_an_interrupted_run_of_another_root_is_not_gone_on_with(twins, tmp_path):
    first, second = twins
    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path, MeanColour(fail_after=8))
    assert np.array_equal(run(second, tmp_path).matrix, blue_of_twin(12))


def test_rows_of_another_root_that_are_kept_are_compared_by_content_ever_after(twins, tmp_path):
    first, second = twins
    half = table(first).iloc[:6].reset_index(drop=True)
    run(first, tmp_path, face_table=half)
    # The other root's run keeps the first six faces, whose times are those of the first root's files.
    run(second, tmp_path, face_table=table(second).iloc[6:].reset_index(drop=True))
    assert np.array_equal(run(second, tmp_path).matrix, blue_of_twin(12))


def test_a_data_set_that_was_moved_is_not_computed_again(pictures, tmp_path):
    run(pictures, tmp_path)
    pictures.rename(tmp_path / "moved")
    engine = MeanColour()
    assert np.array_equal(
        run(tmp_path / "moved", tmp_path, engine).matrix, expected(table(tmp_path / "moved"))
    )
    assert not engine.seen


def test_the_manifest_names_root_generation_and_checksums(pictures, tmp_path):
    first = run(pictures, tmp_path)
    make_pictures(pictures, 1, first=50)
    second = run(pictures, tmp_path)
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert (first.generation, second.generation, manifest["generation"]) == (1, 2, 2)
    assert manifest["root"].endswith(pictures.name)
    assert set(manifest["files"]) == {"descriptors.npy", "index.parquet", "unreadable.parquet"}


def test_fingerprint_follows_content_and_order_and_not_the_store(pictures, tmp_path):
    asked = table(pictures)
    first = run(pictures, tmp_path).fingerprint
    assert run(pictures, tmp_path / "elsewhere").fingerprint == first
    turned = asked.iloc[::-1].reset_index(drop=True)
    assert run(pictures, tmp_path, face_table=turned).fingerprint != first
    make_pictures(pictures, 3, first=40)
    run(pictures, tmp_path)
    assert descriptors.select(tmp_path / "store", asked["face_id"]).fingerprint == first
    cv2.imwrite(str(pictures / "00003.png"), np.full((12, 10, 3), 9, np.uint8))
    assert run(pictures, tmp_path, face_table=asked).fingerprint != first


def test_every_row_has_the_hash_of_its_file(pictures, tmp_path):
    (pictures / "00003.png").write_text("not a picture")
    turned = table(pictures).iloc[::-1].reset_index(drop=True)
    extracted = run(pictures, tmp_path, face_table=turned)
    names = turned.set_index("face_id").loc[extracted.face_id, "image"]
    assert extracted.content_hash.tolist() == [
        images.content_hash((pictures / name).read_bytes()) for name in names
    ]


@pytest.mark.parametrize("change", ["grows", "is reordered", "changes a face"])
def test_what_is_open_stays_what_was_opened_while_the_store(pictures, tmp_path, change):
    asked = table(pictures)
    opened = run(pictures, tmp_path)
    some = descriptors.select(tmp_path / "store", asked["face_id"].iloc[[5, 2, 9]])
    fingerprint = descriptors.open_store(tmp_path / "store").fingerprint
    if change == "changes a face":
        cv2.imwrite(str(pictures / "00002.png"), np.full((12, 10, 3), 222, np.uint8))
    make_pictures(pictures, 5, first=100)
    turned = table(pictures).iloc[::-1].reset_index(drop=True)
    run(pictures, tmp_path, face_table=table(pictures) if change == "grows" else turned)
    assert np.array_equal(opened.matrix, expected(asked))
    assert np.array_equal(some.matrix, expected(asked)[[5, 2, 9]])
    assert opened.fingerprint == fingerprint
    assert opened.content_hash.tolist() == opened.content_hash.tolist()


def test_a_reader_during_hand_overs_gets_the_old_store_or_the_new_one(pictures, tmp_path, monkeypatch):
    run(pictures, tmp_path)
    before = expected(table(pictures))
    make_pictures(pictures, 5, first=100)
    (pictures / "00100.png").write_text("not a picture")
    after = expected(table(pictures).iloc[[*range(12), 13, 14, 15, 16]])
    real, seen = os.replace, []

    def replace(self, target):
        seen.append(descriptors.open_store(tmp_path / "store").matrix)
        real(self, target)
        seen.append(descriptors.open_store(tmp_path / "store").matrix)
        return target

    monkeypatch.setattr("pathlib.Path.replace", replace)
    run(pictures, tmp_path)
    generations = [
        0 if np.array_equal(matrix, before) else int(np.array_equal(matrix, after)) or 2 for matrix in seen
    ]
    assert generations == sorted(generations) and set(generations) == {0, 1}


def test_readers_and_a_growing_store_at_once(pictures, tmp_path):
    run(pictures, tmp_path)
    ended, failures, times = threading.Event(), [], []

    def read():
        while not ended.is_set():
            try:
                opened = descriptors.open_store(tmp_path / "store")
                numbers = [
                    int(name.split(":")[-1][:5]) if ":" in name else int(name[:5]) for name in opened.face_id
                ]
                times.append(np.array_equal(opened.matrix[:, 2], np.array(numbers) % 256))
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for first in range(20, 100, 8):
        make_pictures(pictures, 1, first=first)
        run(
            pictures,
            tmp_path,
            face_table=table(pictures).sample(frac=1, random_state=first).reset_index(drop=True),
        )
    ended.set()
    for reader in readers:
        reader.join()
    assert not failures and times and all(times)


def test_a_store_that_changes_while_it_is_opened_is_looked_at_again(pictures, tmp_path, monkeypatch):
    run(pictures, tmp_path)
    make_pictures(pictures, 1, first=100)
    real, opened = layout.map_checked, []

    def slow(path, known):
        if not opened:
            opened.append(path)
            run(pictures, tmp_path)
        return real(path, known)

    monkeypatch.setattr("faceworkbook.descriptors.layout.map_checked", slow)
    assert np.array_equal(descriptors.open_store(tmp_path / "store").matrix, expected(table(pictures)))


def test_a_hand_over_cut_off_half_way_is_read_and_completed(pictures, tmp_path, monkeypatch):
    (pictures / "00003.png").write_text("not a picture")
    store = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(handover, "complete", lambda folder: None)
        run(pictures, tmp_path)
    (store / "finished" / "index.parquet").replace(store / "index.parquet")  # killed after the first rename
    assert len(descriptors.open_store(store)) == 11
    assert (store / "finished").exists()
    engine = MeanColour()
    assert len(run(pictures, tmp_path, engine)) == 11 and not engine.seen
    assert sorted(path.name for path in store.iterdir() if path.name[0] != ".") == [
        "descriptors.npy",
        "index.parquet",
        "manifest.json",
        "unreadable.parquet",
    ]


def test_a_store_of_an_earlier_version_is_refused_and_computed_anew(pictures, tmp_path):
    run(pictures, tmp_path)
    path = tmp_path / "store" / "manifest.json"
    old = json.loads(path.read_text())
    for key in ("format", "checksum", "files", "root", "generation"):
        del old[key]
    path.write_text(json.dumps(old))
    (tmp_path / "store" / "work").mkdir()
    with pytest.raises(StoreError, match="earlier version"):
        descriptors.open_store(tmp_path / "store")
    engine = MeanColour()
    assert np.array_equal(run(pictures, tmp_path, engine).matrix, expected(table(pictures)))
    assert engine.seen.total() == 12
    assert not (tmp_path / "store" / "work").exists()


def test_options_are_checked_by_name(pictures, tmp_path):
    with pytest.raises(TypeError, match="batchsize"):
        run(pictures, tmp_path, batchsize=3)
    with pytest.raises(StoreError, match="batch_size=0"):
        run(pictures, tmp_path, batch_size=0)


def test_an_interrupted_run_leaves_no_file_open(pictures, tmp_path):
    run(pictures, tmp_path, face_table=table(pictures).iloc[:2])
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(pictures, tmp_path, MeanColour(fail_after=0))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


def test_a_store_that_two_folders_shared_asks_whose_faces_are_meant(twins, tmp_path):
    first, second = twins
    ids = run(first, tmp_path).face_id
    run(second, tmp_path)
    with pytest.raises(StoreError, match=r"different pictures with the same names came from .*Say root="):
        descriptors.select(tmp_path / "store", ids)
    with pytest.raises(StoreError, match="it holds those of"):
        descriptors.select(tmp_path / "store", ids, root=first)
    np.testing.assert_array_equal(
        descriptors.select(tmp_path / "store", ids, root=second).matrix, blue_of_twin(12)
    )

"""The same batches from files, from one array and from shards; damage is named, nothing is dropped."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from faceworkbook import faces, images
from faceworkbook.images import Preprocessing
from faceworkbook.training.batches import shuffle
from faceworkbook.training.pictures import (
    INDEX,
    MANIFEST,
    PixelArray,
    PixelShards,
    Prepared,
    ShardError,
    find_unreadable,
    from_faces,
    open_faces,
    read_all,
    stream,
    write_shards,
)

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

N = 11
BGR = Preprocessing((20, 16), "BGR", (93.594, 104.7624, 129.1863), 0.5)


@pytest.fixture
def table(tmp_path):
    """Eleven coloured pictures, every other one with a face box."""
    rng = np.random.default_rng(1)
    for i in range(N):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (50, 40, 3), dtype=np.uint8))
    edge = [5 if i % 2 else None for i in range(N)]
    end = [35 if i % 2 else None for i in range(N)]
    return faces.build(
        {"image": [f"{i}.png" for i in range(N)], "top": edge, "left": edge, "bottom": end, "right": end},
        dataset="made",
    )


@pytest.fixture
def files(table, tmp_path):
    return from_faces(table, tmp_path, BGR)


@pytest.fixture
def array(files):
    return read_all(files, progress=False)[0]


@pytest.fixture
def shards(files, tmp_path):
    return write_shards(files, tmp_path / "shards", per_shard=4, progress=False)


def test_every_memory_gives_the_pixels_of_extraction(files, array, shards):
    rows = np.array([7, 0, 10, 3])
    expected = np.stack(
        [images.face_pixels(files.paths[r].read_bytes(), BGR, box=files.boxes[r]) for r in rows]
    )
    for source in (files, array, shards):
        np.testing.assert_array_equal(source.take(rows), expected)


def test_every_memory_gives_the_same_batches(files, array, shards):
    batches = shuffle(np.arange(N), batch_size=4, seed=3, epoch=1)
    streams = [
        [x.numpy() for (x,) in stream(batches, lambda rows, source=source: (Prepared(source)[rows],))]
        for source in (files, array, shards)
    ]
    assert sum(len(batch) for batch in streams[0]) == N
    for other in streams[1:]:
        for mine, theirs in zip(streams[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_channels_and_mean_are_the_networks_own_each_way(files, array, shards):
    pixels = array.take(np.array([5]))[0].astype(np.float32)
    blue_first = (pixels[..., ::-1] - np.array(BGR.mean, np.float32)) * 0.5
    for source in (files, array, shards):
        np.testing.assert_allclose(Prepared(source)[np.array([5])][0], blue_first, atol=1e-4)


def test_an_epoch_takes_every_row_once_and_in_another_order_each_time():
    rows = np.arange(100, 165)
    first = shuffle(rows, batch_size=16, seed=0, epoch=0)
    assert sorted(np.concatenate(first)) == rows.tolist()
    assert max(map(len, first)) <= 16
    assert min(map(len, first)) >= 13
    assert (
        np.concatenate(shuffle(rows, batch_size=16, seed=0, epoch=1)).tolist()
        != np.concatenate(first).tolist()
    )
    again = shuffle(rows, batch_size=16, seed=0, epoch=0)
    assert np.concatenate(again).tolist() == np.concatenate(first).tolist()


def test_shards_are_tfrecords_that_tensorflow_reads(shards, array):
    import tensorflow as tf

    paths = sorted(str(p) for p in shards.folder.glob("*.tfrecord"))
    assert len(paths) == 3
    records = [
        tf.train.Example.FromString(r.numpy()).features.feature for r in tf.data.TFRecordDataset(paths)
    ]
    assert [f["row"].int64_list.value[0] for f in records] == list(range(N))
    raw = np.frombuffer(records[6]["pixels"].bytes_list.value[0], np.uint8)
    np.testing.assert_array_equal(raw, array.pixels[6].ravel())


def test_shards_remember_their_preprocessing(shards):
    assert PixelShards(shards.folder).preprocessing == BGR
    assert len(PixelShards(shards.folder)) == N


@pytest.mark.parametrize("missing", [MANIFEST, INDEX])
def test_shards_that_were_not_written_whole_are_refused(shards, missing):
    (shards.folder / missing).unlink()
    with pytest.raises(ShardError, match="no whole set of shards"):
        PixelShards(shards.folder)


def test_a_damaged_shard_is_named(shards):
    path = shards.folder / "faces-00001.tfrecord"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ShardError, match=r"faces-00001.tfrecord: the record of row 4 is damaged"):
        shards.take(np.array([4]))


def test_shards_out_of_order_are_noticed(shards):
    first, second = (shards.folder / f"faces-0000{i}.tfrecord" for i in (0, 1))
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    with pytest.raises(ShardError, match="holds row 4 where row 0 should be"):
        shards.take(np.array([0]))


def test_unreadable_pictures_are_listed_and_not_dropped(files):
    files.paths[2].write_bytes(b"")
    files.paths[9].unlink()
    array, problems = read_all(files, progress=False)
    assert len(array) == N
    assert problems["row"].tolist() == [2, 9] == find_unreadable(files, progress=False)["row"].tolist()
    assert "empty" in problems["reason"][0]
    with pytest.raises(images.UnreadableImage, match=r"9\.png"):
        files.take(np.array([9]))


def test_a_picture_that_vanishes_in_training_is_named(files):
    files.paths[5].unlink()
    batches = np.array_split(np.arange(N), 3)
    with pytest.raises(images.UnreadableImage, match=r"5\.png: cannot be opened"):
        list(stream(batches, lambda rows: (Prepared(files)[rows],)))


@pytest.mark.parametrize("memory", ["high", "low", "shards"])
def test_faces_open_without_the_unreadable_ones_each_way(table, array, tmp_path, memory):
    (tmp_path / "4.png").write_bytes(b"broken")
    source, unreadable = open_faces(
        table, tmp_path, BGR, memory=memory, folder=tmp_path / "s", progress=False
    )
    assert unreadable["face_id"].tolist() == ["made:4.png"]
    np.testing.assert_array_equal(source.take(np.arange(10)), np.delete(array.pixels, 4, axis=0))


@pytest.fixture
def points():
    """Five points a face, none of the third one."""
    eyes = np.array([[12, 14], [28, 19], [20, 25], [14, 33], [27, 34]], float)
    points = np.tile(eyes, (N, 1, 1)) + np.arange(N)[:, None, None] / 4
    points[2] = np.nan
    return points


@pytest.mark.parametrize("align", ["five_points", "upright"])
@pytest.mark.parametrize("memory", ["high", "low", "shards"])
def test_pictures_are_aligned_at_the_points_that_are_given(table, points, tmp_path, memory, align):
    (tmp_path / "1.png").write_bytes(b"no picture")
    own = replace(BGR, align=align, crop_margin=0.2)
    kept = {"memory": memory, "folder": tmp_path / "shards", "progress": False}
    source, unreadable = open_faces(table, tmp_path, own, points=points, **kept)
    assert len(unreadable) == 1 and len(source) == N - 1
    good = np.delete(np.arange(N), 1)
    boxes = [(5, 5, 35, 35) if i % 2 else None for i in good]
    read = [(tmp_path / f"{i}.png").read_bytes() for i in good]
    expected = [
        images.face_pixels(data, own, box=box, points=points[i])
        for data, box, i in zip(read, boxes, good, strict=True)
    ]
    np.testing.assert_array_equal(source.take(np.arange(N - 1)), np.stack(expected))
    unaligned = images.face_pixels(read[0], replace(own, align="none"))
    assert (source.take(np.array([0]))[0] != unaligned).any()


def test_a_network_that_aligns_is_not_given_unaligned_faces(table, points, tmp_path):
    with pytest.raises(ValueError, match=r"reads faces aligned .* and no points were given"):
        from_faces(table, tmp_path, replace(BGR, align="five_points"))
    with pytest.raises(ValueError, match=r"points have shape \(10, 5, 2\); expected \(11, 5, 2\)"):
        from_faces(table, tmp_path, replace(BGR, align="five_points"), points=points[1:])


def test_other_points_are_other_pictures(table, points, tmp_path):
    own, rows = replace(BGR, align="five_points"), np.arange(3)
    prints = [from_faces(table, tmp_path, own, points=p).fingerprint(rows) for p in (points, points + 1)]
    moved = points.copy()
    moved[5] += 1  # of a face that was not asked for
    again = from_faces(table, tmp_path, own, points=moved).fingerprint(rows)
    assert prints[0] != prints[1] and prints[0] == again


def test_other_kinds_of_memory_are_refused(table, tmp_path):
    with pytest.raises(ValueError, match="memory='some'; allowed are"):
        open_faces(table, tmp_path, BGR, memory="some")


@pytest.mark.parametrize("wrong", [np.zeros((2, 20, 16, 3), np.float32), np.zeros((2, 16, 20, 3), np.uint8)])
def test_an_array_of_other_pixels_is_refused(wrong):
    with pytest.raises(ValueError, match="expected uint8"):
        PixelArray(wrong, BGR)

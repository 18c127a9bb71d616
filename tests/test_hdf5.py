"""HDF5 files that keep the C library busy, end the process or lie elsewhere: one sentence at every door."""

from __future__ import annotations

import signal
import zipfile

import h5py
import numpy as np
import pytest

from faceworkbook import hdf5
from faceworkbook.backbones import WeightsError, h5_weights, keras_file
from faceworkbook.descriptors import vector_files
from tests.support import vgg_files

ENDLESS = b"GCOL"  # a heap of names; the byte after its head is the first name's size, and 0 is read for ever


@pytest.fixture
def weights(tmp_path):
    layers = {"conv1_1": {"kernel:0": np.ones((3, 3, 3, 4), "f4"), "bias:0": np.zeros(4, "f4")}, "pool": {}}
    vgg_files.write_keras_weights(tmp_path / "a.h5", layers)
    return tmp_path / "a.h5"


@pytest.fixture
def endless(weights, monkeypatch):
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    content = bytearray(weights.read_bytes())
    content[content.index(ENDLESS) + 24] = 0
    weights.write_bytes(content)
    return weights


def test_a_heap_that_is_read_for_ever_is_one_sentence(endless):
    with pytest.raises(
        WeightsError, match=r"a.h5 is damaged.* did not end within 1 s .*copy or fetch it again"
    ):
        h5_weights.read(endless)


def test_descriptors_from_a_file_that_is_read_for_ever(endless):
    with pytest.raises(vector_files.VectorFileError, match="did not end within 1 s"):
        vector_files.read(endless)


def test_a_keras_archive_is_read_apart_too(endless):
    path = endless.with_name("net.keras")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(endless, "model.weights.h5")
    with pytest.raises(WeightsError, match=r"net.keras is damaged.* did not end within 1 s"):
        keras_file.open_model(path)


def test_an_archive_that_unpacks_to_gigabytes_is_refused(weights, monkeypatch):
    monkeypatch.setattr(hdf5, "FREE_BYTES", 100)
    path = weights.with_name("net.keras")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**7))
    with pytest.raises(WeightsError, match=r"model.weights.h5 unpacks to far more"):
        hdf5.check(path, error=WeightsError)


def test_a_file_is_read_apart_once_and_again_when_it_has_changed(weights, monkeypatch):
    children = []
    run = hdf5.subprocess.run
    monkeypatch.setattr(hdf5.subprocess, "run", lambda *a, **k: children.append(a) or run(*a, **k))
    assert not h5_weights.is_whole_model(weights)
    assert list(h5_weights.read(weights)) == ["conv1_1"] and len(children) == 1
    weights.write_bytes(weights.read_bytes() + b"\0")
    h5_weights.read(weights)
    assert len(children) == 2


def test_a_trusted_file_needs_no_process(weights, monkeypatch):
    monkeypatch.setattr(hdf5.subprocess, "run", None)
    with hdf5.open_file(weights, error=ValueError, trusted=[hdf5._sha256(weights)]) as file:
        assert "conv1_1" in file


def external_link(file):
    file["other"] = h5py.ExternalLink("b.h5", "/a")


def external_storage(file):
    file.create_dataset("a", (4,), "f4", external=[("b.bin", 0, 16)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("b.h5", "a", (4,))
    file.create_virtual_dataset("a", layout)


def too_large(file):
    file.create_dataset("a", (10**5, 10**5), "f4", chunks=(100, 100), compression="gzip")


@pytest.mark.parametrize(
    ("add", "message"),
    [
        *((add, "does not lie in the file itself") for add in (external_link, external_storage, virtual)),
        (too_large, r"/a announces \(100000, 100000\), far more than the file holds"),
    ],
)
def test_what_lies_elsewhere_or_cannot_be_there_is_refused(tmp_path, add, message):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["descriptors"] = np.ones((3, 4), "f4")
        add(file)
    with pytest.raises(vector_files.VectorFileError, match=message):
        vector_files.read(tmp_path / "v.h5")


def test_arrays_in_pieces_and_texts_are_read_whole(tmp_path):
    matrix = np.random.default_rng(0).random((500, 8)).astype("f4")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("descriptors", data=matrix, chunks=(7, 3), compression="gzip")
        file["images"] = [f"{i}.png" for i in range(500)]
        file.attrs["note"] = "x"
    vectors = vector_files.read(tmp_path / "v.h5")
    np.testing.assert_array_equal(vectors.matrix, matrix)
    assert vectors.names.iloc[499] == "499.png"


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="no such signal here")
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (-11, r"ended the process \(SIGSEGV\)"),
        (-9, "did not end within 3 s"),
        (3, "it takes more"),
        (1, "failed .*boom"),
    ],
)
def test_how_a_process_ended_stands_in_the_error(weights, monkeypatch, status, reason):
    done = hdf5.subprocess.CompletedProcess([], status, b"it takes more", b"boom")
    monkeypatch.setattr(hdf5.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(WeightsError, match=reason):
        h5_weights.read(weights)

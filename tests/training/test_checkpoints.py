"""Checkpoints: killed and started again, damaged, of another run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faceworkbook.training import checkpoint
from faceworkbook.training.checkpoint import CheckpointError

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

# Augmentation, dropout, batch norm, a thawing group and a decay: all that could differ after a restart.
PROGRAM = """
import os, signal, sys
from pathlib import Path
import numpy as np
from faceworkbook import tasks
from faceworkbook.models.multitask import make_head
from faceworkbook.training import cutting, fine_tune
from faceworkbook.training.augment import Augmentation
from faceworkbook.training.pictures import PixelArray
from faceworkbook.training.schedules import cosine
from tests.training import toy_network as toy

class Deadly(PixelArray):
    folder, deadly_epoch = None, 0

    def take(self, rows):
        # The epoch before is written when its row stands in the history.
        written = self.folder / "history.csv"
        if self.deadly_epoch and written.exists() and len(written.read_text().splitlines()) > self.deadly_epoch:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().take(rows)


def train(folder, deadly_epoch):
    fine_tune.make_reproducible(3)
    pixels, codes = toy.pictures(48)
    labels = tasks.labels_of_classes(np.where(codes, "above", "below"), name="light")
    split = toy.Split(np.arange(36), np.arange(36, 48))
    network = cutting.assemble(toy.backbone(), [make_head(labels, rows=split.train)], hidden=(8,), dropout=0.5)
    settings = fine_tune.Settings(
        epochs=4, batch_size=6, learning_rate=cosine(1e-3, epochs=4), unfreeze=((0, "conv_1_relu"), (2, None)),
        lr_multipliers={"trunk": 0.5}, augmentation=Augmentation(), label_smoothing=0.1, seed=3, progress=False,
    )
    source = Deadly(pixels, toy.PREPROCESSING)
    source.folder, source.deadly_epoch = folder, deadly_epoch
    fitted = fine_tune.fit(network, source, {"light": labels}, split=split, settings=settings, folder=folder)
    np.savez(folder.with_suffix(".npz"), *network.net.model.get_weights())
    fitted.history.to_csv(folder.with_suffix(".csv"), index=False)


for given in sys.argv[1:]:
    folder, deadly_epoch = given.rsplit(":", 1)
    train(Path(folder), int(deadly_epoch))
"""
REPO = Path(__file__).resolve().parents[2]


def run(*given: str) -> int:
    """Train once for each FOLDER:EPOCHS in a process, which kills itself in the epoch after so many were written."""
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": f"{REPO / 'lib'}{os.pathsep}{REPO}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *given], env=environment, cwd=REPO, check=False
    ).returncode


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(f"{whole}:0", f"{killed}:2") == -signal.SIGKILL
    assert len((killed / "history.csv").read_text().splitlines()) == 1 + 2
    assert run(f"{killed}:0") == 0
    with np.load(tmp_path / "whole.npz") as expected, np.load(tmp_path / "killed.npz") as resumed:
        assert expected.files == resumed.files
        for name in expected.files:
            np.testing.assert_array_equal(resumed[name], expected[name])
    assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()


IDENTITY = {"settings": {"epochs": 3, "rate": 0.1}, "labels": "0" * 32, "layers": ["a", "b"]}
ARRAYS = {"state": [np.arange(6.0).reshape(2, 3), np.array(4)], "best": [np.ones(2, np.float32)]}


def write(path: Path) -> Path:
    checkpoint.write(path, identity=IDENTITY, arrays=ARRAYS, record={"history": [{"loss": 0.5}]})
    return path


def read(path: Path, identity: dict | None = None):
    identity = identity or IDENTITY
    return checkpoint.read(path, identity=identity, groups=("state", "best"), keys=("history",))


def same_as_written(arrays: dict) -> bool:
    return all(
        a.shape == np.shape(b) and np.array_equal(a, b)
        for name, members in ARRAYS.items()
        for a, b in zip(arrays[name], members, strict=True)
    )


def test_what_is_written_is_read_and_nothing_lies_beside(tmp_path):
    arrays, record = read(write(tmp_path / "c.npz"))
    assert same_as_written(arrays) and record == {"history": [{"loss": 0.5}]}
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


def test_any_damage_ends_in_one_kind_of_error_or_in_what_was_written(tmp_path):
    whole = write(tmp_path / "c.npz").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(len(damaged))]
        else:
            for place in rng.integers(len(damaged), size=rng.integers(1, 4)):
                damaged[place] ^= 1 << rng.integers(8)
        (tmp_path / "d.npz").write_bytes(damaged)
        try:
            arrays, record = read(tmp_path / "d.npz")
        except CheckpointError as error:
            refused += 1
            assert "delete it to start anew" in str(error)
        else:
            # Zip headers hold bytes that nobody reads, such as dates.
            assert same_as_written(arrays) and record == {"history": [{"loss": 0.5}]}
    assert refused > 150


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"record": 3, "identity": {}}', "{", "\udcff"])
def test_a_record_of_another_shape_is_refused(tmp_path, text):
    raw = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
    np.savez(tmp_path / "c.npz", record=raw)
    with pytest.raises(CheckpointError, match="is no whole checkpoint"):
        read(tmp_path / "c.npz")


def test_a_record_that_lacks_a_key_is_refused(tmp_path):
    checkpoint.write(tmp_path / "c.npz", identity=IDENTITY, arrays=ARRAYS, record={})
    with pytest.raises(CheckpointError, match=r"lacks \['history'\]"):
        read(tmp_path / "c.npz")


def test_the_error_names_what_differs(tmp_path):
    other = {"settings": {"epochs": 4, "rate": 0.1}, "labels": "1" * 32, "layers": ["a", "b"]}
    with pytest.raises(
        CheckpointError,
        match=r"belongs to another run \(settings.epochs is 3 there, 4 here; labels differs\); delete it",
    ):
        read(write(tmp_path / "c.npz"), other)


def test_arrays_of_other_shapes_are_not_assigned():
    import keras

    variables = [keras.Variable(np.zeros((2, 3))), keras.Variable(0.0)]
    with pytest.raises(CheckpointError, match="do not fit the 2 variables"):
        checkpoint.assign(variables, [np.zeros((3, 2)), np.array(0.0)])
    assert float(variables[0].numpy().sum()) == 0


class Watched(np.ndarray):
    """An array that notes how many rows were asked for at once."""

    most = 0

    def __getitem__(self, rows):
        Watched.most = max(Watched.most, np.size(rows))
        return np.asarray(super().__getitem__(rows))


def test_rows_are_hashed_in_blocks_by_content(tmp_path):
    x = np.random.default_rng(0).normal(size=(3 * checkpoint.BLOCK, 2)).astype(np.float32)
    rows = np.arange(0, len(x) - 5)
    known = checkpoint.fingerprint_rows(x.view(Watched), rows)
    assert Watched.most == checkpoint.BLOCK
    np.save(tmp_path / "x.npy", x)
    assert checkpoint.fingerprint_rows(np.load(tmp_path / "x.npy", mmap_mode="r"), rows) == known
    x[-1] += 1
    assert checkpoint.fingerprint_rows(x, rows) == known, "a row that is not trained on"
    x[7, 1] += 1
    assert checkpoint.fingerprint_rows(x, rows) != known

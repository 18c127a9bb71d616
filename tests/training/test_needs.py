"""Disk and memory of fine-tuning are estimated before it starts: the estimate is that of the file, and it is bounded."""

import re

import numpy as np
import pytest

from faceworkbook import backbones
from faceworkbook.models.multitask import make_head
from faceworkbook.training import cutting, fine_tune, needs
from tests.training import toy_network as toy

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]
LAYER = "conv_pw_11_relu"


@pytest.fixture(scope="module")
def net():
    return backbones.load("faceres_deep")


def test_precomputed_layers_take_what_their_file_will_have(net):
    need = needs.estimate(net, faces=10, fitted=7, precompute=LAYER, sides=2)
    output = net.full.get_layer(LAYER).output.shape[1:]
    assert need.disk[f"output of {LAYER}"] == np.empty((2, 7, *output), np.float32).nbytes
    small = needs.estimate(net.adjusted(resolution=112), faces=10, fitted=7, precompute=LAYER, sides=2)
    assert small.disk[f"output of {LAYER}"] * 4 == need.disk[f"output of {LAYER}"]


def test_a_checkpoint_of_each_fit_lies_there_at_the_end(net, tmp_path):
    one, eleven = (needs.estimate(net, faces=1, fitted=1, fits=fits) for fits in (1, 11))
    assert eleven.disk == {"checkpoints": 11 * one.disk["checkpoints"]} and eleven.memory == one.memory
    with pytest.raises(needs.NeedError, match=r"GB of disk \(checkpoints: .*or take fewer folds"):
        eleven.check(0.2, tmp_path)


def test_no_checkpoint_is_larger_than_stated(monkeypatch, tmp_path):
    source, split = toy.source(12), toy.Split(np.arange(8), np.arange(8, 12))
    labels = toy.labels(12)
    network = cutting.assemble(toy.backbone(), [make_head(labels["light"], rows=split.train)], dropout=0.0)
    settings = fine_tune.Settings(epochs=1, ema=0.9, progress=False)
    fine_tune.fit(network, source, labels, split=split, settings=settings, folder=tmp_path)
    with np.load(tmp_path / "checkpoint.npz") as file:
        written = sum(file[name].nbytes for name in file.files if ":" in name)
    weights = network.net.model.count_params() * needs.FLOAT
    # Beside them there are only counters of steps and generators of dropout.
    assert 4.5 * weights < written < needs.COPIES * weights + 200


def test_pictures_lie_in_memory_on_disk_or_nowhere(net):
    size = 10 * 224 * 224 * 3
    high, low, shards = (
        needs.estimate(net, faces=10, fitted=7, memory=how) for how in ("high", "low", "shards")
    )
    assert high.memory["decoded pictures"] == shards.disk["decoded pictures"] == size
    assert "decoded pictures" not in {**high.disk, **low.disk, **low.memory, **shards.memory}


def test_what_a_run_takes_is_described_and_what_is_too_much_is_refused(net, tmp_path):
    need = needs.estimate(net, faces=12_000, fitted=10_000, precompute="conv_pw_9_relu", sides=2)
    assert re.fullmatch(
        r"This run will take about 8\.\d GB of disk \(output of conv_pw_9_relu: 8\.0\) and about 1\.\d GB of memory "
        r"\(decoded pictures: 1\.8\)\.",
        need.describe(),
    )
    need.check(10, tmp_path / "not" / "yet")
    with pytest.raises(
        needs.NeedError, match=r"8\.\d GB of disk .*max_gb=4 allows 4 GB; raise max_gb.*precompute"
    ):
        need.check(4, tmp_path)
    with pytest.raises(needs.NeedError, match=r"GB of memory .*max_gb=1 allows .*memory to low"):
        needs.estimate(net, faces=12_000, fitted=10_000).check(1, tmp_path)


def test_a_full_disk_is_named_before_anything_is_written(net, tmp_path, monkeypatch):
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2e9}))
    need = needs.estimate(net, faces=12_000, fitted=10_000, precompute="conv_pw_9_relu")
    with pytest.raises(needs.NeedError, match=r"4\.\d GB of disk .* has 2\.0 GB free; make room"):
        need.check(100, tmp_path)


def test_a_layer_that_there_is_not_is_refused(net):
    with pytest.raises(needs.NeedError, match="precompute='conv9'; faceres_deep has input_1"):
        needs.estimate(net, faces=1, fitted=1, precompute="conv9")

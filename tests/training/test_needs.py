"""Disk and memory of fine-tuning are estimated before it starts: the estimate is that of the file, and it is bounded."""

import re

import numpy as np
import pytest

from faceworkbook import backbones
from faceworkbook.training import needs

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

"""Several taps of one network: one pass, a store each, and a run that was killed goes on in one pass too."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from faceworkbook import backbones, datasets, descriptors, faces, images
from faceworkbook.backbones.base import Tap
from faceworkbook.descriptors import extraction, together
from faceworkbook.descriptors.layout import StoreError
from tests.backbones.test_own_onnx import CAR, put, weights
from tests.conftest import REPO

__all__ = ["weights"]
N, DIMS = 30, {"mean": 3, "corner": 2}
PREPROCESSING = images.Preprocessing(size=(8, 8), channels="RGB", mean=(0, 0, 0))
SYNTHETIC = REPO / "data/synthetic"


@dataclass(frozen=True)
class Toy:
    """A network without a model; see `Runner`."""

    tap: str = "mean"
    beside: tuple[str, ...] = ()
    name: str = "tiny"
    fingerprint: str = "f" * 64
    weights: str = ""
    mirror: str = ""
    resolution: int = 0
    is_own: bool = False
    preprocessing: images.Preprocessing = PREPROCESSING

    def together(self, taps):
        return replace(self, tap=taps[0], beside=tuple(taps[1:]))

    @property
    def dims(self):
        return tuple(DIMS[tap] for tap in (self.tap, *self.beside))

    @property
    def dim(self):
        return sum(self.dims)


class Runner:
    """Reads mean colour and corner; counts faces by the taps of the pass, and stops after so many batches."""

    name, batch_size, settings = "toy", 4, {"name": "toy"}

    def __init__(self, net, counts, *, batches=None):
        self.taps, self.counts, self.left = (net.tap, *net.beside), counts, batches

    def run(self, pixels):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        self.counts[self.taps] += len(pixels)
        read = {"mean": pixels.mean(axis=(1, 2)), "corner": pixels[:, 0, 0, :2]}
        return np.concatenate([read[tap] for tap in self.taps], axis=1).astype(np.float32)


def table_of(n):
    return faces.build({"image": [f"{i}.png" for i in range(n)]}, dataset="toy")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`N` pictures, one of them unreadable, and a function that extracts several taps and counts."""
    rng = np.random.default_rng(0)
    for i in range(N):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (12, 10, 3), np.uint8))
    (tmp_path / "7.png").write_bytes(b"no picture")

    def extract(taps, *, n=N, first=0, batches=None):
        counts = Counter()
        monkeypatch.setattr(
            extraction, "choose", lambda job, pixels: Runner(job.backbone, counts, batches=batches)
        )
        stores = [tmp_path / f"store-{tap}" for tap in taps]
        made = descriptors.extract_all(
            table_of(n).iloc[first:],
            [Toy(tap) for tap in taps],
            root=tmp_path,
            stores=stores,
            progress=False,
        )
        return made, counts

    return extract


def test_two_taps_take_one_pass_and_each_is_as_if_it_had_been_alone(made, tmp_path):
    (mean, corner), counts = made(["mean", "corner"])
    assert counts == {("mean", "corner"): N - 1}
    for own, tap in ((mean, "mean"), (corner, "corner")):
        assert own.folder == tmp_path / f"store-{tap}" and own.manifest["recipe"]["tap"] == tap
        assert own.left_out["image"].tolist() == ["7.png"]
        assert own.manifest["engines"] == [{"name": "toy"}]
        store = tmp_path / f"alone-{tap}"
        alone = descriptors.extract(table_of(N), Toy(tap), root=tmp_path, store=store, progress=False)
        assert own.fingerprint == alone.fingerprint
    assert made(["mean", "corner"])[1] == {}, "nothing is computed again"


def test_a_killed_run_goes_on_in_one_pass(made):
    with pytest.raises(KeyboardInterrupt):
        made(["mean", "corner"], batches=3)
    (mean, corner), counts = made(["mean", "corner"])
    assert set(counts) == {("mean", "corner")} and 0 < counts["mean", "corner"] <= N - 1 - 11
    assert len(mean) == len(corner) == N - 1
    np.testing.assert_array_equal(mean.face_id, corner.face_id)


def test_a_tap_that_is_there_is_not_computed_again_and_faces_that_both_lack_are_read_once(made):
    made(["mean"], n=10)
    assert made(["mean", "corner"], n=10)[1] == {("corner",): 9}
    (mean, corner), counts = made(["mean", "corner"], n=20)
    assert counts == {("mean", "corner"): 10} and len(mean) == len(corner) == 19


def test_a_store_of_other_faces_and_stale_pictures_keeps_what_is_true_through_a_kill(made, tmp_path):
    (before,), _ = made(["mean"], first=18)
    changed = np.full((12, 10, 3), 77, np.uint8)
    cv2.imwrite(str(tmp_path / "19.png"), changed)
    with pytest.raises(KeyboardInterrupt):
        made(["mean", "corner"], n=20, batches=2)
    (mean, corner), counts = made(["mean", "corner"], n=20)
    assert counts["mean", "corner"] <= 18 - 1 - 4 and counts["corner",] <= 1
    for own, tap in ((mean, "mean"), (corner, "corner")):
        store = tmp_path / f"alone-{tap}"
        alone = descriptors.extract(table_of(20), Toy(tap), root=tmp_path, store=store, progress=False)
        np.testing.assert_array_equal(own.matrix, alone.matrix)
        np.testing.assert_array_equal(own.face_id, alone.face_id)
    np.testing.assert_array_equal(mean.matrix[mean.face_id == "toy:19.png"], [[77, 77, 77]])
    (again,), counts = made(["mean"], first=20)
    assert counts == {}, "faces that were not asked for are kept"
    np.testing.assert_array_equal(again.matrix, before.matrix[2:])


def test_a_store_that_is_named_twice_is_refused(tmp_path):
    stores = [tmp_path / "store", f"{tmp_path}/./store"]
    with pytest.raises(StoreError, match="store is named twice; give each tap"):
        descriptors.extract_all(table_of(2), [Toy("mean"), Toy("corner")], root=tmp_path, stores=stores)


def test_taps_go_together_where_they_see_the_same_pictures():
    net = Toy()
    other = replace(net, preprocessing=replace(net.preprocessing, crop_margin=0.3))
    assert together.group([net, other, replace(net, tap="corner"), replace(net, mirror="mean")]) == [
        [0, 2],
        [1],
        [3],
    ]


@pytest.mark.tensorflow
@pytest.mark.xdist_group("tensorflow")
def test_two_taps_of_a_network_of_ones_own_are_read_in_one_run_and_each_is_checked(weights, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra [fast] is not installed")
    put(weights, car=CAR)
    net = backbones.load("mine")
    taps = {"descriptor": replace(net.tap_table[net.tap], scales_to_one=True), "flat": Tap("flat", 48)}
    net = replace(net, tap="descriptor", tap_table=taps)
    table = datasets.load("synthetic", SYNTHETIC).faces.head(40)
    given = {"root": SYNTHETIC, "progress": False}
    nets = [net, net.at("flat")]
    both = descriptors.extract_all(table, nets, stores=[tmp_path / tap for tap in taps], **given)
    for one, own in zip(nets, both, strict=True):
        alone = descriptors.extract(table, one, store=tmp_path / f"alone-{one.tap}", **given)
        np.testing.assert_allclose(own.matrix, alone.matrix, rtol=1e-5, atol=1e-6)
        assert own.manifest["check"]["faces"] == 32 and "check" not in own.manifest["engines"][0]
        assert own.manifest["recipe"] == alone.manifest["recipe"]

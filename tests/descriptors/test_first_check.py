"""The check of a network of one's own: what it refuses, what it writes down."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from faceworkbook import backbones, datasets, descriptors
from faceworkbook.descriptors import StoreError, first_check
from tests.backbones.test_own_onnx import CAR, put, weights
from tests.conftest import REPO

__all__ = ["weights"]
SYNTHETIC = REPO / "data/synthetic"
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)


class Runner:
    settings: ClassVar = {}

    def __init__(self, run):
        self.run = run


def means(pixels):
    return pixels.reshape(len(pixels), -1).astype(np.float32)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda p: means(p) * np.nan, "not finite for 6 of 6 faces"),
        (lambda p: np.zeros((len(p), 5), np.float32), "zeros alone for 6 of 6 faces"),
        (lambda p: means(p) * (p != PIXELS[2]).any(axis=(1, 2, 3))[:, None], "zeros alone for 1 of 6 faces"),
        (lambda p: np.ones((len(p), 5), np.float32), "the same descriptor for all of 6 faces"),
        (lambda p: means(p) - means(p).mean(axis=0), "other descriptors in a batch than one by one"),
        (
            lambda p: np.float32(1 + (p[:, :1, 0, 0] > np.median(PIXELS[:, 0, 0, 0]))),
            "one descriptor for .* of the pairs",
        ),
    ],
)
def test_a_network_that_fails_is_refused_in_one_sentence(run, message):
    with pytest.raises(StoreError, match=f"mine fails its check on the first faces: it .*{message}"):
        first_check.check("mine", Runner(run), PIXELS)


def test_figures_of_a_good_network_and_of_copies():
    figures = first_check.check("mine", Runner(means), PIXELS)
    assert figures["faces"] == 6 and figures["same_pairs"] == 0 and figures["batch_cosine"] > 0.9999
    copies = first_check.check("mine", Runner(means), np.repeat(PIXELS[:1], 4, axis=0))
    assert copies["constant"] is None
    assert "all pictures are the same" in first_check.describe(copies)["different faces"]
    words = first_check.describe(figures)
    assert words["faces that were checked"] == "6" and len(words) == len(figures)
    assert not any("_" in name for name in words)


def check_figures_are_kept(weights, tmp_path, *, cluster=None):
    """Extract with an ONNX file, one machine or a cluster computing, and look at what its check left."""
    put(weights, car=CAR + "normalisation: L2\n")
    net = backbones.load("mine")
    faces = datasets.load("synthetic", SYNTHETIC).faces.head(40)
    options = {"root": SYNTHETIC, "store": tmp_path / "store", "progress": False}
    stored = descriptors.extract(faces, net, cluster=cluster, **options)
    assert stored.manifest["check"]["faces"] == 32 and len(stored) == 40
    np.testing.assert_allclose(np.linalg.norm(stored.matrix, axis=1), 1, atol=1e-5)
    more = datasets.load("synthetic", SYNTHETIC).faces.head(44)
    assert "check" in descriptors.extract(more, net, **options).manifest


def test_an_onnx_file_is_checked_once_on_32_faces_and_the_figures_are_kept(weights, tmp_path):
    check_figures_are_kept(weights, tmp_path)

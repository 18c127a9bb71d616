"""Descriptors side by side: each in its own store, of the faces that all have."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceworkbook import descriptors, faces
from faceworkbook.descriptors import StoreError

N = 9
NAMES = [f"{i}.png" for i in range(N)]


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(NAMES):
        cv2.imwrite(str(tmp_path / name), np.full((6, 6, 3), 20 * i, np.uint8))
    return tmp_path


def read(root, name, vectors, names=NAMES):
    np.save(root / f"{name}.npy", vectors)
    table = faces.build({"image": NAMES}, dataset="toys")
    return descriptors.read(root / f"{name}.npy", table, root=root, store=root / name, ids=list(names))


def values(dim, *, seed):
    return np.random.default_rng(seed).normal(size=(N, dim)).astype(np.float32)


def test_blocks_stand_side_by_side_at_the_faces_that_all_have(root):
    a, b = values(3, seed=0), values(2, seed=1)
    joined = descriptors.join([read(root, "a", a), read(root, "b", b[::-1][:7], NAMES[::-1][:7])])
    assert len(joined) == 7 and joined.dim == 5
    np.testing.assert_array_equal(joined.matrix, np.hstack([a, b])[2:])
    assert joined.face_id.tolist() == [f"toys:{name}" for name in NAMES[2:]]
    assert joined.left_out["image"].tolist() == NAMES[:2]
    for own, whole in zip(joined.blocks, (a, b), strict=True):
        np.testing.assert_array_equal(own.matrix, whole[2:])


def test_a_combination_is_known_by_the_content_of_its_blocks_and_their_order(root):
    one, other = read(root, "a", values(3, seed=0)), read(root, "b", values(2, seed=1))
    known = descriptors.join([one, other]).fingerprint
    assert descriptors.join([one, other]).fingerprint == known
    assert descriptors.join([other, one]).fingerprint != known
    assert descriptors.join([one, read(root, "b", values(2, seed=2))]).fingerprint != known
    assert descriptors.join([one]) is one


def test_what_cannot_stand_side_by_side_is_refused(root):
    one = read(root, "a", values(3, seed=0), NAMES)
    with pytest.raises(StoreError, match=r"hold the same descriptors; name each once"):
        descriptors.join([one, one])
    apart = [
        read(root, "c", values(3, seed=0)[:3], NAMES[:3]),
        read(root, "d", values(3, seed=1)[:3], NAMES[5:8]),
    ]
    with pytest.raises(StoreError, match=r"no face has descriptors in all of .*c, .*d"):
        descriptors.join(apart)
    cv2.imwrite(str(root / NAMES[4]), np.full((6, 6, 3), 255, np.uint8))
    with pytest.raises(StoreError, match="different pictures: 1 of 9 faces differ"):
        descriptors.join([one, read(root, "e", values(3, seed=3))])


def test_the_cosine_of_rows_is_the_mean_of_their_blocks_whatever_their_lengths():
    a, b = values(3, seed=0), values(5, seed=1)
    units = descriptors.unit_blocks(np.hstack([1000 * a, b]), (3, 5))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    parts = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    expected = sum(x @ x.T for x in parts) / 2
    np.testing.assert_allclose(units @ units.T, expected, atol=1e-6)
    assert descriptors.unit_blocks(a, (3,)) is a
    assert not descriptors.unit_blocks(np.zeros((2, 8), np.float32), (3, 5)).any()

"""Small products take one thread: more wait for each other, on a machine with other work ten times as long."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import manifold
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from faceworkbook import linear
from faceworkbook.models.linear import fit_classes
from faceworkbook.plots import descriptor_map
from faceworkbook.serving.spread import Spread

ROWS = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
CODES = np.arange(40) % 2


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] in ("blas", "openmp")}


@pytest.mark.parametrize(
    "owner, method, call",
    [
        (LogisticRegression, "fit", lambda: fit_classes((ROWS, CODES), (ROWS, CODES), n_classes=2)),
        (LogisticRegression, "fit", lambda: linear.fit(ROWS, CODES)),
        (manifold.TSNE, "fit_transform", lambda: descriptor_map.embed(ROWS)),
        (np.linalg, "svd", lambda: Spread.fit(ROWS, ROWS)),
    ],
    ids=["reference", "plain classifier", "map", "spread of a predictor"],
)
def test_one_thread_computes_and_the_others_are_given_back(owner, method, call, monkeypatch):
    used, original = [], getattr(owner, method)

    def watched(*arguments, **options):
        used.append(threads())
        return original(*arguments, **options)

    monkeypatch.setattr(owner, method, watched)
    with threadpool_limits(2):
        call()
        assert threads() == {2}
    assert used and all(each == {1} for each in used)

"""The real renderer where its data are installed, and one with a toy head where they are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceworkbook.synthetic import hair, headmodel, skin


@pytest.fixture
def renderer():
    try:
        headmodel.data_folder()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


def ellipsoid(centre, radii, n):
    """Vertices (n * n, 3) and triangles of an ellipsoid that is open at its poles."""
    down, around = np.meshgrid(
        np.linspace(0.001, np.pi - 0.001, n), np.linspace(-np.pi, np.pi, n), indexing="ij"
    )
    away = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], axis=-1)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    upper = np.stack([corner, corner + n, corner + 1], axis=1)
    lower = np.stack([corner + 1, corner + n, corner + n + 1], axis=1)
    return np.array(centre) + away.reshape(-1, 3) * radii, np.concatenate([upper, lower])


def toy_mesh():
    """An egg with two eyes and something like a mouth, where MakeHuman's head is."""
    solids = [ellipsoid((0, 7.1, 0.4), (0.85, 1.65, 1.0), 80)]
    solids += [ellipsoid((x, 7.3, 1.3), (0.13,) * 3, 12) for x in (0.3, -0.3)]
    solids += [ellipsoid((0, y, 1.35), (0.1, 0.03, 0.05), 8) for y in (6.7, 6.6, 6.65)]
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in solids])
    vertices = np.concatenate([vertices for vertices, _ in solids])
    triangles = np.concatenate([t + start for (_, t), start in zip(solids, starts[:-1], strict=True)])
    surface = np.repeat(np.arange(len(solids)), [len(t) for _, t in solids])
    uv = (vertices[triangles][..., :2] * [0.4, 0.3] + [0.5, -1.6]).clip(0, 1)
    return headmodel.Mesh(vertices, triangles, surface, uv)


@pytest.fixture
def toy_head(monkeypatch, tmp_path):
    """The renderer with a toy mesh and toy shape targets, which need no extra."""
    pytest.importorskip("numba", reason="the renderer takes minutes without numba")
    from faceworkbook.synthetic import render

    def toy_target(name):
        rng = np.random.default_rng(sum(map(ord, name)))
        return rng.choice(6400, 200, replace=False), rng.normal(0, 0.004, (200, 3))

    (tmp_path / "mpfb2/textures").mkdir(parents=True)
    for name in ("lips", "inside-mouth", "eyelids"):
        cv2.imwrite(str(tmp_path / f"mpfb2/textures/mpfb_{name}.jpg"), np.eye(64, dtype=np.uint8) * 200)
    mesh = toy_mesh()
    monkeypatch.setattr(headmodel, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(headmodel, "load_mesh", lambda: mesh)
    monkeypatch.setattr(headmodel, "load_target", toy_target)
    cached = [
        *(hair._scalp_cells, hair._front_lookup, hair._lid_edges, render._uv_mask),
        *(skin.load_canvas, skin._front_depth, skin.furrow_layers, skin.furrow_stack, skin.beard_layers),
    ]
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()

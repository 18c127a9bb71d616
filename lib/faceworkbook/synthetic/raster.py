"""A small software renderer: triangles and hair strands into a depth-tested buffer.

General renderers take seconds for a picture on one core, this one hundredths of a second. It is compiled with
numba (extra ``[synthetic]``) at first use; without numba the same code runs slowly.
"""

from __future__ import annotations

import numpy as np

try:
    from numba import njit
except ModuleNotFoundError:  # labels, people and scenes can be drawn without a renderer

    def njit(**_):
        """Leave the function as it is."""
        return lambda function: function


@njit(cache=True)
def fill_triangles(points, triangles, size):
    """Rasterise triangles given in pixels.

    Parameters
    ----------
    points : float array of shape (n, 3)
        x and y in pixels (y down, pixel centres at .5), and depth (distance to the camera, > 0).
    triangles : int array of shape (m, 3)
        Rows of `points`.
    size : int
        Width and height of the buffer.

    Returns
    -------
    depth : float32 array of shape (size, size)
        Infinity where nothing was drawn.
    hit : int32 array of shape (size, size)
        Index of the visible triangle, -1 where nothing was drawn.
    weights : float32 array of shape (size, size, 3)
        Perspective-correct barycentric weights of the visible triangle's corners.
    """
    depth = np.full((size, size), np.inf, np.float32)
    hit = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = (
            points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1],
        )  # fmt: skip
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        left, right = max(int(min(ax, bx, cx)), 0), min(int(max(ax, bx, cx)) + 1, size - 1)
        top, bottom = max(int(min(ay, by, cy)), 0), min(int(max(ay, by, cy)) + 1, size - 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                u, v, w = u / points[a, 2], v / points[b, 2], w / points[c, 2]
                d = 1.0 / (u + v + w)
                if d < depth[y, x]:
                    depth[y, x] = d
                    hit[y, x] = t
                    weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = u * d, v * d, w * d
    return depth, hit, weights


@njit(cache=True)
def draw_strands(points, colours, widths, depth, image, cover):
    """Draw polylines over a picture, in front of what is further away, in place.

    Parameters
    ----------
    points : float array of shape (n_strands, n_points, 3)
        x and y in pixels, and depth.
    colours : float array of shape (n_strands, n_points, 3)
    widths : float array of shape (n_strands, n_points)
        Width in pixels; a fraction below one is drawn as opacity.
    depth : float32 array of shape (size, size)
        Read and updated.
    image : float32 array of shape (size, size, 3)
    cover : float32 array of shape (size, size)
        1 where a strand was drawn.
    """
    size = depth.shape[0]
    for s in range(points.shape[0]):
        for k in range(points.shape[1] - 1):
            x0, y0, z0 = points[s, k]
            x1, y1, z1 = points[s, k + 1]
            steps = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
            if steps > 4 * size:
                continue
            for i in range(steps):
                t = i / steps
                d = z0 + (z1 - z0) * t
                width = widths[s, k] + (widths[s, k + 1] - widths[s, k]) * t
                opacity = min(width, 1.0)
                reach = int(width / 2 + 0.5)
                cx, cy = int(x0 + (x1 - x0) * t), int(y0 + (y1 - y0) * t)
                for y in range(max(cy - reach + (reach > 0), 0), min(cy + reach + 1, size)):
                    for x in range(max(cx - reach + (reach > 0), 0), min(cx + reach + 1, size)):
                        if d > depth[y, x]:
                            continue
                        for j in range(3):
                            c = colours[s, k, j] + (colours[s, k + 1, j] - colours[s, k, j]) * t
                            image[y, x, j] += opacity * (c - image[y, x, j])
                        cover[y, x] += opacity * (1.0 - cover[y, x])
                        if opacity > 0.6:
                            depth[y, x] = d

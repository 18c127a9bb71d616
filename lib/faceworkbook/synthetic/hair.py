"""Hair, brows, beards and lashes as polylines rooted in the mesh.

Roots are (triangle, weights) pairs, so they follow the skin; the rest of a strand is an offset from its
root in the frame of the head, in decimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from faceworkbook.synthetic import headmodel, raster, skin

CENTRE = np.array([0.0, 7.5, 0.5])
BROW = np.array([(0.10, 7.495), (0.20, 7.515), (0.33, 7.53), (0.45, 7.505), (0.55, 7.44)])


@dataclass(frozen=True)
class Strands:
    """A bundle of strands.

    Attributes
    ----------
    triangle : int array of shape (n,)
    weights : float array of shape (n, 3)
        The roots on the mesh.
    offsets : float array of shape (n, k, 3)
        From the root, in the frame of the head, decimetres.
    colour : float array of shape (n, 3)
        Linear RGB.
    width : float array of shape (n, k)
        In decimetres.
    shine : float
        Strength of the highlight.
    """

    triangle: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    colour: np.ndarray
    width: np.ndarray
    shine: float


def place_strands(strands: Strands, vertices: np.ndarray) -> np.ndarray:
    """Return the points, shape (n, k, 3), of the strands on shaped vertices."""
    corners = headmodel.load_mesh().triangles[strands.triangle]
    roots = (vertices[corners] * strands.weights[..., None]).sum(axis=1)
    return roots[:, None] + strands.offsets


@cache
def _scalp_cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return template positions, triangles and weights of points spread evenly over the scalp."""
    mesh = headmodel.load_mesh()
    corners = mesh.vertices[mesh.triangles]
    centres = corners.mean(axis=1)
    x, y, z = centres.T
    own = (mesh.surface == headmodel.SKIN) & (y > 6.55) & (_scalp_depth(x, y, z) > -0.1)
    own &= ~((np.abs(x) > 0.66) & (z > 0.3) & (z < 0.75) & (y < 7.4))
    chosen = np.flatnonzero(own)
    area = np.linalg.norm(
        np.cross(corners[chosen, 1] - corners[chosen, 0], corners[chosen, 2] - corners[chosen, 0]), axis=1
    )
    rng = np.random.default_rng(11)
    triangle = rng.choice(chosen, size=60_000, p=area / area.sum())
    u, v = rng.random((2, len(triangle)))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    weights = np.column_stack([1 - u - v, u, v])
    where = (mesh.vertices[mesh.triangles[triangle]] * weights[..., None]).sum(axis=1)
    inside = _scalp_depth(*where.T) > 0
    return where[inside], triangle[inside], weights[inside]


def _scalp_depth(x, y, z):
    """Return the distance inside the template's hairline, roughly in decimetres; negative outside."""
    across = np.abs(x)
    hairline = 8.02 - 0.35 * np.clip(across - 0.35, 0, 1) ** 1.3 * 2.2
    behind = 0.78 - 0.12 * np.clip((y - 7.1) / 0.4, 0, 1)
    nape = 6.75
    front = y - hairline
    side = np.where(y > 7.35, (behind + 0.28 * np.clip((y - 7.4) / 0.5, 0, 1)) - z, behind - 0.42 - z)
    return np.minimum(np.maximum(front, side), y - nape)


@dataclass(frozen=True)
class HeadShape:
    """How far the skin lies from the head's centre in each direction, to keep hair outside."""

    radius: np.ndarray

    @classmethod
    def of(cls, vertices: np.ndarray) -> HeadShape:
        """Measure a head."""
        mesh = headmodel.load_mesh()
        above = mesh.vertices[mesh.triangles, 1].min(axis=1) > 5.95
        own = mesh.triangles[(mesh.surface == headmodel.SKIN) & above]
        away = vertices - CENTRE
        angle, rise, distance = _spherical(away)
        points = np.column_stack([angle * 128, rise * 128, 20 - distance])
        wide = np.ptp(points[own][..., 0], axis=1) > 64
        depth, hit, _ = raster.fill_triangles(points, own[~wide], 128)
        radius = np.where(hit >= 0, 20 - depth, np.nan)
        return cls(np.nan_to_num(radius, nan=0.4))

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance of points from the centre, and that of the skin in the same direction."""
        angle, rise, distance = _spherical(points - CENTRE)
        row, column = (np.clip((v * 128).astype(int), 0, 127) for v in (rise, angle))
        return distance, self.radius[row, column]


def _spherical(away):
    distance = np.maximum(np.linalg.norm(away, axis=-1), 1e-9)
    angle = (np.arctan2(away[..., 0], away[..., 2]) / (2 * np.pi) + 0.5) % 1
    return angle, np.arccos(np.clip(away[..., 1] / distance, -1, 1)) / np.pi, distance


def grow_hair(person: dict, vertices: np.ndarray, rng: np.random.Generator) -> list[Strands]:
    """Grow hair, brows, lashes and beard of a person on the neutral head `vertices`."""
    normals = headmodel.vertex_normals(vertices, headmodel.load_mesh().triangles)
    bundles = [
        _grow_brows(person, normals, rng),
        _grow_lashes(person, rng),
        *_grow_beard(person, normals, rng),
    ]
    scalp = _grow_scalp(person, vertices, normals, rng)
    return [bundle for bundle in (*scalp, *bundles) if len(bundle.triangle)]


def _grow_scalp(person, vertices, normals, rng):
    style = person["hair"]
    where, triangle, weights = _scalp_cells()
    keep = _keeps_hair(person, where, rng)
    keep &= rng.random(len(where)) < min(style["count"] / len(where), 1)
    where, triangle, weights = where[keep], triangle[keep], weights[keep]
    if len(where) == 0:
        return []
    corners = headmodel.load_mesh().triangles[triangle]
    roots = (vertices[corners] * weights[..., None]).sum(axis=1)
    outward = (normals[corners] * weights[..., None]).sum(axis=1)
    shape = HeadShape.of(vertices)
    points = _comb(style, where, roots, outward, shape, rng)
    n, k = points.shape[:2]
    colour = _vary(np.array(person["hair_colour"]), n, rng, person["grey_mix"])
    taper = np.linspace(1, 0.45, k)
    width = style["width"] * rng.uniform(0.7, 1.3, (n, 1)) * taper
    return [Strands(triangle, weights, points - roots[:, None], colour, width, style["shine"])]


def _keeps_hair(person, where, rng):
    """Return which roots keep their hair: temples recede and the crown thins with baldness (0..1)."""
    bald = person["bald"]
    x, y, z = where.T
    crown = np.exp(-((x / 0.55) ** 2 + ((z - 0.25) / 0.6) ** 2 + ((y - 8.5) / 0.5) ** 2))
    front = np.clip((z - 0.35) / 0.8, 0, 1) * (y > 7.6)
    temples = np.exp(-(((np.abs(x) - 0.45) / 0.18) ** 2)) * np.clip((z - 0.6) / 0.3, 0, 1) * (y > 7.7)
    loss = np.maximum(np.maximum(crown * 1.4, front * 1.3), temples * 1.6) * bald * 1.6
    if bald > 0.85:
        loss = np.maximum(loss, (y > 7.75) * 1.0)
    line = np.where(y > 7.6, person["hairline"], -1)
    low = _scalp_depth(x, y, z) < line
    return (rng.random(len(where)) > loss) & ~low


def _comb(style, where, roots, outward, shape, rng):
    """Lay each strand step by step: by its stiffness, the comb's direction and gravity, outside the head."""
    n, k = len(roots), style["points"]
    side = np.where(where[:, 0] >= style["parting"], 1.0, -1.0)
    top = np.clip((where[:, 1] - 7.7) / 0.5, 0, 1)
    length = style["length"] * (style["sides"] + (1 - style["sides"]) * top) * rng.uniform(0.8, 1.15, n)
    fringe = (where[:, 2] > 0.75) & (np.abs(where[:, 0]) < 0.62)
    length = np.where(fringe, style["fringe"] * rng.uniform(0.85, 1.1, n), length)
    flow = style["flow"]
    comb = np.column_stack([side * flow["side"], np.full(n, flow["up"]), np.full(n, flow["front"])])
    forward = [side * flow["fringe_side"], np.zeros(n), np.full(n, flow["fringe_front"])]
    comb = np.where(fringe[:, None], np.column_stack(forward), comb)
    hold = np.where(fringe, np.maximum(style["hold"], 0.12), style["hold"])[:, None]
    clumps = rng.standard_normal((60, 3))
    clump = clumps[rng.integers(0, 60, n)] * style["clump"]
    direction = outward * style["lift"] + comb + clump + rng.standard_normal((n, 3)) * style["messy"]
    points = np.empty((n, k, 3))
    points[:, 0] = roots
    step = (length / (k - 1))[:, None]
    curl = rng.uniform(0, 2 * np.pi, (n, 1))
    for i in range(1, k):
        direction = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
        turn = curl + i * style["curl_rate"]
        twist = np.column_stack([np.cos(turn), np.sin(turn * 0.9), np.sin(turn)]) * style["curl"]
        ahead = points[:, i - 1] + step * (direction + twist)
        ahead = _open_face(ahead, side, style["face_open"])
        points[:, i] = _stay_outside(ahead, shape, style["clear"] * min(i, 3) / 3, style)
        direction = (points[:, i] - points[:, i - 1]) / np.maximum(step, 1e-6) - twist
        direction = direction + [0, -style["gravity"], 0] + comb * hold
    return points


def _open_face(points, side, half_width):
    """Keep hair `half_width` away from the middle of the face below the brows."""
    x, y, z = points.T
    least = half_width * np.clip((7.75 - y) / 0.3, 0, 1)
    inside = (z > 0.7) & (np.abs(x) < least)
    points[:, 0] = np.where(inside, np.where(np.abs(x) > 0.05, np.sign(x), side) * least, x)
    return points


def _stay_outside(points, shape, clear, style):
    distance, skin_at = shape.at(points)
    least = skin_at + clear
    push = np.where(distance < least, least / np.maximum(distance, 1e-6), 1.0)
    points = CENTRE + (points - CENTRE) * push[:, None]
    reach, x = style["reach"], points[:, 0]
    points[:, 1] = np.clip(points[:, 1], style["floor"], 8.78)
    over = np.maximum(np.abs(x) - 0.8, 0) / (reach - 0.8)
    points[:, 0] = np.where(over > 0, np.sign(x) * (0.8 + (reach - 0.8) * np.tanh(over)), x)
    return points


def _vary(colour, n, rng, grey):
    shade = colour * rng.lognormal(0, 0.22, (n, 1))
    white = np.clip(rng.normal(0, 0.22, (n, 1)), -0.3, 0.5) * min(3 * grey, 1)
    return np.clip(shade + (0.45 - shade) * white, 0.001, 0.8)


@cache
def _front_lookup():
    """Return triangle and weights of the skin seen from the front, at 200 cells a decimetre."""
    mesh = headmodel.load_mesh()
    own = np.flatnonzero(mesh.surface == headmodel.SKIN)
    x, y, z = mesh.vertices.T
    points = np.column_stack([(x + 1.2) * 200, (8.6 - y) * 200, 10 - z])
    _, hit, weights = raster.fill_triangles(points, mesh.triangles[own], 560)
    return np.where(hit >= 0, own[hit], -1), weights


def _root_on_front(points):
    """Return triangle and weights of the roots that lie on skin, and which of the points those are."""
    triangle, weights = _front_lookup()
    column = np.clip(((points[:, 0] + 1.2) * 200).astype(int), 0, 559)
    row = np.clip(((8.6 - points[:, 1]) * 200).astype(int), 0, 559)
    on_skin = triangle[row, column] >= 0
    return triangle[row, column][on_skin], weights[row, column][on_skin], on_skin


def _grow_brows(person, normals, rng):
    brow = person["brow"]
    n = int(brow["density"] * 340)
    t = rng.beta(1.1, 1.2, 2 * n)
    side = np.repeat([1.0, -1.0], n)
    curve = skin.smooth_curve(BROW + np.array([0, brow["height"]]), 60)
    arch = brow["arch"] * np.exp(-(((np.linspace(0, 1, 60) - 0.65) / 0.25) ** 2))
    curve = curve + np.column_stack([np.zeros(60), arch])
    at = curve[(t * 59).astype(int)]
    thick = brow["thickness"] * (0.9 - 0.55 * np.clip((t - 0.35) / 0.65, 0, 1)) * np.clip(0.6 + t * 4, 0, 1)
    root = at + np.column_stack([np.zeros(2 * n), rng.uniform(-0.5, 0.5, 2 * n) * thick])
    triangle, weights, on_skin = _root_on_front(root * np.column_stack([side, np.ones(2 * n)]))
    side, t = side[on_skin], t[on_skin]
    rise = 0.9 - 1.6 * t + rng.normal(0, 0.25, len(t))
    direction = np.column_stack([side * (0.35 + t), rise * 0.8, np.full(len(t), 0.1)])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = rng.uniform(0.05, 0.095, (len(t), 1, 1)) * brow["length"]
    out = _normal_at(normals, triangle, weights) * 0.008
    offsets = direction[:, None] * length * np.linspace(0, 1, 4)[None, :, None] + out[:, None]
    colour = _vary(np.array(person["brow_colour"]), len(t), rng, person["grey_mix"] * 0.6)
    width = np.full((len(t), 4), 0.0085) * [1, 1, 0.8, 0.4]
    return Strands(triangle, weights, offsets, colour, width, 0.02)


@cache
def _lid_edges() -> np.ndarray:
    """Return points (x, y) along the edge of the subject's left upper lid, from the nose outwards."""
    mesh = headmodel.load_mesh()
    x, y, z = mesh.vertices.T
    points = np.column_stack([(x + 1.2) * 400, (8.6 - y) * 400, 10 - z])
    _, hit, _ = raster.fill_triangles(points, mesh.triangles, 1120)
    eye = (hit >= 0) & (mesh.surface[hit] == headmodel.EYE_LEFT)
    columns = np.flatnonzero(eye.sum(axis=0) > 3)
    top = eye[:, columns].argmax(axis=0)
    return np.column_stack([(columns + 0.5) / 400 - 1.2, 8.6 - top / 400])


def _grow_lashes(person, rng):
    edge = _lid_edges()
    n = 70
    t = np.tile(np.linspace(0.03, 1, n), 2)
    side = np.repeat([1.0, -1.0], n)
    at = edge[(t * (len(edge) - 1)).astype(int)] + [0, 0.006]
    triangle, weights, on_skin = _root_on_front(at * np.column_stack([side, np.ones(2 * n)]))
    side, t = side[on_skin], t[on_skin]
    direction = np.column_stack([side * (t - 0.3) * 0.9, np.full(len(t), 0.35), np.full(len(t), 0.8)])
    length = 0.075 * person["lashes"] * (0.5 + 0.6 * t) * rng.uniform(0.8, 1.2, len(t))
    steps = np.linspace(0, 1, 4)[:, None]
    offsets = direction[:, None] * length[:, None, None] * steps + [0, 0, 0.012]
    offsets[..., 1] += 0.35 * length[:, None] * steps[:, 0] ** 2
    colour = np.tile(np.array(person["brow_colour"]) * 0.3, (len(t), 1))
    return Strands(triangle, weights, offsets, colour, np.full((len(t), 4), 0.012 * person["lashes"]), 0.0)


def _normal_at(normals, triangle, weights):
    corners = headmodel.load_mesh().triangles[triangle]
    return (normals[corners] * weights[..., None]).sum(axis=1)


def _grow_beard(person, normals, rng):
    """Grow one bundle for each area of the beard."""
    canvas, layers, bundles = skin.load_canvas(), skin.beard_layers(), []
    for name, amount in person["beard"].items():
        density = layers[name] * (canvas.triangle >= 0)
        cells = np.flatnonzero(density.ravel() > 0.2)
        n = int(min(amount, 1) * len(cells) * 0.16)
        chosen = rng.choice(cells, size=n, replace=False) if n else cells[:0]
        triangle = canvas.triangle.ravel()[chosen]
        weights = canvas.weights.reshape(-1, 3)[chosen]
        out = _normal_at(normals, triangle, weights)
        down = np.array([0, -0.9, 0.1]) + rng.normal(0, 0.3, (n, 3))
        direction = out * 0.5 + down
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
        length = person["beard_length"] * rng.uniform(0.6, 1.2, (n, 1, 1))
        offsets = direction[:, None] * length * np.linspace(0, 1, 4)[None, :, None] + out[:, None] * 0.008
        colour = _vary(np.array(person["brow_colour"]), n, rng, min(person["grey_mix"] * 1.2, 1))
        bundles.append(Strands(triangle, weights, offsets, colour, np.full((n, 4), 0.009), 0.03))
    return bundles

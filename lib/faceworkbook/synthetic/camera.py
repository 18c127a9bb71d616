"""The camera that looks at a head, and how a head is turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZE = 128  # of the picture, pixels
SUPER = 3  # rendered so many times larger, then averaged
PIXELS_PER_DECIMETRE = 36.0
PIVOT = np.array([0.0, 6.75, 0.35])  # between the ears, about which a head turns
LOOK_AT = np.array([0.0, 7.32, 0.55])


def rotation(*, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the rotation of a head (degrees): pitch about the ears, then yaw about the vertical, then roll.

    In the frame x to the picture's right, y up, z to the camera: yaw > 0 turns the face to the right,
    pitch > 0 lifts it, roll > 0 leans the head's top to the right.
    """
    y, p, r = np.radians([yaw, pitch, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along -z at the head's centre.

    Attributes
    ----------
    centre : float array of shape (3,)
        The point that lies on the optical axis.
    distance : float
        From the camera to that point, in decimetres.
    pixels : float
        Pixels a decimetre at that distance.
    middle : float array of shape (2,)
        Where the axis meets the picture, in pixels.
    """

    centre: np.ndarray
    distance: float
    pixels: float
    middle: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """Position of the camera, decimetres."""
        return self.centre + np.array([0, 0, self.distance])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return x, y in pixels (y down) and the depth of points of shape (..., 3)."""
        away = points - self.centre
        depth = np.maximum(self.distance - away[..., 2], 0.2)
        factor = self.pixels * self.distance / depth
        x = self.middle[0] + away[..., 0] * factor
        y = self.middle[1] - away[..., 1] * factor
        return np.stack([x, y, depth], axis=-1)


def aim_camera(turn: np.ndarray, scene: dict) -> Camera:
    """Return the camera of a scene, aimed at a head that is turned by the matrix `turn`."""
    centre = turn @ (LOOK_AT - PIVOT) + PIVOT
    middle = np.array([SIZE / 2 + scene["shift_x"], SIZE / 2 + scene["shift_y"]]) * SUPER
    return Camera(centre, scene["distance"], PIXELS_PER_DECIMETRE * scene["scale"] * SUPER, middle)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of shape (..., 3) scaled to length 1."""
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return vectors / np.maximum(length, 1e-9)[..., None]

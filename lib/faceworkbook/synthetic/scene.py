"""Light, background and development of a shot, as `people.draw_scene` drew them."""

from __future__ import annotations

import cv2
import numpy as np

from faceworkbook.synthetic.camera import SIZE, SUPER


def key_light(scene: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the direction towards the key light, shape (3,), and its linear RGB."""
    azimuth, height = np.radians([scene["key_azimuth"], scene["key_height"]])
    towards = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    return towards, scene["key_strength"] * _warmth(scene["key_warmth"])


def _warmth(amount: float) -> np.ndarray:
    return np.array([1 + amount, 1.0, 1 - amount])


def sky_light(scene: dict) -> np.ndarray:
    """Return the linear RGB of the light from above."""
    return scene["fill_strength"] * _warmth(scene["sky_warmth"])


def background(scene: dict, size: int) -> np.ndarray:
    """Draw a blurred background: linear RGB of shape (size, size, 3)."""
    rng = np.random.default_rng(scene["background_seed"])
    first = np.array([scene[f"back_{c}"] for c in "rgb"])
    second = np.array([scene[f"back2_{c}"] for c in "rgb"])
    low = 48
    y, x = np.mgrid[0:low, 0:low] / low
    turn = rng.uniform(0, 2 * np.pi)
    t = np.clip(0.5 + 0.7 * ((x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)), 0, 1)[..., None]
    canvas = (first * (1 - t) + second * t).astype(np.float32)
    for _ in range(rng.integers(0, 9)):
        colour = rng.uniform(0.02, 0.9, 3) * rng.uniform(0.3, 1)
        corner, extent = rng.uniform(-8, low, 2).astype(int), rng.uniform(3, 26, 2).astype(int)
        if rng.random() < 0.6:
            cv2.rectangle(canvas, corner.tolist(), (corner + extent).tolist(), colour.tolist(), -1)
        else:
            cv2.circle(canvas, corner.tolist(), int(extent[0] / 2 + 1), colour.tolist(), -1)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.7, 3))
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_CUBIC).clip(0.005, 2)


def develop(linear: np.ndarray, scene: dict) -> np.ndarray:
    """Apply lens blur, exposure, tone curve and sensor noise: linear RGB -> (128, 128, 3) uint8, BGR."""
    rng = np.random.default_rng(scene["background_seed"] + 1)
    blurred = cv2.GaussianBlur(linear.astype(np.float32), (0, 0), scene["blur"] * SUPER)
    small = cv2.resize(blurred, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    level = np.exp(scene["exposure"]) * 0.8 / (0.5 * scene["key_strength"] + 0.75 * scene["fill_strength"])
    exposed = small * level
    exposed = exposed * (1 + exposed / 2.25) / (1 + exposed)
    shown = np.clip(exposed * 1.25, 0, 1) ** (1 / 2.2)
    shown = np.clip((shown - 0.5) * scene["contrast"] + 0.5, 0, 1)
    grey = shown.mean(axis=2, keepdims=True)
    shown = grey + (shown - grey) * scene["saturation"]
    shown = shown + rng.normal(0, scene["noise"], shown.shape)
    return (np.clip(shown, 0, 1) * 255).round().astype(np.uint8)[..., ::-1].copy()

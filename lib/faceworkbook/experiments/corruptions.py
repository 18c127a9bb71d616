"""What happens to a fitted classifier when pictures get worse: descriptors are computed anew.

Each damage takes a picture as uint8 RGB and a strength; sizes are shares of the face's width, so
that a strength means the same on chips of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from faceworkbook import images
from faceworkbook.evaluation import comparison, metrics
from faceworkbook.experiments.learning_curve import score

BATCH = 64
CLEAN = "none"


def blur(picture: np.ndarray, sigma: float, rng=None) -> np.ndarray:
    """Gaussian blur; `sigma` as a share of the width."""
    return cv2.GaussianBlur(picture, (0, 0), sigma * picture.shape[1]) if sigma > 0 else picture


def brightness(picture: np.ndarray, factor: float, rng=None) -> np.ndarray:
    """Multiply all values (0..255) by `factor`; what passes 255 is cut."""
    return np.clip(picture.astype(np.float32) * factor, 0, 255).astype(np.uint8)


def crop_margin(picture: np.ndarray, margin: float, rng=None) -> np.ndarray:
    """Add `margin` of the width and height on each side (border repeated), or cut it off where negative."""
    height, width = picture.shape[:2]
    return images.crop(picture, (0, 0, height, width), margin=margin)


def jpeg(picture: np.ndarray, quality: float, rng=None) -> np.ndarray:
    """Compress to JPEG of `quality` (1..100) and decode."""
    kept, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not kept:
        raise ValueError(f"a picture of shape {picture.shape} cannot be written as JPEG")
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def downscale(picture: np.ndarray, width: float, rng=None) -> np.ndarray:
    """Shrink to `width` pixels, and enlarge to the old size; wider than the picture leaves it."""
    height, full = picture.shape[:2]
    if width >= full:
        return picture
    small = cv2.resize(
        picture, (int(width), max(round(height * width / full), 1)), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (full, height), interpolation=cv2.INTER_LINEAR)


def occlude(picture: np.ndarray, share: float, rng=None) -> np.ndarray:
    """Cover a square of `share` of the area, at a random place, with mid grey."""
    height, width = picture.shape[:2]
    side = [min(round(np.sqrt(share) * length), length) for length in (height, width)]
    rng = rng or np.random.default_rng(0)
    top, left = rng.integers(0, height - side[0] + 1), rng.integers(0, width - side[1] + 1)
    covered = picture.copy()
    covered[top : top + side[0], left : left + side[1]] = 128
    return covered


CORRUPTIONS: dict[str, Callable] = {
    "blur": blur,
    "brightness": brightness,
    "crop margin": crop_margin,
    "JPEG quality": jpeg,
    "down-scaling": downscale,
    "occlusion": occlude,
}
UNITS = {
    "blur": "sigma, share of the width",
    "brightness": "factor",
    "crop margin": "share of the width added on each side",
    "JPEG quality": "1..100",
    "down-scaling": "width in pixels",
    "occlusion": "share of the area",
}
LEVELS: dict[str, tuple[float, ...]] = {
    "blur": (0.01, 0.02, 0.04),
    "brightness": (0.3, 0.6, 1.6),
    "crop margin": (-0.1, 0.15, 0.3),
    "JPEG quality": (5, 15, 40),
    "down-scaling": (16, 32, 64),
    "occlusion": (0.05, 0.15, 0.3),
}


def read_pictures(faces: pd.DataFrame, root: str | Path, *, margin: float = 0.0) -> Iterator[np.ndarray]:
    """The faces' pictures, cropped to their boxes, uint8 RGB; one at a time.

    Raises
    ------
    faceworkbook.images.UnreadableImage
        A picture that cannot be decoded; leave it out first (extraction lists them).
    """
    boxes = faces[["top", "left", "bottom", "right"]].astype("Float64")
    whole = boxes.isna().any(axis=1).to_numpy()
    numbers = boxes.to_numpy(dtype=float, na_value=np.nan)
    for i, name in enumerate(faces["image"]):
        picture = images.read(Path(root) / name)
        yield picture if whole[i] else images.crop(picture, tuple(numbers[i]), margin=margin)


def describe_with(backbone) -> Callable[[list[np.ndarray]], np.ndarray]:
    """A function from pictures (uint8 RGB, any size) to descriptors (n, d) of `backbone`."""
    recipe = backbone.preprocessing

    def describe(pictures: list[np.ndarray]) -> np.ndarray:
        pixels = [images.resize(p, recipe.size, interpolation=recipe.interpolation) for p in pictures]
        return np.asarray(backbone.model(images.network_input(np.stack(pixels), recipe), training=False))

    return describe


def measure(
    fitted,
    describe: Callable[[list[np.ndarray]], np.ndarray],
    pictures: Callable[[], Iterator[np.ndarray]],
    target,
    faces: pd.DataFrame,
    *,
    levels: Mapping[str, Sequence[float]] | None = None,
    metric: str | None = None,
    seed: int = 0,
    n_boot: int = 2000,
) -> pd.DataFrame:
    """Score the same faces, whole and damaged.

    Parameters
    ----------
    fitted : faceworkbook.training.Fitted
        Or any object with ``predict(matrix)``.
    describe : callable
        From a list of pictures (uint8 RGB) to their descriptors; see `describe_with`.
    pictures : callable
        Gives the pictures of `faces`, in order, each time it is called.
    target, faces
        Of those faces: test rows.
    levels : mapping of damage to strengths, optional
        `LEVELS` where None.

    Returns
    -------
    pandas.DataFrame
        damage ('none' first), level, unit, metric, value, low, high (95 %), change (to the same
        pictures undamaged), change_low, change_high (95 %, paired by person), n.
    """
    levels = LEVELS if levels is None else levels
    wrong = sorted(set(levels) - set(CORRUPTIONS))
    if wrong:
        raise ValueError(f"no such damage: {wrong}; allowed are {list(CORRUPTIONS)}")
    name = metric or target.task.headline
    conditions = [(CLEAN, 0.0), *((damage, level) for damage, chosen in levels.items() for level in chosen)]
    outputs = _outputs(fitted, describe, pictures, conditions, seed)
    scored = [score(output, target, faces, name=name) for output in outputs]
    clean = scored[0][0]
    records = []
    for (damage, level), (table, value) in zip(conditions, scored, strict=True):
        whole = metrics.summary(table, names=[name], n_boot=n_boot, seed=seed).iloc[0]
        change = comparison.paired_difference(table, clean, metric=name, n_boot=n_boot, seed=seed)
        records.append(
            {
                "damage": damage,
                "level": level,
                "unit": UNITS.get(damage, ""),
                "metric": name,
                "value": value,
                "low": whole["low"],
                "high": whole["high"],
                "change": change["difference"],
                "change_low": change["low"],
                "change_high": change["high"],
                "n": len(faces),
            }
        )
    return pd.DataFrame(records)


def _outputs(fitted, describe, pictures, conditions, seed: int) -> list[np.ndarray]:
    return [fitted.predict(_descriptors(describe, pictures(), *c, seed)) for c in conditions]


def _descriptors(
    describe, pictures: Iterator[np.ndarray], damage: str, level: float, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts, batch = [], []
    for picture in pictures:
        batch.append(picture if damage == CLEAN else CORRUPTIONS[damage](picture, level, rng))
        if len(batch) == BATCH:
            parts.append(describe(batch))
            batch = []
    if batch:
        parts.append(describe(batch))
    return np.concatenate(parts)


def sheet(picture: np.ndarray, levels: Mapping[str, Sequence[float]] | None = None, *, seed: int = 0):
    """One picture under every damage: list of (damage, level, uint8 RGB), the picture itself first."""
    shown = [(CLEAN, 0.0, picture)]
    for damage, chosen in (LEVELS if levels is None else levels).items():
        rng = np.random.default_rng(seed)
        shown += [(damage, level, CORRUPTIONS[damage](picture, level, rng)) for level in chosen]
    return shown

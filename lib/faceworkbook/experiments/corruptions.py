"""What happens to a fitted classifier when pictures get worse (Hendrycks and Dietterich 2019).

A corruption takes a picture as uint8 RGB and a level of severity; descriptors are computed anew. Sizes are
shares of the face's width, so that a level means the same on chips of any size.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from faceworkbook import images
from faceworkbook.descriptors import engines
from faceworkbook.evaluation import comparison, metrics, significance
from faceworkbook.evaluation.predictions import outputs_of
from faceworkbook.experiments.scoring import score
from faceworkbook.tasks import Labels

BATCH = 64
CLEAN = "none"


@dataclass(frozen=True)
class Corruption:
    """How pictures get worse: ``function(picture, level, rng)``, its usual levels and their unit."""

    function: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    levels: tuple[float, ...]
    unit: str


CORRUPTIONS: dict[str, Corruption] = {}


def register(name: str, function: Callable, *, levels: Sequence[float], unit: str = "") -> None:
    """Make a corruption known by `name`.

    Parameters
    ----------
    name : str
    function : callable
        ``(picture, level, rng)`` to the picture corrupted, both uint8 RGB; `rng` is a
        ``numpy.random.Generator`` for what is random.
    levels : sequence of float
        Levels of severity that are tried where none are named.
    unit : str
        Of the levels.
    """
    if name == CLEAN or not levels:
        raise ValueError(
            f"corruption {name!r}, levels={levels!r}; allowed is any name but {CLEAN!r}, with levels"
        )
    CORRUPTIONS[name] = Corruption(function, tuple(levels), unit)


def levels_of(names: Sequence[str], *, at_most: int | None = None) -> dict[str, tuple[float, ...]]:
    """Return the usual levels of registered corruptions, the first `at_most` of each.

    Raises
    ------
    ValueError
        A name that is not registered.
    """
    unknown = sorted(set(names) - set(CORRUPTIONS))
    if unknown:
        raise ValueError(
            f"unknown corruptions {unknown}; known are {list(CORRUPTIONS)}, add one with corruptions.register"
        )
    return {name: CORRUPTIONS[name].levels[:at_most] for name in names}


# --------------------------------------------------------------------------- the corruptions


def blur(picture: np.ndarray, sigma: float, rng=None) -> np.ndarray:
    """Blur by a Gaussian; `sigma` is a share of the width."""
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
        raise ValueError(
            f"a picture of shape {picture.shape} cannot be written as JPEG; give uint8 RGB of at most 65,500 pixels a side"
        )
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def downscale(picture: np.ndarray, width: float, rng=None) -> np.ndarray:
    """Shrink to `width` pixels, and enlarge to the old size; wider than the picture leaves it."""
    height, full = picture.shape[:2]
    if width >= full:
        return picture
    small = (int(width), max(round(height * width / full), 1))
    shrunk = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (full, height), interpolation=cv2.INTER_LINEAR)


def occlude(picture: np.ndarray, share: float, rng=None) -> np.ndarray:
    """Cover a square of `share` of the area, at a random place, with mid grey."""
    height, width = picture.shape[:2]
    side = [min(round(np.sqrt(share) * length), length) for length in (height, width)]
    rng = rng or np.random.default_rng(0)
    top, left = rng.integers(0, height - side[0] + 1), rng.integers(0, width - side[1] + 1)
    covered = picture.copy()
    covered[top : top + side[0], left : left + side[1]] = 128
    return covered


register("blur", blur, levels=(0.01, 0.02, 0.04), unit="sigma, share of the width")
register("brightness", brightness, levels=(0.3, 0.6, 1.6), unit="factor")
register("crop margin", crop_margin, levels=(-0.1, 0.15, 0.3), unit="share of the width added on each side")
register("JPEG quality", jpeg, levels=(5, 15, 40), unit="1..100")
register("down-scaling", downscale, levels=(16, 32, 64), unit="width in pixels")
register("occlusion", occlude, levels=(0.05, 0.15, 0.3), unit="share of the area")


# --------------------------------------------------------------------------- measuring


def read_pictures(faces: pd.DataFrame, root: str | Path, *, margin: float = 0.0):
    """Yield the faces' pictures one at a time, cropped to their boxes, uint8 RGB.

    Raises
    ------
    faceworkbook.images.UnreadableImage
        A picture that cannot be decoded; leave it out first (extraction lists them).
    """
    boxes = faces[["top", "left", "bottom", "right"]].to_numpy(dtype=float, na_value=np.nan)
    for name, box in zip(faces["image"], boxes, strict=True):
        picture = images.read(Path(root) / name)
        yield picture if np.isnan(box).any() else images.crop(picture, tuple(box), margin=margin)


def read_faces(
    faces: pd.DataFrame,
    root: str | Path,
    preprocessing: images.Preprocessing,
    *,
    points: np.ndarray | None = None,
):
    """Yield the faces one at a time as they are cut out before they are corrupted, uint8 RGB.

    Parameters
    ----------
    preprocessing : Preprocessing
        Without alignment a face keeps the size that it has in its picture; aligned it has that of the network's input.
    points : ndarray of shape (n, 5, 2), optional
        Of the clean pictures, NaN where a face is cut out unaligned. A network that aligns needs them.
    """
    if preprocessing.align == "none":
        yield from read_pictures(faces, root, margin=preprocessing.crop_margin)
        return
    if points is None:
        raise ValueError(
            f"the network reads faces aligned (align={preprocessing.align!r}) and no points were given; take them from "
            "landmarks.detect"
        )
    boxes = faces[["top", "left", "bottom", "right"]].to_numpy(dtype=float, na_value=np.nan)
    for name, box, own in zip(faces["image"], boxes, points, strict=True):
        given = None if np.isnan(box).any() else tuple(box)
        yield images.cut_face(images.read(Path(root) / name), preprocessing, box=given, points=own)


def make_describer(
    backbone, faces: pd.DataFrame, root: str | Path, *, points: np.ndarray | None = None
) -> Callable:
    """Return a function that takes ``corrupt(picture)`` and returns the faces' descriptors (n, d) after it.

    What is corrupted is the face as it is cut out, see `read_faces`: aligned faces lie where the points of the clean
    picture put them, whatever a corruption would have done to the detector.
    """
    recipe, run = backbone.preprocessing, _runner(backbone)

    def describe(corrupt: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        pictures = map(corrupt, read_faces(faces, root, recipe, points=points))
        resized = (images.resize(p, recipe.size, interpolation=recipe.interpolation) for p in pictures)
        batches = iter(lambda: list(islice(resized, BATCH)), [])
        return np.concatenate([run(np.stack(batch)) for batch in batches])

    return describe


def _runner(backbone) -> Callable[[np.ndarray], np.ndarray]:
    """Return what computes descriptors from pixels (n, height, width, 3) uint8: Keras, or the engine of an ONNX file."""
    if backbone.graph is not None:
        return engines.choose(backbone).run
    return lambda pixels: np.asarray(
        backbone.model(images.network_input(pixels, backbone.preprocessing), training=False)
    )


def make_joint_describer(
    backbones: Sequence, faces: pd.DataFrame, root: str | Path, *, points: np.ndarray | None = None
) -> Callable:
    """Return the same for several backbones whose descriptors stand side by side; all see the same corruption."""
    each = [make_describer(backbone, faces, root, points=points) for backbone in backbones]

    def describe(corrupt: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        # A corruption draws from its own generator: each backbone begins with a copy of it.
        return np.concatenate([one(copy.deepcopy(corrupt)) for one in each], axis=1)

    return describe


def measure(
    fitted,
    describe: Callable,
    labels: Labels,
    faces: pd.DataFrame,
    *,
    levels: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    n_boot: int = 2000,
) -> pd.DataFrame:
    """Score the same faces, clean and corrupted.

    Parameters
    ----------
    fitted : faceworkbook.training.Fitted
        The experiment's own classifier, or any object with ``predict(matrix)``.
    describe : callable
        From a function of one picture to the descriptors of all `faces` after it; see `make_describer`.
    labels, faces
        Of the same faces: test rows.
    levels : mapping of corruption to levels, optional
        All registered ones where None.

    Returns
    -------
    pandas.DataFrame
        corruption ('none' first), severity, unit, metric (the task's headline), value, low, high (95 %),
        change (to the same pictures clean; NaN for themselves), change_low, change_high (95 %, paired by person),
        p_holm (of no change, adjusted over the conditions), n.
    """
    levels = levels_of(list(CORRUPTIONS)) if levels is None else levels
    levels_of(list(levels))
    metric = labels.task.headline
    records, clean = [], None
    conditions = [(CLEAN, 0.0), *((name, level) for name, chosen in levels.items() for level in chosen)]
    for name, severity in conditions:
        matrix = describe(make_change(name, severity, seed))
        table, value = score(outputs_of(fitted, matrix, labels.task), labels, faces, metric=metric)
        clean = table if clean is None else clean
        ends = metrics.summary(table, names=[metric], n_boot=n_boot, seed=seed).iloc[0]
        moved = comparison.paired_difference(table, clean, metric=metric, n_boot=n_boot, seed=seed)
        records.append(
            {
                "corruption": name,
                "severity": severity,
                "unit": CORRUPTIONS[name].unit if name != CLEAN else "",
                "metric": metric,
                "value": value,
                "low": ends["low"],
                "high": ends["high"],
                **_change(moved if name != CLEAN else {}),
                "n": len(faces),
            }
        )
    table = pd.DataFrame(records)
    tested = table["p_holm"].notna()
    table.loc[tested, "p_holm"] = significance.holm(table.loc[tested, "p_holm"])
    return table


def _change(moved: Mapping) -> dict:
    """Return the columns of a paired difference; NaN for the clean pictures themselves."""
    names = {"change": "difference", "change_low": "low", "change_high": "high", "p_holm": "p"}
    return {column: moved.get(key, np.nan) for column, key in names.items()}


def make_change(name: str, severity: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the corruption of that name and severity as a function of one picture; 'none' changes nothing."""
    if name == CLEAN:
        return lambda picture: picture
    rng, function = np.random.default_rng(seed), CORRUPTIONS[name].function
    return functools.partial(_apply, function, severity, rng)


def _apply(function: Callable, severity: float, rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    return function(picture, severity, rng)


def make_sheet(
    picture: np.ndarray, levels: Mapping[str, Sequence[float]], *, seed: int = 0
) -> list[tuple[str, float, np.ndarray]]:
    """Return one picture under every corruption: (corruption, severity, uint8 RGB), the clean one first."""
    sheet = [(CLEAN, 0.0, picture)]
    for name, chosen in levels.items():
        rng, function = np.random.default_rng(seed), CORRUPTIONS[name].function
        sheet += [(name, level, function(picture, level, rng)) for level in chosen]
    return sheet

"""Put the predictor of the experiment ``fairface_default`` into weights/predictor_fairface, with what its flag sees.

Run in the project, after ``workbook run fairface_default -p root=PATH/TO/fairface`` from a clean checkout, whose commit the card names::

    python -m tools.default_predictor --root PATH/TO/fairface
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from faceworkbook import datasets, images, project
from faceworkbook.serving import Predictor, folder, making

PLACE = "weights/predictor_fairface"
N, N_BOOT = 300, 1000
INTENDED = (
    "Trying the workbook on a photo, teaching, and as a baseline to compare other models with: what FairFace's annotators "
    "would have called a face, how sure that is, and for whom it is worse.",
)
LIMITS = (
    "What annotators saw: gender, age group and race are impressions of three workers each of Amazon Mechanical Turk, where two "
    "of them agreed (or a model's label where none did, see Karkkainen and Joo 2021); nobody asked the people shown. Two names for "
    "gender and seven for race are the file's, not a description of people.",
    "It has learned from 3,808 faces of FairFace's training set; 672 others of that set chose mirror, width and learning rate "
    "(tools/choose_default.py), the epoch, temperature and limits of the sets; 1,050 of FairFace's validation set tested it.",
    "These 1,050 faces were read before, by two earlier runs of the experiment and by a search over settings, the outcome of which "
    "was known when the grid was drawn up.",
)


def main() -> None:
    """Copy, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="results/fairface_default/11_confidence")
    parser.add_argument("--root", required=True, help="folder of FairFace")
    options = parser.parse_args()
    source = project.resolve(options.run) / "predictor"
    lines = describe_flag(Predictor.load(source), Path(options.root))
    print("\n".join(lines))
    made = {"more": lines, "intended": list(INTENDED), "limits": list(LIMITS)}
    place = project.resolve(PLACE)
    making.recalibrate(source, place, {}, coverage=0.9, made=made)
    for name in folder.read_names(place):
        print(f"{(place / name).stat().st_size:>9,} {name}")


def describe_flag(predictor: Predictor, root: Path) -> list[str]:
    """Return how well ``unlike_training`` parts other pictures from real test faces, in sentences."""
    real = draw_faces("fairface", root, predictor, subset="validation")
    others = {
        "rendered faces": draw_faces("synthetic", project.resolve("data/synthetic"), predictor),
        "blurred faces (Gaussian, 3.6 % of the width)": blur(real, 8.0),
        "faces of 16 pixels": np.stack([cv2.resize(small(p, 16), p.shape[1::-1]) for p in real]),
        "textures": draw_textures(real.shape[1:3]),
        "upside-down faces": np.ascontiguousarray(real[:, ::-1]),
    }
    own = score(predictor, real)
    lines = [f"unlike_training marks {np.mean(own > 0.95):.3f} of {len(real)} real test faces"]
    for name, pixels in others.items():
        theirs = score(predictor, pixels)
        area, low, high = area_under_curve(own, theirs)
        lines.append(
            f"unlike_training, {name} against real test faces: AUROC {area:.3f} [{low:.3f}, {high:.3f}], "
            f"{np.mean(theirs > 0.95):.3f} of {len(theirs)} are marked"
        )
    return lines


def draw_faces(dataset: str, root: Path, predictor: Predictor, *, subset: str = "") -> np.ndarray:
    """Return pixels of faces of a data set as the predictor's network reads them."""
    faces = datasets.load(dataset, root).faces
    faces = faces[faces["split"] == subset] if subset else faces
    rows = faces.iloc[np.random.default_rng(0).permutation(len(faces))[:N]]
    preprocessing = predictor.describer.preprocessings[0]
    return np.stack(
        [
            images.face_pixels(images.read_bytes(root / r.image), preprocessing, box=_box(r), name=r.image)
            for r in rows.itertuples()
        ]
    )


def _box(row):
    return None if pd.isna(row.top) else (row.top, row.left, row.bottom, row.right)


def blur(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Return pictures blurred."""
    return np.stack([cv2.GaussianBlur(p, (0, 0), sigma) for p in pixels])


def small(picture: np.ndarray, side: int) -> np.ndarray:
    """Return a picture shrunk to `side` pixels."""
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def draw_textures(size: tuple[int, int]) -> np.ndarray:
    """Return coloured noise of several sizes and gratings."""
    rng, made = np.random.default_rng(0), []
    y, x = np.mgrid[: size[0], : size[1]]
    for number in range(N):
        if number % 2:
            n = int(rng.choice([4, 8, 16, 32, 64]))
            noise = rng.integers(0, 256, (n, n, 3), np.uint8)
            made.append(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC))
        else:
            turn, pitch = rng.uniform(0, np.pi), rng.uniform(0.02, 0.5)
            grating = 127 + 100 * np.sin((x * np.cos(turn) + y * np.sin(turn)) * pitch)
            made.append(
                np.clip(grating + rng.normal(0, 20, size), 0, 255).astype(np.uint8)[..., None].repeat(3, 2)
            )
    return np.stack(made)


def score(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
    """Return ``unlike_training_score`` of each picture."""
    return predictor.spread.score(predictor.describer.run([pixels]))


def area_under_curve(own: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Return the area under the ROC curve with a 95 % interval (bootstrap over pictures)."""
    truth, values = np.repeat([0, 1], [len(own), len(theirs)]), np.concatenate([own, theirs])
    rng, drawn = np.random.default_rng(0), []
    for _ in range(N_BOOT):
        rows = np.concatenate(
            [rng.integers(0, len(own), len(own)), len(own) + rng.integers(0, len(theirs), len(theirs))]
        )
        drawn.append(roc_auc_score(truth[rows], values[rows]))
    return roc_auc_score(truth, values), *np.quantile(drawn, [0.025, 0.975])


if __name__ == "__main__":
    main()

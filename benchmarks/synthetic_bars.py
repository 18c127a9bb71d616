"""How good the synthetic faces are: each bar and the figure measured on the pictures.

    python benchmarks/synthetic_bars.py [FOLDER]

Detection, pose, linear probes on the embedded network's descriptors (split by identity), the network's own
gender head, and what the border alone gives away.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from faceworkbook import backbones, datasets, images

ROOT = Path(__file__).resolve().parents[1]
DETECTOR = ROOT / "weights/yunet/face_detection_yunet_2023mar_int8bq.onnx"
BORDER = 16


def detect(pictures: list[np.ndarray]) -> np.ndarray:
    """YuNet's five points, shape (n, 5, 2), and NaN where it detects no face."""
    detector = cv2.FaceDetectorYN.create(str(DETECTOR), "", (256, 256), 0.6)
    points = np.full((len(pictures), 5, 2), np.nan)
    for i, picture in enumerate(pictures):
        _, detected = detector.detect(
            cv2.resize(picture[..., ::-1], (256, 256), interpolation=cv2.INTER_CUBIC)
        )
        if detected is not None:
            points[i] = detected[np.argmax(detected[:, 14]), 4:14].reshape(5, 2)
    return points


def sideways(points: np.ndarray) -> np.ndarray:
    """The nose's offset from the eyes' middle along the eye line, in eye-to-mouth distances.

    The distance between the eyes shrinks as the head turns; that from eyes to mouth does not.
    """
    right, left, nose = points[:, 0], points[:, 1], points[:, 2]
    along = (left - right) / np.linalg.norm(left - right, axis=1, keepdims=True)
    eyes, mouth = (left + right) / 2, (points[:, 3] + points[:, 4]) / 2
    return ((nose - eyes) * along).sum(axis=1) / np.linalg.norm(mouth - eyes, axis=1)


def describe(pictures: list[np.ndarray], network) -> dict[str, np.ndarray]:
    """Descriptors and the two heads' outputs."""
    preprocessing = network.preprocessing
    size = preprocessing.size
    batch = np.stack([images.resize(p, size) for p in pictures])
    channels = batch[..., ::-1] if preprocessing.channels == "BGR" else batch
    prepared = channels.astype(np.float32) - np.array(preprocessing.mean, np.float32)
    taps = ("global_pooling", "gender_pred")
    layers = backbones.import_keras()
    model = layers.Model(network.full.input, [network.full.get_layer(tap).output for tap in taps])
    outputs = model.predict(prepared, batch_size=64, verbose=0)
    return dict(zip(taps, outputs, strict=True))


def probe(features, truth, groups, *, model=None, components=None) -> np.ndarray:
    """Predictions of a linear model, five folds by identity."""
    model = model or LogisticRegression(C=0.01, max_iter=2000)
    steps = [StandardScaler(), *([PCA(components, random_state=0)] if components else []), model]
    return cross_val_predict(make_pipeline(*steps), features, truth, groups=groups, cv=GroupKFold(5))


def border_pixels(pictures: list[np.ndarray]) -> np.ndarray:
    """The outer 16 pixels of each picture, at half size."""
    inner = np.ones((128, 128), bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = False
    small = cv2.resize(inner.astype(np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST).astype(bool)
    return np.stack([cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA)[small].ravel() for p in pictures])


def border_only(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The pictures with all but the border painted grey."""
    blank = [p.copy() for p in pictures]
    for p in blank:
        p[BORDER:-BORDER, BORDER:-BORDER] = 128
    return blank


def crops(pictures: list[np.ndarray], faces: pd.DataFrame, margin: float) -> list[np.ndarray]:
    """The face boxes."""
    boxes = faces[["top", "left", "bottom", "right"]].to_numpy(float)
    return [images.crop(p, box, margin=margin) for p, box in zip(pictures, boxes, strict=True)]


def measure(root: Path) -> pd.DataFrame:
    """Every bar: what, the bar, the figure, whether it is met."""
    faces = datasets.load("synthetic", root).faces
    pictures = [images.read(root / image) for image in faces["image"]]
    network = backbones.load("faceres_deep")
    rows = [*_detection_rows(faces, pictures)]
    for name, cut in [("whole", pictures), ("box", crops(pictures, faces, 0.0))]:
        rows += _network_rows(faces, describe(cut, network), name)
    rows += _border_rows(faces, border_pixels(pictures), "pixels", components=60)
    rows += _border_rows(faces, describe(border_only(pictures), network)["global_pooling"], "descriptor")
    return pd.DataFrame(rows, columns=["what", "bar", "measured", "met"])


def _detection_rows(faces, pictures):
    points = detect(pictures)
    detected = ~np.isnan(points[:, 0, 0])
    near = faces["yaw"].abs().to_numpy(float) <= 45
    yaw = np.sin(np.radians(faces["yaw"].to_numpy(float)))
    both = detected & near
    correlation = np.corrcoef(sideways(points[both]), yaw[both])[0, 1]
    everywhere = np.corrcoef(sideways(points[detected]), yaw[detected])[0, 1]
    return [
        at_least("YuNet detects a face, |yaw| <= 45", detected[near].mean(), 0.97),
        at_least("nose offset against sin(yaw), |yaw| <= 45", correlation, 0.95),
        at_least("nose offset against sin(yaw), all detected", everywhere, 0.95),
    ]


def _network_rows(faces, outputs, name):
    features, people = outputs["global_pooling"], faces["identity"].to_numpy()
    truth = {column: faces[column].astype(str).to_numpy() for column in ("gender", "race", "emotion")}
    guess = {column: probe(features, labels, people) for column, labels in truth.items()}
    age = faces["age"].to_numpy(float)
    aged = probe(features, age, people, model=RidgeCV(np.logspace(2, 5, 7)))
    adult = age >= 18
    own = np.where(outputs["gender_pred"][:, 0] > 0.5, "male", "female")
    return [
        at_least(f"{name}: gender probe", (guess["gender"] == truth["gender"]).mean(), 0.90),
        at_least(f"{name}: race probe", (guess["race"] == truth["race"]).mean(), 0.95),
        at_least(
            f"{name}: emotion probe, balanced",
            balanced_accuracy_score(truth["emotion"], guess["emotion"]),
            0.50,
        ),
        at_most(f"{name}: age probe, mean error in years", np.abs(aged - age).mean(), 9),
        at_least(
            f"{name}: the network's own gender head, adults", (own == truth["gender"])[adult].mean(), 0.80
        ),
    ]


def _border_rows(faces, features, name, components=None):
    people, rows = faces["identity"].to_numpy(), []
    third = pd.cut(faces["age"].astype(float), [0, 18, 35, 50, 65, 200], right=False).astype(str)
    for column, labels in [("gender", faces["gender"]), ("age group", third), ("emotion", faces["emotion"])]:
        labels = labels.astype(str).to_numpy()
        guess = probe(features, labels, people, components=components)
        base = 1 / len(np.unique(labels))
        gain = balanced_accuracy_score(labels, guess) - base
        rows.append(at_most(f"border {name}: {column}, balanced, above 1 / classes", gain, 0.05))
    return rows


def at_least(what, value, bar):
    return what, f">= {bar}", round(float(value), 3), bool(value >= bar)


def at_most(what, value, bar):
    return what, f"<= {bar}", round(float(value), 3), bool(value <= bar)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", nargs="?", type=Path, default=ROOT / "data/synthetic")
    print(measure(arguments.parse_args().folder).to_string(index=False))

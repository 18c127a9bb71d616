"""Measure the face mesh on GENKI-4K: the eye line's roll, the shipped reader of head pose, ridge by folds, speed.

Run as ``python -m benchmarks.head_pose PATH/TO/GENKI-4K``. The reader saw no photo and no label of this set; ridge is fitted
inside folds that keep copies together, on features in which nothing was fitted on these faces.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from faceworkbook import audit, datasets, head_pose, landmarks, mesh_detector, project
from faceworkbook.faces import POSE

TIMED, FOLDS = 100, 5


def main() -> None:
    """Print the figures, each with its 95 % interval over faces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of labels.txt and files/")
    source = datasets.load("genki4k", parser.parse_args().root)
    truth = source.faces[list(POSE)].to_numpy(float)
    path = project.resolve("results/descriptors") / f"genki4k-{landmarks.NAME}"
    marks = {}
    for points in mesh_detector.SOURCES:
        detector = mesh_detector.make_detector(points)
        begun = time.process_time()
        landmarks.detect(source.faces.iloc[:TIMED], source.root, detector=detector, threads=1, progress=False)
        print(f"{points}: {TIMED / (time.process_time() - begun):.0f} faces a second of processor time")
        marks[points] = landmarks.detect(source.faces, source.root, path=path, detector=detector)
    for points, own in marks.items():
        dx, dy = (own.points()[:, 1] - own.points()[:, 0]).T
        tilt, known = np.degrees(np.arctan2(dy, dx)), np.isfinite(dx)
        both = np.corrcoef(tilt[known], truth[known, 2])[0, 1]
        off = np.abs(tilt - truth[:, 2])[known]
        print(
            f"{points}: eye line against the roll label, {known.sum()} faces: r {both:.3f}, {describe(off)} degrees"
        )
    meshes = marks[mesh_detector.MESH].meshes()
    seen = np.isfinite(meshes[:, 0, 0])
    reader = head_pose.load()
    features, read = reader.features(meshes[seen]), reader.read(meshes[seen])
    ties = audit.copies(source.faces, source.root).groups[seen]
    groups = np.where(ties < 0, ties.max() + 1 + np.arange(len(ties)), ties)
    ridge = np.zeros_like(read)
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=0).split(features, groups=groups):
        for column in range(len(POSE)):
            model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
            model.fit(features[train], truth[seen][train, column])
            ridge[test, column] = model.predict(features[test])
    for name, errors in (
        ("shipped reader", read - truth[seen]),
        (f"ridge, {FOLDS} folds", ridge - truth[seen]),
    ):
        figures = ", ".join(f"{axis} {describe(e)}" for axis, e in zip(POSE, np.abs(errors).T, strict=True))
        print(f"{name}, {seen.sum()} faces, mean absolute error in degrees: {figures}")


def describe(errors: np.ndarray) -> str:
    """Return a mean with its interval."""
    half = 1.96 * errors.std(ddof=1) / np.sqrt(len(errors))
    return f"{errors.mean():.2f} [{errors.mean() - half:.2f}, {errors.mean() + half:.2f}]"


if __name__ == "__main__":
    main()
